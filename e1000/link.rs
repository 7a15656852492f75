// SPDX-License-Identifier: GPL-2.0

//! The link: the transceiver (PHY), negotiation and flow control.

use coop_domain::sleep;
use kernel::{prelude::*, time::Delta};

use super::{
    counters::*,
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
            (state.pause, state.negotiated) = (pause, false);
            self.hw.set_link(&state.settings);
            self.hw.set_pause(state);
        })?;
        // There may be none for a while.
        self.attention.signal();
        Ok(())
    }

    /// The same, unless that is how it is: another driver may have switched it off, or it was
    /// without power.
    pub(super) async fn claim_link(&self) -> Result {
        let (link, pause) = self
            .state
            .with(|state| (state.settings.link, state.settings.pause))?;
        let mut same = mii::is_as(self.phy(mii::CONTROL, None).await?, link);
        if let LinkMode::Negotiate(modes) = link {
            same &= self.phy(mii::ADVERTISEMENT, None).await? == mii::advertisement(modes, pause);
            let offers = self.phy(mii::CONTROL_1000, None).await? & mii::OFFERS_1000;
            same &= offers == mii::advertisement_1000(modes);
        }
        if same {
            return Ok(());
        }
        self.set_up_link().await
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
            state.negotiated &= state.link.up;
            // Nothing is sent any more, and nobody would ask why.
            let stuck = !state.link.up && !state.tx.is_idle();
            state.up.then_some((state.link, state.negotiated, stuck))
        })?;
        let Some((link, negotiated, stuck)) = now else {
            return Ok(());
        };
        // Had an interrupt been lost, nothing would be received any more. (For that, the C driver has the
        // device interrupt now.)
        self.interface.schedule_poll();
        if link.up && !negotiated {
            let pause = self.resolve_pause().await?;
            self.state.with(|state| {
                (state.pause, state.negotiated) = (pause, true);
                self.hw.set_pause(state);
            })?;
        }
        self.interface.change_link(link);
        if stuck {
            self.reset().await?;
        }
        Ok(())
    }

    /// Adds up what the device has counted.
    pub(super) fn collect(&self, state: &mut State) {
        let stats = self.interface.stats();
        // Of which counters of the interface those of the device are part, as in the C driver.
        let parts = [
            (&stats.rx_errors, RX_ERRORS),
            (&stats.rx_length_errors, &[RUC, ROC]),
            (&stats.rx_crc_errors, &[CRCERRS]),
            (&stats.rx_frame_errors, &[ALGNERRC]),
            (&stats.rx_missed_errors, &[MPC]),
            (&stats.multicast, &[MPRC]),
            (&stats.collisions, &[COLC]),
            (&stats.tx_errors, &[ECOL, LATECOL]),
        ];
        let before = parts.map(|(_, of)| state.counters.sum(of));
        let bytes = [GORC, GOTC].map(|i| state.counters.get(i));
        self.hw.collect(&mut state.counters);
        for ((counter, of), before) in parts.into_iter().zip(before) {
            counter.add(state.counters.sum(of).wrapping_sub(before));
        }
        let received = state.counters.get(GORC).wrapping_sub(bytes[0]);
        let sent = state.counters.get(GOTC).wrapping_sub(bytes[1]);
        if state.throttle.balance(received, sent) {
            self.hw.set_interrupt_rate(state.throttle.rate());
        }
    }
}
