// SPDX-License-Identifier: GPL-2.0

//! What is left in the hand of whoever spawned a coroutine.

use crate::run_queue::Priority;
use crate::task::TaskRef;
use crate::waker::{header_of, poll_cell};
use core::future::Future;
use core::pin::Pin;
use core::ptr;
use core::task::{Context, Poll};
use kernel::prelude::*;

/// Awaits the end of a coroutine and its output, aborts it, or lets it go (`drop`, or
/// [`detach`](Self::detach)).
///
/// Awaiting gives `Ok(output)`, or `ECANCELED` if the coroutine was aborted or its domain shut
/// down before it was ready (`EOWNERDEAD` if the domain died of a fault). The coroutine's future, with all it owned, is gone by then.
#[must_use = "dropping the handle detaches the coroutine: say so with `detach`"]
pub struct JoinHandle<T> {
    task: TaskRef,
    taken: bool,
    _output: core::marker::PhantomData<T>,
}

// SAFETY: The output may be taken or dropped wherever the handle is.
unsafe impl<T: Send> Send for JoinHandle<T> {}
// SAFETY: A shared handle gives no access to the output.
unsafe impl<T: Send> Sync for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    /// # Safety
    ///
    /// `task` is the second reference that [`allocate`](crate::task::allocate) returned for a future with output `T`.
    pub(crate) unsafe fn new(task: TaskRef) -> Self {
        JoinHandle {
            task,
            taken: false,
            _output: core::marker::PhantomData,
        }
    }

    /// Has the coroutine's future dropped, inside its domain, instead of polled again. No effect
    /// if it has ended already. Any context but NMI; does not wait.
    pub fn abort(&self) {
        self.task.header().abort();
    }

    /// Changes the coroutine's priority. Any context but NMI; does not wait.
    ///
    /// The coroutine is polled once more for it, spuriously. One that is in a queue moves to its new
    /// place before the next round of polls begins, that is after 16 polls at the latest; for that the
    /// domain walks once along all that is queued, however many have moved.
    pub fn set_priority(&self, priority: Priority) {
        self.task.header().set_priority(priority);
    }

    /// The coroutine's priority. Any context.
    pub fn priority(&self) -> Priority {
        self.task.header().state().priority()
    }

    /// Lets the coroutine go on by itself; its output will be dropped.
    pub fn detach(self) {}

    /// Whether the coroutine has ended. Any context.
    pub fn is_finished(&self) -> bool {
        self.task.header().state().outcome().is_some()
    }

    /// The output, if the coroutine has ended.
    fn take(&mut self) -> Option<Result<T>> {
        let output = self.task.header().state().outcome()?;
        if !output || self.taken {
            return Some(Err(self.task.header().executor().end_error()));
        }
        self.taken = true;
        // SAFETY: `DONE` with an output and a join handle: it is in place, right behind the header,
        // and ours, and it is moved out only once.
        Some(Ok(unsafe { self.task.output::<T>().read() }))
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(result) = self.take() {
            return Poll::Ready(result);
        }
        if !poll_cell(self.task.header().join(), cx) {
            return Poll::Pending;
        }
        // Signalled, so `DONE` is set and `take` has a result.
        Poll::Ready(self.take().unwrap_or(Err(EINVAL)))
    }
}

impl<T> Unpin for JoinHandle<T> {}

/// Changes the priority of the coroutine that awaits this; it goes on when it is its turn at the
/// new one. `EINVAL` when it is awaited elsewhere than in a coroutine of a domain.
pub async fn set_priority(priority: Priority) -> Result {
    let mut changed = None;
    core::future::poll_fn(|cx| {
        if let Some(result) = changed {
            return Poll::Ready(result);
        }
        let Some(header) = header_of(cx.waker()) else {
            return Poll::Ready(Err(EINVAL));
        };
        changed = Some(Ok(()));
        header.set_priority(priority);
        // Woken by that.
        Poll::Pending
    })
    .await
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if self.task.header().state().leave() && !self.taken {
            // SAFETY: The output is in place and, `leave` says, ours.
            unsafe { ptr::drop_in_place(self.task.output::<T>().as_ptr()) };
        }
        self.task.header().join().clear_waiter();
    }
}
