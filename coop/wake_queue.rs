// SPDX-License-Identifier: GPL-2.0

//! The queue through which a domain is woken from outside, and the protocol by which its home
//! thread goes to sleep.
//!
//! No dependency on the kernel crate: the same file is compiled into the module and, on the host,
//! into the loom models of `selftests/host`.
//!
//! One word is both the head of an intrusive list (Treiber's stack, taken whole, so there is no
//! ABA problem) and the domain's *pending* flag:
//!
//! ```text
//!             push: wake the home thread
//!      IDLE ------------------------------> list ... -> IDLE|RUNNING|AGAIN
//!       ^  \                                 ^   |
//!       |   \ claim, kick               push |   | take
//!       |    v                               |   v
//!       +------------------------------- RUNNING          close: any state -> CLOSED, for good
//!         go_idle                            ^   |
//!                                       take |   v kick, alert
//!                                          AGAIN <----------- IDLE, by alert
//! ```
//!
//! - `IDLE`: no work, and the home thread sleeps or is about to: who pushes wakes it.
//! - `RUNNING`: no work queued, and somebody is awake who looks here again before the domain goes
//!   idle: who pushes need not wake anybody. In a `Process` domain that is the home thread, in a
//!   `Bh` domain whoever runs it: there this word is the baton.
//! - `AGAIN`: `RUNNING`, and the runner's own queue, and its timers, are to be looked at, too.
//! - `CLOSED`: the domain is gone, nothing is accepted.
//!
//! **No lost wake-up**: going idle and pushing are read-modify-writes of the *same* word, so one
//! comes first. If `push` does, `go_idle` fails. If `go_idle` does, `push` sees `IDLE` and wakes.
//! What is left is the sleep itself: after `go_idle` the home thread sets its task state, which is
//! a full barrier (`set_current_state`), and looks at the word once more before `schedule()`; that
//! barrier pairs with the one at the start of `wake_up_process()`.
//!
//! `queue.push` publishes a coroutine's link and what its waker did before; `queue.take` acquires it.

use crate::atomic::{named, AtomicPtr, Ordering, UnsafeCell};
use core::ptr::{self, NonNull};

/// The list pointer of a coroutine; in at most one queue at a time.
#[repr(transparent)]
pub struct Link(UnsafeCell<*mut Link>);

impl Link {
    /// A link that is in no queue.
    pub fn new() -> Self {
        Link(UnsafeCell::new(ptr::null_mut()))
    }

    /// # Safety
    ///
    /// The caller owns the link: it is in no queue, or in one that only the caller touches.
    #[inline]
    pub(crate) unsafe fn set(&self, next: *mut Link) {
        // SAFETY: Per the function's contract nobody else accesses the cell.
        self.0.with_mut(|p| unsafe { *p = next })
    }

    /// # Safety
    ///
    /// As for [`Link::set`].
    #[inline]
    pub(crate) unsafe fn get(&self) -> *mut Link {
        // SAFETY: Per the function's contract nobody else accesses the cell.
        self.0.with(|p| unsafe { *p })
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::new()
    }
}

const IDLE: *mut Link = ptr::null_mut();
const RUNNING: *mut Link = ptr::without_provenance_mut(1);
const CLOSED: *mut Link = ptr::without_provenance_mut(2);
const AGAIN: *mut Link = ptr::without_provenance_mut(3);

/// Whether `p` ends a list, being a state and no link (links are aligned to more than 2).
#[inline]
fn is_end(p: *mut Link) -> bool {
    p.addr() <= AGAIN.addr()
}

/// What became of a push.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Push {
    /// Queued; a runner will see it.
    Queued,
    /// Queued, and the caller has to wake the home thread.
    Wake,
    /// Not queued: the domain is gone.
    Closed,
}

/// The multi-producer queue of wake-ups of one domain.
///
/// # Invariants
///
/// `head` is `IDLE`, `RUNNING`, `AGAIN`, `CLOSED`, or the first of a list of links, each owned by
/// the queue, that ends with one of the first three.
pub struct WakeQueue {
    head: AtomicPtr<Link>,
}

impl WakeQueue {
    /// An empty queue of a domain whose home thread has not run yet.
    pub fn new() -> Self {
        WakeQueue {
            head: AtomicPtr::new(RUNNING),
        }
    }

    /// Queues `link`. Any context, hard IRQ included; lock-free: one compare-and-exchange when
    /// nobody interferes.
    ///
    /// # Safety
    ///
    /// `link` is in no queue, the caller owns it, and it stays valid until it was taken out again.
    #[inline]
    pub unsafe fn push(&self, link: NonNull<Link>) -> Push {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head == CLOSED {
                return Push::Closed;
            }
            // SAFETY: The caller owns `link`, it is valid and not yet published.
            unsafe { link.as_ref().set(head) };
            // INVARIANT: `link` goes in front of a list, or of the state that ends it.
            match self.head.compare_exchange_weak(
                head,
                link.as_ptr(),
                named("queue.push", Ordering::AcqRel),
                Ordering::Relaxed,
            ) {
                Ok(_) if head == IDLE => return Push::Wake,
                Ok(_) => return Push::Queued,
                Err(now) => head = now,
            }
        }
    }

    /// Whether there is something to [`take`](Self::take), or a [`kick`](Self::kick) to answer to. A
    /// hint, one load.
    #[inline]
    pub fn has_work(&self) -> bool {
        self.head.load(Ordering::Relaxed).addr() > CLOSED.addr()
    }

    /// Takes everything queued, oldest last. The caller becomes the runner that pushers rely on.
    #[inline]
    pub fn take(&self) -> Batch {
        // INVARIANT: The list goes to the batch, an empty one stays.
        Batch(
            self.head
                .swap(RUNNING, named("queue.take", Ordering::AcqRel)),
        )
    }

    /// Becomes the one that pushers rely on, if the domain is idle.
    #[inline]
    pub fn claim(&self) -> bool {
        self.head
            .compare_exchange(
                IDLE,
                RUNNING,
                named("queue.claim", Ordering::AcqRel),
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// Has the runner's own queue looked at by the one that pushers rely on; `true` if that is
    /// nobody, and the caller has to wake the home thread.
    pub fn kick(&self) -> bool {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let next = match head {
                IDLE => RUNNING,
                RUNNING => AGAIN,
                // Whoever takes the list looks at both.
                _ => return false,
            };
            // INVARIANT: A state in place of another.
            match self.head.compare_exchange_weak(
                head,
                next,
                named("queue.kick", Ordering::AcqRel),
                Ordering::Relaxed,
            ) {
                Ok(_) => return head == IDLE,
                Err(now) => head = now,
            }
        }
    }

    /// Has the one that pushers rely on [take](Self::take), though nothing was pushed; `true` if that
    /// is nobody, and the caller has to wake the home thread. Any context.
    ///
    /// Always a read-modify-write of the word: what was written before is seen after that `take`.
    #[must_use]
    pub fn alert(&self) -> bool {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let next = match head {
                IDLE | RUNNING => AGAIN,
                CLOSED => return false,
                _ => head,
            };
            // INVARIANT: A state in place of another, or what is there.
            match self.head.compare_exchange_weak(
                head,
                next,
                named("queue.alert", Ordering::Release),
                Ordering::Relaxed,
            ) {
                Ok(_) => return head == IDLE,
                Err(now) => head = now,
            }
        }
    }

    /// Declares the domain idle; `false` if there is work. Only by the one that pushers rely on.
    ///
    /// After `true` the next push asks its caller to wake the home thread.
    #[inline]
    pub fn go_idle(&self) -> bool {
        self.head
            .compare_exchange(
                RUNNING,
                IDLE,
                named("queue.go_idle", Ordering::AcqRel),
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// Whether nothing was pushed since [`go_idle`](Self::go_idle). The home thread calls this
    /// between setting its task state and sleeping.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.head.load(Ordering::Acquire) == IDLE
    }

    /// Refuses everything from now on, and hands back what is queued.
    pub fn close(&self) -> Batch {
        // INVARIANT: The list goes to the batch.
        Batch(
            self.head
                .swap(CLOSED, named("queue.close", Ordering::AcqRel)),
        )
    }

    /// Whether [`close`](Self::close) was called.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.head.load(Ordering::Acquire) == CLOSED
    }
}

impl Default for WakeQueue {
    fn default() -> Self {
        Self::new()
    }
}

/// Links taken from a [`WakeQueue`], newest first.
///
/// # Invariants
///
/// A state, or the first link of a list that ends with a state; the links belong to the batch.
#[must_use]
pub struct Batch(*mut Link);

impl Batch {
    /// The link, if there is but one. Who takes it over does nothing else with the batch.
    #[inline(always)]
    pub fn only(&self) -> Option<NonNull<Link>> {
        if is_end(self.0) {
            return None;
        }
        // SAFETY: By its invariant the batch owns its links.
        NonNull::new(self.0).filter(|link| is_end(unsafe { link.as_ref().get() }))
    }

    /// Calls `f` for each link, oldest first. It belongs to `f` then.
    pub fn oldest_first(self, mut f: impl FnMut(NonNull<Link>)) {
        let (mut link, mut rest) = (self.0, ptr::null_mut());
        while !is_end(link) {
            // SAFETY: By its invariant the batch owns its links.
            let next = unsafe { (*link).get() };
            // SAFETY: As above.
            unsafe { (*link).set(rest) };
            rest = link;
            link = next;
        }
        while let Some(link) = NonNull::new(rest) {
            // SAFETY: Still the batch's.
            rest = unsafe { link.as_ref().get() };
            f(link);
        }
    }
}
