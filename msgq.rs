// SPDX-License-Identifier: GPL-2.0

//! The ring: a bounded, lock-free queue between one producer and one consumer.
//!
//! Lamport's queue (1983), with what later ones have added: either side looks at the other's index
//! only when what it knew before is used up (MCRingBuffer, Lee et al. 2010; rigtorp's `SPSCQueue`),
//! many values are published by one store, values are written and read in place. What a side knows
//! to be its own is its *window*, one limit and one rebased pointer, so that a push is a comparison,
//! two stores and an addition, and no index is masked; [`position`] has the trick that makes this
//! work for the consumer, too. Where a window is but a part of what is known, the cache lines of the
//! next part are asked for ahead of time (`docs/host-ring.md` tells what that is worth).
//!
//! There is no dependency on the kernel: `selftests/host` compiles this file and its parts under
//! loom, proptest and criterion.
//!
//! | part | |
//! | --- | --- |
//! | [`position`] | how the two sides say how far they have come |
//! | [`lines`] | what they share |
//! | [`producer`], [`consumer`] | the ends |
//! | [`polling`] | the receiving end for a thread that polls |
//! | [`without_ends`] | the same for those who follow one another, as the senders of a mailbox |
//!
//! # Contexts
//!
//! Every operation works in any context, hard IRQ and NMI included: none sleeps, takes a lock,
//! disables anything, allocates, or loops over anything but the values it was asked to move
//! ([`Polling`] alone may spin for a microsecond). What must hold is the name of the thing: one
//! producer and one consumer at a time.
//!
//! # Memory ordering
//!
//! | written by | | read by | | so that |
//! | --- | --- | --- | --- | --- |
//! | producer | `tail`, Release `ring.publish` | consumer | `tail`, Acquire `ring.receive` | a value is whole before it is read |
//! | consumer | `head`, Release `ring.release` | producer | `head`, Acquire `ring.reclaim` | a value has been read before its slot is written again |
//! | end that is dropped | `claimed`, Release `ring.hand_over` | next end | `claimed`, Acquire `ring.claim` | it goes on where the last one stopped |
//!
//! A side reads its own index with `Relaxed`: it wrote it. Nothing here needs a full barrier; who
//! goes to sleep on an empty ring has a protocol of its own (`coop/wake_queue.rs`).
//!
//! # Examples
//!
//! ```
//! use coop_host::msgq::{Borrowed, Consumer, Producer, Ring, Slot};
//!
//! let mut memory = [const { Slot::new() }; 4];
//! let ring = Ring::new(Borrowed::from(&mut memory[..])).ok().unwrap();
//! let mut tx = Producer::new(&ring).ok().unwrap();
//! let mut rx = Consumer::new(&ring).ok().unwrap();
//!
//! assert_eq!(tx.push(1), Ok(()));
//! assert_eq!(tx.push_batch(&mut (2..)), 3);
//! assert_eq!(tx.push(5), Err(5));
//! assert_eq!(rx.pop(), Some(1));
//! assert_eq!(rx.drain(2).sum::<i32>(), 5);
//! assert_eq!((rx.len(), rx.peek()), (1, Some(&4)));
//! ```

#[path = "msgq/consumer.rs"]
pub mod consumer;
#[path = "msgq/lines.rs"]
pub mod lines;
#[path = "msgq/polling.rs"]
pub mod polling;
#[path = "msgq/position.rs"]
pub mod position;
#[path = "msgq/producer.rs"]
pub mod producer;
#[path = "msgq/without_ends.rs"]
pub mod without_ends;

pub use self::consumer::{Consumer, Drain};
pub use self::lines::Lines;
pub use self::polling::Polling;
pub use self::position::POSITION_BITS;
pub use self::producer::Producer;
pub use self::without_ends::{First, Staged, Vacant};

use crate::atomic::{Ordering, UnsafeCell};
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// Room for one value.
#[repr(transparent)]
pub struct Slot<T>(UnsafeCell<MaybeUninit<T>>);

impl<T> Slot<T> {
    /// An empty slot.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self(UnsafeCell::new(MaybeUninit::uninit()))
    }

    /// An empty slot. (Loom's cells are not `const`.)
    #[cfg(loom)]
    pub fn new() -> Self {
        Self(UnsafeCell::new(MaybeUninit::uninit()))
    }

    /// Puts `value` into the slot, whatever it held.
    ///
    /// # Safety
    ///
    /// `this` points to a slot that nobody else reads or writes meanwhile.
    #[inline(always)]
    unsafe fn put(this: *const Self, value: T) {
        // SAFETY: `this` is valid, and its content exclusively ours, by the caller's promise.
        unsafe { (*this).0.with_mut(|p| p.cast::<T>().write(value)) }
    }

    /// Moves the value out of the slot.
    ///
    /// # Safety
    ///
    /// `this` points to a slot that holds a value, that nobody else writes meanwhile, and whose
    /// value is not used again.
    #[inline(always)]
    unsafe fn take(this: *const Self) -> T {
        // SAFETY: `this` is valid and holds a value by the caller's promise.
        unsafe { (*this).0.with(|p| p.cast::<T>().read()) }
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Memory for the slots of a ring, which frees itself when it is dropped.
///
/// # Safety
///
/// The slots are valid for reads and writes, through the returned pointer, until the storage is
/// dropped, even if it is moved in between, and nobody else reaches them in that time.
pub unsafe trait Storage<T> {
    /// The slots; a ring asks once.
    fn slots(&mut self) -> NonNull<[Slot<T>]>;
}

/// Slots that are borrowed from elsewhere for `'a`.
pub struct Borrowed<'a, T>(NonNull<[Slot<T>]>, PhantomData<&'a mut [Slot<T>]>);

impl<'a, T> From<&'a mut [Slot<T>]> for Borrowed<'a, T> {
    fn from(slots: &'a mut [Slot<T>]) -> Self {
        Self(slots.into(), PhantomData)
    }
}

// SAFETY: The slots are exclusively borrowed for longer than this can live, and are not moved.
unsafe impl<T> Storage<T> for Borrowed<'_, T> {
    fn slots(&mut self) -> NonNull<[Slot<T>]> {
        self.0
    }
}

// SAFETY: A `Borrowed` gives access to no value; a ring that does asks for `T: Send` itself.
unsafe impl<T: Send> Send for Borrowed<'_, T> {}
// SAFETY: As above; there is nothing that can be done with a `&Borrowed`.
unsafe impl<T: Send> Sync for Borrowed<'_, T> {}

/// Slots that somebody else owns and frees: takes no room in the ring. See [`Ring::over`].
pub struct Elsewhere(());

/// A ring of values `T` in slots of the storage `S`.
///
/// It is used through its ends, a [`Producer`] and a [`Consumer`]; where senders follow one
/// another in some exclusive place (a CPU's part of a mailbox), through the `unsafe` methods of
/// [`Lines`], to which it dereferences. Dropping a ring drops the values that are in it.
pub struct Ring<T, S = Elsewhere> {
    lines: Lines<T>,
    // Freed after `drop()` below has emptied the slots; otherwise not touched again.
    _storage: S,
}

impl<T, S: Storage<T>> Ring<T, S> {
    /// An empty ring; all slots of the storage are used.
    ///
    /// # Errors
    ///
    /// The storage comes back if its number of slots is not a power of two.
    pub fn new(mut storage: S) -> Result<Self, S> {
        // SAFETY: What a `Storage` promises; it lives as long as the ring.
        match unsafe { Lines::new(storage.slots()) } {
            Some(lines) => Ok(Self {
                lines,
                _storage: storage,
            }),
            None => Err(storage),
        }
    }
}

impl<T> Ring<T, Elsewhere> {
    /// An empty ring over slots that somebody else owns, `None` if their number is not a power of
    /// two. For many rings in one allocation.
    ///
    /// # Safety
    ///
    /// The slots are valid for reads and writes, through this pointer, until the ring is dropped,
    /// and nobody else reaches them in that time.
    pub unsafe fn over(slots: NonNull<[Slot<T>]>) -> Option<Self> {
        Some(Self {
            // SAFETY: By the caller's promise.
            lines: unsafe { Lines::new(slots) }?,
            _storage: Elsewhere(()),
        })
    }
}

impl<T, S> core::ops::Deref for Ring<T, S> {
    type Target = Lines<T>;

    #[inline(always)]
    fn deref(&self) -> &Lines<T> {
        &self.lines
    }
}

impl<T, S> Drop for Ring<T, S> {
    fn drop(&mut self) {
        // A consumer that was forgotten (`mem::forget`) may have taken values that it did not
        // release: who has them is not known, so they leak, which is safe.
        if !core::mem::needs_drop::<T>() || self.lines.consumer.claimed.load(Ordering::Relaxed) {
            return;
        }
        // SAFETY: `&mut self`: there is no other consumer, and nothing concurrent at all.
        while let Some(value) = unsafe { self.lines.pop() } {
            drop(value);
        }
    }
}

/// A reference to a ring, which keeps it in place and alive: `&Ring`, an `Arc`.
///
/// # Safety
///
/// `lines` returns the lines of the same ring every time, for as long as the holder lives, even if
/// it is moved in between, and the ring lives that long.
pub unsafe trait Holder<T> {
    /// The ring.
    fn lines(&self) -> &Lines<T>;
}

// SAFETY: A shared reference always leads to the same ring and keeps it borrowed.
unsafe impl<T, S> Holder<T> for &Ring<T, S> {
    #[inline(always)]
    fn lines(&self) -> &Lines<T> {
        &self.lines
    }
}

/// Copies as many values as there are and fit. Returns how many.
#[cfg(not(loom))]
#[inline(always)]
fn copy<T>(from: &[MaybeUninit<T>], to: &mut [MaybeUninit<T>]) -> usize {
    let count = from.len().min(to.len());
    // SAFETY: Both have `count` elements; a shared and a mutable slice do not overlap.
    unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to.as_mut_ptr(), count) };
    count
}
