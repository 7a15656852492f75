// SPDX-License-Identifier: GPL-2.0

//! Notifications: one for one who waits, or for all.

use super::bound::{poll_take, Bound, Local, Seat};
use crate::domain::Handle;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use kernel::prelude::*;

/// "Look again": wakes one coroutine, or all, that wait for it.
///
/// A notification for one that finds nobody is kept for the next who comes; there is one at most.
/// For coroutines of the domain only; others get `EPERM`.
pub struct Notify(Bound<Local>);

impl Notify {
    /// For the coroutines of `domain`. Any context.
    pub fn new(domain: &Handle) -> Self {
        Notify(Bound::new(domain.executor().clone(), Local::new(0)))
    }

    /// Notifies the one who has waited longest, or the next who comes. `EPERM` outside of the
    /// domain. About 17 instructions, and a wake-up.
    #[inline]
    pub fn notify_one(&self) -> Result {
        self.0.enter()?.give_once();
        Ok(())
    }

    /// Notifies the one who has waited longest, if there is one; whether there was. `EPERM` outside
    /// of the domain.
    #[inline]
    pub(super) fn notify_first(&self) -> Result<bool> {
        Ok(self.0.enter()?.give_first())
    }

    /// Notifies the one who has waited longest, if there is one, on behalf of one who goes.
    pub(super) fn pass_on(&self) {
        self.0.give_back(|permits| {
            permits.give_first();
        });
    }

    /// Notifies all who wait now, in the order in which they came. `EPERM` outside of the domain.
    #[inline]
    pub fn notify_all(&self) -> Result {
        self.0.enter()?.dismiss();
        Ok(())
    }

    /// Waits for a notification.
    ///
    /// It waits from its first poll on. `EPERM` outside of the domain.
    /// About 20 instructions if there is one; waiting allocates nothing. Dropped after it was
    /// notified, and before it was ready, it passes the notification on (unless that was for all).
    #[inline(always)]
    pub fn notified(&self) -> Notified<'_> {
        Notified {
            of: &self.0,
            seat: Seat::new(),
        }
    }
}

/// The future of [`Notify::notified`].
#[must_use = "futures do nothing unless awaited"]
pub struct Notified<'a> {
    of: &'a Bound<Local>,
    seat: Seat,
}

impl Notified<'_> {
    /// Waits, or goes on waiting; `true` if it was for one, `false` if it was for all.
    #[inline(always)]
    pub(super) fn poll_which(self: Pin<&mut Self>, cx: &Context<'_>) -> Poll<Result<bool>> {
        // SAFETY: Not moved, and `seat` is pinned with it.
        let this = unsafe { self.get_unchecked_mut() };
        let permits = this.of.enter_with(cx)?;
        // SAFETY: As above.
        let seat = unsafe { Pin::new_unchecked(&mut this.seat) };
        poll_take(this.of, permits, seat, 1, cx).map(|got| Ok(got != 0))
    }
}

impl Future for Notified<'_> {
    type Output = Result;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result> {
        self.poll_which(cx).map(|which| which.map(drop))
    }
}

impl Drop for Notified<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.seat.is_waiting() {
            let seat = &mut self.seat;
            self.of.abandon(|permits| permits.cancel_once(seat.place()));
        }
    }
}
