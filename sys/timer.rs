// SPDX-License-Identifier: GPL-2.0

//! The kernel's `hrtimer` and `timerqueue`, and a lock that any context may take.
//!
//! C headers: [`include/linux/hrtimer.h`](srctree/include/linux/hrtimer.h),
//! [`include/linux/timerqueue.h`](srctree/include/linux/timerqueue.h).

use super::ffi;
use core::cell::UnsafeCell;
use core::marker::{PhantomData, PhantomPinned};
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering::*};
use kernel::bindings;
use kernel::prelude::*;
use kernel::time::{Instant, Monotonic};
use kernel::types::Opaque;

/// Absolute; on the CPU that starts it, which is awake; in hard interrupt context on PREEMPT_RT, too:
/// the callback is short.
const MODE: bindings::hrtimer_mode = bindings::hrtimer_mode_HRTIMER_MODE_ABS_PINNED_HARD;

/// Implemented by who wants to know.
pub trait OnTimer: Send + Sync + 'static {
    /// The time has come. Hard interrupt context.
    fn on_timer(&self);
}

/// A high-resolution timer on the monotonic clock.
///
/// # Invariants
///
/// `target` is null, or contains this timer.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub struct HrTimer<T: OnTimer> {
    #[pin]
    timer: Opaque<bindings::hrtimer>,
    target: AtomicPtr<T>,
}

// SAFETY: An `hrtimer` may be used from anywhere, and so may the target.
unsafe impl<T: OnTimer> Send for HrTimer<T> {}
// SAFETY: As above; it has a lock of its own.
unsafe impl<T: OnTimer> Sync for HrTimer<T> {}

impl<T: OnTimer> HrTimer<T> {
    /// A timer that is not started.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            timer <- Opaque::ffi_init(|timer: *mut bindings::hrtimer| {
                // SAFETY: `timer` is valid for writes, and pinned.
                unsafe {
                    bindings::hrtimer_setup(
                        timer,
                        Some(Self::call),
                        bindings::CLOCK_MONOTONIC as bindings::clockid_t,
                        MODE,
                    )
                }
            }),
            target: AtomicPtr::new(ptr::null_mut()),
        })
    }

    /// Sets who is told, before first use.
    ///
    /// # Safety
    ///
    /// `target` contains this timer.
    pub unsafe fn set_target(&self, target: &T) {
        // INVARIANT: Per the function's contract.
        self.target.store(ptr::from_ref(target).cast_mut(), Release);
    }

    /// Has the target told at `at`, in nanoseconds of the monotonic clock, or up to `slack` later,
    /// instead of whatever was asked for before. Any context but NMI; some 200 instructions.
    ///
    /// # Safety
    ///
    /// The target was set.
    #[inline(always)]
    pub unsafe fn start(&self, at: i64, slack: u64) {
        // SAFETY: Initialised by `new`.
        unsafe { bindings::hrtimer_start_range_ns(self.timer.get(), at, slack, MODE) };
    }

    /// Stops the timer, and waits for the end of the callback. Not in the callback, nor with a lock
    /// held that it takes.
    pub fn cancel(&self) {
        // SAFETY: Initialised by `new`.
        unsafe { bindings::hrtimer_cancel(self.timer.get()) };
    }

    /// # Safety
    ///
    /// Called by the kernel with the `hrtimer` of a `Self`.
    unsafe extern "C" fn call(timer: *mut bindings::hrtimer) -> bindings::hrtimer_restart {
        // SAFETY: It is the first field. The value stays until `cancel` in its destructor, at least.
        let this = unsafe { &*timer.cast::<Self>() };
        // SAFETY: Set before the start; by the invariant it contains the timer, so it is there.
        unsafe { &*this.target.load(Acquire) }.on_timer();
        bindings::hrtimer_restart::HRTIMER_NORESTART
    }
}

#[pinned_drop]
impl<T: OnTimer> PinnedDrop for HrTimer<T> {
    fn drop(self: Pin<&mut Self>) {
        self.cancel();
    }
}

/// A place in a [`TimerQueue`].
#[repr(transparent)]
pub struct Node(
    UnsafeCell<MaybeUninit<bindings::timerqueue_node>>,
    PhantomPinned,
);

impl Node {
    /// A node in no queue, for time `at`.
    #[inline]
    pub const fn new(at: i64) -> Self {
        let mut node = MaybeUninit::<bindings::timerqueue_node>::uninit();
        // SAFETY: Ours. The links are the queue's, and written when it comes there.
        unsafe { (&raw mut (*node.as_mut_ptr()).expires).write(at) };
        Node(UnsafeCell::new(node), PhantomPinned)
    }

    /// The node's time. It never changes.
    #[inline]
    pub fn at(&self) -> i64 {
        // SAFETY: Written by nobody after `new`.
        unsafe { (&raw const (*self.raw()).expires).read() }
    }

    #[inline(always)]
    fn raw(&self) -> *mut bindings::timerqueue_node {
        self.0.get().cast()
    }
}

/// Nodes in order of their times, and of arrival if these are equal: the kernel's `timerqueue`, a
/// red-black tree that knows its first node.
///
/// # Invariants
///
/// The nodes in the queue are valid, and in no other.
pub struct TimerQueue(bindings::timerqueue_head);

// SAFETY: Only pointers, which are used with `&mut self`.
unsafe impl Send for TimerQueue {}

impl TimerQueue {
    /// An empty queue.
    pub fn new() -> Self {
        TimerQueue(bindings::timerqueue_head::default())
    }

    /// The first node.
    #[inline]
    pub fn first(&self) -> Option<NonNull<Node>> {
        // A tree node is the first field of a queue's node.
        NonNull::new(self.0.rb_root.rb_leftmost.cast())
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.rb_root.rb_leftmost.is_null()
    }

    /// The time of the first node.
    #[inline]
    pub fn first_at(&self) -> Option<i64> {
        // SAFETY: By the invariant the node is valid.
        self.first().map(|node| unsafe { node.as_ref() }.at())
    }

    /// Adds a node. Logarithmic.
    ///
    /// # Safety
    ///
    /// The node is in no queue, and stays where it is, and valid, until it was removed.
    #[inline]
    pub unsafe fn add(&mut self, node: &Node) {
        let raw = node.raw();
        // SAFETY: In no tree; this is what `timerqueue_init` does.
        // INVARIANT: Per the function's contract.
        unsafe {
            (&raw mut (*raw).node.__rb_parent_color).write(raw.addr());
            bindings::timerqueue_add(&raw mut self.0, raw);
        }
    }

    /// Takes a node out. Logarithmic.
    ///
    /// # Safety
    ///
    /// The node is in this queue.
    #[inline]
    pub unsafe fn remove(&mut self, node: &Node) {
        // SAFETY: Per the function's contract; by the invariant it is valid.
        unsafe { bindings::timerqueue_del(&raw mut self.0, node.raw()) };
    }
}

impl Default for TimerQueue {
    fn default() -> Self {
        Self::new()
    }
}

/// A value behind a raw spinlock that is taken with interrupts off, so that any context may take it
/// but NMI. To be held for a moment only.
///
/// # Invariants
///
/// The value is accessed by who holds the lock.
#[pin_data]
pub struct AnyContext<T> {
    #[pin]
    lock: Opaque<bindings::raw_spinlock_t>,
    value: UnsafeCell<T>,
}

// SAFETY: The value goes along.
unsafe impl<T: Send> Send for AnyContext<T> {}
// SAFETY: It is accessed by one thread at a time.
unsafe impl<T: Send> Sync for AnyContext<T> {}

impl<T> AnyContext<T> {
    /// A value, unlocked.
    pub fn new(value: T) -> impl PinInit<Self> {
        pin_init!(Self {
            lock <- Opaque::ffi_init(|lock| {
                // SAFETY: `lock` is valid for writes, and pinned.
                unsafe { ffi::coop_raw_lock_init(lock) }
            }),
            value: UnsafeCell::new(value),
        })
    }

    /// Takes the lock. Any context but NMI.
    #[inline]
    pub fn lock(&self) -> Locked<'_, T> {
        // SAFETY: Initialised by `new`; unlocked when the guard is dropped.
        let flags = unsafe { ffi::coop_raw_lock(self.lock.get()) };
        Locked {
            of: self,
            flags,
            _not_send: PhantomData,
        }
    }
}

/// The value of an [`AnyContext`], locked until this is dropped.
///
/// # Invariants
///
/// The lock is held.
pub struct Locked<'a, T> {
    of: &'a AnyContext<T>,
    flags: usize,
    // Belongs to this CPU.
    _not_send: PhantomData<*mut ()>,
}

impl<T> Deref for Locked<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the invariants.
        unsafe { &*self.of.value.get() }
    }
}

impl<T> DerefMut for Locked<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the invariants.
        unsafe { &mut *self.of.value.get() }
    }
}

impl<T> Drop for Locked<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the invariant; the flags are what `lock` returned.
        unsafe { ffi::coop_raw_unlock(self.of.lock.get(), self.flags) };
    }
}

/// The nanoseconds of the monotonic clock at `instant`.
#[inline]
pub fn ns_of(instant: Instant<Monotonic>) -> i64 {
    // SAFETY: A transparent wrapper of this.
    unsafe { core::mem::transmute::<Instant<Monotonic>, bindings::ktime_t>(instant) }
}

/// When the monotonic clock has come to `ns`; negative ones are 0.
#[inline]
pub fn instant_at(ns: i64) -> Instant<Monotonic> {
    // SAFETY: As above; by `max` in the range that it asks for, from 0 to the largest.
    unsafe { core::mem::transmute::<bindings::ktime_t, Instant<Monotonic>>(ns.max(0)) }
}
