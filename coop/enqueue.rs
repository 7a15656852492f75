// SPDX-License-Identifier: GPL-2.0

//! How a coroutine comes into the queues of its domain: that of the runner, if it is the runner who
//! puts it there, else the one that everybody reaches.

use crate::executor::Executor;
use crate::sys::bh;
use crate::sys::context;
use crate::sys::thread::Thread;
use crate::task::Header;
use crate::task_state::Woken;
use crate::wake_queue::Push;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::*;

impl Executor {
    /// Queues a coroutine that was woken. Any context but NMI. When the domain is gone nothing is
    /// queued, and nothing is lost: the coroutine has ended.
    ///
    /// # Safety
    ///
    /// The caller has a reference, and changed the coroutine's state from `IDLE`.
    #[cold]
    #[inline(never)]
    pub(crate) unsafe fn enqueue(task: &Header) {
        let this = task.executor();
        if this.is_inside() {
            // SAFETY: The caller owns the link; the executor's reference keeps it valid.
            unsafe { this.push_local(NonNull::from(task)) };
        } else {
            // SAFETY: As above.
            let _ = unsafe { this.push_remote(NonNull::from(task)) };
        }
    }

    /// [`enqueue`](Self::enqueue) for a coroutine of normal priority: a dozen instructions, if that
    /// is done by the thread that runs the domain.
    ///
    /// # Safety
    ///
    /// As for [`enqueue`](Self::enqueue).
    #[inline(always)]
    pub(crate) unsafe fn enqueue_normal(task: &Header) {
        let this = task.executor();
        if context::is_current(this.runner_thread()) {
            // SAFETY: We are the runner; as in `push_local`.
            unsafe {
                (*this.local.get())
                    .queue
                    .push_normal(NonNull::from(task).cast())
            };
        } else {
            // SAFETY: Per the function's contract.
            unsafe { Self::enqueue_from_elsewhere(task) };
        }
    }

    /// [`enqueue`](Self::enqueue) for others than the thread that runs the domain. (Takes what its
    /// callers have at hand, and is the last that they do: so they need no stack.)
    ///
    /// # Safety
    ///
    /// As for [`enqueue`](Self::enqueue).
    #[inline(never)]
    unsafe fn enqueue_from_elsewhere(task: &Header) {
        let this = task.executor();
        if bh::is_softirq(this.runner_thread()) {
            // SAFETY: Per the function's contract.
            unsafe { Self::enqueue(task) };
        } else {
            // SAFETY: As above. The executor's reference keeps the coroutine valid.
            let _ = unsafe { this.push_remote(NonNull::from(task)) };
        }
    }

    /// Wakes a coroutine of ours, as far as it goes without the home thread; whether that is to be woken,
    /// too. In hard interrupts, which are never the runner.
    #[inline(always)]
    pub(crate) fn queue_in_interrupt(&self, task: &Header) -> bool {
        task.state().schedule() != Woken::Already
            // SAFETY: The caller has a reference, and `schedule` said that we own the link. When the
            // domain is gone nothing is lost, as in `enqueue`.
            && unsafe { self.queue.0.push(NonNull::from(task).cast()) } == Push::Wake
    }

    /// Like [`enqueue`](Self::enqueue), for a coroutine that was sent something: the sender runs an
    /// idle `Bh` domain.
    ///
    /// # Safety
    ///
    /// As for [`enqueue`](Self::enqueue).
    #[inline]
    pub(crate) unsafe fn enqueue_posted(&self, header: NonNull<Header>) {
        if self.is_inside() {
            // SAFETY: As in `enqueue`.
            unsafe { self.push_local(header) };
            return;
        }
        // SAFETY: As above.
        if unsafe { self.queue.0.push(header.cast()) } == Push::Wake {
            if self.bh && self.shared {
                self.run_posted();
            } else {
                self.wake_home();
            }
        }
    }

    /// Queues a new coroutine; `false` if the domain is gone. Any context but NMI.
    ///
    /// # Safety
    ///
    /// The caller has just created the coroutine, and has a reference besides the executor's.
    pub(crate) unsafe fn enqueue_new(&self, header: NonNull<Header>) -> bool {
        if !self.is_inside() {
            // SAFETY: Per the function's contract.
            return unsafe { self.push_remote(header) };
        }
        if self.is_closed() {
            // A destructor that runs while the domain ends.
            return false;
        }
        // SAFETY: As above.
        unsafe { self.push_local(header) };
        true
    }

    /// # Safety
    ///
    /// The caller is the runner, and owns the coroutine's link.
    #[inline(always)]
    pub(crate) unsafe fn push_local(&self, header: NonNull<Header>) {
        // SAFETY: We are the runner, and do not call driver code while the reference lives. The
        // executor's reference keeps the coroutine valid.
        unsafe {
            let queue = &mut (*self.local.get()).queue;
            queue.push(header.cast(), header.as_ref().state().priority());
        }
    }

    /// # Safety
    ///
    /// The caller owns the coroutine's link.
    #[inline(always)]
    unsafe fn push_remote(&self, header: NonNull<Header>) -> bool {
        // SAFETY: The executor's reference keeps the coroutine valid.
        match unsafe { self.queue.0.push(header.cast()) } {
            Push::Queued => true,
            Push::Wake => {
                self.wake_home();
                true
            }
            Push::Closed => false,
        }
    }

    #[inline]
    pub(crate) fn wake_home(&self) {
        if let Some(home) = NonNull::new(self.home.load(Acquire)) {
            // SAFETY: By the invariant a thread with a reference, which stays with us.
            let home = ManuallyDrop::new(unsafe { Thread::from_raw(home) });
            home.wake();
        }
    }
}
