// SPDX-License-Identifier: GPL-2.0

//! Positions: how the two sides of a ring say how far they have come.
//!
//! The slots are gone through in laps, and a position counts up by one from value to value *within*
//! a lap. But the next lap lies *below*:
//!
//! ```text
//! lap 0:                              0 ..= c      c: capacity
//! lap 1:             -2c ..= -c
//! lap 2:  -4c ..= -3c
//! ```
//!
//! So "the producer's position is greater than mine" tells a consumer two things by one comparison:
//! there is a value, and all values up to there are in my lap, which is to say in one piece. If not,
//! the ring is empty or the consumer has come to the end of the memory, once in a lap, and somebody
//! looks more closely, out of line. A free-running index needs a mask, or a second comparison, for
//! each value.
//!
//! Behind the last slot of a lap a side is at `c` of that lap, which is the same place as 0 of the
//! next one. It goes there only when it finds another free slot or another value there, so that the
//! two sides are never more than one lap apart, and the consumer never in a later one.
//!
//! A value takes up two positions. They are used up after 2^62 values, in 146 years at one value
//! a nanosecond.

use super::Slot;

/// Comparisons are of the positions themselves, not of their distance.
const _: () = assert!(
    usize::BITS >= 64,
    "positions would be used up within seconds"
);

/// How many of the lowest bits of a position tell it from others, as long as fewer than a quarter
/// of 2 to the power of this were pushed in between.
pub const POSITION_BITS: u32 = 48;

/// Whether `tail` is ahead of `head` in the same lap.
#[inline(always)]
pub(super) fn ahead(tail: usize, head: usize) -> bool {
    tail as isize > head as isize
}

/// What CPUs send each other at once; where it is more, or less, costs some speed.
const CACHE_LINE: usize = 64;

/// So many bytes are asked for ahead of time: the cache lines that can be on their way at once.
pub(super) const MOST_AHEAD: usize = 16 * CACHE_LINE;

/// Asks for the cache line at `address`, to read it soon, or to write it. A hint, harmless wherever
/// that leads.
#[inline(always)]
fn prefetch<const WRITE: bool>(address: *const u8) {
    // (`core` has a function for it, but one of SSE, which the kernel is built without. A CPU that
    // has no `prefetchw` takes it for a `nop`.)
    #[cfg(target_arch = "x86_64")]
    // SAFETY: They read nothing, change nothing, and do not fault.
    unsafe {
        use core::arch::asm;
        if WRITE {
            asm!("prefetchw [{}]", in(reg) address, options(readonly, nostack, preserves_flags));
        } else {
            asm!("prefetcht0 [{}]", in(reg) address, options(readonly, nostack, preserves_flags));
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// The memory of a ring.
///
/// # Invariants
///
/// `slots` is the start of `capacity` slots, a power of two.
pub(super) struct Memory<T> {
    slots: *const Slot<T>,
    capacity: usize,
}

/// Where a side of a ring stands: at `position`, and what it knows to be its own, which is called
/// its *window*: the slots of the positions from there up to `limit`.
///
/// # Invariants
///
/// Both are in one lap. The slot of each position of that lap is at `base + position` (`base` itself
/// may lie anywhere).
pub(super) struct Stand<T> {
    pub(super) position: usize,
    pub(super) limit: usize,
    pub(super) base: *const Slot<T>,
}

impl<T> Clone for Stand<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Stand<T> {}

impl<T> Stand<T> {
    /// Whether nothing is known.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        // Not `==`, after which the compiler thinks of both as one, and copies them about.
        !ahead(self.limit, self.position)
    }

    /// The number of slots in the window.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.limit.wrapping_sub(self.position)
    }

    /// The slot of `position`.
    #[inline(always)]
    pub(super) fn slot(&self) -> *const Slot<T> {
        self.base.wrapping_add(self.position)
    }

    /// Asks for the cache lines of `count` slots, after the next `skip`, ahead of time.
    ///
    /// The other side has them all. Without, this one waits for each as long as one takes from CPU
    /// to CPU, one after another: the processor's own prefetching does not know what is whole.
    #[inline]
    pub(super) fn fetch<const WRITE: bool>(&self, skip: usize, count: usize) {
        let start = self.slot().wrapping_add(skip).cast::<u8>();
        let size = count.wrapping_mul(size_of::<Slot<T>>()).min(MOST_AHEAD);
        for line in (0..size).step_by(CACHE_LINE) {
            prefetch::<WRITE>(start.wrapping_add(line));
        }
    }

    /// The same for the batch after the next, after one of `count`.
    #[cfg(not(loom))]
    #[inline]
    pub(super) fn fetch_after_next<const WRITE: bool>(&self, count: usize) {
        let beyond = self.len().saturating_sub(count);
        self.fetch::<WRITE>(count, beyond.min(count));
    }

    /// Goes on by `count`, which is at most `len()`.
    #[inline(always)]
    pub(super) fn go(&mut self, count: usize) {
        self.position = self.position.wrapping_add(count);
    }
}

impl<T> Clone for Memory<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Memory<T> {}

impl<T> Memory<T> {
    /// # Safety
    ///
    /// The type invariants.
    #[inline(always)]
    pub(super) const unsafe fn new(slots: *const Slot<T>, capacity: usize) -> Self {
        Self { slots, capacity }
    }

    #[cfg(not(loom))]
    #[inline(always)]
    pub(super) fn slots(&self) -> *const Slot<T> {
        self.slots
    }

    #[inline(always)]
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The number of the slot at `position`.
    #[cfg(not(loom))]
    #[inline(always)]
    pub(super) fn offset(&self, position: usize) -> usize {
        position & self.capacity.wrapping_sub(1)
    }

    /// Whether `position` is the end of a lap.
    #[inline(always)]
    fn at_end(&self, position: usize) -> bool {
        position & self.capacity != 0
    }

    /// The position in the next lap that is a capacity further on than `position`.
    #[inline(always)]
    fn below(&self, position: usize) -> usize {
        position.wrapping_sub(self.capacity.wrapping_mul(3))
    }

    /// The end of the lap of `position`, which is at no end.
    #[inline(always)]
    fn end(&self, position: usize) -> usize {
        (position | self.capacity.wrapping_sub(1)).wrapping_add(1)
    }

    /// A side at `position` that knows of nothing.
    #[inline(always)]
    pub(super) fn stand(&self, position: usize) -> Stand<T> {
        let offset = position & self.capacity.wrapping_mul(2).wrapping_sub(1);
        Stand {
            position,
            limit: position,
            base: self.slots.wrapping_add(offset.wrapping_sub(position)),
        }
    }

    /// `at`, which is at the end of its lap, at the start of the next one, with a window of `len`.
    #[inline(always)]
    pub(super) fn turned(&self, at: Stand<T>, len: usize) -> Stand<T> {
        let position = self.below(at.position);
        Stand {
            position,
            limit: position.wrapping_add(len),
            base: at.base.wrapping_add(self.capacity.wrapping_mul(2)),
        }
    }

    /// The producer at `at`, knowing that the consumer is at `head`. The window is empty if the
    /// ring is full.
    #[inline(always)]
    pub(super) fn free(&self, at: Stand<T>, head: usize) -> Stand<T> {
        // As far into the next lap as the consumer is in its own.
        let limit = head.wrapping_sub(self.capacity.wrapping_mul(2));
        if ahead(head, at.position) {
            // It is in the lap before ours.
            Stand { limit, ..at }
        } else if !self.at_end(at.position) {
            let limit = self.end(at.position);
            Stand { limit, ..at }
        } else if limit == self.below(at.position) {
            let limit = at.position;
            Stand { limit, ..at }
        } else {
            Stand {
                limit,
                ..self.turned(at, 0)
            }
        }
    }

    /// The consumer at `at`, knowing that the producer is at `tail`, which is not
    /// [`ahead`]. The window is empty if the ring is.
    #[inline(always)]
    pub(super) fn full(&self, at: Stand<T>, tail: usize) -> Stand<T> {
        if tail == at.position {
            let limit = tail;
            Stand { limit, ..at }
        } else if self.at_end(at.position) {
            Stand {
                limit: tail,
                ..self.turned(at, 0)
            }
        } else {
            // It is in the next lap.
            let limit = self.end(at.position);
            Stand { limit, ..at }
        }
    }

    /// The position `count` values after `position`; at most the capacity.
    #[inline(always)]
    pub(super) fn advance(&self, position: usize, count: usize) -> usize {
        let mask = self.capacity.wrapping_mul(2).wrapping_sub(1);
        let to = position.wrapping_add(count);
        if (position & mask).wrapping_add(count) <= self.capacity {
            to
        } else {
            // From `c + n` of this lap to `n` of the next one.
            self.below(to)
        }
    }

    /// The number of values between `head` and a later `tail`, which are at most a capacity apart.
    #[inline(always)]
    pub(super) fn between(&self, head: usize, tail: usize) -> usize {
        let len = tail.wrapping_sub(head);
        if tail as isize >= head as isize {
            len
        } else {
            len.wrapping_add(self.capacity.wrapping_mul(3))
        }
    }

    /// The number of values before `position`, modulo half the number of positions; it depends on
    /// no higher bits of `position` than the result has, and one more.
    #[inline(always)]
    pub(super) fn count(&self, position: usize) -> usize {
        let offset = position & self.capacity.wrapping_mul(2).wrapping_sub(1);
        (offset.wrapping_sub(position) >> 1).wrapping_add(offset)
    }

    /// Whether `later` is ahead of `earlier`, of which the lowest [`POSITION_BITS`] count.
    pub(super) fn is_later(&self, later: usize, earlier: usize) -> bool {
        let distance = self.count(later).wrapping_sub(self.count(earlier));
        // One bit fewer: a value takes up two positions.
        (distance << (usize::BITS - POSITION_BITS + 1)) as isize > 0
    }
}
