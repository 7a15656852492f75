// SPDX-License-Identifier: GPL-2.0

//! Receiving.

use coop_domain::prelude::*;
use kernel::{
    device::{Bound, Device},
    prelude::*,
    sync::Arc,
};

use super::{descriptors::RxStatus, device::Nic, hw::Hw, regs::Causes, ring::Ring};
use crate::net::{BhOff, Gro, Interface, RxBuffers, Skb, Stats};

/// What the device may write to a buffer at most: see `RCTL` in [`Hw::set_filter`]. Longer frames
/// are in several.
const BUFFER_SIZE: u32 = 2048;

/// Frames up to this length are copied, and their buffer used again.
const COPY_BREAK: u32 = 256;

/// So many frames are taken before others get their turn.
const BUDGET: usize = 64;

/// The receive ring.
///
/// Every descriptor has a buffer, so the one at the tail, which is not the device's, has, too.
pub(super) struct RxRing {
    pub(super) ring: Ring,
    buffers: RxBuffers,
    /// The next descriptor that the device will be done with.
    next: usize,
    partial: Partial,
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
            buffers: RxBuffers::new(dev, interface, len, BUFFER_SIZE)?,
            next: 0,
            partial: Partial::None,
        })
    }

    /// Fills the ring with buffers.
    pub(super) fn fill(&mut self) -> Result {
        self.next = 0;
        self.partial = Partial::None;
        for index in 0..self.ring.len() {
            self.ring.write(index, self.buffers.fill(index)?, 0)?;
        }
        Ok(())
    }

    /// Hands the ring over to the device, which has just been started.
    pub(super) fn start(&self, hw: &Hw) {
        hw.set_rx_tail(self.ring.len().wrapping_sub(1) as u32);
    }

    /// Gives all buffers back. The device must be at rest.
    pub(super) fn clear(&mut self) -> Result {
        self.buffers.clear();
        self.partial = Partial::None;
        self.ring.clear()
    }

    /// Whether the device has finished a descriptor that was not looked at yet.
    fn has_frame(&self) -> bool {
        self.ring
            .status(self.next)
            .is_ok_and(|status| RxStatus(status).is_done())
    }

    /// Takes what came in out of the ring, up to [`BUDGET`], and gives the device descriptors for
    /// as many new frames. Whether the budget was used up.
    fn harvest(&mut self, bh: &BhOff, nic: &Nic, frames: &mut KVec<Skb>) -> Result<bool> {
        let stats = nic.interface.stats();
        let mut last = None;
        let mut bytes = 0;
        let mut budget = BUDGET;

        while budget > 0 {
            let status = RxStatus(self.ring.status(self.next)?);
            if !status.is_done() {
                break;
            }
            budget -= 1;
            if let Some(frame) = self.take(bh, status, stats) {
                bytes += u64::from(frame.len());
                frames.push_within_capacity(frame)?;
            }
            self.ring
                .write(self.next, self.buffers.address(self.next)?, 0)?;
            last = Some(self.next);
            self.next = self.ring.next(self.next);
        }

        if let Some(last) = last {
            nic.hw.set_rx_tail(last as u32);
            stats.received(frames.len() as u64, bytes);
        }
        Ok(budget == 0)
    }

    /// Takes what is in the next buffer; gives a frame if that was the end of one. Frames that are
    /// lost are counted; their buffers stay for the next ones.
    fn take(&mut self, bh: &BhOff, status: RxStatus, stats: &Stats) -> Option<Skb> {
        let (end, len) = (status.is_end_of_packet(), status.len());
        let frame = match core::mem::replace(&mut self.partial, Partial::None) {
            Partial::Lost => Err(None),
            _ if status.is_bad() => Err(Some(&stats.rx_errors)),
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

/// The coroutine that receives: the interrupt announces frames and stays masked until all of them
/// are taken.
pub(super) async fn receive(nic: Arc<Nic>, mut gro: Gro) -> Result {
    let mut frames = KVec::with_capacity(BUDGET, GFP_KERNEL)?;

    loop {
        nic.received.wait().await;
        while poll(&nic, &mut gro, &mut frames)? {
            yield_now().await;
        }
    }
}

/// Takes frames up into the stack. Whether there are, or may be, more; if not, the interrupt is on.
fn poll(nic: &Nic, gro: &mut Gro, frames: &mut KVec<Skb>) -> Result<bool> {
    let bh = BhOff::new();
    let more = nic.state.with(|state| {
        if !state.up {
            return Ok(false);
        }
        if state.rx.harvest(&bh, nic, frames)? {
            return Ok(true);
        }
        // All taken. A frame that comes after the last look and before the unmasking interrupts
        // as soon as it is unmasked, as the device remembers causes; unless another cause has
        // made the top half read, and thereby clear, them all. So look once more.
        nic.hw.unmask(Causes::RECEIVED);
        if !state.rx.has_frame() {
            return Ok(false);
        }
        nic.hw.mask(Causes::RECEIVED);
        Ok(true)
    })?;
    gro.deliver(&bh, frames.drain_all());
    more
}
