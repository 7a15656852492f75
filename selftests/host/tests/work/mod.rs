// SPDX-License-Identifier: GPL-2.0

//! What the models of both batons have in common: a domain's queues, coroutines that are to be
//! polled once each, and the home thread's end when all were.

use coop_host::model::atomic::{AtomicBool, Ordering, UnsafeCell};
use coop_host::model::Kthread;
use coop_host::run_queue::{Priority, RunQueue};
use coop_host::wake_queue::{Link, Push, WakeQueue};
use std::ptr::NonNull;

/// A coroutine that is to be polled once.
#[repr(C)]
struct Node {
    link: Link,
    /// What its waker did before.
    woken: UnsafeCell<bool>,
}

/// What belongs to the runner.
struct Local {
    queue: RunQueue,
    polls: usize,
}

/// A domain without its baton, with `N` coroutines.
pub struct Work<const N: usize> {
    pub queue: WakeQueue,
    pub home: Kthread,
    local: UnsafeCell<Local>,
    nodes: [Node; N],
    /// So many polls, which `end` waits for.
    enough: usize,
    done: AtomicBool,
    ender: Kthread,
    stop: AtomicBool,
}

impl<const N: usize> Work<N> {
    pub fn new(enough: usize) -> Self {
        Self {
            queue: WakeQueue::new(),
            home: Kthread::new(),
            local: UnsafeCell::new(Local {
                queue: RunQueue::new(),
                polls: 0,
            }),
            nodes: [(); N].map(|()| Node {
                link: Link::new(),
                woken: UnsafeCell::new(false),
            }),
            enough,
            done: AtomicBool::new(false),
            ender: Kthread::new(),
            stop: AtomicBool::new(false),
        }
    }

    /// What its waker does first.
    fn woken(&self, node: usize) -> NonNull<Link> {
        let node = &self.nodes[node];
        // SAFETY: Loom checks that nobody else reads or writes.
        node.woken.with_mut(|p| unsafe { *p = true });
        NonNull::from(&node.link)
    }

    /// What a waker does, from anywhere.
    pub fn push(&self, node: usize) -> Push {
        // SAFETY: Each node is pushed once, and lives to the end of the model.
        unsafe { self.queue.push(self.woken(node)) }
    }

    /// What the runner does, for one of its own.
    #[allow(dead_code)] // Not by all models.
    pub fn push_local(&self, node: usize) {
        let link = self.woken(node);
        // SAFETY: We are the runner; loom checks that nobody else is. As in `push()`.
        self.local
            .with_mut(|local| unsafe { (*local).queue.push(link, Priority::NORMAL) });
    }

    /// One round of `Executor::run_until()`; whether there was one to poll. Runner only.
    pub fn poll(&self) -> bool {
        let work = self.queue.has_work();
        self.local.with_mut(|local| {
            // SAFETY: We are the runner; loom checks that nobody else is.
            let local = unsafe { &mut *local };
            if work {
                local.queue.append(self.queue.take(), |_| Priority::NORMAL);
            }
            let Some(link) = local.queue.pop() else {
                return false;
            };
            // SAFETY: Only nodes are pushed.
            let node = unsafe { link.cast::<Node>().as_ref() };
            // SAFETY: As in `woken()`.
            assert!(node.woken.with_mut(|p| unsafe { std::mem::take(&mut *p) }));
            local.polls += 1;
            if local.polls == self.enough {
                self.done.store(true, Ordering::Relaxed);
                self.ender.wake();
            }
            true
        })
    }

    /// Whether something is left in the runner's own queue. Runner only.
    pub fn has_left_over(&self) -> bool {
        // SAFETY: We are the runner; loom checks that nobody else is.
        self.local
            .with(|local| unsafe { !(*local).queue.is_empty() })
    }

    /// Polls so far. By the runner, or who is alone.
    pub fn polls(&self) -> usize {
        // SAFETY: As above.
        self.local.with(|local| unsafe { (*local).polls })
    }

    /// Touches what only the runner may: loom reports another one.
    #[allow(dead_code)] // Not by all models.
    pub fn touch(&self) {
        // SAFETY: As above.
        self.local.with_mut(|local| unsafe { (*local).polls += 0 });
    }

    /// Whether the home thread is to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Ends the domain, when all was polled: who waits for that in vain has found a lost wake-up.
    pub fn end(&self) {
        while !self.done.load(Ordering::Relaxed) {
            self.ender.park_unless(|| self.done.load(Ordering::Relaxed));
        }
        self.stop.store(true, Ordering::Relaxed);
        self.home.wake();
    }
}
