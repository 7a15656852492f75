// SPDX-License-Identifier: GPL-2.0

//! The queue of wake-ups, and the home thread that goes to sleep beside it (invariant 3).

#![cfg(loom)]

use coop_host::model;
use coop_host::model::atomic::{AtomicBool, Ordering, UnsafeCell};
use coop_host::model::{Kthread, Static};
use coop_host::run_queue::{Priority, RunQueue};
use coop_host::wake_queue::{Link, Push, WakeQueue};
use loom::thread;
use std::ptr::NonNull;

/// What is queued: the link comes first, as in a coroutine's header.
#[repr(C)]
struct Node {
    link: Link,
    /// What its waker did before.
    value: UnsafeCell<usize>,
}

impl Node {
    fn new() -> Static<Self> {
        Static::new(Self {
            link: Link::new(),
            value: UnsafeCell::new(0),
        })
    }

    fn set(&self, value: usize) {
        // SAFETY: Loom checks that nobody else reads or writes.
        self.value.with_mut(|p| unsafe { *p = value });
    }

    /// # Safety
    ///
    /// `link` is that of a node.
    unsafe fn value(link: NonNull<Link>) -> usize {
        // SAFETY: Per the function's contract; loom checks that nobody writes.
        unsafe { link.cast::<Node>().as_ref().value.with(|p| *p) }
    }
}

struct Domain {
    queue: WakeQueue,
    home: Kthread,
}

impl Domain {
    fn new() -> Static<Self> {
        Static::new(Self {
            queue: WakeQueue::new(),
            home: Kthread::new(),
        })
    }

    fn wake(&self, node: Static<Node>, value: usize) {
        node.set(value);
        // SAFETY: Each node is pushed once, by its owner, and lives to the end of the model.
        if unsafe { self.queue.push(NonNull::from(&node.link)) } == Push::Wake {
            self.home.wake();
        }
    }

    /// The home thread, until it has seen `count` nodes. Returns their values as they came.
    fn run(&self, count: usize) -> Vec<usize> {
        let mut local = RunQueue::new();
        let mut seen = Vec::new();
        loop {
            local.append(self.queue.take(), |_| Priority::NORMAL);
            while let Some(link) = local.pop() {
                // SAFETY: Only nodes are pushed.
                seen.push(unsafe { Node::value(link) });
            }
            if seen.len() == count {
                return seen;
            }
            if !self.queue.go_idle() {
                continue;
            }
            self.home.park_unless(|| !self.queue.is_idle());
        }
    }
}

model! {
    /// The home thread sleeps when there is nothing, and sees each of two wake-ups. A lost one is
    /// a deadlock.
    fn the_home_thread_sleeps_and_misses_nothing() {
        let (domain, a, b) = (Domain::new(), Node::new(), Node::new());
        let wakers = [
            thread::spawn(move || domain.wake(a, 1)),
            thread::spawn(move || domain.wake(b, 2)),
        ];
        let mut seen = domain.run(2);
        seen.sort();
        assert_eq!(seen, [1, 2]);
        for waker in wakers {
            waker.join().unwrap();
        }
        // SAFETY: All threads have ended.
        unsafe { (domain.free(), a.free(), b.free()) };
    }
    #![preemptions = 2]
    push: "queue.push/release",
    take: "queue.take/acquire",
}

model! {
    /// One wake-up against going to sleep, where all that can go wrong is the sleep itself.
    fn one_wake_up_against_sleep() {
        let (domain, a) = (Domain::new(), Node::new());
        let waker = thread::spawn(move || domain.wake(a, 1));
        assert_eq!(domain.run(1), [1]);
        waker.join().unwrap();
        // SAFETY: All threads have ended.
        unsafe { (domain.free(), a.free()) };
    }
    no_second_look: "kernel.no_second_look",
    no_barrier_before_the_second_look: "kernel.set_current_state",
    no_barrier_before_the_wake_up: "kernel.wake_up_process",
}

model! {
    /// The interrupt of the domain's timer, which queues nothing, but has something noted; besides
    /// a wake-up. A lost one is a deadlock.
    fn an_alert_is_not_missed() {
        let (domain, a, due) = (Domain::new(), Node::new(), Static::new(AtomicBool::new(false)));
        let interrupt = thread::spawn(move || {
            due.store(true, Ordering::Relaxed);
            if domain.queue.alert() {
                domain.home.wake();
            }
        });
        let waker = thread::spawn(move || domain.wake(a, 1));
        let mut local = RunQueue::new();
        let (mut woken, mut fired) = (false, false);
        while !(woken && fired) {
            if domain.queue.has_work() {
                local.append(domain.queue.take(), |_| Priority::NORMAL);
                fired |= due.load(Ordering::Relaxed);
                woken |= local.pop().is_some();
            } else if domain.queue.go_idle() {
                domain.home.park_unless(|| !domain.queue.is_idle());
                domain.queue.claim();
            }
        }
        interrupt.join().unwrap();
        waker.join().unwrap();
        // SAFETY: All threads have ended.
        unsafe { (domain.free(), a.free(), due.free()) };
    }
    #![preemptions = 2]
    alert: "queue.alert",
    take_after_an_alert: "queue.take/acquire",
}

model! {
    /// What one waker wakes comes in that order.
    fn order_is_kept() {
        let (domain, a, b) = (Domain::new(), Node::new(), Node::new());
        let waker = thread::spawn(move || {
            domain.wake(a, 1);
            domain.wake(b, 2);
        });
        assert_eq!(domain.run(2), [1, 2]);
        waker.join().unwrap();
        // SAFETY: All threads have ended.
        unsafe { (domain.free(), a.free(), b.free()) };
    }
    #![preemptions = 3]
}

model! {
    /// The domain ends: what is pushed is in the last batch or comes back, never both or neither.
    fn a_push_against_the_end() {
        let (domain, a, b) = (Domain::new(), Node::new(), Node::new());
        let push = move |node: Static<Node>, value| {
            node.set(value);
            // SAFETY: As in `Domain::wake()`.
            let pushed = unsafe { domain.queue.push(NonNull::from(&node.link)) };
            if pushed == Push::Closed {
                // It is ours again.
                node.set(0);
                0
            } else {
                value
            }
        };
        let one = thread::spawn(move || push(a, 1));
        let two = thread::spawn(move || push(b, 2));
        let mut local = RunQueue::new();
        local.append(domain.queue.close(), |_| Priority::NORMAL);
        let mut sum = 0;
        while let Some(link) = local.pop() {
            // SAFETY: Only nodes are pushed.
            sum += unsafe { Node::value(link) };
        }
        assert_eq!(sum, one.join().unwrap() + two.join().unwrap());
        assert!(domain.queue.is_closed());
        // SAFETY: All threads have ended.
        unsafe { (domain.free(), a.free(), b.free()) };
    }
    #![preemptions = 3]
    push_against_the_end: "queue.push",
    close: "queue.close/acquire",
}
