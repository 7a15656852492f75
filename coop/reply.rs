// SPDX-License-Identifier: GPL-2.0

//! Requests, the right to answer them, and the slots through which answers go.
//!
//! The answer goes through a slot of the mailbox, never through the caller's stack. Who owns a slot
//! when is ruled by [`reply_state`](crate::reply_state).
//!
//! What keeps the slots alive for a receiver: the caller, as long as it waits. A caller that leaves
//! without an answer leaves a reference behind for the receiver, which gives it back.

use crate::executor::Executor;
use crate::reply_state::{Answer, Complete, FreeList, ReplyCell, NONE};
use crate::room::Room;
use crate::sys::context;
use crate::teardown::Ward;
use crate::wait_cell::WaitCell;
use crate::waker::{poll_cell, WakeRef};
use core::cell::UnsafeCell;
use core::future::Future;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::pin::Pin;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering::*};
use core::task::{Context, Poll};
use kernel::bindings::task_struct;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Calls of one mailbox that may be under way at once; more wait. One slot more is there for the
/// caller that runs the domain itself.
const SLOTS: u32 = 64;

/// A slot. In cache lines of its own: those of two calls are used by two pairs of CPUs.
///
/// # Invariants
///
/// - `value` belongs to the receiver until it completes the call, then to the caller, unless `cell`
///   says that it has gone.
/// - `slots` is what it is one of.
#[repr(align(64))]
pub(crate) struct Slot<R> {
    pub(crate) cell: ReplyCell<WakeRef>,
    value: UnsafeCell<MaybeUninit<R>>,
    slots: AtomicPtr<Slots<R>>,
    /// Who waits for the caller to give up.
    receiver: WaitCell<WakeRef>,
    index: u32,
}

impl<R> Slot<R> {
    fn new(index: u32) -> Self {
        Slot {
            cell: ReplyCell::new(),
            value: UnsafeCell::new(MaybeUninit::uninit()),
            slots: AtomicPtr::new(core::ptr::null_mut()),
            receiver: WaitCell::new(),
            index,
        }
    }

    /// The value of the reply, if there is one.
    ///
    /// # Safety
    ///
    /// The slot is the caller's, which gives it back without looking again.
    #[inline(always)]
    pub(crate) unsafe fn take_reply(&self) -> Option<R> {
        if self.cell.is_replied() {
            // SAFETY: By the type's invariant the value is there, and ours; read once, per the
            // function's contract.
            return Some(unsafe { (*self.value.get()).assume_init_read() });
        }
        None
    }
}

/// The slots of a mailbox.
#[pin_data]
pub(crate) struct Slots<R> {
    slots: KVVec<Slot<R>>,
    free: FreeList,
    /// A free slot, or `NONE`: cheaper than the list.
    spare: AtomicU32,
    /// The slot of the caller that runs the domain; in no list. Taken by runners only.
    own: Slot<R>,
    /// A fault ended the domain: no slot is used again.
    dead: AtomicBool,
    pub(crate) callers: AtomicUsize,
    #[pin]
    pub(crate) room: Room,
    /// That of the receiver.
    executor: Arc<Executor>,
}

// SAFETY: Values go from the receiver to callers; `ReplyCell` says who has access when.
unsafe impl<R: Send> Send for Slots<R> {}
// SAFETY: As above.
unsafe impl<R: Send> Sync for Slots<R> {}

impl<R> Slots<R> {
    pub(crate) fn new(executor: Arc<Executor>) -> Result<Arc<Self>> {
        let free = FreeList::new();
        let mut slots = KVVec::with_capacity(SLOTS as usize, GFP_KERNEL)?;
        for index in 0..SLOTS {
            let slot = Slot::new(index);
            free.put(index, &slot.cell);
            slots.push(slot, GFP_KERNEL)?;
        }
        let this = Arc::pin_init(
            pin_init!(Slots {
                slots,
                free,
                spare: AtomicU32::new(NONE),
                own: Slot::new(SLOTS),
                dead: AtomicBool::new(false),
                callers: AtomicUsize::new(1),
                room <- Room::new(),
                executor,
            }),
            GFP_KERNEL,
        )?;
        for slot in this.all() {
            // INVARIANT: It is one of these. Published with the slots.
            slot.slots.store(Arc::as_ptr(&this).cast_mut(), Relaxed);
        }
        Ok(this)
    }

    fn all(&self) -> impl Iterator<Item = &Slot<R>> {
        Iterator::chain(self.slots.iter(), core::iter::once(&self.own))
    }

    /// A free slot for a call that begins.
    #[inline]
    pub(crate) fn take(&self) -> Option<&Slot<R>> {
        // A read-modify-write even if there is none: see `put`.
        let slot = match self.spare.swap(NONE, AcqRel) {
            NONE => self.take_listed()?,
            index => self.slots.get(index as usize)?,
        };
        slot.cell.begin();
        Some(slot)
    }

    #[inline(never)]
    fn take_listed(&self) -> Option<&Slot<R>> {
        let index = self
            .free
            .take(|index| self.slots.get(index as usize).map(|slot| &slot.cell))?;
        self.slots.get(index as usize)
    }

    /// Gives a slot back whose call has ended.
    #[inline]
    pub(crate) fn put(&self, slot: &Slot<R>) {
        // After a fault, replies that are still around may be of calls that have ended.
        if self.dead.load(Acquire) {
            return slot.cell.end();
        }
        if slot.index == SLOTS {
            return slot.cell.free();
        }
        slot.cell.end();
        // Those who wait for a slot registered before they exchanged the spare one, last: either
        // that comes first, and they are seen below, or they find this slot.
        let old = self.spare.swap(slot.index, AcqRel);
        if let Some(old) = self.slots.get(old as usize) {
            self.free.put(old.index, &old.cell);
        }
        self.room.made();
    }

    /// The slot for a call that the caller, `me`, runs itself, if it is free; for
    /// [`put_own`](Self::put_own) or [`put`](Self::put).
    ///
    /// # Safety
    ///
    /// The caller is the runner of the domain.
    #[inline(always)]
    pub(crate) unsafe fn own(&self) -> Option<&Slot<R>> {
        self.own.cell.is_free().then_some(&self.own)
    }

    /// What [`own`](Self::own) has returned.
    #[inline(always)]
    pub(crate) fn own_again(&self) -> &Slot<R> {
        &self.own
    }

    /// A free slot for a call that the caller, `me`, runs itself.
    ///
    /// # Safety
    ///
    /// The caller is the runner of the domain.
    pub(crate) unsafe fn take_inline(&self, me: *mut task_struct) -> Option<&Slot<R>> {
        // SAFETY: Per the function's contract.
        let slot = match unsafe { self.own() } {
            Some(slot) => slot,
            None => self.take_listed()?,
        };
        slot.cell.begin_inline(me.cast_const().cast());
        Some(slot)
    }

    /// Takes the answer of a call, and gives its slot back through `put`.
    ///
    /// # Safety
    ///
    /// The slot is the caller's, and the cell has just said that this is the `answer`.
    #[inline]
    pub(crate) unsafe fn take_answer(
        &self,
        slot: &Slot<R>,
        answer: Answer,
        put: impl FnOnce(&Slot<R>),
    ) -> Option<R> {
        let value = match answer {
            // SAFETY: By the type's invariant the value is there, and ours; read once, since the
            // slot is given back right after.
            Answer::Replied => Some(unsafe { (*slot.value.get()).assume_init_read() }),
            Answer::Dropped => None,
        };
        put(slot);
        value
    }

    /// The caller goes, whether or not the answer is there.
    pub(crate) fn abandon(self: &Arc<Self>, slot: &Slot<R>) {
        // For the receiver, which may outlive the caller by now.
        let reference = Arc::into_raw(self.clone());
        if slot.cell.abandon() {
            if let Some(waiter) = slot.receiver.signal() {
                waiter.wake();
            }
            return;
        }
        // SAFETY: Nobody else got it.
        drop(unsafe { Arc::from_raw(reference) });
        if let Some(answer) = slot.cell.answer() {
            // SAFETY: The slot is ours, with that answer.
            drop(unsafe { self.take_answer(slot, answer, |slot| self.put(slot)) });
        }
    }

    /// The last caller goes. If one of its calls was leaked (its future forgotten), the receiver may
    /// still answer it: then the slots stay for good.
    #[cold]
    pub(crate) fn last_caller_goes(self: &Arc<Self>) {
        if self.all().any(|slot| slot.cell.is_pending()) {
            core::mem::forget(self.clone());
        }
    }
}

impl<R: Send> Ward for Slots<R> {
    fn closing(&self) {
        self.room.wake_all();
    }

    /// What is still pending is in the hands of the coroutine that died, which never lets go, or of
    /// somebody outside, who will find its call completed.
    fn owner_died(&self) {
        self.dead.store(true, Release);
        for slot in self.all() {
            if slot.cell.is_pending() {
                // SAFETY: `self` is in an `Arc`, as all slots are: one reference more for whoever
                // has the right to answer.
                let this = ManuallyDrop::new(unsafe { Arc::from_raw(core::ptr::from_ref(self)) });
                let reference = Arc::into_raw(Arc::clone(&this));
                match slot.cell.complete(false) {
                    Complete::Done(Some(waiter)) => waiter.wake(),
                    Complete::Done(None) => (),
                    // SAFETY: It was completed just now, by the one who had the right.
                    _ => drop(unsafe { Arc::from_raw(reference) }),
                }
            }
        }
        self.room.wake_all();
    }

    fn is_retired(&self) -> bool {
        self.callers.load(Relaxed) == 0
    }
}

/// A request: a message, and the right to answer it.
pub struct Request<Q, R> {
    pub(crate) message: Q,
    pub(crate) reply: Reply<R>,
}

impl<Q, R> Request<Q, R> {
    /// The message.
    pub fn message(&self) -> &Q {
        &self.message
    }

    /// The message, and the right to answer it later.
    #[inline]
    pub fn into_parts(self) -> (Q, Reply<R>) {
        (self.message, self.reply)
    }

    /// The message of a request that was not sent; its slot stays the caller's.
    #[inline]
    pub(crate) fn take_back(self) -> Q {
        let _ = ManuallyDrop::new(self.reply);
        self.message
    }

    /// Whether the caller has gone: killed, or timed out. Any context.
    pub fn is_abandoned(&self) -> bool {
        self.reply.is_abandoned()
    }
}

/// The right to answer a request, once. Dropped without an answer, the caller gets `ECANCELED`.
///
/// # Invariants
///
/// `slot` is that of a call that nobody else has the right to answer. It is valid: either the caller
/// waits, or it has left a reference to the slots behind.
pub struct Reply<R> {
    slot: NonNull<Slot<R>>,
}

// SAFETY: The value goes to the caller, wherever that is.
unsafe impl<R: Send> Send for Reply<R> {}
// SAFETY: A shared reference tells only whether the caller has gone.
unsafe impl<R: Send> Sync for Reply<R> {}

impl<R> Reply<R> {
    /// The right to answer the call of `slot`.
    ///
    /// # Safety
    ///
    /// The call of `slot` has just begun, and its caller keeps the slots until the call is answered
    /// or [abandoned](Slots::abandon).
    #[inline(always)]
    pub(crate) unsafe fn new(slot: &Slot<R>) -> Self {
        // INVARIANT: Per the function's contract.
        Reply {
            slot: NonNull::from(slot),
        }
    }

    #[inline]
    fn slot(&self) -> &Slot<R> {
        // SAFETY: By the type's invariant.
        unsafe { self.slot.as_ref() }
    }

    /// Answers. `Err` hands the value back: the caller has gone. Any context but NMI, and, on
    /// PREEMPT_RT, a hard interrupt that is not a thread (who waits for a slot is behind a lock that
    /// sleeps there).
    ///
    /// Callers that sleep, and are answered by the coroutine that they have called, or another one of
    /// its domain, are woken [together](crate::wake_batch), when that awaits something. If it is to
    /// work long before that, or to sleep otherwise, [`send_now`](Self::send_now) does not let the
    /// caller wait.
    #[inline(always)]
    pub fn send(self, value: R) -> Result<(), R> {
        self.send_and_wake::<false>(value)
    }

    /// [`send`](Self::send), and wakes the caller here and now. The same contexts.
    pub fn send_now(self, value: R) -> Result<(), R> {
        self.send_and_wake::<true>(value)
    }

    #[inline(always)]
    fn send_and_wake<const NOW: bool>(self, value: R) -> Result<(), R> {
        let this = ManuallyDrop::new(self);
        let slot = this.slot();
        // SAFETY: Until the call is complete, the value is the receiver's.
        unsafe { (*slot.value.get()).write(value) };
        if slot.cell.complete_inline(this_runner(), true) {
            return Ok(());
        }
        // SAFETY: The value is in place.
        unsafe { Self::send_elsewhere::<NOW>(this) }
    }

    /// Answers a caller that does not run us.
    ///
    /// # Safety
    ///
    /// The value is in place.
    #[inline(never)]
    unsafe fn send_elsewhere<const NOW: bool>(this: ManuallyDrop<Self>) -> Result<(), R> {
        let runner = if NOW { None } else { this.runner() };
        if this.complete(true, runner) {
            return Ok(());
        }
        // SAFETY: The value came too late, and is ours again.
        let value = unsafe { (*this.slot().value.get()).assume_init_read() };
        // SAFETY: `complete` said so; `this` is not used any more.
        unsafe { this.outlived() };
        Err(value)
    }

    /// The receiver's domain, if that is where we are, in a poll: then it outlives this.
    fn runner(&self) -> Option<NonNull<Executor>> {
        // SAFETY: By the type's invariant slot and slots are valid.
        let slots = unsafe { self.slot().slots.load(Relaxed).as_ref() }?;
        let executor = &*slots.executor;
        // Polls in place have begun, but not answered, a call of this mailbox.
        let polls = executor.is_batching() || slots.own.cell.is_run_by(this_runner());
        (polls && executor.is_inside()).then(|| NonNull::from(executor))
    }

    /// `false` if the caller has gone. If not, neither slot nor slots may be touched any more.
    ///
    /// `runner` is what [`runner`](Self::runner) has returned, if the caller is not to be woken at
    /// once.
    #[inline(always)]
    fn complete(&self, value: bool, runner: Option<NonNull<Executor>>) -> bool {
        match self.slot().cell.complete(value) {
            Complete::Done(Some(waiter)) => {
                match runner {
                    // SAFETY: Its runner, which we are, keeps it.
                    Some(executor) => unsafe { executor.as_ref() }.put_off(waiter),
                    None => waiter.wake(),
                }
                true
            }
            Complete::Done(None) => true,
            Complete::Abandoned | Complete::Already => false,
        }
    }

    /// Gives the slot of a caller that has gone back, and the reference that it left.
    ///
    /// # Safety
    ///
    /// [`complete`](Self::complete) returned `false`, and `self` is not used afterwards.
    #[cold]
    unsafe fn outlived(&self) {
        let slot = self.slot();
        // SAFETY: By the type's invariant, the caller having gone.
        let slots = unsafe { Arc::from_raw(slot.slots.load(Relaxed).cast_const()) };
        if slot.cell.is_abandoned() {
            slot.receiver.clear_waiter();
            slots.put(slot);
        }
    }

    /// Whether the caller has gone: killed, or timed out. Any context.
    pub fn is_abandoned(&self) -> bool {
        self.slot().cell.is_abandoned()
    }

    /// Waits until the caller has gone: to be told, while the answer is being worked on.
    pub fn abandoned(&mut self) -> Abandoned<'_, R> {
        Abandoned { reply: self }
    }
}

impl<R> Drop for Reply<R> {
    fn drop(&mut self) {
        if !self.slot().cell.complete_inline(this_runner(), false) && !self.complete(false, None) {
            // SAFETY: `complete` said so, and we are being dropped.
            unsafe { self.outlived() };
        }
    }
}

/// Who we run for, if that is the thread that we run on.
#[inline(always)]
fn this_runner() -> *const () {
    context::this_task().cast_const().cast()
}

/// The future of [`Reply::abandoned`]. Cancel-safe.
#[must_use = "futures do nothing unless awaited"]
pub struct Abandoned<'a, R> {
    reply: &'a mut Reply<R>,
}

impl<R> Future for Abandoned<'_, R> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let slot = self.reply.slot();
        loop {
            if slot.cell.is_abandoned() {
                return Poll::Ready(());
            }
            // A signal may be left over from the slot's last use: then look again.
            if !poll_cell(&slot.receiver, cx) {
                return Poll::Pending;
            }
        }
    }
}
