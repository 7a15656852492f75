// SPDX-License-Identifier: GPL-2.0

//! How a thread waits for a future of this crate.

use crate::executor::on_home_thread;
use crate::sys::context::Context as Where;
use crate::sys::thread::{self, Thread};
use crate::waker::thread_waker;
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
    Where::require_sleepable()?;
    // Every coroutine runs on the home thread of a domain.
    if on_home_thread() {
        return Err(EDEADLK);
    }
    let waker = thread_waker(Thread::current().ok_or(EAGAIN)?);
    let mut cx = Context::from_waker(&waker);
    let mut poll = || match Pin::new(&mut *future).poll(&mut cx) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    };
    if let Some(output) = poll() {
        return Ok(output);
    }
    let mut output = None;
    thread::wait_until(patience, || {
        output = poll();
        output.is_some()
    })?;
    output.ok_or(EINTR)
}
