// SPDX-License-Identifier: GPL-2.0

//! Frames.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)

use core::{mem::ManuallyDrop, ptr::NonNull};

use kernel::{bindings, prelude::*};

use super::{ffi, interface::Interface};

/// One frame, a `struct sk_buff`. Dropping it gives the frame up.
///
/// # Invariants
///
/// The pointer is to an `sk_buff` that this object owns.
pub(crate) struct Skb(NonNull<bindings::sk_buff>);

// SAFETY: An `sk_buff` belongs to whoever holds it, not to a thread.
unsafe impl Send for Skb {}

impl Skb {
    /// # Safety
    ///
    /// `skb` is a valid `sk_buff`, and the caller hands it over.
    pub(super) unsafe fn from_raw(skb: NonNull<bindings::sk_buff>) -> Self {
        // INVARIANT: As the caller says.
        Self(skb)
    }

    /// A frame of these bytes, to be sent by `interface`. Any context.
    pub(crate) fn new(interface: &Interface, bytes: &[u8]) -> Result<Self> {
        let len = u32::try_from(bytes.len())?;
        // SAFETY: `dev` is valid, and so are so many bytes.
        let skb = unsafe { ffi::coop_net_tx_new(interface.as_ptr(), bytes.as_ptr(), len) };
        // INVARIANT: It is new.
        Ok(Self(NonNull::new(skb).ok_or(ENOMEM)?))
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

    /// The device has taken this VLAN tag out of the frame.
    pub(crate) fn set_vlan_tag(&mut self, tag: u16) {
        // SAFETY: By the type's invariant; the function only makes a mark.
        unsafe { ffi::coop_net_rx_tag(self.as_ptr(), tag) };
    }

    /// The device has verified the checksum of its TCP or UDP data, and found it good.
    pub(crate) fn checksum_is_good(&mut self) {
        // SAFETY: By the type's invariant; the function only makes a mark.
        unsafe { ffi::coop_net_rx_checksum_is_good(self.as_ptr()) };
    }
}

impl Drop for Skb {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant. Valid in any context.
        unsafe { ffi::coop_net_tx_drop(self.as_ptr()) };
    }
}
