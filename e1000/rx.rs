// SPDX-License-Identifier: GPL-2.0

//! Receiving.

use kernel::{
    device::{Bound, Device},
    prelude::*,
};

use super::{descriptors::RxStatus, device::Nic, hw::Hw, regs::Causes};
use crate::net::{BhOff, Interface, Poll, Ring, RxBuffers, RxPool, Skb, Stats};

/// What the device may write to a buffer at most: see `RCTL` in [`Hw::set_filter`]. Longer frames
/// are in several.
const BUFFER_SIZE: u32 = 2048;

/// The shortest ring.
pub(super) const MIN_LEN: usize = 64;

/// Frames up to this length are copied, and their buffer used again.
const COPY_BREAK: u32 = 256;

/// The receive ring.
///
/// Every descriptor has a buffer, so the one at the tail, which is not the device's, has, too.
pub(super) struct RxRing {
    pub(super) ring: Ring,
    buffers: RxBuffers,
    /// The next descriptor that the device will be done with.
    next: usize,
    partial: Partial,
    /// Frames with errors are wanted, too.
    pub(super) keeps_bad: bool,
}

/// The frame whose end has not come yet.
enum Partial {
    None,
    Frame(Skb),
    /// Part of it was bad, or could not be kept.
    Lost,
}

impl RxRing {
    pub(super) fn new(dev: &Device<Bound>, interface: Interface, len: usize) -> Result<Self> {
        Ok(Self {
            ring: Ring::new(dev, len)?,
            buffers: RxBuffers::new(interface, len)?,
            next: 0,
            partial: Partial::None,
            keeps_bad: false,
        })
    }

    /// Where buffers come from. It is made, and dropped, by threads that may sleep.
    pub(super) fn new_pool(interface: &Interface) -> Result<RxPool> {
        RxPool::new(interface, super::RING_LEN, BUFFER_SIZE)
    }

    /// Empties the ring; gives it a pool, or takes it away. The device must be at rest.
    pub(super) fn set_pool(&mut self, pool: Option<RxPool>) -> Option<RxPool> {
        self.buffers.set_pool(pool)
    }

    /// Fills the ring with buffers.
    pub(super) fn fill(&mut self) -> Result {
        self.next = 0;
        self.partial = Partial::None;
        for index in 0..self.ring.len() {
            self.ring.write(index, self.buffers.fill(index)?, 0);
        }
        Ok(())
    }

    /// Hands the ring over to the device, which has just been started.
    pub(super) fn start(&self, hw: &Hw) {
        hw.set_rx_tail(None, self.ring.len().wrapping_sub(1) as u32);
    }

    /// Whether the device has received just these bytes into descriptor `index`.
    pub(super) fn has(&self, index: usize, bytes: &[u8]) -> bool {
        let status = RxStatus(self.ring.status(index));
        status.is_done() && status.len() as usize == bytes.len() && self.buffers.holds(index, bytes)
    }

    /// Gives all buffers back. The device must be at rest.
    pub(super) fn clear(&mut self) {
        self.buffers.clear();
        self.partial = Partial::None;
        self.ring.clear();
    }

    /// Takes up to `budget` frames out of the ring, and gives the device descriptors for as many
    /// new ones.
    fn harvest(&mut self, bh: &BhOff, nic: &Nic, frames: &mut KVec<Skb>, budget: usize) -> Result {
        let stats = nic.interface.stats();
        let mut last = None;
        let mut bytes = 0;

        while frames.len() < budget {
            let status = RxStatus(self.ring.status(self.next));
            if !status.is_done() {
                break;
            }
            if let Some(frame) = self.take(bh, status, stats) {
                bytes += u64::from(frame.len());
                frames.push_within_capacity(frame)?;
            }
            let address = self.buffers.address(self.next)?;
            self.ring.write(self.next, address, 0);
            last = Some(self.next);
            self.next = self.ring.next(self.next);
        }

        if let Some(last) = last {
            nic.hw.set_rx_tail(Some(bh), last as u32);
            stats.received(frames.len() as u64, bytes);
        }
        Ok(())
    }

    /// Takes what is in the next buffer; gives a frame if that was the end of one. Frames that are
    /// lost are counted; their buffers stay for the next ones.
    fn take(&mut self, bh: &BhOff, status: RxStatus, stats: &Stats) -> Option<Skb> {
        let (end, len) = (status.is_end_of_packet(), status.len());
        let frame = match core::mem::replace(&mut self.partial, Partial::None) {
            Partial::Lost => Err(None),
            // Only at the end is it known; the device has counted it.
            _ if status.is_bad() && end && !self.keeps_bad => Err(None),
            Partial::None if end && len <= COPY_BREAK => self
                .buffers
                .copy(bh, self.next, len)
                .map_err(|_| Some(&stats.rx_dropped)),
            Partial::None => self
                .buffers
                .exchange(bh, self.next, len)
                .map_err(|_| Some(&stats.rx_dropped)),
            Partial::Frame(mut frame) => self
                .buffers
                .append(&mut frame, self.next, len)
                .map(|()| frame)
                .map_err(|_| Some(&stats.rx_dropped)),
        };
        match frame {
            Ok(mut frame) if end => {
                if let Some(tag) = status.vlan_tag() {
                    frame.set_vlan_tag(tag);
                }
                if status.checksum_is_good() {
                    frame.checksum_is_good();
                }
                return Some(frame);
            }
            Ok(frame) => self.partial = Partial::Frame(frame),
            Err(counter) => {
                if let Some(counter) = counter {
                    counter.add(1);
                }
                if !end {
                    self.partial = Partial::Lost;
                }
            }
        }
        None
    }
}

impl Nic {
    /// The poll: frees what has been sent, takes frames up into the stack. From the interrupt on,
    /// until it has found less than it might take, the device does not interrupt.
    pub(super) fn poll(&self, mut poll: Poll<'_>) -> usize {
        let budget = poll.budget();
        let (frames, bh) = poll.frames();
        let entered = self.state.enter(|state| {
            if budget == 0 {
                // A netpoll unmasks nothing afterwards: who watches goes on with that.
                if state.up {
                    self.reclaim(bh, state);
                }
                return Causes::NONE;
            }
            state.tx.watched = false;
            if !state.up {
                state.idle_interrupts += 1;
                return Causes::NONE;
            }
            let mut causes = Causes::RECEIVED;
            if !self.reclaim(bh, state) {
                state.tx.watched = true;
                causes = Causes::FRAMES;
            }
            if state.rx.harvest(bh, self, frames, budget).is_err() {
                self.interface.stats().rx_errors.add(1);
            }
            if frames.len() < budget {
                let gigabit = state.link.mbits == 1000;
                if state.throttle.adapt(self.interface.stats(), gigabit) {
                    self.hw.set_interrupt_rate(state.throttle.rate());
                }
            }
            causes
        });
        let Ok(causes) = entered else {
            // Another CPU is at it: come again.
            return budget;
        };
        // Outside, so that the stack may send meanwhile.
        let work = frames.len();
        poll.deliver();
        // What comes in before this makes the device interrupt as soon as it may, as it remembers
        // causes; unless another cause has made the top half read, and thereby clear, them all:
        // then there is another poll.
        if work < budget {
            let bh = poll.complete(work);
            if bh.is_some() && causes != Causes::NONE {
                self.hw.unmask(bh.as_ref(), causes);
            }
        }
        work
    }
}
