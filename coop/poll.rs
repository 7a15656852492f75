// SPDX-License-Identifier: GPL-2.0

//! One poll of a coroutine: where that is while it is polled, what comes of it, and its end. All of
//! this is done by the runner; whose turn it is, is told in [`run`](crate::run).

use crate::counter::CountDown;
use crate::executor::{after, CacheLine, Executor, Runner};
use crate::run_queue::Priority;
use crate::stats::Stats;
use crate::task::{self, End, Header};
use crate::task_state::{Start, Woken};
use core::mem::offset_of;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::*;
use core::task::Context;

impl Executor {
    /// Polls a coroutine that let others run before, where it is in its list; whether it does
    /// so again, and is the last now.
    ///
    /// # Safety
    ///
    /// The caller is the runner, and `header` is the first of the list of `priority`.
    #[inline(always)]
    pub(crate) unsafe fn run_yielded(
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
    pub(crate) unsafe fn run_woken(
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
    pub(crate) unsafe fn run_taken(
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

    /// [`poll_in_place`](Self::poll_in_place) for a call that is about to be answered so: counts it,
    /// and times one of [`PERIOD`](CountDown::PERIOD).
    ///
    /// # Safety
    ///
    /// As for [`poll_in_place`](Self::poll_in_place).
    #[inline(always)]
    pub(crate) unsafe fn poll_for_call(&self, header: NonNull<Header>, cx: &mut Context<'_>) {
        const HEAD: usize = align_of::<Executor>();
        const RUNNER: usize = offset_of!(Executor, runner) + offset_of!(CacheLine<Runner>, 0);
        const COUNTER: usize = offset_of!(Runner, stats) + offset_of!(Stats, inline_calls);
        const OFFSET: isize = (HEAD + RUNNER + COUNTER) as isize;
        // Where the `Arc` of the executor leads: that is in a register, its own address is not.
        let near = ptr::from_ref(self).cast::<u8>().wrapping_sub(HEAD);
        // SAFETY: It is that far from there, and we are the runner. Per the function's contract.
        unsafe {
            if CountDown::count::<OFFSET>(near) {
                self.poll_for_call_timed(cx, header);
            } else {
                let _ = self.poll_in_place(header, cx);
            }
        }
    }

    /// (In this order, `cx` comes to be in the register where the coroutine's poll wants it, too.)
    ///
    /// # Safety
    ///
    /// As for [`poll_for_call`](Self::poll_for_call), which has counted.
    #[cold]
    #[inline(never)]
    unsafe fn poll_for_call_timed(&self, cx: &mut Context<'_>, header: NonNull<Header>) {
        self.stats().inline_calls.wind_up();
        self.stats().start_batch();
        // SAFETY: Per the function's contract.
        let _ = unsafe { self.poll_in_place(header, cx) };
        self.stats().polled(|| self.last_name());
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
}
