// SPDX-License-Identifier: GPL-2.0

//! How the coroutines of a domain are polled: whose turn it is, and what comes of a poll.
//!
//! All of this is done by the runner. Who that is, and when, is told in [`home`](crate::home) (the
//! domain's own thread), [`inline`](crate::inline) and [`bh`](crate::bh) (its callers).

use crate::executor::{after, Executor};
use crate::run_queue::{List, Priority, RunQueue, ROUND};
use crate::task::{self, End, Header};
use crate::task_state::{Start, Woken};
use crate::wake_queue::{Batch, Link};
use crate::waker::with_context;
use core::ptr::{self, NonNull};
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
    /// to run: it is in no list then. Nor is there any news in this case.
    #[inline(always)]
    fn collect_single(&self) -> Option<NonNull<Header>> {
        if self.has_left_over() || !self.queue.0.has_work() {
            return None;
        }
        let batch = self.queue.0.take();
        if let Some(link) = batch.only() {
            if priority_of(link) == Priority::NORMAL && !self.news.any() {
                self.stats.wakes_remote.add(1);
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
        self.stats.wakes_remote.add(n as u64);
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
    unsafe fn run_queue(&self) -> &mut RunQueue {
        // SAFETY: Per the function's contract.
        unsafe { &mut (*self.local.get()).queue }
    }

    /// Runs coroutines until none is ready (`false`) or the budget is used up (`true`). Runner only.
    pub(crate) fn run_some(&self) -> bool {
        with_context(self, |cx| {
            self.start_batch();
            self.set_batching(true);
            let mut polls: usize = 0;
            if let Some(header) = self.collect_single() {
                // SAFETY: We are the runner, and it came out of the queue.
                let _ = unsafe { self.run_taken(header, Priority::NORMAL, cx) };
                self.look_at_clock(1);
                if !self.has_left_over() {
                    // What comes from outside meanwhile keeps us from going idle.
                    self.stats.polled(|| self.last_name());
                    self.stats.queued_polls.add(1);
                    self.set_batching(false);
                    return false;
                }
                polls = 1;
            }
            self.sample();
            let round = if self.stats.is_watching() { 1 } else { ROUND };
            let mut more = true;
            for _ in 0..ROUNDS {
                if self.queue.0.has_work() {
                    self.collect();
                }
                let n = self.run_round(round, cx);
                if n == 0 {
                    more = false;
                    break;
                }
                polls = polls.wrapping_add(n);
            }
            if polls == 1 {
                self.stats.polled(|| self.last_name());
            }
            self.stats.queued_polls.add(polls as u64);
            self.set_batching(false);
            self.end_run();
            more
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
                self.stats.queued_polls.add(1);
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
        unsafe { (*self.local.get()).tick = self.stats.start_batch() };
    }

    /// Notes it if the last `polls` polls took long. Runner only.
    #[inline(always)]
    fn look_at_clock(&self, polls: usize) {
        // SAFETY: We are the runner.
        let tick = unsafe { &mut (*self.local.get()).tick };
        if self.stats.has_ticked(*tick) {
            let since = *tick;
            *tick = self.stats.tick_passed(since, polls, || {
                if polls == 1 {
                    Some(self.last_name())
                } else {
                    self.overrunner(since)
                }
            });
        }
    }

    /// [`look_at_clock`](Self::look_at_clock) in the middle of a round, after a poll that does not
    /// come time and again: who did anything else than to await or to yield once more is named.
    #[inline(always)]
    fn look_at_clock_now(&self) {
        // SAFETY: We are the runner.
        let polls = unsafe { self.run_queue() }.see();
        self.look_at_clock(polls);
    }

    /// Polls those whose turn it is, up to `round` of them if that is of normal priority; returns how
    /// many polls that were. Runner only.
    #[inline(always)]
    fn run_round(&self, round: usize, cx: &mut Context<'_>) -> usize {
        // SAFETY: We are the runner.
        match unsafe { self.run_queue() }.pick() {
            None => 0,
            Some(Priority::NORMAL) => {
                // SAFETY: As above.
                unsafe { self.run_queue() }.start_round(round);
                self.run_normal(cx);
                // SAFETY: As above.
                let (polls, unseen) = unsafe { self.run_queue() }.end_round();
                self.look_at_clock(unseen);
                polls
            }
            Some(priority) => {
                self.run_other(priority, cx);
                self.look_at_clock(1);
                1
            }
        }
    }

    /// Polls those of normal priority until the round is over, or none is ready. Runner only.
    #[inline(always)]
    fn run_normal(&self, cx: &mut Context<'_>) {
        const NORMAL: Priority = Priority::NORMAL;
        // SAFETY: We are the runner.
        let Some(mut first) = unsafe { self.run_queue() }.list(NORMAL).first() else {
            return;
        };
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
                None => return,
            }
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

    /// Polls a coroutine that let others run before, where it is in its list; whether it does
    /// so again, and is the last now.
    ///
    /// # Safety
    ///
    /// The caller is the runner, and `header` is the first of the list of `priority`.
    #[inline(always)]
    unsafe fn run_yielded(
        &self,
        header: NonNull<Header>,
        priority: Priority,
        cx: &mut Context<'_>,
    ) -> bool {
        self.runner.0.polling.store(header.as_ptr(), Relaxed);
        // SAFETY: We are the runner, and it is not `DONE`.
        unsafe { Header::poll(header, cx) };
        // SAFETY: As above. Others may have been queued behind it, but it is still the first.
        unsafe { self.yields_again(header, priority) || self.end_yielded(header, priority) }
    }

    /// Whether a coroutine that let others run before does nothing else: then it is the last now.
    ///
    /// # Safety
    ///
    /// The caller is the runner, and `header`, just polled, is the first of the list of `priority`.
    #[inline(always)]
    unsafe fn yields_again(&self, header: NonNull<Header>, priority: Priority) -> bool {
        let after = &self.runner.0.after;
        if after.get() != after::YIELDS {
            return false;
        }
        after.set(0);
        // SAFETY: Per the function's contract.
        unsafe { self.run_queue().list(priority).turn(header.cast()) };
        true
    }

    /// A coroutine that let others run before awaits something, is ready, or has answered callers;
    /// whether it does no more than the latter, and is the last now.
    ///
    /// # Safety
    ///
    /// As for [`yields_again`](Self::yields_again).
    #[inline(never)]
    unsafe fn end_yielded(&self, header: NonNull<Header>, priority: Priority) -> bool {
        self.answered();
        // SAFETY: Per the function's contract.
        if unsafe { self.yields_again(header, priority) } {
            return true;
        }
        // SAFETY: Per the function's contract.
        unsafe { self.run_queue().remove(header.cast(), priority) };
        if self.runner.0.after.get() & after::READY != 0 {
            // SAFETY: As above. It is in no queue, and not idle.
            unsafe { self.retire(header, End::Ready, false) };
            return false;
        }
        // SAFETY: The executor's reference keeps it valid.
        if !unsafe { header.as_ref() }.state().end_poll(priority) {
            // SAFETY: We are the runner; it is not `IDLE`, so that nobody else queues it.
            unsafe { self.push_local(header) };
        }
        false
    }

    /// Takes a coroutine that was woken from its list, and polls it; whether more came of that than
    /// that it awaits something.
    ///
    /// # Safety
    ///
    /// The caller is the runner, and `header` is the first of the list of `priority`.
    #[inline(always)]
    unsafe fn run_woken(
        &self,
        header: NonNull<Header>,
        priority: Priority,
        cx: &mut Context<'_>,
    ) -> bool {
        // SAFETY: Per the function's contract. From `start_poll` on it may be queued again.
        unsafe { self.run_queue().remove(header.cast(), priority) };
        // SAFETY: As above.
        unsafe { self.run_taken(header, priority, cx) }
    }

    /// [`run_woken`](Self::run_woken) of one that is in no list any more.
    ///
    /// # Safety
    ///
    /// The caller is the runner, and `header` came out of the list of `priority`, or is about to go
    /// there.
    #[inline(always)]
    unsafe fn run_taken(
        &self,
        header: NonNull<Header>,
        priority: Priority,
        cx: &mut Context<'_>,
    ) -> bool {
        // SAFETY: The executor's reference keeps it valid.
        if !unsafe { header.as_ref() }
            .state()
            .start_poll(priority)
            .is_plain()
        {
            // SAFETY: Per the function's contract.
            if !unsafe { self.begin_special(header, priority) } {
                return true;
            }
        }
        // SAFETY: We are the runner, and it is not `DONE`.
        unsafe { self.poll_in_place(header, cx) }
    }

    /// A coroutine that is new, is to be dropped, has moved, or is gone; whether to poll it.
    ///
    /// # Safety
    ///
    /// The caller is the runner, and `header` came out of the list of `priority`, idle now.
    #[cold]
    #[inline(never)]
    unsafe fn begin_special(&self, header: NonNull<Header>, priority: Priority) -> bool {
        // SAFETY: The executor's reference keeps it valid.
        let task = unsafe { header.as_ref() };
        self.link(task);
        match task.state().flags().start() {
            Start::Poll => {
                task.state().no_longer_moved();
                if task.state().priority() == priority {
                    return true;
                }
                // It is the turn of others here, or it would have come earlier.
                if task.state().schedule() != Woken::Already {
                    // SAFETY: We are the runner, and `schedule` said that the link is ours.
                    unsafe { self.push_local(header) };
                }
            }
            Start::Cancel => {
                let queued = task.state().seize();
                // SAFETY: We are the runner, it is linked and not `DONE`.
                unsafe { self.retire(header, End::Cancel, queued) };
            }
            Start::Reap => {
                // `start_poll` has made it look idle: it may have been queued once more.
                if !task.state().seize() {
                    // SAFETY: The executor's reference, which outlived the coroutine for the
                    // queue's sake.
                    unsafe { task::put(header) };
                }
            }
        }
        false
    }

    /// Polls a coroutine that is in no queue, and may be queued meanwhile: one that came out of its
    /// queue, or, for a caller that has something for it, one that awaits something. Whether more
    /// came of that than that it awaits something.
    ///
    /// # Safety
    ///
    /// The caller is the runner, and not being polled; the coroutine is plain and was idle.
    #[inline(always)]
    pub(crate) unsafe fn poll_in_place(
        &self,
        header: NonNull<Header>,
        cx: &mut Context<'_>,
    ) -> bool {
        self.runner.0.polling.store(header.as_ptr(), Relaxed);
        // SAFETY: We are the runner, and it is not `DONE`.
        unsafe { Header::poll(header, cx) };
        if self.runner.0.after.get() != 0 {
            // SAFETY: As above.
            unsafe { self.end_poll_in_place(header) };
            return true;
        }
        false
    }

    /// A coroutine that was polled in place has ended, is to be queued, or has answered callers.
    ///
    /// # Safety
    ///
    /// As for [`poll_in_place`](Self::poll_in_place), whose poll was ready, yielded, or answered.
    #[cold]
    #[inline(never)]
    unsafe fn end_poll_in_place(&self, header: NonNull<Header>) {
        self.answered();
        // SAFETY: The executor's reference keeps it valid, as it is not `DONE`.
        let task = unsafe { header.as_ref() };
        if self.runner.0.after.get() & after::READY != 0 {
            let queued = task.state().seize();
            // SAFETY: Per the function's contract.
            unsafe { self.retire(header, End::Ready, queued) };
        } else if self.runner.0.after.replace(0) != 0 && task.state().stay() {
            // It only lets others run, for the first time.
            // SAFETY: We are the runner, and `stay` said that the link is ours.
            unsafe { self.push_local(header) };
        }
    }

    /// [`poll_in_place`](Self::poll_in_place), with the time that it takes.
    ///
    /// # Safety
    ///
    /// As for [`poll_in_place`](Self::poll_in_place).
    #[cold]
    #[inline(never)]
    pub(crate) unsafe fn poll_in_place_timed(&self, header: NonNull<Header>, cx: &mut Context<'_>) {
        self.stats.start_batch();
        // SAFETY: Per the function's contract.
        let _ = unsafe { self.poll_in_place(header, cx) };
        self.stats.polled(|| self.last_name());
    }

    /// Ends a coroutine. `queued`: it is in a queue, or about to be put there.
    ///
    /// # Safety
    ///
    /// The caller is the runner, and the coroutine is linked, not `DONE` and not `IDLE`.
    pub(crate) unsafe fn retire(&self, header: NonNull<Header>, end: End, queued: bool) {
        let runner = &self.runner.0;
        runner.polling.store(ptr::null_mut(), Relaxed);
        runner.after.set(0);
        // SAFETY: The executor's reference keeps it valid.
        let task = unsafe { header.as_ref() };
        runner.ended.store(task.name_ptr().cast_mut(), Relaxed);
        self.unlink(task);
        // SAFETY: Per the function's contract.
        unsafe { Header::finish(header, end) };
        // A destructor may have.
        self.answered();
        if !queued {
            // SAFETY: The executor's reference; it is not in a queue.
            unsafe { task::put(header) };
        }
    }

    /// The name of the coroutine that was polled last. Runner only.
    #[cold]
    fn last_name(&self) -> &CStr {
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
