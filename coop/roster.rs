// SPDX-License-Identifier: GPL-2.0

//! The list of all coroutines of a domain, for those who look for some of them when it ends, or
//! when a module goes.
//!
//! Touched by the runner only, which enters a coroutine when it sees it for the first time.

use crate::executor::Executor;
use crate::task::Header;
use core::cell::Cell;
use core::ptr::{self, NonNull};

/// Stands for "none before" in the list; null is "not in the list".
const FIRST: *const Header = ptr::without_provenance(1);

/// Neighbours in the list; runner only.
pub(crate) struct Neighbours {
    prev: Cell<*const Header>,
    next: Cell<*const Header>,
}

impl Neighbours {
    /// Those of a coroutine that is not in the list.
    pub(crate) const fn none() -> Self {
        Neighbours {
            prev: Cell::new(ptr::null()),
            next: Cell::new(ptr::null()),
        }
    }
}

impl Executor {
    /// Puts a coroutine into the list of all, if it is new. Runner only.
    pub(crate) fn link(&self, task: &Header) {
        if !task.state().flags().is_new() {
            return;
        }
        task.state().no_longer_new();
        // SAFETY: Only called by the runner; no driver code runs while the reference lives.
        let local = unsafe { &mut *self.local.get() };
        task.all.prev.set(FIRST);
        task.all.next.set(local.all);
        // SAFETY: Coroutines in the list are valid.
        if let Some(next) = unsafe { local.all.as_ref() } {
            next.all.prev.set(task);
        }
        local.all = task;
        self.stats().spawned.add(1);
    }

    /// Takes a coroutine out of the list of all. Runner only.
    pub(crate) fn unlink(&self, task: &Header) {
        let (prev, next) = (task.all.prev.get(), task.all.next.get());
        if prev == FIRST {
            // SAFETY: Only called by the runner; no driver code runs meanwhile.
            unsafe { (*self.local.get()).all = next };
        } else {
            // SAFETY: Coroutines in the list are valid.
            unsafe { (*prev).all.next.set(next) };
        }
        // SAFETY: As above.
        if let Some(next) = unsafe { next.as_ref() } {
            next.all.prev.set(prev);
        }
        self.stats().finished.add(1);
    }

    /// The newest coroutine for which `choose` holds. Runner only.
    pub(crate) fn find(&self, choose: impl Fn(&Header) -> bool) -> Option<NonNull<Header>> {
        // SAFETY: We are the runner; a copy of the pointer is taken.
        let mut next = unsafe { (*self.local.get()).all };
        // SAFETY: Coroutines in the list are valid.
        while let Some(task) = unsafe { next.as_ref() } {
            if choose(task) {
                return Some(NonNull::from(task));
            }
            next = task.all.next.get();
        }
        None
    }
}
