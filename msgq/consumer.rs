// SPDX-License-Identifier: GPL-2.0

//! The receiving end of a ring.

use super::position::{ahead, Stand};
use super::{Holder, Slot};
use crate::atomic::{named, Ordering};
#[cfg(not(loom))]
use core::mem::MaybeUninit;

/// The receiving end of a ring, which frees each slot at once, and never waits.
///
/// Who polls it in a loop, on a CPU of its own, should make a [`Polling`](super::Polling) of it: the
/// faster an end finds what was just pushed, the more often it takes the line from under the
/// producer's hands, and the slower are both.
///
/// # Invariants
///
/// `claimed` of the consumer's line is set, and this is the only consumer. Its position is the
/// released one plus the values moved out; the slots in its window hold values.
pub struct Consumer<T, H: Holder<T>> {
    pub(super) at: Stand<T>,
    pub(super) holder: H,
}

// SAFETY: The window leads to slots of the ring, which go where the holder goes; the values are `Send`.
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
        let at = holder.lines().consumer_memory().stand(head);
        Ok(Self { at, holder })
    }

    /// Moves the first value out.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: The position lies in the window, so by the type invariants the slot holds a
        // value, and it is passed at once.
        let value = unsafe { Slot::take(self.at.slot()) };
        self.at.go(1);
        self.release_slots();
        Some(value)
    }

    /// The first value, which stays where it is.
    #[inline]
    pub fn peek(&mut self) -> Option<&T> {
        if self.is_empty() {
            return None;
        }
        let slot = self.at.slot();
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
        let mut count = max;
        if self.at.len() < max {
            // By one look at the producer: it may go on in between.
            let tail = self.holder.lines().published();
            self.renew_to(tail);
            let memory = self.holder.lines().consumer_memory();
            count = memory.between(self.at.position, tail).min(max);
        }
        let mut at = self.at;
        at.limit = at.position.wrapping_add(count.min(at.len()));
        let beyond = count.wrapping_sub(at.len());
        // INVARIANT: To be set right by the iterator. Nothing is moved out twice if it never does.
        self.skip(count);
        Drain {
            at,
            beyond,
            consumer: self,
        }
    }

    /// Goes on by `count`, which is at most `len()`.
    #[inline(always)]
    fn skip(&mut self, count: usize) {
        if count <= self.at.len() {
            self.at.go(count);
        } else {
            let memory = self.holder.lines().consumer_memory();
            self.at = memory.stand(memory.advance(self.at.position, count));
        }
    }

    /// Drops up to `count` values at the front. Returns how many; their slots are freed by one
    /// store.
    #[inline(always)]
    pub fn release(&mut self, mut count: usize) -> usize {
        if core::mem::needs_drop::<T>() {
            let mut drain = self.drain(count);
            count = drain.len();
            drain.by_ref().for_each(drop);
            return count;
        }
        if count > self.at.len() {
            count = count.min(self.len());
        }
        self.skip(count);
        self.release_slots();
        count
    }

    /// Number of values at this moment; there may be more later, never fewer.
    #[inline]
    pub fn len(&mut self) -> usize {
        let lines = self.holder.lines();
        lines
            .consumer_memory()
            .between(self.at.position, lines.published())
    }

    /// Whether there is no value at this moment.
    #[inline(always)]
    pub fn is_empty(&mut self) -> bool {
        self.at.is_empty() && !self.renew()
    }

    /// Number of values that fit.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.holder.lines().capacity()
    }

    /// Looks how far the producer has come. Returns whether there is a value.
    #[inline(always)]
    fn renew(&mut self) -> bool {
        let tail = self.holder.lines().published();
        self.renew_to(tail)
    }

    /// The same after a look.
    #[inline(always)]
    fn renew_to(&mut self, tail: usize) -> bool {
        if ahead(tail, self.at.position) {
            self.at.limit = tail;
            return true;
        }
        // By value, so that the end can stay in registers.
        let memory = self.holder.lines().consumer_memory();
        self.at = memory.full(self.at, tail);
        !self.at.is_empty()
    }

    /// Frees the slots of what was moved out, and looks how far the producer has come. Returns how
    /// many values there are, those of the next lap included. The window is empty.
    #[inline(always)]
    pub(super) fn look(&mut self) -> usize {
        let lines = self.holder.lines();
        // Not in vain, lest who polls takes the line away from the producer.
        if lines.consumer.head.load(Ordering::Relaxed) != self.at.position {
            self.release_slots();
        }
        let lines = self.holder.lines();
        let tail = lines.published();
        let count = lines.consumer_memory().between(self.at.position, tail);
        if count != 0 {
            self.renew_to(tail);
        }
        count
    }

    /// Frees the slots of all values that were moved out.
    #[inline(always)]
    pub(super) fn release_slots(&mut self) {
        self.holder.lines().release(self.at.position);
    }
}

#[cfg(not(loom))]
impl<T, H: Holder<T>> Consumer<T, H> {
    /// The first `N` values, to work on in place; `None` if there are fewer before the end of the
    /// memory. [`release`](Self::release) drops those that are done with.
    #[inline(always)]
    pub fn chunk<const N: usize>(&mut self) -> Option<&mut [T; N]> {
        if self.at.len() < N && {
            self.renew();
            self.at.len() < N
        } {
            return None;
        }
        let slots: *mut [T; N] = self.at.slot().cast_mut().cast();
        // SAFETY: By the type invariants there are that many values, at no null pointer, which stay
        // there while we, the only consumer, are borrowed. A `Slot<T>` that holds one has the
        // layout of a `T`.
        unsafe {
            core::hint::assert_unchecked(!slots.is_null());
            Some(&mut *slots)
        }
    }

    /// The values, as two slices because they may go around the end of the memory, to work on in
    /// place. [`release`](Self::release) drops those that are done with.
    pub fn as_slices(&mut self) -> (&mut [T], &mut [T]) {
        let len = self.len();
        // SAFETY: The slots from our position on hold `len` values, which stay there while we, the
        // only consumer, are borrowed.
        let (first, second) = unsafe { self.holder.lines().two_slices(self.at.position, len) };
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
        let mut done = 0usize;
        let mut rest = out;
        while !rest.is_empty() {
            if self.at.len() < rest.len() && !self.renew() {
                break;
            }
            let slots = self.at.slot().cast();
            // SAFETY: By the type invariants there are that many values. What is copied is passed,
            // so that it was moved.
            let slots = unsafe { core::slice::from_raw_parts(slots, self.at.len()) };
            let count = super::copy(slots, rest);
            self.at.go(count);
            self.at.fetch_after_next::<false>(count);
            done = done.wrapping_add(count);
            rest = rest.get_mut(count..).unwrap_or(&mut []);
        }
        // Not in vain, lest who polls takes the line away from the producer.
        if done != 0 {
            self.release_slots();
        }
        done
    }
}

impl<T, H: Holder<T>> Drop for Consumer<T, H> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: We are the only consumer.
        unsafe { self.holder.lines().leave_consumer(self.at) };
    }
}

/// The iterator of [`Consumer::drain`].
///
/// # Invariants
///
/// The slots in the window of `at`, and the first `beyond` of the next lap, hold values, which are
/// this iterator's: the consumer is behind them.
pub struct Drain<'a, T, H: Holder<T>> {
    at: Stand<T>,
    beyond: usize,
    consumer: &'a mut Consumer<T, H>,
}

impl<T, H: Holder<T>> Iterator for Drain<'_, T, H> {
    type Item = T;

    #[inline(always)]
    fn next(&mut self) -> Option<T> {
        if self.at.is_empty() {
            if self.beyond == 0 {
                return None;
            }
            // INVARIANT: There are values in the next lap, so this is the end of one.
            let memory = self.consumer.holder.lines().consumer_memory();
            self.at = memory.turned(self.at, self.beyond);
            self.beyond = 0;
        }
        // SAFETY: By the type invariants the slot holds a value, and it is passed at once.
        let value = unsafe { Slot::take(self.at.slot()) };
        self.at.go(1);
        Some(value)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.at.len().wrapping_add(self.beyond);
        (len, Some(len))
    }
}

impl<T, H: Holder<T>> ExactSizeIterator for Drain<'_, T, H> {}

impl<T, H: Holder<T>> Drop for Drain<'_, T, H> {
    #[inline]
    fn drop(&mut self) {
        // INVARIANT: What was not taken is the consumer's again.
        self.consumer.at = self.at;
        self.consumer.release_slots();
    }
}
