// SPDX-License-Identifier: GPL-2.0

//! Letting others run.

use crate::waker::executor_of;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

/// Lets every other coroutine of the domain that is ready now run before this one goes on.
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// The future of [`yield_now`].
#[must_use = "futures do nothing unless awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        match executor_of(cx.waker()) {
            // In its own poll it need not be woken: it stays queued.
            Some(executor) => executor.yield_current(),
            None => cx.waker().wake_by_ref(),
        }
        Poll::Pending
    }
}
