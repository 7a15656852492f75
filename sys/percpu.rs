// SPDX-License-Identifier: GPL-2.0

//! The per-CPU words that the hot paths read: who runs here, in what context, on which CPU.
//!
//! In C these are one instruction each; from Rust each would be the call of a helper, with tracing
//! prologue and return thunk about ten. So they are written out for x86-64, as
//! `arch/x86/include/asm/{current,preempt,smp}.h` have them. Elsewhere, on PREEMPT_RT, where
//! the softirq count is not in the preemption counter, and in user-mode Linux, whose CPUs are threads,
//! the helpers do it.
//!
//! `helpers.c` asserts at build time that the masks are the kernel's.

use super::bh::Place;
use super::ffi;
use kernel::bindings;

/// The current thread, or null in a softirq, hard interrupt or NMI.
#[inline(always)]
pub(super) fn current_task() -> *mut bindings::task_struct {
    #[cfg(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML))))]
    {
        if x86::preempt_count() & (x86::NMI | x86::HARDIRQ | x86::SOFTIRQ) != 0 {
            return core::ptr::null_mut();
        }
        x86::current()
    }
    #[cfg(not(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML)))))]
    // SAFETY: Reads per-CPU data of the current CPU only.
    unsafe {
        ffi::coop_current_task()
    }
}

/// Whether `task` is the current thread, and not in a softirq, hard interrupt or NMI.
#[inline(always)]
pub(super) fn is_current(task: *mut bindings::task_struct) -> bool {
    #[cfg(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML))))]
    {
        x86::is_current(task) && !x86::is_interrupt()
    }
    #[cfg(not(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML)))))]
    {
        !task.is_null() && current_task() == task
    }
}

/// Set in the identity of a softirq.
pub(super) const IN_SOFTIRQ: usize = 1;

/// The current thread, with [`IN_SOFTIRQ`] added if this is a softirq on top of it; null if bottom
/// halves (and interrupts) are on, and in a hard interrupt or NMI.
#[inline(always)]
pub(super) fn bh_runner() -> *mut bindings::task_struct {
    #[cfg(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML))))]
    {
        let count = x86::preempt_count();
        if count & (x86::NMI | x86::HARDIRQ) != 0
            || count & x86::BH_OFF == 0 && !x86::irqs_disabled()
        {
            return core::ptr::null_mut();
        }
        let softirq = usize::from(count & x86::SOFTIRQ != 0);
        x86::current().wrapping_byte_add(softirq * IN_SOFTIRQ)
    }
    #[cfg(not(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML)))))]
    // SAFETY: Reads per-CPU data of the current CPU only.
    unsafe {
        ffi::coop_bh_runner()
    }
}

/// Whether and how a sender may run a `Bh` domain: see [`Place`].
#[inline(always)]
pub(super) fn sender_place() -> Place {
    #[cfg(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML))))]
    {
        let count = x86::preempt_count();
        if count & (x86::NMI | x86::HARDIRQ) != 0 || x86::irqs_disabled() {
            return Place::Elsewhere;
        }
        let task = x86::current();
        if count & x86::SOFTIRQ != 0 {
            // On top of some thread, whatever that runs; an idle one has preemption off.
            // SAFETY: The current thread is valid.
            let idle = unsafe { (*task).flags } & bindings::PF_IDLE;
            return if count & x86::PREEMPT <= u32::from(idle != 0) {
                Place::BhOff
            } else {
                Place::Elsewhere
            };
        }
        // SAFETY: As above. What runs a domain has a notifier; so may others.
        let marked = unsafe { !(*task).preempt_notifiers.first.is_null() };
        if count & x86::PREEMPT != 0 || marked {
            Place::Elsewhere
        } else if count & x86::BH_OFF != 0 {
            Place::BhOff
        } else {
            Place::BhOn
        }
    }
    #[cfg(not(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML)))))]
    // SAFETY: Reads per-CPU data of the current CPU and thread only.
    match unsafe { ffi::coop_sender_place() } {
        0 => Place::BhOn,
        1 => Place::BhOff,
        _ => Place::Elsewhere,
    }
}

/// Whether interrupts are off.
#[inline(always)]
pub(super) fn irqs_disabled() -> bool {
    #[cfg(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML))))]
    {
        x86::irqs_disabled()
    }
    #[cfg(not(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML)))))]
    // SAFETY: Reads the state of the current CPU only.
    unsafe {
        ffi::coop_irqs_disabled()
    }
}

/// Has [`sender_place`] say "elsewhere" until [`bh_end`]. With bottom halves off.
#[inline(always)]
pub(super) fn bh_begin() {
    #[cfg(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML))))]
    x86::preempt_disable();
    #[cfg(not(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML)))))]
    // SAFETY: Pairs with `bh_end`.
    unsafe {
        ffi::coop_bh_begin()
    }
}

/// See [`bh_begin`].
#[inline(always)]
pub(super) fn bh_end() {
    #[cfg(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML))))]
    {
        // Never due: bottom halves are off.
        let _ = x86::preempt_enable_no_resched();
    }
    #[cfg(not(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML)))))]
    // SAFETY: Pairs with `bh_begin`.
    unsafe {
        ffi::coop_bh_end()
    }
}

/// The current thread, where the caller knows that it is in task context.
#[inline(always)]
pub(super) fn this_task() -> *mut bindings::task_struct {
    #[cfg(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML))))]
    {
        x86::current()
    }
    #[cfg(not(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML)))))]
    {
        current_task()
    }
}

/// Whether the scheduler has asked the current thread to give way, now or at the next tick.
#[inline(always)]
pub(super) fn need_resched() -> bool {
    #[cfg(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML))))]
    {
        const WANTED: usize =
            1 << bindings::TIF_NEED_RESCHED | 1 << bindings::TIF_NEED_RESCHED_LAZY;
        // SAFETY: The current thread is valid; the flags are an aligned word, which others change by
        // one instruction.
        let flags = unsafe { (&raw const (*x86::current()).thread_info.flags).read_volatile() };
        flags & WANTED != 0
    }
    #[cfg(not(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML)))))]
    // SAFETY: Reads the current thread.
    unsafe {
        ffi::coop_need_resched()
    }
}

/// The current thread if it may sleep, else null.
#[inline(always)]
pub(super) fn sleepable_task() -> *mut bindings::task_struct {
    #[cfg(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML))))]
    {
        if x86::preempt_count() != 0 || x86::irqs_disabled() {
            return core::ptr::null_mut();
        }
        // Not for the whole of a loop of the caller's, where it is in nobody's register.
        let task = x86::current_now();
        #[cfg(CONFIG_PREEMPT_RCU)]
        // SAFETY: The current thread is valid; only the thread itself changes the field.
        if unsafe { (*task).rcu_read_lock_nesting } != 0 {
            return core::ptr::null_mut();
        }
        task
    }
    #[cfg(not(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML)))))]
    // SAFETY: Reads per-CPU data of the current CPU only.
    unsafe {
        if ffi::coop_context() == 0 {
            ffi::coop_current_task()
        } else {
            core::ptr::null_mut()
        }
    }
}

/// [`sleepable_task`] if that has no preemption notifier, and `barred` is 0; else null.
#[inline(always)]
pub(super) fn idle_task(barred: usize) -> *mut bindings::task_struct {
    #[cfg(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML))))]
    {
        if x86::irqs_disabled() {
            return core::ptr::null_mut();
        }
        let task = x86::current_now();
        let count = x86::preempt_count();
        #[cfg(CONFIG_PREEMPT_RCU)]
        // SAFETY: The current thread, or the one that was interrupted, is valid; only the thread
        // itself changes the field.
        let count = count | unsafe { (*task).rcu_read_lock_nesting } as u32;
        // SAFETY: As above.
        let notifiers = unsafe { (*task).preempt_notifiers.first }.addr();
        // All that is not 0 for hardly anybody, in one branch.
        if count as usize | barred | notifiers != 0 {
            return core::ptr::null_mut();
        }
        task
    }
    #[cfg(not(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML)))))]
    {
        let task = sleepable_task();
        // SAFETY: The current thread is valid.
        if barred != 0 || task.is_null() || unsafe { !(*task).preempt_notifiers.first.is_null() } {
            return core::ptr::null_mut();
        }
        task
    }
}

/// Disables preemption; returns 3 * CPU + kind of context, and whether that is a thread, or `None`
/// in an NMI (nothing disabled).
#[inline(always)]
pub(super) fn sender_enter() -> Option<(usize, bool)> {
    #[cfg(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML))))]
    {
        let count = x86::preempt_count();
        if count & (x86::NMI | x86::HARDIRQ | x86::SOFTIRQ) == 0 {
            x86::preempt_disable();
            return Some((3usize.wrapping_mul(x86::cpu()), true));
        }
        if count & x86::NMI != 0 {
            return None;
        }
        x86::preempt_disable();
        let kind = if count & x86::HARDIRQ != 0 { 2 } else { 1 };
        Some((3usize.wrapping_mul(x86::cpu()).wrapping_add(kind), false))
    }
    #[cfg(not(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML)))))]
    {
        // SAFETY: Paired with `sender_exit` unless it returns `UINT_MAX`.
        let index = unsafe { ffi::coop_sender_enter() };
        (index != u32::MAX).then_some((index as usize, index % 3 == 0))
    }
}

/// [`sender_enter`] for threads; `None` (nothing disabled) elsewhere.
#[inline(always)]
pub(super) fn sender_enter_thread() -> Option<usize> {
    #[cfg(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML))))]
    {
        if x86::preempt_count() & (x86::NMI | x86::HARDIRQ | x86::SOFTIRQ) != 0 {
            return None;
        }
        x86::preempt_disable();
        Some(3usize.wrapping_mul(x86::cpu()))
    }
    #[cfg(not(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML)))))]
    {
        let (index, is_task) = sender_enter()?;
        if !is_task {
            // SAFETY: Just entered.
            unsafe { sender_exit() };
        }
        is_task.then_some(index)
    }
}

/// Ends what [`sender_enter`] began.
///
/// # Safety
///
/// Called once for each `Some` of `sender_enter`, on the same CPU.
#[inline(always)]
pub(super) unsafe fn sender_exit() {
    #[cfg(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML))))]
    if x86::preempt_enable_no_resched() {
        preempt();
    }
    #[cfg(not(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML)))))]
    // SAFETY: Per the function's contract.
    unsafe {
        ffi::coop_sender_exit()
    };
}

/// Preemption was enabled again, and is due.
#[cfg(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML))))]
#[cold]
fn preempt() {
    // SAFETY: Only schedules.
    unsafe { ffi::coop_preempt() };
}

/// The CPU's cycle counter, not ordered with anything.
#[inline(always)]
pub(super) fn cycles() -> u64 {
    #[cfg(CONFIG_X86_64)]
    // SAFETY: Every x86-64 CPU has the instruction, and the kernel may use it.
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(not(CONFIG_X86_64))]
    // SAFETY: Reads a counter.
    unsafe {
        ffi::coop_cycles()
    }
}

/// See [`super::context::count_down`].
///
/// # Safety
///
/// As there.
#[inline(always)]
pub(super) unsafe fn count_down<const OFFSET: isize>(base: *const u8) -> bool {
    #[cfg(CONFIG_X86_64)]
    // The compiler has no way to use the flags that a change of memory leaves, if others may read it.
    // SAFETY: Changes two bytes of the word, by one store.
    unsafe {
        core::arch::asm!(
            "sub word ptr [{} + {}], 1",
            "js {}",
            in(reg) base,
            const OFFSET,
            label { return true },
            options(nostack)
        );
        false
    }
    #[cfg(not(CONFIG_X86_64))]
    {
        use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
        // SAFETY: Per the function's contract.
        let word = unsafe { &*base.wrapping_offset(OFFSET).cast::<AtomicU64>() };
        let before = word.load(Relaxed);
        let left = (before as u16).wrapping_sub(1);
        word.store(before & !0xffff | u64::from(left), Relaxed);
        (left as i16) < 0
    }
}

#[cfg(all(CONFIG_X86_64, CONFIG_SMP, not(any(CONFIG_PREEMPT_RT, CONFIG_UML))))]
mod x86 {
    use core::arch::asm;
    use kernel::bindings;

    // Keep in step with helpers.c, which checks them.
    pub(super) const NMI: u32 = 0xf000_0000;
    pub(super) const HARDIRQ: u32 = 0x0f00_0000;
    /// Preemption is off, by a spinlock or otherwise, besides what the others say.
    pub(super) const PREEMPT: u32 = 0x0000_00ff;
    /// Serving a softirq, not only having them disabled.
    pub(super) const SOFTIRQ: u32 = 0x0000_0100;
    /// Either of these.
    pub(super) const BH_OFF: u32 = 0x0000_ff00;

    /// Without the bit that says whether preemption is due, which is in the upper half.
    #[inline(always)]
    pub(super) fn preempt_count() -> u32 {
        let count: u32;
        // SAFETY: Reads a word of this CPU. Not `pure`: it changes.
        unsafe {
            asm!(
                "mov {:e}, dword ptr gs:[rip + __preempt_count]",
                out(reg) count,
                options(readonly, nostack, preserves_flags)
            );
        }
        count
    }

    /// Whether this is a softirq, a hard interrupt or an NMI: [`preempt_count`] tested in its place,
    /// so that no register is needed.
    #[inline(always)]
    pub(super) fn is_interrupt() -> bool {
        // SAFETY: Reads a word of this CPU. Not `pure`: it changes.
        unsafe {
            asm!(
                "test dword ptr gs:[rip + __preempt_count], {}",
                "jnz {}",
                const (NMI | HARDIRQ | SOFTIRQ) as i32,
                label { return true },
                options(readonly, nostack)
            );
        }
        false
    }

    #[inline(always)]
    pub(super) fn irqs_disabled() -> bool {
        const INTERRUPTS: u64 = 1 << 9;
        let flags: u64;
        // SAFETY: Reads the flags, by way of the stack.
        unsafe { asm!("pushfq", "pop {}", out(reg) flags, options(preserves_flags)) };
        flags & INTERRUPTS == 0
    }

    #[inline(always)]
    pub(super) fn current() -> *mut bindings::task_struct {
        let task: *mut bindings::task_struct;
        // SAFETY: Reads a word of this CPU, which is the same for as long as the thread runs.
        unsafe {
            asm!(
                "mov {}, qword ptr gs:[rip + const_current_task]",
                out(reg) task,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        task
    }

    /// Whether `task` is [`current`]: compared in its place, so that no register is needed.
    #[inline(always)]
    pub(super) fn is_current(task: *mut bindings::task_struct) -> bool {
        // SAFETY: Reads a word of this CPU, which is the same for as long as the thread runs.
        unsafe {
            asm!(
                "cmp {}, qword ptr gs:[rip + const_current_task]",
                "jne {}",
                in(reg) task,
                label { return false },
                options(readonly, nostack)
            );
        }
        true
    }

    /// [`current`], read here and now.
    #[inline(always)]
    pub(super) fn current_now() -> *mut bindings::task_struct {
        let task: *mut bindings::task_struct;
        // SAFETY: As in `current`.
        unsafe {
            asm!(
                "mov {}, qword ptr gs:[rip + const_current_task]",
                out(reg) task,
                options(nomem, nostack, preserves_flags)
            );
        }
        task
    }

    #[inline(always)]
    pub(super) fn cpu() -> usize {
        let cpu: u32;
        // SAFETY: Reads a word of this CPU.
        unsafe {
            asm!(
                "mov {:e}, dword ptr gs:[rip + cpu_number]",
                out(reg) cpu,
                options(readonly, nostack, preserves_flags)
            );
        }
        cpu as usize
    }

    /// A compiler barrier, too: no `nomem`.
    #[inline(always)]
    pub(super) fn preempt_disable() {
        // SAFETY: Paired with `preempt_enable_no_resched`.
        unsafe { asm!("inc qword ptr gs:[rip + __preempt_count]", options(nostack)) };
    }

    /// Enables preemption; whether it is due. A compiler barrier.
    #[inline(always)]
    pub(super) fn preempt_enable_no_resched() -> bool {
        // SAFETY: Pairs with `preempt_disable`. The counter is 0 if it is enabled and due: the bit
        // that says "not due" is kept in the same word.
        unsafe {
            asm!(
                "dec qword ptr gs:[rip + __preempt_count]",
                "jz {}",
                label { return true },
                options(nostack)
            );
        }
        false
    }
}
