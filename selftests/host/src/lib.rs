// SPDX-License-Identifier: GPL-2.0

//! The parts of `coop_domain` that need no kernel, compiled for the host: the very files the
//! module is made of.

#[path = "../../../coop/alarm.rs"]
pub mod alarm;
#[path = "../../../coop/alone.rs"]
pub mod alone;
#[path = "../../../coop/atomic.rs"]
pub mod atomic;
#[path = "../../../msgq.rs"]
pub mod msgq;

#[path = "../../../coop/bh_baton.rs"]
pub mod bh_baton;
#[path = "../../../coop/sync/permits.rs"]
pub mod permits;
#[path = "../../../coop/reply_state.rs"]
pub mod reply_state;
#[path = "../../../coop/run_queue.rs"]
pub mod run_queue;
#[path = "../../../coop/sync/store.rs"]
pub mod store;
#[path = "../../../coop/task_state.rs"]
pub mod task_state;
#[path = "../../../coop/turns.rs"]
pub mod turns;
#[path = "../../../coop/wait_cell.rs"]
pub mod wait_cell;
#[path = "../../../coop/sync/wait_list.rs"]
pub mod wait_list;
#[path = "../../../coop/wake_queue.rs"]
pub mod wake_queue;

#[cfg(loom)]
pub mod model;

use std::alloc::{alloc, dealloc, handle_alloc_error, Layout};
use std::ptr::NonNull;

/// Slots on the heap of the host. Aligned as the kernel's allocators do it, so that they share no
/// cache line with anything else.
pub struct Heap<T>(NonNull<[msgq::Slot<T>]>);

impl<T> Heap<T> {
    /// `len` empty slots.
    pub fn new(len: usize) -> Self {
        let slots = match Self::layout(len) {
            layout if layout.size() == 0 => NonNull::dangling(),
            layout => {
                // SAFETY: The layout has a size.
                let slots = unsafe { alloc(layout) }.cast::<msgq::Slot<T>>();
                NonNull::new(slots).unwrap_or_else(|| handle_alloc_error(layout))
            }
        };
        for i in 0..len {
            // SAFETY: There is memory for `len` slots (or they have no size).
            unsafe { slots.add(i).write(msgq::Slot::new()) };
        }
        Self(NonNull::slice_from_raw_parts(slots, len))
    }

    fn layout(len: usize) -> Layout {
        Layout::array::<msgq::Slot<T>>(len)
            .and_then(|layout| layout.align_to(128))
            .expect("a sane capacity")
    }
}

impl<T> Drop for Heap<T> {
    fn drop(&mut self) {
        let layout = Self::layout(self.0.len());
        // SAFETY: The slots were made by `new()`, all of them.
        unsafe {
            self.0.as_ptr().drop_in_place();
            if layout.size() != 0 {
                dealloc(self.0.as_ptr().cast(), layout);
            }
        }
    }
}

// SAFETY: The memory is ours until we are dropped, and stays where it is.
unsafe impl<T> msgq::Storage<T> for Heap<T> {
    fn slots(&mut self) -> NonNull<[msgq::Slot<T>]> {
        self.0
    }
}

// SAFETY: A `Heap` gives access to no value; a ring that does asks for `T: Send` itself.
unsafe impl<T: Send> Send for Heap<T> {}
// SAFETY: As above.
unsafe impl<T: Send> Sync for Heap<T> {}

/// A ring of one's own.
pub type HeapRing<T> = msgq::Ring<T, Heap<T>>;

/// A ring with `capacity` slots, a power of two.
pub fn ring<T>(capacity: usize) -> HeapRing<T> {
    HeapRing::new(Heap::new(capacity))
        .ok()
        .expect("a power of two")
}

/// A ring that its two ends share: an `Arc`, as the pointer it comes down to.
///
/// Dropping an `Arc` in place takes its address, in unlikely branches at least, and would keep the
/// end it is part of, index and all, from living in registers.
pub struct Shared<T>(NonNull<HeapRing<T>>);

impl<T> Shared<T> {
    fn new(ring: Arc<HeapRing<T>>) -> Self {
        // INVARIANT: The pointer has a count of its own.
        Self(NonNull::new(Arc::into_raw(ring).cast_mut()).expect("an Arc is not null"))
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        // SAFETY: It comes from an `Arc`, and has a count.
        unsafe { Arc::increment_strong_count(self.0.as_ptr()) };
        Self(self.0)
    }
}

impl<T> Drop for Shared<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: It comes from an `Arc`, whose count is given back once.
        drop(unsafe { Arc::from_raw(self.0.as_ptr()) });
    }
}

// SAFETY: As the `Arc` that it stands for.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: As above.
unsafe impl<T: Send> Sync for Shared<T> {}

// SAFETY: The count keeps the ring alive and in place.
unsafe impl<T> msgq::Holder<T> for Shared<T> {
    #[inline(always)]
    fn lines(&self) -> &msgq::Lines<T> {
        // SAFETY: As above.
        unsafe { self.0.as_ref() }
    }
}

#[cfg(loom)]
use loom::sync::Arc;
#[cfg(not(loom))]
use std::sync::Arc;

/// The sending end of [`channel`].
pub type Producer<T> = msgq::Producer<T, Shared<T>>;
/// The receiving end of [`channel`].
pub type Consumer<T> = msgq::Consumer<T, Shared<T>>;

/// Both ends of a new ring.
pub fn channel<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let shared = Shared::new(Arc::new(ring(capacity)));
    let tx = Producer::new(shared.clone()).ok().expect("a new ring");
    let rx = Consumer::new(shared).ok().expect("a new ring");
    (tx, rx)
}
