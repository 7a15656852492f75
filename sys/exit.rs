// SPDX-License-Identifier: GPL-2.0

//! Work that a thread does while it dies of an oops, as of a panic: in the kernel a panic kills the
//! thread it happens on, without unwinding.
//!
//! C header: [`include/linux/task_work.h`](srctree/include/linux/task_work.h).

use core::marker::PhantomData;
use core::sync::atomic::{AtomicBool, Ordering::*};
use kernel::bindings::{self, callback_head, task_struct};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::Opaque;

/// Whether any thread did such work.
static ANY: AtomicBool = AtomicBool::new(false);

pub(super) fn any() -> bool {
    ANY.load(Acquire)
}

/// Implemented by who wants to know.
pub trait OnExit: Send + Sync + 'static {
    /// Called by the dying thread. Task context, may sleep.
    fn on_exit(&self);
}

/// The work, whatever it belongs to.
#[pin_data]
#[repr(C)]
pub struct ExitWork {
    #[pin]
    work: Opaque<callback_head>,
    /// An `Arc`, as `Arc::as_ptr` has it.
    target: core::cell::Cell<*const ()>,
    /// One reference more to the target.
    hold: unsafe fn(*const ()),
}

/// A hook into the death of a thread.
#[pin_data]
#[repr(C)]
pub struct ExitHook<T> {
    #[pin]
    work: ExitWork,
    _target: PhantomData<fn(&T)>,
}

impl<T: OnExit> ExitHook<T> {
    /// A hook without a target.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            work <- pin_init!(ExitWork {
                work <- Opaque::ffi_init(|work: *mut callback_head| {
                    // SAFETY: `work` is valid for writes.
                    unsafe {
                        work.write(callback_head {
                            next: core::ptr::null_mut(),
                            func: Some(Self::call),
                        })
                    }
                }),
                target: core::cell::Cell::new(core::ptr::null()),
                hold: Self::hold,
            }),
            _target: PhantomData,
        })
    }

    /// Has `task` do the work when it exits.
    ///
    /// # Safety
    ///
    /// `task` is the current thread, about to die; called once. The target was set, and is held.
    pub unsafe fn add_to(&self, task: *mut task_struct) {
        // SAFETY: Per the function's contract.
        unsafe { self.work.add(task) };
    }

    /// The work that is done if a runner of the domain dies.
    #[inline]
    pub fn work(&self) -> core::ptr::NonNull<ExitWork> {
        core::ptr::NonNull::from(&self.work)
    }

    /// Sets the target, around this hook, before first use.
    pub fn set_target(&self, target: &Arc<T>) {
        self.work.target.set(Arc::as_ptr(target).cast());
    }

    /// # Safety
    ///
    /// `target` is an `Arc<T>` that somebody holds.
    unsafe fn hold(target: *const ()) {
        // SAFETY: Per the function's contract; the count stays one higher.
        let arc = core::mem::ManuallyDrop::new(unsafe { Arc::from_raw(target.cast::<T>()) });
        let _ = Arc::into_raw(Arc::clone(&arc));
    }

    /// # Safety
    ///
    /// Called by the dying thread with the `work` of a hook that was [added](ExitWork::add).
    unsafe extern "C" fn call(work: *mut callback_head) {
        // SAFETY: `work` is the first field of the hook, and `add` took a reference for us.
        let target = unsafe { Arc::from_raw((*work.cast::<ExitWork>()).target.get().cast::<T>()) };
        target.on_exit();
    }
}

impl ExitWork {
    /// Has `task`, the current thread, which is about to die, do the work.
    ///
    /// # Safety
    ///
    /// Called once at a time; the target was set, and somebody holds it.
    pub(super) unsafe fn add(&self, task: *mut task_struct) {
        ANY.store(true, Release);
        // SAFETY: Per the function's contract. The work stays as long as its target, which is held.
        unsafe {
            (self.hold)(self.target.get());
            bindings::task_work_add(
                task,
                self.work.get(),
                bindings::task_work_notify_mode_TWA_NONE,
            );
        }
    }
}
