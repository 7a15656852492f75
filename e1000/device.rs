// SPDX-License-Identifier: GPL-2.0

//! The device as its coroutines share it.

use coop_domain::prelude::*;
use kernel::{prelude::*, sync::Arc};

use super::{
    control::Request,
    hw::{Hw, Settings},
    regs::Causes,
    rx::RxRing,
    tx::TxRing,
};
use crate::net::{Filter, Interface, Operations, Skb};

/// What all coroutines of a device, and its interrupt, know.
pub(super) struct Nic {
    pub(super) hw: Hw,
    pub(super) interface: Interface,
    /// For the coroutines only: see [`State`].
    pub(super) state: DomainCell<State>,
    /// Frames came in, and [`Causes::RECEIVED`] is masked.
    pub(super) received: Arc<Signal>,
    /// Frames were sent, and [`Causes::SENT`] is masked.
    pub(super) sent: Signal,
    /// Something that happens seldom has happened.
    pub(super) attention: Signal,
    /// There may be room in the transmit ring again.
    pub(super) room: Signal,
    /// The device does not send any more, though it should.
    pub(super) hung: Signal,
}

/// What changes. Only one coroutine runs at a time, and none is interrupted by another between two
/// awaits: there is nothing to lock.
pub(super) struct State {
    pub(super) up: bool,
    pub(super) link: bool,
    pub(super) settings: Settings,
    pub(super) rx: RxRing,
    pub(super) tx: TxRing,
}

impl Nic {
    /// The top half of the interrupt: finds out what it is about, masks that, wakes whose it is.
    pub(super) fn interrupt(&self) -> Top {
        const MASKED: Causes = Causes::RECEIVED.or(Causes::SENT);

        let causes = self.hw.take_causes();
        if causes == Causes::NONE {
            return Top::NotMine;
        }
        if causes.has(MASKED) {
            self.hw.mask(causes.and(MASKED));
        }
        if causes.has(Causes::SENT) {
            self.sent.signal();
        }
        if causes.has(Causes::LINK.or(Causes::OVERRUN)) {
            self.attention.signal();
        }
        if causes.has(Causes::RECEIVED) {
            // Gives the signal `received`.
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

/// The network stack's end of the device: it posts frames, and calls for everything else.
pub(super) struct Frontend {
    pub(super) requests: Caller<Request, Result>,
    pub(super) frames: Sender<Skb>,
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

    fn start_xmit(&self, frame: Skb, _more: bool) -> Result<(), Skb> {
        match self.frames.try_post(frame) {
            Err(error) if error.kind() == PostErrorKind::Full => Err(error.into_inner()),
            // Nobody is there to send it, now or later: it is dropped.
            _ => Ok(()),
        }
    }

    fn tx_timeout(&self) {
        self.nic.hung.signal();
    }

    fn set_address(&self, address: [u8; 6]) -> Result {
        self.requests.call(Request::SetAddress(address))?
    }

    fn set_mtu(&self, mtu: u32) -> Result {
        self.requests.call(Request::SetMtu(mtu))?
    }

    fn set_filter(&self, filter: Filter) -> Result {
        self.requests.call(Request::SetFilter(filter))?
    }
}
