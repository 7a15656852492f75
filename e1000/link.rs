// SPDX-License-Identifier: GPL-2.0

//! The link: the transceiver (PHY), negotiation and flow control.

use coop_domain::sleep;
use kernel::{prelude::*, time::Delta};

use super::{
    counters::{GORC, GOTC, MPC},
    device::{Nic, State},
};
use crate::net::{Link, LinkMode, Modes, Pause};

/// What the transceiver can do.
pub(super) const MODES: Modes = Modes::HALF_10
    .and(Modes::FULL_10)
    .and(Modes::HALF_100)
    .and(Modes::FULL_100)
    .and(Modes::FULL_1000);

/// Registers of the transceiver. Source: IEEE 802.3, clause 22.
pub(super) mod phy {
    pub(in super::super) const CONTROL: u8 = 0;
    pub(super) const ADVERTISEMENT: u8 = 4;
    pub(super) const PARTNER: u8 = 5;
    pub(super) const CONTROL_1000: u8 = 9;
    pub(in super::super) const STATUS_1000: u8 = 10;
    /// Of this maker.
    pub(in super::super) const SPECIFIC_CONTROL: u8 = 16;
    pub(in super::super) const SPECIFIC_STATUS: u8 = 17;
}

/// Bits of [`phy::CONTROL`].
const RESET: u16 = 1 << 15;
pub(super) const LOOP_BACK: u16 = 1 << 14;
const SPEED_100: u16 = 1 << 13;
const NEGOTIATE: u16 = 1 << 12;
const RESTART: u16 = 1 << 9;
const FULL_DUPLEX: u16 = 1 << 8;

/// Bits of [`phy::ADVERTISEMENT`] and [`phy::PARTNER`].
const ETHERNET: u16 = 1;
const SLOW: [(Modes, u16); 4] = [
    (Modes::HALF_10, 1 << 5),
    (Modes::FULL_10, 1 << 6),
    (Modes::HALF_100, 1 << 7),
    (Modes::FULL_100, 1 << 8),
];
const PAUSE: u16 = 1 << 10;
const PAUSE_ONE_WAY: u16 = 1 << 11;

impl Nic {
    /// Reads a register of the transceiver, or with `value` writes it. One at a time: from the
    /// coroutine `control` only.
    pub(super) async fn phy(&self, register: u8, value: Option<u16>) -> Result<u16> {
        self.hw.start_phy(register, value);
        for _ in 0..40 {
            if let Some(data) = self.hw.phy_result()? {
                return Ok(data);
            }
            sleep(Delta::from_micros(50)).await;
        }
        Err(ETIMEDOUT)
    }

    /// Has the transceiver begin anew, like the settings say.
    pub(super) async fn set_up_link(&self) -> Result {
        let (link, pause) = self
            .state
            .with(|state| (state.settings.link, state.settings.pause))?;
        let control = match link {
            LinkMode::Negotiate(modes) => {
                let pause = match (pause.rx, pause.tx) {
                    (false, false) => 0,
                    // There is no way to say that one only wants to be stopped.
                    (true, _) => PAUSE | PAUSE_ONE_WAY,
                    (false, true) => PAUSE_ONE_WAY,
                };
                let slow = SLOW
                    .iter()
                    .filter(|(mode, _)| modes.has(*mode))
                    .fold(0, |bits, (_, bit)| bits | bit);
                self.phy(phy::ADVERTISEMENT, Some(ETHERNET | slow | pause))
                    .await?;
                let fast = u16::from(modes.has(Modes::FULL_1000)) << 9;
                self.phy(phy::CONTROL_1000, Some(fast)).await?;
                NEGOTIATE | RESTART
            }
            LinkMode::Force { mbits, full_duplex } => {
                let speed = if mbits == 100 { SPEED_100 } else { 0 };
                RESET | speed | if full_duplex { FULL_DUPLEX } else { 0 }
            }
        };
        self.phy(phy::CONTROL, Some(control)).await?;
        self.state.with(|state| {
            self.hw.set_link(&state.settings);
            self.hw.set_pause(pause, state.settings.mtu);
        })?;
        // There may be none for a while.
        self.attention.signal();
        Ok(())
    }

    /// What has come of flow control.
    async fn resolve_pause(&self) -> Result<Pause> {
        let (link, wanted) = self
            .state
            .with(|state| (state.settings.link, state.settings.pause))?;
        if !wanted.negotiated || matches!(link, LinkMode::Force { .. }) {
            return Ok(wanted);
        }
        let here = self.phy(phy::ADVERTISEMENT, None).await?;
        let there = self.phy(phy::PARTNER, None).await?;
        let both = here & there;
        let (rx, tx) = if both & PAUSE != 0 {
            (true, true)
        } else if both & PAUSE_ONE_WAY != 0 {
            (here & PAUSE != 0, there & PAUSE != 0)
        } else {
            (false, false)
        };
        Ok(Pause {
            negotiated: true,
            rx: rx && wanted.rx,
            tx: tx && wanted.tx,
        })
    }

    /// Looks after what happens seldom: counters, and the link.
    pub(super) async fn look(&self) -> Result {
        let changed = self.state.with(|state| {
            if !state.up {
                return None;
            }
            self.collect(state);
            let link = self.hw.link();
            (link.up != state.link.up).then(|| {
                state.link = link;
                link
            })
        })?;
        let Some(link) = changed else {
            return Ok(());
        };
        if link.up {
            let pause = self.resolve_pause().await?;
            let mtu = self.state.with(|state| state.settings.mtu)?;
            self.hw.set_pause(pause, mtu);
        }
        self.interface.set_link(link);
        if self.interface.tells_link() {
            self.tell_link(link);
        }
        Ok(())
    }

    fn tell_link(&self, link: Link) {
        if link.up {
            pr_info!(
                "{}: link is up, {} Mbit/s, {} duplex\n",
                self.interface.name(),
                link.mbits,
                if link.full_duplex { "full" } else { "half" },
            );
        } else {
            pr_info!("{}: link is down\n", self.interface.name());
        }
    }

    /// Adds up what the device has counted.
    pub(super) fn collect(&self, state: &mut State) {
        let before = [GORC, GOTC, MPC].map(|i| state.counters.get(i));
        self.hw.collect(&mut state.counters);
        let after = [GORC, GOTC, MPC].map(|i| state.counters.get(i));
        let [received, sent, missed] = core::array::from_fn(|i| after[i].wrapping_sub(before[i]));
        self.interface.stats().rx_missed_errors.add(missed);
        state.throttle.balance(&self.hw, received, sent);
    }
}
