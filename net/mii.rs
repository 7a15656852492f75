// SPDX-License-Identifier: GPL-2.0

//! What is in the registers of a transceiver (PHY): IEEE 802.3, clause 22.
//!
//! C header: [`include/uapi/linux/mii.h`](srctree/include/uapi/linux/mii.h)

use kernel::bindings;

use super::{LinkMode, Modes, Pause};

/// Registers.
pub(crate) const CONTROL: u8 = bindings::MII_BMCR as u8;
pub(crate) const ADVERTISEMENT: u8 = bindings::MII_ADVERTISE as u8;
pub(crate) const PARTNER: u8 = bindings::MII_LPA as u8;
pub(crate) const CONTROL_1000: u8 = bindings::MII_CTRL1000 as u8;
pub(crate) const STATUS_1000: u8 = bindings::MII_STAT1000 as u8;

/// In [`CONTROL`]: what is sent comes back.
pub(crate) const LOOP_BACK: u16 = bindings::BMCR_LOOPBACK as u16;

/// For [`CONTROL`]: has the transceiver begin anew, like `mode` says.
pub(crate) fn control(mode: LinkMode) -> u16 {
    let bits = match mode {
        LinkMode::Negotiate(_) => bindings::BMCR_ANENABLE | bindings::BMCR_ANRESTART,
        LinkMode::Force { mbits, full_duplex } => {
            let speed = match mbits {
                100 => bindings::BMCR_SPEED100,
                _ => bindings::BMCR_SPEED10,
            };
            let duplex = if full_duplex {
                bindings::BMCR_FULLDPLX
            } else {
                0
            };
            bindings::BMCR_RESET | speed | duplex
        }
    };
    bits as u16
}

/// Whether `is`, read from [`CONTROL`], is as `mode` says, and the transceiver at work.
pub(crate) fn is_as(is: u16, mode: LinkMode) -> bool {
    let rest = bindings::BMCR_PDOWN | bindings::BMCR_ISOLATE | bindings::BMCR_LOOPBACK;
    let mask = bindings::BMCR_ANENABLE
        | rest
        | match mode {
            LinkMode::Negotiate(_) => 0,
            LinkMode::Force { .. } => {
                bindings::BMCR_SPEED1000 | bindings::BMCR_SPEED100 | bindings::BMCR_FULLDPLX
            }
        };
    u32::from(is ^ control(mode)) & mask == 0
}

/// For [`ADVERTISEMENT`]: what this side offers. Half of what `ethtool` calls the modes is in the
/// same order there.
pub(crate) fn advertisement(modes: Modes, pause: Pause) -> u16 {
    const SLOW: u32 = Modes::HALF_10
        .and(Modes::FULL_10)
        .and(Modes::HALF_100)
        .and(Modes::FULL_100)
        .0;
    let pause = match (pause.rx, pause.tx) {
        (false, false) => 0,
        // There is no way to say that one only wants to be stopped.
        (true, _) => bindings::ADVERTISE_PAUSE_CAP | bindings::ADVERTISE_PAUSE_ASYM,
        (false, true) => bindings::ADVERTISE_PAUSE_ASYM,
    };
    (bindings::ADVERTISE_CSMA | (modes.0 & SLOW) << 5 | pause) as u16
}

/// What [`advertisement_1000`] decides of [`CONTROL_1000`].
pub(crate) const OFFERS_1000: u16 =
    (bindings::ADVERTISE_1000FULL | bindings::ADVERTISE_1000HALF) as u16;

/// For [`CONTROL_1000`]: the same for 1000 Mbit/s.
pub(crate) fn advertisement_1000(modes: Modes) -> u16 {
    if modes.has(Modes::FULL_1000) {
        bindings::ADVERTISE_1000FULL as u16
    } else {
        0
    }
}

impl Pause {
    /// What has come of flow control, by the [`ADVERTISEMENT`] of both sides.
    pub(crate) fn resolved(self, here: u16, there: u16) -> Self {
        const PAUSE: u16 = bindings::ADVERTISE_PAUSE_CAP as u16;
        const ONE_WAY: u16 = bindings::ADVERTISE_PAUSE_ASYM as u16;
        let both = here & there;
        let (rx, tx) = if both & PAUSE != 0 {
            (true, true)
        } else if both & ONE_WAY != 0 {
            (here & PAUSE != 0, there & PAUSE != 0)
        } else {
            (false, false)
        };
        Self {
            negotiated: true,
            rx: rx && self.rx,
            tx: tx && self.tx,
        }
    }
}
