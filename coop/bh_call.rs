// SPDX-License-Identifier: GPL-2.0

//! Calls into a [`Bh`](crate::bh::Level::Bh) domain that the caller runs itself: as
//! [`inline`](crate::inline) has it for others, but that nobody waits for the baton.

use crate::block_on::Patience;
use crate::call::{Caller, Stage};
use crate::run::INLINE_BUDGET;
use crate::sys::bh;
use crate::waker::with_context;
use kernel::bindings::task_struct;
use kernel::prelude::*;

impl<Q: Send + 'static, R: Send + 'static> Caller<Q, R> {
    /// Calls, by thread `me`, which is the current one and may sleep.
    #[inline(never)]
    pub(crate) fn call_bh(
        &self,
        me: *mut task_struct,
        message: Q,
        patience: Patience,
    ) -> Result<R> {
        let executor = &**self.sender.executor();
        let shared = self.sender.shared();
        bh::disable();
        if !executor.enter_bh() {
            bh::enable();
            return self.call_queued(me, message, patience, false);
        }
        let leave = || {
            // SAFETY: Entered above, and called once on each way out.
            unsafe { executor.leave_bh() };
            bh::enable();
        };
        // SAFETY: We are the runner.
        let Some(slot) = (unsafe { self.slots.take_inline(me) }) else {
            leave();
            return self.wait_to_call(Stage::Start(message), patience);
        };
        // SAFETY: The slot is one of ours, its call has just begun, and we keep the slots.
        let mut request = Some(unsafe { self.request(slot, message) });
        // SAFETY: We are the runner.
        if let Some(header) = unsafe { shared.idle_listener() } {
            // SAFETY: We are the runner, nothing else is laid, and `idle_listener` says that it may
            // be polled.
            unsafe {
                if let Some(request) = request.take() {
                    shared.lay(request, executor.context.address());
                }
                executor.set_batching(true);
                with_context(executor, |cx| executor.poll_for_call(header, cx));
                executor.set_batching(false);
            }
            // SAFETY: The slot is the caller's.
            if let Some(value) = unsafe { slot.take_reply() } {
                self.slots.put(slot);
                shared.note_place();
                leave();
                return Ok(value);
            }
            // SAFETY: We are the runner. It may not even have taken the request.
            request = unsafe { shared.take_back() };
            executor.stats().not_inline(request.is_none());
        }
        if let Some(request) = request {
            // Behind all others. We run what this wakes.
            if let Err(e) = self.sender.try_post(request) {
                let message = e.into_inner().take_back();
                self.slots.put(slot);
                leave();
                return self.wait_to_call(Stage::Start(message), patience);
            }
        }
        executor.run_until(INLINE_BUDGET, || slot.cell.is_answered());
        // Nobody needs to wake us, if the answer is there.
        slot.cell.leave_inline(me.cast_const().cast());
        leave();
        // SAFETY: `me` is the current thread.
        unsafe { self.wait_for_reply(me, slot, patience) }
    }
}
