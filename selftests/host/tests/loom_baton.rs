// SPDX-License-Identifier: GPL-2.0

//! The baton: the home thread, which goes to sleep, callers that run the domain themselves, and
//! wakers from outside. One runs at a time (loom reports two that touch the runner's own queue),
//! and whatever was queued is run by somebody (loom reports a thread that sleeps for ever).
//!
//! The queue is the module's own. `coop/home.rs` and `coop/inline.rs` need the kernel: what they do
//! with it is written down here once more, step by step; the kernel's `rt_mutex` is a mutex.

#![cfg(loom)]

mod work;

use self::work::Work;
use coop_host::model;
use coop_host::model::{mistake, Static};
use coop_host::wake_queue::Push;
use loom::sync::{Mutex, MutexGuard};
use loom::thread;
use std::ops::Deref;

struct Domain {
    work: Work<2>,
    baton: Mutex<()>,
}

impl Deref for Domain {
    type Target = Work<2>;

    fn deref(&self) -> &Work<2> {
        &self.work
    }
}

impl Domain {
    fn new() -> Static<Self> {
        Static::new(Self {
            work: Work::new(2),
            baton: Mutex::new(()),
        })
    }

    fn wake(&self, node: usize) {
        if self.push(node) == Push::Wake {
            self.home.wake();
        }
    }

    /// `Executor::run_until()`: at most `budget` polls. Runner only. Polls so far.
    fn run(&self, budget: usize) -> usize {
        for _ in 0..budget {
            if !self.poll() {
                break;
            }
        }
        self.polls()
    }

    /// `Executor::run()` of `coop/home.rs`.
    fn home(&self) {
        let mut baton = self.baton.lock().unwrap();
        loop {
            self.run(2);
            if self.is_stopped() {
                return;
            }
            drop(baton);
            if mistake("home.does_not_go_idle") || self.queue.go_idle() {
                let wanted = || self.is_stopped();
                self.home.park_unless(|| !self.queue.is_idle() || wanted());
                self.queue.claim();
            }
            baton = self.baton.lock().unwrap();
        }
    }

    /// `Executor::leave_inline()`.
    fn leave_inline(&self, baton: MutexGuard<'_, ()>) {
        if self.has_left_over() && !mistake("inline.no_kick") && self.queue.kick() {
            self.home.wake();
        }
        drop(baton);
    }

    /// A caller that runs the domain itself if the baton is free, with a budget of `polls`.
    fn call_inline(&self, polls: usize) {
        if let Ok(baton) = self.baton.try_lock() {
            self.run(polls);
            self.leave_inline(baton);
        }
    }

    /// A caller that finds the domain busy: it queues its request, waits for the baton, and runs.
    fn help(&self, node: usize) {
        self.wake(node);
        let baton = self.baton.lock().unwrap();
        self.run(1);
        self.leave_inline(baton);
    }
}

model! {
    /// A caller runs the domain, and leaves after one poll: what it took from the queue and did not
    /// run is run by the home thread, which was about to sleep.
    fn a_caller_leaves_work_behind() {
        let domain = Domain::new();
        let home = thread::spawn(move || domain.home());
        domain.wake(0);
        domain.wake(1);
        domain.call_inline(1);
        domain.end();
        home.join().unwrap();
        // SAFETY: All threads have ended.
        unsafe { domain.free() };
    }
    #![preemptions = 3]
    no_kick: "inline.no_kick",
    no_idle: "home.does_not_go_idle",
    no_second_look: "kernel.no_second_look",
}

model! {
    /// The same with a waker from outside, such as an interrupt: it wakes the home thread although
    /// somebody else may be running the domain, and nothing is lost between the two.
    fn a_caller_against_a_waker() {
        let domain = Domain::new();
        let home = thread::spawn(move || domain.home());
        let waker = thread::spawn(move || domain.wake(1));
        domain.wake(0);
        domain.call_inline(1);
        domain.end();
        home.join().unwrap();
        waker.join().unwrap();
        // SAFETY: All threads have ended.
        unsafe { domain.free() };
    }
    #![preemptions = 2]
    no_kick_against_a_waker: "inline.no_kick",
    push: "queue.push",
    no_barrier_before_the_second_look: "kernel.set_current_state",
}

model! {
    /// A caller that waits for the baton runs what is there when it gets it, its own request or
    /// somebody else's; the rest is the home thread's.
    fn a_waiting_caller_helps() {
        let domain = Domain::new();
        let home = thread::spawn(move || domain.home());
        let waker = thread::spawn(move || domain.wake(1));
        domain.help(0);
        domain.end();
        home.join().unwrap();
        waker.join().unwrap();
        // SAFETY: All threads have ended.
        unsafe { domain.free() };
    }
    #![preemptions = 2]
    no_kick_by_a_helper: "inline.no_kick",
}

/// A domain whose baton is the pending word itself: who finds it idle runs, all others leave their
/// work to that one. Home thread or not, there is nobody else to rely on.
fn push_and_run(domain: Static<Domain>, node: usize) {
    if domain.push(node) != Push::Wake {
        return;
    }
    loop {
        domain.run(2);
        if mistake("word.no_second_look") || domain.queue.go_idle() {
            return;
        }
    }
}

model! {
    /// Two who push into an idle domain whose baton is the word: one runs, or one after the other;
    /// never both, never none.
    fn the_word_as_the_baton() {
        let domain = Domain::new();
        assert!(domain.queue.go_idle());
        let other = thread::spawn(move || push_and_run(domain, 0));
        push_and_run(domain, 1);
        other.join().unwrap();
        assert_eq!(domain.run(0), 2);
        // SAFETY: All threads have ended.
        unsafe { domain.free() };
    }
    idle: "queue.go_idle/release",
    push_into_the_baton: "queue.push/acquire",
    word_without_a_second_look: "word.no_second_look",
}

model! {
    /// One who takes the word by `claim` because it has something to do inside, against one who
    /// pushes: as above.
    fn the_word_claimed() {
        let domain = Domain::new();
        assert!(domain.queue.go_idle());
        let other = thread::spawn(move || push_and_run(domain, 0));
        if domain.queue.claim() {
            loop {
                domain.run(2);
                if domain.queue.go_idle() {
                    break;
                }
            }
        }
        other.join().unwrap();
        assert_eq!(domain.run(0), 1);
        // SAFETY: All threads have ended.
        unsafe { domain.free() };
    }
    claim: "queue.claim/acquire",
    push_against_a_claim: "queue.push",
}
