// SPDX-License-Identifier: GPL-2.0

//! Domains at level [`Bh`](Level::Bh): run with bottom halves off, also from softirqs.
//!
//! Nobody sleeps with the baton of such a domain, and nobody but the home thread waits for it. Its
//! runners are:
//!
//! - a sender or caller who finds the domain idle: it runs the coroutine that it woke, and what
//!   that wakes, there and then, up to some polls. No thread is woken.
//! - whoever [enters](crate::cell::DomainCell::enter) a [`DomainCell`](crate::cell::DomainCell):
//!   one look at it, and the coroutines that this wakes (unless interrupts are off, too). So a network driver's `ndo_start_xmit` and
//!   its NAPI poll are atomic to the driver's coroutines and to each other, without a lock of the
//!   driver's own.
//! - the home thread, a batch of polls at a time: for what is left over, and for all that is woken
//!   where nobody may run it.
//!
//! Who may: a thread or softirq with interrupts on that holds no spinlock (a coroutine could want
//! the same one) and runs no domain already. All others, hard interrupts above all, leave what they
//! send to the home thread; so does whatever wakes a coroutine other than by sending to it.
//!
//! A coroutine of such a domain must not sleep but by awaiting. What of this crate would is refused
//! there (`EWOULDBLOCK`).
//!
//! If it panics in a thread that holds no lock, the domain ends with that thread, as others do. In a
//! softirq, or under a spinlock (as in `ndo_start_xmit`), the kernel cannot go on without the thread,
//! and takes the machine down; on PREEMPT_RT always.
//!
//! How the baton goes from one to the next, and why no wake-up is lost, is told in
//! [`bh_baton`](crate::bh_baton).
//!
//! On PREEMPT_RT, softirqs are threads, and bottom halves are off for a thread, not for a CPU:
//! whoever has the baton can be preempted. Whoever finds it taken does not wait for that one, which
//! may have to wait for us, but leaves its work, or, the home thread, sleeps: so all is well
//! whatever their priorities are. (They are not inherited.)

use crate::bh_baton::{self, BhBaton, BhDomain};
use crate::executor::Executor;
use crate::run::INLINE_BUDGET;
use crate::sys::bh::{self, Place};
use crate::sys::{context, thread};
use crate::wake_queue::WakeQueue;
use core::sync::atomic::Ordering::Relaxed;

/// In which context the coroutines of a domain run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// In threads: coroutines may sleep, though others of the domain wait meanwhile.
    Process,
    /// With bottom halves off: coroutines must not sleep, except by awaiting. Who sends to an idle
    /// one runs it, from softirqs too; so do those who enter a cell. A panic takes the machine down,
    /// unless it happens in a thread that holds no lock. (On PREEMPT_RT it always does.)
    Bh,
}

/// Looks at a taken baton before giving up: less than a batch of polls takes, more than most of
/// those who have it need.
const SPINS: u32 = 256;

/// Polls that are made for others by one who entered, on the way out.
const POLLS: usize = 4;

// SAFETY: Both are fields.
unsafe impl BhDomain for Executor {
    const POLLS: usize = INLINE_BUDGET;

    #[inline(always)]
    fn baton(&self) -> &BhBaton {
        &self.bh_baton
    }

    #[inline(always)]
    fn queue(&self) -> &WakeQueue {
        &self.queue.0
    }

    #[inline(always)]
    fn begin(&self) {
        bh::begin();
        self.set_runner(bh::current_runner());
    }

    #[inline(always)]
    fn end(&self) {
        self.forget_runner();
        bh::end();
    }

    #[inline(always)]
    fn run(&self, polls: usize) -> usize {
        let left = match self.run_single() {
            Some(true) => return polls.wrapping_sub(1),
            Some(false) => polls.wrapping_sub(1),
            None => polls,
        };
        self.run_until(left, || false)
    }

    #[inline(always)]
    fn has_left_over(&self) -> bool {
        Executor::has_left_over(self)
    }

    fn may_run(&self) -> bool {
        // They are to have bottom halves off, not more: a netpoll may have entered.
        !bh::irqs_disabled()
    }

    fn wake_home(&self) {
        Executor::wake_home(self);
    }
}

impl Executor {
    /// A message has come for a coroutine of this domain, which was idle: runs it, if the context
    /// allows that and nobody else does. Any context but NMI.
    #[inline(never)]
    pub(crate) fn run_posted(&self) {
        match Place::of_sender() {
            Place::BhOff => bh_baton::run_or_leave(self),
            Place::BhOn => {
                bh::disable();
                bh_baton::run_or_leave(self);
                bh::enable();
            }
            Place::Elsewhere => self.wake_home(),
        }
    }

    /// Becomes the runner, if the context allows that and nobody else is. Any context.
    #[inline(always)]
    pub(crate) fn enter_bh(&self) -> bool {
        let me = bh::current_runner();
        if me.is_null() || !self.bh || self.is_closed() {
            return false;
        }
        // The one further up our own stack would not give it back, however long we look.
        if !self.bh_baton.try_lock() && (self.is_runner(me) || !self.spin_bh(SPINS)) {
            return false;
        }
        bh::begin();
        self.set_runner(me);
        true
    }

    /// Looks so often whether the baton gets free; whether it was taken then.
    #[cold]
    fn spin_bh(&self, times: u32) -> bool {
        for _ in 0..times {
            core::hint::spin_loop();
            if self.bh_baton.is_free() && self.bh_baton.try_lock() {
                return true;
            }
        }
        false
    }

    /// Runs what has been woken, a little, and gives the baton back.
    ///
    /// # Safety
    ///
    /// [`enter_bh`](Self::enter_bh) has returned `true`, in this context.
    #[inline(always)]
    pub(crate) unsafe fn leave_bh(&self) {
        if Executor::has_left_over(self) {
            self.run_left_over();
        }
        bh_baton::leave(self);
    }

    #[cold]
    #[inline(never)]
    fn run_left_over(&self) {
        if self.may_run() {
            self.run_until(POLLS, || false);
        }
        if Executor::has_left_over(self) {
            self.hand_over();
        }
    }

    /// The home thread becomes the runner of a `Bh` domain; or whoever ends one without.
    pub(crate) fn home_enter_bh(&self) {
        let at_home = self.is_home();
        bh::disable();
        while !self.bh_baton.try_lock() && !self.spin_bh(SPINS) {
            self.stats().contended.add(1);
            let taken = at_home && self.bh_baton.take_or_wait();
            if taken {
                break;
            }
            bh::enable();
            if at_home {
                thread::park_unless(|| !self.bh_baton.home_waits());
            } else {
                // It takes no time worth speaking of, and happens hardly ever.
                thread::sleep_a_tick();
            }
            bh::disable();
        }
        self.begin();
    }

    pub(crate) fn home_leave_bh(&self) {
        bh_baton::leave(self);
        bh::enable();
    }

    /// Runs `f`, which drops futures and may sleep for that, with the baton but with bottom halves
    /// on. (A softirq on top of it does not get the baton.)
    pub(crate) fn with_bh_on(&self, f: impl FnOnce()) {
        if !self.bh {
            return f();
        }
        bh::end();
        bh::enable();
        f();
        bh::disable();
        bh::begin();
    }

    fn is_home(&self) -> bool {
        context::current_task() == self.home.load(Relaxed)
    }
}
