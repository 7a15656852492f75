// SPDX-License-Identifier: GPL-2.0

//! The home thread of a domain: runs what nobody else does, and sleeps.
//!
//! The home thread is the one that pushers rely on: it is awake whenever the pending word of
//! [`wake_queue`](crate::wake_queue) is not `IDLE`, and goes to sleep only after it has made it so.
//! It runs coroutines while it holds the baton. The home thread of a dedicated domain keeps the
//! baton for its whole life; any other gives it up before it spins or sleeps, so that callers can
//! run the domain meanwhile.

use crate::executor::Executor;
use crate::sys::bh;
use crate::sys::context::{self, cond_resched};
use crate::sys::thread::{self, Body, Thread};
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicI64, AtomicU32, Ordering::*};

/// How long a home thread looks for more work before it goes to sleep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spin {
    /// As long as it took to wake the thread for the first time, and only while that pays: each
    /// time in vain halves it. Nothing on a machine with one CPU.
    Auto,
    /// Not at all.
    Never,
    /// So many nanoseconds, every time.
    UpTo(u32),
}

/// Spinning of one home thread.
pub(crate) struct Spinning {
    policy: Spin,
    /// The most that may be spun, in nanoseconds.
    limit: AtomicU32,
    /// What is spun next time.
    now: AtomicU32,
    /// Times to sleep without spinning before the next attempt.
    skip: AtomicU32,
    /// When the thread was woken for the first time.
    started: AtomicI64,
    /// Calls until the next attempt of one that is not alone to yield, and how many that were the
    /// last time.
    yield_skip: AtomicU32,
    yield_wait: AtomicU32,
}

/// No thread takes longer than this to wake up; if it seems to, it had to wait for others.
const LONGEST_NS: u32 = 50_000;

/// Times that an adaptive thread, having given up, sleeps at once before it tries again.
const RETRY: u32 = 64;

/// Most calls of those who are not alone on their CPU between two that yield it.
const YIELD_RETRY: u32 = 1023;

/// Whether a caller yields its CPU to the home thread, instead of going to sleep at once: that saves
/// the sleep, and the wake-up by the reply. It works if the home thread is on that CPU, and nobody
/// else: others would have their turn, too, and `yield()` makes the caller wait for all of them.
#[derive(Clone, Copy)]
pub(crate) enum Yield {
    No,
    /// It is alone there, before the wake-up.
    Yes,
    /// It is not, at this time; but the other one may be the home thread, which the kernel leaves in
    /// the queue for a while when it goes to sleep before its share is used up (`DELAY_DEQUEUE`).
    /// Twice as many calls later each time that it did not pay.
    Try(i64),
}

impl Spinning {
    pub(crate) fn new(policy: Spin) -> Self {
        let limit = match policy {
            Spin::UpTo(ns) => ns,
            Spin::Auto | Spin::Never => 0,
        };
        Spinning {
            policy,
            limit: AtomicU32::new(limit),
            now: AtomicU32::new(limit),
            skip: AtomicU32::new(0),
            started: AtomicI64::new(0),
            yield_skip: AtomicU32::new(0),
            yield_wait: AtomicU32::new(0),
        }
    }

    /// The home thread is about to be woken for the first time.
    pub(crate) fn starting(&self) {
        self.started.store(context::now_ns(), Relaxed);
    }

    /// The home thread has begun: that is how long a wake-up takes.
    fn measure(&self) {
        if self.policy == Spin::Auto && context::cpus_online() > 1 {
            let ns = context::now_ns().wrapping_sub(self.started.load(Relaxed));
            let ns = ns.clamp(0, i64::from(LONGEST_NS)) as u32;
            self.limit.store(ns, Relaxed);
            self.now.store(ns, Relaxed);
        }
    }

    /// For how long to spin now. Home thread only.
    #[inline]
    fn begin(&self) -> u32 {
        let skip = self.skip.load(Relaxed);
        if skip == 0 {
            return self.now.load(Relaxed);
        }
        self.skip.store(skip.wrapping_sub(1), Relaxed);
        0
    }

    /// Whether it paid. Home thread only.
    fn end(&self, hit: bool, spun: u32) {
        if self.policy != Spin::Auto {
            return;
        }
        let limit = self.limit.load(Relaxed);
        if hit {
            self.now.store(limit, Relaxed);
        } else if spun / 2 >= limit / 16 {
            self.now.store(spun / 2, Relaxed);
        } else {
            // Below a fraction of the limit it cannot pay any more.
            self.skip.store(RETRY, Relaxed);
            self.now.store(limit, Relaxed);
        }
    }
}

impl Executor {
    /// Spins until there is work (`true`), or for as long as it pays. Home thread, not running.
    fn spin(&self) -> bool {
        let limit = self.spin.begin();
        if limit == 0 {
            return false;
        }
        let mut start = None;
        let hit = loop {
            if self.queue.0.has_work() || self.is_wanted() {
                break true;
            }
            // Not at anybody's expense.
            if !context::is_alone_on_cpu() {
                break false;
            }
            let now = context::now_ns();
            if now.wrapping_sub(*start.get_or_insert(now)) >= i64::from(limit) {
                break false;
            }
            core::hint::spin_loop();
        };
        self.spin.end(hit, limit);
        if hit {
            self.stats().spin_hits.add(1);
        } else {
            self.stats().spin_misses.add(1);
        }
        hit
    }

    /// Whether a caller that is about to wake the home thread does well to yield to it afterwards.
    pub(crate) fn yielding(&self) -> Yield {
        if context::is_alone_on_cpu() {
            return Yield::Yes;
        }
        let left = self.spin.yield_skip.load(Relaxed);
        if left != 0 {
            self.spin.yield_skip.store(left.wrapping_sub(1), Relaxed);
            return Yield::No;
        }
        Yield::Try(context::now_ns())
    }

    /// Notes whether it did, as far as the reply is concerned.
    pub(crate) fn yielded(&self, how: Yield, answered: bool) {
        if let Yield::Try(start) = how {
            let took = context::now_ns().wrapping_sub(start);
            let wait = if answered && took < i64::from(LONGEST_NS) {
                0
            } else {
                let wait = self.spin.yield_wait.load(Relaxed);
                wait.wrapping_mul(2).wrapping_add(1).min(YIELD_RETRY)
            };
            self.spin.yield_wait.store(wait, Relaxed);
            self.spin.yield_skip.store(wait, Relaxed);
        }
    }

    /// Lets the home thread have the caller's CPU for a moment, if it waits for it; whether it did.
    pub(crate) fn yield_to_home(&self) -> bool {
        NonNull::new(self.home.load(Acquire)).is_some_and(|home| {
            // SAFETY: By the invariant a thread with a reference, which stays with us.
            let home = ManuallyDrop::new(unsafe { Thread::from_raw(home) });
            home.yield_to()
        })
    }

    /// Becomes the runner, as the home thread; waits for the baton if a caller has it.
    fn home_enter(&self, me: *mut kernel::bindings::task_struct) {
        if self.bh {
            return self.home_enter_bh();
        }
        self.take_baton(me);
    }

    /// [`home_enter`](Self::home_enter) of a `Process` domain, whose home thread has its mark.
    #[inline(always)]
    fn take_baton(&self, me: *mut kernel::bindings::task_struct) {
        if !self.baton.try_lock(me) {
            self.wait_for_baton();
        }
        self.set_runner(me);
    }

    #[cold]
    #[inline(never)]
    fn wait_for_baton(&self) {
        self.stats().contended.add(1);
        self.baton.lock();
    }

    fn home_leave(&self, me: *mut kernel::bindings::task_struct) {
        if self.bh {
            return self.home_leave_bh();
        }
        self.pass_baton(me);
    }

    /// [`home_leave`](Self::home_leave) of a `Process` domain.
    #[inline(always)]
    fn pass_baton(&self, me: *mut kernel::bindings::task_struct) {
        // What is left is found by whoever looks next: us, since the pending word is not idle yet.
        self.forget_runner();
        // SAFETY: As `take_baton` left it.
        unsafe { self.baton.unlock(me) };
    }

    /// Marks the home thread, `me`, who is about to begin.
    fn set_home_mark(&self, me: *mut kernel::bindings::task_struct) {
        if !self.bh {
            // SAFETY: Our own mark, which has its work; cleared by us, or when we have died.
            unsafe { self.home_mark.set(me) };
        }
    }

    /// Undoes [`set_home_mark`](Self::set_home_mark).
    fn clear_home_mark(&self, me: *mut kernel::bindings::task_struct) {
        if !self.bh {
            // SAFETY: Set by us, on this thread.
            unsafe { self.home_mark.clear(me) };
        }
    }

    /// Ends a domain whose home thread had no time to begin. Task context, sleeps.
    pub(crate) fn end_unstarted(&self) {
        let me = context::current_task();
        self.set_home_mark(me);
        self.home_enter(me);
        self.with_bh_on(|| self.end(ptr::null()));
        self.home_leave(me);
        self.clear_home_mark(me);
    }

    /// A runner that dies gives the baton up, so that others find that the domain is over.
    pub(crate) fn give_up_baton(&self) {
        if self.bh {
            // As it was when it died.
            bh::disable();
            bh::begin();
            return self.home_leave_bh();
        }
        let me = context::current_task();
        self.forget_runner();
        // SAFETY: The runner holds the baton, and dies as one.
        unsafe { self.baton.unlock(me) };
    }
}

impl Body for Executor {
    /// The home thread.
    fn run(&self) {
        self.begun.store(true, Release);
        self.spin.measure();
        let me = context::current_task();
        self.set_home_mark(me);
        self.home_enter(me);
        loop {
            // The runner, and the pending word is not idle. If the domain is over there is nothing.
            let more = self.run_some();
            if self.is_wanted() {
                if self.over.load(Acquire) {
                    // A caller's thread died in a coroutine.
                    break;
                }
                if self.attend() {
                    self.with_bh_on(|| self.end(ptr::null()));
                    break;
                }
                // That may have woken coroutines, which only our own queue knows of.
                continue;
            }
            if more {
                // Others may want the domain, or the CPU.
                let give = self.bh || self.inline && self.baton.is_contended();
                if give {
                    self.home_leave(me);
                }
                cond_resched();
                if give {
                    self.home_enter(me);
                }
                continue;
            }
            if self.inline {
                self.pass_baton(me);
            } else if self.bh {
                self.home_leave_bh();
            }
            // Another runner, of a `Bh` domain, may have declared it idle.
            if !self.spin() && (self.queue.0.go_idle() || self.queue.0.is_idle()) {
                self.stats().sleeps.add(1);
                // `stop` and `purge` wake like everybody, after they set what this reads.
                thread::park_unless(|| !self.queue.0.is_idle() || self.is_wanted());
                // From here on, nobody needs to wake us again.
                if self.queue.0.is_idle() && self.queue.0.claim() {
                    self.stats().unproductive.add(1);
                }
            }
            if self.inline {
                self.take_baton(me);
            } else if self.bh {
                self.home_enter_bh();
            }
        }
        self.home_leave(me);
        self.clear_home_mark(me);
    }
}
