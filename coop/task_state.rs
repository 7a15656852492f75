// SPDX-License-Identifier: GPL-2.0

//! The life of a coroutine, in one atomic word, and the count of its references.
//!
//! No dependency on the kernel crate: the same file is compiled into the module and, on the host,
//! into the loom models of `selftests/host`.
//!
//! ```text
//!              (1) new
//!                |
//!                v            (2) start_poll
//!   +------> SCHEDULED ---------------------------> (running, no bit set)
//!   |            ^                                     |            |
//!   |            | (3) schedule                        | Pending    | (4) finish
//!   |            |                                     v            v
//!   |            +----------------------------------- idle         DONE [| OUTPUT]
//!   |                                                  |            |
//!   +--------------- (5) abort: CANCEL|SCHEDULED ------+            | (6) leave / take
//!                                                                   v
//!                                                           output dropped or moved out
//! ```
//!
//! 1. [`TaskState::new`]: a coroutine is born scheduled; whoever creates it queues it.
//! 2. [`TaskState::start_poll`]: the runner took it from a queue. From here on a wake-up queues it
//!    again, also while it runs: there is no "running" bit, a wake-up never has to be remembered
//!    for later.
//! 3. [`TaskState::schedule`]: a waker. Only the call that sets the bit may, and must, queue it.
//! 4. [`TaskState::finish`]: the runner, after it dropped the future. With `OUTPUT` the output is
//!    in place.
//! 5. [`TaskState::abort`]: like a wake-up, but the runner drops the future instead of polling it.
//! 6. [`TaskState::leave`]: the [`JoinHandle`](crate::JoinHandle) goes. Exactly one of it and
//!    `finish` learns that the output is its own to drop.
//!
//! A coroutine that is DONE may still be in a queue, if a wake-up came during its last poll. The
//! domain's own reference is therefore dropped by whichever comes last: `finish`, or taking the
//! coroutine from the queue.
//!
//! What pairs with what: `task.wake` publishes what a waker did before, and `task.poll` acquires it,
//! from every waker whose wake-up was merged into this poll. `task.finish` publishes the output,
//! `task.observe` and `task.leave` acquire it; `task.leave` also publishes the handle's last use of
//! the output to `finish`. `task.put` publishes the last use of the header to whoever frees it.

use crate::atomic::{fence, named, AtomicU32, Ordering};

/// In a queue, or about to be put there by the one who set it.
const SCHEDULED: u32 = 1 << 0;
/// The future is to be dropped, not polled.
const CANCEL: u32 = 1 << 1;
/// The future is gone.
const DONE: u32 = 1 << 2;
/// An output was left in place.
const OUTPUT: u32 = 1 << 3;
/// A join handle exists.
const JOIN: u32 = 1 << 4;

/// References past this point are never freed again (the kernel's `refcount_t` does the same).
const SATURATED: u32 = 1 << 31;

/// What the runner has to do with a coroutine that it took from a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// Poll it.
    Poll,
    /// Drop its future.
    Cancel,
    /// It was done already: drop the domain's reference.
    Reap,
}

/// What [`TaskState::finish`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Finish {
    /// The coroutine is in a queue: its reference is dropped when it comes out.
    pub queued: bool,
    /// Nobody will ask for the output: the runner drops it.
    pub drop_output: bool,
}

/// State word and reference count of a coroutine.
///
/// # Invariants
///
/// - `DONE` goes with `SCHEDULED`, which is then never cleared: nobody queues the coroutine any
///   more, and wakers need to look at one bit only.
/// - The waker that changed `SCHEDULED` from clear to set queues the coroutine.
pub struct TaskState {
    flags: AtomicU32,
    refs: AtomicU32,
}

impl TaskState {
    /// A coroutine about to be queued for the first time, with one reference for the domain and,
    /// if `join`, one for the join handle. Transition (1).
    pub fn new(join: bool) -> Self {
        TaskState {
            flags: AtomicU32::new(SCHEDULED | if join { JOIN } else { 0 }),
            refs: AtomicU32::new(1 + u32::from(join)),
        }
    }

    /// Marks the coroutine scheduled; `true` if the caller has to queue it. Transition (3).
    ///
    /// Any context. One read-modify-write.
    #[inline]
    pub fn schedule(&self) -> bool {
        // Only the one bit is looked at, so that this is one `lock bts` on x86.
        self.flags
            .fetch_or(SCHEDULED, named("task.wake", Ordering::AcqRel))
            & SCHEDULED
            == 0
    }

    /// Asks the runner to drop the future; `true` if the caller has to queue it. Transition (5).
    ///
    /// Any context. One read-modify-write.
    pub fn abort(&self) -> bool {
        self.flags
            .fetch_or(SCHEDULED | CANCEL, named("task.wake", Ordering::AcqRel))
            & SCHEDULED
            == 0
    }

    /// The runner took the coroutine from a queue. Transition (2).
    #[inline]
    pub fn start_poll(&self) -> Start {
        // Relaxed: only the runner, which is the caller, sets `DONE`.
        if self.flags.load(Ordering::Relaxed) & DONE != 0 {
            return Start::Reap;
        }
        // The old value is not looked at, so that this is one `lock and` on x86.
        self.flags
            .fetch_and(!SCHEDULED, named("task.poll", Ordering::AcqRel));
        // An abort that comes later than that has queued the coroutine once more, for nothing.
        if self.flags.load(Ordering::Relaxed) & CANCEL != 0 {
            return Start::Cancel;
        }
        Start::Poll
    }

    /// The future is gone; with `output`, its value is in place. Runner only. Transition (4).
    pub fn finish(&self, output: bool) -> Finish {
        let set = DONE | SCHEDULED | if output { OUTPUT } else { 0 };
        let old = self
            .flags
            .fetch_or(set, named("task.finish", Ordering::AcqRel));
        Finish {
            queued: old & SCHEDULED != 0,
            drop_output: output && old & JOIN == 0,
        }
    }

    /// Whether the future is gone and, if so, whether it left an output. Any context.
    #[inline]
    pub fn outcome(&self) -> Option<bool> {
        let now = self.flags.load(named("task.observe", Ordering::Acquire));
        (now & DONE != 0).then_some(now & OUTPUT != 0)
    }

    /// The join handle goes; `true` if an output is in place and now the caller's to drop (unless
    /// it has moved it out already). Transition (6).
    pub fn leave(&self) -> bool {
        self.flags
            .fetch_and(!JOIN, named("task.leave", Ordering::AcqRel))
            & (DONE | OUTPUT)
            == DONE | OUTPUT
    }

    /// One reference more. Any context. One read-modify-write.
    #[inline]
    pub fn get(&self) {
        // Relaxed: the caller holds a reference already, nothing is published by taking another.
        if self.refs.fetch_add(1, Ordering::Relaxed) >= SATURATED {
            self.refs.store(SATURATED, Ordering::Relaxed);
        }
    }

    /// One reference less; `true` if it was the last. Any context. One read-modify-write.
    #[inline]
    pub fn put(&self) -> bool {
        let old = self.refs.fetch_sub(1, named("task.put", Ordering::Release));
        if old >= SATURATED {
            // Leak, rather than free what may be in use.
            self.refs.store(SATURATED, Ordering::Relaxed);
            return false;
        }
        if old != 1 {
            return false;
        }
        // Pairs with the release of every other `put`.
        fence(Ordering::Acquire);
        true
    }
}
