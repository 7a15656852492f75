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
use crate::call::{apart, Caller, Stage};
use crate::executor::Executor;
use crate::mailbox::Shared;
use crate::reply::{Request, Slot};
use crate::run::INLINE_BUDGET;
use kernel::bindings::task_struct;
use kernel::prelude::*;

impl Executor {
    /// Ends the inline run that [`enter`](Self::enter) began, and gives the baton back.
    ///
    /// # Safety
    ///
    /// As for [`leave`](Self::leave).
    #[inline(always)]
    pub(crate) unsafe fn leave_inline(&self, me: *mut task_struct) {
        // SAFETY: Per the function's contract.
        if unsafe { self.leave(me) } {
            self.hand_over();
        }
        // SAFETY: We hold the baton.
        unsafe { self.baton.unlock(me) };
    }

    /// Leaves the runner's own queue to the home thread.
    #[cold]
    #[inline(never)]
    pub(crate) fn hand_over(&self) {
        self.stats().hand_overs.add(1);
        if self.queue.0.kick() {
            self.wake_home();
        }
    }
}

impl<Q: Send + 'static, R: Send + 'static> Caller<Q, R> {
    /// Calls with the baton in hand, and gives it back: polls the coroutine that waits for requests
    /// in place. `OWN`: through the slot that is there for this; else through any other.
    ///
    /// # Safety
    ///
    /// The caller is thread `me`, which holds the baton, may sleep, and has no preemption notifiers
    /// (it is an [`idle_task`](crate::sys::runner::idle_task)). `executor` and
    /// `shared` are our sender's.
    #[inline(always)]
    pub(crate) unsafe fn call_in_place<const OWN: bool>(
        &self,
        (executor, shared): (&Executor, &Shared<Request<Q, R>>),
        me: *mut task_struct,
        message: Q,
        patience: Patience,
    ) -> Result<R> {
        // SAFETY: As good as the runner: who holds the baton may become it at any time.
        let Some(header) = (unsafe { shared.idle_listener() }) else {
            // SAFETY: Per the function's contract.
            return apart(unsafe { self.call_holding(me, message, patience) });
        };
        let slot = if OWN {
            // SAFETY: As above.
            let Some(slot) = (unsafe { self.slots.own() }) else {
                // SAFETY: As above.
                return apart(unsafe { self.call_beside(me, message, patience) });
            };
            slot
        } else {
            let Some(slot) = self.slots.take() else {
                // SAFETY: As above.
                return apart(unsafe { self.call_holding(me, message, patience) });
            };
            slot
        };
        // SAFETY: We hold the baton until `leave_inline`; the slot is one of ours, its call has just
        // begun, and we keep the slots; `idle_listener` says that it may be polled.
        unsafe {
            executor.enter_first(me);
            slot.cell.begin_inline(me.cast_const().cast());
            shared.lay(self.request(slot, message), executor.context.address());
            if !OWN {
                // With its own slot, that says so.
                executor.set_batching(true);
            }
            executor
                .context
                .with(|cx| executor.poll_for_call(header, cx));
        }
        if !OWN {
            executor.set_batching(false);
        }
        // Looked up again: dearer than a register, but cheaper than one that has to be saved.
        let slot = if OWN { self.slots.own_again() } else { slot };
        let shared = self.sender.shared();
        // SAFETY: The slot is the caller's.
        let Some(value) = (unsafe { slot.take_reply() }) else {
            // SAFETY: As entered.
            return apart(unsafe { self.call_on(me, slot, patience) });
        };
        if OWN {
            slot.cell.free();
        } else {
            self.slots.put(slot);
        }
        shared.note_place();
        // SAFETY: We are the runner, as entered.
        if unsafe { executor.leave_first(me) } {
            executor.hand_over();
        }
        // SAFETY: We hold the baton.
        unsafe { executor.baton.unlock(me) };
        Ok(value)
    }

    /// [`call_in_place`](Self::call_in_place) while another inline caller waits for its answer.
    ///
    /// # Safety
    ///
    /// As for [`call_in_place`](Self::call_in_place).
    #[cold]
    #[inline(never)]
    unsafe fn call_beside(
        &self,
        me: *mut task_struct,
        message: Q,
        patience: Patience,
    ) -> Result<R> {
        // SAFETY: Per the function's contract.
        unsafe {
            self.call_in_place::<false>(
                (self.sender.executor(), self.sender.shared()),
                me,
                message,
                patience,
            )
        }
    }

    /// Calls with the baton in hand, and gives it back, where the receiver does not wait for a
    /// request: behind all others.
    ///
    /// # Safety
    ///
    /// The caller is thread `me`, which holds the baton and may sleep.
    #[cold]
    #[inline(never)]
    pub(crate) unsafe fn call_holding(
        &self,
        me: *mut task_struct,
        message: Q,
        patience: Patience,
    ) -> Result<R> {
        let executor = &**self.sender.executor();
        // SAFETY: We hold the baton until `leave_inline`, and keep the executor.
        unsafe { executor.enter(me) };
        // SAFETY: We are the runner now.
        let Some(slot) = (unsafe { self.slots.take_inline(me) }) else {
            // SAFETY: As entered.
            unsafe { executor.leave_inline(me) };
            return self.wait_to_call(Stage::Start(message), patience);
        };
        // SAFETY: The slot is one of ours, its call has just begun, and we keep the slots. We are the
        // runner.
        unsafe {
            let request = self.request(slot, message);
            self.call_through_queue(me, slot, request, patience)
        }
    }

    /// Goes on after the coroutine was polled, and did not answer yet: it may not even have taken
    /// the request.
    ///
    /// # Safety
    ///
    /// The caller is thread `me`, the runner, and the call of `slot` its own.
    #[cold]
    #[inline(never)]
    unsafe fn call_on(
        &self,
        me: *mut task_struct,
        slot: &Slot<R>,
        patience: Patience,
    ) -> Result<R> {
        // SAFETY: We are the runner.
        let untaken = unsafe { self.sender.shared().take_back() };
        let stats = self.sender.executor().stats();
        stats.not_inline(untaken.is_none());
        // SAFETY: Per the function's contract.
        unsafe {
            match untaken {
                Some(request) => self.call_through_queue(me, slot, request, patience),
                None => self.run_for_answer(me, slot, patience),
            }
        }
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
        slot: &Slot<R>,
        request: Request<Q, R>,
        patience: Patience,
    ) -> Result<R> {
        let Err(e) = self.sender.try_post(request) else {
            // SAFETY: Per the function's contract.
            return unsafe { self.run_for_answer(me, slot, patience) };
        };
        // Full, or closed: what to do about that is known where calls wait.
        let message = e.into_inner().take_back();
        // SAFETY: We are the runner, and the request is gone.
        unsafe {
            self.slots.put(slot);
            self.sender.executor().leave_inline(me);
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
        slot: &Slot<R>,
        patience: Patience,
    ) -> Result<R> {
        let executor = &**self.sender.executor();
        executor.run_until(INLINE_BUDGET, || slot.cell.is_answered());
        // Nobody needs to wake us, if the answer is there.
        slot.cell.leave_inline(me.cast_const().cast());
        // SAFETY: As entered.
        unsafe { executor.leave_inline(me) };
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
            // SAFETY: We hold the baton until `leave_inline`, and keep the executor.
            unsafe { executor.enter(me) };
            executor.run_until(INLINE_BUDGET, || slot.cell.is_answered());
            // SAFETY: As entered.
            unsafe { executor.leave_inline(me) };
        } else {
            // SAFETY: We hold the baton.
            unsafe { executor.baton.unlock(me) };
        }
        Ok(())
    }
}
