// SPDX-License-Identifier: GPL-2.0

//! Word of a thread's end, also of one that a panic kills: work that it does while it exits.
//!
//! C header: [`include/linux/task_work.h`](srctree/include/linux/task_work.h).

use core::marker::PhantomData;
use kernel::bindings;
use kernel::prelude::*;
use kernel::types::Opaque;

/// Implemented by who wants to know.
pub trait OnExit {
    /// Called once by the thread that armed the hook, while it exits. Task context, may sleep.
    fn on_exit(&self);
}

/// A hook into the exit of one thread.
#[pin_data]
#[repr(C)]
pub struct ExitHook<T> {
    #[pin]
    work: Opaque<bindings::callback_head>,
    target: core::sync::atomic::AtomicPtr<T>,
    _target: PhantomData<fn(&T)>,
}

impl<T: OnExit> ExitHook<T> {
    /// A hook that is not armed.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            work <- Opaque::ffi_init(|work: *mut bindings::callback_head| {
                // SAFETY: `work` is valid for writes.
                unsafe {
                    work.write(bindings::callback_head {
                        next: core::ptr::null_mut(),
                        func: Some(Self::call),
                    })
                }
            }),
            target: core::sync::atomic::AtomicPtr::new(core::ptr::null_mut()),
            _target: PhantomData,
        })
    }

    /// Has `target.on_exit()` called when the current thread exits.
    ///
    /// Only a kernel thread that `target` outlives, and that arms the hook once, may do so.
    pub(crate) fn arm(&self, target: &T) {
        self.target.store(
            core::ptr::from_ref(target).cast_mut(),
            core::sync::atomic::Ordering::Relaxed,
        );
        // SAFETY: The current thread is not exiting. `work` is pinned, and is used until the thread
        // has exited, which `target`, around this object, outlives.
        unsafe {
            bindings::task_work_add(
                bindings::get_current(),
                self.work.get(),
                bindings::task_work_notify_mode_TWA_NONE,
            )
        };
    }

    /// # Safety
    ///
    /// Called by the exiting thread with the `work` of a hook that was armed.
    unsafe extern "C" fn call(work: *mut bindings::callback_head) {
        // SAFETY: `work` is the first field of the hook.
        let hook = unsafe { &*work.cast::<Self>() };
        let target = hook.target.load(core::sync::atomic::Ordering::Relaxed);
        // SAFETY: `arm` stored a reference that outlives the thread.
        unsafe { &*target }.on_exit();
    }
}
