// SPDX-License-Identifier: GPL-2.0

//! How the coroutines of a domain are run: whose turn it is, for how long, and what is noted of it.
//! What comes of a poll is told in [`poll`](crate::poll).
//!
//! All of this is done by the runner. Who that is, and when, is told in [`home`](crate::home) (the
//! domain's own thread), [`inline`](crate::inline) and [`bh`](crate::bh) (its callers).

use crate::counter::COUNTS;
use crate::executor::Executor;
use crate::run_queue::{List, Priority, RunQueue, ROUND};
use crate::task::Header;
use crate::wake_queue::{Batch, Link};
use crate::waker::with_context;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::*;
use core::task::Context;
use kernel::prelude::*;

/// Rounds between two looks at whether to stop, and whether other threads want the CPU.
const ROUNDS: usize = 4;

/// Polls for others that an inline caller makes before it leaves them to the home thread.
pub(crate) const INLINE_BUDGET: usize = 16;

/// The priority of the coroutine that `link` belongs to.
#[inline(always)]
pub(crate) fn priority_of(link: NonNull<Link>) -> Priority {
    // SAFETY: Only valid coroutines are queued, and they begin with their link.
    unsafe { link.cast::<Header>().as_ref() }.state().priority()
}

impl Executor {
    /// Takes in what was woken from outside, and by timers. Runner only, who calls
    /// [`end_run`](Self::end_run) later.
    #[inline(always)]
    pub(crate) fn collect(&self) {
        self.take_in(self.queue.0.take());
    }

    /// [`collect`](Self::collect), but for a coroutine of normal priority that is the only one there is
    /// to run: it is in no list then, and not counted yet. Nor is there any news in this case.
    #[inline(always)]
    fn collect_single(&self) -> Option<NonNull<Header>> {
        if self.has_left_over() || !self.queue.0.has_work() {
            return None;
        }
        let batch = self.queue.0.take();
        if let Some(link) = batch.only() {
            if priority_of(link) == Priority::NORMAL && !self.news.any() {
                return Some(link.cast());
            }
        }
        self.take_in(batch);
        None
    }

    /// Queues what was taken. Runner only.
    #[inline(never)]
    fn take_in(&self, batch: Batch) {
        // SAFETY: Only called by the runner; no driver code runs while the reference lives.
        let n = unsafe { &mut *self.local.get() }
            .queue
            .append(batch, priority_of);
        self.stats().queued_wakes.add(n as u64);
        if self.news.any() {
            self.attend_news();
        }
    }

    /// Ends a run in which [`collect`](Self::collect) may have been called. Runner only.
    #[inline(always)]
    pub(crate) fn end_run(&self) {
        if self.timers.is_owed() {
            self.timers.settle();
        }
    }

    /// Takes out what is next. Runner only.
    #[inline]
    pub(crate) fn pop(&self) -> Option<NonNull<Header>> {
        // SAFETY: As in `collect`.
        unsafe { &mut *self.local.get() }
            .queue
            .pop()
            .map(NonNull::cast)
    }

    /// What the runner alone touches.
    ///
    /// # Safety
    ///
    /// The caller is the runner, and calls no driver code while the reference lives.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)] // See `local`.
    pub(crate) unsafe fn run_queue(&self) -> &mut RunQueue {
        // SAFETY: Per the function's contract.
        unsafe { &mut (*self.local.get()).queue }
    }

    /// Runs coroutines until none is ready (`false`) or the budget is used up (`true`). Runner only.
    pub(crate) fn run_some(&self) -> bool {
        with_context(self, |cx| {
            self.start_batch();
            self.set_batching(true);
            if let Some(header) = self.collect_single() {
                // SAFETY: We are the runner, and it came out of the queue.
                let _ = unsafe { self.run_taken(header, Priority::NORMAL, cx) };
                self.look_at_clock(1);
                self.stats().singles.add(1);
                self.stats().polled(|| self.last_name());
                if !self.has_left_over() {
                    // What comes from outside meanwhile keeps us from going idle.
                    self.set_batching(false);
                    return false;
                }
            }
            // A look in vain, as the first one is, is not worth a timer.
            if self.has_left_over() || self.queue.0.has_work() {
                self.sample();
            }
            let (more, polls) = if self.stats().is_watching() {
                self.run_watched(cx)
            } else {
                self.run_rounds(cx)
            };
            if polls == 1 {
                self.stats().polled(|| self.last_name());
            }
            self.stats().queued_polls.add(polls as u64);
            self.set_batching(false);
            self.end_run();
            more
        })
    }

    /// Runs coroutines for [`ROUNDS`] rounds (`true`), or until none is ready (`false`); and the
    /// number of polls. Runner only.
    #[inline(always)]
    fn run_rounds(&self, cx: &mut Context<'_>) -> (bool, usize) {
        let mut rounds = 0usize;
        let more = loop {
            if self.queue.0.has_work() {
                self.collect();
            }
            if !self.run_round(cx) {
                break false;
            }
            rounds = rounds.wrapping_add(1);
            if rounds == ROUNDS {
                break true;
            }
        };
        // SAFETY: We are the runner.
        let short = unsafe { self.run_queue() }.take_short();
        (more, rounds.wrapping_mul(ROUND).wrapping_sub(short))
    }

    /// [`run_rounds`](Self::run_rounds) of one poll each, after each of which the clock is looked at.
    #[cold]
    #[inline(never)]
    fn run_watched(&self, cx: &mut Context<'_>) -> (bool, usize) {
        for polls in 0..ROUNDS {
            if self.queue.0.has_work() {
                self.collect();
            }
            // SAFETY: We are the runner.
            let Some(priority) = unsafe { self.run_queue() }.pick() else {
                return (false, polls);
            };
            self.run_other(priority, cx);
            self.look_at_clock(1);
        }
        (true, ROUNDS)
    }

    /// Runs the one coroutine that is ready, if it is the only one, of normal priority, and was woken
    /// from outside: `Some`, and whether there was nothing else then. Runner only.
    ///
    /// What a sender runs of a `Bh` domain is not much more than this. So it is timed only if it is
    /// the first in its timer tick, as most are in a domain that is not busy.
    #[inline(always)]
    pub(crate) fn run_single(&self) -> Option<bool> {
        // SAFETY: We are the runner.
        if self.stats().has_ticked(unsafe { (*self.local.get()).tick }) {
            return self.run_single_timed();
        }
        self.run_single_if::<false>()
    }

    #[cold]
    #[inline(never)]
    fn run_single_timed(&self) -> Option<bool> {
        self.start_batch();
        self.run_single_if::<true>()
    }

    #[inline(always)]
    fn run_single_if<const TIMED: bool>(&self) -> Option<bool> {
        with_context(self, |cx| {
            let header = self.collect_single()?;
            self.set_batching(true);
            // SAFETY: We are the runner, and it came out of the queue.
            let _ = unsafe { self.run_taken(header, Priority::NORMAL, cx) };
            self.stats().singles.add(1);
            self.set_batching(false);
            self.look_at_clock(1);
            if TIMED {
                self.stats().polled(|| self.last_name());
            }
            self.end_run();
            Some(!self.has_left_over())
        })
    }

    /// Runs coroutines until `done`, until none is ready, or `budget` polls were made; what is left
    /// of the budget. Runner only.
    pub(crate) fn run_until(&self, budget: usize, done: impl Fn() -> bool) -> usize {
        let mut left = budget;
        with_context(self, |cx| {
            self.start_batch();
            self.set_batching(true);
            while left != 0 && !done() {
                if self.queue.0.has_work() {
                    self.collect();
                }
                // SAFETY: We are the runner.
                let Some(priority) = unsafe { self.run_queue() }.pick() else {
                    break;
                };
                self.run_other(priority, cx);
                self.look_at_clock(1);
                self.stats().queued_polls.add(1);
                left = left.wrapping_sub(1);
            }
            self.set_batching(false);
            self.end_run();
        });
        left
    }

    /// Polls begin, of which those that take long are noted. Runner only.
    #[inline(always)]
    fn start_batch(&self) {
        // SAFETY: We are the runner.
        unsafe { (*self.local.get()).tick = self.stats().start_batch() };
    }

    /// Notes it if one of the last `polls` polls took long. Runner only.
    #[inline(always)]
    fn look_at_clock(&self, polls: usize) {
        // SAFETY: We are the runner.
        if self.stats().has_ticked(unsafe { (*self.local.get()).tick }) {
            self.tick_passed(polls);
        }
    }

    #[cold]
    #[inline(never)]
    fn tick_passed(&self, polls: usize) {
        // SAFETY: We are the runner, and only read the clock and names while this lives.
        let tick = unsafe { &mut (*self.local.get()).tick };
        let since = *tick;
        *tick = self.stats().tick_passed(since, polls, || match polls {
            1 => Some(self.last_name()),
            _ => self.overrunner(since),
        });
    }

    /// [`look_at_clock`](Self::look_at_clock) in the middle of a round, after a poll that does not
    /// come time and again. (Who overruns its slice time and again is met.)
    #[inline(always)]
    fn look_at_clock_now(&self) {
        // SAFETY: We are the runner.
        if self.stats().has_ticked(unsafe { (*self.local.get()).tick }) {
            self.tick_passed_in_round();
        }
    }

    #[cold]
    #[inline(never)]
    fn tick_passed_in_round(&self) {
        // SAFETY: We are the runner.
        self.tick_passed(unsafe { self.run_queue() }.nth());
    }

    #[cold]
    #[inline(never)]
    fn tick_passed_after_round(&self) {
        // SAFETY: We are the runner.
        self.tick_passed(unsafe { self.run_queue() }.made());
    }

    /// Polls those whose turn it is, up to [`ROUND`] of them if that is of normal priority; whether
    /// there was anybody. Runner only.
    #[inline(always)]
    fn run_round(&self, cx: &mut Context<'_>) -> bool {
        // SAFETY: We are the runner.
        match unsafe { self.run_queue() }.pick() {
            None => return false,
            Some(Priority::NORMAL) => {
                // SAFETY: As above.
                unsafe { self.run_queue() }.start_round();
                self.run_normal(cx);
            }
            Some(priority) => {
                if COUNTS {
                    // SAFETY: As above.
                    unsafe { self.run_queue() }.count_one();
                }
                self.run_other(priority, cx);
            }
        }
        // SAFETY: As above.
        if self.stats().has_ticked(unsafe { (*self.local.get()).tick }) {
            self.tick_passed_after_round();
        }
        true
    }

    /// Polls those of normal priority until the round is over, or none is ready. Runner only.
    #[inline(always)]
    fn run_normal(&self, cx: &mut Context<'_>) {
        const NORMAL: Priority = Priority::NORMAL;
        // SAFETY: We are the runner.
        if let Some(mut first) = unsafe { self.run_queue() }.list(NORMAL).first() {
            loop {
                let header = first.cast::<Header>();
                // SAFETY: The executor's reference keeps it valid.
                if unsafe { header.as_ref() }.state().has_yielded() {
                    // SAFETY: We are the runner, and it is the first of this list.
                    if unsafe { self.run_yielded(header, NORMAL, cx) } {
                        // SAFETY: It is the last now, and followed by the first.
                        first = unsafe { List::after(first) };
                        // SAFETY: We are the runner.
                        if !unsafe { self.run_queue() }.step() {
                            return;
                        }
                        continue;
                    }
                    self.look_at_clock_now();
                } else {
                    // SAFETY: As above.
                    if unsafe { self.run_woken(header, NORMAL, cx) } {
                        self.look_at_clock_now();
                    }
                }
                // SAFETY: As above.
                if !unsafe { self.run_queue() }.step() {
                    return;
                }
                // SAFETY: As above.
                match unsafe { self.run_queue() }.list(NORMAL).first() {
                    Some(next) => first = next,
                    None => break,
                }
            }
        }
        if COUNTS {
            // SAFETY: As above.
            unsafe { self.run_queue() }.end_round();
        }
    }

    /// Polls the first of a priority whose list is not empty. Runner only.
    #[inline(never)]
    fn run_other(&self, priority: Priority, cx: &mut Context<'_>) {
        // SAFETY: We are the runner.
        if let Some(first) = unsafe { self.run_queue() }.list(priority).first() {
            let header = first.cast::<Header>();
            // SAFETY: The executor's reference keeps it valid.
            if unsafe { header.as_ref() }.state().has_yielded() {
                // SAFETY: We are the runner, and it is the first of this list.
                let _ = unsafe { self.run_yielded(header, priority, cx) };
            } else {
                // SAFETY: As above.
                let _ = unsafe { self.run_woken(header, priority, cx) };
            }
        }
    }

    /// The name of the coroutine that was polled last. Runner only.
    #[cold]
    pub(crate) fn last_name(&self) -> &CStr {
        // SAFETY: A coroutine that has not ended is valid.
        match unsafe { self.current().as_ref() } {
            Some(task) => task.name(),
            // SAFETY: Of a driver that is there as long as we run; null before the first end.
            None => match unsafe { self.runner.0.ended.load(Relaxed).as_ref() } {
                // SAFETY: As above.
                Some(name) => unsafe { CStr::from_char_ptr(name) },
                None => c"?",
            },
        }
    }
}
