// SPDX-License-Identifier: GPL-2.0

//! The sending end of a ring.

use super::position::{ahead, Stand, MOST_AHEAD};
use super::{Holder, Slot};
use crate::atomic::{named, Ordering};
#[cfg(not(loom))]
use core::mem::MaybeUninit;

/// The sending end of a ring.
///
/// # Invariants
///
/// `claimed` of the producer's line is set, and this is the only producer. Its position is the
/// published one plus the values staged. The slots up to [`known`](Self::known) are free, which lies
/// in the same lap, and not before the end of the window.
pub struct Producer<T, H: Holder<T>> {
    at: Stand<T>,
    holder: H,
}

// SAFETY: The window leads to slots of the ring, which go where the holder goes.
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
        let at = holder.lines().producer_memory().stand(tail);
        let mut producer = Self { at, holder };
        producer.stand(at);
        Ok(producer)
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
        if self.is_full() {
            return Err(value);
        }
        // SAFETY: The position lies in the window, so by the type invariants this is a free slot.
        unsafe { Slot::put(self.at.slot(), value) };
        self.at.go(1);
        Ok(())
    }

    /// Shows all staged values to the consumer, by one store.
    #[inline(always)]
    pub fn publish(&mut self) {
        self.holder.lines().publish(self.at.position);
    }

    /// Appends what `values` yields until it ends or the ring is full, published by one store.
    /// Returns how many; no value is taken from the iterator that does not fit.
    #[inline]
    pub fn push_batch(&mut self, values: &mut impl Iterator<Item = T>) -> usize {
        let mut count = 0usize;
        'full: while !self.is_full() {
            while !self.at.is_empty() {
                let Some(value) = values.next() else {
                    break 'full;
                };
                // SAFETY: As in `stage()`.
                unsafe { Slot::put(self.at.slot(), value) };
                self.at.go(1);
                count = count.wrapping_add(1);
            }
        }
        self.publish();
        count
    }

    /// Number of values that fit at this moment; more may fit later, never fewer.
    #[inline]
    pub fn room(&mut self) -> usize {
        let lines = self.holder.lines();
        let memory = lines.producer_memory();
        let len = memory.between(lines.released(), self.at.position);
        memory.capacity().wrapping_sub(len)
    }

    /// Whether the ring is full at this moment.
    #[inline(always)]
    pub fn is_full(&mut self) -> bool {
        self.at.is_empty() && !self.go_on()
    }

    /// Makes the next free slots the window: a part of those that are known, whose successors are
    /// then asked for, or else by a look. Returns whether there is room. The window is empty.
    #[inline(always)]
    fn go_on(&mut self) -> bool {
        let mut known = self.known();
        if !ahead(known, self.at.position) {
            if !self.renew() {
                return false;
            }
            known = self.at.limit;
        }
        // INVARIANT: Not further than `known`.
        self.at.limit = self.at.position.wrapping_add(Self::PART);
        if ahead(known, self.at.limit) {
            fetch_next(self.at, known);
        } else {
            self.at.limit = known;
        }
        true
    }

    /// So many values are pushed before more cache lines are asked for.
    const PART: usize = match MOST_AHEAD.checked_div(size_of::<T>()) {
        Some(0) => 1,
        Some(count) => count,
        None => MOST_AHEAD,
    };

    /// How far the slots are free, by the last look.
    ///
    /// In the ring's window, which is of no use to others meanwhile: it is not to take a register
    /// from who pushes in a loop.
    #[inline(always)]
    fn known(&self) -> usize {
        let window = &self.holder.lines().producer.window;
        // SAFETY: By the type invariants we are the only producer, whose window that is.
        window.with(|window| unsafe { (*window).limit })
    }

    /// Goes to `at`, whose window is what is known.
    #[inline(always)]
    fn stand(&mut self, at: Stand<T>) {
        // INVARIANT: Nothing else is known.
        self.at = at;
        let window = &self.holder.lines().producer.window;
        // SAFETY: As above.
        window.with_mut(|window| unsafe { (*window).limit = at.limit });
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
        self.stand(self.holder.lines().free(self.at));
        !self.at.is_empty()
    }
}

#[cfg(not(loom))] // Loom's slots are more than memory.
impl<T, H: Holder<T>> Producer<T, H> {
    /// The next `N` free slots, to build values in place; `None` if fewer are free before the end
    /// of the memory. [`commit`](Self::commit) appends what was built.
    #[inline(always)]
    pub fn spare_chunk<const N: usize>(&mut self) -> Option<&mut [MaybeUninit<T>; N]> {
        if self.at.len() < N && {
            self.renew();
            self.at.len() < N
        } {
            return None;
        }
        let slots: *mut [MaybeUninit<T>; N] = self.at.slot().cast_mut().cast();
        // SAFETY: By the type invariants there are that many free slots, at no null pointer, which
        // stay so while we, the only producer, are borrowed. A `Slot<T>` has the layout of a
        // `MaybeUninit<T>`.
        unsafe {
            core::hint::assert_unchecked(!slots.is_null());
            Some(&mut *slots)
        }
    }

    /// The free slots, as two slices because they may go around the end of the memory, to build
    /// values in place. [`commit`](Self::commit) appends what was built.
    pub fn spare(&mut self) -> (&mut [MaybeUninit<T>], &mut [MaybeUninit<T>]) {
        let room = self.room();
        // SAFETY: The slots from our position on are free, `room` of them, and stay so while we,
        // the only producer, are borrowed.
        unsafe { self.holder.lines().two_slices(self.at.position, room) }
    }

    /// Appends `count` values that were built in the first of the [`spare`](Self::spare) slots or
    /// in the [`spare_chunk`](Self::spare_chunk), published by one store.
    ///
    /// # Safety
    ///
    /// Since the last other operation on this producer, the first `count` of those slots, in order,
    /// have been initialised; there were that many.
    #[inline(always)]
    pub unsafe fn commit(&mut self, count: usize) {
        if count <= self.at.len() {
            self.at.go(count);
        } else {
            // INVARIANT: The window, which may lie behind, is empty.
            let memory = self.holder.lines().producer_memory();
            self.stand(memory.stand(memory.advance(self.at.position, count)));
        }
        self.publish();
    }
}

#[cfg(not(loom))]
impl<T: Copy, H: Holder<T>> Producer<T, H> {
    /// Appends the first of `values`, as many as fit, published by one store. Returns how many.
    #[inline]
    pub fn push_slice(&mut self, values: &[T]) -> usize {
        let mut done = 0usize;
        // SAFETY: A `MaybeUninit<T>` may hold any `T`, and it is only read from.
        let mut rest = unsafe { &*(core::ptr::from_ref(values) as *const [MaybeUninit<T>]) };
        while !rest.is_empty() {
            if self.at.len() < rest.len() && !self.renew() {
                break;
            }
            let slots = self.at.slot().cast_mut().cast();
            // SAFETY: By the type invariants there are that many free slots.
            let count = super::copy(rest, unsafe {
                core::slice::from_raw_parts_mut(slots, self.at.len())
            });
            self.at.go(count);
            self.at.fetch_after_next::<true>(count);
            done = done.wrapping_add(count);
            rest = rest.get(count..).unwrap_or(&[]);
        }
        // Not in vain: the consumer looks there all the time.
        if done != 0 {
            self.publish();
        }
        done
    }
}

/// Asks for the cache lines of the free slots that follow the window, as far as `known`.
#[cold]
#[inline(never)]
fn fetch_next<T>(at: Stand<T>, known: usize) {
    at.fetch::<true>(at.len(), known.wrapping_sub(at.limit));
}

impl<T, H: Holder<T>> Drop for Producer<T, H> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: We are the only producer.
        unsafe { self.holder.lines().leave_producer(self.at) };
    }
}
