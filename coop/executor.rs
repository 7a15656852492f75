// SPDX-License-Identifier: GPL-2.0

//! What runs the coroutines of one domain: its queues, and how one of them is polled.
//!
//! Who runs a domain, and when, is told in [`home`](crate::home) (its own thread) and
//! [`inline`](crate::inline) (its callers); how it ends, in [`teardown`](crate::teardown).

use crate::bh::Level;
use crate::bh_baton::BhBaton;
use crate::errand::Errands;
use crate::run_queue::{List, Priority, RunQueue};
use crate::stats::Stats;
use crate::sys::baton::Baton;
use crate::sys::bh;
use crate::sys::context;
use crate::sys::exit::ExitHook;
use crate::sys::runner::Mark;
use crate::sys::thread::Thread;
use crate::task::{self, End, Header};
use crate::task_state::Start;
use crate::teardown::{Purge, Ward};
use crate::timers::Timers;
use crate::wake_queue::{Link, Push, WakeQueue};
use crate::waker::{with_context, PollContext};
use core::cell::UnsafeCell;
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering::*};
use core::task::Context;
use kernel::bindings;
use kernel::prelude::*;
use kernel::str::CString;
use kernel::sync::{new_spinlock, Arc, Completion, SpinLock};

/// Rounds between two looks at whether to stop, and whether other threads want the CPU.
const ROUNDS: usize = 4;

/// Polls for others that an inline caller makes before it leaves them to the home thread.
pub(crate) const INLINE_BUDGET: usize = 16;

/// What only the runner touches.
pub(crate) struct Local {
    pub(crate) queue: RunQueue,
    /// The timer tick at the last look.
    tick: usize,
    /// The newest of all coroutines that were seen and have not ended.
    pub(crate) all: *const Header,
}

/// The priority of the coroutine that `link` belongs to.
#[inline(always)]
pub(crate) fn priority_of(link: NonNull<Link>) -> Priority {
    // SAFETY: Only valid coroutines are queued, and they begin with their link.
    unsafe { link.cast::<Header>().as_ref() }.state().priority()
}

/// Stands for "none before" in the list of all coroutines; null is "not in the list".
pub(crate) const FIRST: *const Header = ptr::without_provenance(1);

/// Separates what senders write from what the runner writes.
#[repr(align(64))]
pub(crate) struct CacheLine<T>(pub(crate) T);

/// Who runs the domain, and what: written by the runner.
pub(crate) struct Runner {
    /// The thread that holds the baton and runs coroutines, or null.
    thread: AtomicPtr<bindings::task_struct>,
    /// The coroutine that is being polled, or was last; null since one has ended.
    pub(crate) polling: AtomicPtr<Header>,
    /// The name of the coroutine that ended last.
    ended: AtomicPtr<kernel::ffi::c_char>,
    /// The coroutine of the moment only lets others run.
    yielded: AtomicBool,
    /// Where [`Executor::draw`] has come to.
    lot: AtomicU32,
}

/// The executor of a domain. Outlives the domain as long as somebody has a waker.
///
/// # Invariants
///
/// - `runner.thread` is the thread that runs coroutines of the domain, or null; only that thread
///   sets it to itself, and back, while it holds the baton. Who finds itself there, in task
///   context, is the runner.
/// - `local` is accessed by the runner only, and no reference to its content is held while driver
///   code runs.
/// - Every coroutine that is not `DONE` has a reference that belongs to the executor.
/// - `home` is a thread with a reference, or null until the home thread is made.
#[pin_data(PinnedDrop)]
pub struct Executor {
    pub(crate) queue: CacheLine<WakeQueue>,
    pub(crate) runner: CacheLine<Runner>,
    /// That of the runner.
    pub(crate) mark: Mark,
    /// What coroutines are polled with.
    #[pin]
    pub(crate) context: PollContext,
    pub(crate) local: UnsafeCell<Local>,
    pub(crate) stats: Stats,
    /// Others than the home thread may run the domain.
    pub(crate) shared: bool,
    /// So may callers, with the baton of a `Process` domain.
    pub(crate) inline: bool,
    /// 0 if so; a number, so that it can be looked at [together](crate::sys::runner::idle_task) with
    /// what else keeps a caller from that.
    pub(crate) barred: usize,
    /// Coroutines run with bottom halves off.
    pub(crate) bh: bool,
    /// The baton, if so.
    pub(crate) bh_baton: BhBaton,
    pub(crate) home: AtomicPtr<bindings::task_struct>,
    pub(crate) faulted: AtomicBool,
    /// The home thread has begun, and will end the domain.
    pub(crate) begun: AtomicBool,
    /// The domain has ended.
    pub(crate) over: AtomicBool,
    /// The home thread is wanted for one of the next two.
    pub(crate) wanted: AtomicBool,
    /// The home thread is to end.
    pub(crate) stop: AtomicBool,
    /// What someone outside wants done by the runner.
    #[pin]
    pub(crate) errands: SpinLock<Errands>,
    /// A module whose coroutines are to be dropped; null when that is done.
    pub(crate) purging: AtomicPtr<Purge>,
    pub(crate) spin: crate::home::Spinning,
    name: CString,
    #[pin]
    pub(crate) timers: Timers,
    #[pin]
    pub(crate) baton: Baton,
    /// Those who have to be told when the domain ends.
    #[pin]
    pub(crate) wards: SpinLock<KVec<Arc<dyn Ward>>>,
    #[pin]
    pub(crate) exit: ExitHook<Self>,
    /// The domain has ended.
    #[pin]
    pub(crate) ended: Completion,
    /// Nothing of the domain is left in the registry either.
    #[pin]
    pub(crate) gone: Completion,
}

// SAFETY: See the type's invariants for `local`; all else is atomic or immutable.
unsafe impl Send for Executor {}
// SAFETY: As above.
unsafe impl Sync for Executor {}

impl Executor {
    pub(crate) fn new(
        name: CString,
        level: Level,
        dedicated: bool,
        spin: crate::home::Spinning,
        slack: u64,
    ) -> impl PinInit<Self> {
        pin_init!(&this in Self {
            queue: CacheLine(WakeQueue::new()),
            runner: CacheLine(Runner {
                thread: AtomicPtr::new(ptr::null_mut()),
                polling: AtomicPtr::new(ptr::null_mut()),
                ended: AtomicPtr::new(ptr::null_mut()),
                yielded: AtomicBool::new(false),
                lot: AtomicU32::new(0),
            }),
            mark: Mark::new(),
            context <- PollContext::new(this.as_ptr()),
            local: UnsafeCell::new(Local {
                queue: RunQueue::new(),
                tick: 0,
                all: ptr::null(),
            }),
            stats: Stats::new(),
            shared: !dedicated,
            inline: !dedicated && level == Level::Process,
            barred: usize::from(dedicated || level != Level::Process),
            bh: level == Level::Bh,
            bh_baton: BhBaton::new(),
            home: AtomicPtr::new(ptr::null_mut()),
            faulted: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            over: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            errands <- new_spinlock!(Errands::new(), "coop_errands"),
            purging: AtomicPtr::new(ptr::null_mut()),
            spin,
            name,
            timers <- Timers::new(slack),
            baton <- Baton::new(),
            wards <- new_spinlock!(KVec::new(), "coop_wards"),
            exit <- ExitHook::new(),
            ended <- Completion::new(),
            gone <- Completion::new(),
        })
    }

    /// Makes `thread` the home thread, before it starts.
    pub(crate) fn set_home(self: &Arc<Self>, thread: &Thread) {
        self.exit.set_target(self);
        self.mark.set_work(self.exit.work());
        self.set_timer_target();
        // INVARIANT: A thread with a reference; it was null before.
        self.home.store(thread.clone().into_raw().as_ptr(), Release);
    }

    /// The domain's name.
    pub(crate) fn name(&self) -> &CStr {
        &self.name
    }

    /// Whether the caller is a coroutine of this domain (or a destructor that its runner calls).
    ///
    /// Any context; about 8 instructions. Nothing but being the runner makes this true.
    #[inline]
    pub(crate) fn is_inside(&self) -> bool {
        let runner = self.runner.0.thread.load(Relaxed);
        context::is_current(runner) || bh::is_current_softirq(runner)
    }

    /// Whether `cx` is the context that this executor passes to coroutines: then the caller is the
    /// runner (see [`PollContext`]). 3 instructions.
    #[inline]
    pub(crate) fn is_polling_with(&self, cx: &Context<'_>) -> bool {
        self.context.address() == ptr::from_ref(cx).addr()
    }

    /// Has the coroutine that is being polled queued again, as it is, when its poll is over. From
    /// anywhere else this costs a spurious poll.
    #[inline]
    pub(crate) fn yield_current(&self) {
        self.runner.0.yielded.store(true, Relaxed);
    }

    /// A number drawn by lot, whose upper bits are the best. Runner only; 5 instructions.
    ///
    /// A linear congruential generator (constants of Numerical Recipes).
    #[inline(always)]
    pub(crate) fn draw(&self) -> u32 {
        let lot = &self.runner.0.lot;
        let next = lot
            .load(Relaxed)
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        lot.store(next, Relaxed);
        next
    }

    /// Whether a coroutine has panicked, or otherwise killed its thread.
    #[inline]
    pub(crate) fn is_faulted(&self) -> bool {
        self.faulted.load(Acquire)
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

    /// Queues a coroutine that was woken. Any context but NMI. When the domain is gone nothing is
    /// queued, and nothing is lost: the coroutine has ended.
    ///
    /// # Safety
    ///
    /// The caller has a reference, and changed the coroutine's state from `IDLE`.
    #[inline]
    pub(crate) unsafe fn enqueue(&self, header: NonNull<Header>) {
        if self.is_inside() {
            // SAFETY: The caller owns the link; the executor's reference keeps it valid.
            unsafe { self.push_local(header) };
        } else {
            // SAFETY: As above.
            let _ = unsafe { self.push_remote(header) };
        }
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
    unsafe fn push_local(&self, header: NonNull<Header>) {
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
    #[inline(never)]
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

    /// Whether `who` is the runner.
    pub(crate) fn is_runner(&self, who: *mut bindings::task_struct) -> bool {
        self.runner.0.thread.load(Relaxed) == who
    }

    /// Makes the caller the runner, who has the baton of a `Bh` domain.
    #[inline(always)]
    pub(crate) fn set_runner(&self, me: *mut bindings::task_struct) {
        // INVARIANT: The one who holds the baton sets it to itself.
        self.runner.0.thread.store(me, Relaxed);
    }

    /// Becomes the runner.
    ///
    /// # Safety
    ///
    /// The caller is thread `me`, holds the baton, and keeps the executor until
    /// [`leave`](Self::leave).
    #[inline]
    pub(crate) unsafe fn enter(&self, me: *mut bindings::task_struct) {
        // SAFETY: Per the function's contract; nobody else is the runner.
        unsafe { self.mark.set(me) };
        self.set_runner(me);
    }

    /// [`enter`](Self::enter) for a thread without preemption notifiers.
    ///
    /// # Safety
    ///
    /// As for [`enter`](Self::enter), and `me` is an [`idle_task`](crate::sys::runner::idle_task).
    #[inline(always)]
    pub(crate) unsafe fn enter_first(&self, me: *mut bindings::task_struct) {
        // SAFETY: As in `enter`.
        unsafe { self.mark.set_first(me) };
        self.set_runner(me);
    }

    /// Ends what [`enter`](Self::enter) began; whether there is work left that the runner alone
    /// knows of.
    ///
    /// # Safety
    ///
    /// The caller, thread `me`, entered, still holds the baton, and is not being polled.
    #[inline(always)]
    pub(crate) unsafe fn leave(&self, me: *mut bindings::task_struct) -> bool {
        self.forget_runner();
        // SAFETY: Per the function's contract the mark is set, on this thread.
        unsafe { self.mark.clear(me) };
        self.has_left_over()
    }

    /// [`leave`](Self::leave) after [`enter_first`](Self::enter_first).
    ///
    /// # Safety
    ///
    /// As for [`leave`](Self::leave), having entered by [`enter_first`](Self::enter_first).
    #[inline(always)]
    pub(crate) unsafe fn leave_first(&self, me: *mut bindings::task_struct) -> bool {
        self.forget_runner();
        // SAFETY: Per the function's contract.
        unsafe { self.mark.clear_first(me) };
        self.has_left_over()
    }

    /// Whether the runner's own queue has work. By the holder of the baton only.
    #[inline(always)]
    pub(crate) fn has_left_over(&self) -> bool {
        // SAFETY: Whoever holds the baton may look; no other reference lives meanwhile.
        unsafe { !(*self.local.get()).queue.is_empty() }
    }

    /// Nobody is the runner any more. By the one who is, with the baton still in hand.
    #[inline(always)]
    pub(crate) fn forget_runner(&self) {
        // INVARIANT: Not ourselves any more.
        self.runner.0.thread.store(ptr::null_mut(), Relaxed);
    }

    /// Takes in what was woken from outside, and by timers. Runner only, who calls
    /// [`end_run`](Self::end_run) later.
    #[inline(never)]
    pub(crate) fn collect(&self) {
        let batch = self.queue.0.take();
        // SAFETY: Only called by the runner; no driver code runs while the reference lives.
        let n = unsafe { &mut *self.local.get() }
            .queue
            .append(batch, priority_of);
        self.stats.wakes_remote.add(n as u64);
        if self.timers.is_due() {
            self.stats.timer_interrupts.add(1);
            self.timers.expire();
        }
    }

    /// Ends a run in which [`collect`](Self::collect) may have been called. Runner only.
    #[inline(always)]
    pub(crate) fn end_run(&self) {
        if self.timers.is_owed() {
            self.timers.settle();
        }
    }

    /// Takes out what is next. Runner only.
    #[inline]
    pub(crate) fn pop(&self) -> Option<NonNull<Header>> {
        // SAFETY: As in `collect`.
        unsafe { &mut *self.local.get() }
            .queue
            .pop()
            .map(NonNull::cast)
    }

    /// What the runner alone touches.
    ///
    /// # Safety
    ///
    /// The caller is the runner, and calls no driver code while the reference lives.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)] // See `local`.
    unsafe fn run_queue(&self) -> &mut RunQueue {
        // SAFETY: Per the function's contract.
        unsafe { &mut (*self.local.get()).queue }
    }

    /// Runs coroutines until none is ready (`false`) or the budget is used up (`true`). Runner only.
    pub(crate) fn run_some(&self) -> bool {
        with_context(self, |cx| {
            self.start_batch();
            let mut polls: usize = 0;
            let mut more = true;
            for _ in 0..ROUNDS {
                if self.queue.0.has_work() {
                    self.collect();
                }
                let n = self.run_round(cx);
                if n == 0 {
                    more = false;
                    break;
                }
                polls = polls.wrapping_add(n);
                self.look_at_clock(n);
            }
            if polls == 1 {
                self.stats.polled(|| self.last_name());
            }
            self.stats.queued_polls.add(polls as u64);
            self.end_run();
            more
        })
    }

    /// Polls begin, of which those that take long are noted. Runner only.
    #[inline(always)]
    fn start_batch(&self) {
        // SAFETY: We are the runner.
        unsafe { (*self.local.get()).tick = self.stats.start_batch() };
    }

    /// Notes it if the last `polls` polls took long. Runner only.
    #[inline(always)]
    fn look_at_clock(&self, polls: usize) {
        // SAFETY: We are the runner.
        let tick = unsafe { &mut (*self.local.get()).tick };
        if context::ticks() != *tick {
            *tick = self.stats.tick_passed(*tick, polls, || self.last_name());
        }
    }

    /// Polls those whose turn it is; returns how many polls that were. Runner only.
    #[inline(always)]
    fn run_round(&self, cx: &mut Context<'_>) -> usize {
        // SAFETY: We are the runner.
        match unsafe { self.run_queue() }.pick() {
            None => 0,
            Some(Priority::NORMAL) => {
                // SAFETY: As above.
                unsafe { self.run_queue() }.start_round(self.stats.is_watching());
                self.run_normal(cx);
                // SAFETY: As above.
                unsafe { self.run_queue() }.end_round()
            }
            Some(priority) => {
                self.run_other(priority, cx);
                1
            }
        }
    }

    /// Polls those of normal priority until the round is over, or none is ready. Runner only.
    #[inline(always)]
    fn run_normal(&self, cx: &mut Context<'_>) {
        const NORMAL: Priority = Priority::NORMAL;
        // SAFETY: We are the runner.
        let Some(mut first) = unsafe { self.run_queue() }.list(NORMAL).first() else {
            return;
        };
        loop {
            let header = first.cast::<Header>();
            // SAFETY: The executor's reference keeps it valid.
            if unsafe { header.as_ref() }.state().has_yielded() {
                // SAFETY: We are the runner, and it is the first of this list.
                if unsafe { self.run_yielded(header, NORMAL, cx) } {
                    // SAFETY: It is the last now, and followed by the first.
                    first = unsafe { List::after(first) };
                    // SAFETY: We are the runner.
                    if !unsafe { self.run_queue() }.step() {
                        return;
                    }
                    continue;
                }
            } else {
                // SAFETY: As above.
                unsafe { self.run_woken(header, NORMAL, cx) };
            }
            // SAFETY: As above.
            if !unsafe { self.run_queue() }.step() {
                return;
            }
            // SAFETY: As above.
            match unsafe { self.run_queue() }.list(NORMAL).first() {
                Some(next) => first = next,
                None => return,
            }
        }
    }

    /// Polls the first of a priority whose list is not empty. Runner only.
    #[inline(never)]
    fn run_other(&self, priority: Priority, cx: &mut Context<'_>) {
        // SAFETY: We are the runner.
        if let Some(first) = unsafe { self.run_queue() }.list(priority).first() {
            let header = first.cast::<Header>();
            // SAFETY: The executor's reference keeps it valid.
            if unsafe { header.as_ref() }.state().has_yielded() {
                // SAFETY: We are the runner, and it is the first of this list.
                let _ = unsafe { self.run_yielded(header, priority, cx) };
            } else {
                // SAFETY: As above.
                unsafe { self.run_woken(header, priority, cx) };
            }
        }
    }

    /// The name of the coroutine that was polled last. Runner only.
    #[cold]
    fn last_name(&self) -> &CStr {
        // SAFETY: A coroutine that has not ended is valid.
        match unsafe { self.current().as_ref() } {
            Some(task) => task.name(),
            // SAFETY: Of a driver that is there as long as we run; null before the first end.
            None => match unsafe { self.runner.0.ended.load(Relaxed).as_ref() } {
                // SAFETY: As above.
                Some(name) => unsafe { CStr::from_char_ptr(name) },
                None => c"?",
            },
        }
    }

    /// Runs coroutines until `done`, until none is ready, or `budget` polls were made; what is left
    /// of the budget. Runner only.
    pub(crate) fn run_until(&self, budget: usize, done: impl Fn() -> bool) -> usize {
        let mut left = budget;
        with_context(self, |cx| {
            self.start_batch();
            while left != 0 && !done() {
                if self.queue.0.has_work() {
                    self.collect();
                }
                // SAFETY: We are the runner.
                let Some(priority) = unsafe { self.run_queue() }.pick() else {
                    break;
                };
                self.run_other(priority, cx);
                self.stats.queued_polls.add(1);
                left = left.wrapping_sub(1);
            }
            self.end_run();
        });
        left
    }

    /// Polls a coroutine that let others run before, where it is in its list; whether it does
    /// so again, and is the last now.
    ///
    /// # Safety
    ///
    /// The caller is the runner, and `header` is the first of the list of `priority`.
    #[inline(always)]
    unsafe fn run_yielded(
        &self,
        header: NonNull<Header>,
        priority: Priority,
        cx: &mut Context<'_>,
    ) -> bool {
        self.runner.0.polling.store(header.as_ptr(), Relaxed);
        // SAFETY: We are the runner, and it is not `DONE`.
        let poll = unsafe { Header::poll(header, cx) };
        // Others may have been queued behind it, but it is still the first.
        if poll.is_pending() && self.runner.0.yielded.load(Relaxed) {
            self.runner.0.yielded.store(false, Relaxed);
            // SAFETY: As above.
            unsafe { self.run_queue().list(priority).turn(header.cast()) };
            return true;
        }
        // SAFETY: As above.
        unsafe { self.end_yielded(header, priority, poll.is_ready()) };
        self.look_at_clock(1);
        false
    }

    /// A coroutine that let others run before awaits something, or is ready.
    ///
    /// # Safety
    ///
    /// The caller is the runner, and `header`, just polled, is the first of the list of `priority`.
    #[inline(never)]
    unsafe fn end_yielded(&self, header: NonNull<Header>, priority: Priority, ready: bool) {
        // SAFETY: Per the function's contract.
        unsafe { self.run_queue().remove(header.cast(), priority) };
        if ready {
            // SAFETY: As above. It is in no queue, and not idle.
            unsafe { self.retire(header, End::Ready, false) };
            return;
        }
        // SAFETY: The executor's reference keeps it valid.
        if !unsafe { header.as_ref() }.state().end_poll() {
            // SAFETY: We are the runner; it is not `IDLE`, so that nobody else queues it.
            unsafe { self.push_local(header) };
        }
    }

    /// Takes a coroutine that was woken from its list, and polls it.
    ///
    /// # Safety
    ///
    /// The caller is the runner, and `header` is the first of the list of `priority`.
    #[inline(always)]
    unsafe fn run_woken(&self, header: NonNull<Header>, priority: Priority, cx: &mut Context<'_>) {
        // SAFETY: Per the function's contract. From `start_poll` on it may be queued again.
        unsafe { self.run_queue().remove(header.cast(), priority) };
        // SAFETY: The executor's reference keeps it valid.
        if !unsafe { header.as_ref() }.state().start_poll().is_plain() {
            // SAFETY: Per the function's contract.
            if !unsafe { self.begin_special(header, priority) } {
                return;
            }
        }
        // SAFETY: We are the runner, and it is not `DONE`.
        unsafe { self.poll_in_place(header, cx) };
        self.look_at_clock(1);
    }

    /// Polls a coroutine that is in no queue, and may be queued meanwhile: one that came out of its
    /// queue, or, for a caller that has something for it, one that awaits something.
    ///
    /// # Safety
    ///
    /// The caller is the runner, and not being polled; the coroutine is plain and was idle.
    #[inline(always)]
    pub(crate) unsafe fn poll_in_place(&self, header: NonNull<Header>, cx: &mut Context<'_>) {
        self.runner.0.polling.store(header.as_ptr(), Relaxed);
        // SAFETY: We are the runner, and it is not `DONE`.
        let ready = unsafe { Header::poll(header, cx) }.is_ready();
        if ready || self.runner.0.yielded.load(Relaxed) {
            // SAFETY: As above.
            unsafe { self.end_poll_in_place(header, ready) };
        }
    }

    /// A coroutine that was polled in place has ended, or is to be queued.
    ///
    /// # Safety
    ///
    /// As for [`poll_in_place`](Self::poll_in_place), whose poll was `ready`, or yielded.
    #[cold]
    #[inline(never)]
    unsafe fn end_poll_in_place(&self, header: NonNull<Header>, ready: bool) {
        // SAFETY: The executor's reference keeps it valid, as it is not `DONE`.
        let task = unsafe { header.as_ref() };
        if ready {
            let queued = task.state().seize();
            // SAFETY: Per the function's contract.
            unsafe { self.retire(header, End::Ready, queued) };
        } else {
            // It only lets others run, for the first time.
            self.runner.0.yielded.store(false, Relaxed);
            if task.state().stay() {
                // SAFETY: We are the runner, and `stay` said that the link is ours.
                unsafe { self.push_local(header) };
            }
        }
    }

    /// [`poll_in_place`](Self::poll_in_place), with the time that it takes.
    ///
    /// # Safety
    ///
    /// As for [`poll_in_place`](Self::poll_in_place).
    #[cold]
    #[inline(never)]
    pub(crate) unsafe fn poll_in_place_timed(&self, header: NonNull<Header>, cx: &mut Context<'_>) {
        self.stats.start_batch();
        // SAFETY: Per the function's contract.
        unsafe { self.poll_in_place(header, cx) };
        self.stats.polled(|| self.last_name());
    }

    /// A coroutine that is new, is to be dropped, has moved, or is gone; whether to poll it.
    ///
    /// # Safety
    ///
    /// The caller is the runner, and `header` came out of the list of `priority`, idle now.
    #[cold]
    #[inline(never)]
    unsafe fn begin_special(&self, header: NonNull<Header>, priority: Priority) -> bool {
        // SAFETY: The executor's reference keeps it valid.
        let task = unsafe { header.as_ref() };
        self.link(task);
        match task.state().flags().start() {
            Start::Poll => {
                task.state().no_longer_moved();
                if task.state().priority() == priority {
                    return true;
                }
                // It is the turn of others here, or it would have come earlier.
                task.wake();
            }
            Start::Cancel => {
                let queued = task.state().seize();
                // SAFETY: We are the runner, it is linked and not `DONE`.
                unsafe { self.retire(header, End::Cancel, queued) };
            }
            Start::Reap => {
                // `start_poll` has made it look idle: it may have been queued once more.
                if !task.state().seize() {
                    // SAFETY: The executor's reference, which outlived the coroutine for the
                    // queue's sake.
                    unsafe { task::put(header) };
                }
            }
        }
        false
    }

    /// Ends a coroutine. `queued`: it is in a queue, or about to be put there.
    ///
    /// # Safety
    ///
    /// The caller is the runner, and the coroutine is linked, not `DONE` and not `IDLE`.
    pub(crate) unsafe fn retire(&self, header: NonNull<Header>, end: End, queued: bool) {
        let runner = &self.runner.0;
        runner.polling.store(ptr::null_mut(), Relaxed);
        runner.yielded.store(false, Relaxed);
        // SAFETY: The executor's reference keeps it valid.
        let task = unsafe { header.as_ref() };
        runner.ended.store(task.name_ptr().cast_mut(), Relaxed);
        self.unlink(task);
        // SAFETY: Per the function's contract.
        unsafe { Header::finish(header, end) };
        if !queued {
            // SAFETY: The executor's reference; it is not in a queue.
            unsafe { task::put(header) };
        }
    }

    /// Puts a coroutine into the list of all, if it is new. Runner only.
    pub(crate) fn link(&self, task: &Header) {
        if !task.state().flags().is_new() {
            return;
        }
        task.state().no_longer_new();
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
    pub(crate) fn unlink(&self, task: &Header) {
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

    /// The newest coroutine for which `choose` holds. Runner only.
    pub(crate) fn find(&self, choose: impl Fn(&Header) -> bool) -> Option<NonNull<Header>> {
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

    /// The coroutine that is being polled. During a poll only.
    #[inline]
    pub(crate) fn current(&self) -> *const Header {
        self.runner.0.polling.load(Relaxed)
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
