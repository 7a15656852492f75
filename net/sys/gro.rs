// SPDX-License-Identifier: GPL-2.0

//! The way of a frame up into the network stack.
//!
//! C header: [`include/net/gro.h`](srctree/include/net/gro.h)

use core::marker::PhantomData;

use super::{ffi, interface::Interface, skb::Skb};

/// Bottom halves are off on this CPU while this object lives.
///
/// Not `Send`: it belongs to a thread and a CPU, so no coroutine keeps it across an await.
pub(crate) struct BhOff(PhantomData<*mut ()>);

impl BhOff {
    pub(crate) fn new() -> Self {
        // SAFETY: Paired with the call in `drop`, on the same thread.
        unsafe { ffi::coop_net_bh_disable() };
        Self(PhantomData)
    }
}

impl Drop for BhOff {
    fn drop(&mut self) {
        // SAFETY: Paired with the call in `new`, on the same thread.
        unsafe { ffi::coop_net_bh_enable() };
    }
}

/// The one place of an interface where received frames enter the stack, joined into larger ones on
/// their way where they belong to one stream (generic receive offload).
///
/// The GRO part of a NAPI instance, without its softirq: the coroutine that receives calls it.
///
/// # Invariants
///
/// There is one object of this type per interface, so `&mut` is exclusive access to the GRO node.
pub(crate) struct Gro(Interface);

impl Gro {
    /// # Safety
    ///
    /// Called once per interface.
    pub(super) unsafe fn new(interface: Interface) -> Self {
        // INVARIANT: As the caller says.
        Self(interface)
    }

    /// Delivers frames, with bottom halves off; nothing is held back for later.
    pub(crate) fn deliver(&mut self, _bh: &BhOff, frames: impl Iterator<Item = Skb>) {
        let dev = self.0.as_ptr();
        for frame in frames {
            // SAFETY: `dev` is valid, `&mut self` is exclusive, bottom halves are off, and the
            // frame is handed over.
            unsafe { ffi::coop_net_receive(dev, frame.into_raw()) };
        }
        // SAFETY: As above.
        unsafe { ffi::coop_net_flush(dev) };
    }
}
