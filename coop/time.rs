// SPDX-License-Identifier: GPL-2.0

//! Waiting for a time to come, in a coroutine.
//!
//! All times are those of the monotonic clock. One `hrtimer` serves all timers of a domain: its
//! interrupt wakes the domain. A coroutine is never woken before its time; after it, up to the
//! domain's [slack](crate::Builder::slack) (so that times that are close to each other share an
//! interrupt) and what it takes to run it.
//!
//! To arm and to disarm is logarithmic in the number of armed timers of the domain, and allocates
//! nothing: the timer is part of the future. Every future here is cancel-safe, and may be dropped in
//! any context but NMI; it is to be polled by coroutines, with their own waker (with that of anybody
//! else it asks for the time again and again). When the domain ends, its timers go with their futures.

use crate::alarm::Missed;
use crate::alone::Phase;
use crate::sys::context::now_ns;
use crate::sys::timer::{instant_at, ns_of};
use crate::timers::Timer;
use crate::waker::{executor_of, header_of};
use core::future::Future;
use core::task::{Context, Poll};
use kernel::prelude::*;
use kernel::time::{Delta, Instant, Monotonic};

/// Lets `duration` pass, from now on (not from the first poll). One that is not positive is over
/// at once, without letting others run: that is what [`yield_now`](crate::yield_now) is for.
///
/// ```ignore
/// sleep(Delta::from_millis(10)).await;
/// ```
#[inline]
pub fn sleep(duration: Delta) -> Sleep {
    let ns = duration.as_nanos();
    Sleep {
        timer: Timer::new(now_ns().saturating_add(ns), ns <= 0),
    }
}

/// Waits until `instant`; over at once if that has passed.
#[inline]
pub fn sleep_until(instant: Instant<Monotonic>) -> Sleep {
    sleep_until_ns(ns_of(instant))
}

#[inline]
fn sleep_until_ns(at: i64) -> Sleep {
    Sleep {
        timer: Timer::new(at, at <= now_ns()),
    }
}

/// The future of [`sleep`] and [`sleep_until`].
#[must_use = "futures do nothing unless awaited"]
#[pin_data]
pub struct Sleep {
    #[pin]
    timer: Timer,
}

impl Sleep {
    /// When it is over.
    pub fn deadline(&self) -> Instant<Monotonic> {
        instant_at(self.timer.at())
    }
}

impl Future for Sleep {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let phase = self.timer.phase();
        if phase == Phase::FIRED {
            return Poll::Ready(());
        }
        let over = match executor_of(cx.waker()) {
            // SAFETY: It polls with this, so we are the runner; who is polled is there.
            Some(executor) if executor.is_polling_with(cx) => unsafe {
                self.project().timer.poll(phase, &*executor.current())
            },
            _ => self.poll_with_another(cx),
        };
        if over {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Sleep {
    /// Whether it is over, for who is not polled by its domain itself.
    #[cold]
    #[inline(never)]
    fn poll_with_another(self: Pin<&mut Self>, cx: &Context<'_>) -> bool {
        match header_of(cx.waker()) {
            // SAFETY: Inside of the domain, we are the runner.
            Some(header) if header.executor().is_inside() => unsafe {
                let phase = self.timer.phase();
                self.project().timer.poll(phase, header)
            },
            _ => {
                cx.waker().wake_by_ref();
                self.timer.at() <= now_ns()
            }
        }
    }
}

/// Awaits `future`, for no longer than `duration` from now on: `ETIMEDOUT` then, and the future is
/// dropped with this one. If both are ready the future is.
///
/// The timer is armed when the future is pending for the first time. What the future has done by
/// then is lost unless it is cancel-safe, as all futures of this crate are.
///
/// ```ignore
/// let answer = timeout(Delta::from_millis(10), caller.ask(question)).await??;
/// ```
#[inline]
pub fn timeout<F: Future>(duration: Delta, future: F) -> Timeout<F> {
    Timeout {
        future,
        sleep: sleep(duration),
    }
}

/// The future of [`timeout`].
#[must_use = "futures do nothing unless awaited"]
#[pin_data]
pub struct Timeout<F> {
    #[pin]
    future: F,
    #[pin]
    sleep: Sleep,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        match this.sleep.poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(ETIMEDOUT)),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Ticks, the first one at once, then one every `period` (at least a microsecond).
///
/// Ticks that come while nobody waits are missed: see [`Interval::missed`]. By default they are
/// left out.
///
/// ```ignore
/// let mut interval = interval(Delta::from_secs(1));
/// loop {
///     interval.tick().await;
///     watchdog(&device);
/// }
/// ```
pub fn interval(period: Delta) -> Interval {
    Interval::starting(now_ns(), period)
}

/// Like [`interval`], with the first tick at `start`.
pub fn interval_at(start: Instant<Monotonic>, period: Delta) -> Interval {
    Interval::starting(ns_of(start), period)
}

/// Ticks; see [`interval`].
pub struct Interval {
    next: i64,
    period: i64,
    missed: Missed,
}

/// Below this there would be nothing but interrupts.
const SHORTEST_NS: i64 = 1_000;

impl Interval {
    fn starting(next: i64, period: Delta) -> Self {
        Interval {
            next,
            period: period.as_nanos().max(SHORTEST_NS),
            missed: Missed::default(),
        }
    }

    /// What becomes of ticks that nobody waited for in time. Default: [`Missed::Skip`].
    pub fn missed(mut self, missed: Missed) -> Self {
        self.missed = missed;
        self
    }

    /// Waits for the next tick, and returns when it was due. Cancel-safe: a tick counts only when
    /// this returns it.
    pub fn tick(&mut self) -> Tick<'_> {
        Tick {
            sleep: sleep_until_ns(self.next),
            interval: self,
        }
    }

    /// The next tick comes a period from now.
    pub fn reset(&mut self) {
        self.next = now_ns().saturating_add(self.period);
    }

    /// The period.
    pub fn period(&self) -> Delta {
        Delta::from_nanos(self.period)
    }
}

/// The future of [`Interval::tick`].
#[must_use = "futures do nothing unless awaited"]
#[pin_data]
pub struct Tick<'a> {
    #[pin]
    sleep: Sleep,
    interval: &'a mut Interval,
}

impl Future for Tick<'_> {
    type Output = Instant<Monotonic>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if this.sleep.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let interval = &mut **this.interval;
        let due = interval.next;
        interval.next = interval.missed.next(due, interval.period, now_ns());
        Poll::Ready(instant_at(due))
    }
}
