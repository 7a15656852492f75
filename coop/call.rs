// SPDX-License-Identifier: GPL-2.0

//! Calls: a message that is answered, by value, and may lose its caller at any instant.
//!
//! A call allocates nothing: when all [slots](crate::reply) of the mailbox are in use, callers wait
//! for one. Where callers may run the domain, [`inline`](crate::inline) says how they do.

use crate::block_on::{block_on, Patience};
use crate::executor::Executor;
use crate::home::Yield;
use crate::mailbox::{self, Capacity};
use crate::receiver::Receiver;
use crate::reply::{Reply, Request, Slot, Slots};
use crate::sender::{PostErrorKind, Sender};
use crate::sys::runner::{idle_task, may_wait};
use crate::sys::thread::{self, Thread};
use crate::teardown::Ward;
use crate::waker::{word_of, WakeRef};
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::Ordering::*;
use core::task::{Context, Poll};
use kernel::bindings::task_struct;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::msecs_to_jiffies;

/// The calling end of a mailbox of requests; any number of clones.
pub struct Caller<Q, R> {
    pub(crate) sender: Sender<Request<Q, R>>,
    pub(crate) slots: Arc<Slots<R>>,
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
        if self.slots.callers.fetch_sub(1, AcqRel) == 1 {
            self.slots.last_caller_goes();
        }
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
    let slots = Slots::new(sender.executor().clone())?;
    sender
        .executor()
        .tell_when_it_ends(slots.clone() as Arc<dyn Ward>)?;
    Ok((Caller { sender, slots }, receiver))
}

/// Who is to run the domain for a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// The caller, if it can.
    Caller,
    /// The home thread.
    Home,
}

impl<Q: Send + 'static, R: Send + 'static> Caller<Q, R> {
    /// Calls, and waits for the answer. Task context, sleeps; killable.
    ///
    /// Unless the domain is [dedicated](crate::domain::Builder::dedicated), the caller runs it
    /// itself when nobody else does: no wake-up, no context switch.
    ///
    /// `EINTR` when killed, `ECANCELED` when the receiver goes or drops the request, `EOWNERDEAD`
    /// when a fault ended the domain, `EWOULDBLOCK` where sleeping is not allowed, `EDEADLK` inside
    /// a coroutine ([`ask`](Self::ask) is for those).
    ///
    /// A caller that gives up leaves a request behind that says so
    /// ([`Reply::is_abandoned`]); whether it was, or will be, acted on is not known.
    ///
    /// Inlined: some 90 instructions without a call of a function, but for the coroutine's poll, if
    /// the receiver waits for a request; all else is out of line.
    #[inline(always)]
    pub fn call(&self, message: Q) -> Result<R> {
        let shared = self.sender.shared();
        let executor = &*shared.executor;
        let me = idle_task(executor.barred);
        if !me.is_null() {
            // To try a lock says nothing about the order of locks.
            executor.baton.will_lock();
        }
        if me.is_null() || !executor.baton.try_lock(me) {
            return apart(self.call_with(message, Patience::Killable, By::Caller));
        }
        // SAFETY: We are thread `me`, may sleep, are not marked, and hold the baton.
        unsafe { self.call_in_place::<true>((executor, shared), me, message, Patience::Killable) }
    }

    /// Like [`call`](Self::call), for at most `timeout` milliseconds: `ETIMEDOUT` after that. What
    /// the caller runs of the domain itself is not interrupted.
    pub fn call_timeout(&self, message: Q, timeout: u32) -> Result<R> {
        let jiffies = (msecs_to_jiffies(timeout) as isize).max(1);
        self.call_with(message, Patience::Timeout(jiffies), By::Caller)
    }

    /// Like [`call`](Self::call), but no signal ends it: for callers that cannot fail. They wait
    /// as long as the receiver takes.
    pub fn call_uninterruptible(&self, message: Q) -> Result<R> {
        self.call_with(message, Patience::Endless, By::Caller)
    }

    /// Like [`call`](Self::call), but leaves the domain to its home thread: for callers whose stack
    /// is deep, or whose time is precious.
    pub fn call_by_home(&self, message: Q) -> Result<R> {
        self.call_with(message, Patience::Killable, By::Home)
    }

    #[inline(never)]
    fn call_with(&self, message: Q, patience: Patience, by: By) -> Result<R> {
        let me = may_wait()?;
        let executor = &**self.sender.executor();
        executor.baton.will_lock();
        if by == By::Caller && executor.bh && executor.shared {
            return self.call_bh(me, message, patience);
        }
        if by == By::Home || !executor.inline {
            return self.call_queued(me, message, patience, false);
        }
        if executor.baton.spin(me) {
            if idle_task(0).is_null() {
                // SAFETY: We are thread `me`, may sleep, and hold the baton.
                return unsafe { self.call_holding(me, message, patience) };
            }
            // SAFETY: As above, and we are not marked.
            return unsafe {
                self.call_in_place::<true>((executor, self.sender.shared()), me, message, patience)
            };
        }
        // Those that wait for a bounded time cannot wait for a lock.
        let help = !matches!(patience, Patience::Timeout(_));
        self.call_queued(me, message, patience, help)
    }

    /// A call that somebody else is to run: the home thread, or, if the caller is to `help`, whoever
    /// has the baton first.
    #[inline(never)]
    pub(crate) fn call_queued(
        &self,
        me: *mut task_struct,
        message: Q,
        patience: Patience,
        help: bool,
    ) -> Result<R> {
        let Some(slot) = self.slots.take() else {
            return self.wait_to_call(Stage::Start(message), patience);
        };
        // SAFETY: The slot is one of ours, its call has just begun, and we keep the slots.
        let request = unsafe { self.request(slot, message) };
        let executor = self.sender.executor();
        let yields = if help { Yield::No } else { executor.yielding() };
        if let Err(e) = self.sender.try_post(request) {
            return self.wait_to_call(Stage::Send(slot, e.into_inner()), patience);
        }
        if help {
            if let Err(e) = self.help(me, patience == Patience::Killable, slot) {
                self.slots.abandon(slot);
                return Err(e);
            }
        } else if !matches!(yields, Yield::No) {
            // Once is enough: it ran until it was asleep again, or for as long as its share lasts.
            let answer = if executor.yield_to_home() {
                slot.cell.answer()
            } else {
                None
            };
            executor.yielded(yields, answer.is_some());
            if let Some(answer) = answer {
                // SAFETY: The slot is the caller's, with that answer.
                let value = unsafe {
                    self.slots
                        .take_answer(slot, answer, |slot| self.slots.put(slot))
                };
                return value.ok_or_else(|| executor.end_error());
            }
        }
        // SAFETY: `me` is the current thread.
        unsafe { self.wait_for_reply(me, slot, patience) }
    }

    /// Waits for the reply to a call that was sent.
    ///
    /// # Safety
    ///
    /// `me` is the current thread.
    pub(crate) unsafe fn wait_for_reply(
        &self,
        me: *mut task_struct,
        slot: &Slot<R>,
        patience: Patience,
    ) -> Result<R> {
        // SAFETY: The current thread is alive.
        let mut me = Some(WakeRef::Thread(unsafe { Thread::of(me) }));
        // Asked for the first time with the thread's state set: then registering will do.
        let ready = || match me.take() {
            Some(me) => !slot.cell.wait(me),
            None => slot.cell.is_answered(),
        };
        if let Err(e) = thread::wait_until(patience, ready) {
            self.slots.abandon(slot);
            return Err(e);
        }
        // SAFETY: The slot is the caller's, which gives it back right away.
        let value = unsafe { slot.take_reply() };
        self.slots.put(slot);
        value.ok_or_else(|| self.sender.executor().end_error())
    }

    /// A call that has to wait before it can even be sent.
    #[cold]
    #[inline(never)]
    pub(crate) fn wait_to_call(&self, stage: Stage<'_, Q, R>, patience: Patience) -> Result<R> {
        let mut ask = Ask {
            caller: self,
            stage,
        };
        block_on(patience, &mut ask)?
    }

    /// The request for `message`, to be answered through `slot`.
    ///
    /// # Safety
    ///
    /// As for [`Reply::new`], with the slots of this mailbox.
    #[inline(always)]
    pub(crate) unsafe fn request(&self, slot: &Slot<R>, message: Q) -> Request<Q, R> {
        // SAFETY: Per the function's contract.
        let reply = unsafe { Reply::new(slot) };
        Request { message, reply }
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

/// The same result in a place of its own, so that the compiler keeps that of a fast path, which this
/// is the other end of, in registers.
#[inline(always)]
#[allow(clippy::needless_match)] // See above.
pub(crate) fn apart<R>(result: Result<R>) -> Result<R> {
    match result {
        Ok(value) => Ok(value),
        Err(e) => Err(e),
    }
}

/// How far a call has come.
pub(crate) enum Stage<'a, Q, R> {
    /// It has no slot yet.
    Start(Q),
    /// It has a slot, and was not sent yet.
    Send(&'a Slot<R>, Request<Q, R>),
    /// It was sent.
    Wait(&'a Slot<R>),
    Done,
}

/// The future of [`Caller::ask`].
#[must_use = "futures do nothing unless awaited"]
pub struct Ask<'a, Q: Send + 'static, R: Send + 'static> {
    caller: &'a Caller<Q, R>,
    stage: Stage<'a, Q, R>,
}

// Nothing in it is pinned.
impl<Q: Send + 'static, R: Send + 'static> Unpin for Ask<'_, Q, R> {}

// SAFETY: The slot is reached by the rules of `ReplyCell` only, from any thread.
unsafe impl<Q: Send + 'static, R: Send + 'static> Send for Ask<'_, Q, R> {}

impl<'a, Q: Send + 'static, R: Send + 'static> Ask<'a, Q, R> {
    /// Takes a slot and goes on, or registers for one: `Pending`.
    fn start(&mut self, message: Q, cx: &Context<'_>) -> Poll<Result<R>> {
        if self.caller.sender.is_closed() {
            return Poll::Ready(Err(self.caller.sender.executor().end_error()));
        }
        let slots = &self.caller.slots;
        let slot = match slots.take() {
            Some(slot) => slot,
            None => {
                let registered = match WakeRef::from_context(cx) {
                    Some(me) => slots.room.register(me),
                    None => Err(EINVAL),
                };
                // The second look, which begins with an exchange.
                match slots.take() {
                    Some(slot) => slot,
                    None => {
                        self.stage = Stage::Start(message);
                        return match registered {
                            Ok(()) => Poll::Pending,
                            Err(e) => Poll::Ready(Err(e)),
                        };
                    }
                }
            }
        };
        // SAFETY: The slot is one of the mailbox's, its call has just begun, and the borrowed
        // caller keeps the slots, also if this future is leaked.
        let request = unsafe { self.caller.request(slot, message) };
        self.send(slot, request, cx)
    }

    /// Sends the request and goes on, or registers for room: `Pending`.
    fn send(
        &mut self,
        slot: &'a Slot<R>,
        request: Request<Q, R>,
        cx: &Context<'_>,
    ) -> Poll<Result<R>> {
        match self.caller.sender.poll_send(request, cx) {
            Ok(()) => self.wait(slot, cx),
            Err(e) if e.kind() == PostErrorKind::Full => {
                self.stage = Stage::Send(slot, e.into_inner());
                Poll::Pending
            }
            Err(e) => {
                let errno = e.errno();
                drop(e.into_inner().take_back());
                self.caller.slots.put(slot);
                Poll::Ready(Err(errno))
            }
        }
    }

    /// The answer, or registers for it: `Pending`.
    fn wait(&mut self, slot: &'a Slot<R>, cx: &Context<'_>) -> Poll<Result<R>> {
        let slots = &self.caller.slots;
        loop {
            if let Some(answer) = slot.cell.answer() {
                self.stage = Stage::Done;
                // SAFETY: The slot is ours, with that answer.
                let value = unsafe { slots.take_answer(slot, answer, |slot| slots.put(slot)) };
                return Poll::Ready(value.ok_or_else(|| self.caller.sender.executor().end_error()));
            }
            self.stage = Stage::Wait(slot);
            // As after a spurious wake-up: the reference that the cell has is good enough.
            if word_of(cx).is_some_and(|me| slot.cell.is_waiting(me)) {
                return Poll::Pending;
            }
            match WakeRef::from_context(cx) {
                Some(me) => {
                    if slot.cell.wait(me) {
                        return Poll::Pending;
                    }
                }
                None => {
                    // Somebody else's waker, which has no place in the cell: ask again and again.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }
}

impl<Q: Send + 'static, R: Send + 'static> Future for Ask<'_, Q, R> {
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Stage::Wait(slot) = self.stage {
            return self.wait(slot, cx);
        }
        match core::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Start(message) => self.start(message, cx),
            Stage::Send(slot, request) => self.send(slot, request, cx),
            Stage::Wait(slot) => self.wait(slot, cx),
            Stage::Done => Poll::Pending,
        }
    }
}

impl<Q: Send + 'static, R: Send + 'static> Drop for Ask<'_, Q, R> {
    fn drop(&mut self) {
        match core::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Send(slot, request) => {
                drop(request.take_back());
                self.caller.slots.put(slot);
            }
            Stage::Wait(slot) => self.caller.slots.abandon(slot),
            Stage::Start(_) | Stage::Done => (),
        }
    }
}
