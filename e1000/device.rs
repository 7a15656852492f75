// SPDX-License-Identifier: GPL-2.0

//! The device as everybody shares it who has to do with it.

use coop_domain::prelude::*;
use kernel::{prelude::*, sync::Arc};

use super::{
    control::{Answer, Request},
    counters::Counters,
    hw::{Hw, Settings, Vlans},
    regs::Causes,
    rx::RxRing,
    tx::TxRing,
};
use crate::net::{
    self, BhOff, Filter, Interface, Link, Offloads, Operations, Pause, Poll, RxPool, Skb, Throttle,
};

/// What the coroutines of a device, its interrupt and the network stack know.
pub(super) struct Nic {
    pub(super) hw: Hw,
    pub(super) interface: Interface,
    /// For those inside the domain only: see [`State`].
    pub(super) state: DomainCell<State>,
    /// Something that happens seldom has happened.
    pub(super) attention: Arc<Signal>,
    /// The device does not send any more, though it should.
    pub(super) hung: Signal,
    /// The device was started.
    pub(super) started: Signal,
}

/// What changes. Only one at a time is inside the domain, be it a coroutine between two awaits, the
/// stack with a frame to send, or the poll: there is nothing to lock.
pub(super) struct State {
    /// The interface is up.
    pub(super) open: bool,
    /// The device is at work.
    pub(super) up: bool,
    pub(super) link: Link,
    /// Flow control as the device does it, and whether that is what has been negotiated.
    pub(super) pause: Pause,
    pub(super) negotiated: bool,
    pub(super) settings: Settings,
    pub(super) filter: Filter,
    pub(super) vlans: Vlans,
    pub(super) throttle: Throttle,
    pub(super) counters: Counters,
    /// How often the device stopped sending, and how often the stack had to wait for room.
    pub(super) hangs: u64,
    pub(super) waits: u64,
    /// Interrupts while the device was at rest.
    pub(super) idle_interrupts: u64,
    pub(super) rx: RxRing,
    pub(super) tx: TxRing,
}

impl Nic {
    /// The top half of the interrupt: masks all that the poll looks after, has it look.
    pub(super) fn interrupt(&self) -> Top {
        let causes = self.hw.take_causes();
        if causes == Causes::NONE {
            return Top::NotMine;
        }
        if causes.has(Causes::FRAMES) {
            self.interface.schedule_poll();
        }
        if causes.has(Causes::SELDOM) {
            // Gives the signal `attention`.
            Top::Wake
        } else {
            Top::Handled
        }
    }
}

impl Drop for Nic {
    fn drop(&mut self) {
        // Closed long ago, unless a coroutine has panicked: no memory goes that the device uses.
        if self.state.get_mut().up {
            self.hw.reset();
        }
    }
}

/// The network stack's end of the device. What frames need is done at once, inside the domain; for
/// everything else it calls a coroutine.
pub(crate) struct Frontend {
    pub(super) requests: Caller<Request, Result<Answer>>,
    pub(super) nic: Arc<Nic>,
}

impl Frontend {
    /// Has a coroutine do something, and waits for that.
    pub(super) fn ask(&self, request: Request) -> Result {
        self.requests.call(request)?.map(|_| ())
    }

    /// The same for what the stack, too, notes, or not: killed or not, both are to be of one mind.
    fn tell(&self, request: Request) -> Result {
        self.requests.call_uninterruptible(request)?.map(|_| ())
    }

    /// Lends a pool to a device that is down, or takes it away. What is to be freed is freed here,
    /// where one may sleep, killed or not.
    pub(super) fn set_pool(&self, pool: Option<RxPool>) -> Result {
        match self
            .requests
            .call_uninterruptible(Request::SetPool(pool))??
        {
            Answer::Pool(old) => drop(old),
            _ => return Err(EPROTO),
        }
        Ok(())
    }
}

impl Operations for Frontend {
    fn open(&self) -> Result {
        self.set_pool(Some(RxRing::new_pool(&self.nic.interface)?))?;
        self.ask(Request::Open).inspect_err(|_| self.stop())
    }

    fn stop(&self) {
        // Fails only if there is no domain any more, and then the device is at rest.
        let _ = self.requests.call_uninterruptible(Request::Close);
        let _ = self.set_pool(None);
    }

    fn resume(&self) -> Result {
        self.open()?;
        self.ask(Request::Renegotiate).inspect_err(|_| self.stop())
    }

    #[inline(always)]
    fn start_xmit(&self, bh: &BhOff, frame: Skb, more: bool) -> Result<(), Skb> {
        net::send_inside(&self.nic.state, frame, |state, frame| {
            self.nic.send(bh, state, frame, more)
        })
    }

    fn poll(&self, poll: Poll<'_>) -> usize {
        self.nic.poll(poll)
    }

    fn tx_timeout(&self) {
        self.nic.hung.signal();
    }

    fn set_address(&self, address: [u8; 6]) -> Result {
        self.tell(Request::SetAddress(address))
    }

    fn set_mtu(&self, mtu: u32) -> Result {
        self.tell(Request::SetMtu(mtu))
    }

    fn set_filter(&self, filter: Filter) -> Result {
        self.tell(Request::SetFilter(filter))
    }

    fn set_offloads(&self, offloads: Offloads) -> Result {
        self.tell(Request::SetOffloads(offloads))
    }

    fn set_vlan(&self, id: u16, wanted: bool) -> Result {
        self.tell(Request::SetVlan { id, wanted })
    }
}
