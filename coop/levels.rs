// SPDX-License-Identifier: GPL-2.0

//! Mailboxes with priorities: of the messages that wait, the receiver takes the most urgent one.
//!
//! A mailbox with levels is one [mailbox](crate::mailbox) for each level, with one receiver. So a
//! message costs its sender what it always does, senders of different levels do not meet, and inside
//! a level all is as in any mailbox: senders are visited in turn, each one's order is kept. Between
//! messages of different levels no order is kept: that is what they are for.
//!
//! Nobody starves: each eighth message is taken from the next level in turn that has one, so that
//! what is first at its level waits for at most eight others a level, whatever else comes.

use crate::call::{self, Caller};
use crate::domain::Domain;
use crate::mailbox::{self, Capacity};
use crate::receiver::Receiver;
use crate::reply::Request;
use crate::run_queue::{Priority, PRIORITIES};
use crate::sender::Sender;
use crate::turns::Turns;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use kernel::prelude::*;

/// The sending ends of a mailbox with levels: [`Sender`]s, or [`Caller`]s.
pub struct Levels<S> {
    most_urgent: S,
    others: KVec<S>,
}

impl<S> Levels<S> {
    /// The end for messages of `priority`. In a mailbox of fewer levels than there are priorities,
    /// the last level is for all that are less urgent.
    #[inline]
    pub fn at(&self, priority: Priority) -> &S {
        let level = usize::from(priority.get()).min(self.others.len());
        let other = level.checked_sub(1).and_then(|i| self.others.get(i));
        other.unwrap_or(&self.most_urgent)
    }

    /// How many levels there are.
    pub fn count(&self) -> usize {
        self.others.len().saturating_add(1)
    }
}

/// The receiving end of a mailbox with levels; one coroutine has it. As
/// [`Receiver`] in all else.
pub struct LevelReceiver<T> {
    levels: KVec<Receiver<T>>,
    turns: Turns,
}

impl<T: Send> LevelReceiver<T> {
    /// The next message, the most urgent first; waits for one. `None` when all senders are gone and
    /// all is received.
    pub fn recv(&mut self) -> RecvLevel<'_, T> {
        RecvLevel { receiver: self }
    }

    /// The next message, the most urgent first, if there is one.
    pub fn try_recv(&mut self) -> Option<T> {
        for level in self.turns.order() {
            if let Some(message) = self.levels.get_mut(level).and_then(Receiver::try_recv) {
                self.turns.picked(level);
                return Some(message);
            }
        }
        None
    }
}

/// The future of [`LevelReceiver::recv`]. Cancel-safe: a message is taken only when it is returned.
#[must_use = "futures do nothing unless awaited"]
pub struct RecvLevel<'a, T> {
    receiver: &'a mut LevelReceiver<T>,
}

impl<T: Send> Future for RecvLevel<'_, T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let receiver = &mut *self.receiver;
        let mut more = false;
        for level in receiver.turns.order() {
            let Some(end) = receiver.levels.get_mut(level) else {
                continue;
            };
            // One that is empty is registered with, unless it still is.
            match Pin::new(&mut end.recv()).poll(cx) {
                Poll::Ready(Some(message)) => {
                    receiver.turns.picked(level);
                    return Poll::Ready(Some(message));
                }
                Poll::Ready(None) => (),
                Poll::Pending => more = true,
            }
        }
        if more {
            Poll::Pending
        } else {
            Poll::Ready(None)
        }
    }
}

/// `levels` mailboxes, each made by `make`.
fn build<S, T>(
    levels: usize,
    make: impl Fn() -> Result<(S, Receiver<T>)>,
) -> Result<(Levels<S>, LevelReceiver<T>)> {
    if !(1..=PRIORITIES).contains(&levels) {
        return Err(EINVAL);
    }
    let (most_urgent, receiver) = make()?;
    let mut others = KVec::new();
    let mut receivers = KVec::with_capacity(levels, GFP_KERNEL)?;
    receivers.push(receiver, GFP_KERNEL)?;
    for _ in 1..levels {
        let (end, receiver) = make()?;
        others.push(end, GFP_KERNEL)?;
        receivers.push(receiver, GFP_KERNEL)?;
    }
    Ok((
        Levels {
            most_urgent,
            others,
        },
        LevelReceiver {
            levels: receivers,
            turns: Turns::new(levels),
        },
    ))
}

impl Domain {
    /// Makes a mailbox with `levels` levels, 1 to 8, whose receiver takes the most urgent message
    /// first. Task context, sleeps; as many rings as so many mailboxes. `EINVAL`, `ENOMEM`.
    ///
    /// # Examples
    ///
    /// ```ignore
    /// let (senders, mut commands) = domain.mailbox_levels::<Command>(8, Capacity::default())?;
    /// senders.at(Priority::HIGHEST).try_post(Command::Reset)?;
    /// ```
    pub fn mailbox_levels<T: Send + 'static>(
        &self,
        levels: usize,
        capacity: Capacity,
    ) -> Result<(Levels<Sender<T>>, LevelReceiver<T>)> {
        let executor = self.handle();
        build(levels, || {
            mailbox::mailbox(executor.executor().clone(), capacity)
        })
    }

    /// Makes a mailbox with `levels` levels, 1 to 8, of requests that are answered, of which the
    /// receiver takes the most urgent one first. Otherwise as
    /// [`mailbox_levels`](Self::mailbox_levels).
    #[allow(clippy::type_complexity)]
    pub fn call_mailbox_levels<Q: Send + 'static, R: Send + 'static>(
        &self,
        levels: usize,
        capacity: Capacity,
    ) -> Result<(Levels<Caller<Q, R>>, LevelReceiver<Request<Q, R>>)> {
        let executor = self.handle();
        build(levels, || {
            call::call_mailbox(executor.executor().clone(), capacity)
        })
    }
}
