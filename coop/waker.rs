// SPDX-License-Identifier: GPL-2.0

//! Wakers: of coroutines, and of threads that wait for something of a domain.

use crate::executor::Executor;
use crate::sys::context::current_task;
use crate::sys::thread::Thread;
use crate::task::{Header, TaskRef};
use crate::wait_cell::{WaitCell, Waiter};
use core::cell::UnsafeCell;
use core::marker::PhantomPinned;
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};
use core::task::{Context, RawWaker, RawWakerVTable, Waker};
use kernel::prelude::*;

// Statics, not constants: a waker may outlive the module that holds the coroutine, so that its
// table has to lie here, and never be copied into the crate that names it.
static TASK_WAKER: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

/// # Safety
///
/// `data` is a header with a reference that belongs to the waker.
unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: Per the function's contract the header is valid.
    unsafe { &*data.cast::<Header>() }.state().get();
    RawWaker::new(data, &TASK_WAKER)
}

/// # Safety
///
/// As for [`clone`]; the reference is used up.
unsafe fn wake(data: *const ()) {
    // SAFETY: Per the function's contract the reference is ours.
    unsafe { TaskRef::from_header(NonNull::new_unchecked(data.cast_mut().cast())) }.wake();
}

/// # Safety
///
/// As for [`clone`].
unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: Per the function's contract the header is valid.
    unsafe { &*data.cast::<Header>() }.wake();
}

/// # Safety
///
/// As for [`wake`].
unsafe fn drop_waker(data: *const ()) {
    // SAFETY: Per the function's contract the reference is ours.
    drop(unsafe { TaskRef::from_header(NonNull::new_unchecked(data.cast_mut().cast())) });
}

// As `TASK_WAKER`. The waker that coroutines are polled with: it stands for the one that its
// executor polls at the moment, so that one waker, and one context, serves them all.
static CURRENT_WAKER: RawWakerVTable =
    RawWakerVTable::new(clone_current, wake_current, wake_current, drop_current);

/// # Safety
///
/// `data` is an executor that polls a coroutine.
#[inline]
unsafe fn current<'a>(data: *const ()) -> &'a Header {
    // SAFETY: Per the function's contract; the coroutine that is being polled is valid.
    unsafe { &*(*data.cast::<Executor>()).current() }
}

/// # Safety
///
/// As for [`current`].
unsafe fn clone_current(data: *const ()) -> RawWaker {
    // SAFETY: Per the function's contract.
    let task = TaskRef::of(unsafe { current(data) });
    RawWaker::new(task.into_header().as_ptr().cast_const().cast(), &TASK_WAKER)
}

/// # Safety
///
/// As for [`current`].
unsafe fn wake_current(data: *const ()) {
    // SAFETY: Per the function's contract.
    unsafe { current(data) }.wake();
}

/// # Safety
///
/// None: does nothing. The waker has no reference.
unsafe fn drop_current(_data: *const ()) {}

/// The context that an executor polls its coroutines with, and the waker in it: made once.
///
/// The waker is lent to a coroutine for the duration of its poll: whoever uses it does so while that
/// coroutine is the one being polled. Since a `Context` is neither `Send` nor `Sync`, whoever has a
/// reference to this one is in such a poll, on the runner's thread.
///
/// # Invariants
///
/// `waker` is that of the executor that this is a field of. `context` is accessed by its runner only.
#[pin_data]
pub(crate) struct PollContext {
    waker: ManuallyDrop<Waker>,
    context: UnsafeCell<Context<'static>>,
    #[pin]
    _pin: PhantomPinned,
}

impl PollContext {
    /// That of `executor`, which it is to be a field of.
    pub(crate) fn new(executor: *const Executor) -> impl PinInit<Self> {
        pin_init!(&this in Self {
            // SAFETY: The functions of the table keep the contract of `RawWaker`.
            waker: ManuallyDrop::new(unsafe { Waker::new(executor.cast(), &CURRENT_WAKER) }),
            // SAFETY: The waker lies there already, and stays where it is, being pinned, as long as
            // the executor does. The reference leaves that only as one of a poll's length.
            context: UnsafeCell::new(Context::from_waker(unsafe {
                &*(&raw const (*this.as_ptr()).waker).cast::<Waker>()
            })),
            _pin: PhantomPinned,
        })
    }

    /// Its address, to compare with.
    #[inline(always)]
    pub(crate) fn address(&self) -> usize {
        self.context.get().addr()
    }

    /// Runs `f` with the context.
    ///
    /// # Safety
    ///
    /// The caller is the runner, and not being polled.
    #[inline(always)]
    pub(crate) unsafe fn with<R>(&self, f: impl FnOnce(&mut Context<'_>) -> R) -> R {
        // SAFETY: Per the function's contract nobody else has a reference.
        f(unsafe { &mut *self.context.get() })
    }
}

/// Runs `f` with a context for the coroutines that `executor` polls meanwhile. Runner only.
#[inline(always)]
pub(crate) fn with_context<R>(executor: &Executor, f: impl FnOnce(&mut Context<'_>) -> R) -> R {
    // SAFETY: The callers are the runner, and poll from outside of any coroutine.
    unsafe { executor.context.with(f) }
}

// As `TASK_WAKER`. The waker of a coroutine that outlives it: it has no reference.
static BORROWED_WAKER: RawWakerVTable =
    RawWakerVTable::new(clone, wake_by_ref, wake_by_ref, drop_current);

/// A waker of `task` that costs nothing to make and to drop.
///
/// # Safety
///
/// It is dropped before the coroutine is freed.
#[inline]
pub(crate) unsafe fn borrowed_waker(task: &Header) -> Waker {
    // SAFETY: The functions of the table keep the contract of `RawWaker`; per the function's
    // contract the header is valid as long as the waker is there.
    unsafe { Waker::new(ptr::from_ref(task).cast(), &BORROWED_WAKER) }
}

/// The coroutine that `waker` wakes, if it is one of a domain.
#[inline]
pub(crate) fn header_of(waker: &Waker) -> Option<&Header> {
    if core::ptr::eq(waker.vtable(), &CURRENT_WAKER) {
        // SAFETY: A waker with this table is lent for a poll.
        return Some(unsafe { current(waker.data()) });
    }
    // SAFETY: A waker with this table was made from a valid header.
    core::ptr::eq(waker.vtable(), &TASK_WAKER).then(|| unsafe { &*waker.data().cast::<Header>() })
}

/// The executor that polls with `waker` at the moment, if it is that kind of waker.
#[inline]
pub(crate) fn executor_of(waker: &Waker) -> Option<&Executor> {
    core::ptr::eq(waker.vtable(), &CURRENT_WAKER).then(|| {
        // SAFETY: A waker with this table is lent for a poll by the executor.
        unsafe { &*waker.data().cast::<Executor>() }
    })
}

// As `TASK_WAKER`.
static THREAD_WAKER: RawWakerVTable =
    RawWakerVTable::new(clone_thread, wake_thread, wake_thread_by_ref, drop_thread);

/// Runs `f` with `data` as a borrowed thread.
///
/// # Safety
///
/// `data` is a thread with a reference that belongs to the waker.
unsafe fn with_thread<R>(data: *const (), f: impl FnOnce(&Thread) -> R) -> R {
    // SAFETY: Per the function's contract; the reference stays with the waker.
    let thread = unsafe { Thread::from_raw(NonNull::new_unchecked(data.cast_mut().cast())) };
    f(&ManuallyDrop::new(thread))
}

/// # Safety
///
/// As for [`with_thread`].
unsafe fn clone_thread(data: *const ()) -> RawWaker {
    // SAFETY: Per the function's contract.
    let thread = unsafe { with_thread(data, Thread::clone) };
    RawWaker::new(thread.into_raw().as_ptr().cast(), &THREAD_WAKER)
}

/// # Safety
///
/// As for [`with_thread`]; the reference is used up.
unsafe fn wake_thread(data: *const ()) {
    // SAFETY: Per the function's contract.
    unsafe {
        wake_thread_by_ref(data);
        drop_thread(data);
    }
}

/// # Safety
///
/// As for [`with_thread`].
unsafe fn wake_thread_by_ref(data: *const ()) {
    // SAFETY: Per the function's contract.
    unsafe { with_thread(data, Thread::wake) };
}

/// # Safety
///
/// As for [`wake_thread`].
unsafe fn drop_thread(data: *const ()) {
    // SAFETY: Per the function's contract the reference is ours.
    drop(unsafe { Thread::from_raw(NonNull::new_unchecked(data.cast_mut().cast())) });
}

/// Runs `f` with a context whose waker wakes the current thread. Takes no reference. `None` in
/// softirq, hard interrupt and NMI.
pub(crate) fn with_thread_context<R>(f: impl FnOnce(&mut Context<'_>) -> R) -> Option<R> {
    let thread = current_task();
    if thread.is_null() {
        return None;
    }
    // SAFETY: The functions of the table keep the contract of `RawWaker`; the current thread lives
    // while `f` runs; the waker is not dropped, so the reference that it does not have is not given
    // back.
    let waker = ManuallyDrop::new(unsafe { Waker::new(thread.cast_const().cast(), &THREAD_WAKER) });
    Some(f(&mut Context::from_waker(&waker)))
}

/// Who waits, a coroutine or a thread, in one word: what a [`WaitCell`] holds.
pub(crate) enum WakeRef {
    /// A coroutine.
    Task(TaskRef),
    /// A thread.
    Thread(Thread),
}

impl WakeRef {
    /// Who is polling with `cx`: a coroutine of a domain, or a thread in one of the blocking
    /// functions of this crate. `None` for anybody else's wakers.
    #[inline]
    pub(crate) fn from_context(cx: &Context<'_>) -> Option<Self> {
        let waker = cx.waker();
        if let Some(header) = header_of(waker) {
            return Some(WakeRef::Task(TaskRef::of(header)));
        }
        if !core::ptr::eq(waker.vtable(), &THREAD_WAKER) {
            return None;
        }
        // SAFETY: A waker with this table was made from a thread.
        Some(WakeRef::Thread(unsafe {
            with_thread(waker.data(), Thread::clone)
        }))
    }

    /// Whether both wake the same.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (WakeRef::Task(a), WakeRef::Task(b)) => core::ptr::eq(a.header(), b.header()),
            (WakeRef::Thread(a), WakeRef::Thread(b)) => a.as_ptr() == b.as_ptr(),
            _ => false,
        }
    }

    /// Whether it is more urgent than most threads are.
    pub(crate) fn is_urgent(&self) -> bool {
        match self {
            WakeRef::Task(_) => false,
            WakeRef::Thread(thread) => thread.is_urgent(),
        }
    }

    /// Wakes it. Any context but NMI.
    #[inline]
    pub(crate) fn wake(self) {
        match self {
            WakeRef::Task(task) => task.wake(),
            WakeRef::Thread(thread) => thread.wake(),
        }
    }

    /// Wakes it for what it was sent: runs its domain if that is an idle `Bh` one. Any context but
    /// NMI.
    #[inline]
    pub(crate) fn wake_posted(self) {
        match self {
            WakeRef::Task(task) => task.header().wake_posted(),
            WakeRef::Thread(thread) => thread.wake(),
        }
    }
}

/// The word that [`WakeRef::from_context`] would turn into, for a comparison.
#[inline]
pub(crate) fn word_of(cx: &Context<'_>) -> Option<NonNull<()>> {
    let waker = cx.waker();
    if let Some(header) = header_of(waker) {
        return Some(NonNull::from(header).cast());
    }
    let data = NonNull::new(waker.data().cast_mut())?;
    core::ptr::eq(waker.vtable(), &THREAD_WAKER).then(|| data.map_addr(|a| a | THREAD))
}

/// Consumes the signal of `cell` (`true`), or leaves who polls with `cx` to be woken (`false`).
#[inline]
pub(crate) fn poll_cell(cell: &WaitCell<WakeRef>, cx: &Context<'_>) -> bool {
    if cell.try_wait() {
        return true;
    }
    // As after a spurious wake-up: the reference that the cell has is good enough.
    if word_of(cx).is_some_and(|word| cell.is_waiting(word)) {
        return false;
    }
    match WakeRef::from_context(cx) {
        Some(me) => cell.poll_wait(|| me),
        None => {
            // Somebody else's waker, which has no place in the cell: ask again and again.
            cx.waker().wake_by_ref();
            false
        }
    }
}

const THREAD: usize = 2;

// SAFETY: Headers and threads are aligned to 4 at least; the bit that tells them apart is bit 1.
unsafe impl Waiter for WakeRef {
    #[inline]
    fn into_raw(self) -> NonNull<()> {
        match self {
            WakeRef::Task(task) => task.into_header().cast(),
            WakeRef::Thread(thread) => thread.into_raw().cast::<()>().map_addr(|a| a | THREAD),
        }
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<()>) -> Self {
        if raw.addr().get() & THREAD == 0 {
            // SAFETY: Per the function's contract, from `into_raw`.
            WakeRef::Task(unsafe { TaskRef::from_header(raw.cast()) })
        } else {
            let thread = raw.as_ptr().map_addr(|a| a & !THREAD).cast();
            // SAFETY: As above.
            WakeRef::Thread(unsafe { Thread::from_raw(NonNull::new_unchecked(thread)) })
        }
    }
}
