// SPDX-License-Identifier: GPL-2.0

//! The executor of a domain: what it consists of, and who is its runner.
//!
//! How a coroutine comes into its queues is told in [`enqueue`](crate::enqueue), whose turn it is in
//! [`run`](crate::run), and what comes of its poll in [`poll`](crate::poll). Who runs a domain, and
//! when, in [`home`](crate::home) (its own thread) and [`inline`](crate::inline) (its callers); how it
//! ends, in [`teardown`](crate::teardown).

use crate::bh::Level;
use crate::bh_baton::BhBaton;
use crate::errand::Errands;
use crate::news::News;
use crate::overrun::Sampler;
use crate::run_queue::RunQueue;
use crate::stats::Stats;
use crate::sys::baton::Baton;
use crate::sys::bh;
use crate::sys::context;
use crate::sys::exit::ExitHook;
use crate::sys::runner::Mark;
use crate::sys::thread::Thread;
use crate::task::Header;
use crate::teardown::{Purge, Ward};
use crate::timers::Timers;
use crate::wake_batch::WakeBatch;
use crate::wake_queue::WakeQueue;
use crate::waker::PollContext;
use core::cell::{Cell, UnsafeCell};
use core::mem::offset_of;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering::*};
use core::task::Context;
use kernel::bindings;
use kernel::prelude::*;
use kernel::str::CString;
use kernel::sync::{new_spinlock, Arc, Completion, SpinLock};

/// What only the runner touches.
pub(crate) struct Local {
    pub(crate) queue: RunQueue,
    /// The timer tick at the last look.
    pub(crate) tick: usize,
    /// The newest of all coroutines that were seen and have not ended.
    pub(crate) all: *const Header,
    pub(crate) wakes: WakeBatch,
}

/// Separates what senders write from what the runner writes.
#[repr(align(64))]
pub(crate) struct CacheLine<T>(pub(crate) T);

/// What came of a poll, a bit each; none: the coroutine awaits something.
pub(crate) mod after {
    /// It lets others run.
    pub(crate) const YIELDS: u8 = 1 << 0;
    /// It has ended, and left its output.
    pub(crate) const READY: u8 = 1 << 1;
    /// It has answered callers, who are to be woken.
    pub(crate) const ANSWERED: u8 = 1 << 2;
}

/// Who runs the domain, and what: written by the runner.
///
/// In this order: what is written in each poll, the first counters included, is on the first of its
/// cache lines, and so comes to a new runner at once.
#[repr(C)]
pub(crate) struct Runner {
    /// The thread that holds the baton and runs coroutines, or null.
    thread: AtomicPtr<bindings::task_struct>,
    /// The coroutine that is being polled, or was last; null since one has ended.
    pub(crate) polling: AtomicPtr<Header>,
    /// The name of the coroutine that ended last.
    pub(crate) ended: AtomicPtr<kernel::ffi::c_char>,
    /// What has come of the poll of the moment: bits of [`after`]. Zero between polls.
    pub(crate) after: Cell<u8>,
    /// Polls are made, each of them followed by a look at `after`.
    pub(crate) batching: AtomicBool,
    /// Where [`Executor::draw`] has come to.
    lot: AtomicU32,
    pub(crate) stats: Stats,
}

const _: () = assert!(offset_of!(Runner, stats) + offset_of!(Stats, spawned) <= 64);

/// The executor of a domain. Outlives the domain as long as somebody has a waker.
///
/// # Invariants
///
/// - `runner.thread` is the thread that runs coroutines of the domain, or null; only that thread
///   sets it to itself, and back, while it holds the baton. Who finds itself there, in task
///   context, is the runner.
/// - `local` and `runner.after` are accessed by the runner only, and no reference to their content
///   is held while driver code runs.
/// - Every coroutine that is not `DONE` has a reference that belongs to the executor.
/// - `home` is a thread with a reference, or null until the home thread is made.
#[pin_data(PinnedDrop)]
pub struct Executor {
    pub(crate) queue: CacheLine<WakeQueue>,
    pub(crate) runner: CacheLine<Runner>,
    /// That of the runner, unless it is the home thread.
    pub(crate) mark: Mark,
    /// That of the home thread of a `Process` domain, for life.
    pub(crate) home_mark: Mark,
    /// What coroutines are polled with.
    #[pin]
    pub(crate) context: PollContext,
    pub(crate) local: UnsafeCell<Local>,
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
    /// It has, and no sender is in the middle of anything any more.
    pub(crate) quiet: AtomicBool,
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
    pub(crate) news: News,
    #[pin]
    pub(crate) sampler: Sampler,
    #[pin]
    pub(crate) timers: Timers,
    #[pin]
    pub(crate) baton: Baton,
    /// Dropped after the baton, which goes by it.
    name: CString,
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

// SAFETY: See the type's invariants for `local` and `after`; all else is atomic or immutable.
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
        let label = name.as_char_ptr();
        pin_init!(&this in Self {
            queue: CacheLine(WakeQueue::new()),
            runner: CacheLine(Runner {
                thread: AtomicPtr::new(ptr::null_mut()),
                polling: AtomicPtr::new(ptr::null_mut()),
                ended: AtomicPtr::new(ptr::null_mut()),
                after: Cell::new(0),
                batching: AtomicBool::new(false),
                lot: AtomicU32::new(0),
                stats: Stats::new(),
            }),
            mark: Mark::new(),
            home_mark: Mark::new(),
            context <- PollContext::new(this.as_ptr()),
            local: UnsafeCell::new(Local {
                queue: RunQueue::new(),
                tick: 0,
                all: ptr::null(),
                wakes: WakeBatch::new(),
            }),
            shared: !dedicated,
            inline: !dedicated && level == Level::Process,
            barred: usize::from(dedicated || level != Level::Process),
            bh: level == Level::Bh,
            bh_baton: BhBaton::new(),
            home: AtomicPtr::new(ptr::null_mut()),
            faulted: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            over: AtomicBool::new(false),
            quiet: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            errands <- new_spinlock!(Errands::new(), "coop_errands"),
            purging: AtomicPtr::new(ptr::null_mut()),
            spin,
            name,
            news: News::new(),
            sampler <- Sampler::new(level == Level::Bh),
            timers <- Timers::new(slack),
            // SAFETY: The bytes of `name` stay where they are, and go after the baton.
            baton <- unsafe { Baton::new(label) },
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
        self.home_mark.set_work(self.exit.work());
        self.set_timer_target();
        self.set_tick_target();
        // INVARIANT: A thread with a reference; it was null before.
        self.home.store(thread.clone().into_raw().as_ptr(), Release);
    }

    /// What is counted.
    #[inline(always)]
    pub(crate) fn stats(&self) -> &Stats {
        &self.runner.0.stats
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
        let runner = self.runner_thread();
        context::is_current(runner) || bh::is_current_softirq(runner)
    }

    /// The thread that runs the domain, or null; may have changed already, unless it is the caller.
    #[inline(always)]
    pub(crate) fn runner_thread(&self) -> *mut bindings::task_struct {
        self.runner.0.thread.load(Relaxed)
    }

    /// Whether `cx` is the context that this executor passes to coroutines: then the caller is the
    /// runner (see [`PollContext`]). 3 instructions.
    #[inline]
    pub(crate) fn is_polling_with(&self, cx: &Context<'_>) -> bool {
        self.context.address() == ptr::from_ref(cx).addr()
    }

    /// Has the coroutine that is being polled queued again, as it is, when its poll is over. In a
    /// poll of this executor's only.
    #[inline(always)]
    pub(crate) fn yield_current(&self) {
        self.add_after(after::YIELDS);
    }

    #[inline(always)]
    pub(crate) fn add_after(&self, bit: u8) {
        let after = &self.runner.0.after;
        after.set(after.get() | bit);
    }

    /// The coroutine that is being polled has ended. In its poll only.
    #[inline(always)]
    pub(crate) fn poll_is_ready(&self) {
        self.add_after(after::READY);
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

    /// Whether `who` is the runner.
    pub(crate) fn is_runner(&self, who: *mut bindings::task_struct) -> bool {
        self.runner_thread() == who
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
