// SPDX-License-Identifier: GPL-2.0

//! Going up and down, and the state of the link.

use coop_domain::prelude::*;
use kernel::{prelude::*, sync::Arc};

use super::{
    device::{Nic, State},
    hw::{Hw, Settings},
    regs::Causes,
};
use crate::net::{Filter, Link};

/// What the network stack asks for, and waits for.
pub(super) enum Request {
    Open,
    Close,
    SetAddress([u8; 6]),
    SetMtu(u32),
    SetFilter(Filter),
    /// Begin anew, if the device is up.
    Reset,
}

/// The coroutine that answers [`Request`]s, one after the other: none meets another half done.
pub(super) async fn control(
    nic: Arc<Nic>,
    mut requests: Receiver<coop_domain::Request<Request, Result>>,
) -> Result {
    while let Some(request) = requests.recv().await {
        let (request, reply) = request.into_parts();
        let opening = matches!(request, Request::Open);
        let result = nic.handle(request).await;
        // If the caller was killed meanwhile, the stack believes that opening failed.
        if reply.send(result).is_err() && opening {
            nic.close().await?;
        }
    }
    Ok(())
}

/// The coroutine that resets a device that has stopped sending.
pub(super) async fn recover(nic: Arc<Nic>, requests: Caller<Request, Result>) -> Result {
    loop {
        nic.hung.wait().await;
        pr_warn!("{}: does not send any more: reset\n", nic.interface.name());
        nic.interface.stats().tx_errors.add(1);
        let result = requests.ask(Request::Reset).await;
        if let Err(error) = result.and_then(|result| result) {
            pr_err!("{}: reset failed: {error:?}\n", nic.interface.name());
        }
    }
}

/// The coroutine that looks after what happens seldom: the link, frames lost.
pub(super) async fn watch(nic: Arc<Nic>) -> Result {
    loop {
        nic.attention.wait().await;
        nic.state.with(|state| nic.look(state))?;
    }
}

impl Nic {
    async fn handle(&self, request: Request) -> Result {
        match request {
            Request::Open => self.state.with(|state| self.open(state))?,
            Request::Close => self.close().await,
            Request::Reset => {
                if !self.state.with(|state| state.up)? {
                    return Ok(());
                }
                self.close().await?;
                self.state.with(|state| self.open(state))?
            }
            Request::SetAddress(address) => self.change(|settings| settings.address = address),
            Request::SetMtu(mtu) => self.change(|settings| settings.mtu = mtu),
            Request::SetFilter(filter) => self.change(|settings| settings.filter = filter),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Settings)) -> Result {
        self.state.with(|state| {
            change(&mut state.settings);
            if state.up {
                self.hw.set_filter(&state.settings);
            }
        })
    }

    fn open(&self, state: &mut State) -> Result {
        if state.up {
            return Err(EBUSY);
        }
        if let Err(error) = state.rx.fill() {
            state.rx.clear()?;
            return Err(error);
        }
        self.hw
            .start(&state.settings, &state.rx.ring, &state.tx.ring);
        state.rx.start(&self.hw);
        state.up = true;
        self.hw.unmask(Causes::RECEIVED.or(Causes::LINK));
        // The link may be up already.
        self.attention.signal();
        Ok(())
    }

    /// Puts the device to rest. Frames that are to be sent meanwhile are lost.
    async fn close(&self) -> Result {
        self.state.with(|state| {
            state.up = false;
            state.link = false;
        })?;
        self.interface.set_link(Link::default());
        for step in Hw::RESET {
            let delay = step(&self.hw);
            self.alarm.sleep(delay).await;
        }
        self.hw.silence();
        self.state.with(|state| {
            state.rx.clear()?;
            state.tx.clear()?;
            self.interface.reset_queue();
            if state.tx.stopped {
                state.tx.stopped = false;
                self.interface.wake_queue();
            }
            Ok(())
        })?
    }

    fn look(&self, state: &mut State) {
        if !state.up {
            return;
        }
        let missed = self.hw.take_missed();
        self.interface.stats().rx_missed_errors.add(missed.into());

        let link = self.hw.link();
        if link.up == state.link {
            return;
        }
        state.link = link.up;
        self.interface.set_link(link);
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
}
