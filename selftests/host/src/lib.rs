// SPDX-License-Identifier: GPL-2.0

//! The parts of `coop_domain` that need no kernel, compiled for the host: the very files the
//! module is made of.

#[path = "../../../coop/atomic.rs"]
pub mod atomic;
#[path = "../../../msgq.rs"]
pub mod msgq;

#[cfg(loom)]
pub mod model;

/// Slots on the heap of the host.
pub struct Heap<T>(Vec<msgq::Slot<T>>);

impl<T> Heap<T> {
    /// `len` empty slots.
    pub fn new(len: usize) -> Self {
        Self((0..len).map(|_| msgq::Slot::new()).collect())
    }
}

// SAFETY: The memory of a `Vec` that is not resized stays where it is, and this one is private.
unsafe impl<T> msgq::Storage<T> for Heap<T> {
    fn slots(&mut self) -> core::ptr::NonNull<[msgq::Slot<T>]> {
        self.0.as_mut_slice().into()
    }
}

// SAFETY: A `Heap` gives access to no value.
unsafe impl<T: Send> Sync for Heap<T> {}

/// A ring of one's own.
pub type HeapRing<T> = msgq::Ring<T, Heap<T>>;

/// A ring with `capacity` slots, a power of two.
pub fn ring<T>(capacity: usize) -> HeapRing<T> {
    HeapRing::new(Heap::new(capacity))
        .ok()
        .expect("a power of two")
}

/// A ring that its two ends share.
pub struct Shared<T>(Arc<HeapRing<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

// SAFETY: An `Arc` keeps what it points to alive and in place.
unsafe impl<T> msgq::Holder<T> for Shared<T> {
    #[inline(always)]
    fn lines(&self) -> &msgq::Lines<T> {
        &self.0
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
    let shared = Shared(Arc::new(ring(capacity)));
    let tx = Producer::new(shared.clone()).ok().expect("a new ring");
    let rx = Consumer::new(shared).ok().expect("a new ring");
    (tx, rx)
}
