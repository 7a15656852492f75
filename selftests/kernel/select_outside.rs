// SPDX-License-Identifier: GPL-2.0

//! Losing in a `select` against what comes from outside of the domain: interrupts, and callers that
//! go. Invariant 2: the loser loses nothing.

use crate::harness::*;
use crate::sys::{self, eventually, TestIrq, Worker};
use crate::time::us;
use coop_domain::prelude::*;
use core::sync::atomic::{AtomicU32, Ordering::*};
use kernel::prelude::*;
use kernel::sync::Arc;

pub(crate) const TESTS: &[Test] = &[
    ("select_outside.loses_no_interrupt", no_interrupt),
    ("select_outside.loses_no_caller_that_goes", no_abandonment),
    ("select_outside.dropped_wait_for_a_caller", dropped_wait),
];

/// The bottom half of a line awaits interrupts, and always something else, too; the next interrupt
/// comes only when the last was seen. One that is lost stops it.
fn no_interrupt(log: &mut Log) -> Result {
    const TIMES: u32 = 5_000;
    let domain = domain_on(c"select", 0)?;
    let (irq, signal) = (TestIrq::new()?, signal()?);
    let interrupts = Arc::new(AtomicU32::new(0), GFP_KERNEL)?;
    let seen = Arc::new(AtomicU32::new(0), GFP_KERNEL)?;
    let i = interrupts.clone();
    let top = move || {
        i.fetch_add(1, Relaxed);
        Top::Wake
    };
    let (number, wake) = (irq.number(), signal.clone());
    // SAFETY: The line is dropped, below, before its interrupt.
    let line = unsafe { IrqLine::from_number(number, false, c"coop_test", wake, top) }?;
    let s = seen.clone();
    let bottom = async move {
        let (mut n, mut lost) = (0u32, 0u32);
        while n < TIMES {
            // By turns: one that loses at once, and one that loses after a while.
            let won = if n % 2 == 0 {
                matches!(select(signal.wait(), yield_now()).await, Either::First(()))
            } else {
                let pause = sleep(us(20));
                matches!(select(signal.wait(), pause).await, Either::First(()))
            };
            if !won {
                lost += 1;
                continue;
            }
            n = s.fetch_add(1, AcqRel) + 1;
        }
        lost
    };
    let bottom = domain.spawn(c"bottom half", bottom)?;
    let cpu = other(0);
    sys::move_to(cpu)?;
    for n in 1..=TIMES {
        // From its own CPU and from another one.
        while !TestIrq::raise(n % 2 * cpu) {
            core::hint::spin_loop();
        }
        let done = eventually(LONG, || seen.load(Acquire) == n);
        check!(log, done, "interrupt {n} was lost");
    }
    let lost = run(&domain, bottom)??;
    check!(log, lost > 0, "it never lost");
    TestIrq::sync();
    drop(line);
    check_eq!(log, interrupts.load(Acquire), TIMES);
    Ok(())
}

/// A server that works on an answer, piece by piece, and wants to be told when its caller has gone.
/// It is told, however often the wait for that has lost before.
fn no_abandonment(log: &mut Log) -> Result {
    const CALLS: u32 = 30;
    let domain = domain_on(c"select", 0)?;
    let (caller, mut requests) = domain.call_mailbox::<u32, u32>()?;
    // Who has gone, and lost waits.
    let counts = Arc::new([0, 0].map(AtomicU32::new), GFP_KERNEL)?;
    let c = counts.clone();
    let server = async move {
        let [told, lost] = &*c;
        while let Some(request) = requests.recv().await {
            let (n, mut reply) = request.into_parts();
            loop {
                let piece = sleep(us(i64::from(50 * (n % 5 + 1))));
                match select(reply.abandoned(), piece).await {
                    Either::First(()) => break,
                    Either::Second(()) => lost.fetch_add(1, AcqRel),
                };
            }
            told.fetch_add(u32::from(reply.is_abandoned()), AcqRel);
        }
    };
    let server = domain.spawn(c"server", server)?;
    let thread = Worker::start(Some(other(0)), move || {
        let [told, lost] = &*counts;
        let (mut calls, mut patience) = (0, 1);
        for n in 0..CALLS {
            // More patient each time until the wait has lost meanwhile.
            let before = lost.load(Acquire);
            while lost.load(Acquire) < before + 2 {
                // It is not going to be answered.
                if caller.call_timeout(n, patience + n % 7) != Err(ETIMEDOUT) {
                    return Some(n);
                }
                calls += 1;
                if !eventually(LONG, || told.load(Acquire) == calls) {
                    return Some(n);
                }
                patience += 1;
            }
        }
        None
    })?;
    let stuck = thread.join(6 * LONG).ok_or(ETIME)?;
    check_eq!(log, stuck, None);
    // The caller is gone: that ends the server.
    run(&domain, server)??;
    Ok(())
}

/// A wait that was dropped leaves nothing behind: the answer comes all the same, and the slot serves
/// other calls.
fn dropped_wait(log: &mut Log) -> Result {
    let domain = domain_on(c"select", 0)?;
    let (caller, mut requests) = domain.call_mailbox::<u32, u32>()?;
    let server = async move {
        let mut early = 0u32;
        while let Some(request) = requests.recv().await {
            let (n, mut reply) = request.into_parts();
            if let Either::First(()) = select(reply.abandoned(), sleep(us(20))).await {
                early += 1;
            }
            let _ = reply.send(n + 1);
        }
        early
    };
    let server = domain.spawn(c"server", server)?;
    for n in 0..1_000 {
        check_eq!(log, caller.call_timeout(n, LONG)?, n + 1);
    }
    drop(caller);
    check_eq!(log, run(&domain, server)??, 0);
    Ok(())
}
