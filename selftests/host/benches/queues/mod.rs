// SPDX-License-Identifier: GPL-2.0

//! The ring and the best bounded queues of the registry behind one trait, and what is measured of
//! them. Used by the criterion benchmarks and by `compare`.

use coop_host::msgq::Polling;
use coop_host::{channel, Consumer, Producer, Shared};
use std::hint::{black_box, spin_loop};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::OnceLock;
use std::time::Instant;

/// A queue under test: both ends, one value at a time.
pub trait Queue {
    const NAME: &'static str;
    type Tx: Send;
    type Rx: Send;
    fn new(capacity: usize) -> (Self::Tx, Self::Rx);
    fn push(tx: &mut Self::Tx, value: u64) -> bool;
    fn pop(rx: &mut Self::Rx) -> Option<u64>;
    /// As many of `values` as fit; queues without batches push one by one.
    fn push_slice(tx: &mut Self::Tx, values: &[u64]) -> usize {
        values.iter().take_while(|v| Self::push(tx, **v)).count()
    }
    fn pop_slice(rx: &mut Self::Rx, out: &mut [u64]) -> usize {
        out.iter_mut()
            .map_while(|slot| Self::pop(rx).map(|v| *slot = v))
            .count()
    }
}

/// Our ring, received from as a thread that polls does it.
pub struct Msgq;
impl Queue for Msgq {
    const NAME: &'static str = "msgq";
    type Tx = Producer<u64>;
    type Rx = Polling<u64, Shared<u64>>;
    fn new(capacity: usize) -> (Self::Tx, Self::Rx) {
        let (tx, rx) = channel(capacity);
        (tx, rx.into())
    }
    #[inline(always)]
    fn push(tx: &mut Self::Tx, value: u64) -> bool {
        tx.push(value).is_ok()
    }
    #[inline(always)]
    fn pop(rx: &mut Self::Rx) -> Option<u64> {
        rx.pop()
    }
    fn push_slice(tx: &mut Self::Tx, values: &[u64]) -> usize {
        tx.push_slice(values)
    }
    fn pop_slice(rx: &mut Self::Rx, out: &mut [u64]) -> usize {
        rx.pop_slice(uninit(out))
    }
}

/// Our ring, received from as all others do it.
pub struct MsgqPlain;
impl Queue for MsgqPlain {
    const NAME: &'static str = "msgq_plain";
    type Tx = Producer<u64>;
    type Rx = Consumer<u64>;
    fn new(capacity: usize) -> (Self::Tx, Self::Rx) {
        channel(capacity)
    }
    #[inline(always)]
    fn push(tx: &mut Self::Tx, value: u64) -> bool {
        tx.push(value).is_ok()
    }
    #[inline(always)]
    fn pop(rx: &mut Self::Rx) -> Option<u64> {
        rx.pop()
    }
    fn push_slice(tx: &mut Self::Tx, values: &[u64]) -> usize {
        tx.push_slice(values)
    }
    fn pop_slice(rx: &mut Self::Rx, out: &mut [u64]) -> usize {
        rx.pop_slice(uninit(out))
    }
}

/// The same, which may be written to.
fn uninit(out: &mut [u64]) -> &mut [MaybeUninit<u64>] {
    // SAFETY: A `u64` may be overwritten through a `MaybeUninit<u64>` by another one, and the ring
    // writes nothing else.
    unsafe { &mut *(std::ptr::from_mut(out) as *mut [MaybeUninit<u64>]) }
}

pub struct Rtrb;
impl Queue for Rtrb {
    const NAME: &'static str = "rtrb";
    type Tx = rtrb::Producer<u64>;
    type Rx = rtrb::Consumer<u64>;
    fn new(capacity: usize) -> (Self::Tx, Self::Rx) {
        rtrb::RingBuffer::new(capacity)
    }
    #[inline(always)]
    fn push(tx: &mut Self::Tx, value: u64) -> bool {
        tx.push(value).is_ok()
    }
    #[inline(always)]
    fn pop(rx: &mut Self::Rx) -> Option<u64> {
        rx.pop().ok()
    }
    fn push_slice(tx: &mut Self::Tx, values: &[u64]) -> usize {
        tx.push_partial_slice(values).0.len()
    }
    fn pop_slice(rx: &mut Self::Rx, out: &mut [u64]) -> usize {
        rx.pop_partial_slice(out).0.len()
    }
}

pub struct Ringbuf;
impl Queue for Ringbuf {
    const NAME: &'static str = "ringbuf";
    type Tx = ringbuf::CachingProd<std::sync::Arc<ringbuf::HeapRb<u64>>>;
    type Rx = ringbuf::CachingCons<std::sync::Arc<ringbuf::HeapRb<u64>>>;
    fn new(capacity: usize) -> (Self::Tx, Self::Rx) {
        use ringbuf::traits::Split;
        ringbuf::HeapRb::new(capacity).split()
    }
    #[inline(always)]
    fn push(tx: &mut Self::Tx, value: u64) -> bool {
        ringbuf::traits::Producer::try_push(tx, value).is_ok()
    }
    #[inline(always)]
    fn pop(rx: &mut Self::Rx) -> Option<u64> {
        ringbuf::traits::Consumer::try_pop(rx)
    }
    fn push_slice(tx: &mut Self::Tx, values: &[u64]) -> usize {
        ringbuf::traits::Producer::push_slice(tx, values)
    }
    fn pop_slice(rx: &mut Self::Rx, out: &mut [u64]) -> usize {
        ringbuf::traits::Consumer::pop_slice(rx, out)
    }
}

pub struct Crossbeam;
impl Queue for Crossbeam {
    const NAME: &'static str = "crossbeam";
    type Tx = std::sync::Arc<crossbeam_queue::ArrayQueue<u64>>;
    type Rx = Self::Tx;
    fn new(capacity: usize) -> (Self::Tx, Self::Rx) {
        let queue = std::sync::Arc::new(crossbeam_queue::ArrayQueue::new(capacity));
        (queue.clone(), queue)
    }
    #[inline(always)]
    fn push(tx: &mut Self::Tx, value: u64) -> bool {
        tx.push(value).is_ok()
    }
    #[inline(always)]
    fn pop(rx: &mut Self::Rx) -> Option<u64> {
        rx.pop()
    }
}

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

/// Runs both sides at once, on two CPUs; returns the nanoseconds until both are done.
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
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            pin_side(true);
            meet();
            right();
            Instant::now()
        });
        pin_side(false);
        meet();
        let start = Instant::now();
        left();
        let end = Instant::now().max(other.join().expect("the other side"));
        (end - start).as_nanos() as f64
    })
}

/// Waits a little longer each time, as who spins should: who looks too often takes the other
/// side's cache lines away.
struct Patience(u32);

/// How long to wait first, as a power of two: of one who looks again at once, and of one who knows that an
/// empty look takes the other side's cache line away for a hundred nanoseconds. Which is better for
/// a queue depends on how fast it is: the faster one comes by an empty look more often.
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

/// ns per value, up to 32 at a time.
pub fn batch<Q: Queue>(count: u64) -> f64 {
    let (mut tx, mut rx) = Q::new(1024);
    let time = both(
        move || {
            let (mut sum, mut seen) = (0u64, 0);
            let mut out = [0; 32];
            let mut patience = Patience(EAGER);
            while seen < count {
                let count = Q::pop_slice(&mut rx, &mut out);
                if count == 0 {
                    patience.wait();
                } else {
                    patience = Patience(EAGER);
                }
                sum += out[..count].iter().sum::<u64>();
                seen += count as u64;
            }
            assert_eq!(sum, count * 7);
        },
        move || {
            let values = [7; 32];
            let mut sent = 0;
            let mut patience = Patience(EAGER);
            while sent < count {
                let count = Q::push_slice(&mut tx, &values[..(count - sent).min(32) as usize]);
                if count == 0 {
                    patience.wait();
                } else {
                    patience = Patience(EAGER);
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
