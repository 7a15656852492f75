// SPDX-License-Identifier: GPL-2.0

//! The ring: a bounded, lock-free queue between one producer and one consumer.
//!
//! Lamport's queue (1983), with what later ones have added: either side keeps a copy of the
//! other's index and looks at the original only when the copy says full or empty (MCRingBuffer,
//! Lee et al. 2010; rigtorp's `SPSCQueue`), many values are published by one store, values are
//! written and read in place. The producer turns its free slots into a *window*, one limit and one
//! rebased pointer, so that a push is a comparison, two stores and an addition, without masking.
//!
//! There is no dependency on the kernel: `selftests/host` compiles this file under loom, proptest
//! and criterion.
//!
//! # Contexts
//!
//! Every operation works in any context, hard IRQ and NMI included: none sleeps, takes a lock,
//! disables anything, allocates, or loops over anything but the values it was asked to move. What
//! must hold is the name of the thing: one producer and one consumer at a time.
//!
//! # Memory ordering
//!
//! | written by | | read by | | so that |
//! | --- | --- | --- | --- | --- |
//! | producer | `tail`, Release `ring.publish` | consumer | `tail`, Acquire `ring.receive` | a value is whole before it is read |
//! | consumer | `head`, Release `ring.release` | producer | `head`, Acquire `ring.reclaim` | a value has been read before its slot is written again |
//! | end that is dropped | `claimed`, Release `ring.hand_over` | next end | `claimed`, Acquire `ring.claim` | it goes on where the last one stopped |
//!
//! An end reads its own index with `Relaxed`: it wrote it. Nothing here needs a full barrier; who
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

use crate::atomic::{named, AtomicBool, AtomicUsize, Ordering, UnsafeCell};
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

/// What the producer writes, on a cache line of its own.
#[repr(align(64))]
struct ProducerLine<T> {
    /// Values published so far. Free-running: wraps at `usize::MAX`, not at the capacity.
    tail: AtomicUsize,
    /// The window of a producer that works without an end ([`Lines::push`]).
    window: UnsafeCell<Window<T>>,
    slots: *const Slot<T>,
    mask: usize,
    claimed: AtomicBool,
}

/// What the consumer writes, on a cache line of its own.
#[repr(align(64))]
struct ConsumerLine<T> {
    /// Values released so far. Free-running.
    head: AtomicUsize,
    /// The copy of `tail` of a consumer that works without an end ([`Lines::pop`]).
    seen: UnsafeCell<usize>,
    slots: *const Slot<T>,
    mask: usize,
    claimed: AtomicBool,
}

/// The free slots that a producer knows of, without those behind the end of the memory: index `i`
/// for `tail <= i < limit` (in the sense of wrapping) is at `base + i`.
struct Window<T> {
    limit: usize,
    base: *const Slot<T>,
}

/// The shared part of a ring: its two cache lines.
///
/// # Invariants
///
/// - `slots` is the start of `mask + 1` slots, a power of two.
/// - `head <= tail <= head + capacity` (in the sense of wrapping), and neither ever goes back.
/// - The slots of the indices from `head` to `tail` hold values and belong to the consumer; the
///   others belong to the producer. The slot of index `i` is `slots + (i & mask)`.
/// - `window.limit` is at most `head + capacity`; `seen` is at most `tail`.
pub struct Lines<T> {
    producer: ProducerLine<T>,
    consumer: ConsumerLine<T>,
}

// SAFETY: Values go through a ring from one thread to another, hence `T: Send`. They are reached
// by the two ends only, whose accesses the indices keep apart.
unsafe impl<T: Send> Send for Lines<T> {}
// SAFETY: As above; a shared reference gives out no reference to a value.
unsafe impl<T: Send> Sync for Lines<T> {}

impl<T> Lines<T> {
    /// Number of values that fit.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.consumer.mask.wrapping_add(1)
    }

    /// Number of values in the ring, a moment ago. Anyone may ask.
    #[inline]
    pub fn len(&self) -> usize {
        // `head` first: `tail` is then not older, and the difference not negative.
        let head = self.consumer.head.load(Ordering::Acquire);
        let tail = self.producer.tail.load(Ordering::Acquire);
        tail.wrapping_sub(head).min(self.capacity())
    }

    /// Whether the ring was empty a moment ago. Anyone may ask.
    #[inline]
    pub fn is_empty(&self) -> bool {
        let head = self.consumer.head.load(Ordering::Acquire);
        self.producer.tail.load(Ordering::Acquire) == head
    }

    /// Whether the ring was full a moment ago. Anyone may ask.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity()
    }

    /// The producer's view of how many slots are free.
    #[inline]
    fn room(&self, tail: usize) -> usize {
        // Pairs with the `ring.release` of the consumer: it has done with the slots we reuse.
        let head = self
            .consumer
            .head
            .load(named("ring.reclaim", Ordering::Acquire));
        self.capacity().wrapping_sub(tail.wrapping_sub(head))
    }

    /// A new window for the producer, empty if the ring is full.
    #[cold]
    #[inline(never)]
    fn window(&self, tail: usize) -> Window<T> {
        let (slots, mask) = (self.producer.slots, self.producer.mask);
        let offset = tail & mask;
        let contiguous = mask.wrapping_add(1).wrapping_sub(offset);
        Window {
            limit: tail.wrapping_add(self.room(tail).min(contiguous)),
            // `base + tail` is `slots + offset`. `base` itself may lie anywhere.
            base: slots.wrapping_add(offset.wrapping_sub(tail)),
        }
    }

    /// Appends `value`, or hands it back if the ring is full.
    ///
    /// For producers that follow one another and have no [`Producer`] to pass on.
    ///
    /// # Safety
    ///
    /// No other producer is at work meanwhile (one of these functions, a [`Vacant`] or [`Staged`]
    /// that is still used, a [`Producer`]), and the producer before happens before this one (the
    /// same CPU with preemption off, a lock, a hand-over).
    #[inline]
    pub unsafe fn push(&self, value: T) -> Result<(), T> {
        // SAFETY: By the caller's promise.
        match unsafe { self.vacant() } {
            Some(vacant) => {
                vacant.push(value);
                Ok(())
            }
            None => Err(value),
        }
    }

    /// The next free slot; `None` if the ring is full.
    ///
    /// # Safety
    ///
    /// As for [`push`](Self::push), for as long as the slot is used.
    #[inline(always)]
    pub unsafe fn vacant(&self) -> Option<Vacant<'_, T>> {
        // SAFETY: By the caller's promise.
        unsafe { self.vacant_noting(|| ()) }
    }

    /// [`vacant`](Self::vacant), which also calls `note` now and then: before the first value of
    /// all is pushed, and again, with a capacity's worth of values in between or fewer.
    ///
    /// So a user can learn of the first use of a ring and pay nothing for it later: `note` is
    /// called out of line, where the producer has to look how far the consumer has come.
    ///
    /// # Safety
    ///
    /// As for [`vacant`](Self::vacant).
    #[inline(always)]
    pub unsafe fn vacant_noting(&self, note: impl FnOnce()) -> Option<Vacant<'_, T>> {
        let line = &self.producer;
        let tail = line.tail.load(Ordering::Relaxed);
        line.window.with_mut(|window| {
            // SAFETY: We are the only producer, so nobody else touches the window.
            let window = unsafe { &mut *window };
            if tail == window.limit {
                note();
                *window = self.window(tail);
                if tail == window.limit {
                    return None;
                }
            }
            Some(Vacant {
                lines: self,
                tail,
                // INVARIANT: `tail` lies in the window.
                slot: window.base.wrapping_add(tail),
            })
        })
    }

    /// Appends what `values` yields until it ends or the ring is full, published by one store.
    /// Returns how many; no value is taken from the iterator that does not fit.
    ///
    /// # Safety
    ///
    /// As for [`push`](Self::push); `values` does not use this ring.
    #[inline]
    pub unsafe fn push_batch(&self, values: &mut impl Iterator<Item = T>) -> usize {
        // SAFETY: By the caller's promise.
        unsafe { self.stage_batch(values) }.map_or(0, |staged| staged.len())
    }

    /// As [`push_batch`](Self::push_batch), but the consumer does not see the values before what
    /// is returned is dropped. `None` if there are none.
    ///
    /// # Safety
    ///
    /// As for [`push_batch`](Self::push_batch), until what is returned has been dropped.
    #[inline]
    pub unsafe fn stage_batch(
        &self,
        values: &mut impl Iterator<Item = T>,
    ) -> Option<Staged<'_, T>> {
        // SAFETY: By the caller's promise.
        let first = unsafe { self.vacant() }?;
        let start = first.tail;
        let line = &self.producer;
        line.window.with_mut(|window| {
            // SAFETY: We are the only producer, so nobody else touches the window.
            let window = unsafe { &mut *window };
            let mut tail = start;
            let mut last = start;
            'full: while tail != window.limit || {
                *window = self.window(tail);
                tail != window.limit
            } {
                while tail != window.limit {
                    let Some(value) = values.next() else {
                        break 'full;
                    };
                    // SAFETY: `tail` lies in the window, so this is a slot, and the producer's.
                    unsafe { Slot::put(window.base.wrapping_add(tail), value) };
                    last = tail;
                    tail = tail.wrapping_add(1);
                }
            }
            (tail != start).then_some(Staged {
                lines: self,
                first: first.slot,
                last,
                tail,
                len: tail.wrapping_sub(start),
            })
        })
    }

    /// Moves the first value out.
    ///
    /// For consumers that follow one another and have no [`Consumer`] to pass on.
    ///
    /// # Safety
    ///
    /// No other consumer is at work meanwhile (one of these functions, a [`First`] that is still
    /// used, a [`Consumer`]), no reference from [`peek`](Self::peek) is used any more, and the
    /// consumer before happens before this one.
    #[inline]
    pub unsafe fn pop(&self) -> Option<T> {
        // SAFETY: By the caller's promise.
        unsafe { self.first() }.map(First::take)
    }

    /// The first value, which stays where it is.
    ///
    /// # Safety
    ///
    /// As for [`first`](Self::first), for as long as the reference is used.
    #[inline]
    pub unsafe fn peek(&self) -> Option<&T> {
        // SAFETY: By the caller's promise.
        let slot = unsafe { self.first() }?.slot;
        // SAFETY: The slot holds a value, and the consumer, the only one who could take it, does
        // not while the reference is used.
        Some(unsafe { (*slot).0.with(|p| &*p.cast::<T>()) })
    }

    /// The first value, which can be looked at, and then taken.
    ///
    /// # Safety
    ///
    /// As for [`pop`](Self::pop), for as long as what is returned is used; it may be used no more
    /// once the value has been taken in another way (a second `First` of the same value).
    #[inline(always)]
    pub unsafe fn first(&self) -> Option<First<'_, T>> {
        let line = &self.consumer;
        let head = line.head.load(Ordering::Relaxed);
        line.seen.with_mut(|seen| {
            // SAFETY: We are the only consumer, so nobody else touches the copy.
            let seen = unsafe { &mut *seen };
            if head == *seen {
                *seen = self.seen();
                if head == *seen {
                    return None;
                }
            }
            Some(First {
                lines: self,
                head,
                waiting: seen.wrapping_sub(head),
                // INVARIANT: `head` is not beyond `seen`: a value.
                slot: line.slots.wrapping_add(head & line.mask),
            })
        })
    }

    /// Whether the value at `position` has been taken, where `position` is one that
    /// [`Vacant::position`] or [`Staged::last_position`] has told; of it, the lowest
    /// [`POSITION_BITS`] count.
    ///
    /// Exact for the consumer; others learn what was true a moment ago.
    #[inline]
    pub fn has_taken(&self, position: usize) -> bool {
        let head = self.consumer.head.load(Ordering::Relaxed);
        let ahead = head.wrapping_sub(position) << (usize::BITS - POSITION_BITS);
        (ahead as isize) > 0
    }

    /// How far the consumer may read.
    #[inline(always)]
    fn seen(&self) -> usize {
        // Pairs with the `ring.publish` of the producer: the values below are whole.
        self.producer
            .tail
            .load(named("ring.receive", Ordering::Acquire))
    }

    /// The `len` slots from index `start` on: those before the end of the memory, and those after.
    ///
    /// # Safety
    ///
    /// The slots belong to the caller for as long as the slices are used; `len` is at most the
    /// capacity.
    #[cfg(not(loom))]
    #[inline(always)]
    #[allow(clippy::mut_from_ref)] // That is what the caller promises.
    unsafe fn two_slices(
        &self,
        start: usize,
        len: usize,
    ) -> (&mut [MaybeUninit<T>], &mut [MaybeUninit<T>]) {
        let offset = start & self.consumer.mask;
        let first = len.min(self.capacity().wrapping_sub(offset));
        let slots = self.consumer.slots.cast_mut().cast::<MaybeUninit<T>>();
        // SAFETY: By the invariants of `Lines`, `slots` has `capacity` slots. `offset + first` is
        // at most that, and the rest starts at 0 and ends before `offset`. A `Slot<T>` has the
        // layout of a `MaybeUninit<T>`, and the caller owns these.
        unsafe {
            (
                core::slice::from_raw_parts_mut(slots.wrapping_add(offset), first),
                core::slice::from_raw_parts_mut(slots, len.wrapping_sub(first)),
            )
        }
    }
}

/// How many of the lowest bits of a position tell it from others: as long as fewer than a quarter of
/// 2 to the power of this were pushed in between.
pub const POSITION_BITS: u32 = 48;

/// A free slot: what [`Lines::vacant`] returns.
///
/// # Invariants
///
/// `slot` is that of the index `tail`, which is the published one; it is free, and this is the only
/// producer.
pub struct Vacant<'a, T> {
    lines: &'a Lines<T>,
    tail: usize,
    slot: *const Slot<T>,
}

impl<T> Vacant<'_, T> {
    /// A number for the value that will be put here, for [`Lines::has_taken`].
    #[inline(always)]
    pub fn position(&self) -> usize {
        self.tail
    }

    /// Puts `value` here, where the consumer finds it.
    #[inline(always)]
    pub fn push(self, value: T) {
        // SAFETY: By the type invariants the slot is ours until `tail` is published.
        unsafe { Slot::put(self.slot, value) };
        self.lines.producer.tail.store(
            self.tail.wrapping_add(1),
            named("ring.publish", Ordering::Release),
        );
    }
}

/// Values that are in the ring, and that the consumer does not see before this is dropped. See
/// [`Lines::stage_batch`].
///
/// # Invariants
///
/// The slots from the published `tail` to this one hold values, `len` of them and at least one,
/// that are this type's; `first` is the first. This is the only producer.
pub struct Staged<'a, T> {
    lines: &'a Lines<T>,
    first: *const Slot<T>,
    last: usize,
    tail: usize,
    len: usize,
}

#[allow(clippy::len_without_is_empty)] // Never.
impl<T> Staged<'_, T> {
    /// Number of values, at least one.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// A number for the last value, for [`Lines::has_taken`].
    #[inline(always)]
    pub fn last_position(&self) -> usize {
        self.last
    }

    /// The first value.
    #[inline(always)]
    pub fn first_mut<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: By the type invariants the slot is valid, holds a value, and is ours.
        unsafe { (*self.first).0.with_mut(|p| change(&mut *p.cast::<T>())) }
    }
}

impl<T> Drop for Staged<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lines
            .producer
            .tail
            .store(self.tail, named("ring.publish", Ordering::Release));
    }
}

/// The first value of a ring: what [`Lines::first`] returns.
///
/// # Invariants
///
/// `slot` is that of the index `head`, which is the released one; it holds a value, and this is
/// the only consumer.
pub struct First<'a, T> {
    lines: &'a Lines<T>,
    head: usize,
    waiting: usize,
    slot: *const Slot<T>,
}

impl<T> First<'_, T> {
    /// Number of values that are known to be in the ring, this one included; there may be more.
    #[inline(always)]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Lets `look` see the value.
    #[inline(always)]
    pub fn with<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        // SAFETY: By the type invariants the slot is valid and holds a value, which nobody else
        // takes or changes.
        unsafe { (*self.slot).0.with(|p| look(&*p.cast::<T>())) }
    }

    /// Moves the value out.
    #[inline(always)]
    pub fn take(self) -> T {
        // SAFETY: By the type invariants the slot holds a value, which is ours until `head` passes
        // it, right below.
        let value = unsafe { Slot::take(self.slot) };
        self.lines.consumer.head.store(
            self.head.wrapping_add(1),
            named("ring.release", Ordering::Release),
        );
        value
    }
}

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
        match lines(storage.slots()) {
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
            lines: lines(slots)?,
            _storage: Elsewhere(()),
        })
    }
}

fn lines<T>(slots: NonNull<[Slot<T>]>) -> Option<Lines<T>> {
    if !slots.len().is_power_of_two() {
        return None;
    }
    // As the kernel's jiffies do, the indices start shortly before they wrap: what must survive
    // the wrap is tried by every user, not once in a century. (`start & mask` is 0.)
    let start = 0usize.wrapping_sub(slots.len());
    let mask = slots.len().wrapping_sub(1);
    let slots = slots.as_ptr().cast::<Slot<T>>().cast_const();
    // INVARIANT: No index lies between `head` and `tail`; the empty window and the copy agree.
    Some(Lines {
        producer: ProducerLine {
            tail: AtomicUsize::new(start),
            window: UnsafeCell::new(Window {
                limit: start,
                base: slots,
            }),
            slots,
            mask,
            claimed: AtomicBool::new(false),
        },
        consumer: ConsumerLine {
            head: AtomicUsize::new(start),
            seen: UnsafeCell::new(start),
            slots,
            mask,
            claimed: AtomicBool::new(false),
        },
    })
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

/// The sending end of a ring.
///
/// # Invariants
///
/// `claimed` of the producer's line is set, and this is the only producer. `tail` is the published
/// one plus the values staged; the indices from `tail` to `limit` are free slots at `base + i`.
pub struct Producer<T, H: Holder<T>> {
    tail: usize,
    limit: usize,
    base: *const Slot<T>,
    holder: H,
}

// SAFETY: `base` leads to slots of the ring, which go where the holder goes.
unsafe impl<T: Send, H: Holder<T> + Send> Send for Producer<T, H> {}

impl<T, H: Holder<T>> Producer<T, H> {
    /// Becomes the producer of a ring.
    ///
    /// # Errors
    ///
    /// The holder comes back if the ring has a producer.
    pub fn new(holder: H) -> Result<Self, H> {
        let line = &holder.lines().producer;
        // Pairs with the `ring.hand_over` of the producer before.
        if line
            .claimed
            .swap(true, named("ring.claim", Ordering::Acquire))
        {
            return Err(holder);
        }
        // INVARIANT: The role is ours now. The window is empty.
        let tail = line.tail.load(Ordering::Relaxed);
        Ok(Self {
            tail,
            limit: tail,
            base: line.slots,
            holder,
        })
    }

    /// Appends `value`, or hands it back if the ring is full.
    #[inline(always)]
    pub fn push(&mut self, value: T) -> Result<(), T> {
        self.stage(value)?;
        self.publish();
        Ok(())
    }

    /// Appends `value`, or hands it back if the ring is full; the consumer does not see it yet.
    ///
    /// Staged values become visible by the next [`publish`](Self::publish) or `push`, at the
    /// latest when the producer is dropped.
    #[inline(always)]
    pub fn stage(&mut self, value: T) -> Result<(), T> {
        if self.tail == self.limit && !self.renew() {
            return Err(value);
        }
        // SAFETY: `tail` lies in the window, so by the type invariants this is a free slot.
        unsafe { Slot::put(self.base.wrapping_add(self.tail), value) };
        self.tail = self.tail.wrapping_add(1);
        Ok(())
    }

    /// Shows all staged values to the consumer, by one store.
    #[inline(always)]
    pub fn publish(&mut self) {
        self.holder
            .lines()
            .producer
            .tail
            .store(self.tail, named("ring.publish", Ordering::Release));
    }

    /// Appends what `values` yields until it ends or the ring is full, published by one store.
    /// Returns how many; no value is taken from the iterator that does not fit.
    #[inline]
    pub fn push_batch(&mut self, values: &mut impl Iterator<Item = T>) -> usize {
        let before = self.tail;
        'full: while self.tail != self.limit || self.renew() {
            while self.tail != self.limit {
                let Some(value) = values.next() else {
                    break 'full;
                };
                // SAFETY: As in `stage()`: `tail` lies in the window.
                unsafe { Slot::put(self.base.wrapping_add(self.tail), value) };
                self.tail = self.tail.wrapping_add(1);
            }
        }
        self.publish();
        self.tail.wrapping_sub(before)
    }

    /// Number of values that fit at this moment; more may fit later, never fewer.
    #[inline]
    pub fn room(&mut self) -> usize {
        self.holder.lines().room(self.tail)
    }

    /// Whether the ring is full at this moment.
    #[inline]
    pub fn is_full(&mut self) -> bool {
        self.tail == self.limit && !self.renew()
    }

    /// Number of values that fit at all.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.holder.lines().capacity()
    }

    /// Looks how far the consumer has come. Returns whether there is room.
    #[inline(always)]
    fn renew(&mut self) -> bool {
        // By value, so that the end can stay in registers.
        let window = self.holder.lines().window(self.tail);
        self.limit = window.limit;
        self.base = window.base;
        self.tail != self.limit
    }
}

#[cfg(not(loom))] // Loom's slots are more than memory.
impl<T, H: Holder<T>> Producer<T, H> {
    /// The free slots, as two slices because they may go around the end of the memory, to build
    /// values in place. [`commit`](Self::commit) appends what was built.
    pub fn spare(&mut self) -> (&mut [MaybeUninit<T>], &mut [MaybeUninit<T>]) {
        let lines = self.holder.lines();
        // SAFETY: The indices from `tail` on are free, `room()` of them, and stay so while we,
        // the only producer, are borrowed.
        unsafe { lines.two_slices(self.tail, lines.room(self.tail)) }
    }

    /// Appends `count` values that were built in the first of the [`spare`](Self::spare) slots,
    /// published by one store.
    ///
    /// # Safety
    ///
    /// Since the last other operation on this producer, the first `count` slots of `spare()`, in
    /// order, have been initialised; there were that many.
    #[inline]
    pub unsafe fn commit(&mut self, count: usize) {
        // INVARIANT: These slots hold values now; the window, which may lie behind, is empty.
        self.tail = self.tail.wrapping_add(count);
        self.limit = self.tail;
        self.publish();
    }
}

#[cfg(not(loom))]
impl<T: Copy, H: Holder<T>> Producer<T, H> {
    /// Appends the first of `values`, as many as fit, published by one store. Returns how many.
    #[inline]
    pub fn push_slice(&mut self, values: &[T]) -> usize {
        let before = self.tail;
        // SAFETY: A `MaybeUninit<T>` may hold any `T`, and it is only read from.
        let mut rest = unsafe { &*(core::ptr::from_ref(values) as *const [MaybeUninit<T>]) };
        while !rest.is_empty() {
            if self.limit.wrapping_sub(self.tail) < rest.len() && !self.renew() {
                break;
            }
            let slots = self.base.wrapping_add(self.tail).cast_mut().cast();
            let window = self.limit.wrapping_sub(self.tail);
            // SAFETY: By the type invariants there are that many free slots from `tail` on.
            let count = copy(rest, unsafe {
                core::slice::from_raw_parts_mut(slots, window)
            });
            self.tail = self.tail.wrapping_add(count);
            rest = rest.get(count..).unwrap_or(&[]);
        }
        self.publish();
        self.tail.wrapping_sub(before)
    }
}

impl<T, H: Holder<T>> Drop for Producer<T, H> {
    #[inline]
    fn drop(&mut self) {
        self.publish();
        let line = &self.holder.lines().producer;
        line.window.with_mut(|window| {
            // SAFETY: We are still the only producer.
            // INVARIANT: The window of those who work without an end is empty.
            unsafe { (*window).limit = self.tail };
        });
        // Pairs with the `ring.claim` of the next producer.
        line.claimed
            .store(false, named("ring.hand_over", Ordering::Release));
    }
}

/// The receiving end of a ring.
///
/// # Invariants
///
/// `claimed` of the consumer's line is set, and this is the only consumer. The indices from `head`
/// to `seen` hold values; those from the released `head` to this one have been moved out.
pub struct Consumer<T, H: Holder<T>> {
    head: usize,
    seen: usize,
    slots: *const Slot<T>,
    mask: usize,
    holder: H,
}

// SAFETY: `slots` are those of the ring, which go where the holder goes; the values are `Send`.
unsafe impl<T: Send, H: Holder<T> + Send> Send for Consumer<T, H> {}

impl<T, H: Holder<T>> Consumer<T, H> {
    /// Becomes the consumer of a ring.
    ///
    /// # Errors
    ///
    /// The holder comes back if the ring has a consumer.
    pub fn new(holder: H) -> Result<Self, H> {
        let line = &holder.lines().consumer;
        // Pairs with the `ring.hand_over` of the consumer before.
        if line
            .claimed
            .swap(true, named("ring.claim", Ordering::Acquire))
        {
            return Err(holder);
        }
        // INVARIANT: The role is ours now. No value is known of.
        let head = line.head.load(Ordering::Relaxed);
        Ok(Self {
            head,
            seen: head,
            slots: line.slots,
            mask: line.mask,
            holder,
        })
    }

    /// Moves the first value out.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: `head != seen`, so by the type invariants the slot holds a value, and it is
        // passed at once.
        let value = unsafe { Slot::take(self.slots.wrapping_add(self.head & self.mask)) };
        self.head = self.head.wrapping_add(1);
        self.publish();
        Some(value)
    }

    /// The first value, which stays where it is.
    #[inline]
    pub fn peek(&mut self) -> Option<&T> {
        if self.is_empty() {
            return None;
        }
        let slot = self.slots.wrapping_add(self.head & self.mask);
        // SAFETY: By the type invariants the slot holds a value; we are borrowed, so that it
        // stays.
        Some(unsafe { (*slot).0.with(|p| &*p.cast::<T>()) })
    }

    /// Moves up to `max` values out, one after another. Their slots are free, by one store, when
    /// the iterator is dropped; values that it was not asked for stay in the ring.
    ///
    /// If the iterator is forgotten (`mem::forget`), so are the values it was not asked for.
    #[inline]
    pub fn drain(&mut self, max: usize) -> Drain<'_, T, H> {
        let mut len = self.seen.wrapping_sub(self.head);
        if len < max {
            len = self.len();
        }
        let head = self.head;
        let end = head.wrapping_add(len.min(max));
        // INVARIANT: To be set right by the iterator. Nothing is moved out twice if it never does.
        self.head = end;
        Drain {
            head,
            end,
            slots: self.slots,
            mask: self.mask,
            consumer: self,
        }
    }

    /// Drops up to `count` values at the front. Returns how many; their slots are freed by one
    /// store.
    pub fn release(&mut self, count: usize) -> usize {
        let mut drain = self.drain(count);
        let count = drain.len();
        if core::mem::needs_drop::<T>() {
            drain.by_ref().for_each(drop);
        } else {
            drain.head = drain.end;
        }
        count
    }

    /// Number of values at this moment; there may be more later, never fewer.
    #[inline]
    pub fn len(&mut self) -> usize {
        self.seen = self.holder.lines().seen();
        self.seen.wrapping_sub(self.head)
    }

    /// Whether there is no value at this moment.
    #[inline(always)]
    pub fn is_empty(&mut self) -> bool {
        self.head == self.seen && {
            self.seen = self.holder.lines().seen();
            self.head == self.seen
        }
    }

    /// Number of values that fit.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.mask.wrapping_add(1)
    }

    /// Frees the slots of all values that were moved out.
    #[inline(always)]
    fn publish(&mut self) {
        self.holder
            .lines()
            .consumer
            .head
            .store(self.head, named("ring.release", Ordering::Release));
    }
}

#[cfg(not(loom))]
impl<T, H: Holder<T>> Consumer<T, H> {
    /// The values, as two slices because they may go around the end of the memory, to work on in
    /// place. [`release`](Self::release) drops those that are done with.
    pub fn as_slices(&mut self) -> (&mut [T], &mut [T]) {
        let len = self.len();
        // SAFETY: The indices from `head` on hold `len` values, which stay there while we, the
        // only consumer, are borrowed.
        let (first, second) = unsafe { self.holder.lines().two_slices(self.head, len) };
        // SAFETY: As above; `MaybeUninit<T>` has the layout of `T`.
        unsafe {
            (
                &mut *(core::ptr::from_mut(first) as *mut [T]),
                &mut *(core::ptr::from_mut(second) as *mut [T]),
            )
        }
    }

    /// Moves values out into `out`, as many as there are and fit. Returns how many; their slots
    /// are freed by one store.
    #[inline]
    pub fn pop_slice(&mut self, out: &mut [MaybeUninit<T>]) -> usize {
        let mut len = self.seen.wrapping_sub(self.head);
        if len < out.len() {
            len = self.len();
        }
        // SAFETY: As in `as_slices()`.
        let (first, second) = unsafe { self.holder.lines().two_slices(self.head, len) };
        let count = copy(first, out);
        let count = count.wrapping_add(copy(second, out.get_mut(count..).unwrap_or(&mut [])));
        // What was copied is passed, so that it was moved.
        self.head = self.head.wrapping_add(count);
        self.publish();
        count
    }
}

impl<T, H: Holder<T>> Drop for Consumer<T, H> {
    #[inline]
    fn drop(&mut self) {
        self.publish();
        let line = &self.holder.lines().consumer;
        // SAFETY: We are still the only consumer.
        // INVARIANT: `head` is what a consumer that has no end reads, and knows no value beyond.
        line.seen.with_mut(|seen| unsafe { *seen = self.head });
        // Pairs with the `ring.claim` of the next consumer.
        line.claimed
            .store(false, named("ring.hand_over", Ordering::Release));
    }
}

/// The iterator of [`Consumer::drain`].
///
/// # Invariants
///
/// The indices from `head` to `end` hold values, which are this iterator's: the `head` of the
/// consumer is `end`.
pub struct Drain<'a, T, H: Holder<T>> {
    head: usize,
    end: usize,
    slots: *const Slot<T>,
    mask: usize,
    consumer: &'a mut Consumer<T, H>,
}

impl<T, H: Holder<T>> Iterator for Drain<'_, T, H> {
    type Item = T;

    #[inline(always)]
    fn next(&mut self) -> Option<T> {
        if self.head == self.end {
            return None;
        }
        // SAFETY: By the type invariants the slot holds a value, and it is passed at once.
        let value = unsafe { Slot::take(self.slots.wrapping_add(self.head & self.mask)) };
        self.head = self.head.wrapping_add(1);
        Some(value)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.end.wrapping_sub(self.head);
        (len, Some(len))
    }
}

impl<T, H: Holder<T>> ExactSizeIterator for Drain<'_, T, H> {}

impl<T, H: Holder<T>> Drop for Drain<'_, T, H> {
    #[inline]
    fn drop(&mut self) {
        // INVARIANT: What was not taken is the consumer's again.
        self.consumer.head = self.head;
        self.consumer.publish();
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
