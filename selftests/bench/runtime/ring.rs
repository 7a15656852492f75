// SPDX-License-Identifier: GPL-2.0

//! The ring by itself.

use crate::harness::*;
use coop_domain::msgq::{Borrowed, Consumer, Producer, Ring, Slot};
use core::hint::black_box;
use core::mem::MaybeUninit;
use kernel::prelude::*;

const SLOTS: usize = 64;
const BATCH: usize = 32;

/// Makes a ring and its ends, as locals of the caller. The ring itself is known elsewhere.
macro_rules! ring {
    ($tx:ident, $rx:ident) => {
        let mut memory = [const { Slot::new() }; SLOTS];
        let Ok(ring) = Ring::new(Borrowed::from(black_box(&mut memory[..]))) else {
            return Err(EINVAL);
        };
        let ring = black_box(&ring);
        let (Ok(mut $tx), Ok(mut $rx)) = (Producer::new(ring), Consumer::new(ring)) else {
            return Err(EINVAL);
        };
    };
}

/// Pushes and pops; what the consumer found matters, and what the producer did is not known to it.
macro_rules! push_pop {
    ($ops:expr, $tx:expr, $rx:expr) => {
        timed_loop!($ops, {
            if $tx.push(1u64).is_err() {
                return Err(ENOSPC);
            }
            forget();
            match $rx.pop() {
                Some(v) => use_value(v),
                None => return Err(EIO),
            }
        })
    };
}

/// One op: push a `u64` into an empty ring of 64 and pop it, on one CPU, the ends being locals of
/// the function, as in a loop that serves a ring.
pub(crate) struct PushPop;

impl Figure for PushPop {
    const NAME: &'static CStr = c"ring.push_pop";
    const OPS: u32 = 4096;

    fn run(s: &mut Sample, ops: u32) -> Result {
        ring!(tx, rx);
        s.ns = push_pop!(ops, tx, rx);
        Ok(())
    }
}

/// The same with the ends in memory, as fields of a structure that other functions know: nothing
/// stays in registers from one call to the next. (A kfifo has no other way.)
pub(crate) struct PushPopInMemory;

impl Figure for PushPopInMemory {
    const NAME: &'static CStr = c"ring.push_pop_in_memory";
    const OPS: u32 = 4096;

    fn run(s: &mut Sample, ops: u32) -> Result {
        ring!(tx, rx);
        let (tx, rx) = (black_box(&mut tx), black_box(&mut rx));
        s.ns = push_pop!(ops, tx, rx);
        Ok(())
    }
}

/// One op: one `u64` of a batch of 32 that is written in place and published by one store, then
/// read in place and released by one.
pub(crate) struct Batch32;

impl Figure for Batch32 {
    const NAME: &'static CStr = c"ring.batch32";
    const OPS: u32 = 512;

    fn run(s: &mut Sample, ops: u32) -> Result {
        ring!(tx, rx);
        s.ns = timed_loop!(ops, {
            let Some(free) = tx.spare_chunk::<BATCH>() else {
                return Err(ENOSPC);
            };
            for slot in free {
                slot.write(1u64);
            }
            // SAFETY: That many were written.
            unsafe { tx.commit(BATCH) };
            forget();
            let Some(full) = rx.chunk::<BATCH>() else {
                return Err(EIO);
            };
            use_value(full.iter().fold(0, |sum, v| sum ^ *v));
            rx.release(BATCH);
        });
        s.ops = u64::from(ops).wrapping_mul(BATCH as u64);
        Ok(())
    }
}

/// One op: one `u64` of a batch of 32 that is copied in by one call and out by another.
pub(crate) struct Batch32Copied;

impl Figure for Batch32Copied {
    const NAME: &'static CStr = c"ring.batch32_copied";
    const OPS: u32 = 512;

    fn run(s: &mut Sample, ops: u32) -> Result {
        ring!(tx, rx);
        let from = black_box([1u64; BATCH]);
        let mut to = [const { MaybeUninit::<u64>::uninit() }; BATCH];
        s.ns = timed_loop!(ops, {
            if tx.push_slice(&from) != BATCH {
                return Err(ENOSPC);
            }
            forget();
            if rx.pop_slice(black_box(&mut to)) != BATCH {
                return Err(EIO);
            }
        });
        s.ops = u64::from(ops).wrapping_mul(BATCH as u64);
        Ok(())
    }
}
