// SPDX-License-Identifier: GPL-2.0

//! The baton of a `Bh` domain: senders who run the domain that they find idle, those who enter it,
//! and the home thread. One runs at a time (loom reports two that touch the runner's own queue),
//! and whatever was queued is run by somebody (loom reports a thread that sleeps for ever).
//!
//! Baton and queue are the module's own, and so is what senders do with them, and whoever lets go.
//! `coop/home.rs` and parts of `coop/bh.rs` need the kernel: what they do is written down here once
//! more.

#![cfg(loom)]

mod work;

use self::work::Work;
use coop_host::bh_baton::{leave, run_or_leave, BhBaton, BhDomain};
use coop_host::model;
use coop_host::model::{mistake, Static};
use coop_host::wake_queue::{Push, WakeQueue};
use loom::thread;
use std::ops::Deref;

/// `POLLS`: of a sender.
struct Domain<const POLLS: usize> {
    work: Work<3>,
    baton: BhBaton,
}

impl<const POLLS: usize> Deref for Domain<POLLS> {
    type Target = Work<3>;

    fn deref(&self) -> &Work<3> {
        &self.work
    }
}

// SAFETY: Both are fields.
unsafe impl<const POLLS: usize> BhDomain for Domain<POLLS> {
    const POLLS: usize = POLLS;

    fn baton(&self) -> &BhBaton {
        &self.baton
    }

    fn queue(&self) -> &WakeQueue {
        &self.work.queue
    }

    fn begin(&self) {}

    fn end(&self) {}

    fn run(&self, mut polls: usize) -> usize {
        while polls != 0 && self.poll() {
            polls -= 1;
        }
        polls
    }

    fn may_run(&self) -> bool {
        true
    }

    fn has_left_over(&self) -> bool {
        self.work.has_left_over()
    }

    fn wake_home(&self) {
        self.home.wake();
    }
}

impl<const POLLS: usize> Domain<POLLS> {
    /// A domain that is to poll `enough` coroutines; idle, its home thread asleep or about to be.
    fn new(enough: usize) -> Static<Self> {
        let domain = Static::new(Self {
            work: Work::new(enough),
            baton: BhBaton::new(),
        });
        assert!(domain.queue.go_idle());
        domain
    }

    /// `Sender::try_post()`.
    fn post(&self, node: usize) {
        if self.push(node) == Push::Wake {
            run_or_leave(self);
        }
    }

    /// The same where a sender may not run the domain, as in an interrupt.
    fn post_from_irq(&self, node: usize) {
        if self.push(node) == Push::Wake {
            self.home.wake();
        }
    }

    /// `DomainCell::enter()`, which wakes `inside` and leaves that to the home thread; whether it
    /// got in.
    fn enter(&self, inside: Option<usize>) -> bool {
        if !self.baton.try_lock() {
            return false;
        }
        if let Some(node) = inside {
            self.push_local(node);
            // `Executor::hand_over()`.
            if !mistake("enter.no_kick") && self.queue.kick() {
                self.home.wake();
            }
        } else {
            self.touch();
        }
        leave(self);
        true
    }

    /// `Executor::home_enter_bh()`.
    fn home_enter(&self) {
        while !self.baton.try_lock() {
            if self.baton.take_or_wait() {
                break;
            }
            self.home.park_unless(|| !self.baton.home_waits());
        }
    }

    /// `Executor::run()` of `coop/home.rs`, from where the home thread has just gone idle.
    fn home(&self) {
        loop {
            let wanted = || self.is_stopped();
            self.home.park_unless(|| !self.queue.is_idle() || wanted());
            self.queue.claim();
            loop {
                self.home_enter();
                self.run(3);
                let stop = wanted();
                leave(self);
                if stop {
                    return;
                }
                // Or has been declared idle by somebody else.
                let idle = || !mistake("home.never_idle") && self.queue.is_idle();
                if self.queue.go_idle() || idle() {
                    break;
                }
            }
        }
    }
}

model! {
    /// One who enters, and a sender who finds the baton taken: the one who lets go looks again. The
    /// home thread is not needed.
    fn a_sender_against_one_who_enters() {
        let domain = Domain::<2>::new(1);
        let sender = thread::spawn(move || domain.post(0));
        domain.enter(None);
        sender.join().unwrap();
        assert_eq!(domain.polls(), 1);
        // SAFETY: All threads have ended.
        unsafe { domain.free() };
    }
    lock: "bh.lock",
    unlock: "bh.unlock/release",
    note: "bh.note/acquire",
    no_second_look: "bh.does_not_look_again",
    no_baton: "bh.runs_all_the_same",
}

model! {
    /// Two senders at once: one runs for both, or each for itself; never both, never none.
    fn two_senders() {
        let domain = Domain::<3>::new(2);
        let sender = thread::spawn(move || domain.post(0));
        domain.post(1);
        sender.join().unwrap();
        assert_eq!(domain.polls(), 2);
        // SAFETY: All threads have ended.
        unsafe { domain.free() };
    }
    #![preemptions = 4]
    two_without_going_idle: "bh.does_not_go_idle",
    two_at_once: "bh.runs_all_the_same",
    push: "queue.push",
}

model! {
    /// Two senders, and one who enters between them.
    fn two_senders_against_one_who_enters() {
        let domain = Domain::<3>::new(2);
        let sender = thread::spawn(move || domain.post(0));
        let enters = thread::spawn(move || domain.enter(None));
        domain.post(1);
        sender.join().unwrap();
        enters.join().unwrap();
        assert_eq!(domain.polls(), 2);
        // SAFETY: All threads have ended.
        unsafe { domain.free() };
    }
    #![preemptions = 3]
    three_no_second_look: "bh.does_not_look_again",
    three_without_going_idle: "bh.does_not_go_idle",
    three_unlock: "bh.unlock",
}

model! {
    /// What an interrupt has sent is the home thread's, which finds the baton taken, and sleeps until
    /// it is free.
    fn the_home_thread_waits() {
        let domain = Domain::<2>::new(1);
        let home = thread::spawn(move || domain.home());
        let irq = thread::spawn(move || domain.post_from_irq(0));
        domain.enter(None);
        domain.work.end();
        home.join().unwrap();
        irq.join().unwrap();
        // SAFETY: All threads have ended.
        unsafe { domain.free() };
    }
    #![preemptions = 2]
    home_forgotten: "bh.home_forgotten",
    home_without_a_second_look: "kernel.no_second_look",
    home_without_a_barrier: "kernel.set_current_state",
}

model! {
    /// A sender beside the home thread, which is woken by an interrupt at the same time.
    fn a_sender_against_the_home_thread() {
        let domain = Domain::<2>::new(2);
        let home = thread::spawn(move || domain.home());
        let irq = thread::spawn(move || domain.post_from_irq(0));
        domain.post(1);
        domain.work.end();
        home.join().unwrap();
        irq.join().unwrap();
        // SAFETY: All threads have ended.
        unsafe { domain.free() };
    }
    #![preemptions = 2]
    beside_home_without_going_idle: "bh.does_not_go_idle",
    beside_home_that_never_sleeps: "home.never_idle",
}

model! {
    /// One who enters leaves behind what it has woken.
    fn one_who_enters_leaves_work_behind() {
        let domain = Domain::<1>::new(2);
        let home = thread::spawn(move || domain.home());
        let sender = thread::spawn(move || domain.post(1));
        if !domain.enter(Some(0)) {
            domain.post(0);
        }
        domain.work.end();
        home.join().unwrap();
        sender.join().unwrap();
        // SAFETY: All threads have ended.
        unsafe { domain.free() };
    }
    #![preemptions = 2]
    left_without_a_kick: "enter.no_kick",
}

model! {
    /// A sender whose polls are used up leaves the rest to a home thread that is awake for something
    /// else, and about to go to sleep.
    fn a_sender_leaves_work_behind() {
        let domain = Domain::<1>::new(3);
        let home = thread::spawn(move || domain.home());
        let waker = thread::spawn(move || {
            domain.home.wake();
            domain.post_from_irq(1);
            domain.post_from_irq(2);
        });
        domain.post(0);
        domain.work.end();
        home.join().unwrap();
        waker.join().unwrap();
        // SAFETY: All threads have ended.
        unsafe { domain.free() };
    }
    #![preemptions = 2]
    sender_without_a_kick: "bh.no_kick",
}
