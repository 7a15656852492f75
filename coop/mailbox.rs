// SPDX-License-Identifier: GPL-2.0

//! Mailboxes: the rings through which any number of preemptive senders reach one coroutine.
//!
//! There is one ring (a *lane*) per CPU and kind of context, so that no two senders share one and
//! none needs a lock: while a sender pushes, preemption is off, and what can still come in between
//! on its CPU, a softirq or a hard interrupt, has a lane of its own
//! ([`SenderSection`](crate::sys::context::SenderSection), also for PREEMPT_RT).
//!
//! **Order.** Messages that one thread sends through one [`Sender`], or one CPU from softirqs or
//! from hard interrupts, arrive in the order sent. A thread may move to another CPU, and with it to
//! another lane: each message then names the one that the sender sent before, and the receiver
//! takes that first. Lanes are otherwise visited in turn, some messages each.
//!
//! **Wake-up.** A push is followed by a [`WaitCell::signal`], whose read-modify-write also orders
//! it before the receiver's next look.
//!
//! **End.** When the receiver goes it says so, waits until no sender is in the middle of a push
//! (a grace period), and drops what is left. Everything later is handed back to its sender.

use crate::block_on::{block_on, Patience};
use crate::executor::Executor;
use crate::msgq::{Ring, Slot, Storage};
use crate::room::Room;
use crate::sys::context::{self, Context as Where, SenderSection};
use crate::wait_cell::WaitCell;
use crate::waker::{poll_cell, WakeRef};
use core::future::Future;
use core::pin::Pin;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use core::task::{Context, Poll};
use kernel::prelude::*;
use kernel::sync::Arc;

/// Room of a mailbox: messages per CPU, for each kind of sending context.
///
/// Powers of two; 0: such contexts cannot send.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// From threads.
    pub task: usize,
    /// From softirqs.
    pub softirq: usize,
    /// From hard interrupts.
    pub hardirq: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        Capacity {
            task: 64,
            softirq: 64,
            hardirq: 16,
        }
    }
}

/// Why a message was not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PostErrorKind {
    /// There is no room at the moment: `EAGAIN`.
    Full,
    /// The receiver, or its domain, is gone: `ECANCELED`, or `EOWNERDEAD` if a fault ended it.
    Closed,
    /// Not from this context: `EWOULDBLOCK`.
    Context,
    /// From inside a coroutine, which would block its domain: `EDEADLK`.
    Deadlock,
    /// The sender is being killed: `EINTR`.
    Killed,
    /// No memory to wait with: `ENOMEM`.
    NoMemory,
}

impl PostErrorKind {
    /// Why a thread could not wait.
    fn from_wait(e: Error) -> Self {
        if e == EDEADLK {
            PostErrorKind::Deadlock
        } else if e == EINTR {
            PostErrorKind::Killed
        } else {
            PostErrorKind::Context
        }
    }
}

/// A message that was not sent, and why.
pub struct PostError<T> {
    message: T,
    kind: PostErrorKind,
    faulted: bool,
}

impl<T> PostError<T> {
    /// The message.
    pub fn into_inner(self) -> T {
        self.message
    }

    /// Why it was not sent.
    pub fn kind(&self) -> PostErrorKind {
        self.kind
    }

    /// The error number.
    pub fn errno(&self) -> Error {
        match self.kind {
            PostErrorKind::Full | PostErrorKind::Context => EAGAIN,
            PostErrorKind::Closed if self.faulted => EOWNERDEAD,
            PostErrorKind::Closed => ECANCELED,
            PostErrorKind::Deadlock => EDEADLK,
            PostErrorKind::Killed => EINTR,
            PostErrorKind::NoMemory => ENOMEM,
        }
    }
}

impl<T> core::fmt::Debug for PostError<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.kind.fmt(f)
    }
}

impl<T> From<PostError<T>> for Error {
    fn from(e: PostError<T>) -> Self {
        e.errno()
    }
}

/// Slots of a ring, allocated.
struct KSlots<T>(KVVec<Slot<T>>);

impl<T> KSlots<T> {
    fn new(capacity: usize) -> Result<Self> {
        let mut slots = KVVec::with_capacity(capacity, GFP_KERNEL)?;
        for _ in 0..capacity {
            slots.push(Slot::new(), GFP_KERNEL)?;
        }
        Ok(KSlots(slots))
    }
}

// SAFETY: The slots stay where they are as long as the vector is not changed, and it is not.
unsafe impl<T> Storage<T> for KSlots<T> {
    fn slots(&mut self) -> NonNull<[Slot<T>]> {
        NonNull::from(self.0.as_mut_slice())
    }
}

/// The message that a sender sent before, if that was through another lane: the lane in the upper
/// 16 bits (there are fewer than 3 * 8192), the position, which never comes round, in the lower 48.
#[derive(Clone, Copy, PartialEq, Eq)]
struct After(u64);

impl After {
    const NOTHING: After = After(u64::MAX);

    const POSITION: u64 = (1 << 48) - 1;

    fn new(lane: usize, position: u64) -> Self {
        After((lane as u64) << 48 | position & Self::POSITION)
    }

    fn lane(self) -> usize {
        (self.0 >> 48) as usize
    }

    /// Whether that message is among the first `taken` of its lane.
    fn is_taken(self, taken: u64) -> bool {
        taken > self.0 & Self::POSITION
    }
}

struct Envelope<T> {
    after: After,
    message: T,
}

/// The ring of one CPU and kind of context.
struct Lane<T> {
    ring: Ring<Envelope<T>, KSlots<Envelope<T>>>,
    /// Messages pushed so far. Written by the sender of the moment.
    pushed: AtomicU64,
    /// Messages taken so far. Written by the receiver.
    taken: AtomicU64,
}

/// What senders and receiver share.
#[pin_data]
struct Shared<T> {
    /// `None` where the capacity is 0. Indexed by `SenderSection::index`.
    lanes: KVVec<Option<Lane<T>>>,
    /// A bit for each lane that was ever pushed to: the receiver looks at those only.
    used: KVVec<AtomicU64>,
    receiver: WaitCell<WakeRef>,
    closed: AtomicBool,
    senders: AtomicUsize,
    #[pin]
    room: Room,
    executor: Arc<Executor>,
}

impl<T> Shared<T> {
    #[cold]
    fn mark_used(&self, index: usize) {
        if let Some(word) = self.used.get(index / 64) {
            word.fetch_or(1 << (index % 64), Relaxed);
        }
    }
}

// SAFETY: Messages go from senders to the receiver; the lanes are used as their types demand.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: As above.
unsafe impl<T: Send> Sync for Shared<T> {}

/// Makes a mailbox of a domain. Task context, sleeps. `EINVAL` if a capacity is no power of two.
pub(crate) fn mailbox<T: Send + 'static>(
    executor: Arc<Executor>,
    capacity: Capacity,
) -> Result<(Sender<T>, Receiver<T>)> {
    Where::require_sleepable()?;
    let count = SenderSection::count();
    let mut lanes = KVVec::with_capacity(count, GFP_KERNEL)?;
    for index in 0..count {
        let capacity = match SenderSection::kind(index) {
            0 => capacity.task,
            1 => capacity.softirq,
            _ => capacity.hardirq,
        };
        let lane = if capacity == 0 {
            None
        } else {
            Some(Lane {
                ring: Ring::new(KSlots::new(capacity)?).map_err(|_| EINVAL)?,
                pushed: AtomicU64::new(0),
                taken: AtomicU64::new(0),
            })
        };
        lanes.push(lane, GFP_KERNEL)?;
    }
    let mut used = KVVec::new();
    for _ in 0..count.div_ceil(64) {
        used.push(AtomicU64::new(0), GFP_KERNEL)?;
    }
    let shared = Arc::pin_init(
        pin_init!(Shared {
            lanes,
            used,
            receiver: WaitCell::new(),
            closed: AtomicBool::new(false),
            senders: AtomicUsize::new(1),
            room <- Room::new(),
            executor,
        }),
        GFP_KERNEL,
    )?;
    let sender = Sender {
        shared: shared.clone(),
        last: AtomicU64::new(After::NOTHING.0),
    };
    let receiver = Receiver {
        shared,
        next: 0,
        row: ROW,
        calls: false,
    };
    Ok((sender, receiver))
}

/// The sending end of a mailbox: for any context but NMI, any number of clones.
///
/// See the [module](self) for what order is kept.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
    /// The message sent last, as an [`After`].
    last: AtomicU64,
}

impl<T: Send> Sender<T> {
    #[cold]
    fn error(&self, kind: PostErrorKind, message: T) -> PostError<T> {
        PostError {
            message,
            kind,
            faulted: self.shared.executor.is_faulted(),
        }
    }

    /// Sends without waiting. Any context but NMI; does not sleep, allocate or lock.
    ///
    /// The message comes back when the ring of this CPU and context is [full](PostErrorKind::Full),
    /// when the receiver is [gone](PostErrorKind::Closed), or if the mailbox has no room for this
    /// kind of [context](PostErrorKind::Context) at all.
    #[inline]
    pub fn try_post(&self, message: T) -> Result<(), PostError<T>> {
        let shared = &*self.shared;
        let Some(section) = SenderSection::enter() else {
            return Err(self.error(PostErrorKind::Context, message));
        };
        let index = section.index();
        let Some(Some(lane)) = shared.lanes.get(index) else {
            return Err(self.error(PostErrorKind::Context, message));
        };
        // A receiver that closes waits for a grace period afterwards, so that a section that does
        // not see it here ends before the receiver looks for the last time.
        if shared.closed.load(Relaxed) || shared.executor.is_closed() {
            return Err(self.error(PostErrorKind::Closed, message));
        }
        if lane.ring.is_full() {
            return Err(self.error(PostErrorKind::Full, message));
        }
        let position = lane.pushed.load(Relaxed);
        let mut after = After::NOTHING;
        if SenderSection::kind(index) == 0 {
            // An exchange, because threads may share a sender: they form a chain.
            let last = After(self.last.swap(After::new(index, position).0, AcqRel));
            if last != After::NOTHING && last.lane() != index {
                after = last;
            }
        }
        // SAFETY: Within the section we are the only producer of this lane.
        if let Err(envelope) = unsafe { lane.ring.push(Envelope { after, message }) } {
            // Cannot be: only we take room away.
            return Err(self.error(PostErrorKind::Full, envelope.message));
        }
        lane.pushed.store(position.wrapping_add(1), Relaxed);
        if position == 0 {
            shared.mark_used(index);
        }
        let waiter = shared.receiver.signal();
        drop(section);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
        Ok(())
    }

    /// Sends; waits for room if need be, killable. Task context, sleeps.
    ///
    /// Besides the errors of [`try_post`](Self::try_post): [`PostErrorKind::Killed`];
    /// [`PostErrorKind::Context`] where sleeping is not allowed; [`PostErrorKind::Deadlock`] inside
    /// a coroutine, where [`send`](Self::send) is to be used.
    pub fn post(&self, message: T) -> Result<(), PostError<T>> {
        let mut sending = self.send(message);
        match block_on(Patience::Killable, &mut sending) {
            Ok(done) => done,
            Err(e) => match sending.message.take() {
                Some(message) => Err(self.error(PostErrorKind::from_wait(e), message)),
                // Sent, or failed, and only then interrupted: `block_on` does not do that.
                None => Ok(()),
            },
        }
    }

    /// Sends from a coroutine; waits for room if need be.
    ///
    /// Dropping the future before it is ready drops the message unsent.
    pub fn send(&self, message: T) -> SendFuture<'_, T> {
        SendFuture {
            sender: self,
            message: Some(message),
        }
    }

    /// Sends, or registers for room: then the error is [`PostErrorKind::Full`].
    pub(crate) fn poll_send(&self, message: T, cx: &Context<'_>) -> Result<(), PostError<T>> {
        let message = match self.try_post(message) {
            Err(e) if e.kind == PostErrorKind::Full => e.message,
            done => return done,
        };
        let Some(me) = WakeRef::from_context(cx) else {
            return Err(self.error(PostErrorKind::Context, message));
        };
        if self.shared.room.register(me).is_err() {
            return Err(self.error(PostErrorKind::NoMemory, message));
        }
        // The second look, after the barrier in `register`.
        self.try_post(message)
    }

    /// Whether the receiver, or its domain, is gone. Any context.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Acquire) || self.shared.executor.is_closed()
    }

    pub(crate) fn executor(&self) -> &Arc<Executor> {
        &self.shared.executor
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Relaxed);
        Sender {
            shared: self.shared.clone(),
            last: AtomicU64::new(After::NOTHING.0),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, AcqRel) == 1 {
            if let Some(waiter) = self.shared.receiver.signal() {
                waiter.wake();
            }
        }
    }
}

/// The future of [`Sender::send`].
#[must_use = "futures do nothing unless awaited"]
pub struct SendFuture<'a, T: Send> {
    sender: &'a Sender<T>,
    message: Option<T>,
}

impl<T: Send> Unpin for SendFuture<'_, T> {}

impl<T: Send> Future for SendFuture<'_, T> {
    type Output = Result<(), PostError<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(message) = self.message.take() else {
            return Poll::Pending;
        };
        match self.sender.poll_send(message, cx) {
            Err(e) if e.kind == PostErrorKind::Full => {
                self.message = Some(e.message);
                Poll::Pending
            }
            done => Poll::Ready(done),
        }
    }
}

/// Messages taken from one lane in a row, if others have some too.
const ROW: u32 = 16;

/// The receiving end of a mailbox; one coroutine has it.
///
/// Drop it where sleeping is allowed, as in a coroutine: it waits for a grace period, and drops
/// the messages that are left, so that each call among them fails with `ECANCELED`.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The lane to look at first.
    next: usize,
    /// Messages that it may still give before the next one is looked at first.
    row: u32,
    /// Messages are requests that wait for an answer.
    calls: bool,
}

impl<T: Send> Receiver<T> {
    /// The next message; waits for one. `None` when all senders are gone and all is received.
    pub fn recv(&mut self) -> Recv<'_, T> {
        Recv { receiver: self }
    }

    /// The next message, if there is one.
    #[inline]
    pub fn try_recv(&mut self) -> Option<T> {
        let message = self.pop()?;
        self.shared.room.made();
        let stats = &self.shared.executor.stats;
        stats.posts.add(1);
        stats.calls.add(u64::from(self.calls));
        Some(message)
    }

    /// Has messages counted as calls.
    pub(crate) fn count_calls(&mut self) {
        self.calls = true;
    }

    #[inline]
    fn pop(&mut self) -> Option<T> {
        if self.row == 0 {
            self.next = self.next.wrapping_add(1);
            self.row = ROW;
        }
        if let [used] = &*self.shared.used {
            // Up to 21 CPUs. Relaxed: ordered by the signal, like the messages.
            let used = used.load(Relaxed);
            return self.pop_from(used, 0, self.next);
        }
        self.pop_from_many()
    }

    /// The next message from lanes `base..base + 64`, those in the set `used`, beginning with
    /// `start`.
    #[inline]
    fn pop_from(&mut self, used: u64, base: usize, start: usize) -> Option<T> {
        let mut lanes = used.rotate_right(start as u32);
        while lanes != 0 {
            let step = lanes.trailing_zeros() as usize;
            lanes &= lanes.wrapping_sub(1);
            let index = base.wrapping_add(start.wrapping_add(step) % 64);
            if let Some(message) = self.pop_lane(index) {
                if index != self.next {
                    self.next = index;
                    self.row = ROW;
                }
                self.row = self.row.wrapping_sub(1);
                return Some(message);
            }
        }
        None
    }

    #[cold]
    fn pop_from_many(&mut self) -> Option<T> {
        let words = self.shared.used.len().max(1);
        let first = self.next / 64 % words;
        for step in 0..words {
            let word = first.wrapping_add(step) % words;
            let start = if step == 0 { self.next % 64 } else { 0 };
            let used = self.shared.used.get(word)?.load(Relaxed);
            if let Some(message) = self.pop_from(used, word.wrapping_mul(64), start) {
                return Some(message);
            }
        }
        None
    }

    /// The next message of lane `index`, or one that has to come before it.
    #[inline]
    fn pop_lane(&mut self, index: usize) -> Option<T> {
        let mut lane = self.shared.lanes.get(index)?.as_ref()?;
        // SAFETY: There is one receiver, and this is its `&mut self`: the only consumer.
        let after = unsafe { lane.ring.peek() }?.after;
        if after != After::NOTHING {
            lane = self.first_of_chain(lane, after)?;
        }
        let taken = lane.taken.load(Relaxed);
        let waiting = lane.pushed.load(Relaxed).wrapping_sub(taken);
        self.shared.executor.stats.saw_in_ring(waiting);
        // SAFETY: As above.
        let envelope = unsafe { lane.ring.pop() }?;
        lane.taken.store(taken.wrapping_add(1), Relaxed);
        Some(envelope.message)
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
        // Never in a circle: each message names one that was sent before.
        while after != After::NOTHING {
            let before = self.shared.lanes.get(after.lane())?.as_ref()?;
            if after.is_taken(before.taken.load(Relaxed)) {
                break;
            }
            lane = before;
            // SAFETY: There is one receiver, and its `&mut self` is up the stack.
            after = unsafe { lane.ring.peek() }?.after;
        }
        Some(lane)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.closed.store(true, Release);
        context::wait_for_senders();
        self.shared.receiver.clear_waiter();
        for lane in self.shared.lanes.iter().flatten() {
            // SAFETY: We are the only consumer. Nothing is pushed any more: every section that
            // began before `closed` was set has ended, later ones see it.
            while let Some(envelope) = unsafe { lane.ring.pop() } {
                drop(envelope);
            }
        }
        self.shared.room.wake_all();
    }
}

/// The future of [`Receiver::recv`]. Cancel-safe: a message is taken only when it is returned.
#[must_use = "futures do nothing unless awaited"]
pub struct Recv<'a, T> {
    receiver: &'a mut Receiver<T>,
}

impl<T: Send> Future for Recv<'_, T> {
    type Output = Option<T>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            // A signal from before the look needs no second look.
            self.receiver.shared.receiver.try_wait();
            if let Some(message) = self.receiver.try_recv() {
                return Poll::Ready(Some(message));
            }
            let shared = &*self.receiver.shared;
            if shared.senders.load(Acquire) == 0 {
                // What the last sender sent, it sent before it went.
                return Poll::Ready(self.receiver.try_recv());
            }
            if !poll_cell(&shared.receiver, cx) {
                return Poll::Pending;
            }
        }
    }
}
