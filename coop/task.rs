// SPDX-License-Identifier: GPL-2.0

//! Coroutines: a header that every domain understands, and behind it the future, then its output.
//!
//! The life of a coroutine is told in [`task_state`](crate::task_state). Who may touch what:
//!
//! - `state`, `join`: everybody, they are atomic;
//! - `link`: who set `SCHEDULED`, until it is in a queue; then the queue;
//! - `vtable`, `name`, `all`, and the future: the runner;
//! - the output: the runner until `DONE`, then whoever [`TaskState`] says.

use crate::executor::Executor;
use crate::roster::Neighbours;
use crate::run_queue::Priority;
use crate::sys::context::Context as Where;
use crate::task_state::{TaskState, Woken};
use crate::wait_cell::WaitCell;
use crate::wake_queue::Link;
use crate::waker::WakeRef;
use core::cell::Cell;
use core::future::Future;
use core::mem::{align_of, offset_of, size_of, ManuallyDrop};
use core::pin::Pin;
use core::ptr::{self, NonNull};
use core::task::{Context, Poll};
use kernel::prelude::*;
use kernel::sync::Arc;

/// What the header needs to know of the future's type.
pub(crate) struct VTable {
    /// Polls the future; when it is ready, drops it and leaves the output in its place, and says so
    /// to the executor. (To return it would cost every other poll an instruction on either side, and
    /// the tail call in which many end.)
    poll: unsafe fn(NonNull<Header>, &mut Context<'_>),
    /// Drops the future.
    drop_future: unsafe fn(NonNull<Header>),
    /// Drops the output.
    drop_output: unsafe fn(NonNull<Header>),
    /// Bytes of the coroutine, header included.
    size: usize,
}

/// # Safety
///
/// None: does nothing.
unsafe fn nothing(_header: NonNull<Header>) {}

/// # Safety
///
/// None: does nothing.
unsafe fn never_ready(_header: NonNull<Header>, _cx: &mut Context<'_>) {}

/// The table of a coroutine whose future is gone. The driver's own may be unloaded by then.
static DEAD: VTable = VTable {
    poll: never_ready,
    drop_future: nothing,
    drop_output: nothing,
    size: 0,
};

static DEAD_NAME: &CStr = c"(done)";

/// The part of a coroutine that does not depend on its type: 64 bytes, one cache line.
///
/// # Invariants
///
/// - `executor` is a reference to the domain's executor that belongs to the header.
/// - As long as the coroutine is not `DONE`, `vtable` is that of the future behind the header.
#[repr(C, align(64))]
pub struct Header {
    pub(crate) link: Link,
    state: TaskState,
    vtable: Cell<&'static VTable>,
    executor: *const Executor,
    pub(crate) all: Neighbours,
    join: WaitCell<WakeRef>,
    name: Cell<*const kernel::ffi::c_char>,
}

/// Bytes that a coroutine takes besides its future (or the future's output, if that is larger).
pub const TASK_HEADER_BYTES: usize = size_of::<Header>();

const _: () = assert!(TASK_HEADER_BYTES <= 64);
// `Link`s become `Header`s by a cast.
const _: () = assert!(offset_of!(Header, link) == 0);

impl Header {
    /// Who awaits the end.
    #[inline]
    pub(crate) fn join(&self) -> &WaitCell<WakeRef> {
        &self.join
    }

    /// State word and reference count.
    #[inline]
    pub(crate) fn state(&self) -> &TaskState {
        &self.state
    }

    /// The domain.
    #[inline]
    pub(crate) fn executor(&self) -> &Executor {
        // SAFETY: By the type's invariant the header keeps the executor alive.
        unsafe { &*self.executor }
    }

    /// The coroutine's name. Runner only.
    pub(crate) fn name(&self) -> &CStr {
        // SAFETY: `name` points to a `CStr`, of the driver until `DONE`, of this module after; the
        // runner, which is the caller, is the one who changes it.
        unsafe { CStr::from_char_ptr(self.name.get()) }
    }

    /// The coroutine's name, as long as the driver is there. Runner only.
    #[inline]
    pub(crate) fn name_ptr(&self) -> *const kernel::ffi::c_char {
        self.name.get()
    }

    /// Where the future's code belongs. Runner only.
    pub(crate) fn code(&self) -> *const () {
        ptr::from_ref(self.vtable.get()).cast()
    }

    /// Whether `part` lies in the coroutine's future. Runner only.
    pub(crate) fn contains<P>(&self, part: &P) -> bool {
        let offset = ptr::from_ref(part)
            .addr()
            .wrapping_sub(ptr::from_ref(self).addr());
        offset < self.vtable.get().size
    }

    /// Schedules the coroutine. Any context but NMI.
    ///
    /// One read-modify-write if it was woken already, and one more if it is woken from outside,
    /// where a `wake_up_process` may follow if its domain is idle.
    #[inline]
    pub(crate) fn wake(&self) {
        match self.state.schedule() {
            Woken::Already => (),
            // SAFETY: The caller has a reference; the domain keeps its own until the coroutine has
            // come out of the queue; `schedule` said that we own the link.
            Woken::Queue => unsafe { Executor::enqueue_normal(self) },
            // SAFETY: As above.
            Woken::QueueApart => unsafe { Executor::enqueue(self) },
        }
    }

    /// Schedules the coroutine, which was sent something. Any context but NMI.
    #[inline]
    pub(crate) fn wake_posted(&self) {
        if self.state.schedule() != Woken::Already {
            // SAFETY: As in `wake`.
            unsafe { self.executor().enqueue_posted(NonNull::from(self)) };
        }
    }

    /// Asks the runner to drop the future. Any context but NMI.
    pub(crate) fn abort(&self) {
        if self.state.abort() != Woken::Already {
            // SAFETY: As in `wake`.
            unsafe { Executor::enqueue(self) };
        }
    }

    /// Changes the priority, and wakes the coroutine. Any context but NMI.
    pub(crate) fn set_priority(&self, priority: Priority) {
        if self.state.set_priority(priority) != Woken::Already {
            // SAFETY: As in `wake`.
            unsafe { Executor::enqueue(self) };
        } else {
            self.executor().refile_soon();
        }
    }

    /// Polls the future; the executor is [told](Executor::poll_is_ready) when it is ready, after
    /// which the coroutine is to be finished.
    ///
    /// # Safety
    ///
    /// The caller is the runner, the coroutine is not `DONE`, and `cx` is the context that the
    /// executor passes to coroutines, this one being the one that is polled.
    #[inline(always)]
    pub(crate) unsafe fn poll(this: NonNull<Header>, cx: &mut Context<'_>) {
        // SAFETY: The header is valid, and `vtable` is the future's.
        unsafe { (this.as_ref().vtable.get().poll)(this, cx) }
    }

    /// Ends the coroutine; the domain's reference stays.
    ///
    /// # Safety
    ///
    /// The caller is the runner and the coroutine is not `DONE`; with [`End::Ready`], its last poll
    /// was ready.
    pub(crate) unsafe fn finish(this: NonNull<Header>, end: End) {
        // SAFETY: The caller has a reference.
        let header = unsafe { this.as_ref() };
        let vtable = header.vtable.get();
        if end == End::Cancel {
            // SAFETY: The future is there: the coroutine is not `DONE`, and was not ready.
            unsafe { (vtable.drop_future)(this) };
        }
        // INVARIANT: From here on nothing of the driver can be reached.
        header.vtable.set(&DEAD);
        header.name.set(DEAD_NAME.as_char_ptr());
        let finish = header.state.finish(end == End::Ready);
        if finish.drop_output {
            // SAFETY: The output is in place, and ours: there was no join handle at `finish`.
            unsafe { (vtable.drop_output)(this) };
        }
        if let Some(waiter) = header.join.signal() {
            waiter.wake();
        }
    }
}

/// How a coroutine ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The future is gone and has left its output.
    Ready,
    /// The future is to be dropped.
    Cancel,
    /// The future died in the middle of a poll, and must not be touched: it is leaked.
    Leak,
}

/// A coroutine with its future, then its output, right behind the header.
#[repr(C)]
struct Task<F: Future> {
    header: Header,
    body: Body<F>,
}

#[repr(C)]
union Body<F: Future> {
    future: ManuallyDrop<F>,
    output: ManuallyDrop<F::Output>,
}

impl<F: Future> Task<F> {
    const VTABLE: &'static VTable = &VTable {
        poll: Self::poll,
        drop_future: Self::drop_future,
        drop_output: Self::drop_output,
        size: size_of::<Self>(),
    };

    /// # Safety
    ///
    /// `this` is the header of a `Task<F>`, not `DONE`, and the caller is the runner.
    unsafe fn poll(this: NonNull<Header>, cx: &mut Context<'_>) {
        let task = this.cast::<Self>().as_ptr();
        // SAFETY: The future is there, only the runner touches it, and it does not move.
        let future = unsafe { Pin::new_unchecked(&mut *(*task).body.future) };
        let Poll::Ready(output) = future.poll(cx) else {
            return;
        };
        // SAFETY: As above; the future is dropped once, and the output takes its place.
        unsafe {
            ManuallyDrop::drop(&mut (*task).body.future);
            ptr::write(&raw mut (*task).body.output, ManuallyDrop::new(output));
            (*task).header.executor().poll_is_ready();
        }
    }

    /// # Safety
    ///
    /// As for `poll`.
    unsafe fn drop_future(this: NonNull<Header>) {
        // SAFETY: The future is there, and only the runner touches it.
        unsafe { ManuallyDrop::drop(&mut (*this.cast::<Self>().as_ptr()).body.future) };
    }

    /// # Safety
    ///
    /// `this` is the header of a `Task<F>` with its output in place, which is the caller's.
    unsafe fn drop_output(this: NonNull<Header>) {
        // SAFETY: Per the function's contract.
        unsafe { ManuallyDrop::drop(&mut (*this.cast::<Self>().as_ptr()).body.output) };
    }
}

/// A counted reference to a coroutine.
///
/// # Invariants
///
/// The header is valid, and a reference of it belongs to this value.
pub struct TaskRef(NonNull<Header>);

// SAFETY: A reference can be used to wake, abort and count only, all of which is atomic.
unsafe impl Send for TaskRef {}
// SAFETY: As above.
unsafe impl Sync for TaskRef {}

impl TaskRef {
    /// Another reference to the coroutine of `header`.
    #[inline]
    pub(crate) fn of(header: &Header) -> Self {
        header.state.get();
        // INVARIANT: The reference was just taken.
        TaskRef(NonNull::from(header))
    }

    /// # Safety
    ///
    /// A reference is handed over.
    #[inline]
    pub(crate) unsafe fn from_header(header: NonNull<Header>) -> Self {
        // INVARIANT: Per the function's contract.
        TaskRef(header)
    }

    /// Hands the reference over.
    #[inline]
    pub(crate) fn into_header(self) -> NonNull<Header> {
        ManuallyDrop::new(self).0
    }

    /// The header.
    #[inline]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: By the type's invariant.
        unsafe { self.0.as_ref() }
    }

    /// Where the output is, if it is there.
    #[inline]
    pub(crate) fn output<T>(&self) -> NonNull<T> {
        // SAFETY: Something of the future's or the output's size is right behind the header, as
        // `allocate` has made sure.
        unsafe { self.0.add(1) }.cast()
    }

    /// Schedules the coroutine. Any context but NMI.
    #[inline]
    pub(crate) fn wake(self) {
        self.header().wake();
    }
}

impl Drop for TaskRef {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The reference is ours.
        unsafe { put(self.0) };
    }
}

/// Drops a reference, and frees the coroutine with the last. Any context but NMI.
///
/// # Safety
///
/// The reference is the caller's.
#[inline]
pub(crate) unsafe fn put(header: NonNull<Header>) {
    // SAFETY: Per the function's contract the header is valid.
    if unsafe { header.as_ref() }.state.put() {
        // SAFETY: That was the last reference.
        unsafe { free(header) };
    }
}

/// # Safety
///
/// Nobody has a reference any more. Future and output are gone: the domain's reference is dropped
/// after the future, the join handle's after the output.
#[cold]
unsafe fn free(header: NonNull<Header>) {
    // SAFETY: The header is valid; its reference to the executor is given back, once.
    unsafe {
        drop(Arc::from_raw(header.as_ref().executor));
        ptr::drop_in_place(&raw mut (*header.as_ptr()).join);
    }
    // SAFETY: It was allocated by `KBox` (`kmalloc`), whose free function needs no size. What is
    // not dropped, `Body`, is a union without content by now.
    unsafe { kernel::bindings::kfree(header.as_ptr().cast()) };
}

/// Allocates a coroutine; the domain's reference is returned, to be queued, and a second one.
///
/// One allocation. `ENOMEM`, in which case the future is dropped here.
pub(crate) fn allocate<F>(
    executor: Arc<Executor>,
    name: &'static CStr,
    future: F,
    context: Where,
    priority: Priority,
) -> Result<(NonNull<Header>, TaskRef)>
where
    F: Future,
{
    const {
        // The output is found behind the header without knowledge of the future.
        assert!(align_of::<Body<F>>() <= align_of::<Header>());
        assert!(offset_of!(Task<F>, body) == size_of::<Header>());
    }
    // Before the executor's reference is turned into a pointer, nothing may fail.
    let memory = KBox::<Task<F>>::new_uninit(context.alloc_flags().ok_or(EAGAIN)?)?;
    let task = memory.write(Task {
        header: Header {
            link: Link::new(),
            state: TaskState::new(true, priority),
            vtable: Cell::new(Task::<F>::VTABLE),
            // INVARIANT: The reference belongs to the header now.
            executor: Arc::into_raw(executor),
            all: Neighbours::none(),
            join: WaitCell::new(),
            name: Cell::new(name.as_char_ptr()),
        },
        body: Body {
            future: ManuallyDrop::new(future),
        },
    });
    // SAFETY: Not null, being a box.
    let header = unsafe { NonNull::new_unchecked(KBox::into_raw(task)) }.cast::<Header>();
    // INVARIANT: `TaskState::new(true)` counted it.
    Ok((header, TaskRef(header)))
}
