// SPDX-License-Identifier: GPL-2.0

//! Combined wake-ups: callers that a coroutine answers in one poll are woken at its end, each once.
//! Invariants 2 (whatever becomes of them meanwhile) and 3 (nobody is forgotten).

use crate::harness::*;
use crate::sys::{self, eventually, Worker};
use coop_domain::prelude::*;
use core::future::{poll_fn, Future};
use core::pin::Pin;
use core::sync::atomic::{AtomicU32, Ordering::*};
use core::task::Poll;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::Delta;

pub(crate) const TESTS: &[Test] = &[
    ("answers.of_one_poll_wake_together", together),
    ("answers.sixteen_at_most_wait", sixteen),
    ("answers.now_means_now", now),
    ("answers.the_urgent_do_not_wait", urgent),
    ("answers.of_a_poll_in_place", in_place),
    ("answers.callers_go_meanwhile", callers_go),
    ("answers.from_destructors", destructors),
    ("answers.that_nobody_takes_any_more", not_taken),
];

type Caller32 = Caller<u32, Counted>;

/// A coroutine that takes some requests, and when it is told to answers them in one poll, in which
/// it then looks around, and works on.
struct Server {
    domain: Domain,
    tx: Caller32,
    go: Arc<Signal>,
    task: JoinHandle<Result<u32>>,
    count: Arc<Count>,
    woken: Arc<AtomicU32>,
}

/// What the server does: `look` ends its poll, told whether the timer tick has passed meanwhile.
fn server<F>(requests: usize, now: bool, look: F) -> Result<Server>
where
    F: FnOnce(&AtomicU32, bool) -> u32 + Send + 'static,
{
    let domain = Domain::builder(c"answers", crate::owner())
        .dedicated()
        .cpu(0)
        .build()?;
    let (tx, mut rx) = domain.call_mailbox::<u32, Counted>()?;
    let (go, count) = (signal()?, count()?);
    let woken = Arc::new(AtomicU32::new(0), GFP_KERNEL)?;
    let (g, c, w) = (go.clone(), count.clone(), woken.clone());
    let task = domain.spawn(c"server", async move {
        let mut taken = KVec::with_capacity(requests, GFP_KERNEL)?;
        while taken.len() < requests {
            taken.push(rx.recv().await.ok_or(ENOENT)?, GFP_KERNEL)?;
        }
        g.wait().await;
        let tick = sys::ticks();
        for request in taken {
            let (q, reply) = request.into_parts();
            let value = Counted::new(&c, 2 * q);
            let _ = if now {
                reply.send_now(value)
            } else {
                reply.send(value)
            };
        }
        Ok::<_, Error>(look(&w, sys::ticks() != tick))
    })?;
    Ok(Server {
        domain,
        tx,
        go,
        task,
        count,
        woken,
    })
}

impl Server {
    /// Threads that call, and count themselves when they have been answered. They are asleep.
    fn callers(&self, log: &mut Log, n: u32) -> Result<KVec<Worker<Result<u32>>>> {
        let mut threads = KVec::new();
        for i in 0..n {
            let (tx, woken) = (self.tx.clone(), self.woken.clone());
            let thread = Worker::start(Some(i % sys::cpus()), move || {
                let answer = tx.call(i);
                woken.fetch_add(1, AcqRel);
                answer.map(|r| r.value)
            })?;
            check!(log, thread.sleeps());
            threads.push(thread, GFP_KERNEL)?;
        }
        Ok(threads)
    }

    /// Batches, and callers woken in them.
    fn batches(&self) -> (u64, u64) {
        let stats = self.domain.stats();
        (stats.answer_batches.get(), stats.answered_together.get())
    }

    /// All have their answers, and none is left over.
    fn ends(self, log: &mut Log, threads: KVec<Worker<Result<u32>>>) -> Result<u32> {
        for (i, thread) in threads.into_iter().enumerate() {
            check_eq!(log, thread.join(LONG), Some(Ok(2 * i as u32)));
        }
        let seen = join(self.task)??;
        drop(self.tx);
        check!(log, self.count.is_even(), "{:?}", self.count);
        seen
    }
}

/// The tick has passed while the answers were given: then some may be early.
const TICK: u32 = u32::MAX;

/// Looks for a while who comes.
fn look(woken: &AtomicU32, ticked: bool) -> u32 {
    if ticked {
        return TICK;
    }
    sys::busy(20_000);
    woken.load(Acquire)
}

/// Nobody comes before the poll is over, and then all do, in one batch.
fn together(log: &mut Log) -> Result {
    for _ in 0..20 {
        let server = server(6, false, look)?;
        let threads = server.callers(log, 6)?;
        check_eq!(log, server.batches(), (0, 0));
        server.go.signal();
        check!(log, eventually(LONG, || server.task.is_finished()));
        check!(log, eventually(LONG, || server.woken.load(Acquire) == 6));
        let batches = server.batches();
        let seen = server.ends(log, threads)?;
        if seen != TICK {
            check_eq!(log, seen, 0);
            check_eq!(log, batches, (1, 6));
            return Ok(());
        }
    }
    check!(log, false, "a tick passed each time");
    Ok(())
}

/// More than that many have to be answered: the first are woken before the poll is over.
fn sixteen(log: &mut Log) -> Result {
    let callers = domain(c"callers")?;
    for _ in 0..20 {
        let server = server(40, false, |_, ticked| u32::from(ticked))?;
        let mut tasks = KVec::new();
        for i in 0..40 {
            let tx = server.tx.clone();
            let task = callers.spawn(c"asks", async move { tx.ask(i).await.map(|r| r.value) })?;
            tasks.push(task, GFP_KERNEL)?;
        }
        run(&callers, yield_now())?;
        server.go.signal();
        for (i, task) in tasks.into_iter().enumerate() {
            check_eq!(log, join(task)?, Ok(Ok(2 * i as u32)));
        }
        check!(log, eventually(LONG, || server.task.is_finished()));
        let batches = server.batches();
        if server.ends(log, KVec::new())? == 0 {
            check_eq!(log, batches, (3, 40));
            return Ok(());
        }
    }
    check!(log, false, "a tick passed each time");
    Ok(())
}

/// Who is to be woken now comes while the poll goes on.
fn now(log: &mut Log) -> Result {
    if sys::cpus() < 2 {
        return Ok(());
    }
    let server = server(2, true, |woken, _| {
        // The one on the other CPU.
        let start = sys::now_ns();
        while woken.load(Acquire) == 0 && sys::now_ns() - start < i64::from(LONG) * 1_000_000 {
            core::hint::spin_loop();
        }
        woken.load(Acquire)
    })?;
    let threads = server.callers(log, 2)?;
    server.go.signal();
    check!(log, eventually(LONG, || server.task.is_finished()));
    check_eq!(log, server.batches(), (0, 0));
    check!(log, server.ends(log, threads)? != 0);
    Ok(())
}

/// Real-time threads are woken at once.
fn urgent(log: &mut Log) -> Result {
    let server = server(1, false, |woken, _| woken.load(Acquire))?;
    let (tx, woken) = (server.tx.clone(), server.woken.clone());
    let thread = Worker::start(Some(0), move || {
        sys::become_fifo();
        let answer = tx.call(0);
        woken.fetch_add(1, AcqRel);
        answer.map(|r| r.value)
    })?;
    check!(log, thread.sleeps());
    server.go.signal();
    check!(log, eventually(LONG, || server.task.is_finished()));
    check_eq!(log, server.batches(), (0, 0));
    let mut threads = KVec::new();
    threads.push(thread, GFP_KERNEL)?;
    // It takes the CPU from the home thread there and then.
    check_eq!(log, server.ends(log, threads)?, 1);
    Ok(())
}

/// The last of those who meet runs the domain itself, and so answers the others.
fn in_place(log: &mut Log) -> Result {
    for _ in 0..20 {
        let domain = domain(c"answers")?;
        let (tx, mut rx) = domain.call_mailbox::<u32, bool>()?;
        let meeting = async move {
            let mut taken = KVec::with_capacity(4, GFP_KERNEL)?;
            while taken.len() < 3 {
                taken.push(rx.recv().await.ok_or(ENOENT)?, GFP_KERNEL)?;
            }
            let last = rx.recv().await.ok_or(ENOENT)?;
            let tick = sys::ticks();
            for request in taken {
                let _ = request.into_parts().1.send(true);
            }
            let _ = last.into_parts().1.send(sys::ticks() == tick);
            rx.recv().await;
            Ok::<_, Error>(())
        };
        let meeting = domain.spawn(c"meeting", meeting)?;
        settle(&domain)?;
        let mut threads = KVec::new();
        for _ in 0..3 {
            let tx = tx.clone();
            let thread = Worker::start(None, move || tx.call(0))?;
            check!(log, thread.sleeps());
            threads.push(thread, GFP_KERNEL)?;
        }
        let calls = domain.stats().inline_calls.get();
        let in_time = tx.call(0)?;
        check_eq!(log, domain.stats().inline_calls.get(), calls + 1);
        for thread in threads {
            check_eq!(log, thread.join(LONG), Some(Ok(true)));
        }
        drop(tx);
        check_eq!(log, join(meeting)?, Ok(Ok(())));
        let stats = domain.stats();
        check_eq!(log, stats.answered_together.get(), 3);
        if in_time {
            check_eq!(log, stats.answer_batches.get(), 1);
            return Ok(());
        }
    }
    check!(log, false, "a tick passed each time");
    Ok(())
}

/// Callers that are killed, and gone, while their wake-up is put off: they have the answer, which was
/// accepted, and the late wake-up finds nobody.
fn callers_go(log: &mut Log) -> Result {
    let (answered, go_on) = (flag()?, flag()?);
    let (a, g) = (answered.clone(), go_on.clone());
    let server = server(4, false, move |_, _| {
        a.set();
        u32::from(!g.wait())
    })?;
    let threads = server.callers(log, 4)?;
    server.go.signal();
    check!(log, answered.wait());
    for thread in &threads {
        thread.kill();
    }
    for (i, thread) in threads.into_iter().enumerate() {
        check_eq!(log, thread.join(LONG), Some(Ok(2 * i as u32)));
    }
    check!(log, !server.task.is_finished());
    go_on.set();
    check!(log, eventually(LONG, || server.task.is_finished()));
    check_eq!(log, server.batches().1, 4);
    check_eq!(log, server.ends(log, KVec::new())?, 0);
    Ok(())
}

/// A coroutine's destructor answers, when it is aborted, when it has ended, and when its domain ends.
fn destructors(log: &mut Log) -> Result {
    for how in 0..3 {
        let domain = Domain::builder(c"answers", crate::owner())
            .dedicated()
            .build()?;
        let (tx, mut rx) = domain.call_mailbox::<u32, u32>()?;
        let (leave, both) = (signal()?, flag()?);
        let (l, b) = (leave.clone(), both.clone());
        let server = async move {
            let mut taken = KVec::new();
            for _ in 0..2 {
                taken.push(rx.recv().await.ok_or(ENOENT)?, GFP_KERNEL)?;
            }
            let _answers = on_drop(move || {
                for request in taken {
                    let (q, reply) = request.into_parts();
                    let _ = reply.send(q + 1);
                }
            });
            b.set();
            l.wait().await;
            Ok::<_, Error>(())
        };
        let server = domain.spawn(c"server", server)?;
        let mut threads = KVec::new();
        for _ in 0..2 {
            let tx = tx.clone();
            let thread = Worker::start(None, move || tx.call(how))?;
            check!(log, thread.sleeps());
            threads.push(thread, GFP_KERNEL)?;
        }
        check!(log, both.wait());
        match how {
            0 => server.abort(),
            1 => leave.signal(),
            _ => drop(domain),
        }
        for thread in threads {
            check_eq!(log, thread.join(LONG), Some(Ok(how + 1)));
        }
    }
    Ok(())
}

/// Invariant 2: the answer is in place already when its caller gives up: it is dropped, once, and its
/// slot is free for the next one.
fn not_taken(log: &mut Log) -> Result {
    // More than there are slots.
    const TIMES: u32 = 80;
    let (home, away) = (domain(c"answers")?, domain(c"callers")?);
    let (tx, mut rx) = home.call_mailbox::<u32, Counted>()?;
    let (count, go, placed) = (count()?, signal()?, signal()?);
    let (c, g, p) = (count.clone(), go.clone(), placed.clone());
    let server = home.spawn(c"server", async move {
        let mut accepted = 0;
        while let Some(request) = rx.recv().await {
            let (q, reply) = request.into_parts();
            g.wait().await;
            accepted += u32::from(reply.send(Counted::new(&c, q)).is_ok());
            p.signal();
        }
        accepted
    })?;
    let last = run(&away, async move {
        for q in 0..TIMES {
            let mut ask = tx.ask(q);
            let asked = poll_fn(|cx| Poll::Ready(Pin::new(&mut ask).poll(cx).is_pending())).await;
            if !asked {
                return Err(EALREADY);
            }
            go.signal();
            placed.wait().await;
            drop(ask);
        }
        go.signal();
        timeout(Delta::from_millis(LONG.into()), tx.ask(TIMES))
            .await?
            .map(|r| r.value)
    })?;
    check_eq!(log, last, Ok(TIMES));
    check_eq!(log, join(server)?, Ok(TIMES + 1));
    check!(log, count.is_even(), "{count:?}");
    Ok(())
}
