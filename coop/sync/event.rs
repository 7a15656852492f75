// SPDX-License-Identifier: GPL-2.0

//! Events that stay: set once, all who wait go on, and those who come later do not wait.

use super::bound::{poll_wait, Bound, Lendable, Local, Seat};
use crate::domain::Handle;
use core::cell::Cell;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use kernel::prelude::*;

struct State {
    set: Cell<bool>,
    waiters: Local,
}

// SAFETY: A flag, and permits, which may.
unsafe impl Lendable for State {}

/// Something that is so, or is not yet: "the link is up", "shut down".
///
/// For coroutines of the domain only; others get `EPERM`. From interrupts and threads it is set
/// through an [`EventSetter`](super::EventSetter).
pub struct Event(Bound<State>);

impl Event {
    /// An event that is not set, for the coroutines of `domain`. Any context.
    pub fn new(domain: &Handle) -> Self {
        Event(Bound::new(
            domain.executor().clone(),
            State {
                set: Cell::new(false),
                waiters: Local::new(0),
            },
        ))
    }

    /// Sets it: all who wait go on, in the order in which they came. `EPERM` outside of the domain.
    ///
    /// About 17 instructions, and a wake-up for each who waits.
    #[inline]
    pub fn set(&self) -> Result {
        let state = self.0.enter()?;
        state.set.set(true);
        if state.waiters.waiters() != 0 {
            state.waiters.dismiss();
        }
        Ok(())
    }

    /// Takes it back. Who waited when it was set goes on all the same. `EPERM` outside of the domain.
    #[inline]
    pub fn reset(&self) -> Result {
        self.0.enter()?.set.set(false);
        Ok(())
    }

    /// Whether it is set. `EPERM` outside of the domain.
    #[inline]
    pub fn is_set(&self) -> Result<bool> {
        Ok(self.0.enter()?.set.get())
    }

    /// Whose it is.
    pub(super) fn domain(&self) -> Handle {
        self.0.domain()
    }

    /// Waits until it is set.
    ///
    /// `EPERM` outside of the domain. About 17 instructions if it is set; waiting allocates nothing.
    #[inline(always)]
    pub fn wait(&self) -> EventWait<'_> {
        EventWait {
            of: &self.0,
            seat: Seat::new(),
        }
    }
}

/// The future of [`Event::wait`].
#[must_use = "futures do nothing unless awaited"]
pub struct EventWait<'a> {
    of: &'a Bound<State>,
    seat: Seat,
}

impl Future for EventWait<'_> {
    type Output = Result;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result> {
        // SAFETY: Not moved, and `seat` is pinned with it.
        let this = unsafe { self.get_unchecked_mut() };
        let state = this.of.enter_with(cx)?;
        if !this.seat.is_waiting() && state.set.get() {
            return Poll::Ready(Ok(()));
        }
        // SAFETY: As above.
        let seat = unsafe { Pin::new_unchecked(&mut this.seat) };
        poll_wait(this.of, &state.waiters, seat, 1, cx).map(|_| Ok(()))
    }
}

impl Drop for EventWait<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.seat.is_waiting() {
            let seat = &mut self.seat;
            self.of.abandon(|state| state.waiters.cancel(seat.place()));
        }
    }
}
