// SPDX-License-Identifier: GPL-2.0

//! The receiving end of a ring for who polls: a thread on a CPU of its own, which takes values as
//! fast as they come and has nothing else to do.
//!
//! A consumer that keeps up with the producer is its worst neighbour. Each look takes the line of
//! `tail` away from the producer, whose next store has to fetch it back, and the values that were
//! pushed in between, a few, lie in a line that is still being written. Where a line takes long
//! from one CPU to the other, the two of them move a handful of values per round trip, however fast
//! each is alone; and the faster the consumer, the sooner it looks again, and the worse it gets.
//! Against that:
//!
//! - *Temporal slipping* (FastForward, Giacomoni et al. 2008): after a look that found values, but
//!   few, the next one is put off for a moment, a longer one each time, so that it finds many. How
//!   many pauses it takes depends on how far apart the CPUs are, so it is found out by and by, and
//!   forgotten as soon as a look finds one value or none: who sends single values, and waits for
//!   what comes of it, is never kept waiting.
//! - Slots are released a part of the ring at a time (MCRingBuffer, Lee et al. 2010), so that there
//!   is nothing to store per value, and what the producer learns is worth a look of its own.
//! - While one part is taken, the cache lines of the next one are on their way. Without, who takes
//!   values that come in batches waits for one line after another, and the producer for room.

#[cfg(not(loom))]
use super::copy;
use super::position::{ahead, MOST_AHEAD};
use super::{Consumer, Holder, Slot};
use crate::atomic::spin_loop;
#[cfg(not(loom))]
use core::mem::MaybeUninit;

/// A look is put off for that many pauses (of [`spin_loop`]) at most: one or two microseconds.
const MOST_PAUSES: u32 = 64;

/// This part of the ring (one divided by it, or less, so that a part can be fetched at once) is
/// released at once, and is what a look should find.
const PARTS: usize = 8;

/// The receiving end of a ring for a thread that polls it; see the [module](self).
///
/// # Contexts
///
/// Any, but it may wait for some microseconds (never for the producer): it is meant for a thread
/// that would spin anyway. All others use [`Consumer`].
///
/// # Invariants
///
/// `known` is a position in the lap of the consumer, not behind it; slots up to there hold values,
/// at most `found` of them. The window of the consumer is the first part of them, unless it is
/// empty.
pub struct Polling<T, H: Holder<T>> {
    consumer: Consumer<T, H>,
    known: usize,
    /// How many values the last look found, those of the next lap included.
    found: usize,
    pauses: u32,
}

impl<T, H: Holder<T>> Polling<T, H> {
    /// Moves the first value out; `None` if there is none at this moment.
    ///
    /// Its slot is not free at once: slots are released an eighth of the ring at a time (less, where
    /// that is much), and when nothing is known to be left, by the `pop` after that.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<T> {
        if self.consumer.at.is_empty() && !self.look() {
            return None;
        }
        let at = &mut self.consumer.at;
        // SAFETY: The position lies in the window, so by the type invariants of the consumer the
        // slot holds a value, and it is passed at once.
        let value = unsafe { Slot::take(at.slot()) };
        at.go(1);
        Some(value)
    }

    /// Moves values out into `out`, as many as fit of those that are at hand. Returns how many, at
    /// least one if there is a value; there may be more.
    #[cfg(not(loom))]
    #[inline]
    pub fn pop_slice(&mut self, out: &mut [MaybeUninit<T>]) -> usize {
        if out.is_empty() || (self.consumer.at.is_empty() && !self.look()) {
            return 0;
        }
        let at = &mut self.consumer.at;
        // SAFETY: By the type invariants of the consumer its window holds that many values. What
        // is copied is passed, so that it was moved.
        let values = unsafe { core::slice::from_raw_parts(at.slot().cast(), at.len()) };
        let count = copy(values, out);
        at.go(count);
        count
    }

    /// Number of values that fit.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.consumer.capacity()
    }

    /// Makes the next values the window: of those that are known, or else by a look at the
    /// producer. Returns whether there are any. The window is empty.
    #[inline(always)]
    fn look(&mut self) -> bool {
        if self.found > 1 {
            return self.look_in_stream();
        }
        // INVARIANT: What the look before has found, one value at most, is taken.
        self.found = self.consumer.look();
        self.known = self.consumer.at.limit;
        if self.found > 1 {
            self.cut();
        }
        self.found != 0
    }

    /// The same after a look that found more than one value.
    #[cold]
    #[inline(never)]
    fn look_in_stream(&mut self) -> bool {
        if ahead(self.known, self.consumer.at.position) {
            self.consumer.release_slots();
        } else {
            self.pauses = slip(self.pauses, self.found, self.part());
            self.found = self.consumer.look();
            self.known = self.consumer.at.limit;
            if self.found <= 1 {
                self.pauses = 0;
                return self.found != 0;
            }
            self.fetch(0);
        }
        self.cut();
        self.fetch(self.consumer.at.len());
        true
    }

    /// Has the cache lines of a part sent, as far as it is known: of that after the next `skip`
    /// values.
    #[inline]
    fn fetch(&self, skip: usize) {
        let at = &self.consumer.at;
        let known = self.known.wrapping_sub(at.position);
        at.fetch::<false>(skip, known.wrapping_sub(skip).min(self.part()));
    }

    /// The number of values in a part.
    #[inline]
    fn part(&self) -> usize {
        let most = MOST_AHEAD.checked_div(size_of::<T>());
        let part = self.capacity() / PARTS;
        part.min(most.unwrap_or(part)).max(1)
    }

    /// Makes the first part of what is known the window. There are values.
    #[inline]
    fn cut(&mut self) {
        let part = self.part();
        let at = &mut self.consumer.at;
        let part = at.position.wrapping_add(part);
        // INVARIANT: Not further than `known`, in the same lap.
        at.limit = if ahead(self.known, part) {
            part
        } else {
            self.known
        };
    }
}

/// Waits a moment: longer than the last time, which was `pauses`, if the look after that `found`
/// fewer values than `enough`, else less long. Returns how long, for the next time.
#[inline]
fn slip(pauses: u32, found: usize, enough: usize) -> u32 {
    let pauses = if found < enough {
        pauses.wrapping_mul(2).wrapping_add(4).min(MOST_PAUSES)
    } else {
        pauses.wrapping_sub(pauses / 4)
    };
    for _ in 0..pauses {
        spin_loop();
    }
    pauses
}

impl<T, H: Holder<T>> From<Consumer<T, H>> for Polling<T, H> {
    fn from(mut consumer: Consumer<T, H>) -> Self {
        // INVARIANT: What was the window is known; the window, none of it.
        let known = consumer.at.limit;
        consumer.at.limit = consumer.at.position;
        Self {
            found: known.wrapping_sub(consumer.at.position),
            consumer,
            known,
            pauses: 0,
        }
    }
}

impl<T, H: Holder<T>> From<Polling<T, H>> for Consumer<T, H> {
    fn from(mut polling: Polling<T, H>) -> Self {
        polling.consumer.release_slots();
        polling.consumer
    }
}
