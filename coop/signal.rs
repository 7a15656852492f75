// SPDX-License-Identifier: GPL-2.0

//! A latched signal: "there may be something to do".

use crate::wait_cell::WaitCell;
use crate::waker::{poll_cell, WakeRef};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

/// A signal that any context may give, and one coroutine waits for.
///
/// It is latched, not counted: signals given before the wait are one. After the wait, everything
/// that was written before any of them is seen.
#[derive(Default)]
pub struct Signal(WaitCell<WakeRef>);

impl Signal {
    /// A signal that was not given yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the signal. Any context but NMI; does not sleep, allocate or lock.
    ///
    /// One read-modify-write if nobody waits.
    #[inline]
    pub fn signal(&self) {
        if let Some(waiter) = self.0.signal() {
            waiter.wake();
        }
    }

    /// Takes the signal back, if it was given; whether it was. Any context.
    pub fn try_wait(&self) -> bool {
        self.0.try_wait()
    }

    /// Waits for the signal, and takes it. One waiter at a time: a second one takes the place of
    /// the first, which is not woken any more.
    pub fn wait(&self) -> Wait<'_> {
        Wait(self)
    }
}

/// The future of [`Signal::wait`]. Cancel-safe: the signal is taken only when it returns.
#[must_use = "futures do nothing unless awaited"]
pub struct Wait<'a>(&'a Signal);

impl Future for Wait<'_> {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if poll_cell(&self.0 .0, cx) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}
