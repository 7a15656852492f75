// SPDX-License-Identifier: GPL-2.0

//! Mailboxes: the rings through which any number of preemptive senders reach one coroutine.
//!
//! There is one ring (a *lane*) per CPU and kind of context, so that no two senders share one and
//! none needs a lock: while a sender pushes, preemption is off, and what can still come in between
//! on its CPU, a softirq or a hard interrupt, has a lane of its own
//! ([`SenderSection`], also for PREEMPT_RT).
//!
//! **Order.** Messages that one thread sends through one [`Sender`], or one CPU from softirqs or
//! from hard interrupts, arrive in the order sent. (Functions that one CPU has another one call,
//! as `smp_call_function` does, may run in its idle thread, and count as a thread.) A thread may
//! move to another CPU, and with it to another lane: each message then names the one that the
//! sender sent before, and the receiver takes that first. Lanes are otherwise visited in turn, some
//! messages each.
//!
//! **Wake-up.** A push is followed by a [`WaitCell::signal`], whose read-modify-write also orders
//! it before the receiver's next look. As long as the receiver's own waiter is in that cell, nothing
//! has come since it looked last.
//!
//! **In place.** A caller that runs the domain itself (see [`inline`](crate::inline)) and finds the
//! receiver waiting lays its message right before it, past the lanes.
//!
//! **End.** When the receiver goes it says so, waits until no sender is in the middle of a push
//! (a grace period), and drops what is left. Everything later is handed back to its sender.

use crate::executor::Executor;
use crate::msgq::{Ring, Slot, Storage, POSITION_BITS};
use crate::receiver::Receiver;
use crate::room::Room;
use crate::sender::Sender;
use crate::sys::context::{Context as Where, SenderSection};
use crate::task::{Header, TaskRef};
use crate::teardown::Ward;
use crate::wait_cell::WaitCell;
use crate::waker::WakeRef;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::pin::Pin;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering::*};
use kernel::prelude::*;
use kernel::sync::Arc;

/// Room of a mailbox: messages per CPU, for each kind of sending context.
///
/// Powers of two; 0: such contexts cannot send.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// From threads.
    pub task: usize,
    /// From softirqs.
    pub softirq: usize,
    /// From hard interrupts.
    pub hardirq: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        Capacity {
            task: 64,
            softirq: 64,
            hardirq: 16,
        }
    }
}

/// Slots of a ring, allocated.
pub(crate) struct KSlots<T>(KVVec<Slot<T>>);

impl<T> KSlots<T> {
    fn new(capacity: usize) -> Result<Self> {
        let mut slots = KVVec::with_capacity(capacity, GFP_KERNEL)?;
        for _ in 0..capacity {
            slots.push(Slot::new(), GFP_KERNEL)?;
        }
        Ok(KSlots(slots))
    }
}

// SAFETY: The slots stay where they are as long as the vector is not changed, and it is not.
unsafe impl<T> Storage<T> for KSlots<T> {
    fn slots(&mut self) -> NonNull<[Slot<T>]> {
        NonNull::from(self.0.as_mut_slice())
    }
}

/// The message that a sender sent before, if that was through another lane: the lane in the lowest
/// bits (there are fewer than 3 * 8192), its position above them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct After(pub(crate) u64);

/// Bits for the lane; the others are enough for positions.
const LANE_BITS: u32 = 16;
const _: () = assert!(u64::BITS - LANE_BITS >= POSITION_BITS);

impl After {
    /// No message; its lane is none.
    pub(crate) const NOTHING: After = After(u64::MAX);

    #[inline(always)]
    pub(crate) fn new(lane: usize, position: usize) -> Self {
        After((position as u64) << LANE_BITS | lane as u64)
    }

    #[inline(always)]
    pub(crate) fn lane(self) -> usize {
        usize::from(self.0 as u16)
    }

    pub(crate) fn position(self) -> usize {
        (self.0 >> LANE_BITS) as usize
    }
}

pub(crate) struct Envelope<T> {
    pub(crate) after: After,
    pub(crate) message: T,
}

/// The ring of one CPU and kind of context.
pub(crate) type Lane<T> = Ring<Envelope<T>, KSlots<Envelope<T>>>;

/// What the receiver is up to, as far as inline callers care: a word that is [`AWAY`], the address
/// of a header (that coroutine waits in `recv`, or did a moment ago), or one of these two. Both are
/// unlike any word that is in the receiver's [`WaitCell`] when nobody waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Laid {
    /// A message lies before the receiver, for the poll that is going on.
    Whole,
    /// It was taken, in the poll that is going on.
    Taken,
}

/// The receiver does not wait in `recv`; no header is at this address.
const AWAY: *mut () = ptr::without_provenance_mut(2);

/// What senders and receiver share.
///
/// # Invariants
///
/// - `direct` and `listener` are accessed by the runner of the domain only, and `place` is only
///   written by it.
/// - `place` is `AWAY`, the address of the header of `listener`, that of the executor's context, when
///   `direct` holds a message, or one more, when it held one. The latter two it is only while an
///   inline caller, who is the runner, polls `listener`.
#[pin_data(PinnedDrop)]
pub(crate) struct Shared<T> {
    /// `None` where the capacity is 0. Indexed by `SenderSection::index`.
    pub(crate) lanes: KVVec<Option<Lane<T>>>,
    /// A bit for each lane that was ever pushed to: the receiver looks at those only.
    pub(crate) used: KVVec<AtomicU64>,
    pub(crate) receiver: WaitCell<WakeRef>,
    /// The receiver, or its domain, is gone.
    pub(crate) closed: AtomicBool,
    /// The receiver went where nobody could wait for its senders: what is left is to be dropped.
    pub(crate) orphaned: AtomicBool,
    /// The receiver has gone, or what it left was dropped.
    pub(crate) buried: AtomicBool,
    /// Where the receiver is: see the invariants.
    place: AtomicPtr<()>,
    /// The coroutine of the domain that was the last to wait in `recv`.
    listener: UnsafeCell<Option<TaskRef>>,
    /// A message that is laid before the receiver while it is polled.
    direct: UnsafeCell<MaybeUninit<T>>,
    pub(crate) senders: AtomicUsize,
    #[pin]
    pub(crate) room: Room,
    pub(crate) executor: Arc<Executor>,
}

impl<T> Shared<T> {
    /// Drops what is left. Nothing is pushed any more: every section that began before `closed` was
    /// set has ended, later ones see it.
    ///
    /// # Safety
    ///
    /// The caller is the only consumer.
    pub(crate) unsafe fn drain(&self) {
        self.receiver.clear_waiter();
        for lane in self.lanes.iter().flatten() {
            // SAFETY: Per the function's contract.
            while let Some(envelope) = unsafe { lane.pop() } {
                drop(envelope);
            }
        }
        self.room.wake_all();
    }

    /// Drops what an orphan has left, if nobody else has. No sender is in the middle of anything.
    pub(crate) fn bury_orphan(&self) {
        if self.orphaned.swap(false, AcqRel) {
            self.buried.store(true, Relaxed);
            // SAFETY: There is no receiver any more, and only one gets here.
            unsafe { self.drain() };
        }
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn mark_used(&self, index: usize) {
        if let Some(word) = self.used.get(index / 64) {
            word.fetch_or(1 << (index % 64), Relaxed);
        }
        self.executor.stats().ring_is_used();
    }

    /// Signals the receiver. Any context but NMI. Does not run its domain: locks may be held.
    #[inline]
    pub(crate) fn wake_receiver(&self) {
        if let Some(waiter) = self.receiver.signal() {
            waiter.wake();
        }
    }

    /// The coroutine that waits in `recv`, if nothing has come for it yet and it may be polled as
    /// it is.
    ///
    /// It may have left `recv` since, as one that selects among several things can: then it takes no
    /// notice of what is laid before it.
    ///
    /// # Safety
    ///
    /// The caller is the runner of the domain.
    #[inline(always)]
    pub(crate) unsafe fn idle_listener(&self) -> Option<NonNull<Header>> {
        let place = self.place.load(Relaxed);
        // Of what the current thread has sent before, nothing is in a lane: that was followed by a
        // signal, which took the waiter out. Nobody waits at `AWAY`.
        if !self.receiver.is_waiting_at(place) {
            return None;
        }
        // SAFETY: By the type's invariants, of which only this one is left, it is the header of
        // `listener`, whose reference keeps it valid.
        let header = unsafe { &*place.cast::<Header>() };
        // That it is neither new, done, nor to be dropped is said by its being idle, too; who aborts
        // it right now might as well have come later.
        header.state().is_idle().then_some(NonNull::from(header))
    }

    /// Lays `message` before the receiver, for its next poll. What is not taken there is to be
    /// [taken back](Self::take_back).
    ///
    /// # Safety
    ///
    /// The caller is the runner of the domain, about to poll the
    /// [`idle_listener`](Self::idle_listener); `context` is the address of its executor's context.
    #[inline(always)]
    pub(crate) unsafe fn lay(&self, message: T, context: usize) {
        // SAFETY: By the type's invariant; there is nothing to drop.
        unsafe { (*self.direct.get()).write(message) };
        // INVARIANT: It holds a message.
        self.place
            .store(ptr::without_provenance_mut(context), Relaxed);
    }

    /// What was [laid](Self::lay) before the receiver, if it was not taken; the receiver is elsewhere.
    ///
    /// # Safety
    ///
    /// The caller is the runner of the domain, and has polled the listener.
    pub(crate) unsafe fn take_back(&self) -> Option<T> {
        let laid = self.laid(self.executor.context.address());
        if laid.is_some() {
            self.place.store(AWAY, Relaxed);
        }
        // SAFETY: By the type's invariant; that it holds a message has just been forgotten.
        (laid == Some(Laid::Whole)).then(|| unsafe { (*self.direct.get()).assume_init_read() })
    }

    /// What has become of what was [laid](Self::lay), where `context` is what a coroutine of the
    /// domain is being polled with; `None` for any other context.
    #[inline(always)]
    pub(crate) fn laid(&self, context: usize) -> Option<Laid> {
        let place = self.place.load(Relaxed).addr();
        if place == context {
            return Some(Laid::Whole);
        }
        // In other words, so that the compiler asks for the one above first, and by itself.
        (place ^ context == 1).then_some(Laid::Taken)
    }

    /// Takes what was [laid](Self::lay) before the receiver.
    ///
    /// # Safety
    ///
    /// [`laid`](Self::laid) said, about this `context`, that it is there.
    #[inline(always)]
    pub(crate) unsafe fn take_laid(&self, context: usize) -> T {
        // INVARIANT: We take it. Who was given the executor's context is the runner.
        let _ = context;
        let place = self.place.load(Relaxed);
        self.place.store(place.wrapping_byte_add(1), Relaxed);
        // SAFETY: Per the function's contract.
        unsafe { (*self.direct.get()).assume_init_read() }
    }

    /// The receiver has taken what was laid, answered, and the poll is over: notes that it does not
    /// wait, unless it waits again.
    #[inline(always)]
    pub(crate) fn note_place(&self) {
        // It was taken, and nothing else happened since: the only odd one.
        if self.place.load(Relaxed).addr() & 1 != 0 {
            self.place.store(AWAY, Relaxed);
        }
    }

    /// The coroutine that is being polled, in place, has taken what was laid, and waits in `recv`
    /// again; `true` if nothing has come since it looked last, so that it need not look again.
    ///
    /// # Safety
    ///
    /// [`laid`](Self::laid) said so, about the context of the poll that is going on.
    #[inline(always)]
    pub(crate) unsafe fn listens_again(&self) -> bool {
        // SAFETY: By the type's invariants it is the one that is polled.
        let listener = unsafe { (*self.listener.get()).as_ref().unwrap_unchecked() };
        // Its own waiter is in the cell still: who comes takes it out.
        self.waits_as(listener.header())
    }

    /// Notes that the coroutine of `me`, the listener, waits in `recv`, if its waiter is in the cell.
    #[inline(always)]
    fn waits_as(&self, me: *const Header) -> bool {
        if self.receiver.is_waiting_at(me.cast()) {
            self.place.store(me.cast_mut().cast(), Relaxed);
            return true;
        }
        false
    }

    /// The coroutine that is being polled waits in `recv`; `true` if nothing has come since it looked
    /// last, so that it need not look again.
    ///
    /// # Safety
    ///
    /// The caller is that coroutine, one of the domain.
    #[inline]
    pub(crate) unsafe fn still_listens(&self) -> bool {
        let me = self.executor.current();
        // SAFETY: By the type's invariant.
        let listener = unsafe { (*self.listener.get()).as_ref() };
        listener.is_some_and(|listener| ptr::eq(listener.header(), me)) && self.waits_as(me)
    }

    /// The receiver has something from the lanes.
    ///
    /// # Safety
    ///
    /// As for [`still_listens`](Self::still_listens).
    #[inline]
    pub(crate) unsafe fn listens_no_more(&self) {
        self.place.store(AWAY, Relaxed);
    }

    /// Consumes the receiver's signal (`true`), or leaves the coroutine that is being polled to be
    /// woken (`false`).
    ///
    /// # Safety
    ///
    /// As for [`still_listens`](Self::still_listens).
    #[inline]
    pub(crate) unsafe fn poll_receiver(&self) -> bool {
        // SAFETY: The coroutine that is being polled is valid.
        let me = unsafe { &*self.executor.current() };
        if self.receiver.poll_wait(|| WakeRef::Task(TaskRef::of(me))) {
            return true;
        }
        if self.executor.shared {
            // SAFETY: By the type's invariant; the old reference is dropped after the access.
            let listener = unsafe { &mut *self.listener.get() };
            if !listener.as_ref().is_some_and(|l| ptr::eq(l.header(), me)) {
                let old = listener.replace(TaskRef::of(me));
                drop(old);
            }
            self.place
                .store(ptr::from_ref(me).cast_mut().cast(), Relaxed);
        }
        false
    }
}

impl<T: Send> Ward for Shared<T> {
    fn closing(&self) {
        self.closed.store(true, Release);
        self.room.wake_all();
    }

    fn owner_died(&self) {}

    fn is_retired(&self) -> bool {
        self.senders.load(Relaxed) == 0
    }

    fn is_orphaned(&self) -> bool {
        self.orphaned.load(Acquire)
    }

    fn may_be_orphaned(&self) -> bool {
        !self.buried.load(Relaxed) && !self.is_retired()
    }

    fn bury(&self) {
        self.bury_orphan();
    }
}

// SAFETY: Messages go from senders to the receiver; the lanes are used as their types demand.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: As above.
unsafe impl<T: Send> Sync for Shared<T> {}

#[pinned_drop]
impl<T> PinnedDrop for Shared<T> {
    fn drop(self: Pin<&mut Self>) {
        // Only if the runner died before the receiver took it.
        // SAFETY: Nobody else is there.
        drop(unsafe { self.take_back() });
    }
}

/// Makes a mailbox of a domain. Task context, sleeps. `EINVAL` if a capacity is no power of two.
pub(crate) fn mailbox<T: Send + 'static>(
    executor: Arc<Executor>,
    capacity: Capacity,
) -> Result<(Sender<T>, Receiver<T>)> {
    Where::require_sleepable()?;
    let count = SenderSection::count();
    let mut lanes = KVVec::with_capacity(count, GFP_KERNEL)?;
    for index in 0..count {
        let capacity = match SenderSection::kind(index) {
            0 => capacity.task,
            1 => capacity.softirq,
            _ => capacity.hardirq,
        };
        let lane = if capacity == 0 {
            None
        } else {
            Some(Ring::new(KSlots::new(capacity)?).map_err(|_| EINVAL)?)
        };
        lanes.push(lane, GFP_KERNEL)?;
    }
    let mut used = KVVec::new();
    for _ in 0..count.div_ceil(64) {
        used.push(AtomicU64::new(0), GFP_KERNEL)?;
    }
    let shared = Arc::pin_init(
        pin_init!(Shared {
            lanes,
            used,
            receiver: WaitCell::new(),
            closed: AtomicBool::new(false),
            orphaned: AtomicBool::new(false),
            buried: AtomicBool::new(false),
            place: AtomicPtr::new(AWAY),
            listener: UnsafeCell::new(None),
            direct: UnsafeCell::new(MaybeUninit::uninit()),
            senders: AtomicUsize::new(1),
            room <- Room::new(),
            executor,
        }),
        GFP_KERNEL,
    )?;
    shared
        .executor
        .tell_when_it_ends(shared.clone() as Arc<dyn Ward>)?;
    Ok((Sender::new(shared.clone()), Receiver::new(shared)))
}
