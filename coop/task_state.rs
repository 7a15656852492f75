// SPDX-License-Identifier: GPL-2.0

//! The life of a coroutine, in two atomic bytes, and the count of its references.
//!
//! No dependency on the kernel crate: the same file is compiled into the module and, on the host,
//! into the loom models of `selftests/host`.
//!
//! ```text
//!            (1) new
//!              |
//!              v    (2) start_poll: taken from the queue
//!   +------> WOKEN --------------------> IDLE -----------------> GONE: DONE [| OUTPUT]
//!   |          ^                         | | ^     (6) seize, finish      |
//!   |          +-------------------------+ | | (5) end_poll               | (8) leave / take
//!   |   (3) schedule: the waker queues it  | |                            v
//!   |                                  (4) v |                      output dropped
//!   +---------------------------------- YIELDED                     or moved out
//!     (3) schedule: it is queued           stay: queued as it is, and polled as it is
//!
//!   (7) abort: the flag CANCEL, then (3)
//! ```
//!
//! `IDLE` comes in two kinds, so that who wakes a coroutine need not look at its priority besides:
//! plain, and `APART` if it came out of another list than that of normal priority.
//!
//! 1. [`TaskState::new`]: a coroutine is born woken; whoever creates it queues it.
//! 2. [`TaskState::start_poll`]: the runner took it from a queue. From here on a wake-up queues it
//!    again, also while it is still being polled; so the end of a poll is nothing.
//! 3. [`TaskState::schedule`]: a waker, by one exchange. Only the one that finds `IDLE` may, and
//!    must, queue it.
//! 4. [`TaskState::stay`]: the runner, when the coroutine only lets others run
//!    ([`yield_now`](crate::yield_now)) and was not queued already. As long as it does nothing else
//!    it stays in the queue, and is polled there, without any exchange.
//! 5. [`TaskState::end_poll`]: the runner, when such a coroutine awaits something, after it took it
//!    from the queue.
//! 6. [`TaskState::seize`], then [`TaskState::finish`]: the runner, when the future is ready or to
//!    be dropped. With `OUTPUT` the output is in place. The state will not be `IDLE` any more:
//!    nobody queues it.
//! 7. [`TaskState::abort`]: like a wake-up, but the runner drops the future instead of polling it.
//! 8. [`TaskState::leave`]: the [`JoinHandle`](crate::JoinHandle) goes. Exactly one of it and
//!    `finish` learns that the output is its own to drop.
//!
//! A coroutine that is woken in its last poll is `DONE` and in a queue; the domain's own reference
//! is dropped when it comes out.
//!
//! For an inline call the runner polls an `IDLE` coroutine as it is.
//!
//! What pairs with what: `task.wake` publishes what a waker did before, and `task.poll` acquires it,
//! from every waker whose wake-up was merged into this poll; `task.poll` and `task.idle` also let
//! the next waker's exchange come after the coroutine was taken from the queue. `task.finish`
//! publishes the output, `task.observe` and `task.leave` acquire it; `task.leave` also publishes
//! the handle's last use of the output to `finish`. `task.put` publishes the last use of the header
//! to whoever frees it.

use crate::atomic::{named, named_fence, peek, AtomicU32, AtomicU8, Ordering};
use crate::run_queue::Priority;

/// Awaits a wake-up, or is being polled; in no queue.
const IDLE: u8 = 0;
/// In a queue, or about to be put there by the one who set this.
const WOKEN: u8 = 1;
/// In a queue because it let others run, and not woken since; it stays there while it is polled.
/// (Nobody else has this bit, which can be tested in place.)
const YIELDED: u8 = 1 << 1;
/// To be finished by the one who set this, or finished.
const GONE: u8 = 1 << 2;
/// `IDLE`, but of another priority than normal, when it was polled last.
const APART: u8 = 1 << 3;

/// The future is to be dropped, not polled.
const CANCEL: u8 = 1 << 0;
/// The future is gone.
const DONE: u8 = 1 << 1;
/// An output was left in place.
const OUTPUT: u8 = 1 << 2;
/// A join handle exists.
const JOIN: u8 = 1 << 3;
/// The runner has not seen it yet.
const NEW: u8 = 1 << 4;
/// The priority has changed, and it may be in the list of another.
const MOVED: u8 = 1 << 5;

/// References past this point are never freed again (the kernel's `refcount_t` does the same).
const SATURATED: u32 = 1 << 31;

/// The `IDLE` of coroutines that come out of the list of `priority`.
#[inline(always)]
fn idle_of(priority: Priority) -> u8 {
    if priority == Priority::NORMAL {
        IDLE
    } else {
        APART
    }
}

/// Whether `wake` is `IDLE`, of either kind.
#[inline(always)]
fn is_idle(wake: u8) -> bool {
    wake & !APART == IDLE
}

/// What the one who woke a coroutine has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Woken {
    /// Nothing.
    Already,
    /// Queue it. If it is not of normal priority, then only since a moment ago: it may be queued as
    /// if it were, and moves when it has its turn.
    Queue,
    /// Queue it as its priority says.
    QueueApart,
}

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

/// What a coroutine is, as its flags say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flags(u8);

impl Flags {
    /// Whether it is to be polled, and nothing else.
    #[inline]
    pub fn is_plain(self) -> bool {
        self.0 & (CANCEL | DONE | NEW | MOVED) == 0
    }

    /// Whether the runner sees it for the first time.
    pub fn is_new(self) -> bool {
        self.0 & NEW != 0
    }

    /// Whether its priority has changed since it was queued, or before.
    pub fn is_moved(self) -> bool {
        self.0 & MOVED != 0
    }

    /// What there is to do with it.
    pub fn start(self) -> Start {
        if self.0 & DONE != 0 {
            Start::Reap
        } else if self.0 & CANCEL != 0 {
            Start::Cancel
        } else {
            Start::Poll
        }
    }
}

/// What [`TaskState::finish`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Finish {
    /// Nobody will ask for the output: the runner drops it.
    pub drop_output: bool,
}

/// State, flags and reference count of a coroutine.
///
/// # Invariants
///
/// - Who changed `wake` from `IDLE` (of either kind) to `WOKEN` or `YIELDED` queues the coroutine, nobody else.
/// - A coroutine that is `DONE` is not `IDLE`, except between `start_poll` and `seize`.
pub struct TaskState {
    wake: AtomicU8,
    flags: AtomicU8,
    /// Not part of the protocol: carried here because there is room.
    priority: AtomicU8,
    refs: AtomicU32,
}

impl TaskState {
    /// A coroutine about to be queued for the first time, with one reference for the domain and,
    /// if `join`, one for the join handle. Transition (1).
    pub fn new(join: bool, priority: Priority) -> Self {
        TaskState {
            wake: AtomicU8::new(WOKEN),
            flags: AtomicU8::new(NEW | if join { JOIN } else { 0 }),
            priority: AtomicU8::new(priority.get()),
            refs: AtomicU32::new(1 + u32::from(join)),
        }
    }

    /// Wakes the coroutine; whether the caller has to queue it. Transition (3).
    ///
    /// Any context. One read-modify-write.
    #[inline(always)]
    pub fn schedule(&self) -> Woken {
        match self.wake.swap(WOKEN, named("task.wake", Ordering::AcqRel)) {
            IDLE => Woken::Queue,
            APART => Woken::QueueApart,
            _ => Woken::Already,
        }
    }

    /// Asks the runner to drop the future; whether the caller has to queue it. Transition (7).
    ///
    /// Any context. Two read-modify-writes.
    pub fn abort(&self) -> Woken {
        // Relaxed: published by the wake-up, as all that a waker did before.
        self.flags.fetch_or(CANCEL, Ordering::Relaxed);
        self.schedule()
    }

    /// Whether it is in the queue because it let others run, and nothing else has happened since:
    /// it may be polled where it is. Runner only. One load.
    #[inline(always)]
    pub fn has_yielded(&self) -> bool {
        // Relaxed: one that was not woken since has nothing to acquire. A wake-up that is missed
        // here is found by `end_poll`, or the next time.
        peek(&self.wake) & YIELDED != 0
    }

    /// The runner took the coroutine from the list of `priority`. Transition (2). With any flag that
    /// is not plain, [`seize`](Self::seize) is to follow before it is finished, or dropped.
    #[inline(always)]
    pub fn start_poll(&self, priority: Priority) -> Flags {
        self.wake
            .swap(idle_of(priority), named("task.poll", Ordering::AcqRel));
        self.flags()
    }

    /// The coroutine lets others run; `true` if the runner has to queue it, `false` if it is
    /// already. Runner only, after a poll that began with [`start_poll`](Self::start_poll).
    /// Transition (4).
    #[inline]
    pub fn stay(&self) -> bool {
        // Relaxed: the runner itself is the next to look, and a waker comes with its own exchange.
        let now = self.wake.load(Ordering::Relaxed);
        is_idle(now)
            && self
                .wake
                .compare_exchange(now, YIELDED, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// The flags, with all that a merged wake-up published. Runner only.
    #[inline]
    pub fn flags(&self) -> Flags {
        Flags(peek(&self.flags))
    }

    /// Its priority.
    #[inline(always)]
    pub fn priority(&self) -> Priority {
        Priority::from_stored(self.priority.load(Ordering::Relaxed))
    }

    /// Changes its priority, and wakes it, so that the runner sees that; whether the caller has to
    /// queue it, as its priority says. Any context.
    pub fn set_priority(&self, priority: Priority) -> Woken {
        self.priority.store(priority.get(), Ordering::Relaxed);
        // Relaxed: published by the wake-up.
        self.flags.fetch_or(MOVED, Ordering::Relaxed);
        self.schedule()
    }

    /// The runner has seen that the priority has changed.
    pub fn no_longer_moved(&self) {
        self.flags.fetch_and(!MOVED, Ordering::Relaxed);
    }

    /// The runner has seen it.
    pub fn no_longer_new(&self) {
        self.flags.fetch_and(!NEW, Ordering::Relaxed);
    }

    /// A coroutine that [stayed](Self::stay) awaits something, and was taken from the list of
    /// `priority`; `false` if it was woken meanwhile, and the runner has to queue it again.
    /// Transition (5).
    #[inline]
    pub fn end_poll(&self, priority: Priority) -> bool {
        self.wake
            .compare_exchange(
                YIELDED,
                idle_of(priority),
                named("task.idle", Ordering::AcqRel),
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// Whether it awaits a wake-up, and may be polled as it is. A hint, one load.
    #[inline]
    pub fn is_idle(&self) -> bool {
        is_idle(peek(&self.wake))
    }

    /// Takes the coroutine out of the reach of wakers; whether it is in a queue, or about to be put
    /// there. Runner only.
    pub fn seize(&self) -> bool {
        // Relaxed: nothing of a waker's is looked at any more, and the link is not touched.
        !is_idle(self.wake.swap(GONE, Ordering::Relaxed))
    }

    /// The future is gone; with `output`, its value is in place. Runner only, after
    /// [`seize`](Self::seize), or when it has [stayed](Self::stay). Transition (6).
    pub fn finish(&self, output: bool) -> Finish {
        let set = DONE | if output { OUTPUT } else { 0 };
        let old = self
            .flags
            .fetch_or(set, named("task.finish", Ordering::AcqRel));
        Finish {
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
    /// it has moved it out already). Transition (8).
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
        // As a signed number: saturated ones are negative. The flags of the instruction will do.
        if self.refs.fetch_sub(1, named("task.put", Ordering::Release)) as i32 > 1 {
            return false;
        }
        // With the last reference gone, nobody changes it.
        if self.refs.load(Ordering::Relaxed) != 0 {
            // Leak, rather than free what may be in use.
            self.refs.store(SATURATED, Ordering::Relaxed);
            return false;
        }
        // Pairs with the release of every other `put`.
        named_fence("task.last_put", Ordering::Acquire);
        true
    }
}
