// SPDX-License-Identifier: GPL-2.0

//! Which of several levels is looked at first: arithmetic.
//!
//! No dependency on the kernel crate: the same file is compiled into the module and, on the host,
//! into the property tests of `selftests/host`.
//!
//! As the [run queue](crate::run_queue) does it for coroutines: the most urgent one, but each
//! [`FAVOUR`]th time the next one in turn that has something. So what is first at its level comes
//! after [`FAVOUR`] × levels others at the latest.

use crate::run_queue::FAVOUR;

/// Whose turn it is among levels `0..levels`, 0 being the most urgent.
#[derive(Clone, Debug)]
pub struct Turns {
    levels: usize,
    picks: u32,
    /// The level that was favoured last.
    favoured: usize,
}

impl Turns {
    /// Turns of `levels` levels.
    pub const fn new(levels: usize) -> Self {
        Turns {
            levels,
            picks: 0,
            favoured: 0,
        }
    }

    #[inline]
    fn is_favour(&self) -> bool {
        self.picks % FAVOUR == FAVOUR.wrapping_sub(1)
    }

    /// The levels in the order in which to look at them this time: the first that has something is
    /// to be [noted](Self::picked).
    #[inline]
    pub fn order(&self) -> impl Iterator<Item = usize> {
        let levels = self.levels;
        let first = if self.is_favour() {
            self.favoured.wrapping_add(1)
        } else {
            0
        };
        (0..levels).map(move |step| {
            let level = first.wrapping_add(step);
            // `first` is `levels` at most.
            level.checked_sub(levels).unwrap_or(level)
        })
    }

    /// Level `level` was the first in [`order`](Self::order) that had something, which was taken.
    #[inline]
    pub fn picked(&mut self, level: usize) {
        if self.is_favour() {
            self.favoured = level;
        }
        self.picks = self.picks.wrapping_add(1);
    }
}
