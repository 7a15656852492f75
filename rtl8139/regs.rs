// SPDX-License-Identifier: GPL-2.0

//! Registers of the RTL8139, as far as this driver uses them.
//!
//! Source: *Realtek 3.3V Single Chip Fast Ethernet Controller with Power Management RTL8139C(L)*,
//! section 5.

use kernel::io::register;

/// How much of BAR 1 is mapped: all of it.
pub(super) const END: usize = 0x100;

/// Slots to send from.
pub(super) const SLOTS: usize = 4;

register! {
    /// The hardware address: bytes 0 to 3.
    pub(super) IDR0(u32) @ 0x00 { 31:0 address; }
    /// Bytes 4 and 5.
    pub(super) IDR4(u32) @ 0x04 { 15:0 address; }

    /// Multicast filter: a bit for each value of a hash.
    pub(super) MAR(u32)[2] @ 0x08 { 31:0 bits; }

    /// What is sent from each slot; writing it begins that.
    pub(super) TSD(u32)[SLOTS] @ 0x10 {
        12:0 bytes;
        /// So much is to be in the device before it begins, in 32 bytes.
        21:16 threshold;
    }
    /// Where each slot is, a multiple of four.
    pub(super) TSAD(u32)[SLOTS] @ 0x20 { 31:0 address; }
    /// What became of all slots.
    pub(super) TSADALL(u16) @ 0x60 {
        7:4 aborted;
        11:8 underrun;
        15:12 sent;
    }

    /// Where the receive ring is.
    pub(super) RBSTART(u32) @ 0x30 { 31:0 address; }
    /// How far the driver has read, less 16.
    pub(super) CAPR(u16) @ 0x38 { 15:0 position; }
    /// How far the device has written.
    pub(super) CBR(u16) @ 0x3a { 15:0 position; }

    /// Command.
    pub(super) CR(u8) @ 0x37 {
        2:2 transmit => bool;
        3:3 receive => bool;
        4:4 reset => bool;
    }

    /// Lets the causes that are set here interrupt, and no others.
    pub(super) IMR(u16) @ 0x3c { 15:0 causes => Causes; }
    /// Causes of the interrupt; those written are cleared.
    pub(super) ISR(u16) @ 0x3e { 15:0 causes => Causes; }

    /// Transmit configuration.
    pub(super) TCR(u32) @ 0x40 {
        /// Send the aborted frame once more.
        0:0 clear_abort => bool;
        /// Bytes per access to memory: 16 to the power of two of this.
        10:8 burst;
        /// As long as Ethernet asks for.
        25:24 gap;
    }

    /// Receive configuration.
    pub(super) RCR(u32) @ 0x44 {
        0:0 accept_all => bool;
        1:1 accept_own => bool;
        2:2 accept_multicast => bool;
        3:3 accept_broadcast => bool;
        /// A frame that begins before the end of the ring goes on behind it.
        7:7 beyond_end => bool;
        /// Bytes per access to memory: 7 for any number.
        10:8 burst;
        /// 8 KiB, to the power of two of this.
        12:11 ring_len;
        /// So much is to be there before it is written to memory: 7 for all of the frame.
        15:13 threshold;
    }

    /// Frames missed; writing clears.
    pub(super) MPC(u32) @ 0x4c { 23:0 frames; }

    /// What may be written to.
    pub(super) EECR(u8) @ 0x50 { 7:6 mode; }

    /// Media status.
    pub(super) MSR(u8) @ 0x58 {
        2:2 link_down => bool;
        3:3 speed_10 => bool;
    }

    /// What the transceiver says that it can do, and what its partner says.
    pub(super) ANAR(u16) @ 0x66 { 8:5 modes; }
    pub(super) ANLPAR(u16) @ 0x68 { 8:5 modes; }
}

/// A set of interrupt causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Causes(u16);

impl Causes {
    pub(super) const NONE: Self = Self(0);
    /// A frame was received, a bad one, or the device's memory is full: ROK, RER, FOVW.
    pub(super) const RECEIVED: Self = Self(1 << 0 | 1 << 1 | 1 << 6);
    /// A frame was sent, or not: TOK, TER.
    pub(super) const SENT: Self = Self(1 << 2 | 1 << 3);
    /// The receive ring is full: RXOVW. It need not interrupt: what fills the ring has done so.
    pub(super) const FULL: Self = Self(1 << 4);
    /// The link went up or down: PUN.
    pub(super) const LINK: Self = Self(1 << 5);

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl From<kernel::num::Bounded<u16, 16>> for Causes {
    fn from(bits: kernel::num::Bounded<u16, 16>) -> Self {
        Self(bits.get())
    }
}

impl From<Causes> for kernel::num::Bounded<u16, 16> {
    fn from(causes: Causes) -> Self {
        causes.0.into()
    }
}
