// SPDX-License-Identifier: GPL-2.0

//! The share of a CPU that a domain may have: as much as was promised, and no more.

use crate::harness::*;
use crate::sys::{self, Worker};
use coop_domain::prelude::*;
use core::sync::atomic::{AtomicI64, AtomicU64, Ordering::*};
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

/// How often; what counts is the one in the middle.
const WINDOWS: usize = 9;

/// Windows in which the CPU stood still for longer do not count: a tenth of a period. It is on the
/// account of whoever had it, and what was promised for that time is lost.
const GAP_NS: i64 = 10_000_000;

/// Windows that are looked at, to find so many that count.
const PATIENCE: usize = 20;

/// How long the CPU stood still at most, as its threads see it, one of which is always running.
struct Gaps {
    last: AtomicI64,
    longest: AtomicI64,
}

impl Gaps {
    fn look(&self) {
        let now = sys::now_ns();
        let last = self.last.swap(now, Relaxed);
        self.longest.fetch_max(now - last, Relaxed);
    }
}

/// A coroutine that takes all it can get, and what it has got: CPU time of the home thread.
fn hog(domain: &Domain, gaps: &Arc<Gaps>) -> Result<Arc<AtomicU64>> {
    let used = Arc::new(AtomicU64::new(0), GFP_KERNEL)?;
    let (noted, gaps) = (used.clone(), gaps.clone());
    let hog = async move {
        loop {
            noted.store(sys::runtime_ns(), Relaxed);
            gaps.look();
            yield_now().await;
        }
    };
    domain.spawn(c"hog", hog)?.detach();
    Ok(used)
}

fn builder(name: &'static CStr) -> Builder<'static> {
    Domain::builder(name, crate::owner()).cpu(1)
}

/// Of each thousand: in the middle of the windows that count, if they are enough, what a domain with a
/// share has got, and others on the same CPU, without a share, that have always work, too; and what it
/// has got of all, and may have got.
struct Measured {
    windows: Option<(u64, u64)>,
    all: u64,
    most: u64,
}

fn measure(log: &mut Log, budget_us: i64, others: usize) -> Result<Measured> {
    let now = sys::now_ns();
    let gaps = Arc::new(
        Gaps {
            last: AtomicI64::new(now),
            longest: AtomicI64::new(0),
        },
        GFP_KERNEL,
    )?;
    let mut competitors = KVec::new();
    let names = [c"others0", c"others1", c"others2", c"others3", c"others4"];
    for name in names.into_iter().take(others) {
        let competitor = builder(name).build()?;
        let used = hog(&competitor, &gaps)?;
        competitors.push((competitor, used), GFP_KERNEL)?;
    }
    let domain = builder(c"share")
        .share(Delta::from_micros(budget_us), Delta::from_micros(PERIOD_US))
        .build()?;
    let used = hog(&domain, &gaps)?;
    // All are there.
    let runs = |used: &AtomicU64| sys::eventually(LONG, || used.load(Relaxed) != 0);
    if !runs(&used) || !competitors.iter().all(|(_, used)| runs(used)) {
        return Err(ETIME);
    }
    sys::sleep_ms(200);
    let now = || {
        let others = competitors.iter().map(|(_, used)| used.load(Relaxed));
        (sys::now_ns(), used.load(Relaxed), others.sum::<u64>())
    };
    let per_mille = |a: (i64, u64, u64), b: (i64, u64, u64)| {
        let all = (b.0 - a.0).max(1) as u64;
        let share = |from: u64, to: u64| to.wrapping_sub(from) * 1_000 / all;
        (share(a.1, b.1), share(a.2, b.2))
    };
    let (mut got, mut left) = (KVec::new(), KVec::new());
    let (first, mut longest) = (now(), 0);
    let mut last = first;
    for _ in 0..PATIENCE {
        gaps.longest.store(0, Relaxed);
        sys::sleep_ms(WINDOW_MS);
        let next = now();
        let (share, others) = per_mille(last, next);
        let gap = gaps.longest.load(Relaxed);
        log.line(core::format_args!(
            "{share} per mille, others {others}, a gap of {gap} ns"
        ));
        if gap < GAP_NS {
            got.push(share, GFP_KERNEL)?;
            left.push(others, GFP_KERNEL)?;
        }
        (last, longest) = (next, gap.max(longest));
        if got.len() == WINDOWS {
            break;
        }
    }
    got.sort_unstable();
    left.sort_unstable();
    let middle = got.len() / 2;
    let enough = got.len() > WINDOWS / 2;
    // A time in which the CPU stood still is made good for later: the last one perhaps not yet.
    let over = (longest + budget_us * 1_000) * 1_000 / (last.0 - first.0).max(1);
    Ok(Measured {
        windows: got
            .get(middle)
            .copied()
            .zip(left.get(middle).copied())
            .filter(|_| enough),
        all: per_mille(first, last).0,
        most: (budget_us * 1_050 / PERIOD_US + over) as u64,
    })
}

/// Within 5 % of the promise, at either side. (The kernel's account of a thread that runs is up to a
/// tick old: that is 2 % at most, and less in the middle.) On a machine that keeps the CPU waiting all
/// the time: what it may have, and half of what was promised, as far as others leave it less
/// than that without a share.
fn is_kept(log: &mut Log, budget_us: i64, others: usize) -> Result {
    let measured = measure(log, budget_us, others)?;
    let promised = (budget_us * 1_000 / PERIOD_US) as u64;
    let least = if others > 1 { promised / 2 } else { 0 };
    let (all, most) = (measured.all, measured.most);
    check!(
        log,
        (least..=most).contains(&all),
        "{all} of {promised} per mille in all, not {least} to {most}"
    );
    let Some((got, others)) = measured.windows else {
        log.line(core::format_args!("the CPU was never there for long"));
        return Ok(());
    };
    let low = promised * 95 / 100;
    let high = promised * 105 / 100;
    check!(
        log,
        (low..=high).contains(&got),
        "{got} of {promised} per mille"
    );
    // Nobody has what is left but the others (and what the test itself does).
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
    is_kept(log, 20_000, 1)
}

/// More than a sixth, which is what it would have without a share.
fn kept(log: &mut Log) -> Result {
    is_kept(log, 60_000, 5)
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
        let before = caller.call(WORK_US)?;
        let mut after = before;
        for _ in 0..100 {
            after = caller.call(WORK_US)?;
        }
        // More than the budget: in the midst of it, all that came before has been paid for. (Also a
        // time in which the CPU stood still, which is on the account of the one who had it.)
        for _ in 0..3 {
            caller.call(WORK_US)?;
        }
        Ok::<_, Error>((sys::now_ns() - start, after.wrapping_sub(before) as i64))
    })?;
    let (took, used) = thread.join(4 * LONG).ok_or(ETIME)??;
    check_eq!(log, domain.stats().inline_calls.get(), 0);
    // A fifth of what the thread that does it has used by the kernel's account, however long busy work
    // takes by that; but for the last tick of 10 ms at most, which is paid for later.
    let paid = used - 10_000_000;
    check!(
        log,
        took >= paid / 10 * 45,
        "{used} of {took} ns: who paid for it?"
    );
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
