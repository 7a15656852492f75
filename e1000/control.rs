// SPDX-License-Identifier: GPL-2.0

//! Going up and down, and the state of the link.

use coop_domain::prelude::*;
use kernel::{prelude::*, sync::Arc};

use super::{
    device::{Nic, State},
    regs::Causes,
};
use crate::net::Link;

/// What the network stack asks for, and waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    Open,
    Close,
}

/// The coroutine that answers [`Request`]s.
pub(super) async fn control(
    nic: Arc<Nic>,
    mut requests: Receiver<coop_domain::Request<Request, Result>>,
) -> Result {
    while let Some(request) = requests.recv().await {
        let (request, reply) = request.into_parts();
        let result = nic.state.with(|state| match request {
            Request::Open => nic.open(state),
            Request::Close => nic.close(state),
        })?;
        // If the caller was killed meanwhile, the stack believes that opening failed.
        if reply.send(result).is_err() && request == Request::Open {
            nic.state.with(|state| nic.close(state))??;
        }
    }
    Ok(())
}

/// The coroutine that looks after what happens seldom: the link, frames lost.
pub(super) async fn watch(nic: Arc<Nic>) -> Result {
    loop {
        nic.attention.wait().await;
        nic.state.with(|state| nic.look(state))?;
    }
}

impl Nic {
    fn open(&self, state: &mut State) -> Result {
        if state.up {
            return Err(EBUSY);
        }
        if let Err(error) = state.rx.fill() {
            state.rx.clear()?;
            return Err(error);
        }
        self.hw.start(&self.address, &state.rx.ring, &state.tx.ring);
        state.rx.start(&self.hw);
        state.up = true;
        self.hw.unmask(Causes::RECEIVED.or(Causes::LINK));
        // The link may be up already.
        self.attention.signal();
        Ok(())
    }

    fn close(&self, state: &mut State) -> Result {
        self.hw.reset();
        state.up = false;
        state.rx.clear()?;
        state.tx.clear()?;
        state.link = false;
        self.interface.set_link(Link::default());
        // Whoever waits for room gets its turn and sees that the interface is down.
        self.room.signal();
        Ok(())
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
