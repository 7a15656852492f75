// SPDX-License-Identifier: GPL-2.0

//! What `ethtool` asks of a driver.
//!
//! C header: [`include/linux/ethtool.h`](srctree/include/linux/ethtool.h)

use kernel::{
    build_error,
    device::{Bound, Device},
    error::VTABLE_DEFAULT_ERROR,
    prelude::*,
};

pub(crate) use super::sys::ethtool::Refusal;

/// What `ethtool` asks of a driver. What it does not implement is not supported, and said to be so.
///
/// All of this runs in a thread that may sleep, with `rtnl` held: nothing of it twice at once.
#[vtable]
pub(crate) trait Ethtool: Send + Sync + 'static {
    /// The names of what [`statistics`](Self::statistics) tells, of less than 32 bytes.
    const STATISTICS: &'static [&'static str] = &[];
    /// The names of the self tests, of less than 32 bytes.
    const TESTS: &'static [&'static str] = &[];
    /// How many words [`registers`](Self::registers) tells.
    const REGISTERS: usize = 0;
    /// How many words the EEPROM has, and the number by which users name what they write to it.
    const EEPROM: (usize, u32) = (0, 0);
    /// The longest rings.
    const MAX_RINGS: Rings = Rings { rx: 0, tx: 0 };

    /// Negotiation, and what it can lead to. (What it has led to is known already.)
    fn link_modes(&self) -> Result<LinkModes> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The link is to be negotiated, or to be forced, like this.
    fn set_link_mode(&self, _mode: LinkMode) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Negotiates anew.
    fn renegotiate(&self) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Tells as many numbers as there are [names](Self::STATISTICS).
    fn statistics(&self, _to: &mut [u64]) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// How long the rings are.
    fn rings(&self) -> Result<Rings> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes the rings about that long, at most [`MAX_RINGS`](Self::MAX_RINGS). If that fails, as
    /// with rings that are too short, they stay as they were.
    fn set_rings(&self, _dev: &Device<Bound>, _rings: Rings) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// How many microseconds there are at least between two interrupts. (Small numbers may mean
    /// something else.)
    fn coalesce(&self) -> Result<u32> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes what [`coalesce`](Self::coalesce) tells.
    fn set_coalesce(&self, _usecs: u32) -> Result<(), Refusal> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Flow control.
    fn pause(&self) -> Result<Pause> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes flow control.
    fn set_pause(&self, _pause: Pause) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// How many pause frames were received, and sent.
    fn pause_frames(&self) -> Result<[u64; 2]> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Tells registers; returns the version of that format.
    fn registers(&self, _to: &mut [u32]) -> Result<u32> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reads a word of the EEPROM.
    fn eeprom(&self, _word: usize) -> Result<u16> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Resets the device, which goes on as before: all of it but the transceiver.
    fn reset(&self) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Tests the device, with `offline` so that the link goes down for a while. Tells for each of
    /// [`TESTS`](Self::TESTS) a number, which is not 0 if it failed.
    fn test(&self, _offline: bool, _to: &mut [u64]) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Switches a light on or off, for a person to find the device; `None` ends that.
    fn identify(&self, _light: Option<bool>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// Numbers of descriptors.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rings {
    pub(crate) rx: usize,
    pub(crate) tx: usize,
}

/// Flow control: whether the link partner may stop this side, and this side the partner; with
/// `negotiated` only as far as both want it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pause {
    pub(crate) negotiated: bool,
    pub(crate) rx: bool,
    pub(crate) tx: bool,
}

/// A set of speeds and the like, as old `ethtool` has it (`ADVERTISED_*`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Modes(pub(in crate::net) u32);

impl Modes {
    pub(crate) const HALF_10: Self = Self(1 << 0);
    pub(crate) const FULL_10: Self = Self(1 << 1);
    pub(crate) const HALF_100: Self = Self(1 << 2);
    pub(crate) const FULL_100: Self = Self(1 << 3);
    pub(crate) const FULL_1000: Self = Self(1 << 5);
    pub(crate) const NEGOTIATION: Self = Self(1 << 6);
    pub(crate) const TWISTED_PAIR: Self = Self(1 << 7);

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// What both have.
    pub(crate) const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// What a link can be like.
pub(crate) struct LinkModes {
    pub(crate) supported: Modes,
    pub(crate) mode: LinkMode,
}

/// What a link is to be like.
#[derive(Clone, Copy)]
pub(crate) enum LinkMode {
    /// The best of these that the partner can do, too.
    Negotiate(Modes),
    Force {
        mbits: u32,
        full_duplex: bool,
    },
}
