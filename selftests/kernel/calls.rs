// SPDX-License-Identifier: GPL-2.0

//! Calls. Invariants 2 (each is answered once, or fails with a definite error) and 7 (a caller can
//! be killed, or give up, at any time).

use crate::harness::*;
use crate::sys::{self, eventually, Where, Worker};
use coop_domain::prelude::*;
use core::sync::atomic::{AtomicU32, Ordering::*};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::Delta;

pub(crate) const TESTS: &[Test] = &[
    ("calls.answers_reach_their_callers", answers),
    ("calls.killed_in_the_ring", killed_in_the_ring),
    ("calls.killed_while_worked_on", killed_while_worked_on),
    ("calls.killed_after_the_answer", killed_after_the_answer),
    ("calls.killed_before_the_call", killed_before),
    (
        "calls.killed_while_waiting_for_a_slot",
        killed_waiting_for_slot,
    ),
    (
        "calls.killed_while_waiting_for_room",
        killed_waiting_for_room,
    ),
    ("calls.timed_out_in_the_ring", timed_out_in_the_ring),
    ("calls.timed_out_while_worked_on", timed_out_while_worked_on),
    ("calls.giving_up_races_with_the_answer", giving_up_races),
    ("calls.uninterruptible_outlives_a_kill", uninterruptible),
    ("calls.ask_from_coroutines", ask),
    ("calls.ask_cancelled", ask_cancelled),
    ("calls.ask_cancelled_after_the_answer", ask_cancelled_late),
    ("calls.unanswered_fail", unanswered),
    ("calls.more_callers_than_slots", more_than_slots),
    ("calls.answered_from_interrupts", answered_from_interrupts),
];

type Calls = (
    Caller<u32, Counted>,
    Receiver<Request<u32, Counted>>,
    Arc<Count>,
);

fn calls(domain: &Domain) -> Result<Calls> {
    let (caller, receiver) = domain.call_mailbox()?;
    Ok((caller, receiver, count()?))
}

/// A thread that calls once: the answer's value, or the error.
fn caller(tx: &Caller<u32, Counted>, q: u32) -> Result<Worker<Result<u32>>> {
    let tx = tx.clone();
    Worker::start(None, move || tx.call(q).map(|r| r.value))
}

/// A coroutine that doubles.
fn serve(
    domain: &Domain,
    mut rx: Receiver<Request<u32, Counted>>,
    count: Arc<Count>,
) -> Result<JoinHandle<u32>> {
    domain.spawn(c"server", async move {
        let mut served = 0;
        while let Some(request) = rx.recv().await {
            let (q, reply) = request.into_parts();
            if reply.send(Counted::new(&count, 2 * q)).is_ok() {
                served += 1;
            }
        }
        served
    })
}

/// Invariant 2: callers of all CPUs get the answer to their own request.
fn answers(log: &mut Log) -> Result {
    const EACH: u32 = 2_000;
    let domain = domain(c"calls")?;
    let (tx, rx, count) = calls(&domain)?;
    let server = serve(&domain, rx, count.clone())?;
    let mut threads = KVec::new();
    for n in 0..4 {
        let tx = tx.clone();
        let thread = Worker::start(Some(n % sys::cpus()), move || {
            (0..EACH).all(|i| {
                let q = n * EACH + i;
                tx.call(q).is_ok_and(|r| r.value == 2 * q)
            })
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    drop(tx);
    for thread in threads {
        check_eq!(log, thread.join(3 * LONG), Some(true));
    }
    check_eq!(log, join(server)?, Ok(4 * EACH));
    check_eq!(
        log,
        (count.made(), count.dropped()),
        (4 * EACH as usize, 4 * EACH as usize)
    );
    Ok(())
}

/// Takes a request whose caller has gone: it says so, and the answer comes back.
async fn take_abandoned(
    rx: &mut Receiver<Request<u32, Counted>>,
    count: &Arc<Count>,
) -> Result<u32> {
    let request = rx.recv().await.ok_or(ENOENT)?;
    if !request.is_abandoned() {
        return Err(EBUSY);
    }
    let (q, mut reply) = request.into_parts();
    reply.abandoned().await;
    match reply.send(Counted::new(count, 5)) {
        Ok(()) => Err(EEXIST),
        Err(value) if value.value == 5 => Ok(q),
        Err(_) => Err(EINVAL),
    }
}

/// Invariant 7: killed before the receiver saw the request, which it gets, and is told.
fn killed_in_the_ring(log: &mut Log) -> Result {
    let domain = domain(c"calls")?;
    let (tx, mut rx, count) = calls(&domain)?;
    let thread = caller(&tx, 3)?;
    check!(log, thread.sleeps());
    thread.kill();
    check_eq!(log, thread.join(LONG), Some(Err(EINTR)));
    let c = count.clone();
    let told = run(&domain, async move { take_abandoned(&mut rx, &c).await })?;
    check_eq!(log, told, Ok(3));
    check_eq!(log, (count.made(), count.dropped()), (1, 1));
    Ok(())
}

/// Invariant 7: killed while the receiver works on it, who is woken by that.
fn killed_while_worked_on(log: &mut Log) -> Result {
    let domain = domain(c"calls")?;
    let (tx, mut rx, count) = calls(&domain)?;
    let (working, c) = (flag()?, count.clone());
    let w = working.clone();
    let server = domain.spawn(c"server", async move {
        let request = rx.recv().await.ok_or(ENOENT)?;
        let (_, mut reply) = request.into_parts();
        if reply.is_abandoned() {
            return Err(EBUSY);
        }
        w.set();
        reply.abandoned().await;
        Ok(reply.send(Counted::new(&c, 5)).is_err())
    })?;
    let thread = caller(&tx, 3)?;
    check!(log, working.wait());
    run(&domain, yield_now())?;
    check!(log, !server.is_finished());
    thread.kill();
    check_eq!(log, thread.join(LONG), Some(Err(EINTR)));
    check_eq!(log, join(server)?, Ok(Ok(true)));
    check_eq!(log, (count.made(), count.dropped()), (1, 1));
    Ok(())
}

/// Invariant 2: an answer that was accepted is not lost to a kill that comes after it, before the
/// caller had time to look: a thread that cannot be preempted has its CPU meanwhile. (A real-time
/// thread would leave it a twentieth of a second in each.)
fn killed_after_the_answer(log: &mut Log) -> Result {
    if sys::cpus() < 2 {
        return Ok(());
    }
    let domain = domain_on(c"calls", 1)?;
    sys::move_to(1)?;
    let (tx, mut rx, count) = calls(&domain)?;
    let (go, taken, answered, c) = (signal()?, flag()?, flag()?, count.clone());
    let (g, t, a) = (go.clone(), taken.clone(), answered.clone());
    let server = domain.spawn(c"server", async move {
        let request = rx.recv().await.ok_or(ENOENT)?;
        let (q, reply) = request.into_parts();
        t.set();
        g.wait().await;
        let accepted = reply.send(Counted::new(&c, q + 1)).is_ok();
        a.set();
        Ok::<_, Error>(accepted)
    })?;
    settle(&domain)?;
    let thread = Worker::start(Some(0), move || tx.call(3).map(|r| r.value))?;
    // For the answer, not for the baton.
    check!(log, taken.wait() && thread.sleeps());
    let (stop, running) = (flag()?, flag()?);
    let (s, r) = (stop.clone(), running.clone());
    let hog = Worker::start(Some(0), move || {
        sys::become_fifo();
        sys::run_in(Where::PreemptOff, || {
            r.set();
            while !s.is_set() && !sys::should_stop() {
                core::hint::spin_loop();
            }
        });
    })?;
    check!(log, running.wait());
    go.signal();
    let in_time = answered.wait();
    thread.kill();
    let waited = !thread.is_done();
    stop.set();
    check!(log, in_time && waited);
    check_eq!(log, thread.join(LONG), Some(Ok(4)));
    check!(log, hog.join(LONG).is_some());
    check_eq!(log, join(server)?, Ok(Ok(true)));
    check!(log, count.is_even(), "{count:?}");
    Ok(())
}

/// Invariant 7: who is being killed already does not begin to wait.
fn killed_before(log: &mut Log) -> Result {
    let domain = domain(c"calls")?;
    let (tx, _rx, _count) = calls(&domain)?;
    let running = flag()?;
    let r = running.clone();
    let thread = Worker::start(None, move || {
        r.set();
        while !sys::should_stop() {
            sys::cond_resched();
        }
        tx.call(1).map(|r| r.value)
    })?;
    check!(log, running.wait());
    thread.kill();
    check_eq!(log, thread.join(LONG), Some(Err(EINTR)));
    Ok(())
}

/// As many callers as there are slots, asleep: coroutines of a domain of theirs.
fn use_up_slots(tx: &Caller<u32, Counted>) -> Result<(Domain, KVec<JoinHandle<Result<u32>>>)> {
    let callers = domain(c"callers")?;
    let mut tasks = KVec::new();
    for i in 0..64 {
        let tx = tx.clone();
        let task = callers.spawn(c"asks", async move { tx.ask(i).await.map(|r| r.value) })?;
        tasks.push(task, GFP_KERNEL)?;
    }
    run(&callers, yield_now())?;
    Ok((callers, tasks))
}

/// Invariant 7: killed before there was a slot: the receiver never hears of it.
fn killed_waiting_for_slot(log: &mut Log) -> Result {
    // A caller that runs the domain itself has a slot of its own.
    let domain = Domain::builder(c"calls", crate::owner())
        .dedicated()
        .build()?;
    let (tx, mut rx) = domain.call_mailbox::<u32, Counted>()?;
    let count = count()?;
    // Room in the ring is for all: the callers' domain may run anywhere.
    let (_callers, tasks) = use_up_slots(&tx)?;
    let thread = caller(&tx, 1000)?;
    check!(log, thread.sleeps());
    thread.kill();
    check_eq!(log, thread.join(LONG), Some(Err(EINTR)));
    let c = count.clone();
    drop(tx);
    let seen = run(&domain, async move {
        let mut seen = 0;
        while let Some(request) = rx.recv().await {
            let (q, reply) = request.into_parts();
            if q == 1000 || reply.send(Counted::new(&c, q)).is_err() {
                return Err(EINVAL);
            }
            seen += 1;
        }
        Ok(seen)
    })?;
    check_eq!(log, seen, Ok(64));
    for (i, task) in tasks.into_iter().enumerate() {
        check_eq!(log, join(task)?, Ok(Ok(i as u32)));
    }
    check!(log, count.is_even(), "{count:?}");
    Ok(())
}

/// Invariant 7: killed while it has a slot, but no room in the ring.
fn killed_waiting_for_room(log: &mut Log) -> Result {
    let domain = Domain::builder(c"calls", crate::owner())
        .mailbox(room(1))
        .build()?;
    let (tx, mut rx, count) = calls(&domain)?;
    let t = tx.clone();
    let first = Worker::start(Some(0), move || t.call(1).map(|r| r.value))?;
    check!(log, first.sleeps());
    let second = Worker::start(Some(0), move || tx.call(2).map(|r| r.value))?;
    check!(log, second.sleeps());
    second.kill();
    check_eq!(log, second.join(LONG), Some(Err(EINTR)));
    // The receiver gets the first, alone.
    let c = count.clone();
    let got = run(&domain, async move {
        let (q, reply) = rx.recv().await.ok_or(ENOENT)?.into_parts();
        reply.send(Counted::new(&c, q + 10)).map_err(|_| EPIPE)?;
        Ok::<_, Error>((q, rx.recv().await.is_none()))
    })?;
    check_eq!(log, got, Ok((1, true)));
    check_eq!(log, first.join(LONG), Some(Ok(11)));
    check!(log, count.is_even(), "{count:?}");
    Ok(())
}

/// Invariant 7: timed out before the receiver saw the request.
fn timed_out_in_the_ring(log: &mut Log) -> Result {
    let domain = domain(c"calls")?;
    let (tx, mut rx, count) = calls(&domain)?;
    check_eq!(log, tx.call_timeout(9, 20).map(|r| r.value), Err(ETIMEDOUT));
    let c = count.clone();
    let told = run(&domain, async move { take_abandoned(&mut rx, &c).await })?;
    check_eq!(log, told, Ok(9));
    check_eq!(log, (count.made(), count.dropped()), (1, 1));
    Ok(())
}

/// Invariant 7: timed out while the receiver works on it. In time, it gets the answer.
fn timed_out_while_worked_on(log: &mut Log) -> Result {
    let domain = domain(c"calls")?;
    let (tx, mut rx, count) = calls(&domain)?;
    let c = count.clone();
    let server = domain.spawn(c"server", async move {
        let (_, mut reply) = rx.recv().await.ok_or(ENOENT)?.into_parts();
        reply.abandoned().await;
        let returned = reply.send(Counted::new(&c, 5)).is_err();
        let (q, reply) = rx.recv().await.ok_or(ENOENT)?.into_parts();
        reply.send(Counted::new(&c, 2 * q)).map_err(|_| EPIPE)?;
        Ok::<_, Error>(returned)
    })?;
    check_eq!(log, tx.call_timeout(9, 20).map(|r| r.value), Err(ETIMEDOUT));
    check_eq!(log, tx.call_timeout(8, LONG).map(|r| r.value), Ok(16));
    check_eq!(log, join(server)?, Ok(Ok(true)));
    check!(log, count.is_even(), "{count:?}");
    Ok(())
}

/// Invariants 2 and 7: callers give up at about the time of the answer, again and again: an answer is
/// either the caller's or comes back, and is dropped once.
///
/// A request says for how long the answer is to be put off. Who was answered asks for more the next
/// time, who gave up for less: so both happen, whatever a caller's patience comes to on this machine,
/// and more and more at the same time.
fn giving_up_races(log: &mut Log) -> Result {
    const TIMES: u32 = 50;
    const MOST: u32 = 2_000;
    let domain = domain(c"calls")?;
    let count = count()?;
    let (mut threads, mut servers) = (KVec::new(), KVec::new());
    for n in 0..3 {
        let (tx, mut rx) = domain.call_mailbox::<u32, Counted>()?;
        let c = count.clone();
        let server = domain.spawn(c"server", async move {
            let (mut accepted, mut returned) = (0, 0);
            while let Some(request) = rx.recv().await {
                let (put_off, reply) = request.into_parts();
                sleep(Delta::from_micros(i64::from(put_off))).await;
                match reply.send(Counted::new(&c, put_off)) {
                    Ok(()) => accepted += 1,
                    Err(_) => returned += 1,
                }
            }
            (accepted, returned)
        })?;
        servers.push(server, GFP_KERNEL)?;
        let thread = Worker::start(Some(n % sys::cpus()), move || {
            let (mut got, mut gave_up, mut put_off) = (0, 0, 0u32);
            for _ in 0..MOST {
                match tx.call_timeout(put_off, 1) {
                    Ok(r) if r.value == put_off => {
                        got += 1;
                        put_off += if gave_up == 0 { 1_000 } else { 20 + n * 10 };
                    }
                    Err(e) if e == ETIMEDOUT => {
                        gave_up += 1;
                        put_off = put_off.saturating_sub(50);
                    }
                    _ => return None,
                }
                if got >= TIMES && gave_up >= TIMES {
                    break;
                }
            }
            Some((got, gave_up))
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    let (mut got, mut gave_up) = (0, 0);
    for thread in threads {
        let Some(Some((g, u))) = thread.join(6 * LONG) else {
            log.line(format_args!("a caller got a wrong answer, or none"));
            return Err(EIO);
        };
        check!(
            log,
            g >= TIMES && u >= TIMES,
            "no race: {g} answered, {u} gave up"
        );
        (got, gave_up) = (got + g, gave_up + u);
    }
    let (mut accepted, mut returned) = (0, 0);
    for server in servers {
        let (a, r) = join(server)??;
        (accepted, returned) = (accepted + a, returned + r);
    }
    // An answer can be in place when the patience ends: then nobody takes it, but it is dropped.
    check!(
        log,
        accepted >= got,
        "{accepted} answers accepted, {got} taken"
    );
    // Requests can be given up before they are received.
    check!(log, accepted + returned <= got + gave_up);
    check!(log, count.is_even(), "{count:?}");
    Ok(())
}

/// Invariant 7: only who asks for it waits without a way out.
fn uninterruptible(log: &mut Log) -> Result {
    let domain = domain(c"calls")?;
    let (tx, mut rx, count) = calls(&domain)?;
    let thread = Worker::start(None, move || tx.call_uninterruptible(4).map(|r| r.value))?;
    check!(log, thread.sleeps());
    thread.kill();
    sys::sleep_ms(20);
    check!(log, !thread.is_done());
    let c = count.clone();
    let accepted = run(&domain, async move {
        let (q, reply) = rx.recv().await?.into_parts();
        Some(reply.send(Counted::new(&c, q)).is_ok())
    })?;
    check_eq!(log, accepted, Some(true));
    check_eq!(log, thread.join(LONG), Some(Ok(4)));
    Ok(())
}

/// Invariant 2: coroutines call, of the same domain and of another.
fn ask(log: &mut Log) -> Result {
    let (home, away) = (domain(c"calls")?, domain(c"callers")?);
    let (tx, rx, count) = calls(&home)?;
    let server = serve(&home, rx, count.clone())?;
    let mut tasks = KVec::new();
    for n in 0..8 {
        let tx = tx.clone();
        let from = if n % 2 == 0 { &home } else { &away };
        let task = from.spawn(c"asks", async move {
            for i in 0..500 {
                if tx.ask(n * i).await?.value != 2 * n * i {
                    return Err(EINVAL);
                }
            }
            Ok(())
        })?;
        tasks.push(task, GFP_KERNEL)?;
    }
    drop(tx);
    for task in tasks {
        check_eq!(log, join(task)?, Ok(Ok(())));
    }
    check_eq!(log, join(server)?, Ok(8 * 500));
    check!(log, count.is_even(), "{count:?}");
    Ok(())
}

/// Invariant 7: a coroutine that is aborted while it waits for an answer gives up the request.
fn ask_cancelled(log: &mut Log) -> Result {
    let (home, away) = (domain(c"calls")?, domain(c"callers")?);
    let (tx, mut rx, count) = calls(&home)?;
    let task = away.spawn(c"asks", async move { tx.ask(6).await.map(|r| r.value) })?;
    run(&away, yield_now())?;
    task.abort();
    check!(log, ends(&task));
    let c = count.clone();
    let told = run(&home, async move { take_abandoned(&mut rx, &c).await })?;
    check_eq!(log, told, Ok(6));
    check!(log, count.is_even(), "{count:?}");
    Ok(())
}

/// Invariant 2: an answer that is in place when its caller is aborted is dropped, once.
fn ask_cancelled_late(log: &mut Log) -> Result {
    let (home, away) = (domain(c"calls")?, domain(c"callers")?);
    let (tx, rx, count) = calls(&home)?;
    let server = serve(&home, rx, count.clone())?;
    let held = Held::new(&home)?;
    let task = away.spawn(c"asks", async move { tx.ask(6).await.map(|r| r.value) })?;
    run(&away, yield_now())?;
    let caller_held = Held::new(&away)?;
    drop(held);
    check!(log, eventually(LONG, || count.made() == 1));
    // Once the server has come round to the next request, the answer is in place.
    run(&home, yield_now())?;
    task.abort();
    drop(caller_held);
    check!(log, ends(&task));
    check!(log, ends(&server));
    check_eq!(log, (count.made(), count.dropped()), (1, 1));
    Ok(())
}

/// Invariant 2: who is not answered is told: whether the reply is dropped, the request, or the
/// receiver with all it has not taken.
fn unanswered(log: &mut Log) -> Result {
    let domain = domain(c"calls")?;
    let (tx, mut rx, _count) = calls(&domain)?;
    let mut threads = KVec::new();
    for i in 0..4 {
        let thread = caller(&tx, i)?;
        check!(log, thread.sleeps());
        threads.push(thread, GFP_KERNEL)?;
    }
    let done = run(&domain, async move {
        drop(rx.recv().await);
        let (_, reply) = rx.recv().await?.into_parts();
        yield_now().await;
        drop(reply);
        drop(rx);
        Some(())
    })?;
    check_eq!(log, done, Some(()));
    for thread in threads {
        check_eq!(log, thread.join(LONG), Some(Err(ECANCELED)));
    }
    check_eq!(log, tx.call(1).map(|r| r.value), Err(ECANCELED));
    Ok(())
}

/// Invariants 2 and 3: more callers at once than a mailbox has slots: they wait for one, and all
/// get their answers.
fn more_than_slots(log: &mut Log) -> Result {
    // A caller that runs the domain itself has a slot of its own.
    let domain = Domain::builder(c"calls", crate::owner())
        .dedicated()
        .build()?;
    let (tx, mut rx, count) = calls(&domain)?;
    let (_callers, tasks) = use_up_slots(&tx)?;
    let mut threads = KVec::new();
    for i in 0..40 {
        threads.push(caller(&tx, 100 + i)?, GFP_KERNEL)?;
    }
    for thread in &threads {
        check!(log, thread.sleeps());
    }
    drop(tx);
    let c = count.clone();
    let server = domain.spawn(c"server", async move {
        // First all that can be under way at once, then the others.
        let mut replies = KVec::new();
        for _ in 0..64 {
            replies.push(rx.recv().await.ok_or(ENOENT)?.into_parts(), GFP_KERNEL)?;
        }
        yield_now().await;
        if rx.try_recv().is_some() {
            return Err(E2BIG);
        }
        for (q, reply) in replies {
            reply.send(Counted::new(&c, q + 1)).map_err(|_| EPIPE)?;
        }
        let mut served = 64;
        while let Some(request) = rx.recv().await {
            let (q, reply) = request.into_parts();
            reply.send(Counted::new(&c, q + 1)).map_err(|_| EPIPE)?;
            served += 1;
        }
        Ok(served)
    })?;
    for (i, task) in tasks.into_iter().enumerate() {
        check_eq!(log, join(task)?, Ok(Ok(i as u32 + 1)));
    }
    for (i, thread) in threads.into_iter().enumerate() {
        check_eq!(log, thread.join(LONG), Some(Ok(101 + i as u32)));
    }
    check_eq!(log, join(server)?, Ok(Ok(104)));
    check!(log, count.is_even(), "{count:?}");
    Ok(())
}

/// Invariant 2: the right to answer can go anywhere; here to interrupts, one of which answers and
/// one of which drops it.
fn answered_from_interrupts(log: &mut Log) -> Result {
    let domain = domain(c"calls")?;
    let (tx, mut rx, count) = calls(&domain)?;
    let answered = Arc::new(AtomicU32::new(0), GFP_KERNEL)?;
    for at in [Where::Softirq, Where::HardIrq] {
        let threads = [caller(&tx, 1)?, caller(&tx, 2)?];
        let mut replies = KVec::new();
        check!(
            log,
            eventually(LONG, || {
                if let Some(request) = rx.try_recv() {
                    let _ = replies.push(request.into_parts(), GFP_KERNEL);
                }
                replies.len() == 2
            })
        );
        for (q, reply) in replies {
            let (count, answered) = (&count, &answered);
            sys::run_in_on(at, other(sys::cpu()), move || {
                if q == 1 {
                    drop(reply);
                } else if reply.send(Counted::new(count, 20)).is_ok() {
                    answered.fetch_add(1, Relaxed);
                }
            });
        }
        let [dropped, sent] = threads;
        check_eq!(log, dropped.join(LONG), Some(Err(ECANCELED)),);
        check_eq!(log, sent.join(LONG), Some(Ok(20)));
    }
    check_eq!(log, answered.load(Relaxed), 2);
    check!(log, count.is_even(), "{count:?}");
    Ok(())
}
