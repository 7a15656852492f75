// SPDX-License-Identifier: GPL-2.0

//! Registers and descriptors of the 82540EM, as far as this driver uses them.
//!
//! Source: *PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual*,
//! sections 3.2 and 3.3 (descriptors) and 13 (registers).

use kernel::io::register;

/// How much of BAR 0 is mapped: all registers are in its first 128 KiB.
pub(super) const END: usize = 0x2_0000;

register! {
    /// Device control.
    pub(super) CTRL(u32) @ 0x0000 {
        /// Auto-negotiation decides the speed.
        5:5 auto_speed => bool;
        6:6 set_link_up => bool;
        26:26 reset => bool;
    }

    /// Device status.
    pub(super) STATUS(u32) @ 0x0008 {
        0:0 full_duplex => bool;
        1:1 link_up => bool;
        7:6 speed;
    }

    /// EEPROM read.
    pub(super) EERD(u32) @ 0x0014 {
        0:0 start => bool;
        4:4 done => bool;
        15:8 address;
        31:16 data;
    }

    /// Causes of the interrupt; reading clears all of them.
    pub(super) ICR(u32) @ 0x00c0 {
        31:0 causes => Causes;
    }

    /// Least time between two interrupts, in 256 ns.
    pub(super) ITR(u32) @ 0x00c4 {
        15:0 interval;
    }

    /// Lets the causes that are set here interrupt.
    pub(super) IMS(u32) @ 0x00d0 {
        31:0 causes => Causes;
    }

    /// Keeps the causes that are set here from interrupting.
    pub(super) IMC(u32) @ 0x00d8 {
        31:0 causes => Causes;
    }

    /// Receive control.
    pub(super) RCTL(u32) @ 0x0100 {
        1:1 enable => bool;
        /// Accept all unicast frames.
        3:3 unicast_promiscuous => bool;
        /// Accept all multicast frames.
        4:4 multicast_promiscuous => bool;
        /// Accept frames of more than 1 522 bytes.
        5:5 long_frames => bool;
        15:15 accept_broadcast => bool;
        /// Strip the Ethernet checksum.
        26:26 strip_crc => bool;
    }

    /// Transmit control.
    pub(super) TCTL(u32) @ 0x0400 {
        1:1 enable => bool;
        3:3 pad_short_packets => bool;
        11:4 collision_threshold;
        21:12 collision_distance;
    }

    /// Transmit inter-packet gap.
    pub(super) TIPG(u32) @ 0x0410 {
        9:0 transmit;
        19:10 receive1;
        29:20 receive2;
    }

    pub(super) RDBAL(u32) @ 0x2800 { 31:0 address; }
    pub(super) RDBAH(u32) @ 0x2804 { 31:0 address; }
    pub(super) RDLEN(u32) @ 0x2808 { 31:0 bytes; }
    pub(super) RDH(u32) @ 0x2810 { 31:0 head; }
    pub(super) RDT(u32) @ 0x2818 { 31:0 tail; }

    pub(super) TDBAL(u32) @ 0x3800 { 31:0 address; }
    pub(super) TDBAH(u32) @ 0x3804 { 31:0 address; }
    pub(super) TDLEN(u32) @ 0x3808 { 31:0 bytes; }
    pub(super) TDH(u32) @ 0x3810 { 31:0 head; }
    pub(super) TDT(u32) @ 0x3818 { 31:0 tail; }

    /// Frames missed for want of a buffer; reading clears it.
    pub(super) MPC(u32) @ 0x4010 { 31:0 count; }

    /// Receive checksum control.
    pub(super) RXCSUM(u32) @ 0x5000 {
        /// Verify those of TCP and UDP.
        9:9 tcp_udp => bool;
    }

    /// Multicast filter: a bit for each value of a hash.
    pub(super) MTA(u32)[128] @ 0x5200 { 31:0 bits; }

    /// Addresses that frames are received for, the interface's own first: bytes 0 to 3.
    pub(super) RAL(u32)[ADDRESSES, stride = 8] @ 0x5400 { 31:0 address; }
    /// Bytes 4 and 5.
    pub(super) RAH(u32)[ADDRESSES, stride = 8] @ 0x5404 {
        15:0 address;
        31:31 valid => bool;
    }
}

/// How many addresses the device compares exactly; those of further multicast groups are hashed.
pub(super) const ADDRESSES: usize = 15;

/// A set of interrupt causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Causes(u32);

impl Causes {
    pub(super) const NONE: Self = Self(0);
    /// Frames to be sent were fetched: TXDW.
    pub(super) const SENT: Self = Self(1 << 0);
    /// The link went up or down: LSC.
    pub(super) const LINK: Self = Self(1 << 2);
    /// A frame was received, few buffers are left, or none: RXT0, RXDMT0, RXO.
    pub(super) const RECEIVED: Self = Self(1 << 7 | 1 << 4 | 1 << 6);
    /// What the poll looks after.
    pub(super) const FRAMES: Self = Self::RECEIVED.or(Self::SENT);
    /// A frame was lost for want of a buffer: RXO.
    pub(super) const OVERRUN: Self = Self(1 << 6);
    pub(super) const ALL: Self = Self(u32::MAX);

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl From<kernel::num::Bounded<u32, 32>> for Causes {
    fn from(bits: kernel::num::Bounded<u32, 32>) -> Self {
        Self(bits.get())
    }
}

impl From<Causes> for kernel::num::Bounded<u32, 32> {
    fn from(causes: Causes) -> Self {
        causes.0.into()
    }
}
