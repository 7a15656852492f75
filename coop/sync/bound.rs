// SPDX-License-Identifier: GPL-2.0

//! State that belongs to a domain, and who waits for it: what all of [`sync`](crate::sync) shares.
//!
//! **Why there is no race.** The state is reached through [`Bound`] only, which lends it to the
//! runner of the domain, of which there is one at a time, one after another with the baton in
//! between (as [`DomainCell`](crate::cell::DomainCell)). Whoever else asks gets `EPERM`.
//!
//! What cannot be refused is a destructor. Futures of coroutines are `Send`, so that safe code can
//! take a future out of its domain that waits in a list there, or a guard, and drop it elsewhere.
//! The destructor then has the domain's home thread do its work, and waits for that
//! ([`errand`](crate::errand)); after the end of the domain it does it by itself.

use super::permits::Permits;
use super::wait_list::{Place, WakeUp};
use crate::domain::Handle;
use crate::executor::Executor;
use crate::task::Header;
use crate::waker::{borrowed_waker, executor_of, header_of};
use core::pin::Pin;
use core::ptr;
use core::task::{Context, Poll, Waker};
use kernel::prelude::*;
use kernel::sync::Arc;

/// Who waits.
///
/// A coroutine whose future contains the place in the list is there as long as the place is: then
/// this is a plain pointer to it. Anybody else's waker (of a combinator, or for a future in a box,
/// which may change hands) is cloned.
pub(crate) struct Wake(Waker);

impl Wake {
    /// The coroutine that `executor` polls with `cx`, if that is how `cx` comes here.
    fn polled<'a>(cx: &'a Context<'_>, executor: &Executor) -> Option<&'a Header> {
        executor_of(cx.waker())
            .filter(|polls| ptr::eq(*polls, executor))
            .and_then(|_| header_of(cx.waker()))
    }

    /// Who polls with `cx`, for `place`. Runner of `executor` only.
    fn of(cx: &Context<'_>, executor: &Executor, place: &Place<Self>) -> Self {
        match Self::polled(cx, executor) {
            // SAFETY: The coroutine has the place inside its future. The place is pinned: before
            // the future is gone the place is dropped, and with it the waker.
            Some(task) if task.contains(place) => Wake(unsafe { borrowed_waker(task) }),
            _ => Wake(cx.waker().clone()),
        }
    }

    /// Whether it is who polls with `cx`. Runner of `executor` only.
    fn is(&self, cx: &Context<'_>, executor: &Executor) -> bool {
        match Self::polled(cx, executor) {
            // No other kind of waker has the address of a coroutine.
            Some(task) => ptr::eq(self.0.data().cast(), task),
            None => self.0.will_wake(cx.waker()),
        }
    }
}

impl WakeUp for Wake {
    #[inline]
    fn wake_up(self) {
        self.0.wake();
    }
}

/// The permits of a domain.
pub(crate) type Local = Permits<Wake>;

/// What may be lent to the runner of a domain, whichever thread that is.
///
/// # Safety
///
/// It may be sent, but for the nodes of its lists, which no other than the runner touches.
pub(crate) unsafe trait Lendable {}

// SAFETY: Numbers and nodes; a `Wake` may be sent.
unsafe impl Lendable for Local {}

/// A value that only the runner of a domain reaches.
pub(crate) struct Bound<T: Lendable> {
    executor: Arc<Executor>,
    /// The address of the context that the domain polls with.
    context: usize,
    value: T,
}

// SAFETY: The value may go along. Nodes in its lists are those of futures that borrow it, and did
// not move; or forgotten ones, which nobody uses.
unsafe impl<T: Lendable> Send for Bound<T> {}
// SAFETY: Only the runner gets a reference to the value; see above.
unsafe impl<T: Lendable> Sync for Bound<T> {}

/// The place of a future of this module.
#[derive(Default)]
pub(crate) struct Seat(Place<Wake>);

// SAFETY: Whether it waits is the future's own. The node is touched by the runner of the domain
// only: a future polls after it has entered, and its destructor has the runner cancel.
unsafe impl Send for Seat {}
// SAFETY: A shared seat gives access to nothing but whether it waits.
unsafe impl Sync for Seat {}

impl Seat {
    #[inline(always)]
    pub(crate) const fn new() -> Self {
        Seat(Place::new())
    }

    /// Whether there is a wait to be cancelled.
    #[inline(always)]
    pub(crate) fn is_waiting(&self) -> bool {
        self.0.is_waiting()
    }

    /// Whether it neither waits nor is spent.
    #[inline(always)]
    pub(crate) fn is_fresh(&self) -> bool {
        self.0.is_fresh()
    }

    /// Whether it is spent.
    #[inline(always)]
    pub(crate) fn is_spent(&self) -> bool {
        self.0.is_spent()
    }

    /// Runner only.
    #[inline(always)]
    pub(crate) fn place(&mut self) -> &mut Place<Wake> {
        &mut self.0
    }
}

impl<T: Lendable> Bound<T> {
    pub(crate) fn new(executor: Arc<Executor>, value: T) -> Self {
        Bound {
            context: executor.context.address(),
            executor,
            value,
        }
    }

    /// The domain.
    pub(crate) fn domain(&self) -> Handle {
        Handle::of(&self.executor)
    }

    /// The value, for a coroutine of the domain; `EPERM` for others. 8 instructions.
    #[inline(always)]
    pub(crate) fn enter(&self) -> Result<&T> {
        if self.executor.is_inside() {
            Ok(&self.value)
        } else {
            Err(EPERM)
        }
    }

    /// The same, for who polls with `cx`: cheaper if that is the domain itself. 2 instructions.
    #[inline(always)]
    pub(crate) fn enter_with(&self, cx: &Context<'_>) -> Result<&T> {
        // As `Executor::is_polling_with`.
        if self.context == ptr::from_ref(cx).addr() {
            Ok(&self.value)
        } else {
            self.enter()
        }
    }

    /// Has `f` done on the value by the runner. From outside the domain: task context, sleeps.
    ///
    /// Where that cannot be waited for, `false`, and nothing is done.
    #[inline(always)]
    pub(crate) fn finally(&self, f: impl FnOnce(&T)) -> bool {
        if self.executor.is_inside() {
            f(&self.value);
            return true;
        }
        self.finally_outside(f)
    }

    #[cold]
    #[inline(never)]
    fn finally_outside(&self, f: impl FnOnce(&T)) -> bool {
        let mut f = Some(f);
        let mut work = || {
            if let Some(f) = f.take() {
                f(&self.value);
            }
        };
        self.executor.errand(&mut work).is_ok()
    }

    /// Drops a wait: `f` is to cancel it.
    #[cold]
    #[inline(never)]
    pub(crate) fn abandon(&self, f: impl FnOnce(&T)) {
        if !self.finally(f) {
            // Others have pointers into memory that is about to go, and they cannot be told.
            panic!("a future that waits in a domain was dropped in atomic context outside of it");
        }
    }

    /// Gives something back, by `f`. Where that is not possible it is lost, and said so.
    #[inline(always)]
    pub(crate) fn give_back(&self, f: impl FnOnce(&T)) {
        if !self.finally(f) {
            lost();
        }
    }
}

#[cold]
fn lost() {
    pr_warn!("a guard was dropped in atomic context outside of its domain: it is not released\n");
}

/// Takes `n` permits, or waits for them; what was got: `n`, or 0 if dismissed. Runner only.
#[inline(always)]
pub(crate) fn poll_take<T: Lendable>(
    bound: &Bound<T>,
    permits: &Local,
    seat: Pin<&mut Seat>,
    n: u32,
    cx: &Context<'_>,
) -> Poll<u32> {
    if seat.is_fresh() && permits.try_take(n) {
        return Poll::Ready(n);
    }
    poll_wait(bound, permits, seat, n, cx)
}

/// Waits for `n` permits; what was got: `n`, or 0 if dismissed. Runner only.
///
/// The destructor of what the seat is part of cancels the wait, by [`Bound::abandon`].
#[cold]
#[inline(never)]
pub(crate) fn poll_wait<T: Lendable>(
    bound: &Bound<T>,
    permits: &Local,
    seat: Pin<&mut Seat>,
    n: u32,
    cx: &Context<'_>,
) -> Poll<u32> {
    // SAFETY: Not moved.
    let place = unsafe { seat.get_unchecked_mut() }.place();
    let Some(node) = place.node() else {
        let wake = Wake::of(cx, &bound.executor, place);
        // SAFETY: The place is pinned, so that the destructor of what it is part of, which cancels
        // the wait, runs before its memory is used again.
        unsafe { permits.queue(place, n, wake) };
        return Poll::Pending;
    };
    if !node.is_chosen() {
        if !node.is_woken_by(|wake| wake.is(cx, &bound.executor)) {
            node.set_waker(Wake::of(cx, &bound.executor, place));
        }
        return Poll::Pending;
    }
    match permits.finish(place) {
        Some(got) => Poll::Ready(got),
        None => Poll::Pending,
    }
}
