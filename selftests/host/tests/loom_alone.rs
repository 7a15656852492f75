// SPDX-License-Identifier: GPL-2.0

//! The timer of a domain that has armed but one: the interrupt that takes it against the runner that
//! puts it there, or moves it to the queue, and against whoever drops it.
//!
//! Place, phases and alarm are the module's own. `coop/timers.rs` needs the kernel: what it does is
//! written down here once more, step by step. The lock of the queue is a mutex.

#![cfg(loom)]

use coop_host::alarm::Alarm;
use coop_host::alone::{wait, Alone, Gathered, Phase, PhaseCell, Put, Taken, BY_CLOCK};
use coop_host::model;
use coop_host::model::atomic::{step, AtomicBool, Ordering, UnsafeCell};
use coop_host::model::{mistake, Static};
use loom::sync::Mutex;
use loom::thread;
use std::ptr::NonNull;

#[repr(align(8))]
struct Timer {
    phase: PhaseCell,
    at: UnsafeCell<i64>,
}

impl Timer {
    fn new(at: i64) -> Static<Self> {
        Static::new(Self {
            phase: PhaseCell::new(Phase::NEW),
            at: UnsafeCell::new(at),
        })
    }

    fn at(&self) -> i64 {
        // SAFETY: Loom checks that nobody writes.
        self.at.with(|p| unsafe { *p })
    }
}

fn pointer(timer: Static<Timer>) -> NonNull<Timer> {
    NonNull::from(&*timer)
}

/// The timers of a domain, and its one coroutine.
struct Domain {
    alone: Alone<Timer>,
    /// The runner's.
    alarm: UnsafeCell<Alarm>,
    queue: Mutex<Vec<NonNull<Timer>>>,
    woken: AtomicBool,
}

// SAFETY: Loom checks who accesses the alarm; timers are checked, too.
unsafe impl Send for Domain {}
// SAFETY: As above.
unsafe impl Sync for Domain {}

impl Domain {
    fn new() -> Static<Self> {
        Static::new(Self {
            alone: Alone::new(),
            alarm: UnsafeCell::new(Alarm::new()),
            queue: Mutex::new(Vec::new()),
            woken: AtomicBool::new(false),
        })
    }

    fn alarm<R>(&self, f: impl FnOnce(&mut Alarm) -> R) -> R {
        // SAFETY: Loom checks that only one does.
        self.alarm.with_mut(|p| f(unsafe { &mut *p }))
    }

    /// `Timers::program()`: whether the interrupt was.
    fn program(&self, at: i64) -> bool {
        let (programmed, doubled) = self.alarm(|alarm| (alarm.arm(at), alarm.is_doubled()));
        if programmed {
            let by_clock = doubled && !mistake("alone.not_doubled");
            self.alone.set_due(if by_clock { BY_CLOCK } else { at });
        }
        programmed
    }

    /// `Timers::arm()`: whether an interrupt was programmed for it.
    fn arm(&self, timer: Static<Timer>) -> bool {
        // Its waiter, as loom sees it.
        timer.at.with_mut(|_| ());
        timer.phase.set(Phase::ALONE);
        // SAFETY: Models free it when it is nowhere.
        match unsafe { self.alone.put(pointer(timer)) } {
            Put::Done => (),
            Put::Rang => self.alarm(Alarm::passed),
            Put::Others => {
                timer.phase.set(Phase::OUT);
                let mut queue = self.queue.lock().unwrap();
                self.gather(&mut queue);
                timer.phase.set(Phase::QUEUED);
                queue.push(pointer(timer));
            }
        }
        self.program(timer.at())
    }

    /// `Timers::gather()`.
    fn gather(&self, queue: &mut Vec<NonNull<Timer>>) {
        match self.alone.gather() {
            Gathered::Timer(other) => {
                queue.push(other);
                // SAFETY: It is valid until it is queued.
                unsafe { other.as_ref() }.phase.leave(Phase::QUEUED);
            }
            Gathered::Rang if !mistake("alone.rang_unnoticed") => self.alarm(Alarm::passed),
            Gathered::Rang | Gathered::Nobody | Gathered::Closed => (),
        }
    }

    /// The interrupt, at `now`; what it took, and what it has told.
    fn interrupt(&self, now: i64) -> Taken<Timer> {
        let taken = match self.alone.take_timer() {
            Some((timer, due)) => Taken::Timer(timer, due),
            None => self.alone.take(),
        };
        if let Taken::Timer(timer, due) = taken {
            // SAFETY: It is valid until it is left alone.
            let timer = unsafe { timer.as_ref() };
            let over = due.covers_by_clock(timer.at(), || now);
            let wake = || {
                self.woken.swap(true, Ordering::AcqRel);
            };
            if mistake("alone.wake_first") {
                wake();
                step();
                timer.phase.set(Phase::TAKEN);
            } else {
                timer.phase.set(Phase::TAKEN);
                step();
                wake();
            }
            step();
            timer
                .phase
                .leave(if over { Phase::FIRED } else { Phase::OUT });
        }
        taken
    }

    /// `Timer::disarm()`.
    fn disarm(&self, timer: Static<Timer>) {
        loop {
            match timer.phase.get() {
                Phase::ALONE if self.alone.withdraw(pointer(timer)) => {
                    return timer.phase.set(Phase::OUT);
                }
                Phase::TAKEN if mistake("alone.no_wait") => return,
                Phase::ALONE | Phase::TAKEN => wait(),
                Phase::QUEUED => {
                    let mut queue = self.queue.lock().unwrap();
                    if timer.phase.get() == Phase::QUEUED {
                        timer.phase.set(Phase::OUT);
                        queue.retain(|other| *other != pointer(timer));
                    }
                }
                _ => return,
            }
        }
    }
}

/// Its owner drops it: an access, as loom sees it.
///
/// # Safety
///
/// Nobody uses it any more.
unsafe fn free(timer: Static<Timer>) {
    timer.at.with_mut(|_| ());
    // SAFETY: Per the function's contract.
    unsafe { timer.free() };
}

model! {
    /// A timer is taken by the interrupt or withdrawn by who drops it, one of both, and not touched
    /// after that.
    fn taken_or_withdrawn() {
        let (domain, timer) = (Domain::new(), Timer::new(5));
        let interrupt = thread::spawn(move || {
            matches!(domain.interrupt(5), Taken::Timer(..))
        });
        assert!(domain.arm(timer));
        domain.disarm(timer);
        let fired = timer.phase.get() == Phase::FIRED;
        assert!(fired || timer.phase.get() == Phase::OUT);
        // SAFETY: Disarmed.
        unsafe { free(timer) };
        assert_eq!(interrupt.join().unwrap(), domain.woken.load(Ordering::Relaxed));
        // SAFETY: All threads have ended.
        unsafe { domain.free() };
    }
    #![preemptions = 3]
    published: "alone.put/release",
    taken: "alone.take/acquire",
    left_alone: "alone.leave",
    looked_at: "alone.look",
    no_wait: "alone.no_wait",
}

model! {
    /// Who was woken by the interrupt sees that it is over, or is about to be: not that it waits.
    fn woken_for_something() {
        let (domain, timer) = (Domain::new(), Timer::new(5));
        domain.arm(timer);
        let interrupt = thread::spawn(move || {
            domain.interrupt(5);
        });
        if domain.woken.swap(false, Ordering::AcqRel) {
            assert!(timer.phase.get() != Phase::ALONE);
            domain.disarm(timer);
            assert!(timer.phase.get() == Phase::FIRED);
        }
        interrupt.join().unwrap();
        // SAFETY: All threads have ended.
        unsafe { (free(timer), domain.free()) };
    }
    wake_first: "alone.wake_first",
}

model! {
    /// The interrupt was programmed for one that was dropped, and meets the next: that one has an
    /// interrupt to come, or its coroutine was woken to arm it again. It is never over.
    fn an_interrupt_in_vain() {
        let (domain, dropped, timer) = (Domain::new(), Timer::new(5), Timer::new(9));
        assert!(domain.arm(dropped));
        domain.disarm(dropped);
        let interrupt = thread::spawn(move || {
            domain.interrupt(5);
        });
        let programmed = domain.arm(timer);
        interrupt.join().unwrap();
        let phase = timer.phase.get();
        assert!(phase != Phase::FIRED);
        assert!(phase == Phase::OUT && domain.woken.load(Ordering::Relaxed) || programmed);
        domain.disarm(timer);
        // SAFETY: All threads have ended.
        unsafe { (free(dropped), free(timer), domain.free()) };
    }
    no_rang: "alone.no_rang",
}

model! {
    /// An interrupt that makes due what is until 5 takes a timer for 9, while the runner puts another
    /// one there, and has the interrupt programmed for that: the first one is not over by that.
    fn nothing_comes_early() {
        let (domain, dropped) = (Domain::new(), Timer::new(5));
        let (first, second) = (Timer::new(9), Timer::new(20));
        domain.arm(dropped);
        domain.disarm(dropped);
        domain.arm(first);
        let interrupt = thread::spawn(move || {
            domain.interrupt(5);
        });
        domain.arm(second);
        interrupt.join().unwrap();
        assert!(first.phase.get() != Phase::FIRED);
        assert!(second.phase.get() != Phase::FIRED);
        for timer in [first, second] {
            domain.disarm(timer);
        }
        // SAFETY: All threads have ended.
        unsafe { (free(dropped), free(first), free(second), domain.free()) };
    }
    #![preemptions = 3]
    late_look: "alone.late_look",
}

model! {
    /// Programmed anew for an earlier time, the interrupt may come twice: what is armed for later
    /// between the two is not over by the second.
    fn two_interrupts() {
        let (domain, dropped) = (Domain::new(), Timer::new(5));
        let (early, late) = (Timer::new(4), Timer::new(20));
        assert!(domain.arm(dropped));
        domain.disarm(dropped);
        let programmed = Static::new(AtomicBool::new(false));
        // The one for 5 is on its way, and the one for 4 comes as soon as it is programmed.
        let interrupts = thread::spawn(move || {
            domain.interrupt(5);
            while !programmed.load(Ordering::Acquire) {
                wait();
            }
            domain.interrupt(5);
        });
        assert!(domain.arm(early));
        programmed.store(true, Ordering::Release);
        domain.disarm(early);
        let again = domain.arm(late);
        interrupts.join().unwrap();
        assert!(late.phase.get() != Phase::FIRED);
        assert!(late.phase.get() == Phase::OUT || again);
        domain.disarm(late);
        // SAFETY: All threads have ended.
        unsafe { (free(dropped), free(early), free(late), programmed.free(), domain.free()) };
    }
    #![preemptions = 2]
    not_doubled: "alone.not_doubled",
}

model! {
    /// The runner arms a second one, and moves the first one to the queue, while the interrupt comes
    /// and its owner drops it.
    fn moved_taken_or_withdrawn() {
        let (domain, first, second) = (Domain::new(), Timer::new(5), Timer::new(9));
        domain.arm(first);
        let interrupt = thread::spawn(move || {
            matches!(domain.interrupt(5), Taken::Crowd)
        });
        let owner = thread::spawn(move || {
            domain.disarm(first);
            let fired = first.phase.get() == Phase::FIRED;
            // SAFETY: Disarmed.
            unsafe { free(first) };
            fired
        });
        let programmed = domain.arm(second);
        let told = interrupt.join().unwrap();
        let fired = owner.join().unwrap();
        assert!(!(told && fired));
        let second_phase = second.phase.get();
        assert!(second_phase != Phase::FIRED);
        // The interrupt has come: the runner is told, or has it come again, or its coroutine arms it
        // again.
        assert!(told || programmed || second_phase == Phase::OUT);
        domain.disarm(second);
        // SAFETY: All threads have ended.
        unsafe { (free(second), domain.free()) };
    }
    #![preemptions = 3]
    rang_unnoticed: "alone.rang_unnoticed",
}
