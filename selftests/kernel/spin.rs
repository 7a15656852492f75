// SPDX-License-Identifier: GPL-2.0

//! A home thread that looks for work a moment longer before it sleeps. Invariants 3 (what comes at
//! that moment is seen) and 5 (it spins at nobody's expense).

use crate::harness::*;
use crate::sys::{self, eventually, Worker};
use coop_domain::prelude::*;
use core::sync::atomic::{AtomicU32, Ordering::*};
use kernel::prelude::*;
use kernel::sync::Arc;

pub(crate) const TESTS: &[Test] = &[
    ("spin.saves_sleeps", saves_sleeps),
    ("spin.never", never),
    ("spin.ends", ends_soon),
    ("spin.gives_way", gives_way),
    ("spin.auto", auto),
    ("spin.no_wake_up_is_lost", none_lost),
];

fn spinning(spin: Spin) -> Result<Domain> {
    Domain::builder(c"spin", crate::owner())
        .cpu(other(0))
        .spin(spin)
        .build()
}

/// A coroutine that counts messages.
fn counts(domain: &Domain) -> Result<(Sender<u32>, Arc<AtomicU32>)> {
    let (tx, mut rx) = domain.mailbox_with::<u32>(room(16))?;
    let seen = Arc::new(AtomicU32::new(0), GFP_KERNEL)?;
    let s = seen.clone();
    let taker = async move {
        while rx.recv().await.is_some() {
            s.fetch_add(1, AcqRel);
        }
    };
    domain.spawn(c"counts", taker)?.detach();
    Ok((tx, seen))
}

/// Posts `times` times, each when the one before was seen, without sleeping.
fn post_in_turn(tx: &Sender<u32>, seen: &AtomicU32, times: u32) -> Result {
    let start = seen.load(Acquire);
    for i in 0..times {
        tx.try_post(i)?;
        let end = sys::now_ns() + i64::from(LONG) * 1_000_000;
        while seen.load(Acquire).wrapping_sub(start) <= i {
            if sys::now_ns() > end {
                return Err(ETIME);
            }
            sys::cond_resched();
        }
    }
    Ok(())
}

fn counters(domain: &Domain) -> (u64, u64, u64) {
    let s = domain.stats();
    (s.sleeps.get(), s.spin_hits.get(), s.spin_misses.get())
}

/// Work that comes soon after the last finds the home thread awake.
fn saves_sleeps(log: &mut Log) -> Result {
    const TIMES: u32 = 2_000;
    if sys::cpus() < 2 {
        return Ok(());
    }
    let domain = spinning(Spin::UpTo(20_000_000))?;
    let (tx, seen) = counts(&domain)?;
    sys::move_to(0)?;
    let before = counters(&domain);
    post_in_turn(&tx, &seen, TIMES)?;
    let after = counters(&domain);
    let (sleeps, hits) = (after.0 - before.0, after.1 - before.1);
    // Most may come even before it begins to spin. On a busy machine, threads of others may come
    // between.
    check!(log, hits > 0, "{before:?}, {after:?}");
    check!(log, sleeps < u64::from(TIMES / 2), "{before:?}, {after:?}");
    Ok(())
}

/// Who does not want it, and who has one CPU, gets none.
fn never(log: &mut Log) -> Result {
    let mut policies = KVec::new();
    policies.push(Spin::Never, GFP_KERNEL)?;
    policies.push(Spin::UpTo(0), GFP_KERNEL)?;
    if sys::cpus() == 1 {
        policies.push(Spin::Auto, GFP_KERNEL)?;
    }
    for spin in policies {
        let domain = spinning(spin)?;
        let (tx, seen) = counts(&domain)?;
        post_in_turn(&tx, &seen, 200)?;
        settle(&domain)?;
        let (sleeps, hits, misses) = counters(&domain);
        check_eq!(log, (hits, misses), (0, 0));
        check!(log, sleeps > 0);
    }
    Ok(())
}

/// A home thread that finds nothing goes to sleep after its time.
fn ends_soon(log: &mut Log) -> Result {
    if sys::cpus() < 2 {
        return Ok(());
    }
    let domain = spinning(Spin::UpTo(1_000_000))?;
    let (tx, seen) = counts(&domain)?;
    sys::move_to(0)?;
    for _ in 0..20 {
        let before = counters(&domain);
        post_in_turn(&tx, &seen, 1)?;
        let slept = || counters(&domain).0 > before.0 && counters(&domain).2 > before.2;
        check!(log, eventually(LONG, slept), "{:?}", counters(&domain));
    }
    Ok(())
}

/// When another thread wants its CPU, it gives up, and sleeps.
fn gives_way(log: &mut Log) -> Result {
    // As long as can be: these CPUs, too, may be kept waiting.
    const SPIN_NS: u32 = u32::MAX;
    if sys::cpus() < 2 {
        return Ok(());
    }
    let domain = spinning(Spin::UpTo(SPIN_NS))?;
    let (tx, seen) = counts(&domain)?;
    sys::move_to(0)?;
    let mut took = 0;
    for _ in 0..4 {
        let misses = counters(&domain).2;
        let start = sys::now_ns();
        // From here on, it spins.
        post_in_turn(&tx, &seen, 1)?;
        let thread = Worker::start(Some(other(0)), || {
            while !sys::should_stop() {
                sys::cond_resched();
            }
        })?;
        check!(log, eventually(LONG, || counters(&domain).2 > misses));
        took = sys::now_ns() - start;
        drop(thread);
        if took < i64::from(SPIN_NS) {
            return Ok(());
        }
    }
    check!(log, false, "{took} ns, each time about as long");
    Ok(())
}

/// By itself, it spins where that pays, and gives up where it does not.
fn auto(log: &mut Log) -> Result {
    let domain = spinning(Spin::Auto)?;
    let (tx, seen) = counts(&domain)?;
    sys::move_to(0)?;
    post_in_turn(&tx, &seen, 500)?;
    // Work comes far apart: most of the time it does not even try.
    let before = counters(&domain);
    for _ in 0..200 {
        let sleeps = counters(&domain).0;
        post_in_turn(&tx, &seen, 1)?;
        // It sleeps again, and for a while.
        check!(log, eventually(LONG, || counters(&domain).0 > sleeps));
        sys::sleep_ms(2);
    }
    let after = counters(&domain);
    check!(log, after.2 - before.2 <= 60, "{before:?}, {after:?}");
    Ok(())
}

/// Work that comes between spinning and sleeping is seen: posts and calls, at all distances.
fn none_lost(log: &mut Log) -> Result {
    for spin in [Spin::UpTo(20_000), Spin::UpTo(200_000), Spin::Auto] {
        let domain = spinning(spin)?;
        let (tx, seen) = counts(&domain)?;
        let (caller, mut requests) = domain.call_mailbox::<u32, u32>()?;
        let server = async move {
            while let Some(request) = requests.recv().await {
                let (q, reply) = request.into_parts();
                let _ = reply.send(q);
            }
        };
        domain.spawn(c"server", server)?.detach();
        sys::move_to(0)?;
        for i in 0..3_000 {
            post_in_turn(&tx, &seen, 1)?;
            sys::busy(i * 7 % 230);
            if i % 3 == 0 {
                check_eq!(log, caller.call_by_home(i), Ok(i));
                sys::busy(i * 11 % 190);
            }
        }
    }
    Ok(())
}
