// SPDX-License-Identifier: GPL-2.0

//! Messages without an answer, the sender's side.

use crate::harness::*;
use coop_domain::prelude::*;
use kernel::prelude::*;
use kernel::time::delay::fsleep;
use kernel::time::Delta;

/// Messages of a batch.
const BATCH: u64 = 32;

/// A mailbox of `domain` whose messages nobody needs.
fn mailbox(domain: &Domain) -> Result<Sender<u64>> {
    let (tx, mut rx) = domain.mailbox_with::<u64>(Capacity {
        // The largest figure and its warm-up.
        task: 2048,
        softirq: 0,
        hardirq: 0,
    })?;
    domain
        .spawn(c"receiver", async move {
            while let Some(v) = rx.recv().await {
                use_value(v);
            }
        })?
        .detach();
    Ok(tx)
}

/// One op: `try_post` of a `u64` from a thread to a domain that is running: nobody has to be woken.
pub(crate) struct Busy;

impl Figure for Busy {
    const NAME: &'static CStr = c"post.busy";
    const OPS: u32 = 256;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = domain_on(cpu())?;
        let tx = mailbox(&domain)?;
        let _held = Held::new(&domain)?;
        s.ns = timed_loop!(ops, tx.try_post(1).map_err(|_| ENOSPC)?);
        Ok(())
    }
}

/// One op: one of 32 `u64` that a thread posts at once to a domain that is running.
pub(crate) struct Batch32;

impl Figure for Batch32 {
    const NAME: &'static CStr = c"post.batch32";
    const OPS: u32 = 32;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = domain_on(cpu())?;
        let tx = mailbox(&domain)?;
        let _held = Held::new(&domain)?;
        s.ns = timed_loop!(ops, {
            if tx.post_batch(&mut (0..BATCH)).map_err(|_| ENOSPC)? != BATCH as usize {
                return Err(ENOSPC);
            }
        });
        s.ops = u64::from(ops).wrapping_mul(BATCH);
        Ok(())
    }
}

/// One op: `try_post` of a `u64` from a thread to a domain that sleeps, on the same CPU, wake-up of
/// its home thread included; the sender's side alone, as in `base.wake_up_process`.
pub(crate) struct Idle;

impl Figure for Idle {
    const NAME: &'static CStr = c"post.idle";
    const OPS: u32 = 64;
    const OVERHEAD: Overhead = Overhead::Clock;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = domain_on(cpu())?;
        let tx = mailbox(&domain)?;
        let _fifo = Fifo::enter();
        for i in 0..ops.wrapping_add(WARM_UP) {
            // Until the message before is received, and the domain asleep.
            fsleep(Delta::from_micros(100));
            let start = start_clock();
            let posted = tx.try_post(1);
            let ns = stop_clock().wrapping_sub(start);
            posted.map_err(|_| ENOSPC)?;
            if i >= WARM_UP {
                s.ns = s.ns.wrapping_add(ns);
            }
        }
        Ok(())
    }
}

/// One op: `try_post` of a `u64` from a thread to an idle `Bh` domain: the sender switches bottom
/// halves off and runs the receiver, which is done with the message when the post returns.
pub(crate) struct Bh;

impl Figure for Bh {
    const NAME: &'static CStr = c"post.bh";
    const OPS: u32 = 1024;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = bh_domain_on(cpu())?;
        let tx = mailbox(&domain)?;
        settle();
        let polls = domain.stats().polls();
        s.ns = timed_loop!(ops, tx.try_post(1).map_err(|_| ENOSPC)?);
        // Each by itself. (Where anything is counted: the receiver has been polled before.)
        if polls != 0 && domain.stats().polls() < polls.wrapping_add(u64::from(ops)) {
            return Err(EIO);
        }
        Ok(())
    }
}

/// The same where bottom halves are off already, as in a softirq.
pub(crate) struct BhInside;

impl Figure for BhInside {
    const NAME: &'static CStr = c"post.bh_off";
    const OPS: u32 = 1024;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = bh_domain_on(cpu())?;
        let tx = mailbox(&domain)?;
        settle();
        let off = BhOff::enter();
        let ns = (|| Ok::<_, Error>(timed_loop!(ops, tx.try_post(1).map_err(|_| ENOSPC)?)))();
        drop(off);
        s.ns = ns?;
        Ok(())
    }
}
