// SPDX-License-Identifier: GPL-2.0

//! The timers of a domain: one `hrtimer` for all of them.
//!
//! A timer lives in the future that waits for it, so that arming allocates nothing. The armed ones
//! are in a `timerqueue` of the kernel. The interrupt touches none of them: it notes that time has
//! passed, and has the domain run; the runner takes out those that are due, and wakes their
//! coroutines.
//!
//! **Why there is a lock.** A future, once polled, never moves, but a box with one can be sent
//! anywhere, and be dropped in any context: the queue is taken with interrupts off, for one operation
//! at a time. All else about a timer belongs to the future, and to who has that.
//!
//! How the runner learns of the interrupt is told in [`news`](crate::news).

use crate::alarm::Alarm;
use crate::executor::Executor;
use crate::news;
use crate::sys::context::now_ns;
use crate::sys::timer::{AnyContext, HrTimer, Node, OnTimer, TimerQueue};
use crate::task::{Header, TaskRef};
use core::cell::UnsafeCell;
use core::marker::PhantomPinned;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering::*};
use kernel::prelude::*;

/// What the lock protects.
struct Queue {
    armed: TimerQueue,
    alarm: Alarm,
    /// The domain has ended: nothing is armed any more.
    closed: bool,
}

/// The timers of a domain.
#[pin_data]
pub(crate) struct Timers {
    #[pin]
    queue: AnyContext<Queue>,
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
            queue <- AnyContext::new(Queue {
                armed: TimerQueue::new(),
                alarm: Alarm::new(),
                closed: false,
            }),
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

    /// Arms `timer`, which is not armed, for its waiter. Nothing happens if the domain has ended.
    fn arm(&self, timer: &Timer) {
        let mut queue = self.queue.lock();
        if queue.closed {
            return;
        }
        timer.state.store(ARMED, Relaxed);
        // SAFETY: Not armed, so in no queue; pinned, and its destructor disarms it.
        unsafe { queue.armed.add(&timer.node) };
        if queue.alarm.arm(timer.node.at()) {
            // With the lock held: the last one is to be the earliest one.
            self.hrtimer.start(timer.node.at(), self.slack);
        }
    }

    /// Disarms `timer`, if it is still armed, in this domain.
    fn disarm(&self, timer: &Timer) {
        let mut queue = self.queue.lock();
        if timer.state.load(Relaxed) == ARMED {
            timer.state.store(IDLE, Relaxed);
            // SAFETY: Armed, so in this queue.
            unsafe { queue.armed.remove(&timer.node) };
        }
    }

    /// Takes out the first timer, if `choose` holds for it, gives it `state`, and wakes who waits for
    /// it; whether it did. Runner only.
    #[inline(always)]
    fn take_first(queue: &mut Queue, state: u8, choose: impl Fn(i64) -> bool) -> bool {
        let Some(first) = queue.armed.first() else {
            return false;
        };
        // SAFETY: The node of a timer is its first field; it is valid while it is in the queue, and
        // we have the lock.
        let timer = unsafe { first.cast::<Timer>().as_ref() };
        if !choose(timer.node.at()) {
            return false;
        }
        // SAFETY: It is in the queue.
        unsafe { queue.armed.remove(&timer.node) };
        // SAFETY: The waiter of an armed timer is not changed without the lock.
        if let Some(waiter) = unsafe { timer.waiter() } {
            // With the lock held, which keeps the timer, and with that the waiter.
            waiter.wake();
        }
        // From here on it may be gone.
        timer.state.store(state, Release);
        true
    }

    /// Wakes those whose time has come. Runner only, who [settles](Self::settle) later, and has taken
    /// note of the interrupt: one that comes from now on is told again. Logarithmic for each.
    #[inline]
    pub(crate) fn expire(&self) {
        let now = now_ns();
        let mut queue = self.queue.lock();
        queue.alarm.rang();
        let mut alone = true;
        while Self::take_first(&mut queue, FIRED, |at| at <= now) {
            if alone && queue.armed.first().is_none() {
                // The next to be armed is programmed at once: there is nothing to wait for.
                let _ = queue.alarm.settle(None);
                return;
            }
            alone = false;
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
        let mut queue = self.queue.lock();
        let first = queue.armed.first_at();
        if let Some(at) = queue.alarm.settle(first) {
            self.hrtimer.start(at, self.slack);
        }
    }

    /// Disarms what is armed, for good: its futures are elsewhere. Their coroutines are woken, to
    /// arm them again where they are. Returns when the interrupt has come for the last time.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        while Self::take_first(&mut queue, IDLE, |_| true) {
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
    fn on_timer(&self) {
        self.tell(news::TIMER);
    }
}

/// Not in the queue.
const IDLE: u8 = 0;
/// In the queue of the waiter's domain.
const ARMED: u8 = 1;
/// Its time has come.
const FIRED: u8 = 2;

/// A timer, which one coroutine waits for.
///
/// # Invariants
///
/// - While it is `ARMED` it is in the queue of the waiter's domain, and who changes that has the
///   lock of that queue.
/// - There is a waiter while it is `ARMED`; only who has the timer changes it, and not then.
#[repr(C)]
pub(crate) struct Timer {
    // First: the queue hands out nodes.
    node: Node,
    waiter: UnsafeCell<Option<TaskRef>>,
    state: AtomicU8,
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
            state: AtomicU8::new(if over { FIRED } else { IDLE }),
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
    /// The caller has the timer, or the lock of the queue that it is in.
    #[inline]
    unsafe fn waiter(&self) -> Option<&Header> {
        // SAFETY: Per the function's contract nobody changes it.
        unsafe { (*self.waiter.get()).as_ref() }.map(TaskRef::header)
    }

    /// Whether its time has come; if not, the coroutine of `header` will be woken then.
    #[inline]
    pub(crate) fn poll(self: Pin<&mut Self>, header: &Header) -> bool {
        match self.state.load(Acquire) {
            FIRED => true,
            // SAFETY: We have the timer.
            ARMED if unsafe { self.waiter() }.is_some_and(|w| core::ptr::eq(w, header)) => false,
            _ => self.into_ref().arm(header),
        }
    }

    /// Arms it for another coroutine than before.
    fn arm(self: Pin<&Self>, header: &Header) -> bool {
        self.disarm();
        if self.state.load(Acquire) == FIRED {
            return true;
        }
        // SAFETY: We have the timer, and it is not armed.
        unsafe { *self.waiter.get() = Some(TaskRef::of(header)) };
        header.executor().timers.arm(&self);
        false
    }

    /// Not armed afterwards, unless its time has come.
    #[inline]
    fn disarm(&self) {
        if self.state.load(Acquire) != ARMED {
            return;
        }
        // SAFETY: We have the timer. The waiter keeps the executor.
        if let Some(waiter) = unsafe { self.waiter() } {
            waiter.executor().timers.disarm(self);
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
