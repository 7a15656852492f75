// SPDX-License-Identifier: GPL-2.0

//! Errands: what someone outside a domain has its runner do, as the destructor of a future that
//! waits inside.

use crate::executor::Executor;
use crate::sys::context::Context as Where;
use core::cell::Cell;
use core::ptr;
use core::sync::atomic::Ordering::*;
use kernel::prelude::*;
use kernel::sync::Completion;

/// Errands that were not run yet.
pub(crate) struct Errands {
    first: *const Errand,
    /// The domain has ended: nobody runs it any more.
    over: bool,
}

impl Errands {
    pub(crate) const fn new() -> Self {
        Errands {
            first: ptr::null(),
            over: false,
        }
    }
}

/// What is to be done.
struct Work(*mut (dyn FnMut() + 'static));

/// An errand, on the stack of the one who waits for it.
#[pin_data]
struct Errand {
    next: Cell<*const Errand>,
    work: Work,
    #[pin]
    done: Completion,
}

/// Runs all errands from `first` on.
///
/// # Safety
///
/// They are the caller's; who waits for them keeps them until they are completed.
unsafe fn run_all(first: *const Errand) {
    let mut next = first;
    // SAFETY: Per the function's contract.
    while let Some(errand) = unsafe { next.as_ref() } {
        next = errand.next.get();
        // SAFETY: As above; who waits for it does not touch it.
        unsafe { (*errand.work.0)() };
        errand.done.complete_all();
    }
}

impl Executor {
    /// Has `work` done by the runner, and waits for that; after the end of the domain does it here,
    /// one at a time. Task context, sleeps; not from inside.
    ///
    /// `work` must not sleep. `EWOULDBLOCK` where sleeping is not allowed.
    pub(crate) fn errand(&self, work: &mut dyn FnMut()) -> Result {
        Where::require_sleepable()?;
        let work: *mut (dyn FnMut() + '_) = work;
        // SAFETY: Types that differ in a lifetime only, which is that of this call, and it waits.
        let work: *mut (dyn FnMut() + 'static) = unsafe { core::mem::transmute(work) };
        pin_init::stack_pin_init!(let errand = pin_init!(Errand {
            next: Cell::new(ptr::null()),
            work: Work(work),
            done <- Completion::new(),
        }));
        {
            let mut errands = self.errands.lock();
            if errands.over {
                // SAFETY: The caller's. Nobody is the runner any more, and the lock is held.
                unsafe { (*work)() };
                return Ok(());
            }
            errand.next.set(errands.first);
            errands.first = ptr::from_ref(&*errand);
        }
        self.wanted.store(true, Release);
        self.wake_home();
        errand.done.wait_for_completion();
        Ok(())
    }

    /// Runs the errands there are. Runner only.
    pub(crate) fn run_errands(&self) {
        let first = core::mem::replace(&mut self.errands.lock().first, ptr::null());
        // SAFETY: Taken out of the list.
        unsafe { run_all(first) };
    }

    /// Runs the last errands. Runner only, as the last thing it does.
    pub(crate) fn end_errands(&self) {
        let mut errands = self.errands.lock();
        errands.over = true;
        let first = core::mem::replace(&mut errands.first, ptr::null());
        // SAFETY: Taken out of the list. With the lock held: from now on others do theirs.
        unsafe { run_all(first) };
    }
}
