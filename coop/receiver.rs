// SPDX-License-Identifier: GPL-2.0

//! The receiving end of a [mailbox](crate::mailbox).

use crate::counter::Counter;
use crate::mailbox::{After, Laid, Lane, Shared};
use crate::sys::context::{self, Context as Where};
use crate::waker::poll_cell;
use core::future::Future;
use core::pin::Pin;
use core::ptr::NonNull;
use core::sync::atomic::{fence, Ordering::*};
use core::task::{Context, Poll};
use kernel::sync::Arc;

/// Messages taken from one lane in a row, if others have some too.
const ROW: u16 = 16;

/// The receiving end of a mailbox; one coroutine has it.
///
/// Dropping it drops the messages that are left, so that each call among them fails with
/// `ECANCELED`. Unless all senders have gone, it waits for a grace period first; where sleeping is
/// not allowed, as in a coroutine of a `Bh` domain, the home thread does that soon after.
/// (When the domain has ended there is nobody to wait for.)
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The lane to look at first.
    next: u32,
    /// Messages that it may still give before the next one is looked at first.
    row: u16,
    /// The domain's: requests may be laid before it.
    inline: bool,
    /// Counts its messages.
    tally: Tally,
}

/// That of the domain's counters that counts what a receiver takes: its messages, or its requests.
///
/// # Invariants
///
/// The counter is there for as long as the receiver's executor, and only counted by its runner.
struct Tally(NonNull<Counter>);

// SAFETY: A reference to a counter, which is `Sync`.
unsafe impl Send for Tally {}
// SAFETY: As above.
unsafe impl Sync for Tally {}

impl<T> Receiver<T> {
    pub(crate) fn new(shared: Arc<Shared<T>>) -> Self {
        Receiver {
            tally: Tally(NonNull::from(&shared.executor.stats().plain_posts)),
            inline: shared.executor.shared,
            shared,
            next: 0,
            row: ROW,
        }
    }
}

impl<T: Send> Receiver<T> {
    /// The next message; waits for one. `None` when all senders are gone and all is received.
    pub fn recv(&mut self) -> Recv<'_, T> {
        Recv { receiver: self }
    }

    /// The next message, if there is one.
    #[inline(never)]
    pub fn try_recv(&mut self) -> Option<T> {
        self.look()
    }

    #[inline(always)]
    fn look(&mut self) -> Option<T> {
        let message = self.pop()?;
        self.shared.room.made();
        self.count();
        Some(message)
    }

    /// The next message from the lanes, or registers for one: `Pending`.
    #[inline(never)]
    fn poll_lanes(&mut self, cx: &Context<'_>) -> Poll<Option<T>> {
        let inside = self.shared.executor.is_polling_with(cx);
        if inside && self.inline {
            // SAFETY: The coroutine that is polled is us.
            if unsafe { self.shared.still_listens() } {
                return Poll::Pending;
            }
            // SAFETY: As above.
            unsafe { self.shared.listens_no_more() };
        }
        loop {
            // A signal from before the look needs no second look.
            self.shared.receiver.try_wait();
            if let Some(message) = self.look() {
                return Poll::Ready(Some(message));
            }
            let shared = &*self.shared;
            // Who waits for room has signalled.
            shared.room.made();
            if shared.senders.load(Acquire) == 0 {
                // What the last sender sent, it sent before it went.
                return Poll::Ready(self.try_recv());
            }
            let signalled = if inside {
                // SAFETY: The coroutine that is polled is us.
                unsafe { shared.poll_receiver() }
            } else {
                poll_cell(&shared.receiver, cx)
            };
            if !signalled {
                return Poll::Pending;
            }
        }
    }

    #[inline(always)]
    fn count(&self) {
        // SAFETY: By the type's invariant; `shared` keeps the executor.
        unsafe { self.tally.0.as_ref() }.add(1);
    }

    /// Has messages counted as calls.
    pub(crate) fn count_calls(&mut self) {
        // INVARIANT: Of the same executor.
        self.tally = Tally(NonNull::from(&self.shared.executor.stats().queued_calls));
    }

    #[inline(always)]
    fn pop(&mut self) -> Option<T> {
        if self.row == 0 {
            self.next = self.next.wrapping_add(1);
            self.row = ROW;
        }
        if let [used] = &*self.shared.used {
            // Up to 21 CPUs. Relaxed: ordered by the signal, like the messages.
            let used = used.load(Relaxed);
            return self.pop_from(used, 0, self.next as usize);
        }
        self.pop_from_many()
    }

    /// The next message from lanes `base..base + 64`, those in the set `used`, beginning with
    /// `start`.
    #[inline(always)]
    fn pop_from(&mut self, used: u64, base: usize, start: usize) -> Option<T> {
        let mut lanes = used.rotate_right(start as u32);
        while lanes != 0 {
            let step = lanes.trailing_zeros() as usize;
            lanes &= lanes.wrapping_sub(1);
            let index = base.wrapping_add(start.wrapping_add(step) % 64);
            if let Some(message) = self.pop_lane(index) {
                if index as u32 != self.next {
                    self.next = index as u32;
                    self.row = ROW;
                }
                self.row = self.row.wrapping_sub(1);
                return Some(message);
            }
        }
        None
    }

    #[cold]
    #[inline(never)]
    fn pop_from_many(&mut self) -> Option<T> {
        let words = self.shared.used.len().max(1);
        let first = self.next as usize / 64 % words;
        for step in 0..words {
            let word = first.wrapping_add(step) % words;
            let start = if step == 0 {
                self.next as usize % 64
            } else {
                0
            };
            let used = self.shared.used.get(word)?.load(Relaxed);
            if let Some(message) = self.pop_from(used, word.wrapping_mul(64), start) {
                return Some(message);
            }
        }
        None
    }

    /// The next message of lane `index`, or one that has to come before it.
    #[inline(always)]
    fn pop_lane(&mut self, index: usize) -> Option<T> {
        let lane = self.shared.lanes.get(index)?.as_ref()?;
        let stats = self.shared.executor.stats();
        // SAFETY: There is one receiver, and this is its `&mut self`: the only consumer.
        let mut first = unsafe { lane.first_noting(|n| stats.saw_in_ring(n)) }?;
        let after = first.with(|envelope| envelope.after);
        if after != After::NOTHING {
            let lane = self.first_of_chain(lane, after)?;
            // SAFETY: As above; of two looks at the same message the later one is used.
            first = unsafe { lane.first() }?;
        }
        Some(first.take().message)
    }

    /// The lane whose first message is not to come after one that is still in another lane; `lane`
    /// itself if `after` was taken. `None` if that message is not there yet, its sender being in
    /// the middle of it: a signal will follow.
    #[cold]
    fn first_of_chain<'a>(
        &'a self,
        mut lane: &'a Lane<T>,
        mut after: After,
    ) -> Option<&'a Lane<T>> {
        let stats = self.shared.executor.stats();
        // Never in a circle: each message names one that was sent before.
        while after != After::NOTHING {
            let before = self.shared.lanes.get(after.lane())?.as_ref()?;
            if before.has_taken(after.position()) {
                break;
            }
            lane = before;
            // SAFETY: There is one receiver, and its `&mut self` is up the stack.
            let first = unsafe { lane.first_noting(|n| stats.saw_in_ring(n)) }?;
            after = first.with(|envelope| envelope.after);
        }
        Some(lane)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.closed.store(true, Release);
        // The last sender has let go of what it sent.
        if self.shared.senders.load(Acquire) != 0 {
            if Where::require_sleepable().is_err() {
                self.shared.orphaned.store(true, Release);
                // Pairs with the fence in `tear_down`: it sees this, or we see that all is quiet.
                fence(SeqCst);
                if self.shared.executor.quiet.load(Acquire) {
                    self.shared.bury_orphan();
                } else {
                    self.shared.executor.bury_later();
                }
                return;
            }
            context::wait_for_senders();
        }
        self.shared.buried.store(true, Relaxed);
        // SAFETY: We are the only consumer.
        unsafe { self.shared.drain() };
    }
}

/// The future of [`Receiver::recv`]. Cancel-safe: a message is taken only when it is returned.
#[must_use = "futures do nothing unless awaited"]
pub struct Recv<'a, T> {
    receiver: &'a mut Receiver<T>,
}

impl<T: Send> Future for Recv<'_, T> {
    type Output = Option<T>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let shared = &*self.receiver.shared;
        let context = core::ptr::from_ref(cx).addr();
        match shared.laid(context) {
            // Counted by the caller.
            // SAFETY: It is there.
            Some(Laid::Whole) => return Poll::Ready(Some(unsafe { shared.take_laid(context) })),
            // SAFETY: It was.
            Some(Laid::Taken) if unsafe { shared.listens_again() } => return Poll::Pending,
            _ => (),
        }
        self.receiver.poll_lanes(cx)
    }
}
