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
        0:0 full_duplex => bool;
        /// Auto-negotiation decides the speed.
        5:5 auto_speed => bool;
        6:6 set_link_up => bool;
        9:8 speed;
        11:11 force_speed => bool;
        12:12 force_duplex => bool;
        26:26 reset => bool;
        /// Obey the partner's pause frames.
        27:27 rx_pause => bool;
        /// Send pause frames.
        28:28 tx_pause => bool;
        /// Strip and insert VLAN tags.
        30:30 vlan => bool;
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

    /// Access to the transceiver's registers.
    pub(super) MDIC(u32) @ 0x0020 {
        15:0 data;
        20:16 register;
        25:21 phy;
        26:26 write => bool;
        27:27 read => bool;
        28:28 ready => bool;
        30:30 error => bool;
    }

    /// Pause frames: their address, their type, and for how long they ask.
    pub(super) FCAL(u32) @ 0x0028 { 31:0 address; }
    pub(super) FCAH(u32) @ 0x002c { 15:0 address; }
    pub(super) FCT(u32) @ 0x0030 { 15:0 ethertype; }
    pub(super) FCTTV(u32) @ 0x0170 { 15:0 time; }
    /// So much data waits in the device when it sends them, and when it stops that.
    pub(super) FCRTL(u32) @ 0x2160 {
        15:0 bytes;
        31:31 say_so => bool;
    }
    pub(super) FCRTH(u32) @ 0x2168 { 15:0 bytes; }

    /// The type of frames with a VLAN tag.
    pub(super) VET(u32) @ 0x0038 { 15:0 ethertype; }

    /// Causes of the interrupt; reading clears all of them.
    pub(super) ICR(u32) @ 0x00c0 {
        31:0 causes => Causes;
    }

    /// Least time between two interrupts, in 256 ns.
    pub(super) ITR(u32) @ 0x00c4 {
        15:0 interval;
    }

    /// Has the causes that are set here happen.
    pub(super) ICS(u32) @ 0x00c8 {
        31:0 causes => Causes;
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
        2:2 store_bad => bool;
        /// Accept all unicast frames.
        3:3 unicast_promiscuous => bool;
        /// Accept all multicast frames.
        4:4 multicast_promiscuous => bool;
        /// Accept frames of more than 1 522 bytes.
        5:5 long_frames => bool;
        15:15 accept_broadcast => bool;
        18:18 filter_vlans => bool;
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

    pub(super) LEDCTL(u32) @ 0x0e00 {
        /// What the first light means: 14 is on, 15 is off.
        3:0 first;
        7:7 first_blinks => bool;
    }

    pub(super) RDBAL(u32) @ 0x2800 { 31:0 address; }
    pub(super) RDBAH(u32) @ 0x2804 { 31:0 address; }
    pub(super) RDLEN(u32) @ 0x2808 { 31:0 bytes; }
    pub(super) RDH(u32) @ 0x2810 { 31:0 head; }
    pub(super) RDT(u32) @ 0x2818 { 31:0 tail; }
    pub(super) RDTR(u32) @ 0x2820 { 15:0 delay; }

    pub(super) TDBAL(u32) @ 0x3800 { 31:0 address; }
    pub(super) TDBAH(u32) @ 0x3804 { 31:0 address; }
    pub(super) TDLEN(u32) @ 0x3808 { 31:0 bytes; }
    pub(super) TDH(u32) @ 0x3810 { 31:0 head; }
    pub(super) TDT(u32) @ 0x3818 { 31:0 tail; }
    pub(super) TIDV(u32) @ 0x3820 { 15:0 delay; }

    /// Counters; reading one clears it. See [`counters`](super::counters).
    pub(super) STATISTICS(u32)[64] @ 0x4000 { 31:0 count; }

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

    /// VLANs whose frames are received, a bit for each.
    pub(super) VFTA(u32)[128] @ 0x5600 { 31:0 bits; }
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
    /// What is to be looked after in other cases: LSC, RXSEQ, RXO, MDAC, and what has no name.
    pub(super) const SELDOM: Self = Self(1 << 2 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 9);
    pub(super) const ALL: Self = Self(u32::MAX);

    /// The cause that is bit `bit`.
    pub(super) const fn bit(bit: u32) -> Self {
        Self(1 << bit)
    }

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
