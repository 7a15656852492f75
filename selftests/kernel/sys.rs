// SPDX-License-Identifier: GPL-2.0

//! Contexts, killable threads and an interrupt line, behind safe types. C side: `helpers.c`.

use crate::harness::LONG;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering::*};
use kernel::bindings;
use kernel::ffi::{c_int, c_uint, c_void};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::{delay::fsleep, Delta};

mod ffi {
    use super::*;

    pub(super) type Function = unsafe extern "C" fn(*mut c_void);

    #[allow(improper_ctypes)]
    extern "C" {
        pub(super) fn coop_test_run_in(at: Where, cpu: c_uint, f: Function, data: *mut c_void);
        pub(super) fn coop_test_thread(
            f: unsafe extern "C" fn(*mut c_void) -> c_int,
            data: *mut c_void,
            cpu: c_uint,
        ) -> *mut bindings::task_struct;
        pub(super) fn coop_test_allow_kill();
        pub(super) fn coop_test_kill(task: *mut bindings::task_struct);
        pub(super) fn coop_test_thread_end(task: *mut bindings::task_struct);
        pub(super) fn coop_test_should_stop() -> bool;
        pub(super) fn coop_test_sleeps(task: *mut bindings::task_struct) -> bool;
        pub(super) fn coop_test_is_dead(task: *mut bindings::task_struct) -> bool;
        pub(super) fn coop_test_move_to(cpu: c_uint) -> c_int;
        pub(super) fn coop_test_move_anywhere() -> c_int;
        pub(super) fn coop_test_cpu() -> c_uint;
        pub(super) fn coop_test_cpus() -> c_uint;
        pub(super) fn coop_test_may_migrate() -> bool;
        pub(super) fn coop_test_cond_resched();
        pub(super) fn coop_test_busy(us: c_uint);
        pub(super) fn coop_test_irq_create() -> c_int;
        pub(super) fn coop_test_irq_raise(cpu: c_uint) -> bool;
        pub(super) fn coop_test_irq_sync();
        pub(super) fn coop_test_irq_destroy();
        pub(super) fn coop_test_set_lodge(lodge: *mut c_void);
        pub(super) fn coop_test_available_kib() -> c_uint;
    }
}

/// Below, real-time priorities; from here on, all others.
const MAX_RT_PRIO: c_int = 100;

/// Contexts. Keep in step with `enum coop_test_context` in `helpers.h`.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Where {
    Task,
    Spinlock,
    RawSpinlock,
    BhOff,
    PreemptOff,
    IrqOff,
    Rcu,
    Softirq,
    HardIrq,
}

impl Where {
    /// Whether memory may be freed there. On PREEMPT_RT that may sleep, where nothing else may; lockdep
    /// looks for it on other kernels, too, where it sees that it would.
    pub(crate) fn may_free(self) -> bool {
        match self {
            Where::Task => true,
            _ if cfg!(CONFIG_PREEMPT_RT) => false,
            Where::RawSpinlock | Where::HardIrq => !cfg!(CONFIG_PROVE_RAW_LOCK_NESTING),
            _ => true,
        }
    }
}

/// All of them.
pub(crate) const ANY: [Where; 9] = [
    Where::Task,
    Where::Spinlock,
    Where::RawSpinlock,
    Where::BhOff,
    Where::PreemptOff,
    Where::IrqOff,
    Where::Rcu,
    Where::Softirq,
    Where::HardIrq,
];

/// Those in which nothing may sleep.
pub(crate) const ATOMIC: [Where; 8] = [
    Where::Spinlock,
    Where::RawSpinlock,
    Where::BhOff,
    Where::PreemptOff,
    Where::IrqOff,
    Where::Rcu,
    Where::Softirq,
    Where::HardIrq,
];

/// Runs `f` in a context, on `cpu` if it is an interrupt; returns when it has run. `f` must do
/// nothing there that the context forbids.
pub(crate) fn run_in_on<R: Send>(at: Where, cpu: u32, f: impl FnOnce() -> R + Send) -> R {
    struct Job<F, R>(Option<F>, Option<R>);
    /// # Safety
    ///
    /// `data` is a `Job<F, R>`.
    unsafe extern "C" fn call<F: FnOnce() -> R, R>(data: *mut c_void) {
        // SAFETY: `data` is the job below, and nobody else uses it meanwhile.
        let job = unsafe { &mut *data.cast::<Job<F, R>>() };
        job.1 = job.0.take().map(|f| f());
    }
    fn function<F: FnOnce() -> R, R>(_: &Job<F, R>) -> ffi::Function {
        call::<F, R>
    }
    let mut job = Job(Some(f), None);
    let f = function(&job);
    // SAFETY: `f` fits the job, which lives until the call returns.
    unsafe { ffi::coop_test_run_in(at, cpu, f, (&raw mut job).cast()) };
    match job.1 {
        Some(r) => r,
        // SAFETY: `call` has put it there: `coop_test_run_in` calls it once, then returns.
        None => unsafe { core::hint::unreachable_unchecked() },
    }
}

/// Runs `f` in a context of the current CPU.
pub(crate) fn run_in<R: Send>(at: Where, f: impl FnOnce() -> R + Send) -> R {
    run_in_on(at, cpu(), f)
}

/// The kernel is a PREEMPT_RT one.
pub(crate) const IS_RT: bool = cfg!(CONFIG_PREEMPT_RT);

/// The current CPU.
pub(crate) fn cpu() -> u32 {
    // SAFETY: No precondition.
    unsafe { ffi::coop_test_cpu() }
}

/// Online CPUs; the tests assume that they are numbered from 0.
pub(crate) fn cpus() -> u32 {
    // SAFETY: No precondition.
    unsafe { ffi::coop_test_cpus() }
}

/// Who executes: the identity of the current thread.
pub(crate) fn me() -> usize {
    // SAFETY: Reads per-CPU data of the current CPU only.
    unsafe { bindings::get_current() }.addr()
}

/// Whether the thread `who` sleeps.
///
/// # Safety
///
/// `who` is what [`me`] has said in a thread that is still there.
pub(crate) unsafe fn is_asleep(who: usize) -> bool {
    // SAFETY: Per the function's contract.
    unsafe { ffi::coop_test_sleeps(core::ptr::with_exposed_provenance_mut(who)) }
}

/// Moves the current thread to a CPU, and keeps it there.
pub(crate) fn move_to(cpu: u32) -> Result {
    // SAFETY: Changes the current thread only.
    kernel::error::to_result(unsafe { ffi::coop_test_move_to(cpu) })
}

/// Lets the current thread run anywhere again.
pub(crate) fn move_anywhere() {
    // SAFETY: As above.
    unsafe { ffi::coop_test_move_anywhere() };
}

/// Whether the current thread may change its CPU.
pub(crate) fn may_migrate() -> bool {
    // SAFETY: Reads the current thread.
    unsafe { ffi::coop_test_may_migrate() }
}

/// Lets others run.
pub(crate) fn cond_resched() {
    // SAFETY: The callers may sleep.
    unsafe { ffi::coop_test_cond_resched() }
}

/// Is busy for some time. Any context.
pub(crate) fn busy(us: u32) {
    // SAFETY: No precondition.
    unsafe { ffi::coop_test_busy(us) }
}

/// Sleeps.
pub(crate) fn sleep_ms(ms: u32) {
    // SAFETY: The callers may sleep.
    unsafe { bindings::msleep(ms) }
}

/// Waits for `ready()`, for at most `ms` milliseconds; whether it was.
pub(crate) fn eventually(ms: u32, mut ready: impl FnMut() -> bool) -> bool {
    let now = || now_ns() / 1_000_000;
    let end = now() + i64::from(ms);
    // What is about to happen is not slept through: thousands of steps wait here.
    let mut pause = 20;
    loop {
        if ready() {
            return true;
        }
        if now() >= end {
            return ready();
        }
        fsleep(Delta::from_micros(pause));
        pause = 1_000.min(2 * pause);
    }
}

/// What a thread of [`Worker`] can ask: whether it is to end (it was killed, too).
pub(crate) fn should_stop() -> bool {
    // SAFETY: Called by workers only, which are kernel threads.
    unsafe { ffi::coop_test_should_stop() }
}

/// The current thread becomes a real-time thread.
pub(crate) fn become_fifo() {
    // SAFETY: The current thread is valid.
    unsafe { bindings::sched_set_fifo(kernel::current!().as_ptr()) };
}

/// The current thread becomes a real-time thread of the lowest priority.
pub(crate) fn become_fifo_low() {
    // SAFETY: The current thread is valid.
    unsafe { bindings::sched_set_fifo_low(kernel::current!().as_ptr()) };
}

/// The current thread gives way to all others.
pub(crate) fn become_nice() {
    // SAFETY: The current thread is valid.
    unsafe { bindings::sched_set_normal(kernel::current!().as_ptr(), 19) };
}

/// CPU time that the current thread has had, in nanoseconds, up to the last tick.
pub(crate) fn runtime_ns() -> u64 {
    // SAFETY: The current thread is valid; the field is an aligned word.
    unsafe { (&raw const (*bindings::get_current()).se.sum_exec_runtime).read_volatile() }
}

/// Whether the current thread has real-time priority, its own or one that was lent to it.
pub(crate) fn is_real_time() -> bool {
    // SAFETY: The current thread is valid; the field is an aligned word.
    unsafe { (&raw const (*bindings::get_current()).prio).read_volatile() < MAX_RT_PRIO }
}

/// Timer ticks.
pub(crate) fn ticks() -> usize {
    // SAFETY: An aligned word.
    unsafe { (&raw const bindings::jiffies).read_volatile() }
}

/// Nanoseconds of a clock.
pub(crate) fn now_ns() -> i64 {
    // SAFETY: Reads a clock.
    unsafe { bindings::ktime_get() }
}

struct Job<F, R> {
    f: UnsafeCell<Option<F>>,
    result: UnsafeCell<Option<R>>,
    done: AtomicBool,
}

// SAFETY: The thread has `f` and `result` until `done`, then the owner of the worker.
unsafe impl<F: Send, R: Send> Send for Job<F, R> {}
// SAFETY: As above.
unsafe impl<F: Send, R: Send> Sync for Job<F, R> {}

trait Outcome<R>: Send + Sync {
    fn is_done(&self) -> bool;
    fn take(&self) -> Option<R>;
}

impl<F: Send, R: Send> Outcome<R> for Job<F, R> {
    fn is_done(&self) -> bool {
        self.done.load(Acquire)
    }

    fn take(&self) -> Option<R> {
        if !self.is_done() {
            return None;
        }
        // SAFETY: `done`, so that the thread does not touch it any more.
        unsafe { (*self.result.get()).take() }
    }
}

/// A thread that runs a closure, and can be killed. Dropping it kills it and waits for its end.
pub(crate) struct Worker<R: Send + 'static> {
    task: *mut bindings::task_struct,
    job: Arc<dyn Outcome<R>>,
    _data: Arc<dyn Send + Sync>,
}

// SAFETY: The reference to the thread may be used anywhere.
unsafe impl<R: Send + 'static> Send for Worker<R> {}
// SAFETY: As above.
unsafe impl<R: Send + 'static> Sync for Worker<R> {}

impl<R: Send + 'static> Worker<R> {
    /// Starts a thread on `cpu`, or anywhere.
    pub(crate) fn start<F>(cpu: Option<u32>, f: F) -> Result<Self>
    where
        F: FnOnce() -> R + Send + 'static,
    {
        /// # Safety
        ///
        /// `data` is a `Job<F, R>`.
        unsafe extern "C" fn entry<F: FnOnce() -> R, R>(data: *mut c_void) -> c_int {
            // SAFETY: The worker keeps the job until the thread has ended.
            let job = unsafe { &*data.cast::<Job<F, R>>() };
            // SAFETY: Changes the current thread only.
            unsafe { ffi::coop_test_allow_kill() };
            // SAFETY: Not `done`: both are the thread's.
            if let Some(f) = unsafe { (*job.f.get()).take() } {
                let result = f();
                // SAFETY: As above.
                unsafe { *job.result.get() = Some(result) };
            }
            job.done.store(true, Release);
            0
        }
        let job = Arc::new(
            Job {
                f: UnsafeCell::new(Some(f)),
                result: UnsafeCell::new(None),
                done: AtomicBool::new(false),
            },
            GFP_KERNEL,
        )?;
        let data = Arc::as_ptr(&job).cast_mut().cast();
        let cpu = cpu.unwrap_or(c_uint::MAX);
        // SAFETY: `data` lives until the thread has ended, see `drop`.
        let task = unsafe { ffi::coop_test_thread(entry::<F, R>, data, cpu) };
        let task = kernel::error::from_err_ptr(task)?;
        Ok(Worker {
            task,
            job: job.clone(),
            _data: job,
        })
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(&self) {
        // SAFETY: We have a reference.
        unsafe { ffi::coop_test_kill(self.task) }
    }

    /// Whether the closure has returned.
    pub(crate) fn is_done(&self) -> bool {
        self.job.is_done()
    }

    /// Waits until the thread sleeps in the middle of the closure; `false` if it does not.
    pub(crate) fn sleeps(&self) -> bool {
        let mut times = 0;
        eventually(LONG, || {
            // SAFETY: We have a reference.
            let sleeps = unsafe { ffi::coop_test_sleeps(self.task) } && !self.is_done();
            times = if sleeps { times + 1 } else { 0 };
            // Not only between being created and running.
            times >= 5
        })
    }

    /// Whether the thread has died, though its closure may not have returned.
    pub(crate) fn is_dead(&self) -> bool {
        // SAFETY: We have a reference.
        unsafe { ffi::coop_test_is_dead(self.task) }
    }

    /// Whether the thread dies soon, without the closure having returned.
    pub(crate) fn dies(&self) -> bool {
        eventually(LONG, || self.is_dead()) && !self.is_done()
    }

    /// The closure's value; `None` if it does not return within `ms` milliseconds.
    pub(crate) fn join(self, ms: u32) -> Option<R> {
        eventually(ms, || self.is_done());
        self.job.take()
    }
}

impl<R: Send + 'static> Drop for Worker<R> {
    fn drop(&mut self) {
        if !self.is_done() && !self.is_dead() {
            self.kill();
            // `kthread_stop` keeps a thread from calling its function at all if it has not begun.
            eventually(LONG, || self.is_done());
        }
        // SAFETY: The reference is given back once.
        unsafe { ffi::coop_test_thread_end(self.task) }
    }
}

/// An interrupt line without a device.
pub(crate) struct TestIrq(u32);

impl TestIrq {
    /// There is one at a time.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: Tests run one at a time, and each drops its line.
        let irq = unsafe { ffi::coop_test_irq_create() };
        if irq < 0 {
            return Err(Error::from_errno(irq));
        }
        Ok(TestIrq(irq as u32))
    }

    /// Its number.
    pub(crate) fn number(&self) -> u32 {
        self.0
    }

    /// Interrupts `cpu`; `false` if the last interrupt has not arrived yet.
    pub(crate) fn raise(cpu: u32) -> bool {
        // SAFETY: No precondition but an existing CPU.
        unsafe { ffi::coop_test_irq_raise(cpu) }
    }

    /// Waits until all have arrived.
    pub(crate) fn sync() {
        // SAFETY: The callers may sleep.
        unsafe { ffi::coop_test_irq_sync() }
    }
}

impl Drop for TestIrq {
    fn drop(&mut self) {
        // SAFETY: Created in `new`; users drop their `IrqLine` first.
        unsafe { ffi::coop_test_irq_destroy() }
    }
}

/// Tells `coop_cycle.ko` where to lodge; null: nowhere.
pub(crate) fn set_lodge(lodge: *mut c_void) {
    // SAFETY: Stores a pointer.
    unsafe { ffi::coop_test_set_lodge(lodge) }
}

/// Memory that is not in use.
pub(crate) fn available_kib() -> u32 {
    // SAFETY: Reads counters.
    unsafe { ffi::coop_test_available_kib() }
}
