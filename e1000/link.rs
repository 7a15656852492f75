// SPDX-License-Identifier: GPL-2.0

//! The link: the transceiver (PHY), negotiation and flow control.

use coop_domain::sleep;
use kernel::{prelude::*, time::Delta};

use super::{
    counters::{GORC, GOTC, MPC},
    device::{Nic, State},
};
use crate::net::{mii, LinkMode, Modes, Pause};

/// What the transceiver can do.
pub(super) const MODES: Modes = Modes::HALF_10
    .and(Modes::FULL_10)
    .and(Modes::HALF_100)
    .and(Modes::FULL_100)
    .and(Modes::FULL_1000);

/// Registers of the transceiver that are of this maker.
pub(super) const SPECIFIC_CONTROL: u8 = 16;
pub(super) const SPECIFIC_STATUS: u8 = 17;

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
        if let LinkMode::Negotiate(modes) = link {
            let offer = mii::advertisement(modes, pause);
            self.phy(mii::ADVERTISEMENT, Some(offer)).await?;
            let offer = mii::advertisement_1000(modes);
            self.phy(mii::CONTROL_1000, Some(offer)).await?;
        }
        self.phy(mii::CONTROL, Some(mii::control(link))).await?;
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
        let here = self.phy(mii::ADVERTISEMENT, None).await?;
        let there = self.phy(mii::PARTNER, None).await?;
        Ok(wanted.resolved(here, there))
    }

    /// Looks after what happens seldom: counters, and the link.
    pub(super) async fn look(&self) -> Result {
        let now = self.state.with(|state| {
            self.collect(state);
            state.link = self.hw.link();
            state.up.then_some((state.link, state.settings.mtu))
        })?;
        let Some((link, mtu)) = now else {
            return Ok(());
        };
        if link.up && !self.interface.link().up {
            let pause = self.resolve_pause().await?;
            self.hw.set_pause(pause, mtu);
        }
        self.interface.change_link(link);
        Ok(())
    }

    /// Adds up what the device has counted.
    pub(super) fn collect(&self, state: &mut State) {
        let before = [GORC, GOTC, MPC].map(|i| state.counters.get(i));
        self.hw.collect(&mut state.counters);
        let after = [GORC, GOTC, MPC].map(|i| state.counters.get(i));
        let [received, sent, missed] = core::array::from_fn(|i| after[i].wrapping_sub(before[i]));
        self.interface.stats().rx_missed_errors.add(missed);
        if state.throttle.balance(received, sent) {
            self.hw.set_interrupt_rate(state.throttle.rate());
        }
    }
}
