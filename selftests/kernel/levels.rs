// SPDX-License-Identifier: GPL-2.0

//! Mailboxes with levels: the order of messages, and that nobody starves. Invariants 2 and 5.

use crate::harness::*;
use crate::sys::{self, Worker};
use coop_domain::prelude::*;
use coop_domain::LevelReceiver;
use core::sync::atomic::{AtomicU32, Ordering::*};
use kernel::prelude::*;
use kernel::sync::Arc;

pub(crate) const TESTS: &[Test] = &[
    ("levels.urgent_messages_first", urgent_first),
    ("levels.order_inside_a_level_is_kept", order_inside),
    ("levels.nobody_starves", nobody_starves),
    ("levels.fewer_levels_than_priorities", fewer),
    ("levels.an_urgent_one_overtakes_what_waits", overtakes),
    ("levels.every_level_wakes", every_level_wakes),
    ("levels.calls", calls),
    ("levels.inline_calls_at_every_level", inline_calls),
    ("levels.ends_with_its_senders", ends_with_senders),
    ("levels.nothing_is_lost_in_a_select", nothing_lost),
];

const ROOMY: Capacity = Capacity {
    task: 256,
    softirq: 0,
    hardirq: 0,
};

fn level(n: u32) -> Result<Priority> {
    Priority::new(n as u8).ok_or(EINVAL)
}

/// Leaves what it receives in a trace.
fn spawn_receiver(
    domain: &Domain,
    trace: &Arc<Trace>,
    mut receiver: LevelReceiver<u32>,
) -> Result<JoinHandle<()>> {
    let trace = trace.clone();
    domain.spawn(c"receiver", async move {
        while let Some(n) = receiver.recv().await {
            trace.add(n);
        }
    })
}

fn urgent_first(log: &mut Log) -> Result {
    let domain = domain(c"levels")?;
    let trace = trace()?;
    let (senders, receiver) = domain.mailbox_levels::<u32>(8, ROOMY)?;
    check_eq!(log, senders.count(), 8);
    let held = Held::new(&domain)?;
    for n in [4, 7, 0, 5, 2, 6, 1, 3] {
        senders.at(level(n)?).try_post(n)?;
    }
    spawn_receiver(&domain, &trace, receiver)?.detach();
    drop(held);
    trace.is(log, &[0, 1, 2, 3, 4, 5, 6, 7])
}

fn order_inside(log: &mut Log) -> Result {
    let domain = domain(c"levels")?;
    let trace = trace()?;
    let (senders, receiver) = domain.mailbox_levels::<u32>(8, ROOMY)?;
    let held = Held::new(&domain)?;
    for n in [20, 10, 21, 11, 22, 12] {
        senders.at(level(n / 10)?).try_post(n)?;
    }
    spawn_receiver(&domain, &trace, receiver)?.detach();
    drop(held);
    trace.is(log, &[10, 11, 12, 20, 21, 22])
}

/// Each eighth message is one of the next level in turn: exactly that, and so within the bound of
/// eight a level that is documented.
fn nobody_starves(log: &mut Log) -> Result {
    let domain = domain(c"levels")?;
    let trace = trace()?;
    let (senders, receiver) = domain.mailbox_levels::<u32>(8, ROOMY)?;
    let held = Held::new(&domain)?;
    for _ in 0..100 {
        senders.at(Priority::HIGHEST).try_post(0)?;
    }
    for n in 1..8 {
        senders.at(level(n)?).try_post(n)?;
    }
    spawn_receiver(&domain, &trace, receiver)?.detach();
    drop(held);
    let mut expected = KVec::new();
    for n in 1..=7u32 {
        for _ in 0..7 {
            expected.push(0, GFP_KERNEL)?;
        }
        expected.push(n, GFP_KERNEL)?;
    }
    for _ in 0..100 - 49 {
        expected.push(0, GFP_KERNEL)?;
    }
    trace.is(log, &expected)
}

fn fewer(log: &mut Log) -> Result {
    let domain = domain(c"levels")?;
    check!(log, domain.mailbox_levels::<u32>(0, ROOMY).is_err());
    check!(log, domain.mailbox_levels::<u32>(9, ROOMY).is_err());
    let trace = trace()?;
    let (senders, receiver) = domain.mailbox_levels::<u32>(2, ROOMY)?;
    let held = Held::new(&domain)?;
    for n in [7, 1, 0] {
        senders.at(level(n)?).try_post(n)?;
    }
    spawn_receiver(&domain, &trace, receiver)?.detach();
    drop(held);
    // 7 and 1 share a level.
    trace.is(log, &[0, 7, 1])
}

/// What is sent while the receiver is at work.
fn overtakes(log: &mut Log) -> Result {
    let domain = domain(c"levels")?;
    let trace = trace()?;
    let (senders, mut receiver) = domain.mailbox_levels::<u32>(8, ROOMY)?;
    let held = Held::new(&domain)?;
    for n in [40, 41, 42] {
        senders.at(Priority::NORMAL).try_post(n)?;
    }
    let t = trace.clone();
    let server = async move {
        while let Some(n) = receiver.recv().await {
            t.add(n);
            if n == 40 {
                senders.at(Priority::HIGHEST).try_post(0)?;
                senders.at(Priority::LOWEST).try_post(70)?;
            }
        }
        Ok::<(), Error>(())
    };
    domain.spawn(c"server", server)?.detach();
    drop(held);
    trace.is(log, &[40, 0, 41, 42, 70])
}

/// A receiver that waits is woken by a message of any level.
fn every_level_wakes(log: &mut Log) -> Result {
    for dedicated in [false, true] {
        let builder = Domain::builder(c"levels", crate::owner());
        let domain = if dedicated {
            builder.dedicated().build()?
        } else {
            builder.build()?
        };
        let trace = trace()?;
        let (senders, receiver) = domain.mailbox_levels::<u32>(8, ROOMY)?;
        spawn_receiver(&domain, &trace, receiver)?.detach();
        let mut sent = 0;
        for _ in 0..2 {
            for n in [7, 0, 3, 4, 1, 6, 2, 5] {
                settle(&domain)?;
                senders.at(level(n)?).try_post(n)?;
                sent += 1;
                check!(log, sys::eventually(LONG, || trace.len() == sent), "{n}");
            }
        }
        trace.is(log, &[7, 0, 3, 4, 1, 6, 2, 5, 7, 0, 3, 4, 1, 6, 2, 5])?;
    }
    Ok(())
}

/// Requests that wait are answered in order of urgency.
fn calls(log: &mut Log) -> Result {
    let domain = Domain::builder(c"levels", crate::owner())
        .dedicated()
        .build()?;
    let trace = trace()?;
    let (callers, mut requests) = domain.call_mailbox_levels::<u32, u32>(8, ROOMY)?;
    let held = Held::new(&domain)?;
    let callers = Arc::new(callers, GFP_KERNEL)?;
    let mut threads = KVec::new();
    for n in [6, 2, 4] {
        let callers = callers.clone();
        let thread = Worker::start(None, move || callers.at(level(n)?).call(n))?;
        check!(log, thread.sleeps());
        threads.push((n, thread), GFP_KERNEL)?;
    }
    let t = trace.clone();
    let server = async move {
        while let Some(request) = requests.recv().await {
            let (n, reply) = request.into_parts();
            t.add(n);
            let _ = reply.send(n + 1);
        }
    };
    domain.spawn(c"server", server)?.detach();
    drop(held);
    for (n, thread) in threads {
        check_eq!(log, thread.join(LONG).ok_or(ETIME)??, n + 1);
    }
    trace.is(log, &[2, 4, 6])
}

fn inline_calls(log: &mut Log) -> Result {
    let domain = domain(c"levels")?;
    let (callers, mut requests) = domain.call_mailbox_levels::<u32, u32>(8, ROOMY)?;
    let server = async move {
        while let Some(request) = requests.recv().await {
            let (n, reply) = request.into_parts();
            let _ = reply.send(n + 1);
        }
    };
    domain.spawn(c"server", server)?.detach();
    settle(&domain)?;
    let before = domain.stats().inline_calls.get();
    for round in 0..100 {
        for n in [7, 0, 3, 4, 1, 6, 2, 5] {
            let q = round * 10 + n;
            check_eq!(log, callers.at(level(n)?).call(q)?, q + 1);
        }
    }
    let inline = domain.stats().inline_calls.get().wrapping_sub(before);
    check!(
        log,
        inline > 700,
        "{inline} of 800 calls were answered in place"
    );
    Ok(())
}

fn ends_with_senders(log: &mut Log) -> Result {
    let domain = domain(c"levels")?;
    let trace = trace()?;
    let (senders, receiver) = domain.mailbox_levels::<u32>(8, ROOMY)?;
    let task = spawn_receiver(&domain, &trace, receiver)?;
    senders.at(Priority::LOWEST).try_post(7)?;
    senders.at(Priority::HIGHEST).try_post(0)?;
    drop(senders);
    check!(log, ends(&task), "it waits for senders that are gone");
    check_eq!(log, trace.len(), 2);
    Ok(())
}

/// A receive that loses against a timer takes no message along.
fn nothing_lost(log: &mut Log) -> Result {
    const COUNT: u32 = 2_000;
    let domain = domain(c"levels")?;
    let (senders, mut receiver) = domain.mailbox_levels::<u32>(8, ROOMY)?;
    let lost = Arc::new(AtomicU32::new(0), GFP_KERNEL)?;
    let l = lost.clone();
    let task = domain.spawn(c"selects", async move {
        let (mut sum, mut n) = (0u64, 0u32);
        while n < COUNT {
            match select(receiver.recv(), sleep(kernel::time::Delta::from_micros(5))).await {
                Either::First(Some(message)) => {
                    sum += u64::from(message);
                    n += 1;
                }
                Either::First(None) => break,
                Either::Second(()) => {
                    l.fetch_add(1, Release);
                }
            }
        }
        (sum, n)
    })?;
    for n in 0..COUNT {
        let end = senders.at(level(n % 8)?);
        while end.try_post(n).is_err() {
            sys::sleep_ms(1);
        }
        if n % 50 == 0 {
            // It has taken them all, and waits.
            let before = lost.load(Acquire);
            let cut = sys::eventually(LONG, || lost.load(Acquire) > before);
            check!(log, cut, "no receive was cut short");
        }
    }
    let result = run(&domain, task)?;
    let (sum, n) = result?;
    check_eq!(log, n, COUNT);
    check_eq!(log, sum, u64::from(COUNT) * u64::from(COUNT - 1) / 2);
    Ok(())
}
