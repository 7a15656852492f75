// SPDX-License-Identifier: GPL-2.0

//! The order in which coroutines run. Invariants 3 (no lost wake-up) and 5 (fairness).

use crate::harness::*;
use crate::sys::{self, eventually, Worker};
use coop_domain::prelude::*;
use core::future::Future;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};
use kernel::prelude::*;
use kernel::sync::Arc;

pub(crate) const TESTS: &[Test] = &[
    ("sched.spawned_run_in_order", spawned_run_in_order),
    ("sched.spawned_inside_run_after_queued", spawned_inside),
    ("sched.yield_is_round_robin", yield_is_round_robin),
    ("sched.woken_run_in_order", woken_run_in_order),
    ("sched.remote_wakes_are_appended", remote_wakes_are_appended),
    ("sched.wakes_merge", wakes_merge),
    ("sched.wake_while_polled_polls_again", wake_while_polled),
    (
        "sched.self_waker_does_not_starve_coroutines",
        self_waker_and_coroutines,
    ),
    (
        "sched.busy_domain_does_not_starve_threads",
        busy_domain_and_threads,
    ),
    ("sched.no_wake_is_lost_between_domains", ping_pong),
    ("sched.no_wake_is_lost_of_many_wakers", many_wakers),
];

/// Invariant 5: first spawned, first run, whoever spawns.
fn spawned_run_in_order(log: &mut Log) -> Result {
    let domain = domain(c"sched")?;
    let trace = trace()?;
    let held = Held::new(&domain)?;
    for i in 0..8 {
        let trace = trace.clone();
        domain
            .spawn(c"traced", async move { trace.add(i) })?
            .detach();
    }
    drop(held);
    trace.is(log, &[0, 1, 2, 3, 4, 5, 6, 7])
}

/// Invariant 5: what a coroutine spawns goes behind what is queued already.
fn spawned_inside(log: &mut Log) -> Result {
    let domain = domain(c"sched")?;
    let trace = trace()?;
    let held = Held::new(&domain)?;
    let (handle, t) = (domain.handle(), trace.clone());
    let spawner = async move {
        for i in 10..13 {
            let t = t.clone();
            handle.spawn(c"inner", async move { t.add(i) })?.detach();
        }
        t.add(0);
        Ok::<(), Error>(())
    };
    domain.spawn(c"outer", spawner)?.detach();
    // What came from outside before the spawner ran is ahead of what it spawns.
    let t = trace.clone();
    domain.spawn(c"queued", async move { t.add(1) })?.detach();
    drop(held);
    trace.is(log, &[0, 1, 10, 11, 12])
}

/// Invariant 5: `yield_now` goes to the end of the queue.
fn yield_is_round_robin(log: &mut Log) -> Result {
    let domain = domain(c"sched")?;
    let trace = trace()?;
    let held = Held::new(&domain)?;
    for i in 0..3 {
        let trace = trace.clone();
        domain
            .spawn(c"yields", async move {
                for _ in 0..4 {
                    trace.add(i);
                    yield_now().await;
                }
            })?
            .detach();
    }
    drop(held);
    trace.is(log, &[0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2])
}

/// Coroutines that wait for a signal each, then leave their number.
fn waiters(domain: &Domain, trace: &Arc<Trace>, n: u32) -> Result<KVec<Arc<Signal>>> {
    let mut signals = KVec::new();
    let ready = Arc::new(AtomicU32::new(0), GFP_KERNEL)?;
    for i in 0..n {
        let signal = signal()?;
        let (s, trace, ready) = (signal.clone(), trace.clone(), ready.clone());
        domain
            .spawn(c"waiter", async move {
                ready.fetch_add(1, AcqRel);
                s.wait().await;
                trace.add(i);
            })?
            .detach();
        signals.push(signal, GFP_KERNEL)?;
    }
    if eventually(LONG, || ready.load(Acquire) == n) {
        Ok(signals)
    } else {
        Err(ETIME)
    }
}

fn give(signals: &KVec<Arc<Signal>>, i: usize) {
    if let Some(signal) = signals.get(i) {
        signal.signal();
    }
}

/// Invariant 5: first woken, first run.
fn woken_run_in_order(log: &mut Log) -> Result {
    let domain = domain(c"sched")?;
    let trace = trace()?;
    let signals = waiters(&domain, &trace, 5)?;
    let held = Held::new(&domain)?;
    for i in [3, 0, 4, 1, 2] {
        give(&signals, i);
    }
    drop(held);
    trace.is(log, &[3, 0, 4, 1, 2])
}

/// Invariant 5: what others wake goes behind what the domain itself has queued by then.
fn remote_wakes_are_appended(log: &mut Log) -> Result {
    let domain = domain(c"sched")?;
    let trace = trace()?;
    let signals = Arc::new(waiters(&domain, &trace, 4)?, GFP_KERNEL)?;
    let (first, second) = (flag()?, flag()?);
    let (s, f, g) = (signals.clone(), first.clone(), second.clone());
    let waker = async move {
        give(&s, 0);
        f.set();
        g.wait();
        // By now 3 was woken by the thread; 1 and 2, by us, are still ahead of it.
        give(&s, 1);
        give(&s, 2);
    };
    domain.spawn(c"waker", waker)?.detach();
    check!(log, first.wait());
    give(&signals, 3);
    second.set();
    trace.is(log, &[0, 1, 2, 3])
}

/// Invariant 4: a wake-up of a queued coroutine is nothing: it is polled once.
fn wakes_merge(log: &mut Log) -> Result {
    let domain = domain(c"sched")?;
    let nest = nest()?;
    let task = domain.spawn(c"nested", Nested(nest.clone(), usize::MAX))?;
    let waker = nest.wait_for_waker()?;
    check_eq!(log, nest.polls(), 1);
    let held = Held::new(&domain)?;
    for _ in 0..100 {
        waker.wake_by_ref();
    }
    drop(held);
    run(&domain, yield_now())?;
    check_eq!(log, nest.polls(), 2);
    task.abort();
    check!(log, ends(&task));
    Ok(())
}

/// Invariant 3: a wake-up that comes while the coroutine is being polled is not lost.
fn wake_while_polled(log: &mut Log) -> Result {
    let domain = domain(c"sched")?;
    let polls = Arc::new(AtomicU32::new(0), GFP_KERNEL)?;
    let (inside, go) = (flag()?, flag()?);
    let nest = nest()?;
    let (p, i, g, n) = (polls.clone(), inside.clone(), go.clone(), nest.clone());
    let mut nested = Nested(n, 2);
    let task = domain.spawn(
        c"polled",
        core::future::poll_fn(move |cx| {
            let poll = core::pin::Pin::new(&mut nested).poll(cx);
            if p.fetch_add(1, AcqRel) == 0 {
                // The waker is there: somebody uses it before we return.
                i.set();
                g.wait();
            }
            poll
        }),
    )?;
    check!(log, inside.wait());
    nest.wait_for_waker()?.wake();
    go.set();
    check!(log, ends(&task), "polled {} times", polls.load(Acquire));
    check_eq!(log, polls.load(Acquire), 2);
    Ok(())
}

/// Invariant 5: a coroutine that always wakes itself takes turns with the others.
fn self_waker_and_coroutines(log: &mut Log) -> Result {
    let domain = domain(c"sched")?;
    let trace = trace()?;
    let held = Held::new(&domain)?;
    let (spinning, t) = (Arc::new(AtomicU32::new(0), GFP_KERNEL)?, trace.clone());
    let s = spinning.clone();
    let hog = domain.spawn(c"hog", async move {
        loop {
            s.fetch_add(1, AcqRel);
            if t.len() < 20 {
                t.add(0);
            }
            yield_now().await;
        }
    })?;
    let t = trace.clone();
    let other = domain.spawn(c"other", async move {
        for _ in 0..1000 {
            if t.len() < 20 {
                t.add(1);
            }
            yield_now().await;
        }
    })?;
    drop(held);
    check!(log, ends(&other));
    trace.is(
        log,
        &[0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1],
    )?;
    // And those that come from outside get their turn as well.
    for _ in 0..20 {
        run(&domain, yield_now())?;
    }
    check!(log, !hog.is_finished());
    hog.abort();
    check!(log, ends(&hog));
    Ok(())
}

/// Invariant 5: a domain that always has work leaves the CPU to other threads, too.
fn busy_domain_and_threads(log: &mut Log) -> Result {
    let domain = domain_on(c"sched", 0)?;
    let hog = domain.spawn(c"hog", async {
        loop {
            yield_now().await;
        }
    })?;
    let thread = Worker::start(Some(0), || {
        for _ in 0..20 {
            sys::sleep_ms(1);
        }
    })?;
    check!(
        log,
        thread.join(LONG).is_some(),
        "a thread on the home thread's CPU starves"
    );
    check!(log, !hog.is_finished());
    Ok(())
}

/// Invariant 3: two domains on two CPUs that wake each other and sleep in between, 20 000 times. A
/// lost wake-up stops them for ever.
fn ping_pong(log: &mut Log) -> Result {
    const ROUNDS: u32 = 20_000;
    let (a, b) = (domain_on(c"ping", 0)?, domain_on(c"pong", other(0))?);
    let (to_a, to_b) = (signal()?, signal()?);
    let rounds = Arc::new(AtomicU32::new(0), GFP_KERNEL)?;
    let (x, y) = (to_a.clone(), to_b.clone());
    let pong = b.spawn(c"pong", async move {
        for _ in 0..ROUNDS {
            y.wait().await;
            x.signal();
        }
    })?;
    let r = rounds.clone();
    let ping = a.spawn(c"ping", async move {
        for _ in 0..ROUNDS {
            to_b.signal();
            to_a.wait().await;
            r.fetch_add(1, Relaxed);
        }
    })?;
    let done = eventually(3 * LONG, || ping.is_finished() && pong.is_finished());
    check!(log, done, "stopped after {} rounds", rounds.load(Relaxed));
    Ok(())
}

/// Invariant 3: threads of all CPUs give one signal each time it was taken; each that is given
/// after it was taken is taken, too.
fn many_wakers(log: &mut Log) -> Result {
    const TIMES: u32 = 20_000;
    let domain = domain(c"sched")?;
    let signal = signal()?;
    // What there is to take, and how much was seen.
    let given = Arc::new(AtomicU32::new(0), GFP_KERNEL)?;
    let seen = Arc::new(AtomicU32::new(0), GFP_KERNEL)?;
    let stop = Arc::new(AtomicBool::new(false), GFP_KERNEL)?;
    let (s, g, n, e) = (signal.clone(), given.clone(), seen.clone(), stop.clone());
    let taker = domain.spawn(c"taker", async move {
        while !e.load(Acquire) {
            s.wait().await;
            // Whatever was given before the signal that woke us is seen here.
            n.store(g.load(Acquire), Release);
        }
    })?;
    let mut threads = KVec::new();
    for cpu in 0..sys::cpus() {
        let (s, g, n) = (signal.clone(), given.clone(), seen.clone());
        let thread = Worker::start(Some(cpu), move || {
            for _ in 0..TIMES {
                let mine = g.fetch_add(1, AcqRel) + 1;
                s.signal();
                // Every so often let it come to rest: the next signal finds it asleep.
                if mine % 64 == 0 && !eventually(LONG, || n.load(Acquire) >= mine) {
                    return false;
                }
                if sys::should_stop() {
                    return false;
                }
            }
            true
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    for thread in threads {
        check_eq!(log, thread.join(3 * LONG), Some(true));
    }
    let all = given.load(Acquire);
    check!(log, eventually(LONG, || seen.load(Acquire) == all));
    check_eq!(log, all, TIMES * sys::cpus());
    stop.store(true, Release);
    signal.signal();
    check!(log, ends(&taker));
    Ok(())
}
