// SPDX-License-Identifier: GPL-2.0

//! The wait for permits, of the types that are nothing but permits.

use super::bound::{poll_take, Bound, Local, Seat};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use kernel::prelude::*;

/// Takes `n` permits of `of`.
pub(crate) struct Take<'a> {
    of: &'a Bound<Local>,
    n: u32,
    seat: Seat,
}

impl<'a> Take<'a> {
    #[inline(always)]
    pub(crate) fn new(of: &'a Bound<Local>, n: u32) -> Self {
        Take {
            of,
            n,
            seat: Seat::new(),
        }
    }

    /// Whose.
    #[inline(always)]
    pub(crate) fn of(&self) -> &'a Bound<Local> {
        self.of
    }

    /// How many.
    #[inline(always)]
    pub(crate) fn permits(&self) -> u32 {
        self.n
    }
}

impl Future for Take<'_> {
    type Output = Result;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result> {
        // SAFETY: Not moved, and `seat` is pinned with it.
        let this = unsafe { self.get_unchecked_mut() };
        let permits = this.of.enter_with(cx)?;
        // SAFETY: As above.
        let seat = unsafe { Pin::new_unchecked(&mut this.seat) };
        poll_take(this.of, permits, seat, this.n, cx).map(|_| Ok(()))
    }
}

impl Drop for Take<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.seat.is_waiting() {
            let seat = &mut self.seat;
            self.of.abandon(|permits| permits.cancel(seat.place()));
        }
    }
}
