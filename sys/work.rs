// SPDX-License-Identifier: GPL-2.0

//! A workqueue of one's own, which can be waited for.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h).

use super::ffi;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use kernel::bindings;
use kernel::prelude::*;
use kernel::workqueue::{Queue, RawWorkItem};

/// An unbound workqueue for a static, between [`create`](Self::create) and
/// [`destroy`](Self::destroy).
///
/// # Invariants
///
/// Null, or a workqueue that belongs to this value.
pub struct StaticQueue(AtomicPtr<bindings::workqueue_struct>);

impl StaticQueue {
    /// No workqueue yet.
    pub const fn new() -> Self {
        StaticQueue(AtomicPtr::new(ptr::null_mut()))
    }

    /// Makes the workqueue. Task context, sleeps; once. `ENOMEM`.
    pub fn create(&self, name: &CStr) -> Result {
        // SAFETY: The name is copied.
        let raw = unsafe { ffi::coop_workqueue_create(name.as_char_ptr()) };
        if raw.is_null() {
            return Err(ENOMEM);
        }
        // INVARIANT: Just made.
        self.0.store(raw, Ordering::Release);
        Ok(())
    }

    /// Has `item` run soon, where it may sleep. Any context but NMI.
    ///
    /// Not before [`create`](Self::create), nor at the same time as [`destroy`](Self::destroy).
    pub fn enqueue(&self, item: impl RawWorkItem<0, EnqueueOutput = ()> + Send + 'static) {
        let raw = self.0.load(Ordering::Acquire);
        if !raw.is_null() {
            // SAFETY: By the invariant it is a workqueue, and it is not being destroyed.
            let queue: &Queue = unsafe { Queue::from_raw(raw) };
            queue.enqueue(item);
        }
    }

    /// Waits for all work, and destroys the workqueue. Task context, sleeps.
    pub fn destroy(&self) {
        // INVARIANT: Null.
        let raw = self.0.swap(ptr::null_mut(), Ordering::AcqRel);
        if !raw.is_null() {
            // SAFETY: By the invariant it was ours.
            unsafe { bindings::destroy_workqueue(raw) };
        }
    }
}

impl Default for StaticQueue {
    fn default() -> Self {
        Self::new()
    }
}
