// SPDX-License-Identifier: GPL-2.0

//! How a thread waits for a future of this crate.

use crate::sys::runner::may_wait;
use crate::sys::thread;
use crate::waker::with_thread_context;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use kernel::prelude::*;

pub(crate) use crate::sys::thread::Patience;

/// Polls `future` to its end on the current thread, which sleeps in between.
///
/// `EWOULDBLOCK` where sleeping is not allowed, `EDEADLK` inside a coroutine, `EINTR` and
/// `ETIMEDOUT` if the patience ends first. `future` is one of this crate: its `poll` does not sleep.
pub(crate) fn block_on<F: Future + Unpin>(patience: Patience, future: &mut F) -> Result<F::Output> {
    may_wait()?;
    let wait = |cx: &mut Context<'_>| {
        let mut output = None;
        let ready = || match Pin::new(&mut *future).poll(cx) {
            Poll::Ready(value) => {
                output = Some(value);
                true
            }
            Poll::Pending => false,
        };
        // The first poll is made with the thread's state set: sending and registering once will do.
        thread::wait_until(patience, ready)?;
        output.ok_or(EINTR)
    };
    with_thread_context(wait).ok_or(EAGAIN)?
}
