// SPDX-License-Identifier: GPL-2.0

//! The timers of a domain: one `hrtimer` for all of them.
//!
//! A timer lives in the future that waits for it, so that arming allocates nothing.
//!
//! - One that is [`alone`](crate::alone) needs no lock: the interrupt takes it itself, and wakes its
//!   coroutine.
//! - Several are in a `timerqueue` of the kernel. The interrupt touches none of them: it notes that
//!   time has passed, and has the domain run (see [`news`](crate::news)); the runner takes out those
//!   that are due, and wakes their coroutines.
//!
//! **Why there is a lock then.** A future, once polled, never moves, but a box with one can be sent
//! anywhere, and be dropped in any context: the queue is taken with interrupts off, for one operation
//! at a time. All else about a timer belongs to the future, and to who has that. When the interrupt
//! is programmed, and for what, is the runner's business alone.

use crate::alarm::Alarm;
use crate::alone::{self, Alone, Due, Gathered, Phase, PhaseCell, Put, Taken, BY_CLOCK};
use crate::executor::Executor;
use crate::news;
use crate::sys::context::now_ns;
use crate::sys::timer::{AnyContext, HrTimer, Node, OnTimer, TimerQueue};
use crate::task::{Header, TaskRef};
use core::cell::UnsafeCell;
use core::marker::PhantomPinned;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering::*};
use kernel::prelude::*;

/// The timers of a domain.
///
/// # Invariants
///
/// - `alarm` is accessed by the runner only.
/// - Timers in the queue are `QUEUED`; unless `alone` is crowded, or closed, there are none.
#[pin_data]
pub(crate) struct Timers {
    alone: Alone<Timer>,
    alarm: UnsafeCell<Alarm>,
    #[pin]
    queue: AnyContext<TimerQueue>,
    #[pin]
    hrtimer: HrTimer<Executor>,
    /// The interrupt is to be programmed at the end of the run. Runner only.
    owed: AtomicBool,
    /// How late the interrupt may be, in nanoseconds.
    slack: u64,
}

impl Timers {
    pub(crate) fn new(slack: u64) -> impl PinInit<Self> {
        pin_init!(Self {
            alone: Alone::new(),
            alarm: UnsafeCell::new(Alarm::new()),
            queue <- AnyContext::new(TimerQueue::new()),
            hrtimer <- HrTimer::new(),
            owed: AtomicBool::new(false),
            slack,
        })
    }

    /// Whether [`settle`](Self::settle) is to be called. Runner only.
    #[inline(always)]
    pub(crate) fn is_owed(&self) -> bool {
        self.owed.load(Relaxed)
    }

    /// # Safety
    ///
    /// The caller is the runner, and has no other such reference.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)] // By the invariant it is the runner's.
    unsafe fn alarm(&self) -> &mut Alarm {
        // SAFETY: Per the function's contract.
        unsafe { &mut *self.alarm.get() }
    }

    /// A timer for `at` was armed, if there is one: programs the interrupt, if it is to come earlier.
    ///
    /// # Safety
    ///
    /// The caller is the runner.
    #[inline(always)]
    unsafe fn program(&self, at: i64) {
        // SAFETY: Per the function's contract.
        let alarm = unsafe { self.alarm() };
        if alarm.arm(at) {
            // Whichever one comes next, from now on.
            let due = if alarm.is_doubled() { BY_CLOCK } else { at };
            self.alone.set_due(due);
            // SAFETY: The target is set before there are coroutines.
            unsafe { self.hrtimer.start(at, self.slack) };
        }
    }

    /// Arms `timer`, which is not armed, for its waiter. Nothing happens if the domain has ended.
    ///
    /// # Safety
    ///
    /// The caller is the runner.
    #[inline]
    unsafe fn arm(&self, timer: &Timer) {
        timer.phase.set(Phase::ALONE);
        // SAFETY: It is pinned, and its destructor disarms it.
        match unsafe { self.alone.put(NonNull::from(timer)) } {
            Put::Done => (),
            // SAFETY: Per the function's contract.
            Put::Rang => unsafe { self.alarm() }.passed(),
            // SAFETY: As above.
            Put::Others => return unsafe { self.arm_among_others(timer) },
        }
        // SAFETY: As above.
        unsafe { self.program(timer.node.at()) };
    }

    /// [`arm`](Self::arm) for one that is not alone.
    ///
    /// # Safety
    ///
    /// The caller is the runner.
    #[inline(never)]
    unsafe fn arm_among_others(&self, timer: &Timer) {
        timer.phase.set(Phase::OUT);
        let mut queue = self.queue.lock();
        // SAFETY: Per the function's contract.
        let owed = unsafe { self.alarm() }.is_owed();
        if queue.is_empty() && self.alone.is_crowded() && !owed {
            drop(queue);
            self.alone.disperse();
            // SAFETY: As above.
            return unsafe { self.arm(timer) };
        }
        // SAFETY: As above; we have the lock.
        if unsafe { self.gather(&mut queue) } {
            timer.phase.set(Phase::QUEUED);
            // SAFETY: Not armed, so in no queue; pinned, and its destructor disarms it.
            unsafe { queue.add(&timer.node) };
            drop(queue);
            // SAFETY: As above.
            unsafe { self.program(timer.node.at()) };
        }
    }

    /// Has all timers in the queue; `false` if the domain has ended.
    ///
    /// # Safety
    ///
    /// The caller is the runner, and has the lock of `queue`, which is ours.
    unsafe fn gather(&self, queue: &mut TimerQueue) -> bool {
        match self.alone.gather() {
            Gathered::Timer(other) => {
                // SAFETY: It was alone: nobody but us touches it, and it is valid, until it is
                // something else. Who has it waits, on other CPUs, since interrupts are off.
                let other = unsafe { other.as_ref() };
                // SAFETY: In no queue, pinned, and its destructor disarms it.
                unsafe { queue.add(&other.node) };
                other.phase.leave(Phase::QUEUED);
            }
            // SAFETY: Per the function's contract.
            Gathered::Rang => unsafe { self.alarm() }.passed(),
            Gathered::Nobody => (),
            Gathered::Closed => return false,
        }
        true
    }

    /// Disarms `timer`, if it is still in the queue, in this domain.
    fn disarm(&self, timer: &Timer) {
        let mut queue = self.queue.lock();
        if timer.phase.get() == Phase::QUEUED {
            timer.phase.set(Phase::OUT);
            // SAFETY: In this queue, as it says.
            unsafe { queue.remove(&timer.node) };
        }
    }

    /// Takes out the first timer, if `choose` holds for it, makes it `phase`, and wakes who waits for
    /// it; whether it did. Runner only.
    #[inline(always)]
    fn take_first(queue: &mut TimerQueue, phase: Phase, choose: impl Fn(i64) -> bool) -> bool {
        let Some(first) = queue.first() else {
            return false;
        };
        // SAFETY: The node of a timer is its first field; it is valid while it is in the queue, and
        // we have the lock.
        let timer = unsafe { first.cast::<Timer>().as_ref() };
        if !choose(timer.node.at()) {
            return false;
        }
        // SAFETY: It is in the queue.
        unsafe { queue.remove(&timer.node) };
        // SAFETY: The waiter of an armed timer is not changed without the lock.
        if let Some(waiter) = unsafe { timer.waiter() } {
            // With the lock held, which keeps the timer, and with that the waiter.
            waiter.wake();
        }
        // From here on it may be gone.
        timer.phase.leave(phase);
        true
    }

    /// Wakes those of the queue whose time has come. Runner only, who [settles](Self::settle) later,
    /// and has taken note of the interrupt: one that comes from now on is told again. Logarithmic for
    /// each.
    pub(crate) fn expire(&self) {
        let now = now_ns();
        let mut queue = self.queue.lock();
        // The last one may be alone since it was told.
        // SAFETY: The caller is the runner.
        if !unsafe { self.gather(&mut queue) } {
            return;
        }
        // SAFETY: As above.
        unsafe { self.alarm() }.rang();
        let mut first = true;
        while Self::take_first(&mut queue, Phase::FIRED, |at| at <= now) {
            if first && queue.is_empty() {
                // The next to be armed is programmed at once: there is nothing to wait for.
                // SAFETY: As above.
                unsafe { self.alarm() }.settle();
                self.alone.disperse();
                return;
            }
            first = false;
            // One at a time: interrupts are not to be off for all of them.
            drop(queue);
            queue = self.queue.lock();
        }
        self.owed.store(true, Relaxed);
    }

    /// Programs the interrupt for what is the first timer now. Runner only.
    #[cold]
    #[inline(never)]
    pub(crate) fn settle(&self) {
        self.owed.store(false, Relaxed);
        let first = self.queue.lock().first_at();
        // SAFETY: The caller is the runner.
        unsafe { self.alarm() }.settle();
        match first {
            // If it has been disarmed meanwhile: an interrupt in vain.
            // SAFETY: As above.
            Some(at) => unsafe { self.program(at) },
            None => self.alone.disperse(),
        }
    }

    /// Disarms what is armed, for good: its futures are elsewhere. Their coroutines are woken, to
    /// arm them again where they are. Returns when the interrupt has come for the last time. Runner
    /// only.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        if let Some(timer) = self.alone.close() {
            // SAFETY: As in `gather`.
            let timer = unsafe { timer.as_ref() };
            // SAFETY: As above.
            if let Some(waiter) = unsafe { timer.waiter() } {
                waiter.wake();
            }
            timer.phase.leave(Phase::OUT);
        }
        while Self::take_first(&mut queue, Phase::OUT, |_| true) {
            drop(queue);
            queue = self.queue.lock();
        }
        drop(queue);
        self.hrtimer.cancel();
    }
}

impl Executor {
    /// Has the timers' interrupts sent to this executor, before first use.
    pub(crate) fn set_timer_target(&self) {
        // SAFETY: The timer is part of the executor.
        unsafe { self.timers.hrtimer.set_target(self) };
    }
}

impl OnTimer for Executor {
    #[inline(always)]
    fn on_timer(&self) {
        // There is one at a time.
        self.stats().timer_interrupts.add(1);
        let Some((timer, due)) = self.timers.alone.take_timer() else {
            return self.take_slowly();
        };
        // SAFETY: It is ours, and valid, until it is left alone.
        let timer = unsafe { timer.as_ref() };
        if due.covers(timer.at()) {
            self.leave_timer(timer, Phase::FIRED);
        } else {
            self.take_by_clock(timer, due);
        }
    }
}

/// The interrupt. (What is rare is done by others, as the last thing: so the rest needs no stack.)
impl Executor {
    /// There is no timer that is alone, or somebody interferes.
    #[cold]
    #[inline(never)]
    fn take_slowly(&self) {
        match self.timers.alone.take() {
            // SAFETY: It is ours, and valid, until it is left alone.
            Taken::Timer(timer, due) => self.take_by_clock(unsafe { timer.as_ref() }, due),
            Taken::Nobody => (),
            Taken::Crowd => self.tell(news::TIMER),
        }
    }

    /// It may be that what was taken is not due: then its coroutine is to arm it again, when it polls
    /// it.
    #[cold]
    #[inline(never)]
    fn take_by_clock(&self, timer: &Timer, due: Due) {
        let over = due.covers_by_clock(timer.at(), now_ns);
        self.leave_timer(timer, if over { Phase::FIRED } else { Phase::OUT });
    }

    /// Wakes the coroutine that waits for a timer, which was taken, and is `phase` from now on.
    #[inline(always)]
    fn leave_timer(&self, timer: &Timer, phase: Phase) {
        // Not pending any more, before its coroutine is woken, who may look at once.
        timer.phase.set(Phase::TAKEN);
        // SAFETY: It is ours; by the invariants there is a waiter.
        let waiter = unsafe { timer.waiter().unwrap_unchecked() };
        let idle = self.queue_in_interrupt(waiter);
        timer.phase.leave(phase);
        if idle {
            self.wake_home();
        }
    }
}

/// A timer, which one coroutine waits for.
///
/// # Invariants
///
/// - While it is armed (`ALONE` or `QUEUED`) it is with the timers of the waiter's domain, as
///   [`alone`](crate::alone) tells, or in their queue, whose lock everybody has who changes that.
/// - There is a waiter while it is armed or `TAKEN`; only who has the timer changes it, and not then.
#[repr(C)]
pub(crate) struct Timer {
    // First: the queue hands out nodes.
    node: Node,
    waiter: UnsafeCell<Option<TaskRef>>,
    phase: PhaseCell,
    _pinned: PhantomPinned,
}

// SAFETY: Who has the timer has the waiter, which is `Send`; the node is under a lock.
unsafe impl Send for Timer {}
// SAFETY: A shared timer only tells its time.
unsafe impl Sync for Timer {}

impl Timer {
    /// A timer for `at`, which has come already if `over`.
    #[inline]
    pub(crate) const fn new(at: i64, over: bool) -> Self {
        Timer {
            node: Node::new(at),
            waiter: UnsafeCell::new(None),
            phase: PhaseCell::new(if over { Phase::FIRED } else { Phase::NEW }),
            _pinned: PhantomPinned,
        }
    }

    /// When it is due.
    #[inline]
    pub(crate) fn at(&self) -> i64 {
        self.node.at()
    }

    /// # Safety
    ///
    /// The caller has the timer, or it is armed, and nobody makes it anything else meanwhile.
    #[inline]
    unsafe fn waiter(&self) -> Option<&Header> {
        // SAFETY: Per the function's contract nobody changes it.
        unsafe { (*self.waiter.get()).as_ref() }.map(TaskRef::header)
    }

    /// What it is; it is over if it has `FIRED`.
    #[inline(always)]
    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Whether its time has come; if not, the coroutine of `header` will be woken then. `phase` is
    /// what it was just now.
    ///
    /// # Safety
    ///
    /// The caller is the runner of that coroutine's domain.
    #[inline]
    pub(crate) unsafe fn poll(self: Pin<&mut Self>, phase: Phase, header: &Header) -> bool {
        if phase != Phase::NEW {
            // SAFETY: Per the function's contract.
            return unsafe { self.into_ref().poll_again(header) };
        }
        // SAFETY: As above; it is new.
        unsafe { self.into_ref().begin(header) };
        false
    }

    /// Arms it for the first time.
    ///
    /// # Safety
    ///
    /// As for [`poll`](Self::poll); it is new, or has no waiter.
    #[inline(never)]
    unsafe fn begin(self: Pin<&Self>, header: &Header) {
        // SAFETY: We have the timer, which is not armed. There is none to be dropped.
        unsafe { self.waiter.get().write(Some(TaskRef::of(header))) };
        // SAFETY: Per the function's contract.
        unsafe { header.executor().timers.arm(&self) };
    }

    /// [`poll`](Self::poll) of one that is not new.
    ///
    /// # Safety
    ///
    /// As for [`poll`](Self::poll).
    #[inline(never)]
    unsafe fn poll_again(self: Pin<&Self>, header: &Header) -> bool {
        if matches!(self.phase.get(), Phase::ALONE | Phase::QUEUED) {
            // SAFETY: We have the timer.
            if unsafe { self.waiter() }.is_some_and(|w| core::ptr::eq(w, header)) {
                return false;
            }
        }
        // It is armed for another coroutine, or was, or is about to be left alone.
        self.disarm();
        if self.phase.get() == Phase::FIRED {
            return true;
        }
        // SAFETY: We have the timer, which is not armed.
        drop(unsafe { (*self.waiter.get()).take() });
        // SAFETY: Per the function's contract; it has no waiter.
        unsafe { self.begin(header) };
        false
    }

    /// Not armed afterwards, unless its time has come, and nobody else's any more.
    #[inline(always)]
    fn disarm(&self) {
        if self.phase.get() > Phase::OUT {
            self.disarm_armed();
        }
    }

    #[inline(never)]
    fn disarm_armed(&self) {
        // SAFETY: We have the timer. The waiter keeps the executor.
        let Some(waiter) = (unsafe { self.waiter() }) else {
            return;
        };
        let timers = &waiter.executor().timers;
        loop {
            match self.phase.get() {
                Phase::ALONE if timers.alone.withdraw(NonNull::from(self)) => {
                    return self.phase.set(Phase::OUT);
                }
                // Whoever has it now needs but a moment, and cannot be interrupted by us.
                Phase::ALONE | Phase::TAKEN => alone::wait(),
                Phase::QUEUED => timers.disarm(self),
                _ => return,
            }
        }
    }
}

impl Drop for Timer {
    #[inline]
    fn drop(&mut self) {
        self.disarm();
    }
}

// `take_first` turns nodes into timers.
const _: () = assert!(core::mem::offset_of!(Timer, node) == 0);
