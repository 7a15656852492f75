// SPDX-License-Identifier: GPL-2.0

//! Receiving.

use coop_domain::prelude::*;
use kernel::{
    device::{Bound, Device},
    prelude::*,
    sync::Arc,
};

use super::{
    device::Nic,
    hw::Hw,
    regs::{Causes, RxStatus},
    ring::Ring,
};
use crate::net::{BhOff, Gro, Interface, RxBuffers, Skb};

/// What the device may write to a buffer at most: see `RCTL` in [`Hw::start`].
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
}

impl RxRing {
    pub(super) fn new(dev: &Device<Bound>, interface: Interface) -> Result<Self> {
        Ok(Self {
            ring: Ring::new(dev)?,
            buffers: RxBuffers::new(dev, interface, Ring::LEN, BUFFER_SIZE)?,
            next: 0,
        })
    }

    /// Fills the ring with buffers.
    pub(super) fn fill(&mut self) -> Result {
        self.next = 0;
        for index in 0..Ring::LEN {
            self.ring.write(index, self.buffers.fill(index)?, 0)?;
        }
        Ok(())
    }

    /// Hands the ring over to the device, which has just been started.
    pub(super) fn start(&self, hw: &Hw) {
        hw.set_rx_tail(Ring::LEN as u32 - 1);
    }

    /// Gives all buffers back. The device must be at rest.
    pub(super) fn clear(&mut self) -> Result {
        self.buffers.clear();
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
            if status.is_bad() || !status.is_end_of_packet() {
                stats.rx_errors.add(1);
            } else {
                match self.take(bh, status.len()) {
                    Ok(frame) => {
                        bytes += u64::from(status.len());
                        frames.push_within_capacity(frame)?;
                    }
                    // The buffer stays for the next frame.
                    Err(_) => stats.rx_dropped.add(1),
                }
            }
            self.ring
                .write(self.next, self.buffers.address(self.next)?, 0)?;
            last = Some(self.next);
            self.next = Ring::next(self.next);
        }

        if let Some(last) = last {
            nic.hw.set_rx_tail(last as u32);
            stats.received(frames.len() as u64, bytes);
        }
        Ok(budget == 0)
    }

    fn take(&mut self, bh: &BhOff, len: u32) -> Result<Skb> {
        if len <= COPY_BREAK {
            self.buffers.copy(bh, self.next, len)
        } else {
            self.buffers.exchange(bh, self.next, len)
        }
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
