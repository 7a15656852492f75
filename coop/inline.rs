// SPDX-License-Identifier: GPL-2.0

//! Calls that are run by the caller itself.
//!
//! A caller that may sleep and finds the domain's baton free takes it, lays its request before the
//! coroutine that waits for it, polls that coroutine right there, and has its answer, without any
//! wake-up or context switch. If the baton is taken, it looks a moment longer, then queues its
//! request like everybody and waits for the baton with the priority inheritance of the kernel's
//! `rt_mutex`: whoever gets it looks for its answer first, and then runs the domain until the answer
//! is there.
//!
//! Nobody runs the work of others without end: after some polls ([`INLINE_BUDGET`]) the rest is left
//! to the home thread. A caller never stays in the domain to wait for an interrupt or a timer: it
//! gives the baton back, and sleeps on its reply slot.
//!
//! **No lost wake-up.** An inline runner need not touch the pending word: whoever pushes there
//! meanwhile wakes the home thread, which then waits for the baton. What the runner leaves in its
//! own queue it announces by [`kick`](crate::wake_queue::WakeQueue::kick) before it gives the baton
//! back.

use crate::block_on::Patience;
use crate::call::{Caller, Stage};
use crate::executor::{Executor, INLINE_BUDGET};
use crate::reply::{Request, Slot};
use crate::sys::runner::Mark;
use crate::waker::with_context;
use kernel::bindings::task_struct;
use kernel::prelude::*;

impl Executor {
    /// Ends the inline run that [`enter`](Self::enter) began, and gives the baton back.
    ///
    /// # Safety
    ///
    /// As for [`leave`](Self::leave).
    #[inline]
    pub(crate) unsafe fn leave_inline(&self, me: *mut task_struct, mark: &mut Mark) {
        // SAFETY: Per the function's contract.
        if unsafe { self.leave(mark) } {
            self.hand_over();
        }
        // SAFETY: We hold the baton.
        unsafe { self.baton.unlock(me) };
    }

    /// Leaves the runner's own queue to the home thread.
    #[cold]
    pub(crate) fn hand_over(&self) {
        self.stats.hand_overs.add(1);
        if self.queue.0.kick() {
            self.wake_home();
        }
    }
}

impl<Q: Send + 'static, R: Send + 'static> Caller<Q, R> {
    /// Calls with the baton in hand, and gives it back.
    ///
    /// # Safety
    ///
    /// The caller is thread `me`, which holds the baton and may sleep.
    #[inline]
    pub(crate) unsafe fn call_inline(
        &self,
        me: *mut task_struct,
        message: Q,
        patience: Patience,
    ) -> Result<R> {
        let executor = &**self.sender.executor();
        let shared = self.sender.shared();
        let mut mark = Mark::new();
        // SAFETY: We hold the baton; the mark stays in this frame until `leave_inline`.
        unsafe { executor.enter(me, &mut mark) };
        // SAFETY: We are the runner now.
        let Some(slot) = (unsafe { self.slots.take_inline(me) }) else {
            // SAFETY: As entered.
            unsafe { executor.leave_inline(me, &mut mark) };
            return self.wait_to_call(Stage::Start(message), patience);
        };
        // SAFETY: The slot is one of ours, its call has just begun, and we keep the slots.
        let request = unsafe { self.request(slot, message) };
        // SAFETY: We are the runner.
        let Some(header) = (unsafe { shared.idle_listener() }) else {
            // SAFETY: As entered.
            return unsafe { self.call_through_queue(me, &mut mark, slot, request, patience) };
        };
        let timed = executor.stats.start_inline();
        // SAFETY: We are the runner; `idle_listener` says that it may be polled.
        unsafe {
            shared.lay(request);
            with_context(executor, |cx| {
                if timed {
                    executor.poll_in_place_timed(header, cx);
                } else {
                    executor.poll_in_place(header, cx);
                }
            });
        }
        // SAFETY: The slot is the caller's.
        let Some(value) = (unsafe { slot.take_reply() }) else {
            // SAFETY: As entered.
            return unsafe { self.call_on(me, &mut mark, slot, patience) };
        };
        executor.stats.inline_calls.add(1);
        // SAFETY: We are the runner, as entered.
        unsafe {
            self.slots.put_inline(slot);
            executor.leave_inline(me, &mut mark);
        }
        Ok(value)
    }

    /// Goes on after the coroutine was polled, and did not answer yet: it may not even have taken
    /// the request.
    ///
    /// # Safety
    ///
    /// The caller is thread `me`, the runner with `mark`, and the call of `slot` its own.
    #[cold]
    #[inline(never)]
    unsafe fn call_on(
        &self,
        me: *mut task_struct,
        mark: &mut Mark,
        slot: &Slot<R>,
        patience: Patience,
    ) -> Result<R> {
        // SAFETY: We are the runner.
        if let Some(request) = unsafe { self.sender.shared().take_laid() } {
            // SAFETY: Per the function's contract.
            return unsafe { self.call_through_queue(me, mark, slot, request, patience) };
        }
        // SAFETY: As above.
        unsafe { self.run_for_answer(me, mark, slot, patience) }
    }

    /// Queues the request behind all others, and runs the domain until it is answered.
    ///
    /// # Safety
    ///
    /// As for [`call_on`](Self::call_on).
    #[cold]
    #[inline(never)]
    unsafe fn call_through_queue(
        &self,
        me: *mut task_struct,
        mark: &mut Mark,
        slot: &Slot<R>,
        request: Request<Q, R>,
        patience: Patience,
    ) -> Result<R> {
        let Err(e) = self.sender.try_post(request) else {
            // SAFETY: Per the function's contract.
            return unsafe { self.run_for_answer(me, mark, slot, patience) };
        };
        // Full, or closed: what to do about that is known where calls wait.
        let message = e.into_inner().take_back();
        // SAFETY: We are the runner, and the request is gone.
        unsafe {
            self.slots.put_inline(slot);
            self.sender.executor().leave_inline(me, mark);
        }
        self.wait_to_call(Stage::Start(message), patience)
    }

    /// Runs the domain until the call is answered, or the budget is used up; then waits.
    ///
    /// # Safety
    ///
    /// As for [`call_on`](Self::call_on).
    #[inline(never)]
    unsafe fn run_for_answer(
        &self,
        me: *mut task_struct,
        mark: &mut Mark,
        slot: &Slot<R>,
        patience: Patience,
    ) -> Result<R> {
        let executor = &**self.sender.executor();
        executor.run_until(INLINE_BUDGET, || slot.cell.is_answered());
        // Nobody needs to wake us, if the answer is there.
        slot.cell.leave_inline(me.cast_const().cast());
        // SAFETY: As entered.
        unsafe { executor.leave_inline(me, mark) };
        // SAFETY: `me` is the current thread.
        unsafe { self.wait_for_reply(me, slot, patience) }
    }

    /// Waits for the baton, and runs the domain until the call of `slot`, which was sent, is
    /// answered. `EINTR` if the caller is killed while it waits.
    #[cold]
    pub(crate) fn help(&self, me: *mut task_struct, killable: bool, slot: &Slot<R>) -> Result {
        let executor = &**self.sender.executor();
        if killable {
            executor.baton.lock_killable()?;
        } else {
            executor.baton.lock();
        }
        if !slot.cell.is_answered() {
            let mut mark = Mark::new();
            // SAFETY: We hold the baton; the mark stays in this frame until `leave_inline`.
            unsafe { executor.enter(me, &mut mark) };
            executor.run_until(INLINE_BUDGET, || slot.cell.is_answered());
            // SAFETY: As entered.
            unsafe { executor.leave_inline(me, &mut mark) };
        } else {
            // SAFETY: We hold the baton.
            unsafe { executor.baton.unlock(me) };
        }
        Ok(())
    }
}
