// SPDX-License-Identifier: GPL-2.0

//! The harness of `coop_baseline.ko`, so that both sides of a ratio are measured in one way, and
//! what the figures here have in common.
//!
//! C header: `selftests/bench/baseline/harness.h`.

use coop_domain::prelude::*;
use coop_domain::sys::bh;
use core::ffi::{c_int, c_uint, CStr};
use core::future::Future;
use core::pin::Pin;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicI64, Ordering::*};
use core::task::{Context, Poll};
use kernel::bindings;
use kernel::module::this_module;
use kernel::prelude::*;
use kernel::sync::{Arc, Completion};
use kernel::time::delay::fsleep;
use kernel::time::Delta;

#[path = "../../held.rs"]
mod held;
pub(crate) use held::Held;

/// Operations that run untimed first.
pub(crate) const WARM_UP: u32 = 32;

/// What a raw sample still holds besides the operations.
#[repr(u32)]
#[derive(Clone, Copy)]
#[allow(dead_code)] // One of them is what `Figure` starts from.
pub(crate) enum Overhead {
    /// A counting loop.
    Loop,
    /// A pair of clock reads around every operation.
    Clock,
    /// Nothing: it is a number of bytes.
    Bytes,
}

/// One repetition: `ops` operations took `ns` nanoseconds.
#[repr(C)]
pub(crate) struct Sample {
    pub(crate) ns: u64,
    pub(crate) ops: u64,
}

/// Something that is measured.
pub(crate) trait Figure {
    /// As it is printed.
    const NAME: &'static CStr;
    /// Operations a repetition.
    const OPS: u32;
    /// What to subtract.
    const OVERHEAD: Overhead = Overhead::Loop;
    /// Online CPUs it needs.
    const CPUS: u32 = 1;
    /// Repetitions; 0: as many as others.
    const REPETITIONS: u32 = 0;

    /// One repetition, on a kernel thread bound to [`cpu`].
    fn run(s: &mut Sample, ops: u32) -> Result;
}

/// A figure as the harness knows it: `struct figure`.
#[repr(C)]
pub(crate) struct Entry {
    name: *const kernel::ffi::c_char,
    run: unsafe extern "C" fn(*mut Sample, c_uint) -> c_int,
    ops: c_uint,
    overhead: Overhead,
    cpus: c_uint,
    repetitions: c_uint,
}

// SAFETY: Immutable; the name is a static string.
unsafe impl Sync for Entry {}

/// # Safety
///
/// `s` is valid and nobody else's.
unsafe extern "C" fn run<F: Figure>(s: *mut Sample, ops: c_uint) -> c_int {
    // SAFETY: Per the function's contract.
    match F::run(unsafe { &mut *s }, ops) {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

/// The entry of figure `F`.
#[allow(clippy::disallowed_methods)] // `as_char_ptr` is not `const`.
pub(crate) const fn entry<F: Figure>() -> Entry {
    Entry {
        name: F::NAME.as_ptr().cast(),
        run: run::<F>,
        ops: F::OPS,
        overhead: F::OVERHEAD,
        cpus: F::CPUS,
        repetitions: F::REPETITIONS,
    }
}

mod ffi {
    use super::*;

    #[repr(C)]
    pub(super) struct Suite {
        _opaque: [u8; 0],
    }

    extern "C" {
        pub(super) fn coop_bench_register(
            name: *const kernel::ffi::c_char,
            figures: *const Entry,
            count: c_uint,
        ) -> *mut Suite;
        pub(super) fn coop_bench_unregister(suite: *mut Suite);
        pub(super) fn coop_bench_cpu() -> c_uint;
        pub(super) fn coop_bench_other_cpu() -> c_uint;
    }
}

/// A table of figures in debugfs; dropping it waits until none of them runs.
pub(crate) struct Suite(NonNull<ffi::Suite>);

// SAFETY: May be unregistered anywhere that may sleep.
unsafe impl Send for Suite {}
// SAFETY: A shared reference gives no access.
unsafe impl Sync for Suite {}

impl Suite {
    pub(crate) fn register(name: &'static CStr, figures: &'static [Entry]) -> Result<Self> {
        // SAFETY: Both stay for ever.
        let suite = unsafe {
            ffi::coop_bench_register(
                name.as_char_ptr(),
                figures.as_ptr(),
                figures.len() as c_uint,
            )
        };
        Ok(Suite(
            NonNull::new(kernel::error::from_err_ptr(suite)?).ok_or(ENOMEM)?,
        ))
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        // SAFETY: Registered, and not yet unregistered.
        unsafe { ffi::coop_bench_unregister(self.0.as_ptr()) }
    }
}

/// The CPU that measures.
pub(crate) fn cpu() -> u32 {
    // SAFETY: No precondition.
    unsafe { ffi::coop_bench_cpu() }
}

/// Another one.
pub(crate) fn other_cpu() -> u32 {
    // SAFETY: No precondition.
    unsafe { ffi::coop_bench_other_cpu() }
}

/// What `ktime_get_ns()` returns.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: No precondition.
    unsafe { bindings::ktime_get() as u64 }
}

/// A mark of what is measured, for `selftests/bench/plugin/locked.c`.
#[inline(always)]
fn mark<const MARK: u32>() {
    #[cfg(CONFIG_X86_64)]
    // SAFETY: A no-operation.
    unsafe {
        core::arch::asm!(
            ".byte 0x0f, 0x1f, 0x80; .long {}",
            const 0x6f6f6300 + MARK,
            options(nostack, preserves_flags)
        )
    };
}

/// The time at which a measured stretch begins.
#[inline(always)]
pub(crate) fn start_clock() -> u64 {
    let now = now();
    mark::<3>();
    now
}

/// The time at which it ends.
#[inline(always)]
pub(crate) fn stop_clock() -> u64 {
    mark::<4>();
    now()
}

/// Lets the compiler keep nothing in registers, and not know `n` any more.
#[inline(always)]
pub(crate) fn barrier(n: &mut u32) {
    let mut v = *n;
    // SAFETY: No instruction.
    unsafe { core::arch::asm!("/* {0:e} */", inout(reg) v, options(nostack, preserves_flags)) };
    *n = v;
}

/// Lets the compiler know nothing about memory any more.
#[inline(always)]
pub(crate) fn forget() {
    // SAFETY: No instruction.
    unsafe { core::arch::asm!("", options(nostack, preserves_flags)) };
}

/// The value is needed: what it takes to come by it is not optimised away.
#[inline(always)]
pub(crate) fn use_value(v: u64) {
    // SAFETY: No instruction.
    unsafe { core::arch::asm!("/* {} */", in(reg) v, options(nostack, preserves_flags)) };
}

/// Nanoseconds that `$ops` executions of `$op` take, loop included; a macro, so that `$op` may
/// await, or return.
macro_rules! timed_loop {
    ($ops:expr, $op:expr) => {{
        let mut i: u32 = 0;
        while i < $crate::harness::WARM_UP {
            $op;
            $crate::harness::barrier(&mut i);
            i = i.wrapping_add(1);
        }
        i = 0;
        let start = $crate::harness::start_clock();
        while i < $ops {
            $op;
            $crate::harness::barrier(&mut i);
            i = i.wrapping_add(1);
        }
        $crate::harness::stop_clock().wrapping_sub(start)
    }};
}
pub(crate) use timed_loop;

/// The measuring thread is a FIFO thread until this is dropped: what it wakes on its own CPU has to
/// wait until it sleeps.
pub(crate) struct Fifo(());

impl Fifo {
    pub(crate) fn enter() -> Self {
        // SAFETY: The current thread is valid.
        unsafe { bindings::sched_set_fifo(kernel::current!().as_ptr()) };
        Fifo(())
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        // SAFETY: The current thread is valid.
        unsafe { bindings::sched_set_normal(kernel::current!().as_ptr(), 0) };
    }
}

/// A domain whose home thread is bound to `cpu`.
pub(crate) fn domain_on(cpu: u32) -> Result<Domain> {
    Domain::builder(c"bench", this_module::<crate::LocalModule>())
        .cpu(cpu)
        .build()
}

/// The same, and nobody else runs it.
pub(crate) fn dedicated_on(cpu: u32) -> Result<Domain> {
    Domain::builder(c"bench", this_module::<crate::LocalModule>())
        .cpu(cpu)
        .dedicated()
        .build()
}

/// A `Bh` domain whose home thread is bound to `cpu`.
pub(crate) fn bh_domain_on(cpu: u32) -> Result<Domain> {
    Domain::builder(c"bench", this_module::<crate::LocalModule>())
        .cpu(cpu)
        .level(Level::Bh)
        .build()
}

/// Until the domains have nothing to do.
pub(crate) fn settle() {
    fsleep(Delta::from_millis(10));
}

/// Bottom halves are off until this is dropped.
pub(crate) struct BhOff(());

impl BhOff {
    pub(crate) fn enter() -> Self {
        bh::disable();
        BhOff(())
    }
}

impl Drop for BhOff {
    fn drop(&mut self) {
        bh::enable();
    }
}

/// The result of a coroutine, for a thread that waits.
#[pin_data]
struct Outcome {
    #[pin]
    done: Completion,
    ns: AtomicI64,
}

/// A measuring future, and who waits for its result. By hand: a state machine around it would cost
/// as much as what it measures.
struct Measured<F> {
    measure: F,
    outcome: Arc<Outcome>,
}

impl<F: Future<Output = Result<u64>>> Future for Measured<F> {
    type Output = ();

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: `measure` is pinned as `self` is; the outcome is not, and need not be.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: As above.
        let Poll::Ready(result) = unsafe { Pin::new_unchecked(&mut this.measure) }.poll(cx) else {
            return Poll::Pending;
        };
        let ns = match result {
            Ok(ns) => ns as i64,
            Err(e) => e.to_errno().into(),
        };
        this.outcome.ns.store(ns, Release);
        this.outcome.done.complete_all();
        Poll::Ready(())
    }
}

/// Runs `measure` as a coroutine of `domain`, and waits until it has the nanoseconds.
pub(crate) fn run_inside(
    domain: &Domain,
    measure: impl Future<Output = Result<u64>> + Send + 'static,
) -> Result<u64> {
    let outcome = Arc::pin_init(
        pin_init!(Outcome {
            done <- Completion::new(),
            ns: AtomicI64::new(0),
        }),
        GFP_KERNEL,
    )?;
    let inside = Measured {
        measure,
        outcome: outcome.clone(),
    };
    domain.spawn(c"measure", inside)?.detach();
    outcome.done.wait_for_completion();
    let ns = outcome.ns.load(Acquire);
    if ns < 0 {
        return Err(Error::from_errno(ns as c_int));
    }
    Ok(ns as u64)
}
