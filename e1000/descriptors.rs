// SPDX-License-Identifier: GPL-2.0

//! Descriptors: how the driver and the device tell each other about frames.
//!
//! Each is two words of 64 bits. In those that carry data, the first one is the address. Source:
//! the manual named in [`regs`](super::regs), sections 3.2 and 3.3.

use crate::net::{Offload, Placed};

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

/// So many bytes a descriptor takes at most.
const MAX_CHUNK: u32 = 4096;

/// How the device is told what a frame needs.
pub(super) struct Orders {
    /// The two words of the descriptor that says so, if it needs anything.
    pub(super) context: Option<(u64, u64)>,
    /// The second word of those with the frame's data, of length 0 yet.
    pub(super) data: TxStatus,
    /// So many bytes each of them takes at most.
    pub(super) limit: u32,
    /// The frame is cut into segments.
    pub(super) cut: bool,
}

impl Orders {
    #[inline(always)]
    pub(super) fn new(placed: &Placed<'_>) -> Self {
        // In all words of data: append the checksum of Ethernet; put in a VLAN tag.
        const IFCS: u64 = 1 << 25;
        const VLE: u64 = 1 << 30;
        // In those of the kind that follows a context.
        const DATA: u64 = 1 << 20 | EXTENDED;
        const PUT_IP_SUM: u64 = 1 << 40;
        const PUT_SUM: u64 = 1 << 41;
        // In both.
        const SEGMENT: u64 = 1 << 26;
        // In the context.
        const TCP: u64 = 1 << 24;
        const IP: u64 = 1 << 25;

        let (context, data, limit, cut) = match placed.offload {
            Offload::None => (None, 0, MAX_CHUNK, false),
            Offload::Checksum { tcp, start, field } => {
                let first = sum(start, field, 0) << 32;
                let second = EXTENDED | if tcp { TCP } else { 0 };
                (Some((first, second)), DATA | PUT_SUM, MAX_CHUNK, false)
            }
            Offload::Segment {
                ipv4,
                network,
                transport,
                field,
                headers,
                segment,
            } => {
                // The header of IPv4 has its sum at byte 10, and ends where the next one begins.
                let (ip_end, ip, put_ip) = if ipv4 {
                    (u16::from(transport).wrapping_sub(1), IP, PUT_IP_SUM)
                } else {
                    (0, 0, 0)
                };
                let ip_sum = sum(network, network.wrapping_add(10), ip_end);
                let first = ip_sum | sum(transport, field, 0) << 32;
                let payload = u64::from(placed.len().wrapping_sub(headers.into()) & 0xf_ffff);
                let lengths = u64::from(headers) << 40 | u64::from(segment) << 48;
                let second = payload | EXTENDED | TCP | SEGMENT | ip | lengths;
                // The device waits for the whole of a descriptor's data, and its memory is small.
                let limit = MAX_CHUNK.min(4 * u32::from(segment));
                let data = DATA | SEGMENT | PUT_SUM | put_ip;
                (Some((first, second)), data, limit, true)
            }
        };
        let tag = placed.tag.map_or(0, |tag| VLE | u64::from(tag) << 48);
        Self {
            context,
            data: TxStatus(IFCS | data | tag),
            limit,
            cut,
        }
    }
}

/// A checksum: where it begins, where it goes, where it ends (0: with the frame).
fn sum(start: u8, field: u8, end: u16) -> u64 {
    u64::from(start) | u64::from(field) << 8 | u64::from(end) << 16
}
