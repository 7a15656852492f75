// SPDX-License-Identifier: GPL-2.0

//! Reply slots: who owns one when, as a small state machine that caller and receiver agree on, and
//! the list of the free ones.
//!
//! No dependency on the kernel crate: the same file is compiled into the module and, on the host,
//! into the loom models of `selftests/host`.
//!
//! ```text
//!              caller                 receiver
//!   (free) ------------> PENDING ------------------> REPLIED | DROPPED ---> caller frees it
//!                           |                             ^
//!                           | caller gives up             | fails: the reply is there, take it
//!                           v                             |
//!                        ABANDONED ---> receiver frees it +
//! ```
//!
//! A caller can vanish at any instant; the slot never lies on its stack. Exactly one side frees it:
//! the one that comes second.

use crate::atomic::{named, AtomicU32, AtomicU64, Ordering};

const PENDING: u32 = 0;
const REPLIED: u32 = 1;
const DROPPED: u32 = 2;
const ABANDONED: u32 = 3;

/// What a caller finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A value is in place, and the caller's.
    Replied,
    /// There will be none.
    Dropped,
}

/// What became of completing a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Complete {
    /// The caller has its answer.
    Done,
    /// The caller has gone: the slot is the receiver's to free.
    Abandoned,
    /// Somebody else completed it in the receiver's place, because the domain died.
    Already,
}

/// The state of one slot.
pub struct ReplyState {
    word: AtomicU32,
    /// The next in the free list; belongs to the list while the slot is free.
    next: AtomicU32,
}

impl ReplyState {
    /// A slot that is in no list.
    pub fn new() -> Self {
        ReplyState {
            word: AtomicU32::new(PENDING),
            next: AtomicU32::new(NONE),
        }
    }

    /// The caller begins a call with a slot that it took from the free list.
    #[inline]
    pub fn begin(&self) {
        // Relaxed: the request that carries the slot to the receiver publishes it.
        self.word.store(PENDING, Ordering::Relaxed);
    }

    /// The receiver is done; `value` says that it put one in place. If it comes too late, the value
    /// is the receiver's again.
    #[inline]
    pub fn complete(&self, value: bool) -> Complete {
        let new = if value { REPLIED } else { DROPPED };
        // Publishes the value; `reply.take` acquires it.
        self.word
            .compare_exchange(
                PENDING,
                new,
                named("reply.complete", Ordering::AcqRel),
                Ordering::Acquire,
            )
            .map_or_else(
                |now| match now {
                    ABANDONED => Complete::Abandoned,
                    _ => Complete::Already,
                },
                |_| Complete::Done,
            )
    }

    /// Whether, and how, the call has ended. Caller only, before it abandons.
    #[inline]
    pub fn answer(&self) -> Option<Answer> {
        match self.word.load(named("reply.take", Ordering::Acquire)) {
            REPLIED => Some(Answer::Replied),
            DROPPED => Some(Answer::Dropped),
            _ => None,
        }
    }

    /// The caller gives up; `false` if the answer is there already, to be taken.
    pub fn abandon(&self) -> bool {
        // Release: what the caller did to the slot comes before the receiver frees it.
        self.word
            .compare_exchange(
                PENDING,
                ABANDONED,
                named("reply.abandon", Ordering::AcqRel),
                Ordering::Acquire,
            )
            .is_ok()
    }

    /// Whether the caller has gone. Receiver only, before it completes.
    pub fn is_abandoned(&self) -> bool {
        self.word.load(Ordering::Acquire) == ABANDONED
    }
}

impl Default for ReplyState {
    fn default() -> Self {
        Self::new()
    }
}

const NONE: u32 = u32::MAX;

/// The free slots: Treiber's stack of indices, with a tag against ABA.
///
/// # Invariants
///
/// `head` is a tag in the upper half, and in the lower the index of a free slot or `NONE`.
pub struct FreeList {
    head: AtomicU64,
}

impl FreeList {
    /// An empty list.
    pub fn new() -> Self {
        FreeList {
            head: AtomicU64::new(u64::from(NONE)),
        }
    }

    /// Frees slot `index`, whose state is `slot`. Any context, lock-free.
    #[inline]
    pub fn put(&self, index: u32, slot: &ReplyState) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            slot.next.store(head as u32, Ordering::Relaxed);
            let new = (head & !(u64::from(NONE))) | u64::from(index);
            // INVARIANT: `index` is free. Publishes `next`, and the last use of the slot.
            match self.head.compare_exchange_weak(
                head,
                new,
                named("reply.free", Ordering::Release),
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes a free slot; `slot` finds the state of an index. Any context, lock-free.
    #[inline]
    pub fn take<'a>(&self, slot: impl Fn(u32) -> Option<&'a ReplyState>) -> Option<u32> {
        let mut head = self.head.load(named("reply.alloc", Ordering::Acquire));
        loop {
            let index = head as u32;
            // `NONE` is no slot. What is read here may be stale; then the tag has changed.
            let next = slot(index)?.next.load(Ordering::Relaxed);
            let tag = (head >> 32).wrapping_add(1) << 32;
            // INVARIANT: `next` is free as long as `index` is, which the tag tells.
            match self.head.compare_exchange_weak(
                head,
                tag | u64::from(next),
                named("reply.alloc", Ordering::Acquire),
                named("reply.alloc", Ordering::Acquire),
            ) {
                Ok(_) => return Some(index),
                Err(now) => head = now,
            }
        }
    }
}

impl Default for FreeList {
    fn default() -> Self {
        Self::new()
    }
}
