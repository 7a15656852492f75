// SPDX-License-Identifier: GPL-2.0

//! Frames.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)

use core::{mem::ManuallyDrop, ptr::NonNull};

use kernel::{bindings, ffi::c_void};

use super::{ffi, gro::BhOff};

/// One frame, a `struct sk_buff`. Dropping it gives the frame up.
///
/// # Invariants
///
/// The pointer is to an `sk_buff` that this object owns, all of whose data is linear: the
/// interfaces made here do not announce scatter-gather, so the stack makes it so.
pub(crate) struct Skb(NonNull<bindings::sk_buff>);

// SAFETY: An `sk_buff` belongs to whoever holds it, not to a thread.
unsafe impl Send for Skb {}

impl Skb {
    /// # Safety
    ///
    /// `skb` is a valid, linear `sk_buff`, and the caller hands it over.
    pub(super) unsafe fn from_raw(skb: NonNull<bindings::sk_buff>) -> Self {
        // INVARIANT: As the caller says.
        Self(skb)
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::sk_buff {
        self.0.as_ptr()
    }

    pub(super) fn into_raw(self) -> *mut bindings::sk_buff {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// The length of the frame, without its checksum.
    pub(crate) fn len(&self) -> u32 {
        // SAFETY: By the type's invariant.
        unsafe { (*self.as_ptr()).len }
    }

    pub(super) fn data(&self) -> *mut c_void {
        // SAFETY: By the type's invariant.
        unsafe { (*self.as_ptr()).data.cast() }
    }

    /// Fills a short frame up with zeroes to the 60 bytes that Ethernet asks for.
    ///
    /// `None` if there is no memory for that: the frame is gone then.
    pub(crate) fn pad(self) -> Option<Self> {
        let skb = ManuallyDrop::new(self);
        // SAFETY: By the type's invariant; the function frees the frame if it fails.
        unsafe { ffi::coop_net_tx_pad(skb.as_ptr()) }.then(|| ManuallyDrop::into_inner(skb))
    }

    /// The frame has been sent: like dropping it, but not counted as a loss.
    pub(crate) fn consume(self, _bh: &BhOff) {
        // SAFETY: By the type's invariant. Bottom halves are off, which a budget other than zero
        // asks for.
        unsafe { bindings::napi_consume_skb(self.into_raw(), 1) };
    }
}

impl Drop for Skb {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant. Valid in any context.
        unsafe { ffi::coop_net_tx_drop(self.as_ptr()) };
    }
}
