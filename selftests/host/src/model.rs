// SPDX-License-Identifier: GPL-2.0

//! What `coop/atomic.rs` becomes under loom, and models that must find mistakes.
//!
//! A model is a test that loom runs in every interleaving, with every value that a weak memory
//! could return. That it passes says little unless it is known to fail when the code is wrong: so
//! each model names mistakes ([`model!`](crate::model)), and for each of them runs once more, in
//! a process of its own, with this mistake made: an ordering weakened to `Relaxed`, a fence or a
//! step left out. The test passes if loom finds it.

pub mod atomic {
    pub use loom::cell::UnsafeCell;
    pub use loom::hint::spin_loop;
    pub use loom::sync::atomic::{
        fence, AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicU8, AtomicUsize, Ordering,
    };

    loom::lazy_static! {
        static ref STEP: AtomicUsize = AtomicUsize::new(0);
    }

    /// Makes loom try every other thread at this point.
    ///
    /// Loom keeps the last access of each atomic only, and so does not see that the store in "load
    /// mine, store mine" races with a load of another thread before it. Accesses of one atomic by
    /// read-modify-writes it cannot miss; being relaxed, they order nothing.
    pub fn step() {
        STEP.fetch_add(1, Ordering::Relaxed);
    }

    /// `order`, or `Relaxed` while the mistake `name` is made; while `name/acquire` or
    /// `name/release` is, without this half of it.
    pub fn named(name: &'static str, order: Ordering) -> Ordering {
        step();
        match (super::half_of(name), order) {
            (Some("acquire"), Ordering::AcqRel) => Ordering::Release,
            (Some("release"), Ordering::AcqRel) => Ordering::Acquire,
            _ if mistake(name) => Ordering::Relaxed,
            _ => order,
        }
    }

    /// A fence, or none while the mistake `name` is made.
    pub fn named_fence(name: &'static str, order: Ordering) {
        step();
        if !mistake(name) {
            fence(order);
        }
    }

    pub use super::mistake;
}

use std::env;
use std::process::Command;
use std::sync::{Once, OnceLock};

const MISTAKE: &str = "COOP_MISTAKE";

/// The mistake that this process makes.
fn wanted() -> Option<&'static str> {
    static WANTED: OnceLock<Option<String>> = OnceLock::new();
    WANTED.get_or_init(|| env::var(MISTAKE).ok()).as_deref()
}

/// It was made.
fn say(mistake: &str) {
    static SAID: Once = Once::new();
    SAID.call_once(|| eprintln!("makes the mistake {mistake}"));
}

/// Whether this process makes the mistake `name`.
pub fn mistake(name: &str) -> bool {
    let made = wanted() == Some(name);
    if made {
        say(name);
    }
    made
}

/// Which half of the ordering `name` this process leaves out.
fn half_of(name: &str) -> Option<&'static str> {
    let wanted = wanted()?;
    let half = wanted.strip_prefix(name)?.strip_prefix('/')?;
    say(wanted);
    Some(half)
}

/// Runs `model` in all its interleavings. With a bound, in those only in which threads are
/// preempted at most that often where they could go on.
pub fn check(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions.or(builder.preemption_bound);
    builder.max_branches = 20_000;
    builder.check(move || {
        // Made before there are other threads, so that making it orders nothing.
        atomic::step();
        model();
    });
}

/// Runs the test `model` of this program in another process, in which the mistake `name` is made;
/// panics unless it fails.
pub fn must_find(model: &str, name: &str) {
    let program = env::current_exe().expect("the path of this program");
    let output = Command::new(program)
        .args(["--exact", model, "--nocapture"])
        .env(MISTAKE, name)
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("this program in another process");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains(&format!("makes the mistake {name}")),
        "{model} never comes by {name}:\n{said}"
    );
    assert!(!output.status.success(), "{model} does not find {name}");
    let cause: Vec<&str> = said
        .lines()
        .skip_while(|line| !line.contains("panicked at"))
        .take(2)
        .collect();
    println!("{name}: found: {}", cause.join(" "));
}

/// A kernel thread that sleeps and is woken as the kernel does it: `set_current_state()`, a second
/// look, `schedule()` on one side, `wake_up_process()` on the other. The run queue's lock is a
/// mutex.
pub struct Kthread {
    sleeps: atomic::AtomicBool,
    run_queue: loom::sync::Mutex<()>,
    woken: loom::sync::Condvar,
}

impl Kthread {
    /// A thread that is awake. Only one uses it.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self {
            sleeps: atomic::AtomicBool::new(false),
            run_queue: loom::sync::Mutex::new(()),
            woken: loom::sync::Condvar::new(),
        }
    }

    /// `park_unless()` of `sys/thread.rs`.
    pub fn park_unless(&self, ready: impl FnOnce() -> bool) {
        use atomic::Ordering::{Relaxed, SeqCst};
        self.sleeps.store(true, Relaxed);
        atomic::named_fence("kernel.set_current_state", SeqCst);
        if mistake("kernel.no_second_look") || !ready() {
            let mut lock = self.run_queue.lock().unwrap();
            while self.sleeps.load(Relaxed) {
                lock = self.woken.wait(lock).unwrap();
            }
        }
        self.sleeps.store(false, Relaxed);
    }

    /// `wake_up_process()`.
    pub fn wake(&self) {
        use atomic::Ordering::{Relaxed, SeqCst};
        atomic::named_fence("kernel.wake_up_process", SeqCst);
        if self.sleeps.load(Relaxed) {
            let _lock = self.run_queue.lock().unwrap();
            self.sleeps.store(false, Relaxed);
            self.woken.notify_one();
        }
    }
}

/// A thread that waits. Loom tells if one is lost, or reached before it was whole.
pub struct Waiting(Box<Content>);

struct Content {
    thread: atomic::UnsafeCell<Static<Kthread>>,
    _counted: loom::alloc::Track<()>,
}

impl Waiting {
    /// One for `thread`.
    pub fn new(thread: Static<Kthread>) -> Self {
        Self(Box::new(Content {
            thread: atomic::UnsafeCell::new(thread),
            _counted: loom::alloc::Track::new(()),
        }))
    }

    /// Wakes it.
    pub fn wake(self) {
        // SAFETY: It is ours; loom checks that it was handed over properly.
        self.0.thread.with(|p| unsafe { (*p).wake() });
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // What frees memory is an access, too.
        self.0.thread.with_mut(|_| ());
    }
}

// SAFETY: A box is aligned to more than 2, and comes back as it was.
unsafe impl crate::wait_cell::Waiter for Waiting {
    fn into_raw(self) -> std::ptr::NonNull<()> {
        // SAFETY: What it is read from is neither dropped nor used again.
        let content = unsafe { std::ptr::read(&std::mem::ManuallyDrop::new(self).0) };
        std::ptr::NonNull::from(Box::leak(content)).cast()
    }

    unsafe fn from_raw(raw: std::ptr::NonNull<()>) -> Self {
        // SAFETY: It comes from `into_raw()`, once.
        Self(unsafe { Box::from_raw(raw.cast::<Content>().as_ptr()) })
    }
}

/// Something that threads of a model share without counting references, since counting orders
/// memory. Its maker calls [`free`](Static::free) at the end.
pub struct Static<T: 'static>(*mut T);

impl<T> Static<T> {
    /// `value`, somewhere.
    pub fn new(value: T) -> Self {
        Self(Box::into_raw(Box::new(value)))
    }

    /// # Safety
    ///
    /// All threads that use it have ended, and no copy is used any more.
    pub unsafe fn free(self) {
        // SAFETY: It comes from a box, per the function's contract nobody uses it.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

impl<T> Clone for Static<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Static<T> {}

impl<T> std::ops::Deref for Static<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: Valid until `free()`.
        unsafe { &*self.0 }
    }
}

// SAFETY: A shared reference by another name; models answer for what is behind it.
unsafe impl<T> Send for Static<T> {}
// SAFETY: As above.
unsafe impl<T> Sync for Static<T> {}

/// Defines a model, and the mistakes that it must find.
///
/// ```text
/// model! {
///     /// What it shows.
///     fn name() { ... }
///     finds_this: "ring.publish",
/// }
/// ```
#[macro_export]
macro_rules! model {
    (
        $(#[$meta:meta])*
        fn $name:ident() $body:block
        $(#![preemptions = $bound:literal])?
        $($test:ident: $mistake:literal),* $(,)?
    ) => {
        $(#[$meta])*
        #[test]
        fn $name() {
            $crate::model::check(None $(.or(Some($bound)))?, || $body);
        }
        $(
            #[test]
            fn $test() {
                $crate::model::must_find(stringify!($name), $mistake);
            }
        )*
    };
}
