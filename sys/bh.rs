// SPDX-License-Identifier: GPL-2.0

//! Bottom halves: switching them off, and who executes with them off.

use super::{ffi, percpu};
use kernel::bindings::task_struct;

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

/// From here to [`end`] the code counts as holding a lock: who sends does not
/// [run](Place::of_sender) another domain. With bottom halves off.
#[inline(always)]
pub fn begin() {
    percpu::bh_begin();
}

/// Ends what [`begin`] began, bottom halves being off still.
#[inline(always)]
pub fn end() {
    percpu::bh_end();
}

/// Whether and how a sender may run a `Bh` domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// It may, having switched bottom halves off.
    BhOn,
    /// It may as it is.
    BhOff,
    /// It may not: interrupts are off, a spinlock is held (by whomever a softirq has interrupted,
    /// too), or a domain run already.
    Elsewhere,
}

impl Place {
    /// That of the caller. Any context; about 15 instructions on x86-64.
    #[inline(always)]
    pub fn of_sender() -> Self {
        percpu::sender_place()
    }
}

/// Whether interrupts are off. Any context.
#[inline(always)]
pub fn irqs_disabled() -> bool {
    percpu::irqs_disabled()
}

/// Who executes, as an identity, if bottom halves or interrupts are off: a thread, or a softirq on
/// top of one. Null in all other contexts.
#[inline(always)]
pub fn current_runner() -> *mut task_struct {
    percpu::bh_runner()
}

/// Whether `runner` is a softirq.
#[inline(always)]
pub fn is_softirq(runner: *mut task_struct) -> bool {
    runner.addr() & percpu::IN_SOFTIRQ != 0
}

/// Whether `runner` is a softirq, and the one that executes.
#[inline]
pub fn is_current_softirq(runner: *mut task_struct) -> bool {
    is_softirq(runner) && runner == percpu::bh_runner()
}
