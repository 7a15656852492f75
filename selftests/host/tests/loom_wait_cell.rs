// SPDX-License-Identifier: GPL-2.0

//! The cell where one waits and many signal: no signal is lost, no waiter either.

#![cfg(loom)]

use coop_host::model;
use coop_host::model::atomic::UnsafeCell;
use coop_host::model::{Kthread, Static, Waiting};
use coop_host::wait_cell::WaitCell;
use loom::thread;

struct Shared {
    cell: WaitCell<Waiting>,
    value: UnsafeCell<usize>,
}

impl Shared {
    fn new() -> Static<Self> {
        Static::new(Self {
            cell: WaitCell::new(),
            value: UnsafeCell::new(0),
        })
    }

    fn signal(&self) {
        if let Some(waiter) = self.cell.signal() {
            waiter.wake();
        }
    }

    /// Waits as `block_on()` does: it polls when it has set its state.
    fn wait(&self, thread: Static<Kthread>) {
        let mut ready = false;
        while !ready {
            thread.park_unless(|| {
                ready = self.cell.poll_wait(|| Waiting::new(thread));
                ready
            });
        }
    }
}

model! {
    /// A signal is not lost, and brings with it what was written before.
    fn a_signal_is_seen() {
        let (shared, thread) = (Shared::new(), Static::new(Kthread::new()));
        let other = thread::spawn(move || {
            // SAFETY: Loom checks that nobody else reads or writes.
            shared.value.with_mut(|p| unsafe { *p = 7 });
            shared.signal();
        });
        shared.wait(thread);
        // SAFETY: As above.
        assert_eq!(shared.value.with(|p| unsafe { *p }), 7);
        other.join().unwrap();
        // SAFETY: All threads have ended.
        unsafe { (shared.free(), thread.free()) };
    }
    signal: "cell.signal/release",
    signal_finds_the_waiter: "cell.signal/acquire",
    wait: "cell.wait/acquire",
    wait_publishes: "cell.wait/release",
}

model! {
    /// Two signals at once are one or two, but not none; and no waiter leaks or is woken twice.
    fn two_signals() {
        let (shared, thread) = (Shared::new(), Static::new(Kthread::new()));
        let others = [(); 2].map(|()| thread::spawn(move || shared.signal()));
        shared.wait(thread);
        for other in others {
            other.join().unwrap();
        }
        // SAFETY: All threads have ended.
        unsafe { (shared.free(), thread.free()) };
    }
    #![preemptions = 3]
    signal_takes_the_waiter: "cell.signal",
    wait_hands_the_waiter_over: "cell.wait",
}

model! {
    /// A waiter that gives up is forgotten or signalled, one of both; a signal stays.
    fn giving_up() {
        let (shared, thread) = (Shared::new(), Static::new(Kthread::new()));
        let other = thread::spawn(move || shared.cell.signal().map(drop).is_some());
        let ready = shared.cell.poll_wait(|| Waiting::new(thread));
        shared.cell.clear_waiter();
        let left = shared.cell.try_wait();
        let woken = other.join().unwrap();
        // Whoever was told of, is told once: now, or when looking the next time.
        assert!(!(ready && (woken || left)));
        assert!(ready || left || shared.cell.try_wait());
        // SAFETY: All threads have ended.
        unsafe { (shared.free(), thread.free()) };
    }
    given_up_waiter_is_handed_over: "cell.wait",
    given_up_waiter_is_taken: "cell.signal",
}

model! {
    /// Polled again before it was signalled, a cell keeps the newer waiter and drops the older.
    fn the_newer_waiter_counts() {
        let (shared, thread) = (Shared::new(), Static::new(Kthread::new()));
        let other = thread::spawn(move || shared.signal());
        let mut ready = shared.cell.poll_wait(|| Waiting::new(thread));
        if !ready {
            ready = shared.cell.poll_wait(|| Waiting::new(thread));
        }
        if !ready {
            shared.wait(thread);
        }
        other.join().unwrap();
        // SAFETY: All threads have ended.
        unsafe { (shared.free(), thread.free()) };
    }
}
