// SPDX-License-Identifier: GPL-2.0

//! The share of a CPU that a domain may have: as much as was promised, and no more.

use crate::harness::*;
use crate::sys::{self, Worker};
use coop_domain::prelude::*;
use core::sync::atomic::{AtomicU64, Ordering::*};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::Delta;

pub(crate) const TESTS: &[Test] = &[
    ("share.is_not_exceeded", not_exceeded),
    ("share.is_kept_against_others", kept),
    ("share.holds_for_callers", callers),
    ("share.bad_ones_are_refused", refused),
];

/// Long, so that a virtual CPU that its host lets wait for a while misses none.
const PERIOD_US: i64 = 100_000;

/// What the share is measured in: a whole number of periods.
const WINDOW_MS: u32 = 1_000;

/// How often. What counts is the one in the middle: in some of them the host may have had the virtual
/// CPU wait for so long that it was not possible to have what was promised. (A share that is not kept
/// is not kept in any of them.)
const WINDOWS: usize = 9;

/// A coroutine that takes all it can get, and what it has got: CPU time of the home thread.
fn hog(domain: &Domain) -> Result<Arc<AtomicU64>> {
    let used = Arc::new(AtomicU64::new(0), GFP_KERNEL)?;
    let noted = used.clone();
    let hog = async move {
        loop {
            noted.store(sys::runtime_ns(), Relaxed);
            yield_now().await;
        }
    };
    domain.spawn(c"hog", hog)?.detach();
    Ok(used)
}

fn builder(name: &'static CStr) -> Builder<'static> {
    Domain::builder(name, crate::owner()).cpu(1)
}

/// What a domain with a share has got of each thousand, and what another one on the same CPU, without
/// a share, that has always work, too.
fn measure(log: &mut Log, budget_us: i64) -> Result<(u64, u64)> {
    let competitor = builder(c"others").build()?;
    let others = hog(&competitor)?;
    let domain = builder(c"share")
        .share(Delta::from_micros(budget_us), Delta::from_micros(PERIOD_US))
        .build()?;
    let used = hog(&domain)?;
    // Both are there.
    let started = || used.load(Relaxed) != 0 && others.load(Relaxed) != 0;
    if !sys::eventually(LONG, started) {
        return Err(ETIME);
    }
    sys::sleep_ms(200);
    let now = || (sys::now_ns(), used.load(Relaxed), others.load(Relaxed));
    let (mut got, mut left) = ([0u64; WINDOWS], [0u64; WINDOWS]);
    let mut last = now();
    for (got, left) in got.iter_mut().zip(&mut left) {
        sys::sleep_ms(WINDOW_MS);
        let next = now();
        let all = (next.0 - last.0).max(1) as u64;
        *got = next.1.wrapping_sub(last.1) * 1_000 / all;
        *left = next.2.wrapping_sub(last.2) * 1_000 / all;
        last = next;
    }
    log.line(core::format_args!("{got:?} per mille, others {left:?}"));
    got.sort_unstable();
    left.sort_unstable();
    Ok((got[WINDOWS / 2], left[WINDOWS / 2]))
}

/// Within 5 % of the promise, at either side. (The kernel's account of a thread that runs is up to a
/// tick old: that is 2 % at most, and less in the middle.)
fn is_kept(log: &mut Log, budget_us: i64) -> Result {
    let (got, others) = measure(log, budget_us)?;
    let promised = (budget_us * 1_000 / PERIOD_US) as u64;
    let low = promised * 95 / 100;
    let high = promised * 105 / 100;
    check!(
        log,
        (low..=high).contains(&got),
        "{got} of {promised} per mille"
    );
    // Nobody has what is left but the other one (and what the test itself does).
    let left = 1_000 - promised;
    check!(
        log,
        others >= left * 90 / 100,
        "others got {others} of {left} per mille"
    );
    Ok(())
}

/// Less than half, which is what it would have without a share.
fn not_exceeded(log: &mut Log) -> Result {
    is_kept(log, 20_000)
}

/// More than half.
fn kept(log: &mut Log) -> Result {
    is_kept(log, 60_000)
}

/// Callers do not run it, nor pay for it: what they ask for is done by the home thread, within the
/// share.
fn callers(log: &mut Log) -> Result {
    const WORK_US: u32 = 1_000;
    let domain = builder(c"share")
        .share(Delta::from_millis(2), Delta::from_millis(10))
        .build()?;
    let (caller, mut requests) = domain.call_mailbox::<u32, u64>()?;
    let server = async move {
        while let Some(request) = requests.recv().await {
            let (us, reply) = request.into_parts();
            sys::busy(us);
            let _ = reply.send(sys::runtime_ns());
        }
    };
    domain.spawn(c"server", server)?.detach();
    settle(&domain)?;
    let thread = Worker::start(Some(0), move || {
        let start = sys::now_ns();
        for _ in 0..100 {
            caller.call(WORK_US)?;
        }
        Ok::<_, Error>((sys::now_ns() - start) / 1_000_000)
    })?;
    let took = thread.join(4 * LONG).ok_or(ETIME)??;
    check_eq!(log, domain.stats().inline_calls.get(), 0);
    // 100 ms of work at a fifth of a CPU; busy work may be a little more than was asked for.
    check!(log, took >= 450, "done in {took} ms: who paid for it?");
    Ok(())
}

fn refused(log: &mut Log) -> Result {
    let build = |budget: i64, period: i64| {
        builder(c"share")
            .share(Delta::from_nanos(budget), Delta::from_nanos(period))
            .build()
            .err()
    };
    check_eq!(log, build(2_000_000, 1_000_000), Some(EINVAL));
    check_eq!(log, build(0, 1_000_000), Some(EINVAL));
    check_eq!(log, build(-1, 1_000_000), Some(EINVAL));
    check_eq!(log, build(500_000, -1), Some(EINVAL));
    check_eq!(log, build(2_000, 3_000), Some(EINVAL));
    // More than all CPUs have.
    let mut domains = KVec::new();
    let names = [c"share0", c"share1", c"share2", c"share3", c"share4"];
    let mut refused = None;
    for name in names {
        let builder = Domain::builder(name, crate::owner())
            .share(Delta::from_millis(9), Delta::from_millis(10));
        match builder.build() {
            Ok(domain) => domains.push(domain, GFP_KERNEL)?,
            Err(e) => refused = Some(e),
        }
    }
    check_eq!(log, refused, Some(EBUSY));
    check!(log, !domains.is_empty());
    Ok(())
}
