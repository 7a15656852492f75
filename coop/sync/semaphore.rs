// SPDX-License-Identifier: GPL-2.0

//! A counting semaphore for the coroutines of a domain.

use super::bound::{Bound, Local};
use super::take::Take;
use crate::domain::Handle;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{ready, Context, Poll};
use kernel::prelude::*;

/// A number of permits: so many coroutines of a domain may do something at once.
///
/// First come, first served: one who wants many permits is not overtaken by those who want few. For
/// coroutines of the domain only; others get `EPERM`.
///
/// # Examples
///
/// ```ignore
/// let slots = Arc::new(Semaphore::new(&domain.handle(), 4), GFP_KERNEL)?;
/// // In each of many coroutines:
/// let _slot = slots.acquire().await?;
/// ```
pub struct Semaphore(Bound<Local>);

impl Semaphore {
    /// A semaphore with `permits` permits for the coroutines of `domain`. Any context.
    pub fn new(domain: &Handle, permits: u32) -> Self {
        Semaphore(Bound::new(domain.executor().clone(), Local::new(permits)))
    }

    /// Takes a permit, waits for one if need be.
    ///
    /// `EPERM` outside of the domain. About 40 instructions with the permit's release, if none has
    /// to be waited for; waiting allocates nothing. Dropped before it is ready, it has taken none.
    #[inline(always)]
    pub fn acquire(&self) -> Acquire<'_> {
        self.acquire_many(1)
    }

    /// Takes `n` permits at once, waits for them if need be. Those who come later wait behind.
    #[inline(always)]
    pub fn acquire_many(&self, n: u32) -> Acquire<'_> {
        Acquire(Take::new(&self.0, n))
    }

    /// Takes `n` permits; `EBUSY` if they would have to be waited for, `EPERM` outside of the
    /// domain.
    #[inline]
    pub fn try_acquire(&self, n: u32) -> Result<Permit<'_>> {
        if self.0.enter()?.try_take(n) {
            Ok(Permit { of: &self.0, n })
        } else {
            Err(EBUSY)
        }
    }

    /// Adds permits; beyond `u32::MAX` they are lost. `EPERM` outside of the domain.
    #[inline]
    pub fn add(&self, permits: u32) -> Result {
        self.0.enter()?.give(permits);
        Ok(())
    }

    /// Permits that can be taken at once. `EPERM` outside of the domain.
    pub fn available(&self) -> Result<u32> {
        Ok(self.0.enter()?.open())
    }

    /// How many coroutines wait. `EPERM` outside of the domain.
    pub fn waiters(&self) -> Result<usize> {
        Ok(self.0.enter()?.waiters())
    }
}

/// The future of [`Semaphore::acquire`].
#[must_use = "futures do nothing unless awaited"]
pub struct Acquire<'a>(Take<'a>);

impl<'a> Future for Acquire<'a> {
    type Output = Result<Permit<'a>>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: Not moved, and `Take` is pinned with it.
        let take = unsafe { self.map_unchecked_mut(|this| &mut this.0) };
        let (of, n) = (take.of(), take.permits());
        ready!(take.poll(cx))?;
        Poll::Ready(Ok(Permit { of, n }))
    }
}

/// Permits of a semaphore, given back when dropped: to whoever has waited longest.
///
/// Dropped outside of the domain, this sleeps until the domain's home thread has seen to it; in
/// atomic context there the permits are lost, and a warning is logged.
#[must_use = "dropping the permit gives it back"]
pub struct Permit<'a> {
    of: &'a Bound<Local>,
    n: u32,
}

impl Permit<'_> {
    /// How many.
    pub fn permits(&self) -> u32 {
        self.n
    }

    /// Keeps them taken for ever, unless [`Semaphore::add`] adds them again.
    pub fn forget(self) {
        mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        let n = self.n;
        self.of.give_back(|permits| permits.give(n));
    }
}
