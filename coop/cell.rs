// SPDX-License-Identifier: GPL-2.0

//! State that the coroutines of a domain share, without a lock.

use crate::executor::Executor;
use core::cell::{Cell, UnsafeCell};
use kernel::prelude::*;
use kernel::sync::Arc;

/// A value that only coroutines of one domain reach, one at a time.
///
/// No lock: coroutines of a domain never run at once. The value is lent to a closure, which cannot
/// await, so that no borrow lives across an await.
///
/// # Invariants
///
/// `value` is borrowed by the runner of the domain only, while `borrowed` is true.
pub struct DomainCell<T> {
    executor: Arc<Executor>,
    borrowed: Cell<bool>,
    value: UnsafeCell<T>,
}

// SAFETY: The value goes along.
unsafe impl<T: Send> Send for DomainCell<T> {}
// SAFETY: A shared cell lends the value to the runner of the domain only, of which there is one at
// a time, one after another with the baton in between; so `T: Send` is enough.
unsafe impl<T: Send> Sync for DomainCell<T> {}

impl<T> DomainCell<T> {
    pub(crate) fn new(executor: Arc<Executor>, value: T) -> Self {
        DomainCell {
            executor,
            borrowed: Cell::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Runs `f` on the value.
    ///
    /// `EPERM` unless called from a coroutine of the domain (its destructors included), `EBUSY`
    /// inside another `with` of the same cell. About 15 instructions besides `f`.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Result<R> {
        if !self.executor.is_inside() {
            return Err(EPERM);
        }
        // Past this point we are the runner, and nobody else touches `borrowed`.
        if self.borrowed.replace(true) {
            return Err(EBUSY);
        }
        // SAFETY: We are the runner and it was not borrowed.
        // INVARIANT: `borrowed` is true while the reference lives. (A panic in `f` does not come
        // back here: it ends the domain.)
        let result = f(unsafe { &mut *self.value.get() });
        self.borrowed.set(false);
        Ok(result)
    }

    /// Becomes the runner of the domain, a [`Bh`](crate::bh::Level::Bh) one, for as long as it takes
    /// to run `f` on the value, and then the coroutines that `f` wakes.
    ///
    /// For softirqs, and threads with bottom halves or interrupts off. `f` comes back where both are
    /// on and in hard interrupts, or if someone else runs the domain and goes on with that, or the
    /// domain is gone. With interrupts off, what `f` wakes is left to the home thread. About 35
    /// instructions besides `f`.
    #[inline]
    pub fn enter<R, F: FnOnce(&mut T) -> R>(&self, f: F) -> Result<R, F> {
        if !self.executor.enter_bh() {
            return Err(f);
        }
        // INVARIANT: `borrowed` is true while the reference lives.
        self.borrowed.set(true);
        // SAFETY: We are the runner, and have just become that: nobody has borrowed it.
        let result = f(unsafe { &mut *self.value.get() });
        self.borrowed.set(false);
        // SAFETY: Entered above.
        unsafe { self.executor.leave_bh() };
        Ok(result)
    }

    /// The value, for the one who has the cell alone.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// The value back.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}
