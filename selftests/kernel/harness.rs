// SPDX-License-Identifier: GPL-2.0

//! What the tests have in common: checks that say what they found, traces, counted values.

use crate::sys::{self, eventually, Where, Worker};
use coop_domain::prelude::*;
use core::cell::UnsafeCell;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use core::task::{Context, Poll, Waker};
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};

#[path = "../held.rs"]
mod held;
pub(crate) use held::Held;

/// Long enough for anything that is to happen at all, on a slow machine with other things to do:
/// thousands of steps, too, each of which waits for a virtual CPU to be run.
pub(crate) const LONG: u32 = 60_000;

/// What a test has to say.
pub(crate) struct Log(KVec<u8>);

impl Log {
    pub(crate) const fn new() -> Self {
        Log(KVec::new())
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, args: core::fmt::Arguments<'_>) {
        let _ = core::fmt::Write::write_fmt(self, args);
        let _ = self.0.push(b'\n', GFP_KERNEL);
    }

    /// The lines.
    pub(crate) fn text(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or("?")
    }
}

impl core::fmt::Write for Log {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        self.0
            .extend_from_slice(s.as_bytes(), GFP_KERNEL)
            .map_err(|_| core::fmt::Error)
    }
}

/// A test: its name, and the function that returns `Ok` if the invariant holds.
pub(crate) type Test = (&'static str, fn(&mut Log) -> Result);

/// Fails the test unless the condition holds; what follows is told then.
macro_rules! check {
    ($log:expr, $cond:expr $(,)?) => {
        $crate::harness::check!($log, $cond, "")
    };
    ($log:expr, $cond:expr, $($args:tt)+) => {
        if !$cond {
            $log.line(core::format_args!(
                "line {} of {}: not so: {}",
                core::line!(), core::file!(), core::stringify!($cond),
            ));
            $log.line(core::format_args!($($args)+));
            return Err(EIO);
        }
    };
}
pub(crate) use check;

/// Fails the test unless both are equal.
macro_rules! check_eq {
    ($log:expr, $left:expr, $right:expr $(,)?) => {
        match (&$left, &$right) {
            (left, right) => {
                if *left != *right {
                    $log.line(core::format_args!(
                        "line {} of {}: {} is {:?}, not {:?}",
                        core::line!(),
                        core::file!(),
                        core::stringify!($left),
                        left,
                        right,
                    ));
                    return Err(EIO);
                }
            }
        }
    };
}
pub(crate) use check_eq;

/// A domain of this module.
pub(crate) fn domain(name: &CStr) -> Result<Domain> {
    Domain::builder(name, crate::owner()).build()
}

/// A domain of this module, with its home on a CPU.
pub(crate) fn domain_on(name: &CStr, cpu: u32) -> Result<Domain> {
    Domain::builder(name, crate::owner()).cpu(cpu).build()
}

/// Runs `future` in a domain and waits for its value; `ETIME` if that takes too long.
pub(crate) fn run<T: Send + 'static>(
    domain: &Domain,
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T> {
    let out = Arc::new(Outcome::new(), GFP_KERNEL)?;
    let inside = out.clone();
    domain
        .spawn(c"run", async move {
            let value = future.await;
            // SAFETY: Once.
            unsafe { inside.put(value) };
        })?
        .detach();
    if !out.there.wait() {
        return Err(ETIME);
    }
    // SAFETY: Once, and it is there.
    unsafe { out.take() }.ok_or(ETIME)
}

/// What a coroutine leaves to a thread: no lock, which a coroutine of a `Bh` domain could not take
/// if it sleeps, nor, from softirqs, if it spins.
struct Outcome<T> {
    value: UnsafeCell<Option<T>>,
    there: Flag,
}

// SAFETY: The value goes from one thread to another, before and after `there` is set.
unsafe impl<T: Send> Sync for Outcome<T> {}

impl<T> Outcome<T> {
    const fn new() -> Self {
        Outcome {
            value: UnsafeCell::new(None),
            there: Flag(AtomicBool::new(false)),
        }
    }

    /// # Safety
    ///
    /// Called once.
    unsafe fn put(&self, value: T) {
        // SAFETY: Per the function's contract; nobody takes it before it is there.
        unsafe { *self.value.get() = Some(value) };
        self.there.set();
    }

    /// # Safety
    ///
    /// Called once, when `there` is set.
    unsafe fn take(&self) -> Option<T> {
        // SAFETY: Per the function's contract.
        unsafe { (*self.value.get()).take() }
    }
}

/// Waits until a coroutine has ended; whether it has.
pub(crate) fn ends<T>(handle: &JoinHandle<T>) -> bool {
    eventually(LONG, || handle.is_finished())
}

/// Joins, from a coroutine of another domain than the one that is tested.
pub(crate) fn join<T: Send + 'static>(handle: JoinHandle<T>) -> Result<Result<T>> {
    let other = domain(c"join")?;
    run(&other, handle)
}

/// Returns when the domain has nothing to do and its home thread sleeps. Nobody else calls it then.
pub(crate) fn settle(domain: &Domain) -> Result {
    // Twice: the first time may be counted by a thread that was about to sleep anyway.
    for _ in 0..2 {
        let before = domain.stats().sleeps.get();
        let home = run(domain, async {
            yield_now().await;
            sys::me()
        })?;
        // What is counted is that it is about to sleep. It does not if a wake-up for what it has done
        // by then comes late: ours, say, from a CPU that stood still.
        let rests = || {
            // SAFETY: The home thread, which the domain keeps.
            domain.stats().sleeps.get() > before && unsafe { sys::is_asleep(home) }
        };
        if !eventually(LONG, rests) {
            return Err(ETIME);
        }
    }
    Ok(())
}

/// Something that happens once.
pub(crate) struct Flag(AtomicBool);

/// A new one.
pub(crate) fn flag() -> Result<Arc<Flag>> {
    Ok(Arc::new(Flag(AtomicBool::new(false)), GFP_KERNEL)?)
}

impl Flag {
    /// One that does not.
    pub(crate) const fn never() -> Self {
        Flag(AtomicBool::new(false))
    }

    /// It happens. Any context.
    pub(crate) fn set(&self) {
        self.0.store(true, Release);
    }

    /// Whether it has.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Acquire)
    }

    /// Waits until it has; whether it has.
    pub(crate) fn wait(&self) -> bool {
        eventually(LONG, || self.is_set())
    }
}

/// The order in which things happened.
#[pin_data]
pub(crate) struct Trace {
    #[pin]
    events: Mutex<KVec<u32>>,
}

/// A new one.
pub(crate) fn trace() -> Result<Arc<Trace>> {
    Arc::pin_init(
        pin_init!(Trace { events <- new_mutex!(KVec::new()) }),
        GFP_KERNEL,
    )
}

impl Trace {
    /// Something happens. Task context.
    pub(crate) fn add(&self, event: u32) {
        let _ = self.events.lock().push(event, GFP_KERNEL);
    }

    /// How much has happened.
    pub(crate) fn len(&self) -> usize {
        self.events.lock().len()
    }

    /// What has happened.
    pub(crate) fn events(&self) -> KVec<u32> {
        let mut copy = KVec::new();
        let _ = copy.extend_from_slice(&self.events.lock(), GFP_KERNEL);
        copy
    }

    /// Whether exactly this happened; says what did, if not.
    pub(crate) fn is(&self, log: &mut Log, expected: &[u32]) -> Result {
        eventually(LONG, || self.len() >= expected.len());
        let events = self.events.lock();
        if events.as_slice() != expected {
            log.line(core::format_args!("the order was {:?}", events.as_slice()));
            log.line(core::format_args!("     and not {expected:?}"));
            return Err(EIO);
        }
        Ok(())
    }
}

/// Values that were made and dropped.
#[derive(Default)]
pub(crate) struct Count {
    made: AtomicUsize,
    dropped: AtomicUsize,
}

/// A new one.
pub(crate) fn count() -> Result<Arc<Count>> {
    Ok(Arc::new(Count::default(), GFP_KERNEL)?)
}

impl Count {
    /// How many were made.
    pub(crate) fn made(&self) -> usize {
        self.made.load(Acquire)
    }

    /// How many were dropped.
    pub(crate) fn dropped(&self) -> usize {
        self.dropped.load(Acquire)
    }

    /// Whether each that was made was dropped, once.
    pub(crate) fn is_even(&self) -> bool {
        self.made() == self.dropped()
    }
}

impl core::fmt::Debug for Count {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} made, {} dropped", self.made(), self.dropped())
    }
}

/// A value that is counted.
pub(crate) struct Counted {
    pub(crate) value: u32,
    count: Arc<Count>,
}

impl Counted {
    /// Makes one. Any context.
    pub(crate) fn new(count: &Arc<Count>, value: u32) -> Self {
        count.made.fetch_add(1, AcqRel);
        Counted {
            value,
            count: count.clone(),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.count.dropped.fetch_add(1, AcqRel);
    }
}

/// Calls a closure when dropped.
pub(crate) struct OnDrop<F: FnOnce()>(Option<F>);

/// A value that calls `f` when dropped.
pub(crate) fn on_drop<F: FnOnce()>(f: F) -> OnDrop<F> {
    OnDrop(Some(f))
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}

/// A thread of `cpu`, of the lowest real-time priority, that keeps it busy, and counts its laps.
pub(crate) struct Hog {
    pub(crate) laps: Arc<AtomicUsize>,
    stop: Arc<Flag>,
    thread: Worker<()>,
}

impl Hog {
    /// Returns when it runs.
    pub(crate) fn start(cpu: u32) -> Result<Self> {
        let (laps, stop) = (Arc::new(AtomicUsize::new(0), GFP_KERNEL)?, flag()?);
        let (l, s) = (laps.clone(), stop.clone());
        let thread = Worker::start(Some(cpu), move || {
            sys::become_fifo_low();
            while !s.is_set() && !sys::should_stop() {
                l.fetch_add(1, Release);
                core::hint::spin_loop();
            }
        })?;
        if !eventually(LONG, || laps.load(Acquire) != 0) {
            return Err(ETIME);
        }
        Ok(Hog { laps, stop, thread })
    }

    /// Whether it ends, when told to.
    pub(crate) fn end(self) -> bool {
        self.stop.set();
        self.thread.join(LONG).is_some()
    }
}

/// Work of a thread that [`Hog`] keeps from running: begins when somebody has lent it its priority,
/// or nobody does (`alone`). Whether somebody has, and how many laps the other one made in the midst
/// of it: none, then, however long it takes. (As soon as there was one, no more is to be seen.)
pub(crate) fn work_beside(laps: &AtomicUsize, alone: &Flag) -> (bool, usize) {
    let end = sys::now_ns() + i64::from(LONG) * 1_000_000;
    while !sys::is_real_time() && !alone.is_set() && sys::now_ns() < end {
        core::hint::spin_loop();
    }
    let (lent, before) = (sys::is_real_time(), laps.load(Acquire));
    // Twice what real-time threads leave to others, in each second.
    for _ in 0..1_000 {
        sys::busy(100);
        if laps.load(Acquire) != before {
            break;
        }
    }
    (lent, laps.load(Acquire) - before)
}

/// Where a coroutine leaves its waker while it waits for nothing in particular.
#[pin_data]
pub(crate) struct Nest {
    #[pin]
    waker: Mutex<Option<Waker>>,
    polls: AtomicUsize,
}

/// A new one.
pub(crate) fn nest() -> Result<Arc<Nest>> {
    Arc::pin_init(
        pin_init!(Nest {
            waker <- new_mutex!(None),
            polls: AtomicUsize::new(0),
        }),
        GFP_KERNEL,
    )
}

impl Nest {
    /// The waker that was left.
    pub(crate) fn waker(&self) -> Option<Waker> {
        self.waker.lock().clone()
    }

    /// Waits for it.
    pub(crate) fn wait_for_waker(&self) -> Result<Waker> {
        eventually(LONG, || self.waker.lock().is_some());
        self.waker().ok_or(ETIME)
    }

    /// How often the coroutine was polled.
    pub(crate) fn polls(&self) -> usize {
        self.polls.load(Acquire)
    }
}

/// Waits until polled for the `times`th time.
pub(crate) struct Nested(pub(crate) Arc<Nest>, pub(crate) usize);

impl Future for Nested {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Counted first: who finds the waker finds the count.
        let polls = self.0.polls.fetch_add(1, AcqRel) + 1;
        *self.0.waker.lock() = Some(cx.waker().clone());
        if polls >= self.1 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// Waits for ever.
pub(crate) async fn forever() {
    // Unknown to the compiler: what comes after is not to be optimised away.
    core::future::poll_fn(|_| core::hint::black_box(Poll::Pending)).await
}

/// A signal that is shared.
pub(crate) fn signal() -> Result<Arc<Signal>> {
    Ok(Arc::new(Signal::new(), GFP_KERNEL)?)
}

/// Room for `n` threads' messages per CPU, and few of interrupts.
pub(crate) fn room(n: usize) -> Capacity {
    Capacity {
        task: n,
        softirq: n,
        hardirq: n,
    }
}

/// Another CPU than `cpu`, if there is one.
pub(crate) fn other(cpu: u32) -> u32 {
    (cpu + 1) % sys::cpus()
}

/// Where sender `from` of three for each CPU sends: a thread, a softirq, a hard interrupt. And the
/// CPU for its thread: interrupts are caused from another one, so that they hit whatever runs.
pub(crate) fn origin(from: u32) -> (Where, u32, u32) {
    let cpu = from / 3;
    match from % 3 {
        0 => (Where::Task, cpu, cpu),
        1 => (Where::Softirq, cpu, other(cpu)),
        _ => (Where::HardIrq, cpu, other(cpu)),
    }
}

/// Calls with 0, 1, 2 and so on until that fails, and returns how; `EINVAL` if `call` says that an
/// answer was wrong. Lets other threads run after each `row` calls: one that does not wait does not
/// ask whether it may.
pub(crate) fn until_error(row: u32, mut call: impl FnMut(u32) -> Result<bool>) -> Error {
    for i in 0.. {
        match call(i) {
            Ok(true) => (),
            Ok(false) => return EINVAL,
            Err(e) => return e,
        }
        if i % row == 0 {
            sys::cond_resched();
        }
    }
    EINVAL
}
