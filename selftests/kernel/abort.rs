// SPDX-License-Identifier: GPL-2.0

//! Join handles: awaiting, aborting, letting go. Invariants 2 (an output is delivered or dropped,
//! once) and 6 (whatever a coroutine had is gone when it has ended).

use crate::harness::*;
use crate::sys::{self, eventually, Worker};
use coop_domain::prelude::*;
use core::future::Future;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};

pub(crate) const TESTS: &[Test] = &[
    ("abort.never_polled", never_polled),
    ("abort.queued", queued),
    ("abort.waiting_for_anything", waiting),
    ("abort.of_itself_while_running", of_itself),
    ("abort.of_itself_in_its_last_poll", of_itself_last),
    ("abort.while_polled_elsewhere", while_polled),
    ("abort.after_the_end", after_the_end),
    ("abort.twice", twice),
    ("abort.in_order", in_order),
    ("abort.races_with_wakes", races_with_wakes),
    ("abort.later_wakes_do_nothing", later_wakes),
    ("join.output_is_moved_out_once", output_moved),
    ("join.output_is_dropped_once", output_dropped),
    ("join.handles_that_go_at_any_time", handles_go),
    ("join.of_other_domains", of_other_domains),
    ("join.waits_for_destructors", waits_for_destructors),
];

/// A coroutine that never ends, with a counted value inside; `polled` is set when it runs.
fn endless(
    domain: &Domain,
    count: &Arc<Count>,
    polled: &Arc<Flag>,
    future: impl Future + Send + 'static,
) -> Result<JoinHandle<Counted>> {
    let (value, p, c) = (Counted::new(count, 0), polled.clone(), count.clone());
    domain.spawn(c"endless", async move {
        let _value = value;
        p.set();
        future.await;
        Counted::new(&c, 1)
    })
}

/// The coroutine has ended without output, and everything it had is gone.
fn is_cancelled(log: &mut Log, task: JoinHandle<Counted>, count: &Count) -> Result {
    check_eq!(log, join(task)?.map(|v| v.value), Err(ECANCELED));
    check!(log, count.made() > 0 && count.is_even(), "{count:?}");
    Ok(())
}

/// Aborted before its first poll: it is never polled.
fn never_polled(log: &mut Log) -> Result {
    let domain = domain(c"abort")?;
    let (count, polled) = (count()?, flag()?);
    let held = Held::new(&domain)?;
    let task = endless(&domain, &count, &polled, forever())?;
    task.abort();
    check!(log, !task.is_finished());
    drop(held);
    is_cancelled(log, task, &count)?;
    check!(log, !polled.is_set());
    Ok(())
}

/// Aborted while a wake-up is due: it is not polled any more.
fn queued(log: &mut Log) -> Result {
    let domain = domain(c"abort")?;
    let (count, polled, nest) = (count()?, flag()?, nest()?);
    let task = endless(&domain, &count, &polled, Nested(nest.clone(), 2))?;
    let waker = nest.wait_for_waker()?;
    let held = Held::new(&domain)?;
    waker.wake();
    task.abort();
    drop(held);
    is_cancelled(log, task, &count)?;
    check_eq!(log, nest.polls(), 1);
    Ok(())
}

/// Aborted while it waits, for each thing that one can wait for.
fn waiting(log: &mut Log) -> Result {
    let domain = domain(c"abort")?;
    let (tx, mut rx) = domain.mailbox_with::<u32>(room(1))?;
    let (full, _full_rx) = domain.mailbox_with::<u32>(room(1))?;
    for cpu in 0..sys::cpus() {
        sys::move_to(cpu)?;
        full.try_post(0)?;
    }
    let (caller, _requests) = domain.call_mailbox::<u32, u32>()?;
    let silent = signal()?;
    let other = domain.spawn(c"other", forever())?;
    let one = |future: KBox<dyn Pollable>, log: &mut Log, what: &str| -> Result {
        let (count, polled) = (count()?, flag()?);
        let mut future = future;
        let future = core::future::poll_fn(move |cx| future.poll(cx));
        let task = endless(&domain, &count, &polled, future)?;
        check!(log, polled.wait());
        run(&domain, yield_now())?;
        check!(log, !task.is_finished(), "{what}");
        task.abort();
        is_cancelled(log, task, &count)
    };
    one(
        boxed(async move { rx.recv().await.map(drop) })?,
        log,
        "recv",
    )?;
    one(boxed(async move { silent.wait().await })?, log, "signal")?;
    one(boxed(async move { other.await.map(drop) })?, log, "join")?;
    one(
        boxed(async move { full.send(1).await.map(drop) })?,
        log,
        "send",
    )?;
    one(
        boxed(async move { caller.ask(1).await.map(drop) })?,
        log,
        "ask",
    )?;
    let busy = async {
        loop {
            yield_now().await
        }
    };
    one(boxed(busy)?, log, "yield")?;
    drop(tx);
    Ok(())
}

/// A future whose type does not matter.
trait Pollable: Send {
    fn poll(&mut self, cx: &mut core::task::Context<'_>) -> core::task::Poll<()>;
}

struct Boxed<F>(Pin<KBox<F>>);

impl<F: Future + Send> Pollable for Boxed<F> {
    fn poll(&mut self, cx: &mut core::task::Context<'_>) -> core::task::Poll<()> {
        self.0.as_mut().poll(cx).map(drop)
    }
}

fn boxed<F: Future + Send + 'static>(f: F) -> Result<KBox<dyn Pollable>> {
    Ok(KBox::new(Boxed(KBox::pin(f, GFP_KERNEL)?), GFP_KERNEL)?)
}

type Slot = Arc<Mutex<Option<JoinHandle<Counted>>>>;

fn slot() -> Result<Slot> {
    Arc::pin_init(new_mutex!(None), GFP_KERNEL)
}

/// A coroutine that aborts itself goes on until it awaits, and no further.
fn of_itself(log: &mut Log) -> Result {
    let domain = domain(c"abort")?;
    let (count, trace, me) = (count()?, trace()?, slot()?);
    let (c, t, m) = (count.clone(), trace.clone(), me.clone());
    let held = Held::new(&domain)?;
    let task = domain.spawn(c"itself", async move {
        let _value = Counted::new(&c, 0);
        if let Some(task) = &*m.lock() {
            task.abort();
        }
        t.add(1);
        yield_now().await;
        t.add(2);
        Counted::new(&c, 1)
    })?;
    *me.lock() = Some(task);
    drop(held);
    check!(log, eventually(LONG, || count.dropped() == 1));
    let task = me.lock().take().ok_or(ENOENT)?;
    is_cancelled(log, task, &count)?;
    trace.is(log, &[1])
}

/// If that poll is its last, it has ended by itself: the output is there.
fn of_itself_last(log: &mut Log) -> Result {
    let domain = domain(c"abort")?;
    let (count, me) = (count()?, slot()?);
    let (c, m) = (count.clone(), me.clone());
    let held = Held::new(&domain)?;
    let task = domain.spawn(c"itself", async move {
        if let Some(task) = &*m.lock() {
            task.abort();
        }
        Counted::new(&c, 7)
    })?;
    *me.lock() = Some(task);
    drop(held);
    check!(log, eventually(LONG, || count.made() == 1));
    let task = me.lock().take().ok_or(ENOENT)?;
    check_eq!(log, join(task)?.map(|v| v.value), Ok(7));
    check!(log, count.is_even(), "{count:?}");
    Ok(())
}

/// Aborted by a thread in the middle of a poll: the poll goes on, the next does not come.
fn while_polled(log: &mut Log) -> Result {
    let domain = domain(c"abort")?;
    let (count, trace) = (count()?, trace()?);
    let (inside, go) = (flag()?, flag()?);
    let (c, t, i, g) = (count.clone(), trace.clone(), inside.clone(), go.clone());
    let task = domain.spawn(c"polled", async move {
        let _value = Counted::new(&c, 0);
        i.set();
        g.wait();
        t.add(1);
        yield_now().await;
        t.add(2);
        Counted::new(&c, 1)
    })?;
    check!(log, inside.wait());
    task.abort();
    // Not while it is being polled: that would pull its state from under it.
    sys::sleep_ms(10);
    check_eq!(log, count.dropped(), 0);
    go.set();
    is_cancelled(log, task, &count)?;
    trace.is(log, &[1])
}

/// Aborted when it is over: nothing happens, the output stays.
fn after_the_end(log: &mut Log) -> Result {
    let domain = domain(c"abort")?;
    let count = count()?;
    let c = count.clone();
    let task = domain.spawn(c"short", async move { Counted::new(&c, 3) })?;
    check!(log, ends(&task));
    task.abort();
    run(&domain, yield_now())?;
    check_eq!(log, (count.made(), count.dropped()), (1, 0));
    check_eq!(log, join(task)?.map(|v| v.value), Ok(3));
    check!(log, count.is_even(), "{count:?}");
    Ok(())
}

/// Aborted many times, by many: dropped once.
fn twice(log: &mut Log) -> Result {
    let domain = domain(c"abort")?;
    let (count, polled) = (count()?, flag()?);
    let task = Arc::new(endless(&domain, &count, &polled, forever())?, GFP_KERNEL)?;
    check!(log, polled.wait());
    let mut threads = KVec::new();
    for cpu in 0..sys::cpus() {
        let t = task.clone();
        let thread = Worker::start(Some(cpu), move || (0..100).for_each(|_| t.abort()))?;
        threads.push(thread, GFP_KERNEL)?;
    }
    for thread in threads {
        check!(log, thread.join(LONG).is_some());
    }
    check!(log, ends(&task));
    run(&domain, yield_now())?;
    check_eq!(log, (count.made(), count.dropped()), (1, 1));
    Ok(())
}

/// Aborted coroutines end in the order in which that was asked for, among all that is queued.
fn in_order(log: &mut Log) -> Result {
    let domain = domain(c"abort")?;
    let trace = trace()?;
    let mut tasks = KVec::new();
    for i in 0..4 {
        let t = trace.clone();
        let task = domain.spawn(c"traced", async move {
            let _drop = on_drop(move || t.add(i));
            forever().await;
        })?;
        tasks.push(task, GFP_KERNEL)?;
    }
    run(&domain, yield_now())?;
    let held = Held::new(&domain)?;
    for (n, i) in [2, 0, 3, 1].into_iter().enumerate() {
        if let Some(task) = tasks.get(i) {
            task.abort();
        }
        if n == 1 {
            let t = trace.clone();
            domain
                .spawn(c"between", async move { t.add(100) })?
                .detach();
        }
    }
    drop(held);
    trace.is(log, &[2, 0, 100, 3, 1])
}

/// Wakes and aborts of the same coroutine come from two CPUs at once, thousands of times.
fn races_with_wakes(log: &mut Log) -> Result {
    let domain = domain(c"abort")?;
    let count = count()?;
    let polled = flag()?;
    for _ in 0..500 {
        let nest = nest()?;
        let task = endless(&domain, &count, &polled, Nested(nest.clone(), usize::MAX))?;
        let waker = nest.wait_for_waker()?;
        let thread = Worker::start(None, move || {
            for _ in 0..50 {
                waker.wake_by_ref();
            }
        })?;
        sys::busy(20);
        task.abort();
        check!(log, eventually(LONG, || task.is_finished()));
        check!(log, thread.join(LONG).is_some());
    }
    check_eq!(log, (count.made(), count.dropped()), (500, 500));
    Ok(())
}

/// A waker of a coroutine that is gone wakes nobody, in no context.
fn later_wakes(log: &mut Log) -> Result {
    let domain = domain(c"abort")?;
    let (count, polled, nest) = (count()?, flag()?, nest()?);
    let task = endless(&domain, &count, &polled, Nested(nest.clone(), usize::MAX))?;
    let waker = nest.wait_for_waker()?;
    task.abort();
    is_cancelled(log, task, &count)?;
    // The count is up to date when the domain sleeps.
    settle(&domain)?;
    let polls = domain.stats().polls();
    for at in [sys::Where::Task, sys::Where::Softirq, sys::Where::HardIrq] {
        sys::run_in(at, || {
            waker.wake_by_ref();
            let other = waker.clone();
            other.wake_by_ref();
        });
    }
    settle(&domain)?;
    check_eq!(log, nest.polls(), 1);
    // Four for `settle` alone.
    check_eq!(log, domain.stats().polls(), polls + 4);
    Ok(())
}

/// A join handle that was awaited has moved the output out; awaiting it again says so.
fn output_moved(log: &mut Log) -> Result {
    let domain = domain(c"abort")?;
    let count = count()?;
    let c = count.clone();
    let mut task = domain.spawn(c"short", async move { Counted::new(&c, 3) })?;
    let values = run(&domain, async move {
        let first = (&mut task).await.map(|v| v.value);
        let second = (&mut task).await.map(|v| v.value);
        (first, second)
    })?;
    check_eq!(log, values, (Ok(3), Err(ECANCELED)));
    check_eq!(log, (count.made(), count.dropped()), (1, 1));
    Ok(())
}

/// Without a join handle the output is dropped: by the domain if the handle goes first, with the
/// handle if it goes later.
fn output_dropped(log: &mut Log) -> Result {
    let domain = domain(c"abort")?;
    let count = count()?;
    let c = count.clone();
    let held = Held::new(&domain)?;
    let before = domain.spawn(c"short", async move { Counted::new(&c, 1) })?;
    before.detach();
    drop(held);
    check!(
        log,
        eventually(LONG, || count.made() == 1 && count.is_even())
    );
    let c = count.clone();
    let after = domain.spawn(c"short", async move { Counted::new(&c, 2) })?;
    check!(log, ends(&after));
    check_eq!(log, (count.made(), count.dropped()), (2, 1));
    drop(after);
    check!(log, count.is_even(), "{count:?}");
    Ok(())
}

/// Handles that are dropped at about the time of the end, on another CPU.
fn handles_go(log: &mut Log) -> Result {
    const TIMES: usize = 3_000;
    let domain = domain(c"abort")?;
    let count = count()?;
    for i in 0..TIMES {
        let c = count.clone();
        let task = domain.spawn(c"short", async move { Counted::new(&c, 1) })?;
        sys::busy(i as u32 % 40);
        drop(task);
    }
    check!(
        log,
        eventually(LONG, || count.made() == TIMES && count.is_even()),
        "{count:?}"
    );
    Ok(())
}

/// Coroutines of one domain wait for those of another, asleep and in time, thousands of them.
fn of_other_domains(log: &mut Log) -> Result {
    let (a, b) = (domain_on(c"abort", 0)?, domain_on(c"other", other(0))?);
    let handle = b.handle();
    let sum = run(&a, async move {
        let mut sum = 0;
        for i in 0..3_000u32 {
            let task = handle.spawn(c"part", async move {
                if i % 2 == 0 {
                    yield_now().await;
                }
                i
            })?;
            if i % 3 == 0 {
                yield_now().await;
            }
            sum += task.await?;
        }
        Ok::<_, Error>(sum)
    })?;
    check_eq!(log, sum, Ok(2_999 * 3_000 / 2));
    Ok(())
}

/// Invariant 6: who has joined knows that the future's destructors have run.
fn waits_for_destructors(log: &mut Log) -> Result {
    let (a, b) = (domain(c"abort")?, domain(c"other")?);
    let gone = flag()?;
    let g = gone.clone();
    let task = a.spawn(c"slow", async move {
        let _drop = on_drop(move || {
            sys::sleep_ms(50);
            g.set();
        });
        forever().await;
    })?;
    run(&a, yield_now())?;
    task.abort();
    let g = gone.clone();
    let seen = run(&b, async move {
        let _ = task.await;
        g.is_set()
    })?;
    check!(log, seen);
    Ok(())
}
