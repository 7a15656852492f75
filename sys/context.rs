// SPDX-License-Identifier: GPL-2.0

//! In which context the code runs, and the per-CPU sections of senders.
//!
//! C headers: [`include/linux/preempt.h`](srctree/include/linux/preempt.h),
//! [`include/linux/hardirq.h`](srctree/include/linux/hardirq.h).

use super::{ffi, percpu};
use core::marker::PhantomData;
use kernel::bindings;
use kernel::prelude::*;

/// What the current context allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Context {
    /// A thread that may sleep.
    Task,
    /// A thread that may not: preemption, bottom halves or interrupts off, or an RCU read side.
    Atomic,
    /// A softirq.
    Softirq,
    /// A hard interrupt.
    HardIrq,
    /// A non-maskable interrupt.
    Nmi,
}

impl Context {
    /// The context of the caller. Any context; about 10 instructions.
    #[inline]
    pub fn current() -> Self {
        // SAFETY: Reads the preemption counter and flags only.
        match unsafe { ffi::coop_context() } {
            0 => Context::Task,
            1 => Context::Atomic,
            2 => Context::Softirq,
            3 => Context::HardIrq,
            _ => Context::Nmi,
        }
    }

    /// Allocation flags for this context, or `None` where nothing is to be allocated.
    pub fn alloc_flags(self) -> Option<kernel::alloc::Flags> {
        match self {
            Context::Task => Some(GFP_KERNEL),
            Context::Atomic | Context::Softirq => Some(GFP_ATOMIC),
            Context::HardIrq | Context::Nmi => None,
        }
    }

    /// `Ok` where the caller may sleep, `EWOULDBLOCK` elsewhere.
    pub fn require_sleepable() -> Result {
        match Context::current() {
            Context::Task => Ok(()),
            _ => Err(EAGAIN),
        }
    }
}

/// The thread that executes, as an opaque identity; null in softirq, hard interrupt and NMI.
///
/// Any context; about 4 instructions on x86-64.
#[inline]
pub fn current_task() -> *mut bindings::task_struct {
    percpu::current_task()
}

/// The thread that executes, or that was interrupted, as an opaque identity; maybe null in softirq,
/// hard interrupt and NMI.
///
/// Any context; one instruction on x86-64.
#[inline(always)]
pub fn this_task() -> *mut bindings::task_struct {
    percpu::this_task()
}

/// Whether `task` is the thread that executes, and not in softirq, hard interrupt and NMI.
///
/// Any context; about 6 instructions on x86-64.
#[inline]
pub fn is_current(task: *mut bindings::task_struct) -> bool {
    percpu::is_current(task)
}

/// The right to push into the rings of this CPU and kind of context, until dropped.
///
/// # Invariants
///
/// Preemption is off (or the context cannot be preempted), and no other `SenderSection` with the
/// same index is live.
pub struct SenderSection {
    index: usize,
    is_task: bool,
    // Belongs to this CPU.
    _not_send: PhantomData<*mut ()>,
}

impl SenderSection {
    /// Number of indices.
    pub fn count() -> usize {
        // SAFETY: Reads a constant of the running kernel.
        3usize.wrapping_mul(unsafe { ffi::coop_nr_cpu_ids() } as usize)
    }

    /// The kind of context that index `index` stands for: 0 task, 1 softirq, 2 hard interrupt.
    pub fn kind(index: usize) -> usize {
        index % 3
    }

    /// Enters; `None` in an NMI. Any other context, does not sleep.
    #[inline]
    pub fn enter() -> Option<Self> {
        // INVARIANT: Preemption is off, so only an interrupt can come in between on this CPU: a
        // softirq does not nest in a softirq, nor a hard interrupt in a hard interrupt, and each
        // has an index of its own.
        percpu::sender_enter().map(|(index, is_task)| SenderSection {
            index,
            is_task,
            _not_send: PhantomData,
        })
    }

    /// Enters as a thread; `None` (nothing entered) elsewhere. Any context, does not sleep.
    #[inline(always)]
    pub fn enter_thread() -> Option<Self> {
        // INVARIANT: As in `enter`.
        percpu::sender_enter_thread().map(|index| SenderSection {
            index,
            is_task: true,
            _not_send: PhantomData,
        })
    }

    /// Whether the sender is a thread.
    #[inline]
    pub fn is_task(&self) -> bool {
        self.is_task
    }

    /// The index, unique among live sections.
    #[inline]
    pub fn index(&self) -> usize {
        self.index
    }
}

impl Drop for SenderSection {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: Pairs with `enter`; `self` did not leave the CPU.
        unsafe { percpu::sender_exit() }
    }
}

/// Waits until every [`SenderSection`] that is live now has ended. Task context; sleeps.
pub fn wait_for_senders() {
    // SAFETY: The callers are in task context and may sleep. A section with preemption off is an
    // RCU read-side section, on PREEMPT_RT too.
    unsafe { bindings::synchronize_rcu_expedited() }
}

/// Time stamp in units of the CPU's cycle counter; only differences mean something.
#[inline]
pub fn cycles() -> u64 {
    percpu::cycles()
}

/// Takes 1 from the lower 16 bits of the word `OFFSET` bytes behind `base`, and leaves the others as
/// they are; whether that was below 0. Any context; two instructions on x86-64.
///
/// # Safety
///
/// There is an `AtomicU64`, and nobody else changes it meanwhile.
#[inline(always)]
pub unsafe fn count_down<const OFFSET: isize>(base: *const u8) -> bool {
    // SAFETY: Per the function's contract.
    unsafe { percpu::count_down::<OFFSET>(base) }
}

/// Lets other threads of this CPU run if the kernel wants that. Task context.
pub fn cond_resched() {
    // SAFETY: The callers are in task context and may sleep.
    unsafe { ffi::coop_cond_resched() }
}

/// CPUs that are online at the moment.
pub fn cpus_online() -> usize {
    // SAFETY: Reads a counter of the running kernel.
    unsafe { ffi::coop_nr_cpus_online() as usize }
}

/// Monotonic time in nanoseconds. Any context but NMI.
#[inline]
pub fn now_ns() -> i64 {
    // SAFETY: Reads the clock.
    unsafe { bindings::ktime_get() }
}

/// Whether nobody else wants the CPU of the current thread. Task context.
#[inline]
pub fn is_alone_on_cpu() -> bool {
    // SAFETY: Reads per-CPU data.
    unsafe { ffi::coop_alone_on_cpu() }
}

/// Whether the kernel wants this CPU for another thread. Any context; 3 instructions on x86-64.
#[inline(always)]
pub fn wants_cpu_back() -> bool {
    percpu::need_resched()
}

/// Timer ticks so far (`jiffies`). Any context; one load.
#[inline(always)]
pub fn ticks() -> usize {
    // SAFETY: An aligned word, which others write by one instruction.
    unsafe { (&raw const bindings::jiffies).read_volatile() }
}
