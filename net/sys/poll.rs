// SPDX-License-Identifier: GPL-2.0

//! The poll of an interface (NAPI): the softirq in which frames are received.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use kernel::{
    bindings::device,
    device::{Bound, Device},
    ffi::c_int,
    prelude::*,
};

use super::{ffi, interface::Interface, raw_device, skb::Skb};

/// Bottom halves are off on this CPU, and the driver is bound to its device.
///
/// Not `Send`: it belongs to a thread and a CPU.
///
/// # Invariants
///
/// The device stays bound as long as this object lives.
pub(crate) struct BhOff(*mut device);

impl BhOff {
    /// # Safety
    ///
    /// Bottom halves are off, and `interface` registered, for as long as the object lives.
    #[inline]
    pub(super) unsafe fn new(interface: &Interface) -> Self {
        // INVARIANT: Who registers an interface has it unregistered before the driver is unbound.
        Self(raw_device(interface.parent()))
    }

    #[inline]
    pub(super) fn device(&self) -> &Device<Bound> {
        // SAFETY: By the type's invariant.
        unsafe { Device::from_raw(self.0) }
    }
}

/// One run of the poll.
pub(crate) struct Poll<'a> {
    interface: &'a Interface,
    frames: &'a mut KVec<Skb>,
    budget: usize,
    pub(crate) bh: BhOff,
}

/// The most frames that a poll may take.
const MAX_BUDGET: usize = 64;

impl<'a> Poll<'a> {
    /// # Safety
    ///
    /// Called in the poll of `interface`.
    pub(super) unsafe fn new(
        interface: &'a Interface,
        frames: &'a mut KVec<Skb>,
        budget: c_int,
    ) -> Self {
        Self {
            interface,
            frames,
            budget: budget.clamp(0, MAX_BUDGET as c_int) as usize,
            // SAFETY: Polls run with bottom halves off, of registered interfaces only.
            bh: unsafe { BhOff::new(interface) },
        }
    }

    /// Room for the frames of one poll.
    pub(super) fn room() -> Result<KVec<Skb>> {
        Ok(KVec::with_capacity(MAX_BUDGET, GFP_KERNEL)?)
    }

    /// How many frames may be taken now; 0 if only frames that were sent are to be freed.
    pub(crate) fn budget(&self) -> usize {
        self.budget
    }

    /// Where to put them, and the proof that bottom halves are off.
    pub(crate) fn frames(&mut self) -> (&mut KVec<Skb>, &BhOff) {
        (self.frames, &self.bh)
    }

    /// Passes the frames on to the stack, which joins those of one stream (GRO).
    pub(crate) fn deliver(&mut self) {
        for frame in self.frames.drain_all() {
            // SAFETY: `dev` is valid, this is its poll, and the frame is handed over.
            unsafe { ffi::coop_net_receive(self.interface.as_ptr(), frame.into_raw()) };
        }
    }

    /// Ends the poll, in which `work` frames were taken, fewer than the budget. If the device is not
    /// to interrupt again, because there is going to be another poll, `None`.
    pub(crate) fn complete(self, work: usize) -> Option<BhOff> {
        // SAFETY: `dev` is valid, and this is its poll.
        let done = unsafe { ffi::coop_net_complete_poll(self.interface.as_ptr(), work as c_int) };
        // Until the poll returns bottom halves stay off, for which unregistering waits (RCU).
        done.then_some(self.bh)
    }
}
