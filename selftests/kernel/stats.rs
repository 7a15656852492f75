// SPDX-License-Identifier: GPL-2.0

//! The counters tell what happened. (They are how one sees invariants 2, 3 and 5 kept, or not.)

use crate::harness::*;
use crate::sys;
use coop_domain::prelude::*;
use kernel::prelude::*;

pub(crate) const TESTS: &[Test] = &[
    ("stats.messages_and_calls", messages_and_calls),
    ("stats.wakes_and_polls", wakes_and_polls),
    ("stats.each_poll_counts_once", each_poll),
    ("stats.coroutines", coroutines),
    ("stats.high_water", high_water),
    ("stats.idle_domain_counts_nothing", idle),
    ("stats.one_overrun_is_counted_and_named", one_overrun),
];

fn messages_and_calls(log: &mut Log) -> Result {
    let domain = domain(c"stats")?;
    let (tx, mut rx) = domain.mailbox::<u32>()?;
    let (caller, mut requests) = domain.call_mailbox::<u32, u32>()?;
    let taker = async move { while rx.recv().await.is_some() {} };
    let taker = domain.spawn(c"taker", taker)?;
    let server = async move {
        while let Some(request) = requests.recv().await {
            let (q, reply) = request.into_parts();
            let _ = reply.send(q);
        }
    };
    let server = domain.spawn(c"server", server)?;
    for i in 0..30 {
        tx.post(i)?;
    }
    for i in 0..20 {
        check_eq!(log, caller.call(i), Ok(i));
    }
    drop((tx, caller));
    check!(log, ends(&taker) && ends(&server));
    settle(&domain)?;
    let stats = domain.stats();
    check_eq!(log, (stats.posts(), stats.calls()), (50, 20));
    Ok(())
}

fn wakes_and_polls(log: &mut Log) -> Result {
    let domain = domain(c"stats")?;
    let nest = nest()?;
    let task = domain.spawn(c"nested", Nested(nest.clone(), usize::MAX))?;
    let waker = nest.wait_for_waker()?;
    let read = || {
        let s = domain.stats();
        (s.polls(), s.wakes_local(), s.wakes_remote())
    };
    let polled = |n| sys::eventually(LONG, || read().0 == n && nest.polls() as u64 == n);
    // Spawned from outside.
    check!(log, polled(1), "{:?}", read());
    check_eq!(log, read(), (1, 0, 1));
    for i in 0..10 {
        waker.wake_by_ref();
        check!(log, polled(i + 2), "{:?}", read());
    }
    check_eq!(log, read(), (11, 0, 11));
    // Two local ones, and one that comes with the spawn.
    run(&domain, async {
        yield_now().await;
        yield_now().await;
    })?;
    check!(
        log,
        sys::eventually(LONG, || read() == (14, 2, 12)),
        "{:?}",
        read()
    );
    task.abort();
    check!(log, ends(&task));
    Ok(())
}

/// Whether their rounds are full, end early, or are cut short by somebody urgent.
fn each_poll(log: &mut Log) -> Result {
    let domain = domain(c"stats")?;
    settle(&domain)?;
    let before = domain.stats().polls();
    let (mut tasks, mut expected) = (KVec::new(), 0);
    for n in 0..40u32 {
        let priority = Priority::new((n % 10) as u8).unwrap_or(Priority::NORMAL);
        let handle = domain.handle();
        let task = async move {
            for i in 0..10 * n {
                if i % 50 == 25 {
                    let urgent = handle.spawn_at(Priority::HIGHEST, c"urgent", async {})?;
                    urgent.detach();
                }
                yield_now().await;
            }
            Ok::<_, Error>(())
        };
        tasks.push(domain.spawn_at(priority, c"yields", task)?, GFP_KERNEL)?;
        // The first, one for each time, and those of the urgent ones.
        expected += 1 + 10 * u64::from(n) + u64::from((10 * n + 24) / 50);
    }
    for task in tasks {
        check_eq!(log, join(task)?, Ok(Ok(())));
    }
    let polls = || domain.stats().polls() - before;
    check!(
        log,
        sys::eventually(LONG, || polls() == expected),
        "{} polls, not {expected}",
        polls()
    );
    Ok(())
}

fn coroutines(log: &mut Log) -> Result {
    let domain = domain(c"stats")?;
    let read = || (domain.stats().spawned.get(), domain.stats().finished.get());
    let mut tasks = KVec::new();
    for _ in 0..10 {
        tasks.push(domain.spawn(c"waits", forever())?, GFP_KERNEL)?;
    }
    check!(
        log,
        sys::eventually(LONG, || read() == (10, 0)),
        "{:?}",
        read()
    );
    for task in tasks.iter().take(4) {
        task.abort();
    }
    check!(
        log,
        sys::eventually(LONG, || read() == (10, 4)),
        "{:?}",
        read()
    );
    Ok(())
}

/// The fullest that a ring was found.
fn high_water(log: &mut Log) -> Result {
    let domain = domain_on(c"stats", 0)?;
    let (tx, mut rx) = domain.mailbox_with::<u32>(room(64))?;
    let taker = async move { while rx.recv().await.is_some() {} };
    let taker = domain.spawn(c"taker", taker)?;
    sys::move_to(0)?;
    let held = Held::new(&domain)?;
    for i in 0..37 {
        tx.try_post(i)?;
    }
    drop(held);
    drop(tx);
    check!(log, ends(&taker));
    let high = domain
        .stats()
        .ring_high_water
        .load(core::sync::atomic::Ordering::Relaxed);
    check_eq!(log, high, 37);
    Ok(())
}

/// Whether the longest poll of a domain is said to be that of `name`; what it says.
pub(crate) fn is_longest(domain: &Domain, name: &str) -> Result<(bool, kernel::str::CString)> {
    let text = kernel::str::CString::try_from_fmt(fmt!("{}", domain.stats()))?;
    let said = text.to_str().map_err(|_| EINVAL)?;
    let said = said
        .lines()
        .filter_map(|line| line.strip_prefix("longest_poll_name "));
    let is_it = said.eq([name]);
    Ok((is_it, text))
}

/// One of many, in a busy domain, that takes too long once. It takes longer than what any other one
/// is kept waiting for in the middle of its poll, by a machine with other things to do.
fn one_overrun(log: &mut Log) -> Result {
    for ms in [400, 1_600, 6_400] {
        if overruns_for(log, ms)? {
            return Ok(());
        }
    }
    check!(log, false, "it is not named");
    Ok(())
}

/// Whether it is named.
fn overruns_for(log: &mut Log, ms: u32) -> Result<bool> {
    let domain = domain_on(c"stats", 0)?;
    let mut tasks = KVec::new();
    for _ in 0..20 {
        let light = async {
            for _ in 0..20_000 {
                yield_now().await;
            }
        };
        tasks.push(domain.spawn(c"light", light)?, GFP_KERNEL)?;
    }
    let heavy = async move {
        for i in 0..10_000 {
            if i == 5_000 {
                sys::busy(ms * 1_000);
            }
            yield_now().await;
        }
    };
    tasks.push(domain.spawn(c"heavy", heavy)?, GFP_KERNEL)?;
    for task in &tasks {
        check!(log, ends(task));
    }
    let overruns = domain.stats().overruns.get();
    check!(log, overruns >= 1, "it is not counted");
    // A softirq that is a thread does not see on top of whom it came.
    if cfg!(CONFIG_PREEMPT_RT) {
        return Ok(true);
    }
    let (named, said) = is_longest(&domain, "heavy")?;
    if !named {
        log.line(core::format_args!("{}", said.to_str().unwrap_or("?")));
    }
    Ok(named)
}

/// A domain with nothing to do sleeps: it is not polled, woken or run.
fn idle(log: &mut Log) -> Result {
    let domain = domain(c"stats")?;
    let (_tx, mut rx) = domain.mailbox::<u32>()?;
    let waits = async move { rx.recv().await.is_some() };
    let task = domain.spawn(c"waits", waits)?;
    settle(&domain)?;
    let read = || {
        let s = domain.stats();
        (s.polls(), s.sleeps.get(), s.unproductive.get())
    };
    let before = read();
    sys::sleep_ms(300);
    check_eq!(log, read(), before);
    check!(log, !task.is_finished());
    Ok(())
}
