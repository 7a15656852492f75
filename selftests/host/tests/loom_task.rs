// SPDX-License-Identifier: GPL-2.0

//! The life of a coroutine: wakers, the runner, `abort` and the join handle at once. The future is
//! dropped once, the output is dropped or taken once, the header is freed once and last, and no
//! wake-up is lost.

#![cfg(loom)]

use coop_host::model;
use coop_host::model::atomic::{AtomicBool, AtomicUsize, Ordering, UnsafeCell};
use coop_host::model::{Kthread, Static};
use coop_host::run_queue::{Priority, RunQueue};
use coop_host::task_state::{Start, TaskState, Woken};
use coop_host::wait_cell::{WaitCell, Waiter};
use coop_host::wake_queue::{Link, Push, WakeQueue};
use loom::alloc::Track;
use loom::thread;
use std::ptr::NonNull;

/// A thread that waits for the end of a coroutine.
#[derive(Clone, Copy)]
struct Joiner(NonNull<()>);

impl Joiner {
    fn new(thread: &Kthread) -> Self {
        Self(NonNull::from(thread).cast())
    }

    fn wake(self) {
        // SAFETY: It comes from a thread, which lives to the end of the model.
        unsafe { self.0.cast::<Kthread>().as_ref() }.wake();
    }
}

// SAFETY: A thread is aligned to more than 2.
unsafe impl Waiter for Joiner {
    fn into_raw(self) -> NonNull<()> {
        self.0
    }

    unsafe fn from_raw(raw: NonNull<()>) -> Self {
        Self(raw)
    }
}

/// A coroutine as `coop/task.rs` has it. Its future is ready when all its `events` have happened.
#[repr(C)]
struct Task {
    link: Link,
    state: TaskState,
    join: WaitCell<Joiner>,
    future: UnsafeCell<Option<Track<()>>>,
    output: UnsafeCell<Option<Track<u32>>>,
    events: [AtomicBool; 2],
    polls: AtomicUsize,
    /// Whether the memory is still there.
    alive: UnsafeCell<bool>,
}

/// The domain, its executor and its only coroutine.
struct World {
    queue: WakeQueue,
    home: Kthread,
    joiner: Kthread,
    task: Task,
    priority: Priority,
}

impl World {
    /// A coroutine that waits for the first `events` events; `extra` references besides those of
    /// the domain and, if `join`, of the join handle.
    fn new(join: bool, events: usize, extra: usize) -> Static<Self> {
        Self::with(join, events, extra, Priority::NORMAL)
    }

    /// The same, at another priority.
    fn with(join: bool, events: usize, extra: usize, priority: Priority) -> Static<Self> {
        let world = Static::new(Self {
            queue: WakeQueue::new(),
            home: Kthread::new(),
            joiner: Kthread::new(),
            task: Task {
                link: Link::new(),
                state: TaskState::new(join, priority),
                join: WaitCell::new(),
                future: UnsafeCell::new(Some(Track::new(()))),
                output: UnsafeCell::new(None),
                events: [0, 1].map(|event| AtomicBool::new(event >= events)),
                polls: AtomicUsize::new(0),
                alive: UnsafeCell::new(true),
            },
            priority,
        });
        for _ in 0..extra {
            world.task.state.get();
        }
        world.enqueue();
        world
    }

    /// The coroutine, for one who has a reference.
    fn task(&self) -> &Task {
        // SAFETY: Loom checks that it is not freed meanwhile.
        assert!(self.task.alive.with(|p| unsafe { *p }));
        &self.task
    }

    fn enqueue(&self) {
        // SAFETY: `schedule()` said that the link is ours, or the coroutine is new.
        if unsafe { self.queue.push(NonNull::from(&self.task().link)) } == Push::Wake {
            self.home.wake();
        }
    }

    fn wake(&self) {
        let woken = self.task().state.schedule();
        // A coroutine that nobody gives another priority meanwhile is known by its own.
        let other = match self.priority {
            Priority::NORMAL => Woken::QueueApart,
            _ => Woken::Queue,
        };
        assert_ne!(woken, other);
        if woken != Woken::Already {
            self.enqueue();
        }
    }

    fn abort(&self) {
        if self.task().state.abort() != Woken::Already {
            self.enqueue();
        }
    }

    /// Drops a reference.
    fn put(&self) {
        if self.task().state.put() {
            // SAFETY: Loom checks that nobody reads; it is freed once.
            self.task
                .alive
                .with_mut(|p| unsafe { assert!(std::mem::replace(&mut *p, false)) });
        }
    }

    /// The event happens, then the waker is woken and dropped.
    fn happen(&self, event: usize) {
        self.task().events[event].store(true, Ordering::Relaxed);
        self.wake();
        self.put();
    }

    /// The runner, until the domain's reference is gone. Whether the future was ready.
    fn run(&self) -> bool {
        self.run_as(false, false)
    }

    /// The same. `inline`: it also polls the coroutine in place when that is idle. `yields`: the
    /// coroutine lets others run in its first poll.
    fn run_as(&self, inline: bool, mut yields: bool) -> bool {
        let mut local = RunQueue::new();
        let mut ready = false;
        loop {
            local.append(self.queue.take(), |_| self.priority);
            let mut ended = false;
            while let Some(first) = local.list(self.priority).first() {
                assert!(!ended);
                ended = self.run_one(first, &mut local, &mut yields, &mut ready);
            }
            if ended {
                return ready;
            }
            if inline && !ready && self.task().state.is_idle() {
                ended = self.poll_in_place(&mut ready);
                if ended {
                    return ready;
                }
            }
            if self.queue.go_idle() {
                self.home.park_unless(|| !self.queue.is_idle());
                self.queue.claim();
            }
        }
    }

    /// Whether all events have happened.
    fn poll(&self) -> bool {
        let task = self.task();
        task.polls.fetch_add(1, Ordering::Relaxed);
        task.events.iter().all(|e| e.load(Ordering::Relaxed))
    }

    /// `Executor::run_one()`: whether that was the end of the domain's reference.
    fn run_one(
        &self,
        first: NonNull<Link>,
        local: &mut RunQueue,
        yields: &mut bool,
        ready: &mut bool,
    ) -> bool {
        let state = &self.task().state;
        if state.has_yielded() {
            *ready = self.poll();
            if !*ready && std::mem::take(yields) {
                // SAFETY: It is the first.
                unsafe { local.list(self.priority).turn(first) };
                return false;
            }
            // SAFETY: As above.
            unsafe { local.remove(first, self.priority) };
            if *ready {
                return self.retire(true, false);
            }
            if !state.end_poll(self.priority) {
                // SAFETY: It is not idle, so that nobody else queues it.
                unsafe { local.push(first, self.priority) };
            }
            return false;
        }
        // SAFETY: As above.
        unsafe { local.remove(first, self.priority) };
        if !state.start_poll(self.priority).is_plain() {
            if state.flags().is_new() {
                state.no_longer_new();
            }
            match state.flags().start() {
                Start::Poll => (),
                Start::Cancel => {
                    let queued = state.seize();
                    return self.retire(false, queued);
                }
                Start::Reap => {
                    if state.seize() {
                        return false;
                    }
                    self.put();
                    return true;
                }
            }
        }
        // The first time it may only let others run, and stays queued.
        let yielded = std::mem::take(yields);
        let ended = self.poll_in_place(ready);
        // SAFETY: `stay` says that the link is ours.
        if yielded && !*ready && state.stay() {
            unsafe { local.push(first, self.priority) };
        }
        ended
    }

    /// `Executor::poll_in_place()`: polls the coroutine, which is in no queue.
    fn poll_in_place(&self, ready: &mut bool) -> bool {
        *ready = self.poll();
        if *ready {
            let queued = self.task().state.seize();
            return self.retire(true, queued);
        }
        false
    }

    /// `Executor::retire()`.
    fn retire(&self, output: bool, queued: bool) -> bool {
        let task = self.task();
        // SAFETY: Loom checks that nobody else has them.
        let future = task.future.with_mut(|p| unsafe { (*p).take() });
        drop(future.expect("a future that is dropped twice"));
        if output {
            // SAFETY: As above.
            task.output
                .with_mut(|p| unsafe { *p = Some(Track::new(7)) });
        }
        let finish = task.state.finish(output);
        if finish.drop_output {
            assert_eq!(self.output(), 7);
        }
        if let Some(joiner) = task.join.signal() {
            joiner.wake();
        }
        if !queued {
            self.put();
        }
        !queued
    }

    fn output(&self) -> u32 {
        // SAFETY: As above.
        let output = self.task().output.with_mut(|p| unsafe { (*p).take() });
        output.expect("an output that is taken twice").into_inner()
    }

    /// The join handle awaited to the end, then dropped: the output.
    fn join(&self) -> Option<u32> {
        let mut result = None;
        while result.is_none() {
            self.joiner.park_unless(|| {
                let task = self.task();
                if task.state.outcome().is_none()
                    && !task.join.poll_wait(|| Joiner::new(&self.joiner))
                {
                    return false;
                }
                result = task.state.outcome();
                result.is_some()
            });
        }
        let output = result.unwrap().then(|| self.output());
        self.task().join.clear_waiter();
        // The output, if any, was taken.
        self.task().state.leave();
        self.put();
        output
    }

    /// The join handle dropped.
    fn leave(&self) {
        let task = self.task();
        task.join.clear_waiter();
        if task.state.leave() {
            assert_eq!(self.output(), 7);
        }
        self.put();
    }
}

/// The end: all is gone.
fn end(world: Static<World>) {
    let task = &world.task;
    // SAFETY: All threads have ended.
    unsafe {
        assert!(!task.alive.with(|p| *p), "never freed");
        assert!(task.future.with(|p| (*p).is_none()));
        assert!(task.output.with(|p| (*p).is_none()));
        world.free();
    }
}

model! {
    /// Two wakers: the last poll sees what both did before. (A wake-up that finds the coroutine
    /// scheduled goes by the state word alone.)
    fn no_wake_up_is_lost() {
        let world = World::new(false, 2, 2);
        let wakers = [0, 1].map(|event| thread::spawn(move || world.happen(event)));
        assert!(world.run());
        for waker in wakers {
            waker.join().unwrap();
        }
        end(world);
    }
    #![preemptions = 2]
    wake: "task.wake",
    wake_after_another: "task.wake/acquire",
    wake_publishes: "task.wake/release",
    poll: "task.poll/acquire",
    // That it came out of the queue, to the waker who queues it next.
    poll_publishes: "task.poll/release",
    put: "task.put",
    last_put: "task.last_put",
}

model! {
    /// The join handle is awaited by a thread, while a waker lets the coroutine end.
    fn an_output_is_taken_once() {
        let world = World::new(true, 1, 1);
        let waker = thread::spawn(move || world.happen(0));
        let joiner = thread::spawn(move || world.join());
        assert!(world.run());
        waker.join().unwrap();
        assert_eq!(joiner.join().unwrap(), Some(7));
        end(world);
    }
    #![preemptions = 2]
    finish: "task.finish/release",
    observe: "task.observe",
    put_by_the_joiner: "task.put",
}

model! {
    /// The join handle is dropped while the coroutine ends: one of both drops the output.
    fn an_output_nobody_wants() {
        let world = World::new(true, 0, 0);
        let leaver = thread::spawn(move || world.leave());
        assert!(world.run());
        leaver.join().unwrap();
        end(world);
    }
    leave: "task.leave/acquire",
    finish_and_leave: "task.finish",
    put_by_the_leaver: "task.put",
}

model! {
    /// `abort` against a waker: the future is dropped once, whether or not it was ready; who joins
    /// is told which.
    fn an_abort_against_a_wake_up() {
        let world = World::new(true, 1, 1);
        let waker = thread::spawn(move || world.happen(0));
        let aborter = thread::spawn(move || {
            world.abort();
            world.join()
        });
        let ready = world.run();
        waker.join().unwrap();
        assert_eq!(aborter.join().unwrap(), ready.then_some(7));
        end(world);
    }
    #![preemptions = 2]
    observe_an_abort: "task.observe",
}

model! {
    /// A caller polls the idle coroutine in place, while a waker queues it: it ends once, and goes
    /// when it has come out of the queue.
    fn a_poll_in_place_against_a_wake_up() {
        let world = World::new(false, 1, 1);
        let waker = thread::spawn(move || world.happen(0));
        assert!(world.run_as(true, false));
        waker.join().unwrap();
        end(world);
    }
    #![preemptions = 3]
    put_by_the_waker: "task.put",
}

model! {
    /// A coroutine that let others run, and was polled again without an exchange, becomes idle: the
    /// waker that queues it then comes after its runner took it out of the queue.
    fn a_wake_up_after_a_yield() {
        let world = World::new(false, 1, 1);
        let waker = thread::spawn(move || world.happen(0));
        assert!(world.run_as(false, true));
        waker.join().unwrap();
        end(world);
    }
    #![preemptions = 3]
    idle: "task.idle/release",
    wake_after_a_yield: "task.wake",
}

model! {
    /// A coroutine of another priority than normal, whose idle state is another one: every way to
    /// get there and to leave it.
    fn a_wake_up_of_another_priority() {
        let world = World::with(false, 1, 1, Priority::LOWEST);
        let waker = thread::spawn(move || world.happen(0));
        assert!(world.run_as(true, true));
        waker.join().unwrap();
        end(world);
    }
    #![preemptions = 3]
    idle_apart: "task.idle/release",
    wake_apart: "task.wake",
}

model! {
    /// A wake-up that comes when the coroutine has ended does nothing, and does not free it too
    /// early or never.
    fn a_late_wake_up() {
        let world = World::new(false, 0, 1);
        let waker = thread::spawn(move || {
            world.wake();
            world.wake();
            world.put();
        });
        assert!(world.run());
        waker.join().unwrap();
        assert!(world.task.polls.load(Ordering::Relaxed) >= 1);
        end(world);
    }
    #![preemptions = 3]
    put_late: "task.put",
}
