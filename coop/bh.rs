// SPDX-License-Identifier: GPL-2.0

//! Domains at level [`Bh`](Level::Bh): run with bottom halves off, also from softirqs.
//!
//! Nobody sleeps with the baton of such a domain: its home thread takes it for a batch of polls at a
//! time, everybody else for one look at a [`DomainCell`](crate::cell::DomainCell) that they
//! [enter](crate::cell::DomainCell::enter), and for the coroutines that this wakes. So a network
//! driver's `ndo_start_xmit` and its NAPI poll are atomic to the driver's coroutines and to each
//! other, without a lock of the driver's own and without any thread being woken.
//!
//! **No lost wake-up.** As in [`inline`](crate::inline): whoever pushes from outside meanwhile wakes
//! the home thread, which then waits for the baton; what is left over in the runner's own queue is
//! announced before the baton is given back.
//!
//! On PREEMPT_RT, softirqs are threads, and bottom halves are off for a thread, not for a CPU:
//! whoever has the baton can be preempted, and whoever looks for it gives up soon; so the home
//! thread, which does not, must not be of a higher priority than those.

use crate::executor::Executor;
use crate::sys::{bh, context};

/// In which context the coroutines of a domain run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// In threads: coroutines may sleep, though others of the domain wait meanwhile.
    Process,
    /// With bottom halves off: coroutines must not sleep, except by awaiting. Callers and posters
    /// do not run them; threads with bottom halves off and softirqs may, by entering a cell.
    Bh,
}

/// Looks at a taken baton before giving up: less than a batch of polls takes, more than most of
/// those who have it need.
const SPINS: u32 = 256;

/// Polls that are made for others on the way out.
const POLLS: usize = 4;

impl Executor {
    /// Becomes the runner, if the context allows that and nobody else is. Any context.
    #[inline(always)]
    pub(crate) fn enter_bh(&self) -> bool {
        let me = bh::current_runner();
        if me.is_null() || !self.bh || self.is_closed() {
            return false;
        }
        // The one further up our own stack would not give it back, however long we look.
        if !self.bh_baton.try_lock() && (self.is_runner(me) || !self.bh_baton.spin(SPINS)) {
            self.stats.contended.add(1);
            return false;
        }
        self.set_runner(me);
        true
    }

    /// Runs what has been woken, a little, and gives the baton back.
    ///
    /// # Safety
    ///
    /// [`enter_bh`](Self::enter_bh) has returned `true`, in this context.
    #[inline(always)]
    pub(crate) unsafe fn leave_bh(&self) {
        if self.has_left_over() {
            self.run_left_over();
        }
        self.forget_runner();
        self.bh_baton.unlock();
    }

    #[cold]
    #[inline(never)]
    fn run_left_over(&self) {
        self.run_until(POLLS, || false);
        if self.has_left_over() {
            self.hand_over();
        }
    }

    /// The home thread becomes the runner of a `Bh` domain.
    pub(crate) fn home_enter_bh(&self) {
        bh::disable();
        while !self.bh_baton.try_lock() && !self.bh_baton.spin(SPINS) {
            // The holder, if it is a thread of PREEMPT_RT, may need this CPU.
            bh::enable();
            context::cond_resched();
            bh::disable();
        }
        self.set_runner(bh::current_runner());
    }

    pub(crate) fn home_leave_bh(&self) {
        self.forget_runner();
        self.bh_baton.unlock();
        bh::enable();
    }
}
