// SPDX-License-Identifier: GPL-2.0

//! A bounded queue from coroutines to coroutines of one domain.

use super::bound::{poll_take, Bound, Lendable, Local, Seat};
use crate::domain::Handle;
use core::cell::{Cell, UnsafeCell};
use core::future::Future;
use core::mem::MaybeUninit;
use core::pin::Pin;
use core::task::{Context, Poll};
use kernel::prelude::*;

/// A ring of messages; and, while somebody waits, permits: who has one of `room` may write to the
/// tail, who has one of `items` may read at the head. While nobody does, the permits are not kept:
/// the positions say it all.
///
/// # Invariants
///
/// - The slots from `head` to the tail, which wrap, are initialised. Those are `capacity` at most,
///   which is not more than there are slots; there are `mask + 1`, a power of two.
/// - Unless `busy`, nobody waits, nobody has a permit, and it is not closed. Then the tail is
///   `readable`, and `writable` is where it comes to when there is no more room.
/// - While `busy`, the tail is `tail`, and `readable` and `writable` are equal to `head`, so that no
///   message is read or written without a permit. `tail - head` is the number of permits of `items`,
///   taken or not; that and the permits of `room`, taken or not, are the capacity at most.
/// - When `closed`, nobody waits.
struct State<T> {
    head: Cell<u32>,
    readable: Cell<u32>,
    writable: Cell<u32>,
    mask: u32,
    tail: Cell<u32>,
    capacity: u32,
    busy: Cell<bool>,
    closed: Cell<bool>,
    slots: KVec<UnsafeCell<MaybeUninit<T>>>,
    room: Local,
    items: Local,
}

// SAFETY: Permits, numbers and messages; all of them may be sent.
unsafe impl<T: Send> Lendable for State<T> {}

impl<T> State<T> {
    /// Where the next message is written.
    fn tail(&self) -> u32 {
        if self.busy.get() {
            self.tail.get()
        } else {
            self.readable.get()
        }
    }

    fn len(&self) -> u32 {
        self.tail().wrapping_sub(self.head.get())
    }

    #[inline(always)]
    fn slot(&self, position: u32) -> *mut MaybeUninit<T> {
        let index = (position & self.mask) as usize;
        // SAFETY: By the type's invariant there are `mask + 1` slots.
        unsafe { self.slots.get_unchecked(index) }.get()
    }

    /// Whether a message may be [written](Self::write_open) without a permit.
    #[inline(always)]
    fn is_open(&self) -> bool {
        self.readable != self.writable
    }

    /// # Safety
    ///
    /// [`is_open`](Self::is_open).
    #[inline(always)]
    unsafe fn write_open(&self, message: T) {
        let tail = self.readable.get();
        // SAFETY: They are equal when it is busy, or there is no room: so there is.
        unsafe { (*self.slot(tail)).write(message) };
        // INVARIANT: As above.
        self.readable.set(tail.wrapping_add(1));
    }

    /// Whether a message may be [read](Self::read_filled) without a permit.
    #[inline(always)]
    fn is_filled(&self) -> bool {
        self.head != self.readable
    }

    /// # Safety
    ///
    /// [`is_filled`](Self::is_filled).
    #[inline(always)]
    unsafe fn read_filled(&self) -> T {
        let head = self.head.get();
        // SAFETY: They are equal when it is busy, or there is no message: so there is.
        let message = unsafe { (*self.slot(head)).assume_init_read() };
        // INVARIANT: There is room for one more.
        self.head.set(head.wrapping_add(1));
        self.writable.set(self.writable.get().wrapping_add(1));
        message
    }

    /// Keeps permits from now on.
    fn engage(&self) {
        if !self.busy.get() {
            let len = self.len();
            // INVARIANT: Nobody had a permit, or waited.
            self.tail.set(self.readable.get());
            self.busy.set(true);
            self.items.reset(len);
            self.room.reset(self.capacity.wrapping_sub(len));
            self.readable.set(self.head.get());
            self.writable.set(self.head.get());
        }
    }

    /// Keeps permits no longer, if nobody has one and nobody waits.
    fn settle(&self) {
        let len = self.len();
        if self.busy.get()
            && !self.closed.get()
            && self.items.is_at_rest(len)
            && self.room.is_at_rest(self.capacity.wrapping_sub(len))
        {
            // INVARIANT: All permits are there for whoever comes.
            self.busy.set(false);
            self.readable.set(self.tail.get());
            self.writable
                .set(self.head.get().wrapping_add(self.capacity));
        }
    }

    /// Writes a message, in exchange for a permit of `room`.
    ///
    /// # Safety
    ///
    /// It is busy, and the caller has taken the permit.
    unsafe fn put(&self, message: T) {
        let tail = self.tail.get();
        // SAFETY: With a permit of `room` the slot at the tail is free; no reference to it lives.
        unsafe { (*self.slot(tail)).write(message) };
        // INVARIANT: A permit of `room` becomes one of `items`.
        self.tail.set(tail.wrapping_add(1));
        self.items.give(1);
        self.settle();
    }

    /// Reads a message, in exchange for a permit of `items`.
    ///
    /// # Safety
    ///
    /// It is busy, and the caller has taken the permit.
    unsafe fn get(&self) -> T {
        let head = self.head.get();
        // SAFETY: With a permit of `items` the slot at the head is initialised; it is read once.
        let message = unsafe { (*self.slot(head)).assume_init_read() };
        let head = head.wrapping_add(1);
        // INVARIANT: Still busy. A permit of `items` becomes one of `room`.
        self.head.set(head);
        self.readable.set(head);
        self.writable.set(head);
        self.room.give(1);
        self.settle();
        message
    }

    /// Sends, while permits are kept or there is no room.
    #[cold]
    #[inline(never)]
    fn try_put(&self, message: T) -> Result<(), Unsent<T>> {
        let error = if self.closed.get() {
            ECANCELED
        } else if self.busy.get() && self.room.try_take(1) {
            // SAFETY: The permit was just taken.
            unsafe { self.put(message) };
            return Ok(());
        } else {
            EBUSY
        };
        Err(Unsent { error, message })
    }

    /// Receives, while permits are kept or there is nothing.
    #[cold]
    #[inline(never)]
    fn try_get(&self) -> Result<T> {
        if self.busy.get() && self.items.try_take(1) {
            // SAFETY: The permit was just taken.
            return Ok(unsafe { self.get() });
        }
        Err(if self.closed.get() { ECANCELED } else { EBUSY })
    }
}

impl<T> Drop for State<T> {
    fn drop(&mut self) {
        let (mut head, tail) = (self.head.get(), self.tail());
        while head != tail {
            // SAFETY: Initialised by the type's invariant; dropped once. Nobody else is there.
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
        // INVARIANT: No messages; nobody is there yet.
        Ok(Channel(Bound::new(
            domain.executor().clone(),
            State {
                head: Cell::new(0),
                readable: Cell::new(0),
                writable: Cell::new(capacity),
                mask: count.wrapping_sub(1),
                tail: Cell::new(0),
                capacity,
                busy: Cell::new(false),
                closed: Cell::new(false),
                slots,
                room: Local::new(0),
                items: Local::new(0),
            },
        )))
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
            Ok(state) => state.try_put(message),
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
            state.try_get()
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
        let state = self.0.enter()?;
        state.engage();
        if !state.closed.replace(true) {
            // INVARIANT: Nobody waits, and nobody will.
            state.room.dismiss();
            state.items.dismiss();
        }
        Ok(())
    }

    /// Messages in the queue. `EPERM` outside of the domain.
    pub fn len(&self) -> Result<usize> {
        Ok(self.0.enter()?.len() as usize)
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
        if !self.seat.is_waiting() && state.closed.get() {
            return Poll::Ready(Err(ECANCELED));
        }
        state.engage();
        // SAFETY: The caller is pinned, and the seat with it.
        let seat = unsafe { Pin::new_unchecked(&mut self.seat) };
        match poll_take(self.of, &state.room, seat, 1, cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(0) => (),
            Poll::Ready(_) if state.closed.get() => state.room.give(1),
            Poll::Ready(_) => {
                // SAFETY: Not spent, as was just seen; the permit was just taken.
                unsafe { state.put(self.take()) };
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Ready(Err(ECANCELED))
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
            self.of.abandon(|state| {
                state.room.cancel(seat.place());
                state.settle();
            });
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
        if !self.seat.is_waiting() && state.closed.get() {
            return Poll::Ready(state.try_get().map(|got| {
                message.write(got);
            }));
        }
        state.engage();
        // SAFETY: The caller is pinned, and the seat with it.
        let seat = unsafe { Pin::new_unchecked(&mut self.seat) };
        match poll_take(self.of, &state.items, seat, 1, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(0) => Poll::Ready(Err(ECANCELED)),
            Poll::Ready(_) => {
                // SAFETY: The permit was just taken.
                message.write(unsafe { state.get() });
                Poll::Ready(Ok(()))
            }
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
            self.of.abandon(|state| {
                state.items.cancel(seat.place());
                state.settle();
            });
        }
    }
}
