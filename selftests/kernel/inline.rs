// SPDX-License-Identifier: GPL-2.0

//! Calls that the caller runs itself. Invariants 1 (whoever runs it), 3 (nobody who waits is
//! forgotten) and 5 (nobody runs others' work without end). How such calls end before their time is
//! in `inline_ends.rs`, atomicity in `atomicity.rs`.

use crate::harness::*;
use crate::sys::{self, eventually, Where, Worker};
use coop_domain::prelude::*;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::*};
use kernel::prelude::*;
use kernel::sync::Arc;

pub(crate) const TESTS: &[Test] = &[
    ("inline.the_caller_runs_the_coroutine", caller_runs),
    ("inline.no_wake_up_and_no_switch", no_wake_up),
    ("inline.a_dedicated_domain_is_not_run_by_callers", dedicated),
    ("inline.a_caller_that_yields_is_not_late", yields),
    ("inline.call_by_home_leaves_it_to_the_home_thread", by_home),
    ("inline.callers_of_all_cpus", all_cpus),
    ("inline.behind_what_was_sent_before", in_order),
    ("inline.an_answer_that_somebody_else_brings", somebody_else),
    ("inline.an_answer_of_another_coroutine", another_coroutine),
    ("inline.the_domain_is_free_while_one_waits", free_meanwhile),
    ("inline.coroutines_still_do_not_block", recursion),
    ("inline.others_work_is_handed_over", budget),
    ("inline.what_the_coroutine_wakes_is_run", wakes_others),
    ("inline.a_busy_domain_is_waited_for", busy_domain),
    ("inline.cell_and_inside", cell),
    ("inline.aborted_by_the_one_it_serves", aborts_itself),
    ("inline.the_runner_inherits_priority", inheritance),
];

type Who = (Caller<u32, usize>, Receiver<Request<u32, usize>>);

/// A server that answers who it is that runs it.
fn who(domain: &Domain) -> Result<Caller<u32, usize>> {
    let (caller, mut requests): Who = domain.call_mailbox()?;
    let server = async move {
        while let Some(request) = requests.recv().await {
            let (_, reply) = request.into_parts();
            let _ = reply.send(sys::me());
        }
    };
    domain.spawn(c"who", server)?.detach();
    Ok(caller)
}

/// The home thread.
fn home(domain: &Domain) -> Result<usize> {
    run(domain, async { sys::me() })
}

/// A caller that finds the domain idle runs it, whichever way it calls.
fn caller_runs(log: &mut Log) -> Result {
    let domain = domain(c"inline")?;
    let caller = who(&domain)?;
    settle(&domain)?;
    for i in 0..100 {
        check_eq!(log, caller.call(i), Ok(sys::me()));
        check_eq!(log, caller.call_timeout(i, 1000), Ok(sys::me()));
        check_eq!(log, caller.call_uninterruptible(i), Ok(sys::me()));
    }
    let c = caller.clone();
    let thread = Worker::start(None, move || (0..100).all(|i| c.call(i) == Ok(sys::me())))?;
    check_eq!(log, thread.join(LONG), Some(true));
    check_eq!(log, domain.stats().inline_calls.get(), 400);
    check_eq!(log, domain.stats().calls(), 400);
    Ok(())
}

/// The home thread sleeps through it.
fn no_wake_up(log: &mut Log) -> Result {
    let domain = domain(c"inline")?;
    let caller = who(&domain)?;
    settle(&domain)?;
    let read = || {
        let s = domain.stats();
        (s.sleeps.get(), s.unproductive.get(), s.hand_overs.get())
    };
    let before = read();
    let polls = domain.stats().polls();
    for i in 0..1000 {
        check_eq!(log, caller.call(i), Ok(sys::me()));
    }
    sys::sleep_ms(10);
    check_eq!(log, read(), before);
    check_eq!(log, domain.stats().polls(), polls + 1000);
    Ok(())
}

/// Only the home thread runs a dedicated domain, idle or not.
fn dedicated(log: &mut Log) -> Result {
    let domain = Domain::builder(c"inline", crate::owner())
        .dedicated()
        .build()?;
    let caller = who(&domain)?;
    let home = home(&domain)?;
    settle(&domain)?;
    let mut threads = KVec::new();
    for cpu in 0..sys::cpus() {
        let c = caller.clone();
        let thread = Worker::start(Some(cpu), move || {
            (0..500).all(|i| {
                c.call(i) == Ok(home)
                    && c.call_timeout(i, LONG) == Ok(home)
                    && c.call_uninterruptible(i) == Ok(home)
                    && c.call_by_home(i) == Ok(home)
            })
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    for thread in threads {
        check_eq!(log, thread.join(3 * LONG), Some(true));
    }
    check_eq!(log, domain.stats().inline_calls.get(), 0);
    Ok(())
}

/// A caller may yield its CPU to the home thread: also where that does not answer at once, does not
/// get the CPU before a real-time caller sleeps, or has others beside it.
fn yields(log: &mut Log) -> Result {
    let domain = Domain::builder(c"inline", crate::owner())
        .dedicated()
        .cpu(0)
        .build()?;
    let (caller, mut requests) = domain.call_mailbox::<u32, u32>()?;
    domain
        .spawn(c"server", async move {
            while let Some(request) = requests.recv().await {
                let (ms, reply) = request.into_parts();
                if ms != 0 {
                    sys::sleep_ms(ms);
                }
                let _ = reply.send(ms);
            }
        })?
        .detach();
    settle(&domain)?;
    let calls = |caller: &Caller<u32, u32>| {
        (0..100).all(|_| caller.call(0) == Ok(0)) && (0..5).all(|_| caller.call(3) == Ok(3))
    };
    for (fifo, hog) in [(false, false), (true, false), (false, true)] {
        let stop = flag()?;
        let s = stop.clone();
        let other = if hog {
            Some(Worker::start(Some(0), move || {
                while !s.is_set() {
                    sys::busy(50);
                    sys::cond_resched();
                }
            })?)
        } else {
            None
        };
        let c = caller.clone();
        let thread = Worker::start(Some(0), move || {
            if fifo {
                sys::become_fifo();
            }
            calls(&c)
        })?;
        let done = thread.join(LONG);
        stop.set();
        check!(log, done == Some(true), "fifo {fifo}, hog {hog}: {done:?}");
        if let Some(other) = other {
            check!(log, other.join(LONG).is_some());
        }
    }
    check_eq!(log, domain.stats().inline_calls.get(), 0);
    Ok(())
}

/// A caller that does not want to run the domain does not.
fn by_home(log: &mut Log) -> Result {
    let domain = domain(c"inline")?;
    let caller = who(&domain)?;
    let home = home(&domain)?;
    settle(&domain)?;
    for i in 0..200 {
        check_eq!(log, caller.call_by_home(i), Ok(home));
    }
    check_eq!(log, domain.stats().inline_calls.get(), 0);
    // Beside others that do.
    let mut threads = KVec::new();
    for cpu in 0..sys::cpus() {
        let c = caller.clone();
        let thread = Worker::start(Some(cpu), move || {
            (0..500).all(|i| c.call(i).is_ok() && c.call_by_home(i).is_ok_and(|w| w != sys::me()))
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    for thread in threads {
        check_eq!(log, thread.join(3 * LONG), Some(true));
    }
    Ok(())
}

/// Callers of all CPUs at once get their own answers, whoever runs whose request, and while the
/// home thread has work, too.
fn all_cpus(log: &mut Log) -> Result {
    const EACH: u32 = 5_000;
    let domain = domain(c"inline")?;
    let (caller, mut requests) = domain.call_mailbox::<(u32, usize), (u32, usize)>()?;
    let server = async move {
        while let Some(request) = requests.recv().await {
            let ((q, from), reply) = request.into_parts();
            let _ = reply.send((q.wrapping_mul(3), from));
        }
    };
    domain.spawn(c"server", server)?.detach();
    let (tx, mut rx) = domain.mailbox_with::<u32>(room(16))?;
    let taker = async move {
        let mut n = 0;
        while rx.recv().await.is_some() {
            n += 1;
        }
        n
    };
    let taker = domain.spawn(c"taker", taker)?;
    let mut threads = KVec::new();
    for n in 0..2 * sys::cpus() {
        let (c, tx) = (caller.clone(), tx.clone());
        let thread = Worker::start(Some(n % sys::cpus()), move || {
            let me = sys::me();
            (0..EACH).all(|i| {
                (i % 4 != 0 || tx.post(i).is_ok()) && c.call((i, me)) == Ok((i.wrapping_mul(3), me))
            })
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    let count = threads.len() as u32;
    drop(tx);
    for thread in threads {
        check_eq!(log, thread.join(3 * LONG), Some(true));
    }
    check_eq!(log, join(taker)?, Ok(count * EACH.div_ceil(4)));
    check_eq!(log, domain.stats().calls(), u64::from(count * EACH));
    Ok(())
}

/// A call that its caller runs does not get ahead of what the same caller sent before.
fn in_order(log: &mut Log) -> Result {
    let domain = domain(c"inline")?;
    let (caller, mut requests) = domain.call_mailbox::<u32, usize>()?;
    let (go, trace) = (signal()?, trace()?);
    let (g, t) = (go.clone(), trace.clone());
    let server = async move {
        while let Some(request) = requests.recv().await {
            let (q, reply) = request.into_parts();
            t.add(q);
            if q == 0 {
                g.wait().await;
            }
            let _ = reply.send(sys::me());
        }
    };
    domain.spawn(c"server", server)?.detach();
    settle(&domain)?;
    // The server has the first, and the others are in its ring, their caller gone.
    for i in 0..6 {
        check_eq!(log, caller.call_timeout(i, 20), Err(ETIMEDOUT));
    }
    check_eq!(log, trace.len(), 1);
    go.signal();
    check!(log, caller.call(6).is_ok());
    check!(log, caller.call(7).is_ok());
    trace.is(log, &[0, 1, 2, 3, 4, 5, 6, 7])
}

/// A server that answers when a signal is given, and one that answers at once.
struct Waiting {
    domain: Domain,
    slow: Caller<u32, usize>,
    quick: Caller<u32, usize>,
    begun: Arc<AtomicU32>,
    go: Arc<Signal>,
}

fn waiting() -> Result<Waiting> {
    let domain = domain(c"inline")?;
    let quick = who(&domain)?;
    let (slow, mut requests): Who = domain.call_mailbox()?;
    let (go, begun) = (signal()?, Arc::new(AtomicU32::new(0), GFP_KERNEL)?);
    let (g, b) = (go.clone(), begun.clone());
    let server = async move {
        while let Some(request) = requests.recv().await {
            let (_, reply) = request.into_parts();
            b.fetch_add(1, AcqRel);
            g.wait().await;
            let _ = reply.send(sys::me());
        }
    };
    domain.spawn(c"slow", server)?.detach();
    settle(&domain)?;
    Ok(Waiting {
        domain,
        slow,
        quick,
        begun,
        go,
    })
}

/// The answer depends on a thread, a softirq, an interrupt: the caller, which ran the coroutine as
/// far as it went, sleeps until it comes.
fn somebody_else(log: &mut Log) -> Result {
    let w = waiting()?;
    for round in 0..10 {
        for (n, at) in [Where::Task, Where::Softirq, Where::HardIrq]
            .into_iter()
            .enumerate()
        {
            // The home thread may be about to leave yet.
            settle(&w.domain)?;
            let c = w.slow.clone();
            let thread = Worker::start(None, move || c.call(1).map(drop))?;
            check!(log, thread.sleeps(), "{at:?}");
            check_eq!(log, w.begun.load(Acquire), round * 3 + n as u32 + 1);
            sys::run_in(at, || w.go.signal());
            check_eq!(log, thread.join(LONG), Some(Ok(())));
        }
    }
    Ok(())
}

/// The answer depends on another coroutine, of the same domain or of another.
fn another_coroutine(log: &mut Log) -> Result {
    let (home, away) = (domain(c"inline")?, domain(c"other")?);
    let inner = who(&home)?;
    let outer = who(&away)?;
    let (caller, mut requests) = home.call_mailbox::<u32, (usize, usize)>()?;
    let server = async move {
        while let Some(request) = requests.recv().await {
            let (q, reply) = request.into_parts();
            let answers = (inner.ask(q).await?, outer.ask(q).await?);
            let _ = reply.send(answers);
        }
        Ok::<(), Error>(())
    };
    home.spawn(c"server", server)?.detach();
    settle(&home)?;
    settle(&away)?;
    let its_home = self::home(&away)?;
    for i in 0..200 {
        let answer = caller.call(i);
        // The other domain is not run by our caller.
        check!(log, answer.is_ok_and(|(_, o)| o == its_home), "{answer:?}");
    }
    Ok(())
}

/// While a caller waits for its answer, others run the domain.
fn free_meanwhile(log: &mut Log) -> Result {
    let w = waiting()?;
    let c = w.slow.clone();
    let thread = Worker::start(None, move || c.call(1).map(drop))?;
    check!(log, thread.sleeps());
    for i in 0..100 {
        check_eq!(log, w.quick.call(i), Ok(sys::me()));
    }
    check_eq!(log, run(&w.domain, async { 3 })?, 3);
    check!(log, !thread.is_done());
    w.go.signal();
    check_eq!(log, thread.join(LONG), Some(Ok(())));
    Ok(())
}

/// What would block is refused inside a coroutine, also one that a caller runs: calls of its own
/// domain, of another, of a dedicated one; posts.
fn recursion(log: &mut Log) -> Result {
    let (home, away) = (domain(c"inline")?, domain(c"other")?);
    let third = Domain::builder(c"third", crate::owner())
        .dedicated()
        .build()?;
    let callers = [who(&home)?, who(&away)?, who(&third)?];
    let (tx, _rx) = home.mailbox_with::<u32>(room(1))?;
    let (caller, mut requests) = home.call_mailbox::<u32, (usize, bool)>()?;
    let server = async move {
        while let Some(request) = requests.recv().await {
            let (q, reply) = request.into_parts();
            let mut refused = true;
            for c in &callers {
                refused &= c.call(q) == Err(EDEADLK);
                refused &= c.call_timeout(q, 10) == Err(EDEADLK);
                refused &= c.call_uninterruptible(q) == Err(EDEADLK);
                refused &= c.call_by_home(q) == Err(EDEADLK);
            }
            for _ in 0..2 {
                let posted = tx.post(q).map_err(|e| (e.kind(), e.errno()));
                refused &= posted == Err((PostErrorKind::Deadlock, EDEADLK));
            }
            let _ = reply.send((sys::me(), refused));
        }
    };
    home.spawn(c"server", server)?.detach();
    settle(&home)?;
    for i in 0..10 {
        check_eq!(log, caller.call(i), Ok((sys::me(), true)));
        let by_home = caller.call_by_home(i)?;
        check!(log, by_home.0 != sys::me() && by_home.1);
        settle(&home)?;
    }
    // The caller itself is none the worse for it.
    let outside = who(&away)?;
    settle(&away)?;
    check_eq!(log, outside.call(1), Ok(sys::me()));
    Ok(())
}

/// Invariant 5: a caller runs a bounded number of others' polls, then the home thread goes on, and
/// the caller has its answer all the same.
fn budget(log: &mut Log) -> Result {
    const TURNS: usize = 2_000;
    let domain = domain(c"inline")?;
    let (mine, all) = (
        Arc::new(AtomicUsize::new(0), GFP_KERNEL)?,
        Arc::new(AtomicUsize::new(0), GFP_KERNEL)?,
    );
    let (caller, mut requests) = domain.call_mailbox::<usize, ()>()?;
    let (m, a) = (mine.clone(), all.clone());
    let server = async move {
        while let Some(request) = requests.recv().await {
            let (from, reply) = request.into_parts();
            for _ in 0..TURNS {
                yield_now().await;
                a.fetch_add(1, Relaxed);
                if sys::me() == from {
                    m.fetch_add(1, Relaxed);
                }
            }
            let _ = reply.send(());
        }
    };
    domain.spawn(c"server", server)?.detach();
    settle(&domain)?;
    let before = domain.stats().hand_overs.get();
    for i in 1..=10 {
        check_eq!(log, caller.call(sys::me()), Ok(()));
        check_eq!(log, all.load(Relaxed), i * TURNS);
        // It may be asked twice to help, with a budget each time.
        let mine = mine.load(Relaxed);
        check!(log, mine <= i * 100, "{mine} of {TURNS} polls in call {i}");
        settle(&domain)?;
    }
    let after = domain.stats().hand_overs.get();
    check!(log, after >= before + 10, "{before}, {after}");
    Ok(())
}

/// Invariant 3: what the coroutine wakes, spawns or posts while a caller runs it is run, though the
/// caller leaves with its answer and the home thread was asleep.
fn wakes_others(log: &mut Log) -> Result {
    const TIMES: u32 = 300;
    let domain = domain(c"inline")?;
    let (caller, mut requests) = domain.call_mailbox::<u32, usize>()?;
    let (tx, mut rx) = domain.mailbox_with::<u32>(room(16))?;
    let (posted, spawned, signalled) = (trace()?, trace()?, trace()?);
    let (t, s) = (posted.clone(), signal()?);
    let taker = async move {
        while let Some(i) = rx.recv().await {
            t.add(i);
        }
    };
    domain.spawn(c"taker", taker)?.detach();
    let (waiting, t) = (s.clone(), signalled.clone());
    let waiter = async move {
        for i in 0.. {
            waiting.wait().await;
            t.add(i);
        }
    };
    domain.spawn(c"waiter", waiter)?.detach();
    let (handle, t) = (domain.handle(), spawned.clone());
    let server = async move {
        while let Some(request) = requests.recv().await {
            let (q, reply) = request.into_parts();
            let t = t.clone();
            // The answer first, so that the caller has no reason to stay.
            let _ = reply.send(sys::me());
            s.signal();
            if tx.try_post(q).is_err() {
                break;
            }
            match handle.spawn(c"one", async move { t.add(q) }) {
                Ok(task) => task.detach(),
                Err(_) => break,
            }
        }
    };
    domain.spawn(c"server", server)?.detach();
    settle(&domain)?;
    for i in 0..TIMES {
        check!(log, caller.call(i).is_ok());
        for trace in [&posted, &spawned, &signalled] {
            let run = eventually(LONG, || trace.len() > i as usize);
            check!(log, run, "{} of {}", trace.len(), i + 1);
        }
        if i % 8 == 0 {
            settle(&domain)?;
        }
    }
    Ok(())
}

/// A domain that is busy is waited for: whoever runs it, the answers come.
fn busy_domain(log: &mut Log) -> Result {
    let domain = domain(c"inline")?;
    let caller = who(&domain)?;
    let hog = domain.spawn(c"hog", async {
        loop {
            yield_now().await;
        }
    })?;
    let mut threads = KVec::new();
    for n in 0..4 {
        let c = caller.clone();
        let thread = Worker::start(Some(n % sys::cpus()), move || {
            (0..300).all(|i| c.call(i).is_ok())
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    for thread in threads {
        check_eq!(log, thread.join(3 * LONG), Some(true));
    }
    check!(log, !hog.is_finished());
    hog.abort();
    check!(log, ends(&hog));
    Ok(())
}

/// Invariant 1: inside is who runs the coroutine, for as long as it does.
fn cell(log: &mut Log) -> Result {
    let domain = domain(c"inline")?;
    let cell = Arc::new(domain.cell(0u32), GFP_KERNEL)?;
    let (caller, mut requests) = domain.call_mailbox::<u32, (usize, Result<u32>)>()?;
    let c = cell.clone();
    let server = async move {
        while let Some(request) = requests.recv().await {
            let (q, reply) = request.into_parts();
            let value = c.with(|v| {
                *v += q;
                *v
            });
            let _ = reply.send((sys::me(), value));
        }
    };
    domain.spawn(c"server", server)?.detach();
    settle(&domain)?;
    for i in 1..=100 {
        check_eq!(log, cell.with(|v| *v), Err(EPERM));
        check_eq!(log, caller.call(2), Ok((sys::me(), Ok(2 * i))));
        check_eq!(log, cell.with(|v| *v), Err(EPERM));
    }
    Ok(())
}

/// A coroutine that ends, or aborts itself, on its caller's thread.
fn aborts_itself(log: &mut Log) -> Result {
    let domain = domain(c"inline")?;
    let count = count()?;
    for i in 0..20 {
        let (caller, mut requests) = domain.call_mailbox::<u32, usize>()?;
        let me = Arc::pin_init(kernel::new_mutex!(None::<JoinHandle<()>>), GFP_KERNEL)?;
        let (m, value) = (me.clone(), Counted::new(&count, 1));
        let server = async move {
            let _value = value;
            if let Some(request) = requests.recv().await {
                let (q, reply) = request.into_parts();
                if let Some(task) = &*m.lock() {
                    task.abort();
                }
                let _ = reply.send(sys::me());
                if q % 2 == 0 {
                    forever().await;
                }
            }
        };
        let task = domain.spawn(c"server", server)?;
        *me.lock() = Some(task);
        settle(&domain)?;
        check_eq!(log, caller.call(i), Ok(sys::me()));
        check!(log, eventually(LONG, || count.is_even()), "{count:?}");
        check_eq!(log, caller.call(i), Err(ECANCELED));
        drop(me.lock().take());
    }
    Ok(())
}

/// A real-time caller waits for a runner of no importance, which a third thread keeps from running:
/// the caller lends it its priority. Then the third one, on the same CPU, has no turn.
fn inheritance(log: &mut Log) -> Result {
    if sys::cpus() < 2 {
        return Ok(());
    }
    type Work = (Arc<AtomicUsize>, Arc<Flag>);
    let domain = domain(c"inline")?;
    let (caller, mut requests) = domain.call_mailbox::<Option<Work>, (usize, (bool, usize))>()?;
    let server = async move {
        while let Some(request) = requests.recv().await {
            let (work, reply) = request.into_parts();
            let done = work.map_or((false, 0), |(laps, begun)| {
                begun.set();
                // Until it is lent one.
                work_beside(&laps, &Flag::never())
            });
            let _ = reply.send((sys::me(), done));
        }
    };
    domain.spawn(c"server", server)?.detach();
    settle(&domain)?;
    let hog = Hog::start(0)?;
    let (c, begun) = (caller.clone(), flag()?);
    let work = (hog.laps.clone(), begun.clone());
    let low = Worker::start(Some(0), move || {
        sys::become_nice();
        let (by, done) = c.call(Some(work))?;
        Ok::<_, Error>((by == sys::me(), done))
    })?;
    check!(log, begun.wait());
    let high = Worker::start(Some(1), move || {
        sys::become_fifo();
        caller.call(None).is_ok()
    })?;
    let answered = high.join(2 * LONG);
    let done = low.join(2 * LONG);
    check!(log, hog.end());
    check_eq!(log, answered, Some(true));
    check_eq!(log, done, Some(Ok((true, (true, 0)))));
    Ok(())
}
