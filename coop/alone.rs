// SPDX-License-Identifier: GPL-2.0

//! The timer of a domain that has armed but one: without a lock, and taken by the interrupt itself.
//!
//! No dependency on the kernel crate: the same file is compiled into the module and, on the host,
//! into the loom models of `selftests/host`.
//!
//! Most sleeps are of this kind, and a lock that any context may take costs more than all else about
//! them. So there is a place for one timer, one word:
//!
//! ```text
//!               put                        take (interrupt)
//!     EMPTY, RANG -----> timer      timer, EMPTY ------> RANG
//!                                   timer -------------> EMPTY        withdraw
//!     EMPTY, RANG, timer ---------> CROWD                             gather
//!     CROWD ----------------------> EMPTY                             disperse
//!     any ------------------------> CLOSED                            close
//! ```
//!
//! - `RANG`: no timer, and the interrupt has come since the last one was put there: it is to be
//!   programmed again.
//! - `CROWD`: there may be several timers, in a queue with a lock. The interrupt touches none of
//!   them, but tells the runner.
//!
//! `put`, `gather` and `disperse` are the runner's, `take` the interrupt's, of which there is one at a
//! time; `withdraw` belongs to whoever has the timer, who may be anybody.
//!
//! **Nothing is lost.** Putting a timer there and the interrupt are read-modify-writes of the same
//! word, so one comes first. If the interrupt does, `put` finds `RANG`, and has another one
//! programmed. If `put` does, the interrupt finds the timer: it is due, or it is not (there was
//! another one before, which was withdrawn), and then its coroutine is to put it there once more.
//!
//! **Nothing comes early.** The interrupt asks no clock: what it makes due was left in `due` when
//! it was programmed. It looks there *before* it takes: only when the runner has seen `RANG` does it
//! program the interrupt for a later time. (For an earlier one at any time; one that is still on its
//! way makes that due all the more. But from then on there may be two on their way, so that from
//! then on it is the clock that is asked: [`BY_CLOCK`].)
//!
//! **Nobody is touched that has gone.** Who fails to withdraw a timer waits until it is neither
//! `ALONE` nor `TAKEN`: until an interrupt has ended, or the runner has moved the timer to the queue,
//! which it does with interrupts off.

use crate::atomic::{mistake, named, spin_loop, AtomicPtr, AtomicU64, AtomicU8, Ordering};
use core::ptr::{self, NonNull};

/// What a timer is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Phase(u8);

impl Phase {
    /// Nowhere, nor was it ever anywhere.
    pub const NEW: Phase = Phase(0);
    /// Nowhere: its time has come.
    pub const FIRED: Phase = Phase(1);
    /// Nowhere any more, before its time has come, as far as is known.
    pub const OUT: Phase = Phase(2);
    /// In the place for one, or just taken out.
    pub const ALONE: Phase = Phase(3);
    /// In the queue.
    pub const QUEUED: Phase = Phase(4);
    /// Taken by the interrupt, which is about to leave it alone.
    pub const TAKEN: Phase = Phase(5);
}

/// The [`Phase`] of a timer, as seen by all.
pub struct PhaseCell(AtomicU8);

impl PhaseCell {
    /// One of a timer that nobody else knows of.
    #[cfg(not(loom))]
    #[inline]
    pub const fn new(phase: Phase) -> Self {
        PhaseCell(AtomicU8::new(phase.0))
    }

    /// One of a timer that nobody else knows of.
    #[cfg(loom)]
    pub fn new(phase: Phase) -> Self {
        PhaseCell(AtomicU8::new(phase.0))
    }

    /// What it is, and all that was done with it before it became that.
    #[inline(always)]
    pub fn get(&self) -> Phase {
        Phase(self.0.load(named("alone.look", Ordering::Acquire)))
    }

    /// By who has the timer, and nobody else does anything with it.
    #[inline(always)]
    pub fn set(&self, phase: Phase) {
        self.0.store(phase.0, Ordering::Relaxed);
    }

    /// Leaves the timer alone from now on.
    #[inline(always)]
    pub fn leave(&self, phase: Phase) {
        self.0
            .store(phase.0, named("alone.leave", Ordering::Release));
    }
}

/// The interrupt makes due what the clock says.
pub const BY_CLOCK: i64 = i64::MIN;

/// What became of [`Alone::put`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// It is there.
    Done,
    /// It is there, and the interrupt has come meanwhile.
    Rang,
    /// It is not: there are others.
    Others,
}

/// What the interrupt [took](Alone::take).
pub enum Taken<T> {
    /// This one. [`Phase::TAKEN`] is next, then its coroutine is to be woken, and then
    /// [left alone](PhaseCell::leave).
    Timer(NonNull<T>, Due),
    /// There is none.
    Nobody,
    /// The runner is to be told.
    Crowd,
}

/// What the interrupt makes due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Due(i64);

impl Due {
    /// Whether that is what is due at `at`, without a look at the clock.
    #[inline(always)]
    pub fn covers(self, at: i64) -> bool {
        at <= self.0
    }

    /// The same with one, if need be; `now` tells the time.
    pub fn covers_by_clock(self, at: i64, now: impl FnOnce() -> i64) -> bool {
        self.covers(at) || self.0 == BY_CLOCK && at <= now()
    }
}

/// What the runner [found](Alone::gather).
pub enum Gathered<T> {
    /// This one, which is to go to the queue.
    Timer(NonNull<T>),
    /// None, and the interrupt has come meanwhile.
    Rang,
    /// None, or the crowd.
    Nobody,
    /// The domain has ended.
    Closed,
}

/// The place for one timer.
///
/// # Invariants
///
/// `word` is one of the four states, or a timer that is `ALONE`, and valid as long as it is there.
pub struct Alone<T> {
    word: AtomicPtr<T>,
    /// What the interrupt makes due, an `i64`. Written by the runner.
    due: AtomicU64,
}

impl<T> Alone<T> {
    const EMPTY: *mut T = ptr::null_mut();
    const RANG: *mut T = ptr::without_provenance_mut(1);
    const CROWD: *mut T = ptr::without_provenance_mut(2);
    const CLOSED: *mut T = ptr::without_provenance_mut(3);

    /// An empty place.
    pub fn new() -> Self {
        const { assert!(align_of::<T>() > 3) };
        Alone {
            word: AtomicPtr::new(Self::EMPTY),
            due: AtomicU64::new(0),
        }
    }

    /// The timer that `word` is, if it is one.
    #[inline(always)]
    fn timer(word: *mut T) -> Option<NonNull<T>> {
        if word.addr() <= Self::CLOSED.addr() {
            return None;
        }
        NonNull::new(word)
    }

    /// Puts `timer` there, if it is alone. Runner only. One read-modify-write.
    ///
    /// # Safety
    ///
    /// The timer is [`Phase::ALONE`], and stays where it is, and valid, until it is something else.
    #[inline(always)]
    pub unsafe fn put(&self, timer: NonNull<T>) -> Put {
        // Relaxed: nobody else makes it more than `RANG`.
        if self.word.load(Ordering::Relaxed).addr() > Self::RANG.addr() {
            return Put::Others;
        }
        // INVARIANT: Per the function's contract.
        let old = self
            .word
            .swap(timer.as_ptr(), named("alone.put", Ordering::AcqRel));
        if old == Self::RANG && !mistake("alone.no_rang") {
            Put::Rang
        } else {
            Put::Done
        }
    }

    /// The interrupt is going to be programmed, and makes all due that is not after `due`. Runner
    /// only, before it does.
    #[inline(always)]
    pub fn set_due(&self, due: i64) {
        self.due.store(due as u64, Ordering::Relaxed);
    }

    /// The interrupt has come: a first attempt to [`take`](Self::take), which succeeds if a timer is
    /// there and nobody interferes. One read-modify-write.
    #[inline(always)]
    pub fn take_timer(&self) -> Option<(NonNull<T>, Due)> {
        let (word, due) = self.look();
        let timer = Self::timer(word)?;
        Some((timer, self.ring(word, due)?))
    }

    /// The interrupt has come.
    pub fn take(&self) -> Taken<T> {
        loop {
            let (word, due) = self.look();
            let timer = Self::timer(word);
            if timer.is_none() && word != Self::EMPTY {
                return if word == Self::CROWD {
                    Taken::Crowd
                } else {
                    Taken::Nobody
                };
            }
            if let Some(due) = self.ring(word, due) {
                return match timer {
                    Some(timer) => Taken::Timer(timer, due),
                    None => Taken::Nobody,
                };
            }
        }
    }

    /// What is there; and what is due, which is looked at before that is changed: after it the runner
    /// may have the interrupt come again, later. It is no older than what this one was programmed with.
    #[inline(always)]
    fn look(&self) -> (*mut T, u64) {
        let word = self.word.load(Ordering::Relaxed);
        (word, self.due.load(Ordering::Relaxed))
    }

    /// Makes `word` `RANG`, if it is still that; what is due then.
    #[inline(always)]
    fn ring(&self, word: *mut T, due: u64) -> Option<Due> {
        // INVARIANT: A state in place of a state, or of a timer, which is the caller's now.
        self.word
            .compare_exchange(
                word,
                Self::RANG,
                named("alone.take", Ordering::AcqRel),
                Ordering::Relaxed,
            )
            .ok()?;
        let due = if mistake("alone.late_look") {
            self.due.load(Ordering::Relaxed)
        } else {
            due
        };
        Some(Due(due as i64))
    }

    /// Takes `timer` out, if it is there. By who has it.
    #[inline(always)]
    pub fn withdraw(&self, timer: NonNull<T>) -> bool {
        // Relaxed: nobody has done anything with it.
        self.word
            .compare_exchange(
                timer.as_ptr(),
                Self::EMPTY,
                Ordering::Relaxed,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// From now on there are several. Runner only, with the lock of their queue and interrupts off.
    pub fn gather(&self) -> Gathered<T> {
        // Relaxed: it is the runner who closes.
        if self.word.load(Ordering::Relaxed) == Self::CLOSED {
            return Gathered::Closed;
        }
        // INVARIANT: A state; a timer is the caller's now. Acquire: as `put` does.
        let old = self.word.swap(Self::CROWD, Ordering::Acquire);
        match Self::timer(old) {
            Some(timer) => Gathered::Timer(timer),
            None if old == Self::RANG => Gathered::Rang,
            None => Gathered::Nobody,
        }
    }

    /// Whether there are several, or were. Runner only.
    #[inline]
    pub fn is_crowded(&self) -> bool {
        self.word.load(Ordering::Relaxed) == Self::CROWD
    }

    /// There are no others any more. Runner only, who has found none in the queue.
    pub fn disperse(&self) {
        if self.is_crowded() {
            // Nobody else changes it then.
            // INVARIANT: A state.
            self.word.store(Self::EMPTY, Ordering::Relaxed);
        }
    }

    /// Nothing is put there from now on. Runner only, with interrupts off; a timer is the caller's now.
    pub fn close(&self) -> Option<NonNull<T>> {
        // INVARIANT: A state. Relaxed: what is there, the runner has put there.
        Self::timer(self.word.swap(Self::CLOSED, Ordering::Relaxed))
    }
}

impl<T> Default for Alone<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Waits a moment for who has taken a timer.
#[inline]
pub fn wait() {
    spin_loop();
}
