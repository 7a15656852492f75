// SPDX-License-Identifier: GPL-2.0

//! Which coroutine is next: one circular list for each priority, touched by the runner only.
//!
//! No dependency on the kernel crate: the same file is compiled into the module and, on the host,
//! into the tests of `selftests/host`.
//!
//! A list is known by its last link, which points to the first. So a coroutine that only lets
//! others run stays where it is while it is polled, at the front, and goes to the end by one store:
//! the list is turned by one.
//!
//! **Which priority.** The most urgent one that waits; but each [`FAVOUR`]th pick while several
//! wait goes to the next waiting priority in turn, so that whoever is first in its list is polled
//! after [`FAVOUR`] × [`PRIORITIES`] picks at the latest. A pick is one poll; for
//! [`Priority::NORMAL`] it is a round of up to [`ROUND`] polls, which ends early when something
//! more urgent is queued.

use crate::wake_queue::{Batch, Link};
use core::ptr::{self, NonNull};

/// Number of priorities.
pub const PRIORITIES: usize = 8;

/// Polls of a round at [`Priority::NORMAL`]: between two looks at what was woken from outside, and
/// at other priorities.
pub const ROUND: usize = 16;

/// One pick of so many, while several priorities wait, is for each of them in turn.
pub const FAVOUR: u32 = 8;

/// How urgent a coroutine is among those of its domain: of the ones that are ready, a more urgent
/// one runs first, those of the same priority in turn.
///
/// Nobody starves: while several priorities wait, each eighth pick goes to the next of them in turn;
/// so whoever is first of its priority is polled after at most 64 picks of others, which are one
/// poll each, or up to 16 at [`NORMAL`](Self::NORMAL).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Priority(u8);

impl Priority {
    /// The most urgent.
    pub const HIGHEST: Priority = Priority(0);
    /// What coroutines have unless they are given another.
    pub const NORMAL: Priority = Priority(4);
    /// The least urgent.
    pub const LOWEST: Priority = Priority(PRIORITIES as u8 - 1);

    /// The priority `n`: 0 is the most urgent, 7 the least.
    pub const fn new(n: u8) -> Option<Self> {
        if n < PRIORITIES as u8 {
            Some(Priority(n))
        } else {
            None
        }
    }

    /// Its number.
    #[inline]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The priority that [`get`](Self::get) gave as `n`.
    #[inline]
    pub(crate) const fn from_stored(n: u8) -> Self {
        Priority(n)
    }

    #[inline]
    const fn bit(self) -> u32 {
        1u32.wrapping_shl(self.0 as u32)
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::NORMAL
    }
}

/// A first-in first-out list.
///
/// # Invariants
///
/// `last` is null, or the last of a circular list of links that belong to it.
pub struct List {
    last: *mut Link,
}

impl List {
    const EMPTY: List = List {
        last: ptr::null_mut(),
    };

    /// The oldest link; it stays.
    #[inline(always)]
    pub fn first(&self) -> Option<NonNull<Link>> {
        if self.last.is_null() {
            return None;
        }
        // SAFETY: By the invariant `last` is valid, ours, and followed by the first.
        unsafe {
            let first = (*self.last).get();
            core::hint::assert_unchecked(!first.is_null());
            Some(NonNull::new_unchecked(first))
        }
    }

    /// # Safety
    ///
    /// As for [`RunQueue::push`].
    #[inline(always)]
    unsafe fn push(&mut self, link: NonNull<Link>) {
        // INVARIANT: `link` comes between the last and the first, and is the last now.
        // SAFETY: The caller owns `link`; the others are ours.
        unsafe {
            if self.last.is_null() {
                link.as_ref().set(link.as_ptr());
            } else {
                link.as_ref().set((*self.last).get());
                (*self.last).set(link.as_ptr());
            }
        }
        self.last = link.as_ptr();
    }

    /// Who follows `link` in its list.
    ///
    /// # Safety
    ///
    /// `link` is in a list, and the caller is the one who touches that.
    #[inline(always)]
    pub unsafe fn after(link: NonNull<Link>) -> NonNull<Link> {
        // SAFETY: Links of a list are followed by valid ones.
        unsafe { NonNull::new_unchecked(link.as_ref().get()) }
    }

    /// Makes the first the last.
    ///
    /// # Safety
    ///
    /// `first` is the first of the list.
    #[inline(always)]
    pub unsafe fn turn(&mut self, first: NonNull<Link>) {
        // INVARIANT: The list is a circle; it only starts elsewhere now.
        self.last = first.as_ptr();
    }

    /// Takes the first out.
    ///
    /// # Safety
    ///
    /// `first` is the first of the list.
    #[inline(always)]
    pub unsafe fn remove(&mut self, first: NonNull<Link>) {
        // SAFETY: The list has a first, so it has a last; both are ours.
        // INVARIANT: The circle is closed behind it.
        unsafe {
            let next = first.as_ref().get();
            if next == first.as_ptr() {
                self.last = ptr::null_mut();
            } else {
                (*self.last).set(next);
            }
        }
    }
}

/// What is ready, by priority.
///
/// # Invariants
///
/// `others` has the bit of each priority but `NORMAL` whose list is not empty.
#[repr(C)]
pub struct RunQueue {
    normal: List,
    /// Polls that this round still has; below zero, those that it had when there was nothing to poll.
    left: i32,
    /// Polls that it was cut by. (Beside `left`: a round begins with one store of both.)
    cut: u32,
    /// Polls that rounds were short of [`ROUND`] by, since somebody asked.
    short: usize,
    others: u32,
    picks: u32,
    /// The priority that was favoured last.
    favoured: u32,
    /// That of `NORMAL` is always empty.
    lists: [List; PRIORITIES],
}

impl RunQueue {
    /// An empty queue.
    pub const fn new() -> Self {
        RunQueue {
            normal: List::EMPTY,
            left: 0,
            cut: 0,
            short: 0,
            others: 0,
            picks: 0,
            favoured: 0,
            lists: [const { List::EMPTY }; PRIORITIES],
        }
    }

    /// Whether nothing is queued.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        // One branch: the sum of both.
        self.normal.last.addr() | self.others as usize == 0
    }

    /// The list of `priority`.
    #[inline(always)]
    pub fn list(&mut self, priority: Priority) -> &mut List {
        if priority == Priority::NORMAL {
            return &mut self.normal;
        }
        &mut self.lists[usize::from(priority.0) % PRIORITIES]
    }

    /// Queues `link` behind all others of its priority.
    ///
    /// # Safety
    ///
    /// `link` is in no queue, the caller owns it, and it stays valid until it was taken out again.
    #[inline(always)]
    pub unsafe fn push(&mut self, link: NonNull<Link>, priority: Priority) {
        if priority == Priority::NORMAL {
            // SAFETY: Per the function's contract.
            unsafe { self.push_normal(link) };
        } else {
            // SAFETY: As above.
            unsafe { self.push_other(link, priority) };
        }
    }

    /// [`push`](Self::push) for one of [`Priority::NORMAL`].
    ///
    /// # Safety
    ///
    /// As for [`push`](Self::push).
    #[inline(always)]
    pub unsafe fn push_normal(&mut self, link: NonNull<Link>) {
        // SAFETY: Per the function's contract.
        unsafe { self.normal.push(link) };
    }

    /// # Safety
    ///
    /// As for [`push`](Self::push).
    #[cold]
    #[inline(never)]
    unsafe fn push_other(&mut self, link: NonNull<Link>, priority: Priority) {
        // INVARIANT: It is not empty any more.
        self.others |= priority.bit();
        // SAFETY: Per the function's contract.
        unsafe { self.list(priority).push(link) };
        if priority < Priority::NORMAL && self.left > 1 {
            // After the poll of the moment, if there is one.
            let cut = self.left.unsigned_abs().wrapping_sub(1);
            self.cut = self.cut.wrapping_add(cut);
            self.short = self.short.wrapping_add(cut as usize);
            self.left = 1;
        }
    }

    /// Takes the first of `priority` out.
    ///
    /// # Safety
    ///
    /// `first` is the first of the list of that priority.
    #[inline(always)]
    pub unsafe fn remove(&mut self, first: NonNull<Link>, priority: Priority) {
        let list = self.list(priority);
        // SAFETY: Per the function's contract.
        unsafe { list.remove(first) };
        if priority != Priority::NORMAL && list.last.is_null() {
            self.others &= !priority.bit();
        }
    }

    /// The priority whose turn it is; its list is not empty. `None` if nothing is queued.
    #[inline(always)]
    pub fn pick(&mut self) -> Option<Priority> {
        if self.others != 0 {
            return Some(self.pick_among());
        }
        (!self.normal.last.is_null()).then_some(Priority::NORMAL)
    }

    #[cold]
    #[inline(never)]
    fn pick_among(&mut self) -> Priority {
        let mut ready = self.others;
        if !self.normal.last.is_null() {
            ready |= Priority::NORMAL.bit();
        }
        self.picks = self.picks.wrapping_add(1);
        if self.picks % FAVOUR == 0 {
            // The next one in turn, below the one before, or from the top again.
            let below = ready & (!1u32).wrapping_shl(self.favoured);
            self.favoured = if below != 0 { below } else { ready }.trailing_zeros();
            return Priority::from_stored(self.favoured as u8);
        }
        Priority::from_stored(ready.trailing_zeros() as u8)
    }

    /// Begins a round of [`ROUND`] polls at [`Priority::NORMAL`].
    #[inline(always)]
    pub fn start_round(&mut self) {
        self.left = ROUND as i32;
        // What was queued between two rounds is no cut.
        self.cut = 0;
    }

    /// What begins is no round, but one poll at another priority: counted as a round of that length.
    #[inline]
    pub fn count_one(&mut self) {
        self.left = 0;
        self.cut = ROUND as u32 - 1;
        self.short = self.short.wrapping_add(ROUND - 1);
    }

    /// One poll of the round is done; whether it goes on.
    #[inline(always)]
    pub fn step(&mut self) -> bool {
        self.left = self.left.wrapping_sub(1);
        self.left != 0
    }

    /// The number of the poll of the moment in its round, before its [`step`](Self::step): the first
    /// one is 1.
    pub fn nth(&self) -> usize {
        self.made().wrapping_add(1)
    }

    /// The round ends although [`step`](Self::step) said that it goes on: there is nothing to poll.
    #[inline(always)]
    pub fn end_round(&mut self) {
        // SAFETY: A reference may be read. (Volatile, so that the compiler counts down in memory,
        // by one instruction, and not in a register besides.)
        let left = unsafe { ptr::read_volatile(&self.left) };
        self.short = self.short.wrapping_add(left as usize);
        self.left = left.wrapping_neg();
    }

    /// The polls that the round of the moment, or the one that has ended last, has made.
    pub fn made(&self) -> usize {
        let not_made = self.left.unsigned_abs().wrapping_add(self.cut);
        ROUND.wrapping_sub(not_made as usize)
    }

    /// How many polls fewer than [`ROUND`] each were made, in all rounds since this was asked last:
    /// who counts rounds need not count polls.
    #[inline(always)]
    pub fn take_short(&mut self) -> usize {
        core::mem::take(&mut self.short)
    }

    /// Takes out what is next.
    pub fn pop(&mut self) -> Option<NonNull<Link>> {
        let priority = self.pick()?;
        let first = self.list(priority).first()?;
        // SAFETY: It is the first.
        unsafe { self.remove(first, priority) };
        Some(first)
    }

    /// Puts each link that is not where it is to be, as `priority` says, behind all others of that
    /// priority. One walk along all that is queued, however many there are to be moved: the lists
    /// have no way back, by which one could be taken out of the middle.
    pub fn refile(&mut self, priority: impl Fn(NonNull<Link>) -> Priority) {
        for level in 0..PRIORITIES {
            let level = Priority::from_stored(level as u8);
            let list = self.list(level);
            let Some(mut link) = list.first() else {
                continue;
            };
            // INVARIANT: Empty; its links are ours, still a circle that ends with `last`.
            let last = core::mem::replace(&mut list.last, ptr::null_mut());
            if level != Priority::NORMAL {
                self.others &= !level.bit();
            }
            loop {
                let is_last = link.as_ptr() == last;
                // SAFETY: Not pushed yet, so still in the circle.
                let next = unsafe { List::after(link) };
                // SAFETY: It is ours, in no list any more.
                unsafe { self.push(link, priority(link)) };
                if is_last {
                    break;
                }
                link = next;
            }
        }
    }

    /// Calls `f` for every link; `f` must not change the queue.
    pub fn for_each(&self, mut f: impl FnMut(NonNull<Link>)) {
        for list in core::iter::once(&self.normal).chain(&self.lists) {
            let Some(first) = list.first() else { continue };
            let mut link = first;
            loop {
                f(link);
                // SAFETY: The queue owns its links, and the list is a circle.
                link = unsafe { NonNull::new_unchecked(link.as_ref().get()) };
                if link == first {
                    break;
                }
            }
        }
    }

    /// Queues `batch`, oldest first; returns how many there were. `priority` tells that of a link.
    pub fn append(&mut self, batch: Batch, priority: impl Fn(NonNull<Link>) -> Priority) -> usize {
        let mut n = 0usize;
        // SAFETY: The batch owns its links, and hands each of them to us.
        batch.oldest_first(|link| unsafe {
            self.push(link, priority(link));
            n = n.wrapping_add(1);
        });
        n
    }
}

impl Default for RunQueue {
    fn default() -> Self {
        Self::new()
    }
}
