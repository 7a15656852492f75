// SPDX-License-Identifier: GPL-2.0

//! Receiving and sending.
//!
//! This device has no descriptors. It writes what it receives into a ring of bytes, one frame after
//! the other, each with a word in front that has its length; and sends from four slots. So all
//! frames are copied, which is why none of them is kept until it is sent.

use kernel::{
    device::{Bound, Device},
    dma::DmaAddress,
    prelude::*,
};

use super::{
    device::{Nic, State},
    hw::Hw,
    regs::{Causes, SLOTS},
};
use crate::net::{BhOff, Interface, Poll, SharedArea, Skb, Stats};

/// The receive ring, and what is behind it for a frame that begins before its end.
const RING_LEN: usize = 32 << 10;
const RING_AREA: usize = RING_LEN + 2048;

/// Longer frames than this there are none, checksum included.
const SLOT_LEN: usize = 1536;

/// A header and the checksum. (The device gives up what is shorter than Ethernet allows; on an
/// emulated wire that is not always filled up.)
const MIN_LEN: usize = 14 + CHECKSUM_LEN;

/// The checksum of Ethernet, at the end of frames that come in.
const CHECKSUM_LEN: usize = 4;

pub(super) struct RxRing {
    area: SharedArea,
    /// Where the next frame is going to be.
    position: usize,
}

impl RxRing {
    pub(super) fn new(dev: &Device<Bound>, interface: Interface) -> Result<Self> {
        Ok(Self {
            area: SharedArea::new(dev, interface, RING_AREA)?,
            position: 0,
        })
    }

    pub(super) fn dma_address(&self) -> DmaAddress {
        self.area.dma_address()
    }

    /// The device begins anew.
    pub(super) fn clear(&mut self) {
        self.position = 0;
    }

    /// Takes up to `budget` frames out of the ring. An error: it has something else in it.
    fn harvest(&mut self, bh: &BhOff, nic: &Nic, frames: &mut KVec<Skb>, budget: usize) -> Result {
        let (begin, end) = (self.position, nic.hw.written());
        let result = self.take(bh, nic.interface.stats(), frames, budget, end);
        if self.position != begin {
            nic.hw.set_read(self.position);
        }
        result
    }

    fn take(
        &mut self,
        bh: &BhOff,
        stats: &Stats,
        frames: &mut KVec<Skb>,
        budget: usize,
        end: usize,
    ) -> Result {
        while self.position != end && frames.len() < budget {
            let header = self.area.word(self.position)?;
            let (good, len) = (header & 1 != 0, (header >> 16) as usize);
            // Not all of it is there.
            if len == 0xfff0 {
                break;
            }
            if !good || !(MIN_LEN..=SLOT_LEN).contains(&len) {
                return Err(EIO);
            }
            match self.area.take(bh, self.position + 4, len - CHECKSUM_LEN) {
                Ok(frame) => {
                    stats.received(1, frame.len().into());
                    frames.push_within_capacity(frame)?;
                }
                Err(_) => stats.rx_dropped.add(1),
            }
            self.position = (self.position + 4 + len).next_multiple_of(4) % RING_LEN;
        }
        Ok(())
    }
}

/// The slots to send from: `oldest..next` are the device's, in turn.
pub(super) struct TxSlots {
    area: SharedArea,
    oldest: usize,
    next: usize,
    /// The stack has to wait for room.
    pub(super) stopped: bool,
}

impl TxSlots {
    pub(super) const SLOT_LEN: u32 = SLOT_LEN as u32;

    pub(super) fn new(dev: &Device<Bound>, interface: Interface) -> Result<Self> {
        Ok(Self {
            area: SharedArea::new(dev, interface, SLOTS * SLOT_LEN)?,
            oldest: 0,
            next: 0,
            stopped: false,
        })
    }

    pub(super) fn dma_address(&self) -> DmaAddress {
        self.area.dma_address()
    }

    /// The device begins anew.
    pub(super) fn clear(&mut self) {
        (self.oldest, self.next) = (0, 0);
    }

    fn has_room(&self) -> bool {
        self.next.wrapping_sub(self.oldest) < SLOTS
    }

    fn send(&mut self, hw: &Hw, frame: Skb) -> Result<u32> {
        let slot = self.next % SLOTS;
        let len = self.area.put(slot * SLOT_LEN, SLOT_LEN, frame)?;
        hw.send(slot, len);
        self.next = self.next.wrapping_add(1);
        Ok(len)
    }

    /// Looks which slots are free again. Returns how many frames could not be sent.
    fn reclaim(&mut self, hw: &Hw) -> u64 {
        let mut failed = 0;
        if self.oldest != self.next {
            let sent = hw.sent();
            while self.oldest != self.next && sent.done >> (self.oldest % SLOTS) & 1 != 0 {
                failed += u64::from(sent.failed >> (self.oldest % SLOTS) & 1);
                self.oldest = self.oldest.wrapping_add(1);
            }
        }
        failed
    }
}

impl Nic {
    /// Sends a frame. Inside the domain.
    pub(super) fn send(&self, state: &mut State, frame: Skb) -> Result<(), Skb> {
        if !state.up || !state.tx.has_room() {
            // It was the stack's turn already when the queue was stopped.
            return Err(frame);
        }
        match state.tx.send(&self.hw, frame) {
            Ok(len) => self.interface.stats().sent(1, len.into()),
            Err(_) => self.interface.stats().tx_dropped.add(1),
        }
        if !state.tx.has_room() {
            self.reclaim(state);
        }
        if !state.tx.has_room() {
            state.tx.stopped = true;
            self.interface.stop_queue();
            self.hw.unmask(state.causes());
        }
        Ok(())
    }

    fn reclaim(&self, state: &mut State) {
        let failed = state.tx.reclaim(&self.hw);
        self.interface.stats().tx_errors.add(failed);
        if state.tx.stopped && state.tx.has_room() {
            state.tx.stopped = false;
            self.interface.wake_queue();
        }
    }

    /// The poll. From the interrupt on, until it has found less than it might take, the device does
    /// not interrupt.
    pub(super) fn poll(&self, mut poll: Poll<'_>) -> usize {
        let budget = poll.budget();
        let (frames, bh) = poll.frames();
        let entered = self.state.enter(|state| {
            if state.up {
                self.harvest(bh, state, frames, budget);
            }
        });
        if entered.is_err() {
            // Another CPU is at it: come again.
            return budget;
        }
        // Outside, so that the stack may send meanwhile.
        let work = frames.len();
        poll.deliver();
        if work < budget && poll.complete(work).is_some() {
            let unmask = |state: &mut State| {
                if state.up {
                    self.hw.unmask(state.causes());
                }
            };
            if self.state.enter(unmask).is_err() {
                self.interface.schedule_poll();
            }
        }
        work
    }

    fn harvest(&self, bh: &BhOff, state: &mut State, frames: &mut KVec<Skb>, budget: usize) {
        let stats = self.interface.stats();
        self.reclaim(state);
        if budget == 0 {
            return;
        }
        // First, so that what comes from now on interrupts when it may.
        let causes = self.hw.raised();
        self.hw.acknowledge(Causes::RECEIVED.or(Causes::SENT));
        if state.rx.harvest(bh, self, frames, budget).is_err() {
            stats.rx_errors.add(1);
            self.hw.restart_receiver(None);
            state.rx.clear();
        }
        if causes.has(Causes::FULL) {
            // Only now that there is room.
            self.hw.acknowledge(Causes::FULL);
            stats.rx_missed_errors.add(self.hw.take_missed());
        }
    }
}
