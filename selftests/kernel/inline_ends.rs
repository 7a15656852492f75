// SPDX-License-Identifier: GPL-2.0

//! Calls that the caller runs itself and that end before their time, or with the domain.
//! Invariants 2 (a definite result), 6 (nothing outlives the domain) and 7 (a way out): in each
//! state of the call the domain is as usable afterwards as before.

use crate::harness::*;
use crate::sys::{self, eventually, Worker};
use coop_domain::prelude::*;
use core::future::{poll_fn, Future};
use core::pin::pin;
use core::sync::atomic::{AtomicU32, Ordering::*};
use core::task::Poll;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::Delta;

pub(crate) const TESTS: &[Test] = &[
    ("inline_ends.killed_waiting_for_the_baton", killed_at_baton),
    ("inline_ends.killed_while_running", killed_running),
    ("inline_ends.killed_waiting_for_the_answer", killed_waiting),
    ("inline_ends.timed_out_at_a_busy_domain", timed_out_busy),
    ("inline_ends.timed_out_while_running", timed_out_running),
    (
        "inline_ends.timed_out_waiting_for_the_answer",
        timed_out_waiting,
    ),
    ("inline_ends.the_next_caller_has_not_gone", next_caller),
    ("inline_ends.unkillable_callers_wait", unkillable),
    ("inline_ends.kills_under_traffic", kills_under_traffic),
    ("inline_ends.request_dropped", request_dropped),
    ("inline_ends.receiver_goes", receiver_goes),
    (
        "inline_ends.domain_dropped_under_callers",
        dropped_under_callers,
    ),
    ("inline_ends.domain_dropped_in_a_poll", dropped_in_a_poll),
];

/// What the server is asked to do.
#[derive(Clone)]
enum Ask {
    /// Answer.
    Echo(u32),
    /// Say so, then stay in the poll until told to answer.
    Stay(Arc<Flag>, Arc<Flag>),
    /// Answer when the caller has gone.
    Outlast(Arc<Flag>),
    /// Drop the request.
    Forget,
    /// End.
    Go,
}

struct Server {
    domain: Domain,
    caller: Caller<Ask, Counted>,
    count: Arc<Count>,
    /// Answers that came too late.
    late: Arc<Trace>,
}

fn server() -> Result<Server> {
    let domain = domain(c"inline")?;
    let (caller, mut requests) = domain.call_mailbox::<Ask, Counted>()?;
    let (count, late) = (count()?, trace()?);
    let (c, l, handle) = (count.clone(), late.clone(), domain.handle());
    let server = async move {
        while let Some(request) = requests.recv().await {
            let (ask, mut reply) = request.into_parts();
            let value = match ask {
                Ask::Echo(value) => value,
                Ask::Stay(inside, go) => {
                    inside.set();
                    go.wait();
                    7
                }
                Ask::Outlast(begun) => {
                    let (c, l) = (c.clone(), l.clone());
                    let outlasts = async move {
                        begun.set();
                        reply.abandoned().await;
                        if reply.send(Counted::new(&c, 8)).is_err() {
                            l.add(8);
                        }
                    };
                    match handle.spawn(c"outlasts", outlasts) {
                        Ok(task) => task.detach(),
                        Err(_) => break,
                    }
                    continue;
                }
                Ask::Forget => continue,
                Ask::Go => break,
            };
            if reply.send(Counted::new(&c, value)).is_err() {
                l.add(value);
            }
        }
    };
    domain.spawn(c"server", server)?.detach();
    settle(&domain)?;
    Ok(Server {
        domain,
        caller,
        count,
        late,
    })
}

impl Server {
    /// Calls from a thread of its own.
    fn calls(&self, ask: Ask) -> Result<Worker<Result<u32>>> {
        let caller = self.caller.clone();
        Worker::start(None, move || caller.call(ask).map(|r| r.value))
    }

    /// The domain works, and can be run by callers; `late` answers came too late.
    fn is_sound(&self, log: &mut Log, late: &[u32]) -> Result {
        for i in 0..10 {
            let answer = self.caller.call(Ask::Echo(i)).map(|r| r.value);
            check_eq!(log, answer, Ok(i));
        }
        settle(&self.domain)?;
        let before = self.domain.stats().inline_calls.get();
        let answer = self.caller.call(Ask::Echo(3)).map(|r| r.value);
        check_eq!(log, answer, Ok(3));
        check_eq!(log, self.domain.stats().inline_calls.get(), before + 1);
        check!(log, self.count.is_even(), "{:?}", self.count);
        self.late.is(log, late)
    }
}

/// Invariant 7: somebody else is in the middle of a poll, for as long as he likes.
fn killed_at_baton(log: &mut Log) -> Result {
    let s = server()?;
    let held = Held::new(&s.domain)?;
    let thread = s.calls(Ask::Echo(5))?;
    check!(log, thread.sleeps());
    thread.kill();
    check_eq!(log, thread.join(LONG), Some(Err(EINTR)));
    drop(held);
    // Its request was there, and is answered too late.
    s.is_sound(log, &[5])
}

/// Invariant 1: a poll is finished first. Then the answer is there, and not lost.
fn killed_running(log: &mut Log) -> Result {
    let s = server()?;
    let (inside, go) = (flag()?, flag()?);
    let thread = s.calls(Ask::Stay(inside.clone(), go.clone()))?;
    check!(log, inside.wait());
    thread.kill();
    sys::sleep_ms(20);
    check!(log, !thread.is_done());
    go.set();
    check_eq!(log, thread.join(LONG), Some(Ok(7)));
    s.is_sound(log, &[])
}

/// Invariant 7: the coroutine has the request, its caller has left the domain.
fn killed_waiting(log: &mut Log) -> Result {
    let s = server()?;
    for round in 1..=5 {
        let begun = flag()?;
        let thread = s.calls(Ask::Outlast(begun.clone()))?;
        check!(log, begun.wait() && thread.sleeps());
        thread.kill();
        check_eq!(log, thread.join(LONG), Some(Err(EINTR)));
        s.is_sound(log, [8; 5].get(..round).unwrap_or(&[]))?;
    }
    Ok(())
}

/// Invariant 7: as for a kill, and the time is about what was asked for.
fn timed_out_busy(log: &mut Log) -> Result {
    let s = server()?;
    let held = Held::new(&s.domain)?;
    // In ticks, as the kernel counts it: they may lag behind the clock, and then catch up.
    let start = sys::ticks();
    let answer = s.caller.call_timeout(Ask::Echo(5), 50).map(|r| r.value);
    let took = sys::ticks().wrapping_sub(start);
    check_eq!(log, answer, Err(ETIMEDOUT));
    let patience = kernel::time::msecs_to_jiffies(50) as usize;
    check!(log, took >= patience, "{took} of {patience} ticks");
    drop(held);
    s.is_sound(log, &[5])
}

/// The answer is there when the poll ends, however long that took.
fn timed_out_running(log: &mut Log) -> Result {
    let s = server()?;
    let (inside, go) = (flag()?, flag()?);
    let (c, ask) = (s.caller.clone(), Ask::Stay(inside.clone(), go.clone()));
    let thread = Worker::start(None, move || c.call_timeout(ask, 10).map(|r| r.value))?;
    check!(log, inside.wait());
    sys::sleep_ms(50);
    check!(log, !thread.is_done());
    go.set();
    check_eq!(log, thread.join(LONG), Some(Ok(7)));
    s.is_sound(log, &[])
}

fn timed_out_waiting(log: &mut Log) -> Result {
    let s = server()?;
    let answer = s.caller.call_timeout(Ask::Outlast(flag()?), 30);
    check_eq!(log, answer.map(|r| r.value), Err(ETIMEDOUT));
    s.is_sound(log, &[8])
}

/// Invariant 7, the other way round: a caller that goes while nobody waits for that leaves word in its
/// slot. Who waits for the next caller of that slot to go is not told by that.
fn next_caller(log: &mut Log) -> Result {
    for dedicated in [true, false] {
        let mut builder = Domain::builder(c"next", crate::owner());
        if dedicated {
            builder = builder.dedicated();
        }
        let domain = builder.build()?;
        let (tx, mut requests) = domain.call_mailbox::<u32, u32>()?;
        let dropped = flag()?;
        let d = dropped.clone();
        let server = domain.spawn(c"server", async move {
            let first = requests.recv().await.ok_or(ENOENT)?;
            while !first.is_abandoned() {
                sleep(Delta::from_micros(100)).await;
            }
            drop(first);
            d.set();
            let (q, mut reply) = requests.recv().await.ok_or(ENOENT)?.into_parts();
            let gone = poll_fn(|cx| {
                let gone = pin!(reply.abandoned()).poll(cx).is_ready();
                Poll::Ready(gone)
            })
            .await;
            reply.send(q + 1).map_err(|_| EPIPE)?;
            Ok::<_, Error>(gone)
        })?;
        settle(&domain)?;
        check_eq!(log, tx.call_timeout(1, 20), Err(ETIMEDOUT));
        check!(log, dropped.wait());
        settle(&domain)?;
        check_eq!(log, tx.call(2), Ok(3));
        check_eq!(log, join(server)?, Ok(Ok(false)));
    }
    Ok(())
}

/// Only who asks for it waits without a way out, for the baton and for the answer.
fn unkillable(log: &mut Log) -> Result {
    let s = server()?;
    let held = Held::new(&s.domain)?;
    let c = s.caller.clone();
    let thread = Worker::start(None, move || {
        c.call_uninterruptible(Ask::Echo(5)).map(|r| r.value)
    })?;
    check!(log, thread.sleeps());
    thread.kill();
    sys::sleep_ms(20);
    check!(log, !thread.is_done());
    drop(held);
    check_eq!(log, thread.join(LONG), Some(Ok(5)));
    s.is_sound(log, &[])
}

/// Callers on all CPUs are killed at any time, hundreds of them.
fn kills_under_traffic(log: &mut Log) -> Result {
    let s = server()?;
    for round in 0..60 {
        let mut threads = KVec::new();
        let begun = Arc::new(AtomicU32::new(0), GFP_KERNEL)?;
        for cpu in 0..sys::cpus() {
            let (c, b) = (s.caller.clone(), begun.clone());
            let thread = Worker::start(Some(cpu), move || {
                b.fetch_add(1, AcqRel);
                until_error(64, |i| match c.call(Ask::Echo(i))? {
                    r if r.value != i => Ok(false),
                    _ if sys::should_stop() => Err(EINTR),
                    _ => Ok(true),
                })
            })?;
            threads.push(thread, GFP_KERNEL)?;
        }
        let all = || begun.load(Acquire) == sys::cpus();
        check!(log, eventually(LONG, all));
        sys::busy(500 + round * 37 % 1000);
        for thread in threads {
            thread.kill();
            check_eq!(log, thread.join(LONG), Some(EINTR));
        }
    }
    // Those that waited for the baton left requests, which the home thread answers too late, some
    // perhaps not yet.
    settle(&s.domain)?;
    let late = s.late.events();
    s.is_sound(log, &late)
}

/// Invariant 2: a request that the coroutine drops on its caller's thread fails at once.
fn request_dropped(log: &mut Log) -> Result {
    let s = server()?;
    for _ in 0..20 {
        let answer = s.caller.call(Ask::Forget).map(|r| r.value);
        check_eq!(log, answer, Err(ECANCELED));
    }
    s.is_sound(log, &[])
}

/// Invariant 2: the coroutine ends, with its receiver, on its caller's thread.
fn receiver_goes(log: &mut Log) -> Result {
    let s = server()?;
    check_eq!(log, s.caller.call(Ask::Go).map(|r| r.value), Err(ECANCELED));
    check_eq!(log, s.caller.call(Ask::Go).map(|r| r.value), Err(ECANCELED));
    check_eq!(log, run(&s.domain, async { 1 })?, 1);
    Ok(())
}

/// Invariant 6: callers of all CPUs run the domain when it is dropped: each is told, none hangs, and
/// none runs it afterwards.
fn dropped_under_callers(log: &mut Log) -> Result {
    for round in 0..40 {
        let s = server()?;
        let mut threads = KVec::new();
        for n in 0..2 * sys::cpus() {
            let c = s.caller.clone();
            let thread = Worker::start(Some(n % sys::cpus()), move || {
                until_error(64, |i| Ok(c.call(Ask::Echo(i))?.value == i))
            })?;
            threads.push(thread, GFP_KERNEL)?;
        }
        sys::busy(300 + round * 97 % 2000);
        let (domain, count) = (s.domain, s.count);
        drop(domain);
        for thread in threads {
            check_eq!(log, thread.join(LONG), Some(ECANCELED));
        }
        check_eq!(
            log,
            s.caller.call(Ask::Echo(1)).map(|r| r.value),
            Err(ECANCELED)
        );
        check!(log, count.is_even(), "round {round}: {count:?}");
    }
    Ok(())
}

/// Invariant 6: dropped while a caller is in the middle of a poll: that is waited for.
fn dropped_in_a_poll(log: &mut Log) -> Result {
    let s = server()?;
    let (inside, go) = (flag()?, flag()?);
    let runner = s.calls(Ask::Stay(inside.clone(), go.clone()))?;
    check!(log, inside.wait());
    let waiter = s.calls(Ask::Echo(1))?;
    check!(log, waiter.sleeps());
    let (domain, count) = (s.domain, s.count);
    let dropper = Worker::start(None, move || drop(domain))?;
    check!(log, dropper.sleeps());
    sys::sleep_ms(20);
    check!(log, !dropper.is_done() && !runner.is_done());
    go.set();
    check!(log, dropper.join(LONG).is_some());
    check_eq!(log, runner.join(LONG), Some(Ok(7)));
    // It had its turn before the end, or not.
    let answer = waiter.join(LONG);
    check!(
        log,
        answer == Some(Ok(1)) || answer == Some(Err(ECANCELED)),
        "{answer:?}"
    );
    check!(log, count.is_even(), "{count:?}");
    Ok(())
}
