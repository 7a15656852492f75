// SPDX-License-Identifier: GPL-2.0

//! Priorities of coroutines, slices of the CPU, inherited priorities. Invariant 5 (fairness).

use crate::harness::*;
use crate::sys::{self, Worker};
use coop_domain::prelude::*;
use core::sync::atomic::{AtomicU64, Ordering::*};
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc};

pub(crate) const TESTS: &[Test] = &[
    ("priority.urgent_ones_first", urgent_first),
    ("priority.round_robin_inside", round_robin),
    ("priority.urgent_one_cuts_in", cuts_in),
    ("priority.woken_one_cuts_in", woken_cuts_in),
    ("priority.nobody_starves", nobody_starves),
    ("priority.changes_while_it_runs", changes),
    ("priority.changes_from_outside", changes_from_outside),
    ("priority.changes_while_queued", changes_while_queued),
    ("priority.slice_ends_with_the_tick", slice_ends),
    ("priority.caller_lends_its_own", inheritance),
    ("priority.without_lending_it_waits", no_inheritance),
    ("priority.fair_share_of_the_cpu", fair_share),
    ("saturation.sixty_seconds", sixty_seconds),
];

fn level(n: u8) -> Result<Priority> {
    Priority::new(n).ok_or(EINVAL)
}

fn urgent_first(log: &mut Log) -> Result {
    let domain = domain(c"priority")?;
    let trace = trace()?;
    let held = Held::new(&domain)?;
    for n in [4, 7, 0, 5, 2, 6, 1, 3] {
        let trace = trace.clone();
        domain
            .spawn_at(level(n)?, c"traced", async move { trace.add(n.into()) })?
            .detach();
    }
    drop(held);
    trace.is(log, &[0, 1, 2, 3, 4, 5, 6, 7])
}

fn round_robin(log: &mut Log) -> Result {
    let domain = domain(c"priority")?;
    let trace = trace()?;
    let held = Held::new(&domain)?;
    for n in [10u32, 11, 20, 21] {
        let trace = trace.clone();
        let at = if n < 20 {
            Priority::HIGHEST
        } else {
            Priority::LOWEST
        };
        domain
            .spawn_at(at, c"traced", async move {
                // Fewer than a favour would come in between.
                for _ in 0..2 {
                    trace.add(n);
                    yield_now().await;
                }
            })?
            .detach();
    }
    drop(held);
    trace.is(log, &[10, 11, 10, 11, 20, 21, 20, 21])
}

/// Three of normal priority, which note 2.
fn others(domain: &Domain, trace: &Arc<Trace>) -> Result {
    for _ in 0..3 {
        let trace = trace.clone();
        domain
            .spawn(c"normal", async move { trace.add(2) })?
            .detach();
    }
    Ok(())
}

/// It does not wait for the round of the others to end.
fn cuts_in(log: &mut Log) -> Result {
    let domain = domain(c"priority")?;
    let trace = trace()?;
    let held = Held::new(&domain)?;
    let (handle, t) = (domain.handle(), trace.clone());
    let spawner = async move {
        t.add(0);
        let inner = t.clone();
        handle
            .spawn_at(Priority::HIGHEST, c"urgent", async move { inner.add(1) })?
            .detach();
        Ok::<(), Error>(())
    };
    domain.spawn(c"spawner", spawner)?.detach();
    others(&domain, &trace)?;
    drop(held);
    trace.is(log, &[0, 1, 2, 2, 2])
}

/// Nor does one that was there before, and is woken by one of them.
fn woken_cuts_in(log: &mut Log) -> Result {
    let domain = domain(c"priority")?;
    let trace = trace()?;
    let nest = nest()?;
    let (nested, t) = (Nested(nest.clone(), 2), trace.clone());
    let urgent = async move {
        nested.await;
        t.add(1);
    };
    domain
        .spawn_at(Priority::HIGHEST, c"urgent", urgent)?
        .detach();
    let waker = nest.wait_for_waker()?;
    let held = Held::new(&domain)?;
    let t = trace.clone();
    let wakes = async move {
        t.add(0);
        waker.wake_by_ref();
    };
    domain.spawn(c"wakes", wakes)?.detach();
    others(&domain, &trace)?;
    drop(held);
    trace.is(log, &[0, 1, 2, 2, 2])
}

/// The bound that is documented: 64 picks, though somebody more urgent is always ready.
fn nobody_starves(log: &mut Log) -> Result {
    let domain = domain(c"priority")?;
    let polls = Arc::new(AtomicU64::new(0), GFP_KERNEL)?;
    let count = polls.clone();
    let held = Held::new(&domain)?;
    let hog = domain.spawn_at(Priority::HIGHEST, c"hog", async move {
        loop {
            count.fetch_add(1, Relaxed);
            yield_now().await;
        }
    })?;
    let mut seen = KVec::new();
    for n in 1..8 {
        let (polls, at) = (polls.clone(), Arc::new(AtomicU64::new(0), GFP_KERNEL)?);
        let noted = at.clone();
        let waits = async move { noted.store(polls.load(Relaxed), Release) };
        seen.push(
            (domain.spawn_at(level(n)?, c"waits", waits)?, at),
            GFP_KERNEL,
        )?;
    }
    drop(held);
    for (handle, at) in &seen {
        check!(log, ends(handle), "it starves");
        let after = at.load(Acquire);
        check!(
            log,
            (1..=64).contains(&after),
            "after {after} polls of others"
        );
    }
    check!(log, !hog.is_finished());
    Ok(())
}

fn changes(log: &mut Log) -> Result {
    let domain = domain(c"priority")?;
    let trace = trace()?;
    let held = Held::new(&domain)?;
    for (n, to) in [
        (1, Priority::LOWEST),
        (2, Priority::NORMAL),
        (3, Priority::HIGHEST),
    ] {
        let trace = trace.clone();
        domain
            .spawn(c"changes", async move {
                trace.add(n);
                let changed = set_priority(to).await;
                trace.add(if changed.is_ok() { n * 10 } else { 0 });
            })?
            .detach();
    }
    drop(held);
    trace.is(log, &[1, 2, 3, 30, 20, 10])
}

fn changes_from_outside(log: &mut Log) -> Result {
    let domain = domain(c"priority")?;
    let trace = trace()?;
    let (one, two) = (nest()?, nest()?);
    let mut handles = KVec::new();
    for (n, nest) in [(1, &one), (2, &two)] {
        let (trace, nested) = (trace.clone(), Nested(nest.clone(), 3));
        let task = domain.spawn(c"nested", async move {
            nested.await;
            trace.add(n);
        })?;
        handles.push(task, GFP_KERNEL)?;
    }
    let wakers = [one.wait_for_waker()?, two.wait_for_waker()?];
    for (handle, to) in handles.iter().zip([Priority::LOWEST, Priority::HIGHEST]) {
        handle.set_priority(to);
        check_eq!(log, handle.priority(), to);
    }
    // The second and spurious poll.
    let polled = |n| sys::eventually(LONG, || one.polls() == n && two.polls() == n);
    check!(log, polled(2), "{} and {}", one.polls(), two.polls());
    let held = Held::new(&domain)?;
    for waker in &wakers {
        waker.wake_by_ref();
    }
    drop(held);
    trace.is(log, &[2, 1])
}

/// What is queued moves before the next round of 16 polls, not when it would have had its turn.
fn changes_while_queued(log: &mut Log) -> Result {
    let domain = domain(c"priority")?;
    let trace = trace()?;
    let held = Held::new(&domain)?;
    let handles = Arc::pin_init(new_mutex!(KVec::<JoinHandle<()>>::new()), GFP_KERNEL)?;
    let (all, t) = (handles.clone(), trace.clone());
    let changer = async move {
        t.add(0);
        let all = all.lock();
        let set = |n: usize, to| all.get(n - 1).map(|task| task.set_priority(to));
        set(20, Priority::LOWEST);
        set(39, Priority::HIGHEST);
        set(38, Priority::HIGHEST);
        // And back: it stays where it is.
        set(25, Priority::HIGHEST);
        set(25, Priority::NORMAL);
    };
    domain.spawn(c"changer", changer)?.detach();
    for n in 1..40 {
        let trace = trace.clone();
        let task = domain.spawn(c"traced", async move { trace.add(n) })?;
        handles.lock().push(task, GFP_KERNEL)?;
    }
    drop(held);
    let mut expected = KVec::new();
    let normal = (16..38u32).filter(|n| *n != 20);
    expected.extend_from_slice(
        &core::array::from_fn::<u32, 16, _>(|n| n as u32),
        GFP_KERNEL,
    )?;
    expected.extend_from_slice(&[38, 39], GFP_KERNEL)?;
    for n in normal {
        expected.push(n, GFP_KERNEL)?;
    }
    expected.push(20, GFP_KERNEL)?;
    trace.is(log, &expected)
}

/// One that looks all the time yields with each tick that it sees pass, and not much more often.
fn slice_ends(log: &mut Log) -> Result {
    const TICKS: u64 = 20;
    let domain = domain(c"priority")?;
    let looks = run(&domain, async {
        let mut slice = Slice::start();
        let (mut tick, mut ticks, mut looks) = (sys::ticks(), 0, 0u64);
        while ticks < TICKS {
            yield_if_needed!(slice);
            looks += 1;
            ticks += u64::from(sys::ticks() != tick);
            tick = sys::ticks();
        }
        looks
    })?;
    // Up to date when the domain sleeps.
    settle(&domain)?;
    let yields = domain.stats().polls();
    // Two that pass at once, when somebody else has had the CPU, are as good as one.
    check!(log, yields >= TICKS / 2, "{yields} polls in {TICKS} ticks");
    check!(log, looks > yields * 10, "{looks} looks, {yields} polls");
    Ok(())
}

/// A domain whose only runner is a thread of nice 19, and which is in the middle of 100 ms of work;
/// a FIFO thread of the least priority that keeps the CPU busy; and a FIFO caller of a higher one, who
/// waits. Whether the work was done with somebody else's priority, and the laps that the busy thread
/// made meanwhile. With `lend` switched off, all else is the same.
fn work_behind_a_hog(log: &mut Log, lend: bool) -> Result<(bool, usize)> {
    let builder = Domain::builder(c"lend", crate::owner())
        .cpu(1)
        .spin(Spin::Never)
        .policy(Policy::Normal { nice: 19 });
    let builder = if lend {
        builder
    } else {
        builder.without_lending()
    };
    let domain = builder.build()?;
    let (caller, mut requests) = domain.call_mailbox::<u32, u32>()?;
    let server = async move {
        while let Some(request) = requests.recv().await {
            let (q, reply) = request.into_parts();
            let _ = reply.send(q);
        }
    };
    domain.spawn(c"server", server)?.detach();
    settle(&domain)?;
    let hog = Hog::start(1)?;
    let (busy, waits) = (flag()?, flag()?);
    let (b, w, laps) = (busy.clone(), waits.clone(), hog.laps.clone());
    let work = domain.spawn(c"work", async move {
        b.set();
        work_beside(&laps, &w)
    })?;
    // The home thread has the baton now.
    check!(log, busy.wait());
    let asker = Worker::start(Some(0), move || {
        sys::become_fifo();
        caller.call(7)
    })?;
    // One who lends looks on while the other one works, and may not sleep at all.
    check!(log, lend || asker.sleeps());
    if !lend {
        waits.set();
    }
    let answer = asker.join(2 * LONG);
    check!(log, hog.end());
    check_eq!(log, answer, Some(Ok(7)));
    join(work)?
}

/// The home thread goes on with the priority of the FIFO caller that waits for the baton.
fn inheritance(log: &mut Log) -> Result {
    check_eq!(log, work_behind_a_hog(log, true)?, (true, 0));
    Ok(())
}

/// The same, with inheritance switched off: the inversion is there, so the test above sees it.
fn no_inheritance(log: &mut Log) -> Result {
    let (lent, laps) = work_behind_a_hog(log, false)?;
    check!(log, !lent && laps > 0, "{lent}, {laps} laps");
    Ok(())
}

/// The share is measured so often.
const WINDOW_NS: i64 = 200_000_000;
/// Many times what the scheduler gives a thread at once.
const GAP_NS: i64 = 50_000_000;
const WINDOWS: u32 = 9;

/// A domain that always has work, and a thread of nice 0 on the same CPU that has, too: the share of
/// the thread, in the window in the middle. While the machine keeps the CPU waiting, all of that
/// time is on the account of the one who had it: windows in which the thread was gone for so long
/// count for nothing, and others take their place. (If it is the domain that keeps it waiting, none
/// counts.)
fn share(log: &mut Log, ms: u32) -> Result {
    let domain = domain_on(c"busy", 1)?;
    for _ in 0..3 {
        let hog = async {
            loop {
                yield_now().await;
            }
        };
        domain.spawn(c"hog", hog)?.detach();
    }
    let competitor = Worker::start(Some(1), move || {
        let (mut seen, mut windows, mut all) = ([0u32; 101], 0u32, 0u32);
        let start = sys::now_ns();
        let end = start + i64::from(ms) * 1_000_000;
        let patience = end + i64::from(LONG) * 1_000_000;
        let (mut at, mut used, mut last, mut gap) = (start, sys::runtime_ns(), start, 0);
        while last < end || windows < WINDOWS && last < patience {
            sys::cond_resched();
            let now = sys::now_ns();
            gap = gap.max(now - last);
            last = now;
            if now - at < WINDOW_NS {
                continue;
            }
            let next = sys::runtime_ns();
            let percent = next.wrapping_sub(used) * 100 / (now - at) as u64;
            all += 1;
            if let Some(n) = seen.get_mut(percent.min(100) as usize) {
                let counts = u32::from(gap < GAP_NS);
                *n += counts;
                windows += counts;
            }
            (at, used, gap) = (now, next, 0);
        }
        let mut below = 0;
        let middle = seen.iter().position(|n| {
            below += n;
            2 * below > windows
        });
        (middle, windows, all)
    })?;
    let (percent, windows, all) = competitor.join(ms + 2 * LONG).ok_or(ETIME)?;
    check!(
        log,
        windows >= WINDOWS,
        "it ran without long gaps in {windows} of {all} windows"
    );
    check!(
        log,
        percent.is_some_and(|percent| (40..=60).contains(&percent)),
        "{percent:?} % instead of half, in {windows} of {all} windows"
    );
    Ok(())
}

fn fair_share(log: &mut Log) -> Result {
    share(log, 3_000)
}

fn sixty_seconds(log: &mut Log) -> Result {
    share(log, 60_000)
}
