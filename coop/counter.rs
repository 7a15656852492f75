// SPDX-License-Identifier: GPL-2.0

//! Numbers that a domain's runner counts, and anybody reads.

use crate::sys::context;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Whether anything is counted and timed: not in a build with `STATS=0`, which is there to measure
/// what that costs (`scripts/bench --stats`).
pub(crate) const COUNTS: bool = cfg!(not(coop_no_stats));

/// A counter with one writer at a time: a plain addition, no locked instruction.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the runner of the domain may call this, or who alone counts there; otherwise
    /// counts get lost.
    #[inline(always)]
    pub(crate) fn add(&self, n: u64) {
        if COUNTS {
            self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
        }
    }

    /// The value.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A counter that also says that it is time for something, once in [`PERIOD`](Self::PERIOD) times:
/// two instructions for both.
///
/// The lower 16 bits are counted down, by themselves; what is above are the periods that have ended.
/// When they fall below 0, they are [wound up](Self::wind_up) again, and the period is added, by one
/// store of the whole word. So the word stands for the right number at each instant, and a reader
/// who loads it whole never sees anything else.
#[repr(transparent)]
pub struct CountDown(AtomicU64);

impl CountDown {
    /// What is counted from one time to the next.
    pub const PERIOD: u64 = 512;

    const fn word(periods: u64, left: u64) -> u64 {
        periods << 16 | left & 0xffff
    }

    pub(crate) const fn new() -> Self {
        CountDown(AtomicU64::new(Self::word(0, Self::PERIOD - 1)))
    }

    /// Counts one; whether the counter is to be [wound up](Self::wind_up) now. The counter is the one
    /// `OFFSET` bytes behind `base`, since the compiler would compute its address.
    ///
    /// # Safety
    ///
    /// There is one, and nobody else changes it meanwhile.
    #[inline(always)]
    pub(crate) unsafe fn count<const OFFSET: isize>(base: *const u8) -> bool {
        // SAFETY: Per the function's contract.
        COUNTS && unsafe { context::count_down::<OFFSET>(base) }
    }

    /// Begins the next period. By the one who counts.
    pub(crate) fn wind_up(&self) {
        let periods = (self.0.load(Relaxed) >> 16).wrapping_add(1);
        self.0.store(Self::word(periods, Self::PERIOD - 1), Relaxed);
    }

    /// Takes back the last one. By the one who counts.
    pub(crate) fn take_back(&self) {
        if COUNTS {
            let word = self.0.load(Relaxed);
            let left = (word & 0xffff).wrapping_add(1);
            self.0.store(Self::word(word >> 16, left), Relaxed);
        }
    }

    /// The number counted.
    pub fn get(&self) -> u64 {
        let word = self.0.load(Relaxed);
        // Below 0 for a moment, and above what it begins with, if the first of a period is taken back.
        let left = i64::from(word as u16 as i16);
        let ended = (word >> 16).wrapping_mul(Self::PERIOD);
        ended.wrapping_add((Self::PERIOD - 1).wrapping_add_signed(left.wrapping_neg()))
    }
}

impl Default for CountDown {
    fn default() -> Self {
        Self::new()
    }
}
