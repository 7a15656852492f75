// SPDX-License-Identifier: GPL-2.0

//! Callers that are woken together, when the coroutine that has answered them awaits something.
//!
//! Who is woken at once competes with the coroutine for its CPU, or comes back with its next call
//! while the domain still runs, and has to wait for the baton. So answers that a coroutine gives in
//! one poll are there at once, but those who sleep for them are woken at the end of that poll.
//!
//! **No later than that**, in number and in time: the answer to the last of [`MOST`] wakes them all,
//! and so does the next one after a timer tick has passed since the first. And whoever is more urgent than other
//! threads, a real-time thread, does not wait for the end at all. What nobody can see is that a
//! coroutine of a [`Process`](crate::bh::Level::Process) domain is about to sleep outside of an
//! await, or to work long: it says so by [`Reply::send_now`](crate::reply::Reply::send_now).
//!
//! **Nobody is forgotten.** One bit of the byte that the runner looks at after each poll anyway
//! says that somebody waits. Outside of polls (in a destructor that the runner calls, say) answers
//! wake at once; so they do from other threads, and interrupts. If the coroutine dies, those who
//! wait for the end of its poll are woken before all others.

use crate::executor::{after, Executor};
use crate::sys::context;
use crate::wait_cell::Waiter;
use crate::waker::WakeRef;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::Relaxed;

/// Callers that are woken together.
pub(crate) const MOST: usize = 16;

/// Those who are to be woken.
///
/// # Invariants
///
/// The first `len` of `waiters` are waiters that it owns.
pub(crate) struct WakeBatch {
    waiters: [*mut (); MOST],
    len: usize,
    /// The timer tick when the first came.
    since: usize,
}

impl WakeBatch {
    pub(crate) const fn new() -> Self {
        // INVARIANT: There are none.
        WakeBatch {
            waiters: [ptr::null_mut(); MOST],
            len: 0,
            since: 0,
        }
    }

    /// Takes `waiter`; whether all are to be woken.
    fn push(&mut self, waiter: WakeRef) -> bool {
        let tick = context::ticks();
        if self.len == 0 {
            self.since = tick;
        }
        let Some(place) = self.waiters.get_mut(self.len) else {
            // Not as long as it is done as it is said here.
            waiter.wake();
            return true;
        };
        // INVARIANT: It is the next one.
        *place = waiter.into_raw().as_ptr();
        self.len = self.len.wrapping_add(1);
        self.len == MOST || self.since != tick
    }

    /// Takes all out, first come first; returns how many there were.
    fn take(&mut self, mut wake: impl FnMut(WakeRef)) -> usize {
        // INVARIANT: They are not read again.
        let len = core::mem::take(&mut self.len);
        for raw in self.waiters.iter().take(len).copied() {
            // SAFETY: By the invariant a waiter, which comes from `into_raw`, and was owned.
            wake(unsafe { WakeRef::from_raw(NonNull::new_unchecked(raw)) });
        }
        len
    }
}

impl Executor {
    /// A poll is over: wakes those whom it has answered, if any. Runner only.
    #[inline]
    pub(crate) fn answered(&self) {
        if self.runner.0.after.get() & after::ANSWERED != 0 {
            self.wake_answered();
        }
    }

    /// Whether the runner polls, and is to look at what there is to do after each poll. Any context.
    #[inline]
    pub(crate) fn is_batching(&self) -> bool {
        self.runner.0.batching.load(Relaxed)
    }

    /// Says whether it does. Runner only.
    #[inline(always)]
    pub(crate) fn set_batching(&self, batching: bool) {
        self.runner.0.batching.store(batching, Relaxed);
    }

    /// Has `waiter`, who was answered, woken at the end of the poll. Runner only, in a poll.
    pub(crate) fn put_off(&self, waiter: WakeRef) {
        if waiter.is_urgent() {
            return waiter.wake();
        }
        // SAFETY: We are the runner; no driver code runs while the reference lives.
        let all = unsafe { &mut (*self.local.get()).wakes }.push(waiter);
        self.add_after(after::ANSWERED);
        if all {
            self.wake_answered();
        }
    }

    /// The poll that is going on will not end: wakes those whom it has answered. Runner only.
    pub(crate) fn answered_last(&self) {
        self.set_batching(false);
        self.answered();
    }

    /// Wakes those who were [put off](Self::put_off), in the order in which they were answered.
    /// Runner only.
    #[cold]
    #[inline(never)]
    pub(crate) fn wake_answered(&self) {
        let after = &self.runner.0.after;
        after.set(after.get() & !after::ANSWERED);
        // SAFETY: We are the runner. Waking calls no driver code, and changes the queue at most.
        let woken = unsafe { &mut (*self.local.get()).wakes }.take(WakeRef::wake);
        self.stats().answer_batches.add(1);
        self.stats().answered_together.add(woken as u64);
    }
}
