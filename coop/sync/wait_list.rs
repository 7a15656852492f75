// SPDX-License-Identifier: GPL-2.0

//! Those who wait for something inside a domain, in the order in which they came.
//!
//! No dependency on the kernel crate: the same file is compiled into the module and, on the host,
//! into the property tests of `selftests/host`.
//!
//! The list is intrusive: a future has a [`Place`] in it, whose links are part of the future, so
//! that to wait allocates nothing. That is sound because a future that has been polled is pinned:
//! it stays where it is until its destructor has run, and the destructor leaves the list. (Forgotten
//! in a box, it stays in the list, and in memory, for ever.)
//!
//! No atomics and no lock: the types are neither `Send` nor `Sync`. Whoever shares them argues why
//! there is one user at a time (see `Bound` in `sync/bound.rs`).

use core::cell::{Cell, UnsafeCell};
use core::marker::PhantomPinned;
use core::mem::MaybeUninit;
use core::ptr;

/// How a waiter is told that its wait is over.
pub trait WakeUp {
    /// Wakes it. May call back into what it waits for.
    fn wake_up(self);
}

/// One who waits.
pub struct Node<W> {
    prev: Cell<*const Node<W>>,
    next: Cell<*const Node<W>>,
    /// Out of the list, since the wait is over.
    chosen: Cell<bool>,
    /// What it waits for, or got; the list's owner knows.
    need: Cell<u32>,
    waker: Cell<Option<W>>,
}

impl<W> Node<W> {
    /// Whether the wait is over.
    #[inline]
    pub fn is_chosen(&self) -> bool {
        self.chosen.get()
    }

    /// What it waits for, or got.
    #[inline]
    pub fn need(&self) -> u32 {
        self.need.get()
    }

    /// Replaces the waker.
    pub fn set_waker(&self, waker: W) {
        drop(self.waker.replace(Some(waker)));
    }

    /// Whether `f` holds for the waker; it must not use the list.
    pub fn is_woken_by(&self, f: impl FnOnce(&W) -> bool) -> bool {
        let waker = self.waker.take();
        let same = waker.as_ref().is_some_and(f);
        self.waker.set(waker);
        same
    }
}

/// It is in a list, or chosen and does not know.
const WAITING: u8 = 1 << 0;
/// It has been ready; for futures that care.
const SPENT: u8 = 1 << 1;

/// Where a future keeps its node.
///
/// # Invariants
///
/// With `WAITING` in `phase`, `node` is initialised, and is in a list or chosen.
pub struct Place<W> {
    phase: u8,
    node: UnsafeCell<MaybeUninit<Node<W>>>,
    // Others point here: a `&mut` to it is not exclusive.
    _pinned: PhantomPinned,
}

impl<W> Place<W> {
    /// A place of one who does not wait yet.
    #[inline(always)]
    pub const fn new() -> Self {
        Place {
            phase: 0,
            node: UnsafeCell::new(MaybeUninit::uninit()),
            _pinned: PhantomPinned,
        }
    }

    /// Whether it is in a list, or chosen and does not know.
    #[inline(always)]
    pub fn is_waiting(&self) -> bool {
        self.phase & WAITING != 0
    }

    /// Whether it neither waits nor is spent.
    #[inline(always)]
    pub fn is_fresh(&self) -> bool {
        self.phase == 0
    }

    /// Whether it is spent.
    #[inline(always)]
    pub fn is_spent(&self) -> bool {
        self.phase & SPENT != 0
    }

    /// It is spent from now on.
    #[inline(always)]
    pub fn spend(&mut self) {
        self.phase |= SPENT;
    }

    /// [`spend`](Self::spend) for one that is known not to wait, which the compiler then knows, too.
    ///
    /// # Safety
    ///
    /// It does not [wait](Self::is_waiting).
    #[inline(always)]
    pub unsafe fn spend_idle(&mut self) {
        // INVARIANT: Per the function's contract it did not say `WAITING` before.
        self.phase = SPENT;
    }

    /// The node of one who waits.
    #[inline]
    pub fn node(&self) -> Option<&Node<W>> {
        if !self.is_waiting() {
            return None;
        }
        // SAFETY: By the type's invariant; nobody has a mutable reference to a node.
        Some(unsafe { (*self.node.get()).assume_init_ref() })
    }
}

impl<W> Default for Place<W> {
    fn default() -> Self {
        Self::new()
    }
}

/// A queue of waiters. It may move; its nodes do not.
///
/// # Invariants
///
/// `head` and `tail` are the ends of a doubly linked list of `len` initialised nodes, none of them
/// chosen; or null.
pub struct WaitList<W> {
    head: Cell<*const Node<W>>,
    tail: Cell<*const Node<W>>,
    len: Cell<usize>,
}

impl<W> WaitList<W> {
    /// An empty list.
    pub const fn new() -> Self {
        WaitList {
            head: Cell::new(ptr::null()),
            tail: Cell::new(ptr::null()),
            len: Cell::new(0),
        }
    }

    /// Whether nobody waits.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.head.get().is_null()
    }

    /// How many wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.len.get()
    }

    /// The one who has waited longest.
    #[inline]
    pub fn front(&self) -> Option<&Node<W>> {
        // SAFETY: By the type's invariant.
        unsafe { self.head.get().as_ref() }
    }

    /// Puts `place`, a fresh one, at the end.
    ///
    /// # Safety
    ///
    /// `place` stays where it is, and [`leave`](Self::leave) is called with it and this list before
    /// its memory is used for anything else.
    pub unsafe fn join(&self, place: &mut Place<W>, need: u32, waker: W) {
        // SAFETY: Nobody else knows the node: it is in no list.
        let node: &Node<W> = unsafe {
            (*place.node.get()).write(Node {
                prev: Cell::new(self.tail.get()),
                next: Cell::new(ptr::null()),
                chosen: Cell::new(false),
                need: Cell::new(need),
                waker: Cell::new(Some(waker)),
            })
        };
        // INVARIANT: Initialised, and linked below.
        place.phase |= WAITING;
        // SAFETY: By the type's invariant.
        match unsafe { self.tail.get().as_ref() } {
            Some(last) => last.next.set(node),
            None => self.head.set(node),
        }
        self.tail.set(node);
        self.len.set(self.len.get().wrapping_add(1));
    }

    /// Takes `node` out.
    fn unlink(&self, node: &Node<W>) {
        let (prev, next) = (node.prev.get(), node.next.get());
        // SAFETY: By the type's invariant neighbours are valid.
        match unsafe { prev.as_ref() } {
            Some(prev) => prev.next.set(next),
            None => self.head.set(next),
        }
        // SAFETY: As above.
        match unsafe { next.as_ref() } {
            Some(next) => next.prev.set(prev),
            None => self.tail.set(prev),
        }
        self.len.set(self.len.get().wrapping_sub(1));
    }

    /// The wait of the first is over: takes it out, with `got`. Its waker is for the caller to wake,
    /// as the last thing.
    #[must_use]
    pub fn choose(&self, got: u32) -> Option<W> {
        let node = self.front()?;
        self.unlink(node);
        node.chosen.set(true);
        node.need.set(got);
        node.waker.take()
    }

    /// Ends the wait of `place`. If it was chosen before, what it got.
    pub fn leave(&self, place: &mut Place<W>) -> Option<u32> {
        let node = place.node()?;
        let got = node.chosen.get().then(|| node.need.get());
        if got.is_none() {
            self.unlink(node);
        }
        let waker = node.waker.take();
        // INVARIANT: In no list any more.
        place.phase &= !WAITING;
        // Somebody's code, maybe.
        drop(waker);
        got
    }
}

impl<W> Default for WaitList<W> {
    fn default() -> Self {
        Self::new()
    }
}
