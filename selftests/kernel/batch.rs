// SPDX-License-Identifier: GPL-2.0

//! `post_batch`. Invariants 2 (what was accepted arrives once, in order; the rest stays with the
//! sender) and 3 (one wake-up, but that one).

use crate::harness::*;
use crate::sys::{self, Where, Worker};
use coop_domain::prelude::*;
use kernel::prelude::*;

pub(crate) const TESTS: &[Test] = &[
    ("batch.as_many_as_fit", as_many_as_fit),
    ("batch.from_all_contexts", contexts),
    ("batch.nothing_and_nobody", nothing),
    ("batch.in_order_with_single_posts", in_order),
    ("batch.one_wake_up_for_a_burst", one_wake_up),
    ("batch.under_traffic", under_traffic),
];

/// As many as there is room for, the first ones; what is left stays in the iterator, untouched.
fn as_many_as_fit(log: &mut Log) -> Result {
    let domain = domain(c"batch")?;
    let (tx, mut rx) = domain.mailbox_with::<Counted>(room(8))?;
    let count = count()?;
    sys::move_to(0)?;
    let mut next = 0;
    // Wherever in the ring it begins.
    for round in 0..20 {
        let mut made = 0;
        let mut messages = (0..20).map(|i| {
            made += 1;
            Counted::new(&count, next + i)
        });
        check_eq!(log, tx.post_batch(&mut messages), Ok(8));
        check_eq!(log, messages.next().map(|m| m.value), Some(next + 8));
        let mut more = (0..1).map(|i| Counted::new(&count, i));
        check_eq!(log, tx.post_batch(&mut more), Err(PostErrorKind::Full));
        check_eq!(log, (more.count(), made), (1, 9));
        for i in 0..8 {
            check_eq!(log, rx.try_recv().map(|m| m.value), Some(next + i));
        }
        check!(log, rx.try_recv().is_none());
        // Not all of it: the next batch begins elsewhere.
        next += 8 + round;
        check!(log, tx.try_post(Counted::new(&count, 1)).is_ok());
        check!(log, rx.try_recv().is_some());
        check!(log, count.is_even(), "{count:?}");
    }
    let mut messages = (0..5).map(|i| Counted::new(&count, i));
    check_eq!(log, tx.post_batch(&mut messages), Ok(5));
    drop(rx);
    check!(log, count.is_even(), "{count:?}");
    Ok(())
}

/// From threads, softirqs and hard interrupts, each into rings of its own.
fn contexts(log: &mut Log) -> Result {
    let domain = domain(c"batch")?;
    let (tx, mut rx) = domain.mailbox_with::<u32>(room(16))?;
    for at in sys::ANY {
        let sent = sys::run_in(at, || tx.post_batch(&mut (0..10)));
        check_eq!(log, sent, Ok(10));
        for i in 0..10 {
            check_eq!(log, rx.try_recv(), Some(i));
        }
    }
    let (tx, _rx) = domain.mailbox_with::<u32>(Capacity {
        task: 0,
        softirq: 4,
        hardirq: 4,
    })?;
    check_eq!(
        log,
        tx.post_batch(&mut (0..10)),
        Err(PostErrorKind::Context)
    );
    Ok(())
}

/// An empty batch is none; a receiver that is gone gets none.
fn nothing(log: &mut Log) -> Result {
    let domain = domain(c"batch")?;
    let (tx, mut rx) = domain.mailbox_with::<u32>(room(16))?;
    check_eq!(log, tx.post_batch(&mut core::iter::empty()), Ok(0));
    check!(log, rx.try_recv().is_none());
    drop(rx);
    let mut messages = 0..4;
    check_eq!(
        log,
        tx.post_batch(&mut messages),
        Err(PostErrorKind::Closed)
    );
    check_eq!(log, messages.next(), Some(0));
    Ok(())
}

/// Batches and single messages of a thread that moves between CPUs arrive in the order sent.
fn in_order(log: &mut Log) -> Result {
    const ROUNDS: u32 = 12;
    let domain = domain(c"batch")?;
    let (tx, mut rx) = domain.mailbox_with::<u32>(room(256))?;
    let task = domain.spawn(c"takes", async move {
        let (mut next, mut wrong) = (0, 0);
        while let Some(i) = rx.recv().await {
            wrong += u32::from(i != next);
            next = i + 1;
        }
        (next, wrong)
    })?;
    let held = Held::new(&domain)?;
    let thread = Worker::start(None, move || -> Result<u32> {
        let mut next = 0;
        for round in 0..ROUNDS {
            sys::move_to(round % sys::cpus())?;
            let end = next + 1 + round % 5;
            if tx.post_batch(&mut (next..end)) != Ok((end - next) as usize) {
                return Err(EINVAL);
            }
            next = end;
            if round % 3 == 0 {
                sys::move_to((round + 1) % sys::cpus())?;
            }
            tx.try_post(next)?;
            next += 1;
        }
        Ok(next)
    })?;
    let sent = thread.join(LONG).ok_or(ETIME)?;
    drop(held);
    check_eq!(log, join(task)?.map(Ok), Ok(sent.map(|next| (next, 0))));
    Ok(())
}

/// A burst wakes a sleeping receiver once.
fn one_wake_up(log: &mut Log) -> Result {
    let domain = domain(c"batch")?;
    let (tx, mut rx) = domain.mailbox_with::<u32>(room(32))?;
    let trace = trace()?;
    let t = trace.clone();
    let taker = async move {
        while let Some(i) = rx.recv().await {
            t.add(i);
        }
    };
    domain.spawn(c"takes", taker)?.detach();
    settle(&domain)?;
    let read = || (domain.stats().wakes_remote(), domain.stats().polls());
    for at in [Where::Task, Where::Softirq, Where::HardIrq] {
        let before = read();
        let arrived = trace.len() + 32;
        let sent = sys::run_in(at, || tx.post_batch(&mut (0..32)));
        check_eq!(log, sent, Ok(32));
        check!(log, sys::eventually(LONG, || trace.len() == arrived));
        check!(log, sys::eventually(LONG, || read().1 > before.1));
        check_eq!(log, read(), (before.0 + 1, before.1 + 1));
        settle(&domain)?;
    }
    Ok(())
}

/// Batches from all CPUs and contexts at once: none lost, none twice, each sender's in order.
fn under_traffic(log: &mut Log) -> Result {
    const EACH: u64 = 60_000;
    let domain = domain(c"batch")?;
    let (tx, mut rx) = domain.mailbox_with::<(u32, u64)>(room(64))?;
    let senders = 3 * sys::cpus();
    let task = domain.spawn(c"takes", async move {
        let mut next = KVec::new();
        for _ in 0..senders {
            next.push(0, GFP_KERNEL)?;
        }
        let mut wrong = 0;
        while let Some((from, i)) = rx.recv().await {
            if let Some(next) = next.get_mut(from as usize) {
                wrong += u32::from(*next != i);
                *next = i + 1;
            }
        }
        Ok::<_, Error>((next, wrong))
    })?;
    let mut threads = KVec::new();
    for from in 0..senders {
        let (at, cpu, on) = origin(from);
        let tx = tx.clone();
        let thread = Worker::start(Some(on), move || {
            let mut next = 0;
            while next < EACH && !sys::should_stop() {
                let mut batch = (next..EACH).map(|i| (from, i));
                match sys::run_in_on(at, cpu, || tx.post_batch(&mut batch)) {
                    Ok(n) => next += n as u64,
                    Err(PostErrorKind::Full) => sys::sleep_ms(1),
                    Err(_) => break,
                }
            }
            next
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    drop(tx);
    for thread in threads {
        check_eq!(log, thread.join(5 * LONG), Some(EACH));
    }
    let (next, wrong) = join(task)???;
    check_eq!(log, wrong, 0);
    check!(log, next.iter().all(|n| *n == EACH), "{next:?}");
    Ok(())
}
