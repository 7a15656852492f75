// SPDX-License-Identifier: GPL-2.0

//! What the two sides of a ring share.

use super::position::{Memory, Stand};
use super::Slot;
use crate::atomic::{named, AtomicBool, AtomicUsize, Ordering, UnsafeCell};
#[cfg(not(loom))]
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// What the producer writes, on a cache line of its own.
#[repr(align(64))]
pub(super) struct ProducerLine<T> {
    /// How far values were published.
    pub(super) tail: AtomicUsize,
    /// Of a producer that works without an end ([`Lines::push`]).
    pub(super) window: UnsafeCell<Window<T>>,
    memory: Memory<T>,
    pub(super) claimed: AtomicBool,
}

/// What the consumer writes, on a cache line of its own.
#[repr(align(64))]
pub(super) struct ConsumerLine<T> {
    /// How far values were released.
    pub(super) head: AtomicUsize,
    /// Of a consumer that works without an end ([`Lines::pop`]).
    pub(super) window: UnsafeCell<Window<T>>,
    memory: Memory<T>,
    pub(super) claimed: AtomicBool,
}

/// A [`Stand`] whose position is the one of the line.
pub(super) struct Window<T> {
    pub(super) limit: usize,
    base: *const Slot<T>,
}

impl<T> Window<T> {
    #[inline(always)]
    pub(super) fn at(&self, position: usize) -> Stand<T> {
        Stand {
            position,
            limit: self.limit,
            base: self.base,
        }
    }
}

impl<T> From<Stand<T>> for Window<T> {
    #[inline(always)]
    fn from(stand: Stand<T>) -> Self {
        // INVARIANT: To be stored together with its position.
        Window {
            limit: stand.limit,
            base: stand.base,
        }
    }
}

/// The shared part of a ring: its two cache lines.
///
/// # Invariants
///
/// - Both lines have the same `memory`; positions are those of [`position`](super::position).
/// - `head` is not after `tail`, `tail` at most a capacity after `head`, and neither ever goes back.
/// - The slots from `head` to `tail` hold values and belong to the consumer; the others belong to
///   the producer.
/// - Each window is one of its line's position, unless the line is `claimed`.
pub struct Lines<T> {
    pub(super) producer: ProducerLine<T>,
    pub(super) consumer: ConsumerLine<T>,
}

// SAFETY: Values go through a ring from one thread to another, hence `T: Send`. They are reached
// by the two ends only, whose accesses the positions keep apart.
unsafe impl<T: Send> Send for Lines<T> {}
// SAFETY: As above; a shared reference gives out no reference to a value.
unsafe impl<T: Send> Sync for Lines<T> {}

impl<T> Lines<T> {
    /// An empty ring, `None` if the number of slots is not a power of two.
    ///
    /// # Safety
    ///
    /// As for [`Ring::over`](super::Ring::over).
    pub(super) unsafe fn new(slots: NonNull<[Slot<T>]>) -> Option<Self> {
        if !slots.len().is_power_of_two() {
            return None;
        }
        let base = slots.as_ptr().cast::<Slot<T>>().cast_const();
        // SAFETY: They are that many slots, by the caller's promise, and a power of two.
        let memory = unsafe { Memory::new(base, slots.len()) };
        // INVARIANT: No value is between `head` and `tail`; the windows are empty ones of lap 0.
        Some(Lines {
            producer: ProducerLine {
                tail: AtomicUsize::new(0),
                window: UnsafeCell::new(Window { limit: 0, base }),
                memory,
                claimed: AtomicBool::new(false),
            },
            consumer: ConsumerLine {
                head: AtomicUsize::new(0),
                window: UnsafeCell::new(Window { limit: 0, base }),
                memory,
                claimed: AtomicBool::new(false),
            },
        })
    }

    /// Number of values that fit.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.consumer.memory.capacity()
    }

    /// Number of values in the ring, a moment ago. Anyone may ask.
    #[inline]
    pub fn len(&self) -> usize {
        // `head` first: `tail` is then not older. It may be much later.
        let memory = &self.consumer.memory;
        let head = memory.count(self.consumer.head.load(Ordering::Acquire));
        let tail = memory.count(self.producer.tail.load(Ordering::Acquire));
        tail.wrapping_sub(head).min(memory.capacity())
    }

    /// Whether the ring was empty a moment ago. Anyone may ask.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the ring was full a moment ago. Anyone may ask.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity()
    }

    /// How far values were published.
    #[inline(always)]
    pub(super) fn published(&self) -> usize {
        // Pairs with the `ring.publish` of the producer: the values before it are whole.
        self.producer
            .tail
            .load(named("ring.receive", Ordering::Acquire))
    }

    /// How far values were released.
    #[inline(always)]
    pub(super) fn released(&self) -> usize {
        // Pairs with the `ring.release` of the consumer: it has done with the slots we reuse.
        self.consumer
            .head
            .load(named("ring.reclaim", Ordering::Acquire))
    }

    #[inline(always)]
    pub(super) fn publish(&self, tail: usize) {
        self.producer
            .tail
            .store(tail, named("ring.publish", Ordering::Release));
    }

    #[inline(always)]
    pub(super) fn release(&self, head: usize) {
        self.consumer
            .head
            .store(head, named("ring.release", Ordering::Release));
    }

    /// The producer at `at`, after a look at the consumer. The window is empty if the ring is full.
    #[inline(always)]
    pub(super) fn free(&self, at: Stand<T>) -> Stand<T> {
        self.producer.memory.free(at, self.released())
    }

    /// Leaves the role of the producer, at `at`, to those who have no end.
    ///
    /// # Safety
    ///
    /// The caller is the only producer.
    #[inline]
    pub(super) unsafe fn leave_producer(&self, at: Stand<T>) {
        self.publish(at.position);
        self.producer
            .window
            // SAFETY: By the caller's promise.
            .with_mut(|window| unsafe { *window = at.into() });
        // Pairs with the `ring.claim` of the next producer.
        self.producer
            .claimed
            .store(false, named("ring.hand_over", Ordering::Release));
    }

    /// Leaves the role of the consumer, at `at`, to those who have no end.
    ///
    /// # Safety
    ///
    /// The caller is the only consumer.
    #[inline]
    pub(super) unsafe fn leave_consumer(&self, at: Stand<T>) {
        self.release(at.position);
        self.consumer
            .window
            // SAFETY: By the caller's promise.
            .with_mut(|window| unsafe { *window = at.into() });
        // Pairs with the `ring.claim` of the next consumer.
        self.consumer
            .claimed
            .store(false, named("ring.hand_over", Ordering::Release));
    }

    /// The memory, from the producer's line.
    #[inline(always)]
    pub(super) fn producer_memory(&self) -> &Memory<T> {
        &self.producer.memory
    }

    /// The memory, from the consumer's line.
    #[inline(always)]
    pub(super) fn consumer_memory(&self) -> &Memory<T> {
        &self.consumer.memory
    }

    /// The `len` slots from position `start` on: those before the end of the memory, and those
    /// after.
    ///
    /// # Safety
    ///
    /// The slots belong to the caller for as long as the slices are used; `len` is at most the
    /// capacity.
    #[cfg(not(loom))]
    #[inline(always)]
    #[allow(clippy::mut_from_ref)] // That is what the caller promises.
    pub(super) unsafe fn two_slices(
        &self,
        start: usize,
        len: usize,
    ) -> (&mut [MaybeUninit<T>], &mut [MaybeUninit<T>]) {
        let memory = &self.consumer.memory;
        let offset = memory.offset(start);
        let first = len.min(memory.capacity().wrapping_sub(offset));
        let slots = memory.slots().cast_mut().cast::<MaybeUninit<T>>();
        // SAFETY: By its invariants, `memory` has `capacity` slots. `offset + first` is at most
        // that, and the rest starts at 0 and ends before `offset`. A `Slot<T>` has the layout of a
        // `MaybeUninit<T>`, and the caller owns these.
        unsafe {
            (
                core::slice::from_raw_parts_mut(slots.wrapping_add(offset), first),
                core::slice::from_raw_parts_mut(slots, len.wrapping_sub(first)),
            )
        }
    }
}
