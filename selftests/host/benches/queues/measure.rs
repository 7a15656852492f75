// SPDX-License-Identifier: GPL-2.0

//! What is measured of a queue: between two threads, each kept on a CPU of its own.

use super::Queue;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::OnceLock;
use std::time::Instant;

/// The CPUs that we were given, before any thread was pinned.
static CPUS: OnceLock<Vec<usize>> = OnceLock::new();

/// Keeps the calling thread on the CPU `cpu` of those we may use, modulo their number.
pub fn pin(cpu: usize) {
    let cpus = CPUS.get_or_init(|| {
        // SAFETY: A plain system call on a set of our own, for which zero is a valid value.
        let all = unsafe {
            let mut all: libc::cpu_set_t = std::mem::zeroed();
            libc::sched_getaffinity(0, size_of_val(&all), &mut all);
            all
        };
        (0..libc::CPU_SETSIZE as usize)
            // SAFETY: The index is within the set.
            .filter(|&c| unsafe { libc::CPU_ISSET(c, &all) })
            .collect()
    });
    if cpus.is_empty() {
        return;
    }
    // SAFETY: As above. If it fails we run unpinned, which only costs precision.
    unsafe {
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpus[cpu % cpus.len()], &mut one);
        libc::sched_setaffinity(0, size_of_val(&one), &one);
    }
}

/// The round, which chooses the two CPUs.
static ROUND: AtomicUsize = AtomicUsize::new(0);

/// Has the next measurements made on another ordered pair of CPUs.
#[allow(dead_code)] // `compare` does.
pub fn next_pair(round: usize) {
    ROUND.store(round, Ordering::Relaxed);
}

/// Keeps the calling thread on its CPU of the pair: the left, or the right one.
fn pin_side(right: bool) {
    let round = ROUND.load(Ordering::Relaxed);
    let cpus = CPUS.get().map_or(1, Vec::len);
    let distance = 1 + round / cpus % cpus.saturating_sub(1).max(1);
    pin(round % cpus + if right { distance } else { 0 });
}

/// Whether measurements run as real-time threads, ahead of all else on their CPUs. Set by the first.
static REAL_TIME: AtomicBool = AtomicBool::new(false);

#[allow(dead_code)] // `compare` does.
pub fn is_real_time() -> bool {
    REAL_TIME.load(Ordering::Relaxed)
}

/// Makes the calling thread, and those it starts, a real-time one, or an ordinary one again.
fn real_time(on: bool) {
    let policy = if on {
        libc::SCHED_FIFO
    } else {
        libc::SCHED_OTHER
    };
    let priority = libc::sched_param {
        sched_priority: i32::from(on),
    };
    // SAFETY: A plain system call on a structure of our own. If it may not, others come in between
    // now and then, which costs precision.
    let done = unsafe { libc::sched_setscheduler(0, policy, &priority) } == 0;
    if on {
        REAL_TIME.store(done, Ordering::Relaxed);
    }
}

/// Runs both sides at once, on two CPUs; returns the nanoseconds until both are done.
///
/// A burst of some milliseconds, for which the machine's other work has to wait.
fn both(left: impl FnOnce() + Send, right: impl FnOnce() + Send) -> f64 {
    let ready = AtomicU32::new(0);
    let meet = || {
        ready.fetch_add(1, Ordering::AcqRel);
        let mut spins = 0;
        while ready.load(Ordering::Acquire) < 2 {
            spins += 1;
            if spins % 1000 == 0 {
                std::thread::yield_now();
            }
            spin_loop();
        }
    };
    pin_side(false);
    real_time(true);
    let time = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            pin_side(true);
            meet();
            right();
            Instant::now()
        });
        // It starts on our CPU.
        while ready.load(Ordering::Acquire) == 0 {
            std::thread::yield_now();
        }
        meet();
        let start = Instant::now();
        left();
        let end = Instant::now().max(other.join().expect("the other side"));
        (end - start).as_nanos() as f64
    });
    real_time(false);
    time
}

/// Waits a little longer each time, as who spins should: who looks too often takes the other
/// side's cache lines away.
struct Patience(u32);

/// How long to wait first, as a power of two: of one who looks again at once, and of one who knows
/// that an empty look takes the other side's cache line away for a hundred nanoseconds. Which is
/// better for a queue depends on how fast it is: the faster one comes by an empty look more often.
#[allow(dead_code)] // `compare` uses both.
pub const EAGER: u32 = 0;
pub const PATIENT: u32 = 4;

impl Patience {
    #[inline(always)]
    fn wait(&mut self) {
        for _ in 0..1 << self.0 {
            spin_loop();
        }
        self.0 = (self.0 + 1).min(6);
    }
}

/// ns for one cache line to the other CPU and back: how far apart the two are. A virtual machine's
/// CPUs may be neighbours at one time and far from each other at another.
#[allow(dead_code)] // `compare` does.
pub fn distance() -> f64 {
    #[repr(align(128))]
    struct Line(AtomicUsize);
    const TRIPS: usize = 300;
    let line = Line(AtomicUsize::new(0));
    let pass_on = |parity: usize| {
        for trip in 0..TRIPS {
            let mine = 2 * trip + parity;
            // Who is not there any more may have lost its CPU.
            let mut looks = 0u32;
            while line.0.load(Ordering::Acquire) != mine {
                looks = looks.wrapping_add(1);
                if looks % 100_000 == 0 {
                    std::thread::yield_now();
                }
            }
            line.0.store(mine + 1, Ordering::Release);
        }
    };
    both(|| pass_on(0), || pass_on(1)) / TRIPS as f64
}

/// ns per value, one at a time. `first`: how long who finds nothing waits first.
pub fn stream<Q: Queue>(count: u64, first: u32) -> f64 {
    let (mut tx, mut rx) = Q::new(1024);
    let time = both(
        move || {
            let mut next = 0;
            while next < count {
                let mut patience = Patience(first);
                let value = loop {
                    match Q::pop(&mut rx) {
                        Some(value) => break value,
                        None => patience.wait(),
                    }
                };
                assert_eq!(value, next);
                next += 1;
            }
        },
        move || {
            for value in 0..count {
                let mut patience = Patience(first);
                while !Q::push(&mut tx, value) {
                    patience.wait();
                }
            }
        },
    );
    time / count as f64
}

/// What is done with values, by the same code for all queues: copies of it, in one loop after
/// another, differ by where they come to lie, and by as much as the queues do.
#[inline(never)]
fn sum(values: &[u64]) -> u64 {
    values.iter().fold(0, |sum, value| sum.wrapping_add(*value))
}

/// ns per value, up to 32 at a time.
pub fn batch<Q: Queue>(count: u64, first: u32) -> f64 {
    let (mut tx, mut rx) = Q::new(1024);
    let time = both(
        move || {
            let (mut total, mut seen) = (0u64, 0);
            let mut out = [0; 32];
            let mut patience = Patience(first);
            while seen < count {
                let count = Q::pop_slice(&mut rx, &mut out);
                if count == 0 {
                    patience.wait();
                } else {
                    patience = Patience(first);
                }
                total += sum(&out[..count]);
                seen += count as u64;
            }
            assert_eq!(total, count * 7);
        },
        move || {
            let values = [7; 32];
            let mut sent = 0;
            let mut patience = Patience(first);
            while sent < count {
                let count = Q::push_slice(&mut tx, &values[..(count - sent).min(32) as usize]);
                if count == 0 {
                    patience.wait();
                } else {
                    patience = Patience(first);
                }
                sent += count as u64;
            }
        },
    );
    time / count as f64
}

/// ns until a value has been there and an answer is back.
pub fn round_trip<Q: Queue>(count: u64) -> f64 {
    let (mut ask, mut asked) = Q::new(64);
    let (mut answer, mut answered) = Q::new(64);
    let time = both(
        move || {
            for value in 0..count {
                Q::push(&mut ask, value);
                while Q::pop(&mut answered).is_none() {
                    spin_loop();
                }
            }
        },
        move || {
            for _ in 0..count {
                let value = loop {
                    match Q::pop(&mut asked) {
                        Some(value) => break value,
                        None => spin_loop(),
                    }
                };
                Q::push(&mut answer, value);
            }
        },
    );
    time / count as f64
}

/// ns for a push and a pop in one thread.
pub fn one_thread<Q: Queue>(count: u64) -> f64 {
    let (mut tx, mut rx) = Q::new(64);
    let start = Instant::now();
    for value in 0..count {
        Q::push(&mut tx, black_box(value));
        black_box(Q::pop(&mut rx));
    }
    start.elapsed().as_nanos() as f64 / count as f64
}
