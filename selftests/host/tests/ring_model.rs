// SPDX-License-Identifier: GPL-2.0

//! The ring against a `VecDeque` that does the same: any sequence of operations, on any capacity,
//! with values that count how often they are dropped. Indices start shortly before they wrap (see
//! `msgq.rs`), so that each case goes across `usize::MAX`.

#![cfg(not(loom))]

use coop_host::msgq::{Polling, POSITION_BITS};
use coop_host::{channel, ring, Consumer, Heap, HeapRing, Producer};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;

/// A value that says when it is dropped.
#[derive(Debug)]
struct Value {
    id: u32,
    drops: Arc<AtomicUsize>,
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Relaxed);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Push,
    Stage,
    Publish,
    PushBatch(usize),
    Commit(usize),
    CommitChunk,
    Chunk,
    Pop,
    Peek,
    Drain { max: usize, take: usize },
    ForgetDrain { take: usize },
    Slices,
    Release(usize),
    PopSlice(usize),
    NewProducer,
    NewConsumer,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Push),
        2 => Just(Op::Stage),
        1 => Just(Op::Publish),
        2 => (0usize..20).prop_map(Op::PushBatch),
        2 => (0usize..20).prop_map(Op::Commit),
        2 => Just(Op::CommitChunk),
        2 => Just(Op::Chunk),
        4 => Just(Op::Pop),
        1 => Just(Op::Peek),
        2 => (0usize..20, 0usize..20).prop_map(|(max, take)| Op::Drain { max, take }),
        1 => (0usize..4).prop_map(|take| Op::ForgetDrain { take }),
        1 => Just(Op::Slices),
        2 => (0usize..20).prop_map(Op::Release),
        2 => (0usize..20).prop_map(Op::PopSlice),
        1 => Just(Op::NewProducer),
        1 => Just(Op::NewConsumer),
    ]
}

/// The model: what was published, and what was only staged. Slots that the consumer emptied and
/// did not release yet count as taken, for the producer.
struct Model {
    capacity: usize,
    queue: VecDeque<u32>,
    staged: VecDeque<u32>,
    unreleased: usize,
    next: u32,
    drops: Arc<AtomicUsize>,
    dropped: usize,
    forgotten: usize,
}

impl Model {
    fn value(&mut self) -> Value {
        self.next += 1;
        Value {
            id: self.next,
            drops: self.drops.clone(),
        }
    }

    fn room(&self) -> usize {
        self.capacity - self.queue.len() - self.staged.len() - self.unreleased
    }

    fn publish(&mut self) {
        self.queue.append(&mut self.staged);
    }
}

fn run(capacity: usize, ops: &[Op]) -> Result<(), TestCaseError> {
    let ring = Box::new(ring::<Value>(capacity));
    let mut tx = coop_host::msgq::Producer::new(&*ring).ok().unwrap();
    let mut rx = coop_host::msgq::Consumer::new(&*ring).ok().unwrap();
    let mut m = Model {
        capacity,
        queue: VecDeque::new(),
        staged: VecDeque::new(),
        unreleased: 0,
        next: 0,
        drops: Arc::default(),
        dropped: 0,
        forgotten: 0,
    };
    // Values and the positions that the ring told for them.
    let mut positions = Vec::new();
    for op in ops {
        match *op {
            Op::Push | Op::Stage => {
                let room = m.room();
                let value = m.value();
                let id = value.id;
                let pushed = if matches!(op, Op::Push) {
                    tx.push(value)
                } else {
                    tx.stage(value)
                };
                prop_assert_eq!(pushed.is_ok(), room > 0);
                match pushed {
                    Ok(()) => {
                        m.staged.push_back(id);
                        if matches!(op, Op::Push) {
                            m.publish();
                        }
                    }
                    Err(back) => {
                        prop_assert_eq!(back.id, id);
                        drop(back);
                        m.dropped += 1;
                    }
                }
            }
            Op::Publish => {
                tx.publish();
                m.publish();
            }
            Op::PushBatch(n) => {
                let expected = n.min(m.room());
                let mut made = 0;
                let count = tx.push_batch(&mut std::iter::from_fn(|| {
                    if made == n {
                        return None;
                    }
                    made += 1;
                    let value = m.value();
                    m.staged.push_back(value.id);
                    Some(value)
                }));
                prop_assert_eq!(count, expected);
                prop_assert_eq!(made, expected, "a value was taken that does not fit");
                m.publish();
            }
            Op::Commit(n) => {
                let (first, second) = tx.spare();
                prop_assert_eq!(first.len() + second.len(), m.room());
                let n = n.min(first.len() + second.len());
                for slot in first.iter_mut().chain(second).take(n) {
                    let value = m.value();
                    m.staged.push_back(value.id);
                    slot.write(value);
                }
                // SAFETY: The first `n` of the spare slots were written just now.
                unsafe { tx.commit(n) };
                m.publish();
            }
            Op::CommitChunk => {
                let room = m.room();
                match tx.spare_chunk::<3>() {
                    Some(slots) => {
                        prop_assert!(room >= 3);
                        for slot in slots.iter_mut() {
                            let value = m.value();
                            m.staged.push_back(value.id);
                            slot.write(value);
                        }
                        // SAFETY: All of them were written just now.
                        unsafe { tx.commit(3) };
                        m.publish();
                    }
                    // Where the memory ends is what `spare` knows.
                    None => prop_assert!(tx.spare().0.len() < 3),
                }
            }
            Op::Chunk => {
                let front: Vec<u32> = m.queue.iter().copied().take(3).collect();
                match rx.chunk::<3>() {
                    Some(values) => {
                        prop_assert_eq!(values.each_ref().map(|v| v.id).to_vec(), front);
                        prop_assert_eq!(rx.release(2), 2);
                        m.queue.drain(..2);
                        m.dropped += 2;
                        m.unreleased = 0;
                    }
                    None => prop_assert!(rx.as_slices().0.len() < 3),
                }
            }
            Op::Pop => {
                let got = rx.pop();
                m.unreleased = if got.is_some() { 0 } else { m.unreleased };
                prop_assert_eq!(got.as_ref().map(|v| v.id), m.queue.pop_front());
                m.dropped += usize::from(got.is_some());
            }
            Op::Peek => {
                prop_assert_eq!(rx.peek().map(|v| v.id), m.queue.front().copied());
            }
            Op::Drain { max, take } => {
                let drain = rx.drain(max);
                prop_assert_eq!(drain.len(), max.min(m.queue.len()));
                for value in drain.take(take) {
                    prop_assert_eq!(Some(value.id), m.queue.pop_front());
                    m.dropped += 1;
                }
                m.unreleased = 0;
            }
            Op::ForgetDrain { take } => {
                let mut drain = rx.drain(usize::MAX);
                for _ in 0..take {
                    let Some(value) = drain.next() else { break };
                    prop_assert_eq!(Some(value.id), m.queue.pop_front());
                    m.dropped += 1;
                    m.unreleased += 1;
                }
                std::mem::forget(drain);
                // The rest is forgotten with it, and never dropped.
                m.forgotten += m.queue.len();
                m.unreleased += m.queue.len();
                m.queue.clear();
            }
            Op::Slices => {
                let (first, second) = rx.as_slices();
                let got: Vec<u32> = first.iter().chain(&*second).map(|v| v.id).collect();
                prop_assert_eq!(got, m.queue.iter().copied().collect::<Vec<_>>());
            }
            Op::Release(n) => {
                let expected = n.min(m.queue.len());
                prop_assert_eq!(rx.release(n), expected);
                m.queue.drain(..expected);
                m.dropped += expected;
                m.unreleased = 0;
            }
            Op::PopSlice(n) => {
                let mut out: Vec<MaybeUninit<Value>> =
                    (0..n).map(|_| MaybeUninit::uninit()).collect();
                let count = rx.pop_slice(&mut out);
                prop_assert_eq!(count, n.min(m.queue.len()));
                for value in out.into_iter().take(count) {
                    // SAFETY: `pop_slice` has filled the first `count`.
                    let value = unsafe { value.assume_init() };
                    prop_assert_eq!(Some(value.id), m.queue.pop_front());
                    m.dropped += 1;
                }
                if count > 0 {
                    m.unreleased = 0;
                }
            }
            Op::NewProducer => {
                prop_assert!(coop_host::msgq::Producer::new(&*ring).is_err());
                drop(tx);
                m.publish();
                // In between, one who works without an end.
                let value = m.value();
                // SAFETY: There is no other producer.
                match unsafe { ring.push(value) } {
                    Ok(()) => m.queue.push_back(m.next),
                    Err(_) => m.dropped += 1,
                }
                // SAFETY: As above.
                if let Some(vacant) = unsafe { ring.vacant() } {
                    prop_assert!(m.room() > 0);
                    let position = vacant.position();
                    prop_assert!(!ring.has_taken(position));
                    vacant.push(m.value());
                    m.queue.push_back(m.next);
                    positions.push((m.next, position));
                } else {
                    prop_assert_eq!(m.room(), 0);
                }
                let room = m.room();
                let (made, last) = {
                    let mut values = (0..3).map(|_| m.value());
                    // SAFETY: As above.
                    match unsafe { ring.stage_batch(&mut values) } {
                        Some(mut staged) => {
                            // The ring shows none of them yet.
                            prop_assert_eq!(ring.len(), capacity - room);
                            staged.first_mut(|value| value.id += 1_000_000);
                            (staged.len(), Some(staged.last_position()))
                        }
                        None => (0, None),
                    }
                };
                prop_assert_eq!(made, room.min(3));
                for id in m.next - made as u32 + 1..=m.next {
                    let first = id == m.next - made as u32 + 1;
                    m.queue.push_back(if first { id + 1_000_000 } else { id });
                }
                if made > 0 {
                    positions.push((*m.queue.back().unwrap(), last.unwrap()));
                }
                tx = coop_host::msgq::Producer::new(&*ring).ok().unwrap();
            }
            Op::NewConsumer => {
                prop_assert!(coop_host::msgq::Consumer::new(&*ring).is_err());
                drop(rx);
                m.unreleased = 0;
                // SAFETY: There is no other consumer.
                let peeked = unsafe { ring.peek() }.map(|v| v.id);
                prop_assert_eq!(peeked, m.queue.front().copied());
                // SAFETY: As above.
                let got = unsafe { ring.pop() };
                prop_assert_eq!(got.as_ref().map(|v| v.id), m.queue.pop_front());
                m.dropped += usize::from(got.is_some());
                drop(got);
                let mut noted = None;
                // SAFETY: As above; one `First` at a time.
                if let Some(first) = unsafe { ring.first_noting(|n| noted = Some(n)) } {
                    prop_assert!(noted.is_none_or(|n| n == m.queue.len()), "{:?}", noted);
                    let id = m.queue.pop_front();
                    prop_assert_eq!(first.with(|v| Some(v.id)), id);
                    prop_assert_eq!(Some(first.take().id), id);
                    m.dropped += 1;
                } else {
                    prop_assert!(m.queue.is_empty());
                }
                rx = coop_host::msgq::Consumer::new(&*ring).ok().unwrap();
            }
        }
        for (id, position) in &positions {
            // What the consumer moved out and did not release yet may count as taken or not.
            if m.unreleased == 0 {
                let taken = !m.queue.contains(id);
                prop_assert_eq!(ring.has_taken(*position), taken);
                let low = position & ((1 << POSITION_BITS) - 1);
                prop_assert_eq!(ring.has_taken(low), taken);
            }
        }
        prop_assert_eq!(m.drops.load(Relaxed), m.dropped);
        prop_assert_eq!(rx.len(), m.queue.len());
        prop_assert_eq!(ring.len(), m.queue.len() + m.unreleased);
        prop_assert_eq!(tx.room(), m.room());
        prop_assert_eq!(tx.is_full(), m.room() == 0);
        prop_assert_eq!(rx.is_empty(), m.queue.is_empty());
        prop_assert_eq!((tx.capacity(), rx.capacity()), (capacity, capacity));
    }
    drop((tx, rx));
    drop(ring);
    prop_assert_eq!(
        m.drops.load(Relaxed) + m.forgotten,
        m.next as usize,
        "each value is dropped once"
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn does_what_a_queue_does(
        log2 in 0u32..5,
        ops in proptest::collection::vec(op(), 1..120),
    ) {
        run(1 << log2, &ops)?;
    }

    /// The same in slices of plain values, and across every place of the memory's end.
    #[test]
    fn slices_of_plain_values(
        log2 in 0u32..6,
        steps in proptest::collection::vec((0usize..40, 0usize..40), 1..60),
    ) {
        let (mut tx, mut rx) = channel::<u64>(1 << log2);
        let mut queue = VecDeque::new();
        let mut next = 0u64;
        for (push, pop) in steps {
            let values: Vec<u64> = (next..).take(push).collect();
            let count = tx.push_slice(&values);
            prop_assert_eq!(count, push.min((1 << log2) - queue.len()));
            queue.extend(&values[..count]);
            next += count as u64;
            let mut out = [MaybeUninit::uninit(); 40];
            let count = rx.pop_slice(&mut out[..pop]);
            prop_assert_eq!(count, pop.min(queue.len()));
            for value in &out[..count] {
                // SAFETY: `pop_slice` has filled the first `count`.
                prop_assert_eq!(Some(unsafe { value.assume_init() }), queue.pop_front());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    /// The end of who polls: the same values in the same order, each dropped once; it holds back
    /// an eighth of the slots at most (of a ring with fewer than 8, all), and none once it has
    /// found nothing, or has become an ordinary end.
    #[test]
    fn values_that_are_polled(
        log2 in 0u32..8,
        steps in proptest::collection::vec((0usize..70, 0usize..70, 0usize..6), 1..80),
    ) {
        let capacity = 1usize << log2;
        let held_back = if capacity < 8 { capacity } else { capacity / 8 };
        let (mut tx, rx) = channel::<Value>(capacity);
        let mut rx = Polling::from(rx);
        prop_assert_eq!(rx.capacity(), capacity);
        let drops = Arc::new(AtomicUsize::new(0));
        let mut queue = VecDeque::new();
        let (mut next, mut dropped) = (0, 0);
        for (push, pop, way) in steps {
            let room = tx.room();
            prop_assert!(room <= capacity - queue.len());
            prop_assert!(room + held_back >= capacity - queue.len());
            let mut values = (next..).take(push).map(|id| Value { id, drops: drops.clone() });
            let count = tx.push_batch(&mut values);
            prop_assert_eq!(count, push.min(room));
            queue.extend(next..next + count as u32);
            next += count as u32;
            let mut found_nothing = false;
            match way {
                0 => {
                    let mut end = Consumer::from(rx);
                    prop_assert_eq!(tx.room(), capacity - queue.len());
                    prop_assert_eq!(end.pop().map(|v| v.id), queue.pop_front());
                    dropped = next as usize - queue.len();
                    rx = end.into();
                }
                1 | 2 => {
                    let mut out: Vec<MaybeUninit<Value>> =
                        (0..pop).map(|_| MaybeUninit::uninit()).collect();
                    let count = rx.pop_slice(&mut out);
                    prop_assert_eq!(count == 0, pop == 0 || queue.is_empty());
                    found_nothing = count == 0 && pop != 0;
                    for value in out.into_iter().take(count) {
                        // SAFETY: `pop_slice` has filled the first `count`.
                        let value = unsafe { value.assume_init() };
                        prop_assert_eq!(Some(value.id), queue.pop_front());
                        dropped += 1;
                    }
                }
                _ => {
                    for _ in 0..pop {
                        let got = rx.pop();
                        found_nothing = got.is_none();
                        dropped += usize::from(got.is_some());
                        prop_assert_eq!(got.map(|v| v.id), queue.pop_front());
                    }
                }
            }
            if found_nothing {
                prop_assert_eq!(tx.room(), capacity);
            }
            prop_assert_eq!(drops.load(Relaxed), dropped);
        }
        drop((tx, rx));
        prop_assert_eq!(drops.load(Relaxed), next as usize, "each value is dropped once");
    }
}

#[test]
fn capacity_is_a_power_of_two() {
    for len in [0, 3, 5, 6, 7, 100] {
        assert!(HeapRing::<u8>::new(Heap::new(len)).is_err(), "{len}");
    }
    for len in [1, 2, 64, 4096] {
        assert_eq!(ring::<u8>(len).capacity(), len);
    }
}

/// Wherever they lie in the memory, a consumer who takes all there are is told of as many.
#[test]
fn the_most_there_were_is_noted() {
    for capacity in [1, 2, 8] {
        let ring = ring::<usize>(capacity);
        for count in (0..=4 * capacity).map(|n| n % (capacity + 1)) {
            // SAFETY: There is no other producer.
            assert_eq!(unsafe { ring.push_batch(&mut (0..count)) }, count);
            let (mut most, mut taken) = (1, 0);
            // SAFETY: There is no other consumer, and one `First` at a time.
            while let Some(first) = unsafe { ring.first_noting(|n| most = most.max(n)) } {
                assert_eq!(first.take(), taken);
                taken += 1;
            }
            assert_eq!((most, taken), (count.max(1), count));
        }
    }
}

#[test]
fn the_header_is_two_cache_lines() {
    assert_eq!(size_of::<coop_host::msgq::Ring<u64>>(), 128);
    assert_eq!(align_of::<coop_host::msgq::Ring<u64>>(), 64);
}

#[test]
fn values_without_size() {
    let (mut tx, mut rx) = channel::<()>(4);
    assert_eq!(tx.push_batch(&mut std::iter::repeat(())), 4);
    assert_eq!(tx.push(()), Err(()));
    assert_eq!(rx.drain(9).count(), 4);
    assert_eq!(rx.pop(), None);
}

/// A consumer that is forgotten may have taken values: they must not be dropped again.
#[test]
fn a_forgotten_consumer_leaks_and_nothing_worse() {
    let drops = Arc::new(AtomicUsize::new(0));
    let ring = ring::<Value>(4);
    {
        let mut tx = coop_host::msgq::Producer::new(&ring).ok().unwrap();
        for id in 0..3 {
            let drops = drops.clone();
            tx.push(Value { id, drops }).unwrap();
        }
        let mut rx = coop_host::msgq::Consumer::new(&ring).ok().unwrap();
        let mut drain = rx.drain(2);
        drop(drain.next());
        std::mem::forget(drain);
        std::mem::forget(rx);
    }
    drop(ring);
    assert_eq!(drops.load(Relaxed), 1);
}

/// Two threads, all the ways to send and to receive, a checksum over everything.
#[test]
fn two_threads_lose_nothing() {
    for capacity in [1, 2, 64, 1024] {
        // Small rings mean a change of threads for each few values.
        let total = (capacity as u64 * 1000).max(4000);
        let (tx, rx) = channel::<u64>(capacity);
        let sender = std::thread::spawn(move || send(tx, total));
        receive(rx, total);
        sender.join().unwrap();
    }
}

/// The same for who polls: one at a time and in slices, so fast that it waits now and then.
#[test]
fn two_threads_lose_nothing_that_is_polled() {
    for capacity in [1, 2, 64, 1024] {
        let total = (capacity as u64 * 1000).max(4000);
        let (tx, rx) = channel::<u64>(capacity);
        let sender = std::thread::spawn(move || send(tx, total));
        let mut rx = Polling::from(rx);
        let mut next = 0;
        while next < total {
            let before = next;
            if let Some(value) = rx.pop() {
                assert_eq!(value, next);
                next += 1;
            }
            let mut out = [MaybeUninit::uninit(); 11];
            let count = rx.pop_slice(&mut out);
            for value in &out[..count] {
                // SAFETY: `pop_slice` has filled the first `count`.
                assert_eq!(unsafe { value.assume_init() }, next);
                next += 1;
            }
            if next == before {
                std::thread::yield_now();
            }
        }
        sender.join().unwrap();
        assert_eq!(rx.pop(), None);
    }
}

fn send(mut tx: Producer<u64>, total: u64) {
    let mut next = 0;
    let mut turn = 0u64;
    while next < total {
        turn += 1;
        let before = next;
        match turn % 5 {
            0 => next += u64::from(tx.push(next).is_ok()),
            1 => next += tx.push_batch(&mut (next..total).take(17)) as u64,
            2 => {
                let values: Vec<u64> = (next..total).take(9).collect();
                next += tx.push_slice(&values) as u64;
            }
            3 => {
                while next < total && next - before < 5 && tx.stage(next).is_ok() {
                    next += 1;
                }
                tx.publish();
            }
            _ => {
                let (first, second) = tx.spare();
                let mut built = 0;
                for slot in first.iter_mut().chain(second).take((total - next) as usize) {
                    slot.write(next + built as u64);
                    built += 1;
                }
                // SAFETY: `built` slots, the first ones, were written.
                unsafe { tx.commit(built) };
                next += built as u64;
            }
        }
        if next == before {
            std::thread::yield_now();
        }
    }
}

fn receive(mut rx: Consumer<u64>, total: u64) {
    let mut next = 0;
    let mut turn = 0u64;
    let mut see = |value: u64| {
        assert_eq!(value, next);
        next += 1;
        next
    };
    let mut seen = 0;
    while seen < total {
        turn += 1;
        let before = seen;
        match turn % 4 {
            0 => {
                if let Some(value) = rx.pop() {
                    seen = see(value);
                }
            }
            1 => rx.drain(13).for_each(|value| seen = see(value)),
            2 => {
                let mut out = [MaybeUninit::uninit(); 11];
                let count = rx.pop_slice(&mut out);
                for value in &out[..count] {
                    // SAFETY: `pop_slice` has filled the first `count`.
                    seen = see(unsafe { value.assume_init() });
                }
            }
            _ => {
                let (first, second) = rx.as_slices();
                let count = first.len() + second.len();
                for value in first.iter().chain(&*second) {
                    seen = see(*value);
                }
                assert_eq!(rx.release(count), count);
            }
        }
        if seen == before {
            std::thread::yield_now();
        }
    }
    assert_eq!(rx.pop(), None);
}
