// SPDX-License-Identifier: GPL-2.0

//! Who has overrun its slice.
//!
//! Neither a time stamp nor a look at the clock after each poll can be afforded where a poll takes a
//! few dozen instructions. That a round of polls took too long is seen when it ends (see
//! [`stats`](crate::stats)); whose poll that was, by sampling: while the home thread has work, a
//! timer notes at each tick who is being polled. One whose poll takes two ticks is met by two in a
//! row. Nothing is done for a poll; for a batch of them, a flag is looked at. The timer is
//! deferrable: it wakes no CPU, and it stops when it has met nobody for a while.
//!
//! A softirq does that, which comes on top of the coroutine: so not in domains whose coroutines run
//! with bottom halves off, and not on PREEMPT_RT, where softirqs are threads. There somebody who
//! overruns its slice in a round of several is counted at once, but named only when it does so again.

use crate::counter::COUNTS;
use crate::executor::Executor;
use crate::sys::context;
use crate::sys::thread::Thread;
use crate::sys::tick::{OnTick, Tick};
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering::*};
use kernel::ffi::c_char;
use kernel::prelude::*;

/// Ticks without anybody after which the timer stops.
const PATIENCE: u32 = 64;

/// Somebody's name, and when it was met.
struct Met {
    name: AtomicPtr<c_char>,
    tick: AtomicUsize,
}

impl Met {
    const fn new() -> Self {
        Met {
            name: AtomicPtr::new(ptr::null_mut()),
            tick: AtomicUsize::new(0),
        }
    }

    fn note(&self, name: *mut c_char, tick: usize) {
        self.name.store(name, Relaxed);
        self.tick.store(tick, Release);
    }

    /// The name, if that was after `since`.
    fn after(&self, since: usize, now: usize) -> *mut c_char {
        let ago = now.wrapping_sub(self.tick.load(Acquire));
        if ago < now.wrapping_sub(since) {
            self.name.load(Relaxed)
        } else {
            ptr::null_mut()
        }
    }
}

/// Notes who is polled when the timer ticks.
#[pin_data]
pub(crate) struct Sampler {
    #[pin]
    timer: Tick<Executor>,
    /// The timer is started, or its call has not ended; or it is not to be started at all.
    started: AtomicBool,
    /// Ticks without anybody. Timer only.
    idle: AtomicU32,
    last: Met,
    /// The one that was met twice in a row.
    twice: Met,
}

impl Sampler {
    /// One that is never started, if `off`.
    pub(crate) fn new(off: bool) -> impl PinInit<Self> {
        pin_init!(Self {
            timer <- Tick::new(),
            started: AtomicBool::new(off),
            idle: AtomicU32::new(0),
            last: Met::new(),
            twice: Met::new(),
        })
    }

    /// Ends it. Task context, sleeps.
    pub(crate) fn stop(&self) {
        self.timer.stop();
    }
}

impl Executor {
    /// Has the sampler's timer call this executor, before first use.
    pub(crate) fn set_tick_target(&self) {
        // SAFETY: The timer is part of the executor.
        unsafe { self.sampler.timer.set_target(self) };
    }

    /// The home thread is about to poll coroutines.
    #[inline(always)]
    pub(crate) fn sample(&self) {
        if COUNTS && !self.sampler.started.load(Relaxed) {
            self.start_sampler();
        }
    }

    #[cold]
    #[inline(never)]
    fn start_sampler(&self) {
        if !self.sampler.started.swap(true, AcqRel) {
            self.sampler.idle.store(0, Relaxed);
            self.tick_again();
        }
    }

    /// By the one who has set `started`, or in the call.
    fn tick_again(&self) {
        if let Some(home) = NonNull::new(self.home.load(Acquire)) {
            // SAFETY: By the invariant a thread with a reference, which stays with us.
            let home = ManuallyDrop::new(unsafe { Thread::from_raw(home) });
            // SAFETY: The timer is not pending: per this function's contract.
            unsafe { self.sampler.timer.start(&home) };
        }
    }

    /// Who overran its slice, if that was since tick `since`, as far as is known. Runner only.
    #[cold]
    pub(crate) fn overrunner(&self, since: usize) -> Option<&CStr> {
        let now = context::ticks();
        let sampler = &self.sampler;
        let name = [&sampler.twice, &sampler.last]
            .map(|met| met.after(since, now))
            .into_iter()
            .find(|name| !name.is_null())?;
        // SAFETY: The name of a coroutine that was there since `since`, in this round of polls: its
        // driver is there as long as we run.
        Some(unsafe { CStr::from_char_ptr(name) })
    }
}

impl OnTick for Executor {
    fn on_tick(&self) {
        let sampler = &self.sampler;
        // The runner is what this softirq has interrupted: it does not go on meanwhile.
        let me = context::this_task();
        let polled = if !me.is_null() && self.is_runner(me) {
            self.current()
        } else {
            ptr::null()
        };
        // SAFETY: A coroutine that is being polled, or was last and has not ended, is valid.
        let Some(task) = (unsafe { polled.as_ref() }) else {
            let idle = sampler.idle.load(Relaxed).wrapping_add(1);
            sampler.idle.store(idle, Relaxed);
            if idle < PATIENCE {
                self.tick_again();
            } else {
                sampler.started.store(false, Release);
            }
            return;
        };
        let (name, tick) = (task.name_ptr().cast_mut(), context::ticks());
        let last = &sampler.last;
        if last.name.load(Relaxed) == name && tick.wrapping_sub(last.tick.load(Relaxed)) <= 2 {
            sampler.twice.note(name, tick);
        }
        last.note(name, tick);
        sampler.idle.store(0, Relaxed);
        self.tick_again();
    }
}
