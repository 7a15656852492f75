// SPDX-License-Identifier: GPL-2.0

//! Awaiting the first of several futures.
//!
//! ```ignore
//! loop {
//!     select! {
//!         message = inbox.recv() => match message {
//!             Some(message) => handle(message),
//!             None => break,
//!         },
//!         _ = irq.wait() => acknowledge(),
//!         _ = sleep(Delta::from_secs(1)) => watchdog()?,
//!     }
//! }
//! ```
//!
//! The losers are dropped, before the winner's branch runs. All futures of this crate are
//! *cancel-safe*: one that is dropped before it was ready has taken nothing, so that nothing is
//! lost: no message, no signal, no tick, no reply. (An `async` block is as safe as where it can be
//! cut: at each of its awaits.) To keep a loser, give `select` a reference to it: `&mut future` of
//! what is pinned ([`pin!`](core::pin::pin)), or of what is `Unpin`, as a
//! [`JoinHandle`](crate::JoinHandle) is.
//!
//! **Fair** (the default): each time, the one that is asked first is drawn by lot, so that a branch
//! that is always ready cannot keep the others from being seen. **Biased**: asked in the order
//! written, for priorities: a branch that is always ready starves those below it.
//!
//! Nothing is allocated. Each time that any of them wakes the coroutine, all are asked.

use crate::sys::context::cycles;
use crate::waker::executor_of;
use core::convert::Infallible;
use core::future::Future;
use core::task::{Context, Poll};
use kernel::prelude::*;

/// What was ready, of two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Either<A, B> {
    /// The first one.
    First(A),
    /// The second one.
    Second(B),
}

/// What was ready, of three.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Either3<A, B, C> {
    /// The first one.
    First(A),
    /// The second one.
    Second(B),
    /// The third one.
    Third(C),
}

/// What was ready, of four.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Either4<A, B, C, D> {
    /// The first one.
    First(A),
    /// The second one.
    Second(B),
    /// The third one.
    Third(C),
    /// The fourth one.
    Fourth(D),
}

/// Any number of futures to choose from: a list, made of [`Branch`] and [`End`].
pub trait Branches {
    /// How many.
    const COUNT: usize;

    /// Which one, and what it returned.
    type Output;

    /// Polls the one of number `index`.
    fn poll_branch(self: Pin<&mut Self>, index: usize, cx: &mut Context<'_>) -> Poll<Self::Output>;
}

/// No futures.
pub struct End;

impl Branches for End {
    const COUNT: usize = 0;
    type Output = Infallible;

    #[inline(always)]
    fn poll_branch(self: Pin<&mut Self>, _: usize, _: &mut Context<'_>) -> Poll<Infallible> {
        Poll::Pending
    }
}

/// A future, and others.
#[pin_data]
pub struct Branch<F, R> {
    #[pin]
    first: F,
    #[pin]
    rest: R,
}

impl<F, R> Branch<F, R> {
    /// `first`, and what is in `rest`.
    #[inline(always)]
    pub const fn new(first: F, rest: R) -> Self {
        Branch { first, rest }
    }
}

impl<F: Future, R: Branches> Branches for Branch<F, R> {
    const COUNT: usize = 1 + R::COUNT;
    type Output = Either<F::Output, R::Output>;

    #[inline(always)]
    fn poll_branch(self: Pin<&mut Self>, index: usize, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match index.checked_sub(1) {
            None => this.first.poll(cx).map(Either::First),
            Some(index) => this.rest.poll_branch(index, cx).map(Either::Second),
        }
    }
}

/// A number below `count`, drawn by lot, if the context is a coroutine's.
#[inline(always)]
fn draw(count: usize, cx: &Context<'_>) -> usize {
    let lot = match executor_of(cx.waker()) {
        Some(executor) => executor.draw(),
        None => cycles() as u32,
    };
    // The upper half of the product: less than `count`.
    (u64::from(lot).wrapping_mul(count as u64) >> 32) as usize
}

/// The future of [`select!`](crate::select!).
#[must_use = "futures do nothing unless awaited"]
#[pin_data]
pub struct First<B, const FAIR: bool> {
    #[pin]
    branches: B,
}

impl<B: Branches, const FAIR: bool> First<B, FAIR> {
    /// Awaits the first of `branches`.
    #[inline(always)]
    pub const fn new(branches: B) -> Self {
        First { branches }
    }
}

impl<B: Branches, const FAIR: bool> Future for First<B, FAIR> {
    type Output = B::Output;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<B::Output> {
        let mut branches = self.project().branches;
        let mut index = if FAIR { draw(B::COUNT, cx) } else { 0 };
        for _ in 0..B::COUNT {
            let poll = branches.as_mut().poll_branch(index, cx);
            if poll.is_ready() {
                return poll;
            }
            index = index.wrapping_add(1);
            if index == B::COUNT {
                index = 0;
            }
        }
        Poll::Pending
    }
}

/// The output of a list, as an enum of as many variants.
pub trait Flatten {
    /// The enum.
    type Flat;

    /// As the enum.
    fn flatten(self) -> Self::Flat;
}

type Last<A> = Either<A, Infallible>;

impl<A, B> Flatten for Either<A, Last<B>> {
    type Flat = Either<A, B>;

    #[inline(always)]
    fn flatten(self) -> Either<A, B> {
        match self {
            Either::First(a) => Either::First(a),
            Either::Second(Either::First(b)) => Either::Second(b),
            Either::Second(Either::Second(never)) => match never {},
        }
    }
}

impl<A, B, C> Flatten for Either<A, Either<B, Last<C>>> {
    type Flat = Either3<A, B, C>;

    #[inline(always)]
    fn flatten(self) -> Either3<A, B, C> {
        match self {
            Either::First(a) => Either3::First(a),
            Either::Second(rest) => match rest.flatten() {
                Either::First(b) => Either3::Second(b),
                Either::Second(c) => Either3::Third(c),
            },
        }
    }
}

impl<A, B, C, D> Flatten for Either<A, Either<B, Either<C, Last<D>>>> {
    type Flat = Either4<A, B, C, D>;

    #[inline(always)]
    fn flatten(self) -> Either4<A, B, C, D> {
        match self {
            Either::First(a) => Either4::First(a),
            Either::Second(rest) => match rest.flatten() {
                Either3::First(b) => Either4::Second(b),
                Either3::Second(c) => Either4::Third(c),
                Either3::Third(d) => Either4::Fourth(d),
            },
        }
    }
}

/// The future of [`select`], [`select3`], [`select4`] and their biased kin.
#[must_use = "futures do nothing unless awaited"]
#[pin_data]
pub struct Select<B, const FAIR: bool> {
    #[pin]
    first: First<B, FAIR>,
}

impl<B: Branches<Output: Flatten>, const FAIR: bool> Future for Select<B, FAIR> {
    type Output = <B::Output as Flatten>::Flat;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().first.poll(cx).map(Flatten::flatten)
    }
}

type List2<A, B> = Branch<A, Branch<B, End>>;
type List3<A, B, C> = Branch<A, List2<B, C>>;
type List4<A, B, C, D> = Branch<A, List3<B, C, D>>;

#[inline(always)]
const fn of<B: Branches, const FAIR: bool>(branches: B) -> Select<B, FAIR> {
    Select {
        first: First::new(branches),
    }
}

/// Awaits the first of two futures, and drops the other one. Fair.
#[inline(always)]
pub const fn select<A: Future, B: Future>(a: A, b: B) -> Select<List2<A, B>, true> {
    of(Branch::new(a, Branch::new(b, End)))
}

/// Awaits the first of two futures; the first one, if both are ready.
#[inline(always)]
pub const fn select_biased<A: Future, B: Future>(a: A, b: B) -> Select<List2<A, B>, false> {
    of(Branch::new(a, Branch::new(b, End)))
}

/// Awaits the first of three futures. Fair.
pub const fn select3<A, B, C>(a: A, b: B, c: C) -> Select<List3<A, B, C>, true>
where
    A: Future,
    B: Future,
    C: Future,
{
    of(Branch::new(a, Branch::new(b, Branch::new(c, End))))
}

/// Awaits the first of four futures. Fair.
pub const fn select4<A, B, C, D>(a: A, b: B, c: C, d: D) -> Select<List4<A, B, C, D>, true>
where
    A: Future,
    B: Future,
    C: Future,
    D: Future,
{
    of(Branch::new(
        a,
        Branch::new(b, Branch::new(c, Branch::new(d, End))),
    ))
}

/// Awaits the first of any number of futures of one type, which stay where they are: its number,
/// and what it returned. Fair. Of none at all: for ever.
///
/// ```ignore
/// let mut futures = pin!([first.recv(), second.recv()]);
/// let (number, message) = select_slice(futures.as_mut()).await;
/// ```
pub fn select_slice<F: Future>(futures: Pin<&mut [F]>) -> SelectSlice<'_, F> {
    SelectSlice(futures)
}

/// The future of [`select_slice`].
#[must_use = "futures do nothing unless awaited"]
pub struct SelectSlice<'a, F>(Pin<&'a mut [F]>);

impl<F: Future> Future for SelectSlice<'_, F> {
    type Output = (usize, F::Output);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: The futures are not moved.
        let futures = unsafe { self.0.as_mut().get_unchecked_mut() };
        let start = draw(futures.len(), cx);
        let (before, from) = futures.split_at_mut(start);
        let from = from
            .iter_mut()
            .enumerate()
            .map(|(i, f)| (i.wrapping_add(start), f));
        // (The kernel's `pin_init` has a `chain`, too.)
        for (i, future) in Iterator::chain(from, before.iter_mut().enumerate()) {
            // SAFETY: The slice is pinned.
            if let Poll::Ready(output) = unsafe { Pin::new_unchecked(future) }.poll(cx) {
                return Poll::Ready((i, output));
            }
        }
        Poll::Pending
    }
}

/// Awaits the first of several futures, and runs its branch; see [`select`](mod@crate::select).
///
/// `pattern = future => expression,` for each; all expressions are of one type. In front of them
/// `biased;` has them asked in that order. The losers are dropped before the expression runs: it
/// may await, `break`, `return` and use `?`, and what the futures had borrowed.
#[macro_export]
macro_rules! select {
    (biased; $($pattern:pat = $future:expr => $then:expr),+ $(,)?) => {{
        let ready = $crate::select::First::<_, false>::new(
            $crate::__select_list!($($future),+)
        ).await;
        $crate::__select_match!(ready; $($pattern => $then),+)
    }};
    ($($pattern:pat = $future:expr => $then:expr),+ $(,)?) => {{
        let ready = $crate::select::First::<_, true>::new(
            $crate::__select_list!($($future),+)
        ).await;
        $crate::__select_match!(ready; $($pattern => $then),+)
    }};
}

/// Part of [`select!`].
#[doc(hidden)]
#[macro_export]
macro_rules! __select_list {
    () => { $crate::select::End };
    ($future:expr $(, $rest:expr)*) => {
        $crate::select::Branch::new($future, $crate::__select_list!($($rest),*))
    };
}

/// Part of [`select!`].
#[doc(hidden)]
#[macro_export]
macro_rules! __select_match {
    ($ready:expr;) => { match $ready {} };
    ($ready:expr; $pattern:pat => $then:expr $(, $patterns:pat => $thens:expr)*) => {
        match $ready {
            $crate::select::Either::First($pattern) => $then,
            $crate::select::Either::Second(rest) => {
                $crate::__select_match!(rest; $($patterns => $thens),*)
            }
        }
    };
}
