// SPDX-License-Identifier: GPL-2.0

//! For when a domain's one `hrtimer` is programmed, and when a late tick is due: arithmetic.
//!
//! No dependency on the kernel crate: the same file is compiled into the module and, on the host,
//! into the property tests of `selftests/host`.
//!
//! Programming the timer of a CPU takes more instructions than all else about a timer, so it is done
//! only when it must:
//!
//! - when a timer is armed that comes before what is programmed;
//! - once at the end of a run in which timers were taken out: what the coroutines arm that were
//!   woken by them is included. (For one that was the only one this is settled at once: nothing is
//!   programmed, and what is armed next comes before that.)
//!
//! A timer that is disarmed changes nothing: at worst there is one interrupt in vain, and then the
//! next one is the right one. That is what makes time-outs cheap, which hardly ever come to pass.

/// No timer comes so late: nothing is programmed.
const NEVER: i64 = i64::MAX;

/// What is programmed.
#[derive(Debug)]
pub struct Alarm {
    /// The interrupt that is sure to come.
    at: i64,
    /// Timers were taken out, and [`settle`](Self::settle) is going to be called.
    owed: bool,
}

impl Alarm {
    /// Nothing is programmed.
    pub const fn new() -> Self {
        Alarm {
            at: NEVER,
            owed: false,
        }
    }

    /// A timer for `at` was armed: whether the interrupt is to be programmed for that.
    #[inline]
    #[must_use]
    pub fn arm(&mut self, at: i64) -> bool {
        if self.owed || at >= self.at {
            return false;
        }
        self.at = at;
        true
    }

    /// The interrupt has come, and timers are going to be taken out.
    #[inline]
    pub fn rang(&mut self) {
        self.at = NEVER;
        self.owed = true;
    }

    /// All that were due have been taken out, and what that woke has run: whether the interrupt is
    /// to be programmed, for `first`, which is the first timer.
    #[inline]
    #[must_use]
    pub fn settle(&mut self, first: Option<i64>) -> Option<i64> {
        self.owed = false;
        first.filter(|at| self.arm(*at))
    }
}

impl Default for Alarm {
    fn default() -> Self {
        Self::new()
    }
}

/// What becomes of the ticks of an interval that nobody waited for in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Missed {
    /// Left out: the next one is the first in the future that the original grid has. (What the
    /// kernel's `hrtimer_forward()` does.)
    #[default]
    Skip,
    /// Made up for, one right after the other, until the original grid is reached again.
    Burst,
    /// The next one comes a period after this one: the grid moves.
    Delay,
}

impl Missed {
    /// When the tick after the one of `due` is due, if that was taken at `now`. `period` is
    /// positive.
    pub fn next(self, due: i64, period: i64, now: i64) -> i64 {
        let regular = due.saturating_add(period);
        if regular > now {
            return regular;
        }
        match self {
            Missed::Burst => regular,
            Missed::Delay => now.saturating_add(period),
            Missed::Skip => {
                // Not negative, since `regular` is not after `now`.
                let past = now.wrapping_sub(regular).checked_rem(period).unwrap_or(0);
                now.saturating_sub(past).saturating_add(period)
            }
        }
    }
}
