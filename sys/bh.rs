// SPDX-License-Identifier: GPL-2.0

//! The baton of a `Bh` domain: a word that is taken with bottom halves off.
//!
//! Whoever holds it is on a CPU and cannot be preempted (on PREEMPT_RT: not for long), so that it
//! pays to wait for it by looking again and again, if at all.

use super::{ffi, percpu};
use core::sync::atomic::{AtomicBool, Ordering::*};
use kernel::bindings::task_struct;

/// A lock for those who have bottom halves off.
#[derive(Default)]
pub struct BhBaton(AtomicBool);

impl BhBaton {
    /// Takes the lock if it is free.
    #[inline(always)]
    pub fn try_lock(&self) -> bool {
        self.0
            .compare_exchange(false, true, Acquire, Relaxed)
            .is_ok()
    }

    /// Looks so often whether the lock gets free; whether it was taken then.
    #[cold]
    pub fn spin(&self, times: u32) -> bool {
        for _ in 0..times {
            core::hint::spin_loop();
            if !self.0.load(Relaxed) && self.try_lock() {
                return true;
            }
        }
        false
    }

    /// Gives the lock back. Only who holds it calls this.
    #[inline(always)]
    pub fn unlock(&self) {
        self.0.store(false, Release);
    }
}

/// Switches bottom halves off on this CPU. Paired with [`enable`]. Task context.
pub fn disable() {
    // SAFETY: Pairs with `enable`.
    unsafe { ffi::coop_bh_disable() }
}

/// Ends what [`disable`] began.
pub fn enable() {
    // SAFETY: Pairs with `disable`.
    unsafe { ffi::coop_bh_enable() }
}

/// Who executes, as an identity, if bottom halves are off: a thread, or a softirq on top of one.
/// Null in all other contexts.
#[inline(always)]
pub fn current_runner() -> *mut task_struct {
    percpu::bh_runner()
}

/// Whether `runner` is a softirq, and the one that executes.
#[inline]
pub fn is_current_softirq(runner: *mut task_struct) -> bool {
    runner.addr() & percpu::IN_SOFTIRQ != 0 && runner == percpu::bh_runner()
}
