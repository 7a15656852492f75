// SPDX-License-Identifier: GPL-2.0

//! Which threads run a domain at the moment, and word of their death.
//!
//! A runner has the mark of its domain. It hangs in the thread's list of preemption notifiers, which the kernel keeps for purposes like this: one load tells whether
//! a thread runs a domain, without a table or a lock. (The notifiers do nothing, and are called
//! only while somebody else, such as KVM, has notifiers switched on.)
//!
//! C header: [`include/linux/preempt.h`](srctree/include/linux/preempt.h).

use super::exit::ExitWork;
use super::{ffi, percpu};
use core::cell::{Cell, UnsafeCell};
use core::marker::PhantomPinned;
use core::ptr::{self, NonNull};
use kernel::bindings::{self, hlist_node, preempt_notifier, preempt_ops, task_struct};
use kernel::ffi::c_int;
use kernel::prelude::*;
use kernel::sync::SetOnce;

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

/// Says that a thread runs a domain, from [`set`](Self::set) to [`clear`](Self::clear). One belongs
/// to each domain, for callers, of which one runs it at a time; one to its home thread, for life.
///
/// # Invariants
///
/// While the mark is not set, its link leads to no other one.
#[repr(C)]
pub struct Mark {
    notifier: UnsafeCell<preempt_notifier>,
    /// What the thread does if it dies.
    work: Cell<*const ExitWork>,
    _pin: PhantomPinned,
}

impl Mark {
    /// A mark that is not set.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Mark {
            notifier: UnsafeCell::new(preempt_notifier {
                link: hlist_node {
                    next: ptr::null_mut(),
                    pprev: ptr::null_mut(),
                },
                ops: (&raw const OPS.0).cast_mut(),
            }),
            work: Cell::new(ptr::null()),
            _pin: PhantomPinned,
        }
    }

    /// What a marked thread does if it dies; said before the mark is set for the first time.
    pub fn set_work(&self, work: NonNull<ExitWork>) {
        self.work.set(work.as_ptr());
    }

    #[inline(always)]
    fn link(&self) -> *mut hlist_node {
        // `link` is the first field.
        self.notifier.get().cast()
    }

    /// Marks the current thread, `me`. Task context.
    ///
    /// # Safety
    ///
    /// The mark is not set, and [has its work](Self::set_work). Mark and work stay where they are
    /// until the mark is cleared or the thread has died.
    #[inline]
    pub unsafe fn set(&self, me: *mut task_struct) {
        // SAFETY: The current thread is valid, and only the thread itself changes its list: as
        // `hlist_add_head`, in an order that suits a preemption in the middle.
        unsafe {
            if let Some(next) = NonNull::new((*me).preempt_notifiers.first) {
                (*self.link()).next = next.as_ptr();
                (*next.as_ptr()).pprev = &raw mut (*self.link()).next;
            }
            self.set_first(me);
        }
    }

    /// [`set`](Self::set) for a thread without any notifier, as [`idle_task`] returns it. Two
    /// instructions.
    ///
    /// # Safety
    ///
    /// As for [`set`](Self::set), and the thread's list is empty.
    #[inline(always)]
    pub unsafe fn set_first(&self, me: *mut task_struct) {
        // The back link of the first node is read only after another one has come before it, which
        // sets it (`hlist_add_head`), or by `clear`, which needs it only then.
        // SAFETY: As in `set`; by the type's invariant nothing follows.
        unsafe { (&raw mut (*me).preempt_notifiers.first).write_volatile(self.link()) };
    }

    /// [`clear`](Self::clear) after [`set_first`](Self::set_first).
    ///
    /// # Safety
    ///
    /// As for [`clear`](Self::clear), and it was set by [`set_first`](Self::set_first).
    #[inline(always)]
    pub unsafe fn clear_first(&self, me: *mut task_struct) {
        // SAFETY: The current thread is valid, and only the thread itself changes its list. What
        // came before us, if anything is still there, has set our back link; nothing follows.
        unsafe {
            let first = &raw mut (*me).preempt_notifiers.first;
            if *first == self.link() {
                first.write_volatile(ptr::null_mut());
            } else {
                self.clear_among_others(first);
            }
        }
    }

    /// Takes the mark away from the current thread, `me`.
    ///
    /// # Safety
    ///
    /// It is set, on this thread.
    #[inline(always)]
    pub unsafe fn clear(&self, me: *mut task_struct) {
        // SAFETY: The current thread is valid, and only the thread itself changes its list.
        unsafe {
            let first = &raw mut (*me).preempt_notifiers.first;
            if *first == self.link() && (*self.link()).next.is_null() {
                first.write_volatile(ptr::null_mut());
            } else {
                self.clear_among_others(first);
            }
        }
    }

    /// # Safety
    ///
    /// As for [`clear`](Self::clear); `first` is the head of the thread's list.
    #[cold]
    #[inline(never)]
    unsafe fn clear_among_others(&self, first: *mut *mut hlist_node) {
        let link = self.link();
        // SAFETY: The mark is in the list of the current thread: as `hlist_del`. Where it is not
        // the first, somebody has set the back link.
        unsafe {
            let before = if *first == link { first } else { (*link).pprev };
            let next = (*link).next;
            before.write_volatile(next);
            if let Some(next) = NonNull::new(next) {
                (*next.as_ptr()).pprev = before;
            }
            (*link).next = ptr::null_mut();
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

/// [`may_wait`] for threads that have no notifier at all, as hardly any has; null for others, where
/// `may_wait` fails, and if `barred` is not 0. Any context; 9 instructions on x86-64.
#[inline(always)]
pub fn idle_task(barred: usize) -> *mut task_struct {
    percpu::idle_task(barred)
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
            let mark = mark.as_ref();
            mark.clear(task);
            (*mark.work.get()).add(task);
        }
    }
}

/// What finds those who run a `Bh` domain, and have no mark.
static BH_RUNNER_DIES: SetOnce<fn(*mut task_struct) -> bool> = SetOnce::new();

/// The current thread, which has bottom halves off, is about to die: whether that is for a domain
/// that it runs, and which has been told.
///
/// # Safety
///
/// Called by `helpers.c` from the die notifier, in task context, with the current thread.
#[no_mangle]
unsafe extern "C" fn coop_bh_runner_dies(task: *mut task_struct) -> bool {
    BH_RUNNER_DIES.copy().is_some_and(|dies| dies(task))
}

/// Hears of the death of threads until dropped.
pub struct DieNotifier(());

impl DieNotifier {
    /// Registers. Task context.
    ///
    /// `bh_runner_dies` has the domain that the current thread, its argument, runs with bottom
    /// halves off [hear of its death](super::exit::ExitHook::add_to); whether there is one. It must
    /// not sleep.
    pub fn new(bh_runner_dies: fn(*mut task_struct) -> bool) -> Result<Self> {
        BH_RUNNER_DIES.populate(bh_runner_dies);
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
            // As in C: a kernel without tracing has nothing else.
            #[cfg(not(CONFIG_TASKS_RCU))]
            use bindings::synchronize_rcu as synchronize_rcu_tasks;
            #[cfg(CONFIG_TASKS_RCU)]
            use bindings::synchronize_rcu_tasks;
            // SAFETY: The module's exit may sleep.
            unsafe { synchronize_rcu_tasks() };
        }
    }
}
