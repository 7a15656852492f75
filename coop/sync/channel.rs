// SPDX-License-Identifier: GPL-2.0

//! A bounded queue from coroutines to coroutines of one domain.

use super::bound::{poll_wait, Bound, Lendable, Local, Seat};
use crate::domain::Handle;
use core::cell::{Cell, UnsafeCell};
use core::future::Future;
use core::mem::MaybeUninit;
use core::pin::Pin;
use core::task::{Context, Poll};
use kernel::prelude::*;

/// Room and messages are permits each: who has one of `room` may write to the tail, who has one of
/// `items` may read at the head.
///
/// # Invariants
///
/// - The slots from `head` to `tail`, which wrap, are initialised; `tail - head` is the number of
///   permits of `items`, taken or not. That and the permits of `room`, taken or not, are the
///   capacity at most, which is not more than there are slots; the number of slots is a power of two.
/// - When `closed`, nobody waits.
struct State<T> {
    room: Local,
    items: Local,
    closed: Cell<bool>,
    head: Cell<u32>,
    tail: Cell<u32>,
    mask: u32,
    slots: KVec<UnsafeCell<MaybeUninit<T>>>,
}

// SAFETY: Permits, numbers and messages; all of them may be sent.
unsafe impl<T: Send> Lendable for State<T> {}

impl<T> State<T> {
    #[inline(always)]
    fn slot(&self, position: u32) -> *mut MaybeUninit<T> {
        let index = (position & self.mask) as usize;
        // SAFETY: By the type's invariant there are `mask + 1` slots.
        unsafe { self.slots.get_unchecked(index) }.get()
    }

    /// Writes a message, in exchange for a permit of `room`.
    ///
    /// # Safety
    ///
    /// The caller has taken the permit.
    #[inline(always)]
    unsafe fn put(&self, message: T) {
        let tail = self.tail.get();
        // SAFETY: With a permit of `room` the slot at the tail is free; no reference to it lives.
        unsafe { (*self.slot(tail)).write(message) };
        // INVARIANT: A permit of `room` becomes one of `items`.
        self.tail.set(tail.wrapping_add(1));
        self.items.give(1);
    }

    /// Reads a message, in exchange for a permit of `items`.
    ///
    /// # Safety
    ///
    /// The caller has taken the permit.
    #[inline(always)]
    unsafe fn get(&self) -> T {
        let head = self.head.get();
        // SAFETY: With a permit of `items` the slot at the head is initialised; it is read once.
        let message = unsafe { (*self.slot(head)).assume_init_read() };
        // INVARIANT: A permit of `items` becomes one of `room`.
        self.head.set(head.wrapping_add(1));
        self.room.give(1);
        message
    }

    /// Takes room, unless that takes waiting or it is too late.
    #[inline(always)]
    fn try_room(&self) -> bool {
        if !self.room.try_take(1) {
            return false;
        }
        if self.closed.get() {
            self.room.give(1);
            return false;
        }
        true
    }

    /// Why there is no room.
    #[cold]
    fn refusal(&self) -> Error {
        if self.closed.get() {
            ECANCELED
        } else {
            EBUSY
        }
    }
}

impl<T> Drop for State<T> {
    fn drop(&mut self) {
        let (mut head, tail) = (self.head.get(), self.tail.get());
        while head != tail {
            // SAFETY: Initialised by the type's invariant; dropped once.
            unsafe { (*self.slot(head)).assume_init_drop() };
            head = head.wrapping_add(1);
        }
    }
}

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
        // INVARIANT: No messages, and as many permits for room.
        Ok(Channel(Bound::new(
            domain.executor().clone(),
            State {
                room: Local::new(capacity),
                items: Local::new(0),
                closed: Cell::new(false),
                head: Cell::new(0),
                tail: Cell::new(0),
                mask: count.wrapping_sub(1),
                slots,
            },
        )))
    }

    /// Sends without waiting. About 25 instructions; does not sleep or allocate.
    ///
    /// The message comes back with `EBUSY` if there is no room, `ECANCELED` after
    /// [`close`](Self::close), `EPERM` outside of the domain.
    #[inline]
    pub fn try_send(&self, message: T) -> Result<(), Unsent<T>> {
        let error = match self.0.enter() {
            Ok(state) if state.try_room() => {
                // SAFETY: The permit was just taken.
                unsafe { state.put(message) };
                return Ok(());
            }
            Ok(state) => state.refusal(),
            Err(e) => e,
        };
        Err(Unsent { error, message })
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
        if state.items.try_take(1) {
            // SAFETY: The permit was just taken.
            Ok(unsafe { state.get() })
        } else {
            Err(state.refusal())
        }
    }

    /// Takes the next message; waits for one if need be.
    ///
    /// `ECANCELED` if there is none after [`close`](Self::close), `EPERM` outside of the domain.
    /// About 35 instructions if there is one; waiting allocates nothing. Dropped before it is ready,
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
        let state = self.0.enter()?;
        if !state.closed.replace(true) {
            // INVARIANT: Nobody waits, and nobody will.
            state.room.dismiss();
            state.items.dismiss();
        }
        Ok(())
    }

    /// Messages in the queue. `EPERM` outside of the domain.
    pub fn len(&self) -> Result<usize> {
        let state = self.0.enter()?;
        Ok(state.tail.get().wrapping_sub(state.head.get()) as usize)
    }

    /// Whether there is no message in the queue. `EPERM` outside of the domain.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
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
    #[cold]
    fn refuse(&mut self, error: Error) -> Poll<Result<(), Unsent<T>>> {
        if self.seat.is_spent() {
            return Poll::Pending;
        }
        // SAFETY: As was just seen.
        let message = unsafe { self.take() };
        Poll::Ready(Err(Unsent { error, message }))
    }

    #[cold]
    #[inline(never)]
    fn poll_slow(&mut self, state: &State<T>, cx: &mut Context<'_>) -> Poll<Result<(), Unsent<T>>> {
        if self.seat.is_spent() {
            return Poll::Pending;
        }
        if !self.seat.is_waiting() && state.closed.get() {
            return self.refuse(ECANCELED);
        }
        // SAFETY: The caller is pinned, and the seat with it.
        let seat = unsafe { Pin::new_unchecked(&mut self.seat) };
        match poll_wait(self.of, &state.room, seat, 1, cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(0) => (),
            Poll::Ready(_) if state.closed.get() => state.room.give(1),
            Poll::Ready(_) => {
                // SAFETY: Not spent, as was just seen; the permit was just taken.
                unsafe { state.put(self.take()) };
                return Poll::Ready(Ok(()));
            }
        }
        self.refuse(ECANCELED)
    }
}

impl<T: Send> Future for SendTo<'_, T> {
    type Output = Result<(), Unsent<T>>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: Not moved, and `seat` is pinned with it.
        let this = unsafe { self.get_unchecked_mut() };
        let of = this.of;
        let state = match of.enter_with(cx) {
            Ok(state) => state,
            Err(e) => return this.refuse(e),
        };
        if this.seat.is_fresh() && state.try_room() {
            // SAFETY: Fresh is not spent; the permit was just taken.
            unsafe { state.put(this.take()) };
            return Poll::Ready(Ok(()));
        }
        this.poll_slow(state, cx)
    }
}

impl<T: Send> Drop for SendTo<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.seat.is_waiting() {
            let seat = &mut self.seat;
            self.of.abandon(|state| state.room.cancel(seat.place()));
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
    #[cold]
    #[inline(never)]
    fn poll_slow(&mut self, state: &State<T>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        if !self.seat.is_waiting() && state.closed.get() {
            return Poll::Ready(Err(ECANCELED));
        }
        // SAFETY: The caller is pinned, and the seat with it.
        let seat = unsafe { Pin::new_unchecked(&mut self.seat) };
        match poll_wait(self.of, &state.items, seat, 1, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(0) => Poll::Ready(Err(ECANCELED)),
            // SAFETY: The permit was just taken.
            Poll::Ready(_) => Poll::Ready(Ok(unsafe { state.get() })),
        }
    }
}

impl<T: Send> Future for RecvFrom<'_, T> {
    type Output = Result<T>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        // SAFETY: Not moved, and `seat` is pinned with it.
        let this = unsafe { self.get_unchecked_mut() };
        let of = this.of;
        let state = of.enter_with(cx)?;
        if this.seat.is_fresh() && state.items.try_take(1) {
            // SAFETY: The permit was just taken.
            return Poll::Ready(Ok(unsafe { state.get() }));
        }
        this.poll_slow(state, cx)
    }
}

impl<T: Send> Drop for RecvFrom<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.seat.is_waiting() {
            let seat = &mut self.seat;
            self.of.abandon(|state| state.items.cancel(seat.place()));
        }
    }
}
