// SPDX-License-Identifier: GPL-2.0

//! What runs the coroutines of one domain: its queues, its home thread's loop, its end.

use crate::stats::Stats;
use crate::sys::context::{self, cond_resched};
use crate::sys::exit::{ExitHook, OnExit};
use crate::sys::module::GoingModule;
use crate::sys::thread::{self, Body, Thread};
use crate::task::{self, End, Header};
use crate::task_state::Start;
use crate::wake_queue::{LocalQueue, Push, WakeQueue};
use core::cell::UnsafeCell;
use core::ptr::{self, NonNull};
use core::sync::atomic::{fence, AtomicBool, AtomicPtr, Ordering::*};
use kernel::bindings;
use kernel::prelude::*;
use kernel::str::CString;
use kernel::sync::{new_spinlock, Arc, Completion, SpinLock};

/// Whoever has others waiting for coroutines of the domain.
pub(crate) trait OwnerDied: Send + Sync {
    /// A fault ended the domain; all that could be dropped has been. Must not sleep.
    fn owner_died(&self);

    /// Whether nobody can be waiting any more, nor ever will.
    fn is_retired(&self) -> bool;
}

/// Polls between two looks at whether to stop, and whether other threads want the CPU.
const BUDGET: usize = 64;

/// What only the runner touches.
struct Local {
    queue: LocalQueue,
    /// The newest of all coroutines that were seen and have not ended.
    all: *const Header,
    /// Nothing is queued any more.
    closing: bool,
}

/// Stands for "none before" in the list of all coroutines; null is "not in the list".
const FIRST: *const Header = ptr::without_provenance(1);

/// A request to drop the coroutines of a module that is about to go.
#[pin_data]
struct Purge {
    module: *const GoingModule,
    #[pin]
    done: Completion,
}

/// Separates what senders write from what the runner writes.
#[repr(align(64))]
struct CacheLine<T>(T);

/// The executor of a domain. Outlives the domain as long as somebody has a waker.
///
/// # Invariants
///
/// - `runner` is the thread that runs coroutines of the domain, or null; only that thread sets it
///   to itself. Who finds itself there, in task context, is the runner.
/// - `local` is accessed by the runner only, and no reference to its content is held while driver
///   code runs.
/// - Every coroutine that is not `DONE` has a reference that belongs to the executor.
/// - `home` is a thread with a reference, or null until the home thread is made.
#[pin_data(PinnedDrop)]
pub struct Executor {
    queue: CacheLine<WakeQueue>,
    runner: CacheLine<AtomicPtr<bindings::task_struct>>,
    home: AtomicPtr<bindings::task_struct>,
    /// The coroutine that is being polled, or was last; null since one has ended.
    polling: AtomicPtr<Header>,
    faulted: AtomicBool,
    /// The home thread is to end.
    stop: AtomicBool,
    /// A module whose coroutines are to be dropped; null when that is done.
    purging: AtomicPtr<Purge>,
    local: UnsafeCell<Local>,
    pub(crate) stats: Stats,
    name: CString,
    /// Those who have to be told if the domain dies.
    #[pin]
    wards: SpinLock<KVec<Arc<dyn OwnerDied>>>,
    #[pin]
    exit: ExitHook<Self>,
    /// The home thread has begun, and owes `ended`.
    started: AtomicBool,
    /// The domain has ended. (That the thread has, says less: one that a fault kills has work to do
    /// after `kthread_stop` takes it for gone.)
    #[pin]
    ended: Completion,
    /// Nothing of the domain is left in the registry either.
    #[pin]
    pub(crate) gone: Completion,
}

// SAFETY: See the type's invariants for `local`; all else is atomic or immutable.
unsafe impl Send for Executor {}
// SAFETY: As above.
unsafe impl Sync for Executor {}

impl Executor {
    pub(crate) fn new(name: CString) -> impl PinInit<Self> {
        pin_init!(Self {
            queue: CacheLine(WakeQueue::new()),
            runner: CacheLine(AtomicPtr::new(ptr::null_mut())),
            home: AtomicPtr::new(ptr::null_mut()),
            polling: AtomicPtr::new(ptr::null_mut()),
            faulted: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            purging: AtomicPtr::new(ptr::null_mut()),
            local: UnsafeCell::new(Local {
                queue: LocalQueue::new(),
                all: ptr::null(),
                closing: false,
            }),
            stats: Stats::new(),
            name,
            wards <- new_spinlock!(KVec::new(), "coop_wards"),
            exit <- ExitHook::new(),
            started: AtomicBool::new(false),
            ended <- Completion::new(),
            gone <- Completion::new(),
        })
    }

    /// Makes `thread` the home thread, before it starts.
    pub(crate) fn set_home(&self, thread: &Thread) {
        // INVARIANT: A thread with a reference; it was null before.
        self.home.store(thread.clone().into_raw().as_ptr(), Release);
    }

    /// The domain's name.
    pub(crate) fn name(&self) -> &CStr {
        &self.name
    }

    /// Whether the caller is a coroutine of this domain (or a destructor that its runner calls).
    ///
    /// Any context; about 12 instructions. Nothing but being the runner makes this true.
    #[inline]
    pub(crate) fn is_inside(&self) -> bool {
        let runner = self.runner.0.load(Relaxed);
        // An interrupt on top of the runner has no `current_task()`.
        !runner.is_null() && runner == context::current_task()
    }

    /// Whether a coroutine has panicked, or otherwise killed its thread.
    #[inline]
    pub(crate) fn is_faulted(&self) -> bool {
        self.faulted.load(Acquire)
    }

    /// Has `ward` told if a fault ends the domain. Task context. `ENOMEM`, `ECANCELED`.
    pub(crate) fn tell_if_it_dies(&self, ward: Arc<dyn OwnerDied>) -> Result {
        let mut wards = self.wards.lock();
        // `tear_down` closes, then empties the list under the lock.
        if self.is_closed() {
            return Err(self.end_error());
        }
        wards.retain(|ward| !ward.is_retired());
        Ok(wards.push(ward, GFP_ATOMIC)?)
    }

    /// Whether the domain accepts nothing any more.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.queue.0.is_closed()
    }

    /// The error that those who wait for the domain get when it ends.
    pub(crate) fn end_error(&self) -> Error {
        if self.is_faulted() {
            EOWNERDEAD
        } else {
            ECANCELED
        }
    }

    /// Queues a coroutine; `false` if the domain is gone. Any context but NMI.
    ///
    /// # Safety
    ///
    /// The caller has a reference, and set `SCHEDULED` (or created the coroutine).
    #[inline]
    pub(crate) unsafe fn enqueue(&self, header: NonNull<Header>) -> bool {
        if self.is_inside() {
            // SAFETY: We are the runner, and do not call driver code while the reference lives.
            let local = unsafe { &mut *self.local.get() };
            if local.closing {
                return false;
            }
            self.stats.wakes_local.add(1);
            // SAFETY: The caller owns the link; the executor's reference keeps it valid.
            unsafe { local.queue.push(header.cast()) };
            return true;
        }
        // SAFETY: As above.
        match unsafe { self.queue.0.push(header.cast()) } {
            Push::Queued => true,
            Push::Wake => {
                self.wake_home();
                true
            }
            Push::Closed => false,
        }
    }

    fn wake_home(&self) {
        if let Some(home) = NonNull::new(self.home.load(Acquire)) {
            // SAFETY: By the invariant a thread with a reference, which stays with us.
            let home = core::mem::ManuallyDrop::new(unsafe { Thread::from_raw(home) });
            home.wake();
        }
    }

    /// Takes in what was woken from outside.
    fn collect(&self) {
        let batch = self.queue.0.take();
        // SAFETY: Only called by the runner; no driver code runs while the reference lives.
        let n = unsafe { &mut *self.local.get() }.queue.append(batch);
        self.stats.wakes_remote.add(n as u64);
    }

    fn pop(&self) -> Option<NonNull<Header>> {
        // SAFETY: As in `collect`.
        unsafe { &mut *self.local.get() }
            .queue
            .pop()
            .map(NonNull::cast)
    }

    /// Runs coroutines until none is ready (`false`) or the budget is used up (`true`).
    fn run_some(&self) -> bool {
        let mut left = BUDGET;
        while left != 0 {
            if self.queue.0.has_work() {
                self.collect();
            }
            let Some(header) = self.pop() else {
                break;
            };
            // SAFETY: We are the runner, and it just came out of the queue.
            unsafe { self.run_one(header) };
            left = left.wrapping_sub(1);
        }
        self.stats.polls.add(BUDGET.wrapping_sub(left) as u64);
        left == 0
    }

    /// # Safety
    ///
    /// The caller is the runner, and `header` came out of a queue.
    #[inline]
    unsafe fn run_one(&self, header: NonNull<Header>) {
        // SAFETY: The executor's reference keeps it valid.
        let task = unsafe { header.as_ref() };
        match task.state().start_poll() {
            Start::Poll => {
                self.link(task);
                self.polling.store(header.as_ptr(), Relaxed);
                // SAFETY: We are the runner, and it is not `DONE`.
                let poll = unsafe { Header::poll(header) };
                self.stats.polled(|| task.name());
                if poll.is_ready() {
                    // SAFETY: As above.
                    unsafe { self.retire(header, End::Ready) };
                }
            }
            Start::Cancel => {
                self.link(task);
                // SAFETY: As above.
                unsafe { self.retire(header, End::Cancel) };
            }
            // SAFETY: The executor's reference, which outlived the coroutine for the queue's sake.
            Start::Reap => unsafe { task::put(header) },
        }
    }

    /// # Safety
    ///
    /// The caller is the runner, and the coroutine is linked and not `DONE`.
    unsafe fn retire(&self, header: NonNull<Header>, end: End) {
        self.polling.store(ptr::null_mut(), Relaxed);
        // SAFETY: The executor's reference keeps it valid.
        self.unlink(unsafe { header.as_ref() });
        // SAFETY: Per the function's contract.
        if unsafe { Header::finish(header, end) } {
            // SAFETY: The executor's reference; it is not in a queue.
            unsafe { task::put(header) };
        }
    }

    /// Puts a coroutine into the list of all, if it is new. Runner only.
    #[inline]
    fn link(&self, task: &Header) {
        if !task.all.prev.get().is_null() {
            return;
        }
        // SAFETY: Only called by the runner; no driver code runs while the reference lives.
        let local = unsafe { &mut *self.local.get() };
        task.all.prev.set(FIRST);
        task.all.next.set(local.all);
        // SAFETY: Coroutines in the list are valid.
        if let Some(next) = unsafe { local.all.as_ref() } {
            next.all.prev.set(task);
        }
        local.all = task;
        self.stats.spawned.add(1);
    }

    /// Takes a coroutine out of the list of all. Runner only.
    fn unlink(&self, task: &Header) {
        let (prev, next) = (task.all.prev.get(), task.all.next.get());
        if prev == FIRST {
            // SAFETY: Only called by the runner; no driver code runs meanwhile.
            unsafe { (*self.local.get()).all = next };
        } else {
            // SAFETY: Coroutines in the list are valid.
            unsafe { (*prev).all.next.set(next) };
        }
        // SAFETY: As above.
        if let Some(next) = unsafe { next.as_ref() } {
            next.all.prev.set(prev);
        }
        self.stats.finished.add(1);
    }

    /// Ends the domain: refuses new work, then drops all futures, those of the coroutines that ran
    /// first last. `poisoned` is the one that must not be touched, since it was being polled.
    ///
    /// Runner only.
    fn tear_down(&self, poisoned: *const Header) {
        let batch = self.queue.0.close();
        {
            // SAFETY: We are the runner; no driver code runs while the reference lives.
            let local = unsafe { &mut *self.local.get() };
            local.closing = true;
            local.queue.append(batch);
        }
        // First empty the queue: afterwards nothing is queued any more, whatever `SCHEDULED` says.
        while let Some(header) = self.pop() {
            // SAFETY: The executor's reference keeps it valid.
            let task = unsafe { header.as_ref() };
            match task.state().start_poll() {
                // SAFETY: The executor's reference.
                Start::Reap => unsafe { task::put(header) },
                Start::Poll | Start::Cancel => self.link(task),
            }
        }
        while let Some(header) = self.find(|_| true) {
            // SAFETY: Coroutines in the list are valid.
            self.unlink(unsafe { header.as_ref() });
            if ptr::eq(header.as_ptr(), poisoned) {
                // Its destructor would run on a half-changed state: leaked, with what it owns.
                // SAFETY: We are the runner, and it is not `DONE`. The reference is kept: what is
                // behind the header is still there.
                unsafe { Header::finish(header, End::Leak) };
                continue;
            }
            // SAFETY: We are the runner, and it is not `DONE`; the reference is the executor's, and
            // it is in no queue.
            unsafe {
                Header::finish(header, End::Cancel);
                task::put(header);
            }
        }
        // Pairs with the fence in `purge`. A request finds nothing left to drop.
        fence(SeqCst);
        let request = self.purging.swap(ptr::null_mut(), AcqRel);
        // SAFETY: Who made the request keeps it until it is completed.
        if let Some(purge) = unsafe { request.as_ref() } {
            purge.done.complete_all();
        }
        // Their code may be unloaded next.
        let wards = core::mem::take(&mut *self.wards.lock());
        if self.is_faulted() {
            for ward in &wards {
                ward.owner_died();
            }
        }
    }

    /// Whether the home thread has something to do besides running coroutines.
    fn is_wanted(&self) -> bool {
        self.stop.load(Relaxed) || !self.purging.load(Relaxed).is_null()
    }

    /// Drops all coroutines whose code belongs to `module`, which is about to go; waits until that
    /// is done. Task context, sleeps; one caller at a time (the registry's notifier).
    pub(crate) fn purge(&self, module: &GoingModule) {
        self.wards.lock().retain(|ward| !ward.is_retired());
        pin_init::stack_pin_init!(let purge = pin_init!(Purge {
            module: ptr::from_ref(module),
            done <- Completion::new(),
        }));
        let request = ptr::from_ref(&*purge).cast_mut();
        self.purging.store(request, Release);
        // Pairs with the fence in `tear_down`: it sees the request, or we see that it has begun.
        fence(SeqCst);
        if self.is_closed() && self.purging.swap(ptr::null_mut(), AcqRel) == request {
            return;
        }
        self.wake_home();
        purge.done.wait_for_completion();
    }

    /// The home thread's part of [`purge`](Self::purge).
    fn purge_now(&self) {
        if self.purging.load(Relaxed).is_null() {
            return;
        }
        let request = self.purging.swap(ptr::null_mut(), AcqRel);
        // SAFETY: Who made the request keeps it until it is completed.
        let Some(purge) = (unsafe { request.as_ref() }) else {
            return;
        };
        // SAFETY: As above.
        let module = unsafe { &*purge.module };
        // See those, too, that have not run yet.
        self.collect();
        // SAFETY: We are the runner; `link` changes the list of all, not the queue.
        unsafe { &(*self.local.get()).queue }.for_each(|link| {
            // SAFETY: Coroutines in the queue are valid.
            let task = unsafe { link.cast::<Header>().as_ref() };
            if task.state().outcome().is_none() {
                self.link(task);
            }
        });
        // From the start after each, since its destructor may have changed the list.
        while let Some(header) = self.find(|task| module.contains(task.code())) {
            // SAFETY: We are the runner; it is linked and not `DONE`.
            unsafe { self.retire(header, End::Cancel) };
        }
        purge.done.complete_all();
    }

    /// The newest coroutine for which `choose` holds. Runner only.
    fn find(&self, choose: impl Fn(&Header) -> bool) -> Option<NonNull<Header>> {
        // SAFETY: We are the runner; a copy of the pointer is taken.
        let mut next = unsafe { (*self.local.get()).all };
        // SAFETY: Coroutines in the list are valid.
        while let Some(task) = unsafe { next.as_ref() } {
            if choose(task) {
                return Some(NonNull::from(task));
            }
            next = task.all.next.get();
        }
        None
    }

    /// Tells the home thread to end, which it does when the coroutine of the moment awaits.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Release);
        // A full barrier between the store and the look at the thread's state.
        self.wake_home();
    }

    /// Waits for the end of the domain, whose home thread was stopped. Task context, sleeps.
    pub(crate) fn wait_for_end(&self) {
        if self.started.load(Acquire) {
            self.ended.wait_for_completion();
        } else {
            // The thread had no time to begin.
            self.become_runner();
            self.end(ptr::null());
        }
    }

    /// The end, as [`tear_down`](Self::tear_down) says. Runner only.
    fn end(&self, poisoned: *const Header) {
        self.tear_down(poisoned);
        self.runner.0.store(ptr::null_mut(), Release);
        self.ended.complete_all();
    }

    fn become_runner(&self) {
        // INVARIANT: This thread is the only one left that runs coroutines.
        self.runner.0.store(context::current_task(), Relaxed);
    }
}

/// Whether the caller may wait for a domain: `EWOULDBLOCK` where sleeping is not allowed, `EDEADLK`
/// in a coroutine, since each runs on the home thread of a domain.
// Never inlined: in another crate the thread's function may have another address.
#[inline(never)]
pub(crate) fn may_wait() -> Result {
    thread::may_wait_for::<Executor>()
}

impl Body for Executor {
    /// The home thread.
    fn run(&self) {
        self.become_runner();
        self.exit.arm(self);
        self.started.store(true, Release);
        self.stats.start();
        loop {
            let more = self.run_some();
            if self.stop.load(Relaxed) {
                break;
            }
            self.purge_now();
            if more {
                cond_resched();
                continue;
            }
            if !self.queue.0.go_idle() {
                continue;
            }
            self.stats.sleeps.add(1);
            // `stop` and `purge` wake like everybody, after they set what this reads.
            thread::park_unless(|| !self.queue.0.is_idle() || self.is_wanted());
            if self.queue.0.is_idle() {
                self.stats.unproductive.add(1);
            }
            self.collect();
            self.stats.start();
        }
        self.end(ptr::null());
    }
}

impl OnExit for Executor {
    /// The home thread dies. If not after `end`, a coroutine has panicked: in the kernel a panic
    /// kills the thread it happens on, without unwinding.
    fn on_exit(&self) {
        if self.runner.0.load(Relaxed).is_null() {
            return;
        }
        self.faulted.store(true, Release);
        let poisoned = self.polling.load(Relaxed);
        // SAFETY: A coroutine that is being polled has not ended, so it is valid.
        let name = unsafe { poisoned.as_ref() }.map_or(c"?", Header::name);
        pr_err!(
            "domain {}: coroutine {} died; the domain ends, its callers get EOWNERDEAD\n",
            self.name(),
            name
        );
        // If it died while the domain ended, this goes on with what is left.
        self.end(poisoned);
    }
}

#[pinned_drop]
impl PinnedDrop for Executor {
    fn drop(self: Pin<&mut Self>) {
        if let Some(home) = NonNull::new(self.home.load(Relaxed)) {
            // SAFETY: By the invariant the reference is ours.
            drop(unsafe { Thread::from_raw(home) });
        }
    }
}
