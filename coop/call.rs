// SPDX-License-Identifier: GPL-2.0

//! Calls: a message that is answered, by value, and may lose its caller at any instant.
//!
//! The answer goes through a slot of the mailbox, never through the caller's stack. Who owns a slot
//! when is ruled by [`reply_state`](crate::reply_state). A call allocates nothing: when all slots
//! are in use, callers wait for one.

use crate::block_on::{block_on, Patience};
use crate::executor::{Executor, OwnerDied};
use crate::mailbox::{self, Capacity, PostErrorKind, Receiver, Sender};
use crate::reply_state::{Answer, Complete, FreeList, ReplyState};
use crate::room::Room;
use crate::wait_cell::WaitCell;
use crate::waker::{poll_cell, WakeRef};
use core::cell::UnsafeCell;
use core::future::Future;
use core::mem::MaybeUninit;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use core::task::{Context, Poll};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::msecs_to_jiffies;

/// Calls of one mailbox that may be under way at once; more wait.
const SLOTS: u32 = 64;

struct Slot<R> {
    state: ReplyState,
    /// Who waits for the answer.
    caller: WaitCell<WakeRef>,
    /// Who waits for the caller to give up.
    receiver: WaitCell<WakeRef>,
    value: UnsafeCell<MaybeUninit<R>>,
}

/// The slots of a mailbox.
#[pin_data]
struct Slots<R> {
    slots: KVVec<Slot<R>>,
    free: FreeList,
    /// A fault ended the domain: no slot is used again.
    dead: AtomicBool,
    callers: AtomicUsize,
    #[pin]
    room: Room,
}

// SAFETY: Values go from the receiver to callers; `ReplyState` says who has access when.
unsafe impl<R: Send> Send for Slots<R> {}
// SAFETY: As above.
unsafe impl<R: Send> Sync for Slots<R> {}

impl<R> Slots<R> {
    fn new() -> Result<Arc<Self>> {
        let free = FreeList::new();
        let mut slots = KVVec::with_capacity(SLOTS as usize, GFP_KERNEL)?;
        for index in 0..SLOTS {
            let slot = Slot {
                state: ReplyState::new(),
                caller: WaitCell::new(),
                receiver: WaitCell::new(),
                value: UnsafeCell::new(MaybeUninit::uninit()),
            };
            free.put(index, &slot.state);
            slots.push(slot, GFP_KERNEL)?;
        }
        Arc::pin_init(
            pin_init!(Slots {
                slots,
                free,
                dead: AtomicBool::new(false),
                callers: AtomicUsize::new(1),
                room <- Room::new(),
            }),
            GFP_KERNEL,
        )
    }

    #[inline]
    fn get(&self, index: u32) -> Option<&Slot<R>> {
        self.slots.get(index as usize)
    }

    #[inline]
    fn take(&self) -> Option<u32> {
        let index = self.free.take(|index| self.get(index).map(|s| &s.state))?;
        self.get(index)?.state.begin();
        Some(index)
    }

    fn put(&self, index: u32) {
        if let Some(slot) = self.get(index) {
            slot.caller.clear_waiter();
            slot.receiver.clear_waiter();
            // After a fault, replies that are still around may be of calls that have ended.
            if !self.dead.load(Acquire) {
                self.free.put(index, &slot.state);
                self.room.made();
            }
        }
    }

    /// Gives a slot back whose caller has gone; any other is the caller's to give back.
    fn put_abandoned(&self, index: u32) {
        if self
            .get(index)
            .is_some_and(|slot| slot.state.is_abandoned())
        {
            self.put(index);
        }
    }

    /// The caller goes, whether or not the answer is there.
    fn abandon(&self, index: u32) {
        let Some(slot) = self.get(index) else {
            return;
        };
        // Forgotten first: once abandoned, the slot is not the caller's any more.
        slot.caller.clear_waiter();
        if slot.state.abandon() {
            if let Some(waiter) = slot.receiver.signal() {
                waiter.wake();
            }
            return;
        }
        if slot.state.answer() == Some(Answer::Replied) {
            // SAFETY: The receiver put a value in place, and it is the caller's.
            unsafe { (*slot.value.get()).assume_init_drop() };
        }
        self.put(index);
    }

    /// The receiver is done with a slot; `false` if the caller has no use for the value.
    fn complete(&self, index: u32, value: bool) -> bool {
        let Some(slot) = self.get(index) else {
            return false;
        };
        match slot.state.complete(value) {
            Complete::Done => (),
            // Not yet the slot's end: the value is taken back first.
            Complete::Abandoned | Complete::Already => return false,
        }
        // From here on the slot may be in use for another call, which takes a signal that it did
        // not expect for what it is: a reason to look again.
        if let Some(waiter) = slot.caller.signal() {
            waiter.wake();
        }
        true
    }
}

impl<R: Send> OwnerDied for Slots<R> {
    /// What is still pending is in the hands of the coroutine that died, which never lets go.
    fn owner_died(&self) {
        self.dead.store(true, Release);
        for index in 0..SLOTS {
            self.complete(index, false);
        }
        self.room.wake_all();
    }

    fn is_retired(&self) -> bool {
        self.callers.load(Relaxed) == 0
    }
}

/// A request: a message, and the right to answer it.
pub struct Request<Q, R> {
    message: Q,
    reply: Reply<R>,
}

impl<Q, R> Request<Q, R> {
    /// The message.
    pub fn message(&self) -> &Q {
        &self.message
    }

    /// The message, and the right to answer it later.
    pub fn into_parts(self) -> (Q, Reply<R>) {
        (self.message, self.reply)
    }

    /// Whether the caller has gone: killed, or timed out. Any context.
    pub fn is_abandoned(&self) -> bool {
        self.reply.is_abandoned()
    }
}

/// The right to answer a request, once. Dropped without an answer, the caller gets `ECANCELED`.
pub struct Reply<R> {
    slots: Arc<Slots<R>>,
    index: u32,
}

impl<R> Reply<R> {
    /// Answers. `Err` hands the value back: the caller has gone. Any context but NMI.
    pub fn send(self, value: R) -> Result<(), R> {
        let this = core::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is not used any more, and not dropped.
        let slots = unsafe { core::ptr::read(&this.slots) };
        if let Some(slot) = slots.get(this.index) {
            // SAFETY: Until the call is complete, the value is the receiver's.
            unsafe { (*slot.value.get()).write(value) };
            if !slots.complete(this.index, true) {
                // SAFETY: The value came too late, and is ours again.
                let value = unsafe { (*slot.value.get()).assume_init_read() };
                slots.put_abandoned(this.index);
                return Err(value);
            }
        }
        Ok(())
    }

    /// Whether the caller has gone: killed, or timed out. Any context.
    pub fn is_abandoned(&self) -> bool {
        self.slots
            .get(self.index)
            .is_some_and(|slot| slot.state.is_abandoned())
    }

    /// Waits until the caller has gone: to be told, while the answer is being worked on.
    pub fn abandoned(&mut self) -> Abandoned<'_, R> {
        Abandoned { reply: self }
    }
}

impl<R> Drop for Reply<R> {
    fn drop(&mut self) {
        if !self.slots.complete(self.index, false) {
            self.slots.put_abandoned(self.index);
        }
    }
}

/// The future of [`Reply::abandoned`]. Cancel-safe.
#[must_use = "futures do nothing unless awaited"]
pub struct Abandoned<'a, R> {
    reply: &'a mut Reply<R>,
}

impl<R> Future for Abandoned<'_, R> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(slot) = self.reply.slots.get(self.reply.index) else {
            return Poll::Ready(());
        };
        loop {
            if slot.state.is_abandoned() {
                return Poll::Ready(());
            }
            // A signal may be left over from the slot's last use: then look again.
            if !poll_cell(&slot.receiver, cx) {
                return Poll::Pending;
            }
        }
    }
}

/// The calling end of a mailbox of requests; any number of clones.
pub struct Caller<Q, R> {
    sender: Sender<Request<Q, R>>,
    slots: Arc<Slots<R>>,
}

impl<Q, R> Clone for Caller<Q, R> {
    fn clone(&self) -> Self {
        self.slots.callers.fetch_add(1, Relaxed);
        Caller {
            sender: self.sender.clone(),
            slots: self.slots.clone(),
        }
    }
}

impl<Q, R> Drop for Caller<Q, R> {
    fn drop(&mut self) {
        self.slots.callers.fetch_sub(1, Relaxed);
    }
}

/// Makes a mailbox of requests. Task context, sleeps.
#[allow(clippy::type_complexity)]
pub(crate) fn call_mailbox<Q: Send + 'static, R: Send + 'static>(
    executor: Arc<Executor>,
    capacity: Capacity,
) -> Result<(Caller<Q, R>, Receiver<Request<Q, R>>)> {
    let (sender, mut receiver) = mailbox::mailbox(executor, capacity)?;
    receiver.count_calls();
    let slots = Slots::new()?;
    sender.executor().tell_if_it_dies(slots.clone())?;
    Ok((Caller { sender, slots }, receiver))
}

impl<Q: Send + 'static, R: Send + 'static> Caller<Q, R> {
    /// Calls, and waits for the answer. Task context, sleeps; killable.
    ///
    /// `EINTR` when killed, `ECANCELED` when the receiver goes or drops the request, `EOWNERDEAD`
    /// when a fault ended the domain, `EWOULDBLOCK` where sleeping is not allowed, `EDEADLK` inside
    /// a coroutine ([`ask`](Self::ask) is for those).
    ///
    /// A caller that gives up leaves a request behind that says so
    /// ([`Reply::is_abandoned`]); whether it was, or will be, acted on is not known.
    pub fn call(&self, message: Q) -> Result<R> {
        block_on(Patience::Killable, &mut self.ask(message))?
    }

    /// Like [`call`](Self::call), for at most `timeout` milliseconds: `ETIMEDOUT` after that.
    pub fn call_timeout(&self, message: Q, timeout: u32) -> Result<R> {
        let jiffies = (msecs_to_jiffies(timeout) as isize).max(1);
        block_on(Patience::Timeout(jiffies), &mut self.ask(message))?
    }

    /// Like [`call`](Self::call), but no signal ends it: for callers that cannot fail. They wait
    /// as long as the receiver takes.
    pub fn call_uninterruptible(&self, message: Q) -> Result<R> {
        block_on(Patience::Endless, &mut self.ask(message))?
    }

    /// Calls from a coroutine. Errors: those of [`call`](Self::call) that are not about threads.
    ///
    /// Dropping the future before it is ready abandons the request.
    pub fn ask(&self, message: Q) -> Ask<'_, Q, R> {
        Ask {
            caller: self,
            stage: Stage::Start(message),
        }
    }
}

/// How far a call has come.
enum Stage<Q, R> {
    /// It has no slot yet.
    Start(Q),
    /// It has a slot, and was not sent yet.
    Send(u32, Request<Q, R>),
    /// It was sent.
    Wait(u32),
    Done,
}

/// The future of [`Caller::ask`].
#[must_use = "futures do nothing unless awaited"]
pub struct Ask<'a, Q: Send + 'static, R: Send + 'static> {
    caller: &'a Caller<Q, R>,
    stage: Stage<Q, R>,
}

// Nothing in it is pinned.
impl<Q: Send + 'static, R: Send + 'static> Unpin for Ask<'_, Q, R> {}

impl<Q: Send + 'static, R: Send + 'static> Ask<'_, Q, R> {
    /// Takes a slot and goes on, or registers for one: `Pending`.
    fn start(&mut self, message: Q, cx: &Context<'_>) -> Poll<Result<R>> {
        if self.caller.sender.is_closed() {
            return Poll::Ready(Err(self.caller.sender.executor().end_error()));
        }
        let slots = &self.caller.slots;
        let index = match slots.take() {
            Some(index) => index,
            None => {
                let room = slots
                    .room
                    .register(WakeRef::from_context(cx).ok_or(EINVAL)?);
                match slots.take() {
                    Some(index) => index,
                    None => {
                        self.stage = Stage::Start(message);
                        return match room {
                            Ok(()) => Poll::Pending,
                            Err(e) => Poll::Ready(Err(e)),
                        };
                    }
                }
            }
        };
        let reply = Reply {
            slots: slots.clone(),
            index,
        };
        self.send(index, Request { message, reply }, cx)
    }

    /// Sends the request and goes on, or registers for room: `Pending`.
    fn send(&mut self, index: u32, request: Request<Q, R>, cx: &Context<'_>) -> Poll<Result<R>> {
        match self.caller.sender.poll_send(request, cx) {
            Ok(()) => self.wait(index, cx),
            Err(e) if e.kind() == PostErrorKind::Full => {
                self.stage = Stage::Send(index, e.into_inner());
                Poll::Pending
            }
            Err(e) => {
                let errno = e.errno();
                // Its reply completes the slot, which is then ours alone.
                drop(e);
                self.caller.slots.put(index);
                Poll::Ready(Err(errno))
            }
        }
    }

    /// The answer, or registers for it: `Pending`.
    fn wait(&mut self, index: u32, cx: &Context<'_>) -> Poll<Result<R>> {
        let slots = &self.caller.slots;
        let slot = slots.get(index).ok_or(EINVAL)?;
        loop {
            if let Some(answer) = slot.state.answer() {
                let value = match answer {
                    // SAFETY: The receiver put a value in place; it is read once, since the slot
                    // is given back right after.
                    Answer::Replied => Ok(unsafe { (*slot.value.get()).assume_init_read() }),
                    Answer::Dropped => Err(self.caller.sender.executor().end_error()),
                };
                slots.put(index);
                self.stage = Stage::Done;
                return Poll::Ready(value);
            }
            // A signal may be left over from the slot's last use: then look again.
            if !poll_cell(&slot.caller, cx) {
                self.stage = Stage::Wait(index);
                return Poll::Pending;
            }
        }
    }
}

impl<Q: Send + 'static, R: Send + 'static> Future for Ask<'_, Q, R> {
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Stage::Wait(index) = self.stage {
            return self.wait(index, cx);
        }
        match core::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Start(message) => self.start(message, cx),
            Stage::Send(index, request) => self.send(index, request, cx),
            Stage::Wait(index) => self.wait(index, cx),
            Stage::Done => Poll::Pending,
        }
    }
}

impl<Q: Send + 'static, R: Send + 'static> Drop for Ask<'_, Q, R> {
    fn drop(&mut self) {
        match core::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Send(index, request) => {
                // Its reply completes the slot, which is then ours alone.
                drop(request);
                self.caller.slots.put(index);
            }
            Stage::Wait(index) => self.caller.slots.abandon(index),
            Stage::Start(_) | Stage::Done => (),
        }
    }
}
