// SPDX-License-Identifier: GPL-2.0

//! Which threads run a domain at the moment, and word of their death.
//!
//! A runner has a mark, on its stack or, for a home thread, for good. It hangs in the thread's list
//! of preemption notifiers, which the kernel keeps for purposes like this: one load tells whether
//! a thread runs a domain, without a table or a lock. (The notifiers do nothing, and are called
//! only while somebody else, such as KVM, has notifiers switched on.)
//!
//! C header: [`include/linux/preempt.h`](srctree/include/linux/preempt.h).

use super::exit::ExitWork;
use super::{ffi, percpu};
use core::marker::PhantomPinned;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use kernel::bindings::{self, hlist_node, preempt_notifier, preempt_ops, task_struct};
use kernel::ffi::c_int;
use kernel::prelude::*;

/// Tells marks from the notifiers of others.
static OPS: SyncOps = SyncOps(preempt_ops {
    sched_in: Some(sched_in),
    sched_out: Some(sched_out),
});

struct SyncOps(preempt_ops);

// SAFETY: Never written.
unsafe impl Sync for SyncOps {}

/// # Safety
///
/// None: does nothing.
unsafe extern "C" fn sched_in(_notifier: *mut preempt_notifier, _cpu: c_int) {}

/// # Safety
///
/// None: does nothing.
unsafe extern "C" fn sched_out(_notifier: *mut preempt_notifier, _next: *mut task_struct) {}

/// Says that a thread runs a domain, from [`set`](Self::set) to [`clear`](Self::clear).
#[repr(C)]
pub struct Mark {
    notifier: MaybeUninit<preempt_notifier>,
    /// What the thread does if it dies.
    work: *const ExitWork,
    _pin: PhantomPinned,
}

impl Mark {
    /// A mark that is not set.
    #[inline]
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Mark {
            notifier: MaybeUninit::uninit(),
            work: ptr::null(),
            _pin: PhantomPinned,
        }
    }

    /// Marks the current thread, `me`. Task context.
    ///
    /// # Safety
    ///
    /// `self` does not move, and `work` stays, until the mark is cleared or the thread has died.
    #[inline]
    pub unsafe fn set(&mut self, me: *mut task_struct, work: NonNull<ExitWork>) {
        self.work = work.as_ptr();
        // SAFETY: The current thread is valid, and only the thread itself changes its list: as
        // `hlist_add_head`, in an order that suits a preemption in the middle.
        unsafe {
            let first = &raw mut (*me).preempt_notifiers.first;
            let notifier = self.notifier.as_mut_ptr();
            let link = &raw mut (*notifier).link;
            (*notifier).ops = (&raw const OPS.0).cast_mut();
            (*link).next = *first;
            (*link).pprev = first;
            if let Some(next) = NonNull::new(*first) {
                (*next.as_ptr()).pprev = &raw mut (*link).next;
            }
            first.write_volatile(link);
        }
    }

    /// Takes the mark away.
    ///
    /// # Safety
    ///
    /// It is set, on the current thread.
    #[inline]
    pub unsafe fn clear(&mut self) {
        // SAFETY: The mark is in the list of the current thread: as `hlist_del`.
        unsafe {
            let link: hlist_node = (*self.notifier.as_ptr()).link;
            link.pprev.write_volatile(link.next);
            if let Some(next) = NonNull::new(link.next) {
                (*next.as_ptr()).pprev = link.pprev;
            }
        }
    }
}

/// The first mark of thread `task`.
///
/// # Safety
///
/// `task` is the current thread.
#[cold]
unsafe fn find(task: *mut task_struct) -> Option<NonNull<Mark>> {
    // SAFETY: The current thread is valid, and only the thread itself changes its list.
    unsafe {
        let mut link = (*task).preempt_notifiers.first;
        while let Some(node) = NonNull::new(link) {
            // `link` is the first field of a notifier, and that of a mark.
            let notifier = node.cast::<preempt_notifier>();
            if ptr::eq((*notifier.as_ptr()).ops, &raw const OPS.0) {
                return Some(notifier.cast());
            }
            link = (*node.as_ptr()).next;
        }
    }
    None
}

/// Whether the caller may wait for a domain; the current thread if so.
///
/// `EWOULDBLOCK` where sleeping is not allowed, `EDEADLK` inside a coroutine, of whatever domain
/// and whoever runs it. Any context; about 12 instructions on x86-64.
#[inline]
pub fn may_wait() -> Result<*mut task_struct> {
    let me = percpu::sleepable_task();
    if me.is_null() {
        return Err(EAGAIN);
    }
    // SAFETY: The current thread is valid.
    if !unsafe { (*me).preempt_notifiers.first }.is_null() {
        return marked(me);
    }
    Ok(me)
}

// Never inlined: the address of `OPS` is that of this crate.
#[inline(never)]
#[cold]
fn marked(me: *mut task_struct) -> Result<*mut task_struct> {
    // SAFETY: `may_wait` passes the current thread.
    match unsafe { find(me) } {
        Some(_) => Err(EDEADLK),
        None => Ok(me),
    }
}

/// The current thread is about to die of an oops, with its stack: takes its marks away, and has it
/// do what they say on its way out.
///
/// # Safety
///
/// Called by `helpers.c` from the die notifier, in task context, with the current thread.
#[no_mangle]
unsafe extern "C" fn coop_runner_dies(task: *mut task_struct) {
    // SAFETY: The marks are valid, on the stack of this thread or elsewhere, until cleared.
    unsafe {
        while let Some(mark) = find(task) {
            let mark = &mut *mark.as_ptr();
            mark.clear();
            (*mark.work).add(task);
        }
    }
}

/// Hears of the death of threads until dropped.
pub struct DieNotifier(());

impl DieNotifier {
    /// Registers. Task context.
    pub fn new() -> Result<Self> {
        // SAFETY: Called by the module's initialiser; dropped before the module goes.
        kernel::error::to_result(unsafe { ffi::coop_die_register() })?;
        Ok(DieNotifier(()))
    }
}

impl Drop for DieNotifier {
    fn drop(&mut self) {
        // SAFETY: Registered by `new`.
        unsafe { ffi::coop_die_unregister() };
        // A thread that died here may still be on its way out, in this module's code.
        if super::exit::any() {
            // SAFETY: The module's exit may sleep.
            unsafe { bindings::synchronize_rcu_tasks() };
        }
    }
}
