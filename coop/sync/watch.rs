// SPDX-License-Identifier: GPL-2.0

//! A value whose changes are waited for.

use super::bound::{poll_wait, Bound, Lendable, Local, Seat};
use crate::domain::Handle;
use core::cell::{Cell, RefCell};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use kernel::prelude::*;

struct State<T> {
    version: Cell<u64>,
    value: RefCell<T>,
    waiters: Local,
}

// SAFETY: A number, a value and permits; all of them may be sent.
unsafe impl<T: Send> Lendable for State<T> {}

/// A value that coroutines of a domain look at, and whose changes they wait for.
///
/// Each change makes a new version; the first is 0. Who waits learns of the last change, not of
/// each. For coroutines of the domain only; others get `EPERM`.
///
/// # Examples
///
/// ```ignore
/// let mut seen = 0;
/// loop {
///     seen = link.changed(seen).await?;
///     let up = link.with(|state| state.up)?;
/// }
/// ```
pub struct Watch<T: Send>(Bound<State<T>>);

impl<T: Send> Watch<T> {
    /// For the coroutines of `domain`. Any context.
    pub fn new(domain: &Handle, value: T) -> Self {
        Watch(Bound::new(
            domain.executor().clone(),
            State {
                version: Cell::new(0),
                value: RefCell::new(value),
                waiters: Local::new(0),
            },
        ))
    }

    /// Lends the value, as it is, to `f`. `EPERM` outside of the domain, `EBUSY` inside
    /// [`update`](Self::update).
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&T) -> R) -> Result<R> {
        let state = self.0.enter()?;
        let value = state.value.try_borrow().map_err(|_| EBUSY)?;
        Ok(f(&value))
    }

    /// Lends the value to `f`, which changes it; all who wait go on. `EPERM` outside of the domain,
    /// `EBUSY` inside [`with`](Self::with) and `update`.
    #[inline]
    pub fn update<R>(&self, f: impl FnOnce(&mut T) -> R) -> Result<R> {
        let state = self.0.enter()?;
        let result = f(&mut *state.value.try_borrow_mut().map_err(|_| EBUSY)?);
        state.version.set(state.version.get().wrapping_add(1));
        state.waiters.dismiss();
        Ok(result)
    }

    /// Replaces the value; all who wait go on. Errors as for [`update`](Self::update).
    #[inline]
    pub fn set(&self, value: T) -> Result {
        drop(self.update(|old| core::mem::replace(old, value))?);
        Ok(())
    }

    /// The version. `EPERM` outside of the domain.
    #[inline]
    pub fn version(&self) -> Result<u64> {
        Ok(self.0.enter()?.version.get())
    }

    /// Waits until the version is not `seen`, and returns it. `EPERM` outside of the domain. Waiting
    /// allocates nothing.
    #[inline(always)]
    pub fn changed(&self, seen: u64) -> Changed<'_, T> {
        Changed {
            of: &self.0,
            seen,
            seat: Seat::new(),
        }
    }
}

/// The future of [`Watch::changed`].
#[must_use = "futures do nothing unless awaited"]
pub struct Changed<'a, T: Send> {
    of: &'a Bound<State<T>>,
    seen: u64,
    seat: Seat,
}

impl<T: Send> Future for Changed<'_, T> {
    type Output = Result<u64>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<u64>> {
        // SAFETY: Not moved, and `seat` is pinned with it.
        let this = unsafe { self.get_unchecked_mut() };
        let state = this.of.enter_with(cx)?;
        if this.seat.is_waiting() || state.version.get() == this.seen {
            // SAFETY: As above.
            let seat = unsafe { Pin::new_unchecked(&mut this.seat) };
            if poll_wait(this.of, &state.waiters, seat, 1, cx).is_pending() {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(state.version.get()))
    }
}

impl<T: Send> Drop for Changed<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.seat.is_waiting() {
            let seat = &mut self.seat;
            self.of.abandon(|state| state.waiters.cancel(seat.place()));
        }
    }
}
