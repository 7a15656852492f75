// SPDX-License-Identifier: GPL-2.0

//! Awaiting all of several futures.
//!
//! They run in turns, as part of the coroutine that awaits them: each time that any of them wakes
//! it, all that are not ready yet are polled. So this is for a few; many, or long ones, are better
//! [spawned](crate::Handle::spawn) and their handles awaited one after the other. Dropping the
//! future drops those that are not ready, and the outputs of those that were.

use core::future::Future;
use core::task::{Context, Poll};
use kernel::prelude::*;

/// A future, then its output.
#[pin_data]
struct MaybeDone<F: Future> {
    #[pin]
    future: Option<F>,
    output: Option<F::Output>,
}

impl<F: Future> MaybeDone<F> {
    fn new(future: F) -> Self {
        MaybeDone {
            future: Some(future),
            output: None,
        }
    }

    /// Polls the future if it is not ready yet; whether it is now.
    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            return true;
        };
        let Poll::Ready(output) = future.poll(cx) else {
            return false;
        };
        this.future.set(None);
        *this.output = Some(output);
        true
    }

    #[inline]
    fn take(self: Pin<&mut Self>) -> Option<F::Output> {
        self.project().output.take()
    }
}

macro_rules! join {
    ($(#[$doc:meta])* $name:ident, $future:ident, $($f:ident: $F:ident),+) => {
        $(#[$doc])*
        pub fn $name<$($F: Future),+>($($f: $F),+) -> $future<$($F),+> {
            $future { $($f: MaybeDone::new($f)),+ }
        }

        #[doc = concat!("The future of [`", stringify!($name), "`].")]
        #[must_use = "futures do nothing unless awaited"]
        #[pin_data]
        pub struct $future<$($F: Future),+> {
            $(#[pin] $f: MaybeDone<$F>),+
        }

        impl<$($F: Future),+> Future for $future<$($F),+> {
            type Output = ($($F::Output),+);

            #[inline]
            fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
                let mut this = self.project();
                let mut ready = true;
                $(ready &= this.$f.as_mut().poll(cx);)+
                if !ready {
                    return Poll::Pending;
                }
                // Taken only once, unless it is polled after it was ready.
                match ($(this.$f.take()),+) {
                    ($(Some($f)),+) => Poll::Ready(($($f),+)),
                    _ => Poll::Pending,
                }
            }
        }
    };
}

join!(
    /// Awaits two futures, and returns both outputs. Allocates nothing.
    join, Join, a: A, b: B
);
join!(
    /// Awaits three futures. Allocates nothing.
    join3, Join3, a: A, b: B, c: C
);
join!(
    /// Awaits four futures. Allocates nothing.
    join4, Join4, a: A, b: B, c: C, d: D
);

/// Awaits any number of futures, and returns their outputs in the order of the futures.
///
/// Two allocations (`ENOMEM`), where sleeping is allowed; awaiting allocates nothing.
pub fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Result<JoinAll<F>> {
    let mut slots = KVec::new();
    for future in futures {
        slots.push(MaybeDone::new(future), GFP_KERNEL)?;
    }
    let outputs = KVec::with_capacity(slots.len(), GFP_KERNEL)?;
    Ok(JoinAll { slots, outputs })
}

/// The future of [`join_all`].
#[must_use = "futures do nothing unless awaited"]
pub struct JoinAll<F: Future> {
    // Pinned once it is polled: neither moved nor grown.
    slots: KVec<MaybeDone<F>>,
    /// With room for all.
    outputs: KVec<F::Output>,
}

// What is pinned is on the heap; outputs are not.
impl<F: Future> Unpin for JoinAll<F> {}

impl<F: Future> Future for JoinAll<F> {
    type Output = KVec<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut ready = true;
        for slot in self.slots.iter_mut() {
            // SAFETY: It stays where it is until it is dropped.
            ready &= unsafe { Pin::new_unchecked(slot) }.poll(cx);
        }
        if !ready {
            return Poll::Pending;
        }
        let this = &mut *self;
        for slot in this.slots.iter_mut() {
            // SAFETY: As above.
            if let Some(output) = unsafe { Pin::new_unchecked(slot) }.take() {
                // There is room.
                let _ = this.outputs.push_within_capacity(output);
            }
        }
        Poll::Ready(core::mem::take(&mut this.outputs))
    }
}
