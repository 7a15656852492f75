// SPDX-License-Identifier: GPL-2.0

//! Sending.

use coop_domain::prelude::*;
use kernel::{
    device::{Bound, Device},
    prelude::*,
    sync::Arc,
};

use super::{
    device::{Nic, State},
    regs::{Causes, TxStatus},
    ring::Ring,
};
use crate::net::{BhOff, Skb, Stats, TxBuffers};

/// The transmit ring: `oldest..next` are the device's.
pub(super) struct TxRing {
    pub(super) ring: Ring,
    frames: TxBuffers,
    /// The oldest descriptor that is not known to be done with.
    oldest: usize,
    /// The descriptor for the next frame.
    next: usize,
}

impl TxRing {
    pub(super) fn new(dev: &Device<Bound>) -> Result<Self> {
        Ok(Self {
            ring: Ring::new(dev)?,
            frames: TxBuffers::new(dev, Ring::LEN)?,
            oldest: 0,
            next: 0,
        })
    }

    /// Gives up what has not been sent. The device must be at rest.
    pub(super) fn clear(&mut self) -> Result {
        self.frames.clear();
        self.oldest = 0;
        self.next = 0;
        self.ring.clear()
    }

    fn is_full(&self) -> bool {
        Ring::next(self.next) == self.oldest
    }

    fn is_empty(&self) -> bool {
        self.next == self.oldest
    }

    /// Writes a descriptor for a frame. There must be room.
    fn push(&mut self, frame: Skb) -> Result {
        let frame = frame.pad().ok_or(ENOMEM)?;
        let len = frame.len();
        let address = self.frames.put(self.next, frame)?;
        self.ring.write(self.next, address, TxStatus::send(len).0)?;
        self.next = Ring::next(self.next);
        Ok(())
    }

    fn oldest_is_done(&self) -> bool {
        !self.is_empty()
            && self
                .ring
                .status(self.oldest)
                .is_ok_and(|status| TxStatus(status).is_done())
    }

    /// Frees the frames that have been sent.
    fn reclaim(&mut self, bh: &BhOff, stats: &Stats) {
        let (mut packets, mut bytes) = (0, 0);
        while self.oldest_is_done() {
            if let Some(frame) = self.frames.take(self.oldest) {
                packets += 1;
                bytes += u64::from(frame.len());
                frame.consume(bh);
            }
            self.oldest = Ring::next(self.oldest);
        }
        if packets != 0 {
            stats.sent(packets, bytes);
        }
    }
}

/// The coroutine that sends: it takes frames from the mailbox that the network stack posts them to
/// and puts them into the ring, as many at a time as there are and fit.
pub(super) async fn transmit(nic: Arc<Nic>, mut frames: Receiver<Skb>) -> Result {
    while let Some(frame) = frames.recv().await {
        // There is room for it: see the end of the loop.
        nic.state
            .with(|state| nic.send(state, frame, &mut frames))?;
        // Room was made in the mailbox.
        nic.interface.wake_queue();

        yield_now().await;
        while nic.state.with(|state| state.tx.is_full())? {
            nic.room.wait().await;
        }
    }
    Ok(())
}

/// The coroutine that frees frames that were still being sent when [`transmit`] was done with them.
pub(super) async fn reclaim(nic: Arc<Nic>) -> Result {
    loop {
        nic.sent.wait().await;
        nic.state.with(|state| nic.reclaim(state))?;
        nic.room.signal();
    }
}

impl Nic {
    /// Sends a frame, and those that wait in `more`.
    fn send(&self, state: &mut State, frame: Skb, more: &mut Receiver<Skb>) {
        if !state.up {
            return;
        }
        let mut next = Some(frame);
        while let Some(frame) = next {
            if state.tx.push(frame).is_err() {
                self.interface.stats().tx_dropped.add(1);
            }
            next = if state.tx.is_full() {
                None
            } else {
                more.try_recv()
            };
        }
        self.hw.set_tx_tail(state.tx.next as u32);
        self.reclaim(state);
    }

    /// Frees what has been sent; if anything is left, an interrupt will tell when to come again.
    fn reclaim(&self, state: &mut State) {
        let bh = BhOff::new();
        let stats = self.interface.stats();
        state.tx.reclaim(&bh, stats);
        if !state.up || state.tx.is_empty() {
            return;
        }
        // Look once more afterwards, for the reason given in `rx::poll`.
        self.hw.unmask(Causes::SENT);
        state.tx.reclaim(&bh, stats);
    }
}
