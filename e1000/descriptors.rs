// SPDX-License-Identifier: GPL-2.0

//! Descriptors: how the driver and the device tell each other about frames.
//!
//! Each is two words of 64 bits. In those that carry data, the first one is the address. Source:
//! the manual named in [`regs`](super::regs), sections 3.2 and 3.3.

use crate::net::Offload;

/// The bit of a second word by which the device says that it is done with the descriptor.
const DONE: u64 = 1 << 32;

/// Second word of a receive descriptor.
#[derive(Clone, Copy)]
pub(super) struct RxStatus(pub(super) u64);

impl RxStatus {
    pub(super) fn is_done(self) -> bool {
        self.0 & DONE != 0
    }

    /// This is the last descriptor of its frame.
    pub(super) fn is_end_of_packet(self) -> bool {
        self.0 & 1 << 33 != 0
    }

    /// Symbol, sequence, carrier extension or data error.
    pub(super) fn is_bad(self) -> bool {
        const CE_SE_SEQ_CXE_RXE: u64 = 0x97;
        self.0 >> 40 & CE_SE_SEQ_CXE_RXE != 0
    }

    /// A checksum of TCP or UDP was looked at, and is good.
    pub(super) fn checksum_is_good(self) -> bool {
        const IXSM: u64 = 1 << 34;
        const TCPCS: u64 = 1 << 37;
        const TCPE: u64 = 1 << 45;
        self.0 & (IXSM | TCPCS | TCPE) == TCPCS
    }

    pub(super) fn len(self) -> u32 {
        (self.0 & 0xffff) as u32
    }

    /// The VLAN tag that was taken out of the frame.
    pub(super) fn vlan_tag(self) -> Option<u16> {
        const VP: u64 = 1 << 35;
        (self.0 & VP != 0).then_some((self.0 >> 48) as u16)
    }
}

/// Second word of a transmit descriptor.
#[derive(Clone, Copy)]
pub(super) struct TxStatus(pub(super) u64);

/// A descriptor that is not of the oldest kind: DEXT.
const EXTENDED: u64 = 1 << 29;

impl TxStatus {
    /// Part of a frame with these offloads, of length 0 yet. Appends the checksum of Ethernet.
    pub(super) fn data(offload: Offload) -> Self {
        const IFCS: u64 = 1 << 25;
        const DATA: u64 = 1 << 20 | EXTENDED;
        const SEGMENT: u64 = 1 << 26;
        const PUT_IP_SUM: u64 = 1 << 40;
        const PUT_SUM: u64 = 1 << 41;

        Self(match offload {
            Offload::None => IFCS,
            Offload::Checksum { .. } => IFCS | DATA | PUT_SUM,
            Offload::Segment { ipv4: false, .. } => IFCS | DATA | SEGMENT | PUT_SUM,
            Offload::Segment { ipv4: true, .. } => IFCS | DATA | SEGMENT | PUT_SUM | PUT_IP_SUM,
        })
    }

    /// A VLAN tag is to be put in.
    pub(super) fn with_vlan_tag(self, tag: Option<u16>) -> Self {
        const VLE: u64 = 1 << 30;
        Self(self.0 | tag.map_or(0, |tag| VLE | u64::from(tag) << 48))
    }

    pub(super) fn with_len(self, len: u32) -> Self {
        Self(self.0 | u64::from(len & 0xf_ffff))
    }

    /// Ends the frame; the device is to report when it is sent.
    pub(super) fn with_end(self) -> Self {
        const EOP_RS: u64 = 0x09 << 24;
        Self(self.0 | EOP_RS)
    }

    pub(super) fn is_done(self) -> bool {
        self.0 & DONE != 0
    }
}

/// The two words of the descriptor that tells the device what a frame of `len` bytes needs, if it
/// needs anything.
pub(super) fn context(offload: Offload, len: u32) -> Option<(u64, u64)> {
    const TCP: u64 = 1 << 24;
    const IP: u64 = 1 << 25;
    const SEGMENT: u64 = 1 << 26;

    match offload {
        Offload::None => None,
        Offload::Checksum { tcp, start, field } => Some((
            sum(start, field, 0) << 32,
            EXTENDED | if tcp { TCP } else { 0 },
        )),
        Offload::Segment {
            ipv4,
            network,
            transport,
            field,
            headers,
            segment,
        } => {
            // The header of IPv4 has its sum at byte 10, and ends where the next one begins.
            let (ip_end, ip) = if ipv4 {
                (transport.wrapping_sub(1), IP)
            } else {
                (0, 0)
            };
            let payload = u64::from(len.wrapping_sub(headers.into()) & 0xf_ffff);
            Some((
                sum(network, network.wrapping_add(10), ip_end) | sum(transport, field, 0) << 32,
                payload
                    | EXTENDED
                    | TCP
                    | SEGMENT
                    | ip
                    | u64::from(headers & 0xff) << 40
                    | u64::from(segment) << 48,
            ))
        }
    }
}

/// A checksum: where it begins, where it goes, where it ends (0: with the frame).
fn sum(start: u16, field: u16, end: u16) -> u64 {
    u64::from(start & 0xff) | u64::from(field & 0xff) << 8 | u64::from(end) << 16
}
