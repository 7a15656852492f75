// SPDX-License-Identifier: GPL-2.0

//! Reply slots: who owns one when, and who waits for it, in one word that caller and receiver agree
//! on; and the list of the free ones.
//!
//! No dependency on the kernel crate: the same file is compiled into the module and, on the host,
//! into the loom models of `selftests/host`.
//!
//! ```text
//!             caller                           receiver
//!   FREE -+----------> PENDING -> waiter -------------------> REPLIED | DROPPED -+
//!         |               ^  \       \                           ^        ^      | caller
//!         |  leave_inline |   +-------+-> ABANDONED -+          |        |      | frees it
//!         |               |    gives up   |          | receiver |        |      v
//!         +----------> INLINE             +-----------> frees it          |     FREE
//!                         |                                               |
//!                         +-----------------------------------------------+
//!                           the receiver runs on the caller's own thread
//! ```
//!
//! A caller can vanish at any instant; the slot never lies on its stack. Exactly one side frees it:
//! the one that comes second. After the exchange that completes a call the receiver does not touch
//! the slot any more, but for the waiter, which it took out with the same exchange: the caller may
//! have freed all of them by then.
//!
//! `reply.complete` publishes the value, and acquires the waiter; `reply.take` acquires the value.
//! `reply.wait` publishes the waiter. `reply.abandon` publishes what the caller did to the slot
//! before the receiver frees it.

use crate::atomic::{mistake, named, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use crate::wait_cell::Waiter;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

const PENDING: *mut () = ptr::null_mut();
// The others are odd, which waiters are not.
const REPLIED: *mut () = ptr::without_provenance_mut(1);
const DROPPED: *mut () = ptr::without_provenance_mut(3);
const ABANDONED: *mut () = ptr::without_provenance_mut(5);
const FREE: *mut () = ptr::without_provenance_mut(7);

/// The word of a call that thread `runner` runs inline: other odd numbers. (Threads are aligned.)
#[inline(always)]
fn inline(runner: *const ()) -> *mut () {
    runner.cast_mut().wrapping_byte_add(1)
}

/// What a caller finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A value is in place, and the caller's.
    Replied,
    /// There will be none.
    Dropped,
}

/// What became of completing a call.
#[derive(PartialEq, Eq, Debug)]
#[must_use]
pub enum Complete<W> {
    /// The caller has its answer; if it waits, it is to be woken.
    Done(Option<W>),
    /// The caller has gone: the slot is the receiver's to free.
    Abandoned,
    /// Somebody else completed it in the receiver's place, because the domain died.
    Already,
}

/// The state of one slot, and who waits for its end.
///
/// # Invariants
///
/// The word is one of the states above, or a waiter that the cell owns.
pub struct ReplyCell<W: Waiter> {
    word: AtomicPtr<()>,
    /// The next in the free list; belongs to the list while the slot is free.
    next: AtomicU32,
    _waiter: PhantomData<W>,
}

// SAFETY: The cell hands waiters from one thread to another.
unsafe impl<W: Waiter + Send> Send for ReplyCell<W> {}
// SAFETY: As above; all access is through atomic words.
unsafe impl<W: Waiter + Send> Sync for ReplyCell<W> {}

impl<W: Waiter> ReplyCell<W> {
    /// A slot that is in no list.
    pub fn new() -> Self {
        ReplyCell {
            word: AtomicPtr::new(FREE),
            next: AtomicU32::new(NONE),
            _waiter: PhantomData,
        }
    }

    /// # Safety
    ///
    /// `word` was taken out of the cell by a read-modify-write.
    #[inline]
    unsafe fn owned(word: *mut ()) -> Option<W> {
        if word.addr() & 1 != 0 {
            return None;
        }
        // SAFETY: By the type's invariant this is a waiter, or null, and the caller took it out.
        NonNull::new(word).map(|raw| unsafe { W::from_raw(raw) })
    }

    /// The caller begins a call with a slot that is its own.
    #[inline]
    pub fn begin(&self) {
        // Relaxed: the request that carries the slot to the receiver publishes it.
        self.word.store(PENDING, Ordering::Relaxed);
    }

    /// The same for a call whose receiver thread `runner`, which is the caller's, is about to run.
    #[inline(always)]
    pub fn begin_inline(&self, runner: *const ()) {
        // Relaxed: as in `begin`.
        self.word.store(inline(runner), Ordering::Relaxed);
    }

    /// Whether a slot that is in no list, but belongs to whoever runs the domain, is free. Runner
    /// only.
    #[inline(always)]
    pub fn is_free(&self) -> bool {
        self.word.load(named("reply.alloc", Ordering::Acquire)) == FREE
    }

    /// Frees such a slot.
    #[inline(always)]
    pub fn free(&self) {
        self.word
            .store(FREE, named("reply.free", Ordering::Release));
    }

    /// The caller, without an answer yet, stops running the receiver; `false` if the answer came.
    #[inline]
    pub fn leave_inline(&self, runner: *const ()) -> bool {
        // A read-modify-write, since the receiver may have passed the request on to another thread.
        self.word
            .compare_exchange(
                inline(runner),
                PENDING,
                named("reply.wait", Ordering::AcqRel),
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// Completes the call of a caller that is `runner`, the current thread, and runs us, or was
    /// interrupted by us: plain stores. `false` if it is not.
    #[inline(always)]
    pub fn complete_inline(&self, runner: *const (), value: bool) -> bool {
        if self.word.load(Ordering::Relaxed) != inline(runner) {
            return false;
        }
        // Nobody else changes the word: there is one receiver, which is us, and the caller is below
        // us on the stack, where it does nothing before we are done.
        self.word
            .store(if value { REPLIED } else { DROPPED }, Ordering::Relaxed);
        true
    }

    /// Whether the call is run inline by thread `runner`, and not answered yet.
    #[inline]
    pub fn is_run_by(&self, runner: *const ()) -> bool {
        self.word.load(Ordering::Relaxed) == inline(runner)
    }

    /// The receiver is done; `value` says that it put one in place. If it comes too late, the value
    /// is the receiver's again.
    #[inline]
    pub fn complete(&self, value: bool) -> Complete<W> {
        let new = if value { REPLIED } else { DROPPED };
        let mut now = self.word.load(Ordering::Relaxed);
        loop {
            match now {
                ABANDONED => break,
                REPLIED | DROPPED | FREE => return Complete::Already,
                _ => (),
            }
            // INVARIANT: The waiter, if there is one, is taken out.
            match self.word.compare_exchange(
                now,
                new,
                named("reply.complete", Ordering::AcqRel),
                Ordering::Relaxed,
            ) {
                // SAFETY: `old` was just taken out.
                Ok(old) => return Complete::Done(unsafe { Self::owned(old) }),
                Err(changed) => now = changed,
            }
        }
        // Pairs with `reply.abandon`.
        self.word.load(named("reply.abandoned", Ordering::Acquire));
        Complete::Abandoned
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

    /// Whether a value is in place, and the caller's. Caller only.
    #[inline(always)]
    pub fn is_replied(&self) -> bool {
        self.word.load(named("reply.take", Ordering::Acquire)) == REPLIED
    }

    /// Whether the call has ended. Caller only.
    #[inline]
    pub fn is_answered(&self) -> bool {
        matches!(
            self.word.load(named("reply.take", Ordering::Acquire)),
            REPLIED | DROPPED
        )
    }

    /// Whether the waiter is the one that [`Waiter::into_raw`] made into `raw`. One load.
    #[inline]
    pub fn is_waiting(&self, raw: NonNull<()>) -> bool {
        self.word.load(Ordering::Relaxed) == raw.as_ptr()
    }

    /// Leaves a waiter, in place of the one before; `false` if the answer is there. Caller only.
    #[inline]
    pub fn wait(&self, waiter: W) -> bool {
        let new = waiter.into_raw().as_ptr();
        let mut now = self.word.load(Ordering::Relaxed);
        while now.addr() & 1 == 0 {
            // INVARIANT: The cell owns the new waiter.
            match self.word.compare_exchange(
                now,
                new,
                named("reply.wait", Ordering::AcqRel),
                Ordering::Relaxed,
            ) {
                Ok(old) => {
                    // SAFETY: `old` was just taken out.
                    drop(unsafe { Self::owned(old) });
                    return true;
                }
                Err(changed) => now = changed,
            }
        }
        // SAFETY: The new waiter was never put in.
        drop(unsafe { Self::owned(new) });
        false
    }

    /// The caller gives up; `false` if the answer is there already, to be taken.
    pub fn abandon(&self) -> bool {
        let mut now = self.word.load(Ordering::Relaxed);
        while !matches!(now, REPLIED | DROPPED) {
            // INVARIANT: The waiter, if there is one, is taken out.
            match self.word.compare_exchange(
                now,
                ABANDONED,
                named("reply.abandon", Ordering::AcqRel),
                Ordering::Relaxed,
            ) {
                Ok(old) => {
                    // SAFETY: `old` was just taken out.
                    drop(unsafe { Self::owned(old) });
                    return true;
                }
                Err(changed) => now = changed,
            }
        }
        false
    }

    /// Whether the caller has gone. Receiver only, before it completes.
    pub fn is_abandoned(&self) -> bool {
        self.word.load(Ordering::Acquire) == ABANDONED
    }

    /// Whether a receiver has the right to answer that nobody but the caller protects.
    pub fn is_pending(&self) -> bool {
        !matches!(
            self.word.load(Ordering::Acquire),
            REPLIED | DROPPED | ABANDONED | FREE
        )
    }

    /// The slot is nobody's, and about to be given back.
    #[inline]
    pub fn end(&self) {
        // Relaxed: `reply.free`, or who has the slot next being the same thread, publishes it.
        self.word.store(FREE, Ordering::Relaxed);
    }
}

impl<W: Waiter> Default for ReplyCell<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Waiter> Drop for ReplyCell<W> {
    fn drop(&mut self) {
        let word = self.word.swap(FREE, Ordering::Relaxed);
        // SAFETY: Just taken out; it is only a waiter if the call's future was leaked.
        drop(unsafe { Self::owned(word) });
    }
}

/// No slot.
pub const NONE: u32 = u32::MAX;

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

    /// Frees slot `index`, which is `slot`. Any context, lock-free.
    #[inline]
    pub fn put<W: Waiter>(&self, index: u32, slot: &ReplyCell<W>) {
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

    /// Takes a free slot; `slot` finds the one of an index. Any context, lock-free.
    #[inline]
    pub fn take<'a, W: Waiter + 'a>(
        &self,
        slot: impl Fn(u32) -> Option<&'a ReplyCell<W>>,
    ) -> Option<u32> {
        let mut head = self.head.load(named("reply.alloc", Ordering::Acquire));
        loop {
            let index = head as u32;
            // `NONE` is no slot. What is read here may be stale; then the tag has changed.
            let next = slot(index)?.next.load(Ordering::Relaxed);
            let step = if mistake("reply.no_tag") { 0 } else { 1 };
            let tag = (head >> 32).wrapping_add(step) << 32;
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
