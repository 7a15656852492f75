// SPDX-License-Identifier: GPL-2.0

//! The device as everybody shares it who has to do with it, and the coroutine that controls it.

use coop_domain::prelude::*;
use kernel::{prelude::*, sync::Arc, time::Delta};

use super::{
    frames::{RxRing, TxSlots},
    hw::Hw,
    regs::Causes,
};
use crate::net::{
    self, BhOff, Ethtool, Filter, Interface, Link, LinkMode, LinkModes, Modes, Operations, Poll,
    Skb,
};

/// What the coroutine of a device, its interrupt and the network stack know.
pub(super) struct Nic {
    pub(super) hw: Hw,
    pub(super) interface: Interface,
    /// For those inside the domain only: see [`State`].
    pub(super) state: DomainCell<State>,
    /// The link went up or down.
    pub(super) link_changed: Arc<Signal>,
    /// The device does not send any more, though it should.
    pub(super) hung: Signal,
}

/// What changes: only one at a time is inside the domain, so there is nothing to lock.
pub(super) struct State {
    /// The device is at work.
    pub(super) up: bool,
    pub(super) address: [u8; 6],
    pub(super) filter: Filter,
    pub(super) rx: RxRing,
    pub(super) tx: TxSlots,
}

impl State {
    /// What is to interrupt. That something was sent is of interest only if somebody waits for it.
    ///
    /// The top half switches all off, and has the poll run; all others switch on what this says,
    /// from inside the domain. So whoever comes last is right.
    pub(super) fn causes(&self) -> Causes {
        let causes = Causes::RECEIVED.or(Causes::LINK);
        if self.tx.stopped {
            causes.or(Causes::SENT)
        } else {
            causes
        }
    }
}

/// What the network stack asks for, and waits for.
pub(super) enum Request {
    Open,
    Close,
    SetAddress([u8; 6]),
    SetFilter(Filter),
}

/// The coroutine that controls the device: what it does is never half done when something else has
/// to be done.
pub(super) async fn control(
    nic: Arc<Nic>,
    mut requests: Receiver<coop_domain::Request<Request, Result>>,
) -> Result {
    loop {
        select! {
            request = requests.recv() => {
                let Some(request) = request else { return Ok(()) };
                let (request, reply) = request.into_parts();
                let opening = matches!(request, Request::Open);
                let result = nic.handle(request).await;
                // If the caller was killed meanwhile, the stack believes that opening failed.
                if reply.send(result).is_err() && opening {
                    nic.close().await?;
                }
            },
            () = nic.link_changed.wait() => nic.look()?,
            () = nic.hung.wait() => nic.recover().await?,
        }
    }
}

impl Nic {
    /// The top half of the interrupt.
    pub(super) fn interrupt(&self) -> Top {
        let causes = self.hw.interrupting();
        if causes == Causes::NONE {
            return Top::NotMine;
        }
        self.hw.unmask(Causes::NONE);
        self.interface.schedule_poll();
        if causes.has(Causes::LINK) {
            self.hw.acknowledge(Causes::LINK);
            // Gives the signal `link_changed`.
            Top::Wake
        } else {
            Top::Handled
        }
    }

    async fn handle(&self, request: Request) -> Result {
        match request {
            Request::Open => self.state.with(|state| self.start(state)),
            Request::Close => self.close().await,
            Request::SetAddress(address) => self.state.with(|state| {
                state.address = address;
                if state.up {
                    self.hw.set_address(address);
                }
            }),
            Request::SetFilter(filter) => self.state.with(|state| {
                state.filter = filter;
                if state.up && self.hw.set_filter(&state.filter) {
                    state.rx.clear();
                }
            }),
        }
    }

    /// Has the device, which is at rest, begin.
    fn start(&self, state: &mut State) {
        state.rx.clear();
        state.tx.clear();
        self.hw.set_address(state.address);
        self.hw.start(
            state.rx.dma_address(),
            state.tx.dma_address(),
            TxSlots::SLOT_LEN,
        );
        self.hw.set_filter(&state.filter);
        state.up = true;
        state.tx.stopped = false;
        self.interface.wake_queue();
        self.hw.unmask(state.causes());
        // The link may be up already.
        self.link_changed.signal();
    }

    /// Puts the device to rest; the stack has to wait.
    async fn rest(&self) -> Result {
        self.state.with(|state| {
            state.up = false;
            state.tx.stopped = true;
            self.interface.stop_queue();
        })?;
        self.hw.begin_reset();
        for _ in 0..1000 {
            if self.hw.is_reset() {
                return Ok(());
            }
            sleep(Delta::from_micros(10)).await;
        }
        Err(ETIMEDOUT)
    }

    async fn close(&self) -> Result {
        self.interface.set_link(Link::default());
        self.rest().await
    }

    async fn recover(&self) -> Result {
        if self.state.with(|state| state.up)? {
            pr_warn!("{}: does not send any more: reset\n", self.interface.name());
            self.interface.stats().tx_errors.add(1);
            match self.rest().await {
                Ok(()) => self.state.with(|state| self.start(state))?,
                Err(error) => pr_err!("{}: reset failed: {error:?}\n", self.interface.name()),
            }
        }
        Ok(())
    }

    /// Looks after the link.
    fn look(&self) -> Result {
        if self.state.with(|state| state.up)? {
            self.interface.change_link(self.hw.link());
        }
        Ok(())
    }
}

impl Drop for Nic {
    fn drop(&mut self) {
        // Closed long ago, unless a coroutine has panicked: no memory goes that the device uses.
        if self.state.get_mut().up {
            let _ = self.hw.reset();
        }
    }
}

/// The network stack's end of the device. What frames need is done at once, inside the domain; for
/// everything else it calls the coroutine.
pub(crate) struct Frontend {
    pub(super) requests: Caller<Request, Result>,
    pub(super) nic: Arc<Nic>,
}

impl Operations for Frontend {
    fn open(&self) -> Result {
        self.requests.call(Request::Open)?
    }

    fn stop(&self) {
        // Fails only if there is no domain any more, and then the device is at rest.
        let _ = self.requests.call_uninterruptible(Request::Close);
    }

    fn start_xmit(&self, _bh: &BhOff, frame: Skb, _more: bool) -> Result<(), Skb> {
        net::send_inside(&self.nic.state, frame, |state, frame| {
            self.nic.send(state, frame)
        })
    }

    fn poll(&self, poll: Poll<'_>) -> usize {
        self.nic.poll(poll)
    }

    fn tx_timeout(&self) {
        self.nic.hung.signal();
    }

    // Killed or not, the stack and the device are to be of one mind in these.
    fn set_address(&self, address: [u8; 6]) -> Result {
        self.requests
            .call_uninterruptible(Request::SetAddress(address))?
    }

    fn set_filter(&self, filter: Filter) -> Result {
        self.requests
            .call_uninterruptible(Request::SetFilter(filter))?
    }
}

#[vtable]
impl Ethtool for Frontend {
    fn link_modes(&self) -> Result<LinkModes> {
        let modes = Modes::HALF_10
            .and(Modes::FULL_10)
            .and(Modes::HALF_100)
            .and(Modes::FULL_100);
        Ok(LinkModes {
            supported: modes.and(Modes::NEGOTIATION).and(Modes::TWISTED_PAIR),
            mode: LinkMode::Negotiate(modes),
        })
    }
}
