// SPDX-License-Identifier: GPL-2.0

//! The ring without ends: for producers, and consumers, that follow one another and have nothing to
//! pass on, as the senders of a mailbox on one CPU.

use super::lines::{Lines, Window};
use super::position::{ahead, Stand};
use super::Slot;
use crate::atomic::Ordering;

impl<T> Lines<T> {
    /// Appends `value`, or hands it back if the ring is full.
    ///
    /// For producers that follow one another and have no [`Producer`](super::Producer) to pass on.
    ///
    /// # Safety
    ///
    /// No other producer is at work meanwhile (one of these functions, a [`Vacant`] or [`Staged`]
    /// that is still used, a [`Producer`](super::Producer)), and the producer before happens before
    /// this one (the same CPU with preemption off, a lock, a hand-over).
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
            let mut at = window.at(tail);
            if at.is_empty() {
                note();
                at = self.renew(window, at);
                if at.is_empty() {
                    return None;
                }
            }
            Some(Vacant {
                lines: self,
                tail: at.position,
                // INVARIANT: `tail` lies in the window.
                slot: at.slot(),
            })
        })
    }

    /// Renews the window of a producer without an end.
    #[cold]
    #[inline(never)]
    fn renew(&self, window: &mut Window<T>, before: Stand<T>) -> Stand<T> {
        let at = self.free(before);
        // INVARIANT: The position of the window is the published one.
        *window = at.into();
        if at.position != before.position {
            self.publish(at.position);
        }
        at
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
        // Out of the cell, and into it again when `tail` is published: who forgets the values
        // leaves an empty window, and loses the values, but not the ring.
        let mut at = self.producer.window.with_mut(|window| {
            // SAFETY: We are the only producer, so nobody else touches the window.
            let window = unsafe { &mut *window };
            let at = window.at(first.tail);
            window.limit = first.tail;
            at
        });
        let (mut last, mut len) = (first.tail, 0usize);
        loop {
            if at.is_empty() {
                at = self.free(at);
                if at.is_empty() {
                    break;
                }
            }
            let Some(value) = values.next() else {
                break;
            };
            // SAFETY: The position lies in the window, so this is a slot, and the producer's.
            unsafe { Slot::put(at.slot(), value) };
            last = at.position;
            at.go(1);
            len = len.wrapping_add(1);
        }
        let staged = Staged {
            lines: self,
            first: first.slot,
            last,
            len,
            at,
        };
        // Also if there are none: dropping it puts the window back.
        (len != 0).then_some(staged)
    }

    /// Moves the first value out.
    ///
    /// For consumers that follow one another and have no [`Consumer`](super::Consumer) to pass on.
    ///
    /// # Safety
    ///
    /// No other consumer is at work meanwhile (one of these functions, a [`First`] that is still
    /// used, a [`Consumer`](super::Consumer)), no reference from [`peek`](Self::peek) is used any
    /// more, and the consumer before happens before this one.
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
        let slot = unsafe { self.first() }?.at.slot();
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
        // SAFETY: By the caller's promise.
        unsafe { self.first_noting(|_| ()) }
    }

    /// [`first`](Self::first), which also calls `note` with the number of values in the ring whenever
    /// it looks how far the producer has come and finds more than one: so with the largest number
    /// that the consumer ever knows of, unless that is one.
    ///
    /// # Safety
    ///
    /// As for [`first`](Self::first).
    #[inline(always)]
    pub unsafe fn first_noting(&self, note: impl FnOnce(usize)) -> Option<First<'_, T>> {
        let line = &self.consumer;
        let head = line.head.load(Ordering::Relaxed);
        line.window.with_mut(|window| {
            // SAFETY: We are the only consumer, so nobody else touches the window.
            let window = unsafe { &mut *window };
            let mut at = window.at(head);
            if at.is_empty() {
                let tail = self.published();
                if tail == head {
                    return None;
                }
                // One comparison for both: is there one, are there more?
                let next = head.wrapping_add(1);
                if tail == next || ahead(tail, next) {
                    window.limit = tail;
                    at.limit = tail;
                } else {
                    at = self.turn(window, at, tail);
                    if at.is_empty() {
                        return None;
                    }
                }
                if tail != next {
                    note(self.consumer_memory().between(head, tail));
                }
            }
            Some(First {
                lines: self,
                // INVARIANT: The position lies in the window.
                at,
            })
        })
    }

    /// Renews the window of a consumer without an end, by a `tail` that is not in its lap.
    #[cold]
    #[inline(never)]
    fn turn(&self, window: &mut Window<T>, before: Stand<T>, tail: usize) -> Stand<T> {
        let at = self.consumer_memory().full(before, tail);
        // INVARIANT: The position of the window is the released one.
        *window = at.into();
        if at.position != before.position {
            self.release(at.position);
        }
        at
    }

    /// Whether the value at `position` has been taken, where `position` is one that
    /// [`Vacant::position`] or [`Staged::last_position`] has told; of it, the lowest
    /// [`POSITION_BITS`](super::POSITION_BITS) count.
    ///
    /// Exact for the consumer; others learn what was true a moment ago.
    #[inline]
    pub fn has_taken(&self, position: usize) -> bool {
        let head = self.consumer.head.load(Ordering::Relaxed);
        self.consumer_memory().is_later(head, position)
    }
}

/// A free slot: what [`Lines::vacant`] returns.
///
/// # Invariants
///
/// `slot` is that of the position `tail`, which is the published one; it is free, and this is the
/// only producer.
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
        self.lines.publish(self.tail.wrapping_add(1));
    }
}

/// Values that are in the ring, and that the consumer does not see before this is dropped. See
/// [`Lines::stage_batch`].
///
/// # Invariants
///
/// The slots from the published position to that of `at` hold values, `len` of them, that are this
/// type's; `first` is the first. This is the only producer, and it stands at `at`.
pub struct Staged<'a, T> {
    lines: &'a Lines<T>,
    first: *const Slot<T>,
    last: usize,
    len: usize,
    at: Stand<T>,
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

    /// Lets `change` change the first value.
    #[inline(always)]
    pub fn first_mut<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: By the type invariants the slot is valid, holds a value, and is ours.
        unsafe { (*self.first).0.with_mut(|p| change(&mut *p.cast::<T>())) }
    }
}

impl<T> Drop for Staged<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lines.producer.window.with_mut(|window| {
            // INVARIANT: The window's position is published right below.
            // SAFETY: By the type invariants we are the only producer.
            unsafe { *window = self.at.into() }
        });
        self.lines.publish(self.at.position);
    }
}

/// The first value of a ring: what [`Lines::first`] returns.
///
/// # Invariants
///
/// This is the only consumer. It stands at `at`, and its window is not empty.
pub struct First<'a, T> {
    lines: &'a Lines<T>,
    at: Stand<T>,
}

impl<T> First<'_, T> {
    /// Lets `look` see the value.
    #[inline(always)]
    pub fn with<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        // SAFETY: By the type invariants the slot is valid and holds a value, which nobody else
        // takes or changes.
        unsafe { (*self.at.slot()).0.with(|p| look(&*p.cast::<T>())) }
    }

    /// Moves the value out.
    #[inline(always)]
    pub fn take(self) -> T {
        // SAFETY: By the type invariants the slot holds a value, which is ours until `head` passes
        // it, right below.
        let value = unsafe { Slot::take(self.at.slot()) };
        self.lines.release(self.at.position.wrapping_add(1));
        value
    }
}
