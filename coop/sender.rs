// SPDX-License-Identifier: GPL-2.0

//! The sending end of a [mailbox](crate::mailbox).

use crate::block_on::{block_on, Patience};
use crate::executor::Executor;
use crate::mailbox::{After, Envelope, Shared};
use crate::sys::context::SenderSection;
use crate::waker::WakeRef;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicU64, Ordering::*};
use core::task::{Context, Poll};
use kernel::prelude::*;
use kernel::sync::Arc;

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

/// The sending end of a mailbox: for any context but NMI, any number of clones.
///
/// See [`mailbox`](crate::mailbox) for what order is kept.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
    /// The message sent last, as an [`After`].
    last: AtomicU64,
}

impl<T> Sender<T> {
    pub(crate) fn new(shared: Arc<Shared<T>>) -> Self {
        Sender {
            shared,
            last: AtomicU64::new(After::NOTHING.0),
        }
    }

    #[inline]
    pub(crate) fn shared(&self) -> &Shared<T> {
        &self.shared
    }

    #[inline]
    pub(crate) fn executor(&self) -> &Arc<Executor> {
        &self.shared.executor
    }
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
    ///
    /// Inlined: some 45 instructions, two of them locked, for a thread that finds room and nobody to
    /// wake; all else is out of line.
    #[inline(always)]
    pub fn try_post(&self, message: T) -> Result<(), PostError<T>> {
        let shared = &*self.shared;
        let Some(section) = SenderSection::enter_thread() else {
            return self.try_post_anywhere(message);
        };
        let index = section.index();
        if let Some(Some(lane)) = shared.lanes.get(index) {
            // As in `try_post_anywhere`.
            if !shared.closed.load(Relaxed) {
                // SAFETY: Within the section we are the only producer of this lane.
                if let Some(vacant) = unsafe { lane.vacant_noting(|| shared.mark_used(index)) } {
                    let after = self.chain(index, vacant.position());
                    vacant.push(Envelope { after, message });
                    let waiter = shared.receiver.signal();
                    drop(section);
                    if let Some(waiter) = waiter {
                        wake(waiter);
                    }
                    return Ok(());
                }
            }
        }
        drop(section);
        self.try_post_anywhere(message)
    }

    /// [`try_post`](Self::try_post) from wherever it may be called, and with all that may happen.
    #[cold]
    #[inline(never)]
    fn try_post_anywhere(&self, message: T) -> Result<(), PostError<T>> {
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
        if shared.closed.load(Relaxed) {
            return Err(self.error(PostErrorKind::Closed, message));
        }
        // SAFETY: Within the section we are the only producer of this lane.
        let Some(vacant) = (unsafe { lane.vacant_noting(|| shared.mark_used(index)) }) else {
            return Err(self.error(PostErrorKind::Full, message));
        };
        let after = if section.is_task() {
            self.chain(index, vacant.position())
        } else {
            After::NOTHING
        };
        vacant.push(Envelope { after, message });
        let waiter = shared.receiver.signal();
        drop(section);
        if let Some(waiter) = waiter {
            waiter.wake_posted();
        }
        Ok(())
    }

    /// Names `position` of lane `index`, a thread's, as the message sent last; returns the one
    /// before, if it went through another lane.
    ///
    /// An exchange even if the lane is the one as before, because threads may share a sender: their
    /// messages form a chain, and one that looked first and went on without an exchange might be
    /// left out of it by another thread in between.
    #[inline(always)]
    fn chain(&self, index: usize, position: usize) -> After {
        let last = After(self.last.swap(After::new(index, position).0, AcqRel));
        if last.lane() == index {
            return After::NOTHING;
        }
        last
    }

    /// Sends what `messages` yields until it ends or the ring of this CPU and context is full, with
    /// one publication and at most one wake-up; returns how many were sent. Whatever is not sent
    /// stays in the iterator.
    ///
    /// Any context but NMI; does not sleep, allocate or lock. The iterator runs with preemption
    /// disabled, and must not send to this mailbox. Errors as for [`try_post`](Self::try_post), if
    /// nothing was sent.
    pub fn post_batch(
        &self,
        messages: &mut impl Iterator<Item = T>,
    ) -> Result<usize, PostErrorKind> {
        let shared = &*self.shared;
        let section = SenderSection::enter().ok_or(PostErrorKind::Context)?;
        let index = section.index();
        let Some(Some(lane)) = shared.lanes.get(index) else {
            return Err(PostErrorKind::Context);
        };
        if shared.closed.load(Relaxed) {
            return Err(PostErrorKind::Closed);
        }
        // SAFETY: Within the section we are the only producer of this lane.
        if unsafe { lane.vacant_noting(|| shared.mark_used(index)) }.is_none() {
            return Err(PostErrorKind::Full);
        }
        let mut envelopes = messages.map(|message| Envelope {
            after: After::NOTHING,
            message,
        });
        // SAFETY: As above, until `staged` is dropped.
        let Some(mut staged) = (unsafe { lane.stage_batch(&mut envelopes) }) else {
            // There were none.
            return Ok(0);
        };
        let count = staged.len();
        // The first one comes after the sender's last; the others follow it in the lane.
        if section.is_task() {
            let after = self.chain(index, staged.last_position());
            staged.first_mut(|first| first.after = after);
        }
        drop(staged);
        let waiter = shared.receiver.signal();
        drop(section);
        if let Some(waiter) = waiter {
            waiter.wake_posted();
        }
        Ok(count)
    }

    /// Sends; waits for room if need be, killable. Task context, sleeps.
    ///
    /// Besides the errors of [`try_post`](Self::try_post): [`PostErrorKind::Killed`];
    /// [`PostErrorKind::Context`] where sleeping is not allowed; [`PostErrorKind::Deadlock`] inside
    /// a coroutine, where [`send`](Self::send) is to be used.
    pub fn post(&self, message: T) -> Result<(), PostError<T>> {
        // For the receiver to make room.
        self.executor().baton.would_lock();
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
        let sent = self.try_post(message);
        // After the registration: the receiver looks for senders that wait before it waits itself.
        self.shared.wake_receiver();
        sent
    }

    /// Whether the receiver, or its domain, is gone. Any context.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Acquire)
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
            self.shared.wake_receiver();
        }
    }
}

/// Not inlined into those who post: a receiver that has to be woken is no fast path.
#[inline(never)]
fn wake(receiver: WakeRef) {
    receiver.wake_posted();
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
