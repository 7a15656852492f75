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
//!   programmed, and what is armed next comes before that. One that is [`alone`](crate::alone) is
//!   taken out by the interrupt itself.)
//!
//! A timer that is disarmed changes nothing: at worst there is one interrupt in vain, and then the
//! next one is the right one. That is what makes time-outs cheap, which hardly ever come to pass.

/// No timer comes so late: nothing is programmed.
const NEVER: i64 = i64::MAX;

/// No timer comes so early: timers were taken out, and [`settle`](Alarm::settle) is going to be called.
const OWED: i64 = i64::MIN;

/// What is programmed.
#[derive(Debug)]
pub struct Alarm {
    /// The interrupt that is sure to come, or one of the above.
    at: i64,
    /// It was programmed anew before it had come: ever since, the one before may come, too.
    doubled: bool,
}

impl Alarm {
    /// Nothing is programmed.
    pub const fn new() -> Self {
        Alarm {
            at: NEVER,
            doubled: false,
        }
    }

    /// A timer for `at` was armed: whether the interrupt is to be programmed for that.
    #[inline]
    #[must_use]
    pub fn arm(&mut self, at: i64) -> bool {
        if at >= self.at {
            return false;
        }
        if self.at != NEVER {
            self.doubled = true;
        }
        self.at = at;
        true
    }

    /// Whether an interrupt that comes may be an earlier one than that programmed last.
    #[inline]
    pub fn is_doubled(&self) -> bool {
        self.doubled
    }

    /// The interrupt has come, and timers have been taken out, if at all, by itself.
    #[inline]
    pub fn passed(&mut self) {
        self.at = NEVER;
    }

    /// Whether [`settle`](Self::settle) is going to be called.
    #[inline]
    pub fn is_owed(&self) -> bool {
        self.at == OWED
    }

    /// The interrupt has come, and timers are going to be taken out.
    #[inline]
    pub fn rang(&mut self) {
        self.at = OWED;
    }

    /// All that were due have been taken out, and what that woke has run: what is first now is to be
    /// [armed](Self::arm) once more.
    #[inline]
    pub fn settle(&mut self) {
        self.at = NEVER;
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
