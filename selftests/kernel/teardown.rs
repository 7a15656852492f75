// SPDX-License-Identifier: GPL-2.0

//! The end of a domain. Invariant 6: dropping one ends its coroutines in a defined order, answers
//! every pending call, stops its thread, and only then returns.

use crate::harness::*;
use crate::sys::{self, eventually, TestIrq, Where, Worker};
use coop_domain::prelude::*;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};

pub(crate) const TESTS: &[Test] = &[
    ("teardown.reverse_order", reverse_order),
    ("teardown.drops_what_never_ran", never_ran),
    ("teardown.waits_for_destructors", waits_for_destructors),
    ("teardown.destructors_can_do_anything", destructors),
    ("teardown.pending_calls_fail", pending_calls),
    ("teardown.everything_in_flight", everything_in_flight),
    ("teardown.afterwards_definite_errors", afterwards),
    ("teardown.wakers_and_handles_outlive_it", outliving),
    ("teardown.races_with_spawn", races_with_spawn),
    ("teardown.hundreds_of_domains", hundreds),
    ("teardown.right_after_build", right_after_build),
    ("teardown.inside_itself", inside_itself),
    ("teardown.inside_another", inside_another),
    ("teardown.in_atomic_context", in_atomic_context),
    ("teardown.then_the_receiver", then_the_receiver),
    ("teardown.domains_that_talk_to_each_other", circle),
];

/// The coroutine that ran first goes last: what others were built on is there until the end.
fn reverse_order(log: &mut Log) -> Result {
    let domain = domain(c"teardown")?;
    let trace = trace()?;
    let held = Held::new(&domain)?;
    let handle = domain.handle();
    for i in 0..4 {
        let (t, handle) = (trace.clone(), handle.clone());
        let task = async move {
            let u = t.clone();
            let _drop = on_drop(move || u.add(i));
            if i == 1 {
                // One from inside runs after those that were queued.
                let u = t.clone();
                let inner = async move {
                    let _drop = on_drop(move || u.add(10));
                    forever().await;
                };
                if let Ok(task) = handle.spawn(c"inner", inner) {
                    task.detach();
                }
            }
            forever().await;
        };
        domain.spawn(c"traced", task)?.detach();
    }
    drop(held);
    run(&domain, yield_now())?;
    drop(domain);
    check_eq!(log, trace.len(), 5);
    trace.is(log, &[10, 3, 2, 1, 0])
}

/// Coroutines that were queued and had no turn go without one, before those that had: last
/// queued, first dropped.
fn never_ran(log: &mut Log) -> Result {
    let domain = domain(c"teardown")?;
    let trace = trace()?;
    let (held, polled) = (Held::new(&domain)?, flag()?);
    for i in 0..4 {
        let (t, p) = (trace.clone(), polled.clone());
        let on_drop = on_drop(move || t.add(i));
        let task = async move {
            let _drop = on_drop;
            p.set();
        };
        domain.spawn(c"traced", task)?.detach();
    }
    // Its home thread is asked to stop while it is held, and has no turn for them afterwards, or
    // for all: a budget's worth is run before it looks.
    let dropper = Worker::start(None, move || drop(domain))?;
    check!(log, dropper.sleeps());
    drop(held);
    check!(log, dropper.join(LONG).is_some());
    check_eq!(log, trace.len(), 4);
    if polled.is_set() {
        trace.is(log, &[0, 1, 2, 3])
    } else {
        trace.is(log, &[3, 2, 1, 0])
    }
}

/// Drop returns when all destructors have run.
fn waits_for_destructors(log: &mut Log) -> Result {
    let domain = domain(c"teardown")?;
    let trace = trace()?;
    for i in 0..3 {
        let t = trace.clone();
        let task = async move {
            let _drop = on_drop(move || {
                sys::sleep_ms(20);
                t.add(i);
            });
            forever().await;
        };
        domain.spawn(c"slow", task)?.detach();
    }
    run(&domain, yield_now())?;
    drop(domain);
    check_eq!(log, trace.len(), 3);
    trace.is(log, &[2, 1, 0])
}

/// A destructor that runs while the domain ends finds the domain's cells, and all else refused.
fn destructors(log: &mut Log) -> Result {
    let (ending, other) = (domain(c"teardown")?, domain(c"other")?);
    let cell = Arc::new(ending.cell(5u32), GFP_KERNEL)?;
    let (tx, _rx) = ending.mailbox::<u32>()?;
    let (caller, _requests) = ending.call_mailbox::<u32, u32>()?;
    let results = Arc::pin_init(new_mutex!(None), GFP_KERNEL)?;
    let count = count()?;
    let (handle, r, c, s) = (ending.handle(), results.clone(), count.clone(), signal()?);
    let waiting = s.clone();
    let other_task = other.spawn(c"waits", async move { waiting.wait().await })?;
    let task = async move {
        let _drop = on_drop(move || {
            let value = Counted::new(&c, 1);
            let spawned = handle.spawn(c"late", async move { drop(value) }).map(drop);
            let seen = cell.with(|v| *v);
            let posted = tx.try_post(1).map_err(|e| e.errno());
            let called = caller.call(1);
            // Others can still be reached.
            s.signal();
            *r.lock() = Some((spawned, seen, posted, called));
            // And a domain can be dropped here.
            let _ = domain(c"short").map(drop);
        });
        forever().await;
    };
    ending.spawn(c"ends", task)?.detach();
    run(&ending, yield_now())?;
    drop(ending);
    let expected = (Err(ECANCELED), Ok(5), Err(ECANCELED), Err(EDEADLK));
    check_eq!(log, results.lock().take(), Some(expected));
    check_eq!(log, (count.made(), count.dropped()), (1, 1));
    check!(log, ends(&other_task));
    Ok(())
}

/// Calls that were sent, taken and not answered, or still wait for room, fail when the domain goes.
fn pending_calls(log: &mut Log) -> Result {
    let domain = Domain::builder(c"teardown", crate::owner())
        .mailbox(room(4))
        .build()?;
    let (tx, mut rx) = domain.call_mailbox::<u32, Counted>()?;
    let taken = flag()?;
    let t = taken.clone();
    let server = async move {
        let mut kept = KVec::new();
        for _ in 0..2 {
            if let Some(request) = rx.recv().await {
                let _ = kept.push(request, GFP_KERNEL);
            }
        }
        t.set();
        forever().await;
    };
    domain.spawn(c"server", server)?.detach();
    let mut threads = KVec::new();
    for i in 0..10 {
        let tx = tx.clone();
        let thread = Worker::start(Some(0), move || tx.call(i).map(|r| r.value))?;
        threads.push(thread, GFP_KERNEL)?;
    }
    check!(log, taken.wait());
    for thread in &threads {
        check!(log, thread.sleeps());
    }
    drop(domain);
    for thread in threads {
        check_eq!(log, thread.join(LONG), Some(Err(ECANCELED)));
    }
    Ok(())
}

/// Something to drop.
trait Anything: Send {}

impl<T: Send> Anything for T {}

/// What goes on in a domain that is dropped in the middle of it.
struct Traffic {
    threads: KVec<Worker<Result<(), &'static str>>>,
    peer: Domain,
    tasks: KVec<JoinHandle<Error>>,
    sources: KVec<Worker<()>>,
    stop: Arc<AtomicBool>,
    line: KBox<dyn Anything>,
    irq: TestIrq,
}

/// Callers, senders, spawners, coroutines of another domain, and an interrupt that posts: all of
/// them go on until they get an error.
fn traffic(domain: &Domain, count: &Arc<Count>) -> Result<Traffic> {
    let (tx, mut rx) = domain.mailbox_with::<Counted>(room(4))?;
    let (caller, mut requests) = domain.call_mailbox::<Counted, Counted>()?;
    let server = async move {
        while let Some(request) = requests.recv().await {
            let (q, reply) = request.into_parts();
            yield_now().await;
            let _ = reply.send(q);
        }
    };
    domain.spawn(c"server", server)?.detach();
    let taker = async move {
        while rx.recv().await.is_some() {
            yield_now().await;
        }
    };
    domain.spawn(c"taker", taker)?.detach();

    let mut threads = KVec::new();
    for cpu in 0..sys::cpus() {
        let (caller, count) = (caller.clone(), count.clone());
        let thread = Worker::start(Some(cpu), move || loop {
            match caller.call(Counted::new(&count, 1)) {
                Ok(_) => (),
                Err(e) if e == ECANCELED => return Ok(()),
                Err(_) => return Err("call: another error"),
            }
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    for cpu in 0..sys::cpus() {
        let (tx, count) = (tx.clone(), count.clone());
        let thread = Worker::start(Some(cpu), move || loop {
            match tx.post(Counted::new(&count, 2)) {
                Ok(()) => (),
                Err(e) => match (e.errno(), e.into_inner().value) {
                    (ECANCELED, 2) => return Ok(()),
                    _ => return Err("post: another error, or another message"),
                },
            }
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    let (handle, c) = (domain.handle(), count.clone());
    let spawner = Worker::start(None, move || loop {
        let value = Counted::new(&c, 3);
        let spawned = handle.spawn(c"spawned", async move {
            yield_now().await;
            value
        });
        match spawned {
            Ok(task) => task.detach(),
            Err(e) if e == ECANCELED => return Ok(()),
            Err(_) => return Err("spawn: another error"),
        }
        sys::cond_resched();
    })?;
    threads.push(spawner, GFP_KERNEL)?;

    let peer = crate::harness::domain(c"peer")?;
    let mut tasks = KVec::new();
    let (t, c) = (tx.clone(), count.clone());
    let sends = async move {
        loop {
            if let Err(e) = t.send(Counted::new(&c, 4)).await {
                return e.errno();
            }
        }
    };
    tasks.push(peer.spawn(c"sends", sends)?, GFP_KERNEL)?;
    let c = count.clone();
    let asks = async move {
        loop {
            if let Err(e) = caller.ask(Counted::new(&c, 5)).await {
                return e;
            }
        }
    };
    tasks.push(peer.spawn(c"asks", asks)?, GFP_KERNEL)?;

    // The interrupt posts to the domain for as long as it comes, and signals a coroutine there.
    let irq = TestIrq::new()?;
    let signal = signal()?;
    let s = signal.clone();
    let bottom = async move {
        loop {
            s.wait().await;
        }
    };
    domain.spawn(c"bottom half", bottom)?.detach();
    let c = count.clone();
    let top = move || {
        let _ = tx.try_post(Counted::new(&c, 6));
        Top::Wake
    };
    // SAFETY: The line is dropped before its interrupt and this module are: see `Traffic::end`.
    let line = unsafe { IrqLine::from_number(irq.number(), false, c"coop_test", signal, top) }?;
    let stop = Arc::new(AtomicBool::new(false), GFP_KERNEL)?;
    let mut sources = KVec::new();
    for cpu in 0..sys::cpus() {
        let s = stop.clone();
        let source = Worker::start(Some(other(cpu)), move || {
            while !s.load(Relaxed) && !sys::should_stop() {
                TestIrq::raise(cpu);
                sys::busy(20);
                sys::cond_resched();
            }
        })?;
        sources.push(source, GFP_KERNEL)?;
    }
    Ok(Traffic {
        threads,
        peer,
        tasks,
        sources,
        stop,
        line: KBox::new(line, GFP_KERNEL)?,
        irq,
    })
}

impl Traffic {
    /// Everybody was told; nothing of it is left.
    fn end(self, log: &mut Log) -> Result {
        for thread in self.threads {
            check_eq!(log, thread.join(LONG), Some(Ok(())));
        }
        for task in self.tasks {
            check_eq!(log, join(task)?, Ok(ECANCELED));
        }
        drop(self.peer);
        self.stop.store(true, Relaxed);
        for source in self.sources {
            check!(log, source.join(LONG).is_some());
        }
        TestIrq::sync();
        drop(self.line);
        drop(self.irq);
        Ok(())
    }
}

/// Callers, senders, spawners on all CPUs, another domain's coroutines and an interrupt are at it
/// when the domain goes: each gets a definite error, each value is dropped once.
fn everything_in_flight(log: &mut Log) -> Result {
    for round in 0..20 {
        let domain = domain(c"teardown")?;
        let count = count()?;
        let traffic = traffic(&domain, &count)?;
        check!(log, eventually(LONG, || count.made() > 10), "{count:?}");
        sys::sleep_ms(3 + round % 7);
        drop(domain);
        traffic.end(log)?;
        check!(log, count.is_even(), "round {round}: {count:?}");
    }
    Ok(())
}

/// Whatever is tried with a domain that is gone says so, and hands back or drops what it got.
fn afterwards(log: &mut Log) -> Result {
    let domain = domain(c"teardown")?;
    let handle = domain.handle();
    let (tx, rx) = domain.mailbox::<Counted>()?;
    let (caller, requests) = domain.call_mailbox::<u32, u32>()?;
    let cell = domain.cell(1);
    let count = count()?;
    drop(domain);
    check!(log, handle.is_closed() && tx.is_closed());
    let value = Counted::new(&count, 1);
    check_eq!(
        log,
        handle.spawn(c"late", async move { drop(value) }).map(drop),
        Err(ECANCELED)
    );
    check!(log, count.is_even(), "{count:?}");
    for at in [Where::Task, Where::Softirq, Where::HardIrq] {
        let kind = sys::run_in(at, || {
            tx.try_post(Counted::new(&count, 2)).map_err(|e| e.errno())
        });
        check_eq!(log, kind, Err(ECANCELED));
    }
    let posted = tx
        .post(Counted::new(&count, 3))
        .map_err(|e| (e.errno(), e.into_inner().value));
    check_eq!(log, posted, Err((ECANCELED, 3)));
    check_eq!(log, caller.call(1), Err(ECANCELED));
    check_eq!(log, caller.call_timeout(1, 1000), Err(ECANCELED));
    check_eq!(log, cell.with(|v| *v), Err(EPERM));
    let other = crate::harness::domain(c"other")?;
    let t = tx.clone();
    let c = count.clone();
    let errors = run(&other, async move {
        let sent = t.send(Counted::new(&c, 4)).await.map_err(|e| e.errno());
        (sent, caller.ask(1).await)
    })?;
    check_eq!(log, errors, (Err(ECANCELED), Err(ECANCELED)));
    check!(log, count.is_even(), "{count:?}");
    drop((rx, requests));
    Ok(())
}

/// Wakers, join handles, senders and receivers may be used and dropped long after the domain.
fn outliving(log: &mut Log) -> Result {
    let (ending, other) = (domain(c"teardown")?, domain(c"other")?);
    let (count, nest) = (count()?, nest()?);
    let c = count.clone();
    let (value, n) = (Counted::new(&count, 0), nest.clone());
    let cancelled = ending.spawn(c"ends", async move {
        let _value = value;
        Nested(n, usize::MAX).await;
        Counted::new(&c, 1)
    })?;
    let waker = nest.wait_for_waker()?;
    let c = count.clone();
    let done = ending.spawn(c"done", async move { Counted::new(&c, 9) })?;
    check!(log, ends(&done));
    let signal = signal()?;
    let s = signal.clone();
    ending
        .spawn(c"waits", async move { s.wait().await })?
        .detach();
    run(&ending, yield_now())?;
    drop(ending);
    check_eq!(log, (count.made(), count.dropped()), (2, 1));
    for at in [Where::Task, Where::Softirq, Where::HardIrq] {
        sys::run_in(at, || {
            waker.wake_by_ref();
            signal.signal();
            drop(waker.clone());
        });
    }
    check_eq!(log, nest.polls(), 1);
    cancelled.abort();
    check_eq!(
        log,
        run(&other, cancelled)?.map(|v| v.value),
        Err(ECANCELED)
    );
    // An output that was there is still there.
    check_eq!(log, run(&other, done)?.map(|v| v.value), Ok(9));
    check!(log, count.is_even(), "{count:?}");
    drop(waker);
    Ok(())
}

/// Spawns from all CPUs while the domain goes: each future is either run or dropped.
fn races_with_spawn(log: &mut Log) -> Result {
    for _ in 0..30 {
        let domain = domain(c"teardown")?;
        let count = count()?;
        let refused = Arc::new(AtomicU32::new(0), GFP_KERNEL)?;
        let mut threads = KVec::new();
        for cpu in 0..sys::cpus() {
            let (handle, c, r) = (domain.handle(), count.clone(), refused.clone());
            let thread = Worker::start(Some(cpu), move || {
                while !sys::should_stop() {
                    let value = Counted::new(&c, 1);
                    let spawned = handle.spawn(c"spawned", async move {
                        let _value = value;
                        yield_now().await;
                    });
                    match spawned {
                        Ok(task) => task.detach(),
                        Err(_) => {
                            r.fetch_add(1, AcqRel);
                            break;
                        }
                    }
                }
            })?;
            threads.push(thread, GFP_KERNEL)?;
        }
        check!(log, eventually(LONG, || count.dropped() > 0), "{count:?}");
        sys::sleep_ms(2);
        drop(domain);
        for thread in threads {
            check!(log, thread.join(LONG).is_some());
        }
        check_eq!(log, refused.load(Acquire), sys::cpus());
        check!(log, count.is_even(), "{count:?}");
    }
    Ok(())
}

/// Hundreds of domains at once, each at work, dropped in another order than made.
fn hundreds(log: &mut Log) -> Result {
    const DOMAINS: u32 = 300;
    let count = count()?;
    let mut domains = KVec::new();
    for i in 0..DOMAINS {
        let name = kernel::str::CString::try_from_fmt(kernel::prelude::fmt!("many-{i}"))?;
        let domain = domain(&name)?;
        let (caller, mut requests) = domain.call_mailbox::<u32, u32>()?;
        let value = Counted::new(&count, i);
        let server = async move {
            let value = value;
            while let Some(request) = requests.recv().await {
                let (q, reply) = request.into_parts();
                let _ = reply.send(q + value.value);
            }
        };
        domain.spawn(c"server", server)?.detach();
        domains.push(Some((domain, caller)), GFP_KERNEL)?;
    }
    for i in (0..DOMAINS).rev() {
        if let Some(Some((_, caller))) = domains.get(i as usize) {
            check_eq!(log, caller.call(1000), Ok(1000 + i));
        }
    }
    for i in 0..DOMAINS {
        // 7 and 300 have no divisor in common: each comes once.
        if let Some(slot) = domains.get_mut((i * 7 % DOMAINS) as usize) {
            drop(slot.take());
        }
        check_eq!(log, count.dropped(), i as usize + 1);
    }
    Ok(())
}

/// Dropped before the home thread has run even once.
fn right_after_build(log: &mut Log) -> Result {
    let count = count()?;
    for i in 0..100 {
        let domain = domain_on(c"teardown", i % sys::cpus())?;
        if i % 2 == 0 {
            let value = Counted::new(&count, i);
            domain.spawn(c"quick", async move { drop(value) })?.detach();
        }
        drop(domain);
    }
    check_eq!(log, (count.made(), count.dropped()), (50, 50));
    Ok(())
}

type Kept = Arc<Mutex<Option<Domain>>>;

fn kept(domain: Domain) -> Result<Kept> {
    Arc::pin_init(new_mutex!(Some(domain)), GFP_KERNEL)
}

/// Dropped by one of its own coroutines, which cannot wait for it: it ends soon after.
fn inside_itself(log: &mut Log) -> Result {
    for _ in 0..10 {
        let domain = domain(c"teardown")?;
        let (handle, count) = (domain.handle(), count()?);
        let value = Counted::new(&count, 1);
        let kept = kept(domain)?;
        let k = kept.clone();
        let task = handle.spawn(c"ends it", async move {
            let _value = value;
            drop(k.lock().take());
            forever().await;
        })?;
        check!(log, eventually(LONG, || handle.is_closed()));
        check!(log, ends(&task));
        check!(log, eventually(LONG, || count.is_even()), "{count:?}");
        // Its name is free again, once it is gone.
        check!(
            log,
            eventually(LONG, || crate::harness::domain(c"teardown").is_ok())
        );
    }
    Ok(())
}

/// Dropped by a coroutine of another domain, which waits for it in the middle of a poll.
fn inside_another(log: &mut Log) -> Result {
    let (ending, other) = (domain(c"teardown")?, domain(c"other")?);
    let count = count()?;
    let value = Counted::new(&count, 1);
    let task = async move {
        let _value = value;
        forever().await;
    };
    ending.spawn(c"ends", task)?.detach();
    run(&ending, yield_now())?;
    let c = count.clone();
    let even = run(&other, async move {
        drop(ending);
        c.is_even()
    })?;
    check!(log, even, "{count:?}");
    Ok(())
}

/// Dropped where one must not sleep: it ends soon after.
fn in_atomic_context(log: &mut Log) -> Result {
    for at in sys::ATOMIC {
        let domain = domain(c"teardown")?;
        let (handle, count) = (domain.handle(), count()?);
        let value = Counted::new(&count, 1);
        let task = async move {
            let _value = value;
            forever().await;
        };
        domain.spawn(c"ends", task)?.detach();
        run(&domain, yield_now())?;
        sys::run_in(at, || drop(domain));
        check!(log, eventually(LONG, || handle.is_closed()), "{at:?}");
        check!(
            log,
            eventually(LONG, || count.is_even()),
            "{at:?}: {count:?}"
        );
        check!(
            log,
            eventually(LONG, || crate::harness::domain(c"teardown").is_ok()),
            "{at:?}"
        );
    }
    Ok(())
}

/// Domains that send to, ask and join each other in a circle, dropped by two threads at once.
fn circle(log: &mut Log) -> Result {
    for _ in 0..20 {
        let (a, b) = (
            domain_on(c"circle-a", 0)?,
            domain_on(c"circle-b", other(0))?,
        );
        let count = count()?;
        for (to, from) in [(&a, &b), (&b, &a)] {
            let (caller, mut requests) = to.call_mailbox::<Counted, Counted>()?;
            let c = count.clone();
            let server = async move {
                let _own = Counted::new(&c, 0);
                while let Some(request) = requests.recv().await {
                    let (q, reply) = request.into_parts();
                    let _ = reply.send(q);
                }
            };
            let served = to.spawn(c"server", server)?;
            let c = count.clone();
            let asker = async move { while caller.ask(Counted::new(&c, 1)).await.is_ok() {} };
            from.spawn(c"asks", asker)?.detach();
            from.spawn(c"joins", async move { served.await.is_ok() })?
                .detach();
        }
        // The servers', and a question.
        check!(log, eventually(LONG, || count.made() > 2), "{count:?}");
        let first = Worker::start(Some(0), move || drop(a))?;
        let second = Worker::start(Some(other(0)), move || drop(b))?;
        check!(log, first.join(LONG).is_some());
        check!(log, second.join(LONG).is_some());
        check!(log, count.is_even(), "{count:?}");
    }
    Ok(())
}

/// Invariant 2: a receiver that was kept outside goes after its domain, in whatever context: what is
/// left is dropped, and who waits for an answer learns that there is none.
fn then_the_receiver(log: &mut Log) -> Result {
    for at in sys::ANY.into_iter().filter(|at| at.may_free()) {
        let domain = domain(c"teardown")?;
        let (tx, rx) = domain.call_mailbox::<Counted, u32>()?;
        let count = count()?;
        let message = Counted::new(&count, 1);
        let (t, cpu) = (tx.clone(), sys::cpu());
        let thread = Worker::start(None, move || t.call(message))?;
        check!(log, thread.sleeps());
        drop(domain);
        check_eq!(log, (count.made(), count.dropped()), (1, 0));
        sys::run_in_on(at, cpu, || drop(rx));
        check_eq!(log, thread.join(LONG), Some(Err(ECANCELED)));
        check!(log, count.is_even(), "{count:?} ({at:?})");
    }
    Ok(())
}
