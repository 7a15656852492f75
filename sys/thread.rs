// SPDX-License-Identifier: GPL-2.0

//! Kernel threads: creation, parking, waking, stopping.
//!
//! C headers: [`include/linux/kthread.h`](srctree/include/linux/kthread.h),
//! [`include/linux/sched.h`](srctree/include/linux/sched.h).

use super::ffi;
use core::ptr::NonNull;
#[cfg(not(CONFIG_DEBUG_ATOMIC_SLEEP))]
use core::sync::atomic::fence;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering::*};
use kernel::bindings;
use kernel::ffi::{c_int, c_void};
use kernel::prelude::*;
use kernel::sync::Arc;

/// One reference more: `get_task_struct()`.
///
/// # Safety
///
/// `task` is a valid thread.
#[inline]
unsafe fn get(task: *mut bindings::task_struct) {
    #[cfg(CONFIG_X86_64)]
    {
        // SAFETY: The thread is valid, and its count only changed by atomic instructions.
        let usage = unsafe { AtomicI32::from_ptr(&raw mut (*task).usage.refs.counter) };
        // As `refcount_inc()`, whose slow path warns, and saturates.
        if usage.fetch_add(1, Relaxed) > 0 {
            return;
        }
        usage.fetch_sub(1, Relaxed);
    }
    // SAFETY: Per the function's contract.
    unsafe { ffi::coop_get_task(task) };
}

/// One reference less: `put_task_struct()`.
///
/// # Safety
///
/// `task` is a valid thread, and the reference the caller's.
#[inline]
unsafe fn put(task: *mut bindings::task_struct) {
    #[cfg(CONFIG_X86_64)]
    {
        // SAFETY: The thread is valid, and its count only changed by atomic instructions.
        let usage = unsafe { AtomicI32::from_ptr(&raw mut (*task).usage.refs.counter) };
        // If it is not the last, and not saturated; else as `refcount_dec_and_test()`.
        let now = usage.load(Relaxed);
        if now > 1
            && usage
                .compare_exchange(now, now.wrapping_sub(1), Release, Relaxed)
                .is_ok()
        {
            return;
        }
    }
    // SAFETY: Per the function's contract.
    unsafe { ffi::coop_put_task(task) };
}

/// A counted reference to a thread; whoever has one may wake it.
///
/// # Invariants
///
/// The pointer is valid, and a reference to the thread belongs to this value.
#[repr(transparent)]
pub struct Thread(NonNull<bindings::task_struct>);

// SAFETY: A reference to a thread may be used and dropped anywhere.
unsafe impl Send for Thread {}
// SAFETY: As above.
unsafe impl Sync for Thread {}

impl Thread {
    /// A reference to `task`.
    ///
    /// # Safety
    ///
    /// `task` is a valid thread, as the current one is.
    #[inline]
    pub unsafe fn of(task: *mut bindings::task_struct) -> Self {
        // SAFETY: Per the function's contract, which also says that it is not null.
        unsafe {
            get(task);
            // INVARIANT: The reference was just taken.
            Thread(NonNull::new_unchecked(task))
        }
    }

    /// Makes the thread runnable. Any context but NMI; about 90 instructions if it runs already.
    ///
    /// A full barrier, before the thread's state is looked at.
    #[inline]
    pub fn wake(&self) {
        // SAFETY: By the invariant the thread is valid.
        unsafe { bindings::wake_up_process(self.0.as_ptr()) };
    }

    /// Lets the thread, which was just woken, run on this CPU, if that is where it is; whether it
    /// is worth a look what it has done. The caller stays runnable, which saves it a sleep and a
    /// wake-up. Task context; for callers that were [alone](super::context::is_alone_on_cpu).
    ///
    /// `false` for real-time callers, who would not make way.
    #[inline]
    pub fn yield_to(&self) -> bool {
        // SAFETY: By the invariant the thread is valid.
        unsafe { ffi::coop_yield_to(self.0.as_ptr()) }
    }

    /// Whether it is a real-time or deadline thread, or has inherited the priority of one.
    pub fn is_urgent(&self) -> bool {
        // SAFETY: By the invariant the thread is valid; an aligned word, which others change.
        let prio = unsafe { (&raw const (*self.0.as_ptr()).prio).read_volatile() };
        prio < bindings::MAX_RT_PRIO as i32
    }

    /// The thread's identity.
    #[inline]
    pub fn as_ptr(&self) -> *mut bindings::task_struct {
        self.0.as_ptr()
    }

    /// The reference as a pointer, to be turned back with [`Thread::from_raw`].
    #[inline]
    pub fn into_raw(self) -> NonNull<bindings::task_struct> {
        core::mem::ManuallyDrop::new(self).0
    }

    /// # Safety
    ///
    /// `raw` comes from [`Thread::into_raw`], and is used once only.
    #[inline]
    pub unsafe fn from_raw(raw: NonNull<bindings::task_struct>) -> Self {
        // INVARIANT: The reference that `into_raw` gave away.
        Thread(raw)
    }
}

impl Clone for Thread {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: By the invariant the thread is valid.
        unsafe { get(self.0.as_ptr()) };
        // INVARIANT: The reference was just taken.
        Thread(self.0)
    }
}

impl Drop for Thread {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the invariant the reference is ours.
        unsafe { put(self.0.as_ptr()) };
    }
}

/// How a home thread is scheduled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// The normal policy, `nice` from -20 to 19.
    Normal {
        /// Nice level.
        nice: i32,
    },
    /// Real-time, first in first out, at the middle priority that the kernel gives its drivers.
    Fifo,
}

/// What a kernel thread does.
pub trait Body: Send + Sync + 'static {
    /// The thread's function; whoever drops the [`Kthread`] has it return before.
    fn run(&self);
}

/// The function of every thread created here.
///
/// # Safety
///
/// `data` is a valid `B` until the thread has ended.
unsafe extern "C" fn entry<B: Body>(data: *mut c_void) -> c_int {
    // SAFETY: Per the function's contract.
    unsafe { &*data.cast::<B>() }.run();
    0
}

/// A kernel thread of this module; dropping it tells it to stop and waits until it has.
///
/// # Invariants
///
/// The thread was made for `data`, and was not stopped yet.
pub struct Kthread<B: Body> {
    thread: Thread,
    _data: Arc<B>,
}

impl<B: Body> Kthread<B> {
    /// Creates a thread `coop/<name>`; it does not run before [`Kthread::start`].
    ///
    /// Task context, sleeps. `ENOMEM`, `EINTR`.
    pub fn create(name: &CStr, data: Arc<B>) -> Result<Self> {
        let arg = Arc::as_ptr(&data).cast_mut().cast();
        // SAFETY: `arg` is valid until this object, and so the thread, is gone; `name` is copied.
        let raw = unsafe { ffi::coop_kthread_create(entry::<B>, arg, name.as_char_ptr()) };
        let raw = NonNull::new(kernel::error::from_err_ptr(raw)?).ok_or(ENOMEM)?;
        // SAFETY: A thread that was not started yet cannot go away.
        unsafe { ffi::coop_get_task(raw.as_ptr()) };
        // INVARIANT: Created above; the reference just taken belongs to `Thread`.
        Ok(Kthread {
            thread: Thread(raw),
            _data: data,
        })
    }

    /// The thread.
    pub fn thread(&self) -> &Thread {
        &self.thread
    }

    /// Binds the thread to one CPU, before it starts. `EINVAL` if there is no such CPU online.
    pub fn bind(&self, cpu: u32) -> Result {
        // SAFETY: The thread is valid.
        kernel::error::to_result(unsafe { ffi::coop_set_cpu(self.thread.as_ptr(), cpu) })
    }

    /// Sets the scheduling policy.
    pub fn set_policy(&self, policy: Policy) {
        let task = self.thread.as_ptr();
        match policy {
            // SAFETY: The thread is valid.
            Policy::Normal { nice } => unsafe { bindings::sched_set_normal(task, nice) },
            // SAFETY: The thread is valid.
            Policy::Fifo => unsafe { bindings::sched_set_fifo(task) },
        }
    }

    /// Gives the thread `budget` nanoseconds of CPU time in each `period`, before all threads that
    /// are not scheduled by deadline, and no more. Instead of a policy.
    ///
    /// `EINVAL`: a budget below 1 024 ns or above the period, a period that the kernel does not
    /// allow (100 µs to 4 s, unless configured otherwise); `EBUSY`: too much is promised already.
    pub fn set_share(&self, budget: u64, period: u64) -> Result {
        let task = self.thread.as_ptr();
        // SAFETY: The thread is valid.
        kernel::error::to_result(unsafe { ffi::coop_set_share(task, budget, period) })
    }

    /// Lets the thread run.
    pub fn start(&self) {
        self.thread.wake();
    }
}

impl<B: Body> Drop for Kthread<B> {
    /// Task context, sleeps. A thread that had no time to start never calls [`Body::run`].
    fn drop(&mut self) {
        // SAFETY: By the invariant the thread was not stopped; our reference keeps it valid even
        // if it has ended by itself.
        unsafe { bindings::kthread_stop(self.thread.as_ptr()) };
    }
}

/// Sets the state of the current thread; a full barrier follows, as `set_current_state()` has it.
///
/// Written out, because from Rust it is the call of a helper; but not where the kernel wants to
/// know who set the state.
#[inline]
fn set_state(state: u32) {
    // Its address does not change, and nobody else writes it while the thread runs.
    let task = super::percpu::this_task();
    #[cfg(not(CONFIG_DEBUG_ATOMIC_SLEEP))]
    {
        // SAFETY: The current thread is valid, and its state is written by one instruction.
        let word = unsafe { AtomicU32::from_ptr(&raw mut (*task).__state) };
        // The full barrier pairs with the one at the start of `wake_up_process()`. On x86 an
        // exchange is one, and cheaper than `mfence`; elsewhere an exchange is none.
        if cfg!(CONFIG_X86_64) {
            word.swap(state, SeqCst);
        } else {
            word.store(state, Relaxed);
            fence(SeqCst);
        }
    }
    #[cfg(CONFIG_DEBUG_ATOMIC_SLEEP)]
    // SAFETY: Changes the state of the current thread only.
    unsafe {
        let _ = task;
        ffi::coop_set_state(state);
    }
}

/// Sets the state of the current thread, which is awake, back.
#[inline]
fn set_running() {
    let task = super::percpu::this_task();
    // SAFETY: The current thread is valid, and its state is written by one instruction. No barrier:
    // `__set_current_state()` has none either.
    unsafe { AtomicU32::from_ptr(&raw mut (*task).__state) }.store(bindings::TASK_RUNNING, Relaxed);
}

/// Whether the current thread is being killed.
#[inline]
fn is_killed() -> bool {
    let task = super::percpu::this_task();
    // SAFETY: The current thread is valid; its flags are read by one instruction.
    let flags = unsafe { (&raw const (*task).thread_info.flags).read_volatile() };
    // SAFETY: Looks at the current thread only.
    flags & (1 << bindings::TIF_SIGPENDING) != 0 && unsafe { ffi::coop_fatal_signal_pending() }
}

/// Sleeps, uninterruptibly and without counting as load, until woken, unless `ready()`.
///
/// `ready` is asked after the thread's state is set, with a full barrier in between.
#[inline]
pub fn park_unless(ready: impl FnOnce() -> bool) {
    set_state(bindings::TASK_IDLE);
    if ready() {
        return set_running();
    }
    // SAFETY: The callers are in task context and may sleep.
    unsafe { bindings::schedule() };
    // Awake, so with the state set back.
}

/// Sleeps until the next timer tick. Task context.
pub fn sleep_a_tick() {
    // SAFETY: The callers are in task context and may sleep.
    unsafe { bindings::schedule_timeout_uninterruptible(1) };
}

/// What ends a wait besides that which is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    /// A fatal signal.
    Killable,
    /// A fatal signal, or so many jiffies.
    Timeout(isize),
    /// Nothing.
    Endless,
}

/// Sleeps until `ready()`; `EINTR` or `ETIMEDOUT` if the patience ends first.
///
/// Task context. `ready` is asked after the thread's state is set, with a full barrier in between,
/// so that a waker that makes it true and then wakes this thread is never missed; and first, when
/// the thread was woken, without. It must not sleep.
#[inline]
pub fn wait_until(patience: Patience, mut ready: impl FnMut() -> bool) -> Result {
    let killable = patience != Patience::Endless;
    let (state, mut left) = match patience {
        Patience::Endless => (bindings::TASK_UNINTERRUPTIBLE, isize::MAX),
        Patience::Killable => (bindings::TASK_KILLABLE, isize::MAX),
        Patience::Timeout(jiffies) => (bindings::TASK_KILLABLE, jiffies),
    };
    let end = loop {
        set_state(state);
        if ready() {
            break Ok(());
        }
        if killable && is_killed() {
            break Err(EINTR);
        }
        if left <= 0 {
            break Err(ETIMEDOUT);
        }
        if left == isize::MAX {
            // SAFETY: The callers are in task context and may sleep.
            unsafe { bindings::schedule() };
        } else {
            // SAFETY: As above.
            left = unsafe { bindings::schedule_timeout(left) };
        }
        // Awake, so with the state set back.
        if ready() {
            return Ok(());
        }
    };
    set_running();
    end
}
