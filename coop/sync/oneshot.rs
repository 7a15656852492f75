// SPDX-License-Identifier: GPL-2.0

//! One value, once, from one coroutine of a domain to another.

use super::bound::{poll_wait, Bound, Lendable, Local, Seat};
use super::channel::Unsent;
use crate::domain::Handle;
use core::cell::Cell;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use kernel::prelude::*;
use kernel::sync::Arc;

struct State<T> {
    value: Cell<Option<T>>,
    /// The sender, or the receiver, is gone.
    over: Cell<bool>,
    receiver: Local,
}

// SAFETY: A value, a flag and permits; all of them may be sent.
unsafe impl<T: Send> Lendable for State<T> {}

/// The two ends of a value to come, for coroutines of `domain`. One allocation; task context, or
/// inside a coroutine. `ENOMEM`.
pub fn one_shot<T: Send>(domain: &Handle) -> Result<(OneShotSender<T>, OneShot<T>)> {
    let shared = Arc::new(
        Bound::new(
            domain.executor().clone(),
            State {
                value: Cell::new(None),
                over: Cell::new(false),
                receiver: Local::new(0),
            },
        ),
        GFP_KERNEL,
    )?;
    let receiver = OneShot {
        shared: shared.clone(),
        seat: Seat::new(),
    };
    Ok((OneShotSender(shared), receiver))
}

/// Sends the value. Dropped without, the receiver gets `ECANCELED`.
pub struct OneShotSender<T: Send>(Arc<Bound<State<T>>>);

impl<T: Send> OneShotSender<T> {
    /// Sends the value. It comes back with `ECANCELED` if the receiver is gone, `EPERM` outside of
    /// the domain.
    pub fn send(self, value: T) -> Result<(), Unsent<T>> {
        match self.0.enter() {
            // The rest is for the destructor.
            Ok(state) if !state.over.get() => {
                state.value.set(Some(value));
                Ok(())
            }
            Ok(_) => Err(Unsent::new(ECANCELED, value)),
            Err(e) => Err(Unsent::new(e, value)),
        }
    }

    /// Whether the receiver is gone. `EPERM` outside of the domain.
    pub fn is_closed(&self) -> Result<bool> {
        Ok(self.0.enter()?.over.get())
    }
}

impl<T: Send> Drop for OneShotSender<T> {
    fn drop(&mut self) {
        self.0.give_back(|state| {
            state.over.set(true);
            state.receiver.dismiss();
        });
    }
}

/// The value to come: a future, ready with `Ok(value)`, or `ECANCELED` if the sender is gone without
/// (`EPERM` outside of the domain). Waiting allocates nothing.
///
/// A value that was sent, and that this is dropped without, is dropped with it.
#[must_use = "futures do nothing unless awaited"]
pub struct OneShot<T: Send> {
    shared: Arc<Bound<State<T>>>,
    seat: Seat,
}

impl<T: Send> Future for OneShot<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        // SAFETY: Not moved, and `seat` is pinned with it.
        let this = unsafe { self.get_unchecked_mut() };
        let state = this.shared.enter_with(cx)?;
        if this.seat.is_waiting() || !state.over.get() {
            // SAFETY: As above.
            let seat = unsafe { Pin::new_unchecked(&mut this.seat) };
            if poll_wait(&this.shared, &state.receiver, seat, 1, cx).is_pending() {
                return Poll::Pending;
            }
        }
        Poll::Ready(state.value.take().ok_or(ECANCELED))
    }
}

impl<T: Send> Drop for OneShot<T> {
    fn drop(&mut self) {
        if self.seat.is_waiting() {
            let seat = &mut self.seat;
            self.shared
                .abandon(|state| state.receiver.cancel(seat.place()));
        }
        self.shared.give_back(|state| state.over.set(true));
    }
}
