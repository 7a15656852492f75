// SPDX-License-Identifier: GPL-2.0

//! Being called at each timer tick of a CPU that is awake.
//!
//! C header: [`include/linux/timer.h`](srctree/include/linux/timer.h).

use super::ffi;
use super::thread::Thread;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering::*};
use kernel::bindings;
use kernel::prelude::*;
use kernel::types::Opaque;

/// Implemented by who wants to be called.
pub trait OnTick: Send + Sync + 'static {
    /// A tick. In a softirq on top of what the tick has interrupted (on PREEMPT_RT: in a thread of
    /// its own).
    fn on_tick(&self);
}

/// A deferrable timer: it is called while the CPU is busy, and never wakes it.
///
/// # Invariants
///
/// `target` is null, or contains this timer.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub struct Tick<T: OnTick> {
    #[pin]
    timer: Opaque<bindings::timer_list>,
    target: AtomicPtr<T>,
    /// Started, and not stopped since.
    live: AtomicBool,
}

// SAFETY: A timer may be used from anywhere, and so may the target.
unsafe impl<T: OnTick> Send for Tick<T> {}
// SAFETY: As above; it has a lock of its own.
unsafe impl<T: OnTick> Sync for Tick<T> {}

impl<T: OnTick> Tick<T> {
    /// A timer that is not started.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            timer <- Opaque::ffi_init(|timer| {
                // SAFETY: `timer` is valid for writes, and pinned.
                unsafe { ffi::coop_tick_init(timer, Self::call) }
            }),
            target: AtomicPtr::new(ptr::null_mut()),
            live: AtomicBool::new(false),
        })
    }

    /// Sets who is called, before first use.
    ///
    /// # Safety
    ///
    /// `target` contains this timer.
    pub unsafe fn set_target(&self, target: &T) {
        // INVARIANT: Per the function's contract.
        self.target.store(ptr::from_ref(target).cast_mut(), Release);
    }

    /// Has the target called at the next tick of the CPU that `thread` is on, once. Any context but
    /// NMI. Nothing happens after [`stop`](Self::stop).
    ///
    /// # Safety
    ///
    /// It is not started: it was called since, or never started.
    pub unsafe fn start(&self, thread: &Thread) {
        self.live.store(true, Relaxed);
        // SAFETY: Initialised by `new`; the thread is valid; not pending, per the contract.
        unsafe { ffi::coop_tick_start(self.timer.get(), thread.as_ptr()) };
    }

    /// Stops it for good, and waits for the end of the call. Task context, not in the call.
    pub fn stop(&self) {
        self.live.store(false, Relaxed);
        // SAFETY: Initialised by `new`.
        unsafe { ffi::coop_tick_stop(self.timer.get()) };
    }

    /// # Safety
    ///
    /// Called by the kernel with the timer of a `Self`.
    unsafe extern "C" fn call(timer: *mut bindings::timer_list) {
        // SAFETY: It is the first field. The value stays until `stop` in its destructor, at least.
        let this = unsafe { &*timer.cast::<Self>() };
        // SAFETY: By the invariant the target contains the timer, so it is there.
        if let Some(target) = unsafe { this.target.load(Acquire).as_ref() } {
            target.on_tick();
        }
    }
}

#[pinned_drop]
impl<T: OnTick> PinnedDrop for Tick<T> {
    /// Any context, if it was [stopped](Self::stop), or never started.
    fn drop(self: Pin<&mut Self>) {
        if self.live.load(Relaxed) {
            self.stop();
        }
    }
}
