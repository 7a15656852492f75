// SPDX-License-Identifier: GPL-2.0

//! A bounded queue from coroutines to coroutines of one domain.

use super::bound::{poll_take, Bound, Lendable, Seat, Wake};
use super::store::{Refusal, Slot, Store};
use crate::domain::Handle;
use core::cell::UnsafeCell;
use core::future::Future;
use core::mem::MaybeUninit;
use core::pin::Pin;
use core::task::{Context, Poll};
use kernel::prelude::*;

/// What coroutines of the domain share.
type State<T> = Store<T, KVec<Slot<T>>, Wake>;

// SAFETY: Permits, numbers and messages; all of them may be sent.
unsafe impl<T: Send> Lendable for State<T> {}

/// A bounded queue of messages.
///
/// For coroutines of one domain, any number on either side; others get `EPERM`, and send through a
/// [mailbox](crate::Domain::mailbox). Those who wait are served first come, first served. A message
/// is in the queue when its `send` is ready; what waited for room follows in the order in which its
/// coroutines go on.
pub struct Channel<T: Send>(Bound<State<T>>);

impl<T: Send> Channel<T> {
    /// A queue of up to `capacity` messages (at least 1) for the coroutines of `domain`. Task
    /// context, may sleep. `EINVAL` for more than 2^30, `ENOMEM`.
    pub fn new(domain: &Handle, capacity: u32) -> Result<Self> {
        let capacity = capacity.max(1);
        if capacity > 1 << 30 {
            return Err(EINVAL);
        }
        let count = capacity.next_power_of_two();
        let mut slots = KVec::with_capacity(count as usize, GFP_KERNEL)?;
        for _ in 0..count {
            slots.push(UnsafeCell::new(MaybeUninit::uninit()), GFP_KERNEL)?;
        }
        let state = State::new(slots, capacity).ok_or(EINVAL)?;
        Ok(Channel(Bound::new(domain.executor().clone(), state)))
    }

    /// Sends without waiting. About 20 instructions; does not sleep or allocate.
    ///
    /// The message comes back with `EBUSY` if there is no room, `ECANCELED` after
    /// [`close`](Self::close), `EPERM` outside of the domain.
    #[inline]
    pub fn try_send(&self, message: T) -> Result<(), Unsent<T>> {
        match self.0.enter() {
            Ok(state) if state.is_open() => {
                // SAFETY: It is open.
                unsafe { state.write_open(message) };
                Ok(())
            }
            Ok(state) => state.try_put(message).map_err(|(refusal, message)| Unsent {
                error: refusal.into(),
                message,
            }),
            Err(error) => Err(Unsent { error, message }),
        }
    }

    /// Sends; waits for room if need be.
    ///
    /// The message comes back with `ECANCELED` after [`close`](Self::close), `EPERM` outside of the
    /// domain. Waiting allocates nothing. Dropped before it is ready, it has not sent the message,
    /// and drops it.
    #[inline(always)]
    pub fn send(&self, message: T) -> SendTo<'_, T> {
        SendTo {
            of: &self.0,
            message: MaybeUninit::new(message),
            seat: Seat::new(),
        }
    }

    /// Takes the next message without waiting.
    ///
    /// `EBUSY` if there is none that is not due to one who waits, `ECANCELED` if there is none after
    /// [`close`](Self::close), `EPERM` outside of the domain.
    #[inline]
    pub fn try_recv(&self) -> Result<T> {
        let state = self.0.enter()?;
        if state.is_filled() {
            // SAFETY: It is filled.
            Ok(unsafe { state.read_filled() })
        } else {
            Ok(state.try_get()?)
        }
    }

    /// Takes the next message; waits for one if need be.
    ///
    /// `ECANCELED` if there is none after [`close`](Self::close), `EPERM` outside of the domain.
    /// About 20 instructions if there is one; waiting allocates nothing. Dropped before it is ready,
    /// it has taken none.
    #[inline(always)]
    pub fn recv(&self) -> RecvFrom<'_, T> {
        RecvFrom {
            of: &self.0,
            seat: Seat::new(),
        }
    }

    /// Refuses messages from now on, those of senders that wait, too; what is in the queue can still
    /// be taken. `EPERM` outside of the domain.
    pub fn close(&self) -> Result {
        self.0.enter()?.close();
        Ok(())
    }

    /// Messages in the queue. `EPERM` outside of the domain.
    pub fn len(&self) -> Result<usize> {
        Ok(self.0.enter()?.len() as usize)
    }

    /// Whether there is no message in the queue. `EPERM` outside of the domain.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.0.enter()?.is_empty())
    }
}

impl From<Refusal> for Error {
    #[inline]
    fn from(refusal: Refusal) -> Error {
        match refusal {
            Refusal::Busy => EBUSY,
            Refusal::Closed => ECANCELED,
        }
    }
}

/// A message that was not sent, and why.
pub struct Unsent<T> {
    error: Error,
    message: T,
}

impl<T> Unsent<T> {
    pub(super) fn new(error: Error, message: T) -> Self {
        Unsent { error, message }
    }

    /// The message.
    pub fn into_inner(self) -> T {
        self.message
    }

    /// Why it was not sent.
    pub fn error(&self) -> Error {
        self.error
    }
}

impl<T> core::fmt::Debug for Unsent<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Unsent({:?})", self.error)
    }
}

impl<T> From<Unsent<T>> for Error {
    fn from(unsent: Unsent<T>) -> Error {
        unsent.error
    }
}

/// The future of [`Channel::send`].
///
/// # Invariants
///
/// Unless `seat` is spent, `message` is initialised.
#[must_use = "futures do nothing unless awaited"]
pub struct SendTo<'a, T: Send> {
    of: &'a Bound<State<T>>,
    // Not pinned.
    message: MaybeUninit<T>,
    seat: Seat,
}

impl<T: Send> SendTo<'_, T> {
    /// The message.
    ///
    /// # Safety
    ///
    /// The seat is not spent.
    #[inline(always)]
    unsafe fn take(&mut self) -> T {
        // INVARIANT: Spent from now on.
        self.seat.place().spend();
        // SAFETY: By the type's invariant; read once.
        unsafe { self.message.assume_init_read() }
    }

    /// Ready, without having sent the message.
    ///
    /// # Safety
    ///
    /// The seat is not spent.
    #[cold]
    unsafe fn refuse(&mut self, error: Error) -> Poll<Result<(), Unsent<T>>> {
        // SAFETY: Per the function's contract.
        let message = unsafe { self.take() };
        Poll::Ready(Err(Unsent { error, message }))
    }

    /// Sends or waits; what is refused stays where it is, and is not spent.
    #[cold]
    #[inline(never)]
    fn poll_slow(&mut self, state: &State<T>, cx: &mut Context<'_>) -> Poll<Result> {
        if self.seat.is_spent() {
            return Poll::Pending;
        }
        let Some(room) = state.room(self.seat.is_waiting()) else {
            return Poll::Ready(Err(ECANCELED));
        };
        // SAFETY: The caller is pinned, and the seat with it.
        let seat = unsafe { Pin::new_unchecked(&mut self.seat) };
        let Poll::Ready(got) = poll_take(self.of, room, seat, 1, cx) else {
            return Poll::Pending;
        };
        // SAFETY: What was got, that is 1 or 0. Not spent, as was just seen.
        let sent = unsafe { state.put_for(got, || self.take()) };
        Poll::Ready(sent.map_err(Error::from))
    }
}

impl<T: Send> Future for SendTo<'_, T> {
    type Output = Result<(), Unsent<T>>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: Not moved, and `seat` is pinned with it.
        let this = unsafe { self.get_unchecked_mut() };
        let of = this.of;
        let poll = match of.enter_with(cx) {
            Ok(state) if state.is_open() && this.seat.is_fresh() => {
                // SAFETY: It is open. Fresh is neither spent, so that there is a message, nor waiting.
                // (Spent as the last thing, so that the compiler sees in `drop` that it is.)
                // INVARIANT: The message was moved out, and it is spent.
                unsafe {
                    state.write_open(this.message.assume_init_read());
                    this.seat.place().spend_idle();
                }
                return Poll::Ready(Ok(()));
            }
            Ok(state) => this.poll_slow(state, cx),
            Err(_) if this.seat.is_spent() => Poll::Pending,
            Err(e) => Poll::Ready(Err(e)),
        };
        match poll {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            // SAFETY: What is refused is not spent.
            Poll::Ready(Err(e)) => unsafe { this.refuse(e) },
        }
    }
}

impl<T: Send> Drop for SendTo<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.seat.is_waiting() {
            let seat = &mut self.seat;
            self.of.abandon(|state| state.cancel_put(seat.place()));
        }
        if !self.seat.is_spent() {
            // SAFETY: By the type's invariant.
            unsafe { self.message.assume_init_drop() };
        }
    }
}

/// The future of [`Channel::recv`].
#[must_use = "futures do nothing unless awaited"]
pub struct RecvFrom<'a, T: Send> {
    of: &'a Bound<State<T>>,
    seat: Seat,
}

impl<T: Send> RecvFrom<'_, T> {
    /// Receives or waits; `message` is initialised if this is ready, and no error. (Not part of what
    /// is returned, which would have others go through memory, too.)
    #[cold]
    #[inline(never)]
    fn poll_slow(
        &mut self,
        state: &State<T>,
        message: &mut MaybeUninit<T>,
        cx: &mut Context<'_>,
    ) -> Poll<Result> {
        let Some(items) = state.items(self.seat.is_waiting()) else {
            return Poll::Ready(match state.try_get() {
                Ok(got) => {
                    message.write(got);
                    Ok(())
                }
                Err(refusal) => Err(refusal.into()),
            });
        };
        // SAFETY: The caller is pinned, and the seat with it.
        let seat = unsafe { Pin::new_unchecked(&mut self.seat) };
        let Poll::Ready(got) = poll_take(self.of, items, seat, 1, cx) else {
            return Poll::Pending;
        };
        // SAFETY: What was got, that is 1 or 0.
        Poll::Ready(match unsafe { state.get_for(got) } {
            Ok(got) => {
                message.write(got);
                Ok(())
            }
            Err(refusal) => Err(refusal.into()),
        })
    }
}

impl<T: Send> Future for RecvFrom<'_, T> {
    type Output = Result<T>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        // SAFETY: Not moved, and `seat` is pinned with it.
        let this = unsafe { self.get_unchecked_mut() };
        let of = this.of;
        let mut message = MaybeUninit::uninit();
        let poll = match of.enter_with(cx) {
            Ok(state) if state.is_filled() => {
                // SAFETY: It is filled. As long as somebody waits it is busy, and not filled: so we do
                // not. (Spent as the last thing, as above.)
                let message = unsafe {
                    let message = state.read_filled();
                    this.seat.place().spend_idle();
                    message
                };
                return Poll::Ready(Ok(message));
            }
            Ok(state) => this.poll_slow(state, &mut message, cx),
            Err(e) => Poll::Ready(Err(e)),
        };
        match poll {
            Poll::Pending => Poll::Pending,
            // SAFETY: It is ready, and no error.
            Poll::Ready(Ok(())) => Poll::Ready(Ok(unsafe { message.assume_init() })),
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
        }
    }
}

impl<T: Send> Drop for RecvFrom<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.seat.is_waiting() {
            let seat = &mut self.seat;
            self.of.abandon(|state| state.cancel_get(seat.place()));
        }
    }
}
