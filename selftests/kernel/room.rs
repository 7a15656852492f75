// SPDX-License-Identifier: GPL-2.0

//! Back-pressure. Invariants 2 (a full ring hands the message back), 3 (who waits for room is
//! woken) and 7 (waiting for room can be ended).

use crate::harness::*;
use crate::sys::{self, eventually, Where, Worker};
use coop_domain::prelude::*;
use kernel::prelude::*;
use kernel::sync::Arc;

pub(crate) const TESTS: &[Test] = &[
    ("room.full_hands_the_message_back", full),
    ("room.all_of_it_is_usable_again_and_again", usable),
    ("room.contexts_without_room_are_refused", zero),
    ("room.sizes_are_powers_of_two", sizes),
    ("room.post_waits", post_waits),
    ("room.post_can_be_killed", post_can_be_killed),
    ("room.send_waits", send_waits),
    ("room.send_cancelled", send_cancelled),
    ("room.many_wait", many_wait),
    ("room.receiver_goes_while_they_wait", receiver_goes),
    ("room.made_by_interrupts", made_by_interrupts),
    ("room.made_by_looking", made_by_looking),
    ("room.wanted_in_the_middle_of_a_call", in_a_call),
];

const KINDS: [Where; 3] = [Where::Task, Where::Softirq, Where::HardIrq];

/// Invariant 2: as many messages as there is room for, in each kind of context for itself; the
/// next comes back, the same.
fn full(log: &mut Log) -> Result {
    let domain = domain(c"room")?;
    let (tx, _rx) = domain.mailbox_with::<u32>(room(4))?;
    for cpu in 0..sys::cpus() {
        sys::move_to(cpu)?;
        for at in KINDS {
            for i in 0..4 {
                let sent = sys::run_in(at, || tx.try_post(i).is_ok());
                check!(
                    log,
                    sent,
                    "no room for message {i} from {at:?} of CPU {cpu}"
                );
            }
            match sys::run_in(at, || tx.try_post(1000 + cpu)) {
                Ok(()) => check!(log, false, "a fifth message from {at:?} of CPU {cpu}"),
                Err(e) => {
                    check_eq!(log, e.kind(), PostErrorKind::Full);
                    check_eq!(log, e.errno(), EAGAIN);
                    check_eq!(log, e.into_inner(), 1000 + cpu);
                }
            }
        }
    }
    Ok(())
}

/// Invariant 2: every place of a ring is used, wherever in the ring its content begins.
fn usable(log: &mut Log) -> Result {
    let domain = domain(c"room")?;
    let (tx, mut rx) = domain.mailbox_with::<u32>(room(8))?;
    sys::move_to(0)?;
    let (mut sent, mut taken) = (0, 0);
    for round in 0..100 {
        while tx.try_post(sent).is_ok() {
            sent += 1;
        }
        check_eq!(log, sent - taken, 8);
        for _ in 0..=round % 8 {
            check_eq!(log, rx.try_recv(), Some(taken));
            taken += 1;
        }
    }
    Ok(())
}

/// A mailbox without room for a kind of context refuses it, rather than be full for ever.
fn zero(log: &mut Log) -> Result {
    let domain = domain(c"room")?;
    for without in KINDS {
        let size = |at| if at == without { 0 } else { 4 };
        let (tx, _rx) = domain.mailbox_with::<u32>(Capacity {
            task: size(Where::Task),
            softirq: size(Where::Softirq),
            hardirq: size(Where::HardIrq),
        })?;
        for at in KINDS {
            let kind = sys::run_in(at, || tx.try_post(1).map_err(|e| e.kind()));
            if at == without {
                check_eq!(log, kind, Err(PostErrorKind::Context));
            } else {
                check_eq!(log, kind, Ok(()));
            }
        }
        if without == Where::Task {
            check_eq!(
                log,
                tx.post(1).map_err(|e| e.kind()),
                Err(PostErrorKind::Context)
            );
        }
    }
    Ok(())
}

/// Other sizes are refused when the mailbox is made.
fn sizes(log: &mut Log) -> Result {
    let domain = domain(c"room")?;
    for size in [3, 5, 6, 7, 100] {
        let made = domain.mailbox_with::<u32>(room(size)).map(drop);
        check_eq!(log, made, Err(EINVAL));
    }
    check!(log, domain.mailbox_with::<u32>(room(1)).is_ok());
    Ok(())
}

/// Invariant 3: a thread that finds no room sleeps, and goes on when there is some.
fn post_waits(log: &mut Log) -> Result {
    let domain = domain(c"room")?;
    let (tx, mut rx) = domain.mailbox_with::<u32>(room(2))?;
    let thread = Worker::start(Some(0), move || (0..10).all(|i| tx.post(i).is_ok()))?;
    check!(log, thread.sleeps());
    let mut got = KVec::new();
    let received = run(&domain, async move {
        while let Some(i) = rx.recv().await {
            got.push(i, GFP_KERNEL)?;
        }
        Ok::<_, Error>(got)
    })??;
    check_eq!(log, received.as_slice(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    check_eq!(log, thread.join(LONG), Some(true));
    Ok(())
}

/// Invariant 7: a thread that waits for room can be killed, and has its message back.
fn post_can_be_killed(log: &mut Log) -> Result {
    let domain = domain(c"room")?;
    let (tx, mut rx) = domain.mailbox_with::<u32>(room(2))?;
    let thread = Worker::start(Some(0), move || {
        let _ = tx.post(0);
        let _ = tx.post(1);
        tx.post(2)
            .map_err(|e| (e.kind(), e.errno(), e.into_inner()))
    })?;
    check!(log, thread.sleeps());
    thread.kill();
    let killed = Err((PostErrorKind::Killed, EINTR, 2));
    check_eq!(log, thread.join(LONG), Some(killed));
    // What was accepted before is there.
    check_eq!(
        log,
        (rx.try_recv(), rx.try_recv(), rx.try_recv()),
        (Some(0), Some(1), None)
    );
    Ok(())
}

/// Invariant 3: the same for a coroutine of another domain, which goes on running meanwhile.
fn send_waits(log: &mut Log) -> Result {
    let (to, from) = (domain(c"room")?, domain_on(c"sender", 0)?);
    let (tx, mut rx) = to.mailbox_with::<u32>(room(2))?;
    let sent = trace()?;
    let s = sent.clone();
    let task = from.spawn(c"sends", async move {
        for i in 0..100 {
            tx.send(i).await?;
            s.add(i);
        }
        Ok::<(), Error>(())
    })?;
    check!(log, eventually(LONG, || sent.len() == 2));
    // The other coroutines of the sender's domain are not blocked.
    run(&from, yield_now())?;
    check_eq!(log, sent.len(), 2);
    let in_order = run(&to, async move {
        for i in 0..100 {
            if rx.recv().await != Some(i) {
                return Err(i);
            }
        }
        Ok(rx.recv().await)
    })?;
    check_eq!(log, in_order, Ok(None));
    check_eq!(log, join(task)?, Ok(Ok(())));
    Ok(())
}

/// Invariant 2: a `send` that is given up has sent nothing; its message is dropped once.
fn send_cancelled(log: &mut Log) -> Result {
    let (to, from) = (domain(c"room")?, domain_on(c"sender", 0)?);
    let (tx, mut rx) = to.mailbox_with::<Counted>(room(2))?;
    let count = count()?;
    let (c, full) = (count.clone(), flag()?);
    let f = full.clone();
    let task = from.spawn(c"sends", async move {
        for i in 0..3 {
            if i == 2 {
                f.set();
            }
            let _ = tx.send(Counted::new(&c, i)).await;
        }
    })?;
    check!(log, full.wait());
    run(&from, yield_now())?;
    task.abort();
    check!(log, ends(&task));
    check_eq!(log, (count.made(), count.dropped()), (3, 1));
    let got = run(&to, async move {
        let mut got = KVec::new();
        while let Some(message) = rx.recv().await {
            got.push(message.value, GFP_KERNEL)?;
        }
        Ok::<_, Error>(got)
    })??;
    check_eq!(log, got.as_slice(), [0, 1]);
    check!(log, count.is_even(), "{count:?}");
    Ok(())
}

/// Invariant 3: many threads and coroutines, on all CPUs, wait for room in rings of one and two
/// places again and again. A wake-up that is lost stops one for ever.
fn many_wait(log: &mut Log) -> Result {
    const EACH: u32 = 2_000;
    let (to, from) = (domain(c"room")?, domain(c"sender")?);
    let (tx, mut rx) = to.mailbox_with::<u32>(room(1))?;
    let mut threads = KVec::new();
    let mut tasks = KVec::new();
    for i in 0..6 {
        let tx = tx.clone();
        let thread = Worker::start(Some(i % sys::cpus()), move || {
            (0..EACH).filter(|i| tx.post(*i).is_ok()).count()
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    for _ in 0..4 {
        let tx = tx.clone();
        let task = from.spawn(c"sends", async move {
            for i in 0..EACH {
                tx.send(i).await?;
            }
            Ok::<(), Error>(())
        })?;
        tasks.push(task, GFP_KERNEL)?;
    }
    drop(tx);
    let taker = to.spawn(c"takes", async move {
        let mut n = 0;
        while rx.recv().await.is_some() {
            n += 1;
        }
        n
    })?;
    for thread in threads {
        check_eq!(log, thread.join(3 * LONG), Some(EACH as usize));
    }
    for task in tasks {
        check_eq!(log, join(task)?, Ok(Ok(())));
    }
    check_eq!(log, join(taker)?, Ok(10 * EACH));
    Ok(())
}

/// Invariants 2 and 6: those who wait for room are told when the receiver goes.
fn receiver_goes(log: &mut Log) -> Result {
    let (to, from) = (domain(c"room")?, domain(c"sender")?);
    let (tx, rx) = to.mailbox_with::<u32>(room(1))?;
    let tx = Arc::new(tx, GFP_KERNEL)?;
    sys::move_to(0)?;
    let mut threads = KVec::new();
    for cpu in 0..sys::cpus() {
        let t = tx.clone();
        let thread = Worker::start(Some(cpu), move || {
            let _ = t.try_post(0);
            t.post(7).map_err(|e| (e.errno(), e.into_inner()))
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    for thread in &threads {
        check!(log, thread.sleeps());
    }
    let t = tx.clone();
    let task = from.spawn(c"sends", async move {
        t.send(8).await.map_err(|e| (e.errno(), e.into_inner()))
    })?;
    run(&from, yield_now())?;
    check!(log, !task.is_finished());
    drop(rx);
    for thread in threads {
        check_eq!(log, thread.join(LONG), Some(Err((ECANCELED, 7))));
    }
    check_eq!(log, join(task)?, Ok(Err((ECANCELED, 8))));
    check!(log, tx.is_closed());
    Ok(())
}

/// Invariant 3: answers from interrupts make room for callers that are about to wait for it, on
/// the same CPU: more of them than there are slots, in threads whose waits the interrupts hit.
fn made_by_interrupts(log: &mut Log) -> Result {
    const CALLS: u32 = 20_000;
    const ASKERS: u32 = 80;
    let (to, from) = (domain(c"room")?, domain_on(c"callers", 0)?);
    let (caller, mut requests) = to.call_mailbox::<u32, u32>()?;
    let mut tasks = KVec::new();
    for _ in 0..ASKERS {
        let caller = caller.clone();
        let task = from.spawn(c"asks", async move {
            for i in 0..CALLS / ASKERS {
                if caller.ask(i).await? != i + 1 {
                    return Err(EINVAL);
                }
            }
            Ok(())
        })?;
        tasks.push(task, GFP_KERNEL)?;
    }
    drop(caller);
    // Each interrupt answers what has come, on the CPU where the callers take slots.
    sys::move_to(other(0))?;
    let mut answered = 0;
    let all = eventually(3 * LONG, || {
        for at in [Where::HardIrq, Where::Softirq] {
            while let Some(request) = requests.try_recv() {
                let (q, reply) = request.into_parts();
                sys::run_in_on(at, 0, move || reply.send(q + 1).is_ok());
                answered += 1;
                if answered % 16 == 0 {
                    break;
                }
            }
        }
        answered == CALLS
    });
    check!(log, all, "{answered} of {CALLS} answered");
    for task in tasks {
        check_eq!(log, join(task)?, Ok(Ok(())));
    }
    Ok(())
}

/// Invariant 3: a receiver that never waits, but looks now and then, makes room as well.
fn made_by_looking(log: &mut Log) -> Result {
    let (to, from) = (domain(c"room")?, domain_on(c"sender", 0)?);
    let (tx, mut rx) = to.mailbox_with::<u32>(room(1))?;
    let t = tx.clone();
    let thread = Worker::start(Some(0), move || (0..20).all(|i| t.post(i).is_ok()))?;
    let task = from.spawn(c"sends", async move {
        for i in 100..120 {
            tx.send(i).await?;
        }
        Ok::<(), Error>(())
    })?;
    for taken in 0..40 {
        let mut message = None;
        let came = eventually(LONG, || {
            message = rx.try_recv();
            message.is_some()
        });
        check!(log, came, "stopped after {taken}");
        // They wait by the time of the next look.
        sys::sleep_ms(2);
    }
    check_eq!(log, thread.join(LONG), Some(true));
    check_eq!(log, join(task)?, Ok(Ok(())));
    Ok(())
}

/// Invariant 3: while a caller runs the receiver in place, others come that find no room. It was
/// waiting before, and its own waiter would be good enough: but not now.
fn in_a_call(log: &mut Log) -> Result {
    let to = Domain::builder(c"room", crate::owner())
        .mailbox(room(1))
        .build()?;
    let from = domain_on(c"sender", 0)?;
    let (tx, mut rx) = to.call_mailbox::<u32, u32>()?;
    let (begun, go) = (flag()?, flag()?);
    let (b, g) = (begun.clone(), go.clone());
    let server = to.spawn(c"server", async move {
        let mut served = 0;
        while let Some(request) = rx.recv().await {
            let (q, reply) = request.into_parts();
            if q == 0 {
                b.set();
                g.wait();
            }
            let _ = reply.send(q + 1);
            served += 1;
        }
        served
    })?;
    settle(&to)?;
    let t = tx.clone();
    let caller = Worker::start(None, move || t.call(0))?;
    check!(log, begun.wait());
    let mut tasks = KVec::new();
    for i in 1..5 {
        let tx = tx.clone();
        let task = from.spawn(c"asks", async move { tx.ask(i).await })?;
        tasks.push(task, GFP_KERNEL)?;
    }
    // The first is in the ring by then, and the others wait for room.
    run(&from, yield_now())?;
    go.set();
    check_eq!(log, caller.join(LONG), Some(Ok(1)));
    check_eq!(log, to.stats().inline_calls.get(), 1);
    for (i, task) in tasks.into_iter().enumerate() {
        check_eq!(log, join(task)?, Ok(Ok(i as u32 + 2)));
    }
    drop(tx);
    check_eq!(log, join(server)?, Ok(5));
    Ok(())
}
