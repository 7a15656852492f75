// SPDX-License-Identifier: GPL-2.0

//! Invariant 6, as memory sees it: what has ended is freed. Each of these does one thing so often
//! that `leaks.sh` sees in /proc/meminfo if some of it stays behind.

use crate::harness::*;
use crate::sys::{self, eventually};
use coop_domain::prelude::*;
use core::future::{poll_fn, Future};
use core::task::Poll;
use kernel::prelude::*;

pub(crate) const TESTS: &[Test] = &[
    ("leaks.ended", ended),
    ("leaks.joined", joined),
    ("leaks.aborted", aborted),
    ("leaks.woken_in_their_last_poll", woken_last),
    ("leaks.wakers", wakers),
    ("leaks.call_mailboxes", call_mailboxes),
    ("leaks.abandoned_calls", abandoned_calls),
    ("leaks.domains", domains),
];

/// Coroutines of 600 bytes and more: five MiB, should they stay.
const TIMES: usize = 8_000;

/// Ballast, to be seen.
type Ballast = [u64; 64];

/// Spawns what `make` makes, `TIMES` times, some at once; all have ended on return.
fn many<F>(log: &mut Log, make: impl Fn(usize) -> F, each: impl Fn(JoinHandle<()>)) -> Result
where
    F: Future<Output = ()> + Send + 'static,
{
    let domain = domain(c"leaks")?;
    for i in 0..TIMES {
        each(domain.spawn(c"one", make(i))?);
        if i % 64 == 63 {
            run(&domain, yield_now())?;
        }
    }
    let finished = || domain.stats().finished.get() >= TIMES as u64;
    check!(log, eventually(LONG, finished));
    Ok(())
}

fn work(ballast: Ballast) {
    core::hint::black_box(ballast);
}

fn ended(log: &mut Log) -> Result {
    let short = |i| async move {
        let ballast = [i as u64; 64];
        yield_now().await;
        work(ballast);
    };
    many(log, short, JoinHandle::detach)
}

/// Awaited by coroutines of another domain.
fn joined(log: &mut Log) -> Result {
    let (home, away) = (domain(c"leaks")?, domain(c"other")?);
    let handle = home.handle();
    let joined = run(&away, async move {
        let mut joined = 0;
        for i in 0..TIMES {
            let task = handle.spawn(c"one", async move {
                yield_now().await;
                [i as u64; 64]
            })?;
            work(task.await?);
            joined += 1;
        }
        Ok::<usize, Error>(joined)
    })?;
    check_eq!(log, joined, Ok(TIMES));
    Ok(())
}

fn aborted(log: &mut Log) -> Result {
    let endless = |i| async move {
        let ballast = [i as u64; 64];
        forever().await;
        work(ballast);
    };
    many(log, endless, |task| {
        task.abort();
    })
}

/// They are in a queue when they end.
fn woken_last(log: &mut Log) -> Result {
    let woken = |i| async move {
        let ballast = [i as u64; 64];
        yield_now().await;
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::Ready(())
        })
        .await;
        work(ballast);
    };
    many(log, woken, JoinHandle::detach)
}

/// Wakers that are cloned, used and dropped by others, some after the end.
fn wakers(log: &mut Log) -> Result {
    let domain = domain(c"leaks")?;
    for _ in 0..TIMES / 2 {
        let nest = nest()?;
        let n = nest.clone();
        let task = domain.spawn(c"one", async move {
            let ballast = [1; 64];
            Nested(n, 2).await;
            work(ballast);
        })?;
        let waker = nest.wait_for_waker()?;
        let other = waker.clone();
        waker.wake();
        check!(log, eventually(LONG, || task.is_finished()));
        other.wake_by_ref();
        drop(other);
    }
    Ok(())
}

/// Mailboxes of a domain that lives on: they are gone before it is.
fn call_mailboxes(log: &mut Log) -> Result {
    let domain = domain(c"leaks")?;
    let before = sys::available_kib();
    for i in 0..500 {
        let (caller, mut requests) = domain.call_mailbox::<u32, Ballast>()?;
        if i % 2 == 0 {
            drop(requests);
            check_eq!(log, caller.call(1).map(drop), Err(ECANCELED));
        } else {
            drop(caller);
            check!(log, requests.try_recv().is_none());
        }
    }
    // Each has some 40 KiB. What the kernel frees later comes back, what leaked does not.
    let gone = || before.saturating_sub(sys::available_kib());
    check!(
        log,
        eventually(LONG, || gone() < 8_000),
        "{} KiB are gone",
        gone()
    );
    Ok(())
}

/// Callers that leave before the answer, and answers after the last caller.
fn abandoned_calls(log: &mut Log) -> Result {
    let (home, away) = (domain(c"leaks")?, domain(c"other")?);
    for i in 0..500 {
        let (caller, mut requests) = home.call_mailbox::<u32, Ballast>()?;
        let task = away.spawn(c"asks", async move { caller.ask(1).await.map(drop) })?;
        let mut request = None;
        check!(
            log,
            eventually(LONG, || {
                request = requests.try_recv();
                request.is_some()
            })
        );
        task.abort();
        check!(log, eventually(LONG, || task.is_finished()));
        if let Some(request) = request {
            let (_, reply) = request.into_parts();
            check!(log, i % 2 == 0 || reply.send([1; 64]).is_err());
        }
    }
    Ok(())
}

fn domains(log: &mut Log) -> Result {
    for i in 0..100 {
        let domain = domain_on(c"leaks", i % sys::cpus())?;
        let (tx, mut rx) = domain.mailbox::<Ballast>()?;
        let taker = async move { while rx.recv().await.is_some() {} };
        domain.spawn(c"taker", taker)?.detach();
        check!(log, tx.post([1; 64]).is_ok());
    }
    Ok(())
}
