// SPDX-License-Identifier: GPL-2.0

//! Permits, handed out first come first served: what everything here that waits is made of.
//!
//! No dependency on the kernel crate: the same file is compiled into the module and, on the host,
//! into the property tests of `selftests/host`.
//!
//! A permit that is given back is *handed* to the one who has waited longest: it is that one's from
//! then on, before it runs, so that nobody who comes later can take it away. One who goes before it
//! has noticed passes it on. One who wants many permits and is first holds up those behind it, so
//! that it gets them in the end.

use super::wait_list::{Place, WaitList, WakeUp};
use core::cell::Cell;

/// A number of permits, and those who wait for some.
///
/// # Invariants
///
/// While somebody waits, `open` is 0, and `held` is less than the first one wants. Otherwise `held`
/// is 0.
pub struct Permits<W> {
    /// Permits for whoever comes.
    open: Cell<u32>,
    /// Permits that are not enough for the first who waits.
    held: Cell<u32>,
    waiters: WaitList<W>,
}

impl<W: WakeUp> Permits<W> {
    /// `free` permits.
    pub const fn new(free: u32) -> Self {
        Permits {
            open: Cell::new(free),
            held: Cell::new(0),
            waiters: WaitList::new(),
        }
    }

    /// Permits that can be taken at once.
    pub fn open(&self) -> u32 {
        self.open.get()
    }

    /// How many wait.
    pub fn waiters(&self) -> usize {
        self.waiters.len()
    }

    /// There are `n` permits from now on, while nobody waits.
    pub fn reset(&self, n: u32) {
        // INVARIANT: Nobody waits, so that none is held.
        self.open.set(n);
    }

    /// Whether nobody waits, and there are `n` permits for whoever comes.
    pub fn is_at_rest(&self, n: u32) -> bool {
        self.waiters.is_empty() && self.open.get() == n
    }

    /// Takes `n` permits, unless that takes waiting.
    #[inline(always)]
    pub fn try_take(&self, n: u32) -> bool {
        let open = self.open.get();
        if open < n {
            return false;
        }
        self.open.set(open.wrapping_sub(n));
        true
    }

    /// Queues for `n` permits, which [`try_take`](Self::try_take) did not get.
    ///
    /// # Safety
    ///
    /// `place` is fresh and stays where it is, and [`cancel`](Self::cancel) is called with it
    /// before its memory is used for anything else.
    pub unsafe fn queue(&self, place: &mut Place<W>, n: u32, waker: W) {
        // INVARIANT: Less than the first one wants: it would have got them otherwise.
        self.held
            .set(self.held.get().saturating_add(self.open.replace(0)));
        // SAFETY: Per the function's contract.
        unsafe { self.waiters.join(place, n, waker) };
    }

    /// Ends the wait of one who was chosen; what it got. `None`: not chosen (yet).
    #[inline]
    pub fn finish(&self, place: &mut Place<W>) -> Option<u32> {
        if !place.node()?.is_chosen() {
            return None;
        }
        self.waiters.leave(place)
    }

    /// Ends a wait, if it is one; passes on what the waiter got.
    pub fn cancel(&self, place: &mut Place<W>) {
        if !place.is_waiting() {
            return;
        }
        match self.waiters.leave(place) {
            Some(got) => self.give(got),
            // It may be that it was all that those behind it waited for.
            None => self.serve(),
        }
    }

    /// The same, of what is given by [`give_once`](Self::give_once).
    pub fn cancel_once(&self, place: &mut Place<W>) {
        if !place.is_waiting() {
            return;
        }
        match self.waiters.leave(place) {
            Some(0) => (),
            Some(_) => self.give_once(),
            None => self.serve(),
        }
    }

    /// Gives `n` permits; beyond `u32::MAX` they are lost.
    #[inline(always)]
    pub fn give(&self, n: u32) {
        if self.waiters.is_empty() {
            self.open.set(self.open.get().saturating_add(n));
        } else {
            self.hand(n);
        }
    }

    #[cold]
    #[inline(never)]
    fn hand(&self, n: u32) {
        self.held.set(self.held.get().saturating_add(n));
        self.serve();
    }

    /// Hands permits to those who wait, as many as there are.
    fn serve(&self) {
        while let Some(first) = self.waiters.front() {
            let need = first.need();
            let Some(rest) = self.held.get().checked_sub(need) else {
                return;
            };
            self.held.set(rest);
            let waker = self.waiters.choose(need);
            self.settle();
            // Last, since it may come back here.
            if let Some(waker) = waker {
                waker.wake_up();
            }
        }
        self.settle();
    }

    /// Nobody waits any more: what was held is for whoever comes.
    fn settle(&self) {
        if self.waiters.is_empty() {
            // INVARIANT: Nobody waits.
            self.open
                .set(self.open.get().saturating_add(self.held.replace(0)));
        }
    }

    /// Gives one permit, unless there is one that nobody has taken.
    pub fn give_once(&self) {
        if self.waiters.is_empty() {
            self.open.set(self.open.get().max(1));
        } else {
            self.hand(1);
        }
    }

    /// Gives one permit to the first who waits; whether there was one.
    pub fn give_first(&self) -> bool {
        if self.waiters.is_empty() {
            return false;
        }
        self.hand(1);
        true
    }

    /// Ends the wait of everybody who waits now, without a permit.
    pub fn dismiss(&self) {
        // Those who come back at once are behind them.
        for _ in 0..self.waiters.len() {
            let waker = self.waiters.choose(0);
            self.settle();
            if let Some(waker) = waker {
                waker.wake_up();
            }
        }
        // For those who came back.
        self.serve();
    }
}
