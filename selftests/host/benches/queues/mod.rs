// SPDX-License-Identifier: GPL-2.0

//! The ring and the best bounded queues of the registry behind one trait. Used, as is what
//! [`measure`] measures of them, by the criterion benchmarks and by `compare`.

pub mod measure;

use coop_host::msgq::Polling;
use coop_host::{channel, Consumer, Producer, Shared};
use std::mem::MaybeUninit;

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
