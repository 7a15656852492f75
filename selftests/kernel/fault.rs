// SPDX-License-Identifier: GPL-2.0

//! A coroutine panics. In the kernel that kills the thread without unwinding: the domain ends.
//! Invariants 2 (`EOWNERDEAD` for those who wait) and 6 (nothing of it is left).

use crate::harness::*;
use crate::sys::{self, eventually, Where, Worker};
use coop_domain::prelude::*;
use kernel::prelude::*;
use kernel::sync::Arc;

pub(crate) const TESTS: &[Test] = &[
    ("fault.those_who_wait_are_told", those_who_wait),
    ("fault.drop_waits_for_the_end", drop_waits),
    ("fault.afterwards_definite_errors", afterwards),
    ("fault.replies_in_other_hands", replies_in_other_hands),
    ("fault.on_the_thread_of_a_caller", on_a_callers_thread),
    ("fault.the_home_thread_sees_it", home_sees_it),
    ("fault.under_callers_of_all_cpus", under_callers),
    ("fault.after_it_has_answered", after_answers),
    ("fault.of_a_bh_domain", bh),
    ("fault.of_a_bh_domain_under_its_caller", bh_under_caller),
];

/// Dies. Whoever runs the domain dies with it, so callers that are to be told of it leave the
/// domain to its home thread.
fn die() {
    panic!("on purpose: a test of coop_domain");
}

/// Callers whose requests are in the ring, taken, and being worked on by the coroutine that dies;
/// senders that wait for room; joiners: all get `EOWNERDEAD`. The other coroutines' futures are
/// dropped.
fn those_who_wait(log: &mut Log) -> Result {
    let (ending, other) = (domain(c"fault")?, domain(c"other")?);
    let (caller, mut requests) = ending.call_mailbox::<u32, u32>()?;
    let (tx, rx) = ending.mailbox_with::<u32>(room(1))?;
    let count = count()?;
    let (go, ready) = (signal()?, flag()?);
    let (g, r) = (go.clone(), ready.clone());
    let server = async move {
        let _kept = requests.recv().await;
        let request = requests.recv().await;
        r.set();
        g.wait().await;
        // With a request on the stack, so to say.
        die();
        drop(request);
    };
    let server = ending.spawn(c"server", server)?;
    let value = Counted::new(&count, 1);
    let bystander = ending.spawn(c"bystander", async move {
        let _value = value;
        let _rx = rx;
        forever().await;
    })?;
    let mut threads = KVec::new();
    for i in 0..4 {
        let caller = caller.clone();
        let thread = Worker::start(None, move || caller.call_by_home(i))?;
        check!(log, thread.sleeps());
        threads.push(thread, GFP_KERNEL)?;
    }
    let t = tx.clone();
    let sender = Worker::start(Some(0), move || {
        let _ = t.try_post(1);
        t.post(2).map_err(|e| (e.errno(), e.into_inner()))
    })?;
    check!(log, sender.sleeps());
    let c = caller.clone();
    let asks = other.spawn(c"asks", async move { c.ask(9).await })?;
    run(&other, yield_now())?;
    check!(log, ready.wait());
    go.signal();
    for thread in threads {
        check_eq!(log, thread.join(LONG), Some(Err(EOWNERDEAD)));
    }
    check_eq!(log, sender.join(LONG), Some(Err((EOWNERDEAD, 2))));
    check_eq!(log, run(&other, asks)?, Ok(Err(EOWNERDEAD)));
    check!(log, ending.is_faulted());
    check!(log, eventually(LONG, || count.is_even()), "{count:?}");
    check_eq!(log, run(&other, bystander)?, Err(EOWNERDEAD));
    check_eq!(log, run(&other, server)?, Err(EOWNERDEAD));
    // Others are none the worse for it.
    check_eq!(log, run(&other, async { 4 })?, 4);
    drop(ending);
    Ok(())
}

/// Somebody drops the domain as soon as a caller was told: drop returns when all destructors have
/// run, not before.
fn drop_waits(log: &mut Log) -> Result {
    for _ in 0..3 {
        let domain = domain(c"fault")?;
        let (caller, mut requests) = domain.call_mailbox::<u32, u32>()?;
        let count = count()?;
        for i in 0..3 {
            let value = Counted::new(&count, i);
            let slow = async move {
                let _slow = on_drop(move || {
                    sys::sleep_ms(50);
                    drop(value);
                });
                forever().await;
            };
            domain.spawn(c"slow", slow)?.detach();
        }
        run(&domain, yield_now())?;
        // This one goes first, with the request, so that its caller is told early.
        let taken = flag()?;
        let t = taken.clone();
        let keeper = async move {
            let _request = requests.recv().await;
            t.set();
            forever().await;
        };
        domain.spawn(c"keeper", keeper)?.detach();
        let thread = Worker::start(None, move || caller.call_by_home(1))?;
        check!(log, taken.wait());
        domain.spawn(c"dies", async { die() })?.detach();
        check_eq!(log, thread.join(LONG), Some(Err(EOWNERDEAD)));
        drop(domain);
        check_eq!(log, (count.made(), count.dropped()), (3, 3));
    }
    Ok(())
}

/// A domain that has died refuses everything, by name, and is still there to be looked at.
fn afterwards(log: &mut Log) -> Result {
    let domain = domain(c"fault")?;
    let (caller, _requests) = domain.call_mailbox::<u32, u32>()?;
    let (tx, _rx) = domain.mailbox::<u32>()?;
    let count = count()?;
    check!(log, !domain.is_faulted());
    domain.spawn(c"dies", async { die() })?.detach();
    check!(log, eventually(LONG, || domain.is_faulted()));
    check!(log, eventually(LONG, || domain.handle().is_closed()));
    check_eq!(log, caller.call(1), Err(EOWNERDEAD));
    check_eq!(log, tx.try_post(1).map_err(|e| e.errno()), Err(EOWNERDEAD));
    check_eq!(log, tx.post(1).map_err(|e| e.errno()), Err(EOWNERDEAD));
    let value = Counted::new(&count, 1);
    let spawned = domain.spawn(c"late", async move { drop(value) }).map(drop);
    check_eq!(log, spawned, Err(EOWNERDEAD));
    check!(log, count.is_even(), "{count:?}");
    // Nobody would tell those who call through one that is made now.
    let late = domain.call_mailbox::<u32, u32>().map(drop);
    check_eq!(log, late, Err(EOWNERDEAD));
    // As often as one likes: no slot is used up, or given out twice.
    for _ in 0..200 {
        check_eq!(log, caller.call(1), Err(EOWNERDEAD));
    }
    Ok(())
}

/// The reply of a request that the domain which died had passed on: its caller was told, and the
/// answer that comes later goes nowhere.
fn replies_in_other_hands(log: &mut Log) -> Result {
    let domain = domain(c"fault")?;
    let (caller, mut requests) = domain.call_mailbox::<u32, Counted>()?;
    let count = count()?;
    let replies = Arc::pin_init(kernel::new_mutex!(KVec::new()), GFP_KERNEL)?;
    let (r, taken) = (replies.clone(), flag()?);
    let t = taken.clone();
    let server = async move {
        for _ in 0..2 {
            if let Some(request) = requests.recv().await {
                let _ = r.lock().push(request.into_parts().1, GFP_KERNEL);
            }
        }
        t.set();
        forever().await;
    };
    domain.spawn(c"server", server)?.detach();
    let mut threads = KVec::new();
    for i in 0..2 {
        let caller = caller.clone();
        let thread = Worker::start(None, move || caller.call_by_home(i).map(|r| r.value))?;
        threads.push(thread, GFP_KERNEL)?;
    }
    check!(log, taken.wait());
    domain.spawn(c"dies", async { die() })?.detach();
    for thread in threads {
        check_eq!(log, thread.join(LONG), Some(Err(EOWNERDEAD)));
    }
    let taken = core::mem::take(&mut *replies.lock());
    let mut refused = 0;
    for reply in taken {
        match reply.send(Counted::new(&count, 1)) {
            Ok(()) => (),
            Err(_) => refused += 1,
        }
    }
    check_eq!(log, refused, 2);
    check!(log, count.is_even(), "{count:?}");
    check_eq!(log, caller.call(1).map(|r| r.value), Err(EOWNERDEAD));
    Ok(())
}

/// A coroutine dies on the thread of the caller that runs it: that thread dies, and everybody else
/// is told: those who wait for the baton, for an answer, for room, for an end, and those who come
/// later. The domain can be dropped.
fn on_a_callers_thread(log: &mut Log) -> Result {
    let (ending, other) = (domain(c"fault")?, domain(c"other")?);
    let (caller, mut requests) = ending.call_mailbox::<bool, usize>()?;
    let (slow, mut unanswered) = ending.call_mailbox::<u32, u32>()?;
    let (tx, rx) = ending.mailbox_with::<u32>(room(1))?;
    let count = count()?;
    let (inside, go) = (flag()?, flag()?);
    let (i, g) = (inside.clone(), go.clone());
    let server = async move {
        while let Some(request) = requests.recv().await {
            let (fatal, reply) = request.into_parts();
            if fatal {
                i.set();
                g.wait();
                die();
            }
            let _ = reply.send(sys::me());
        }
    };
    let server = ending.spawn(c"server", server)?;
    let value = Counted::new(&count, 1);
    let keeper = async move {
        let _kept = (value, rx, unanswered.recv().await);
        forever().await;
    };
    let keeper = ending.spawn(c"keeper", keeper)?;
    settle(&ending)?;
    check_eq!(log, caller.call(false), Ok(sys::me()));
    let waits = Worker::start(None, move || slow.call(1).map(drop))?;
    check!(log, waits.sleeps());
    let t = tx.clone();
    let sender = Worker::start(Some(0), move || {
        let _ = t.try_post(1);
        t.post(2).map_err(|e| (e.errno(), e.into_inner()))
    })?;
    check!(log, sender.sleeps());

    let c = caller.clone();
    let dies = Worker::start(None, move || c.call(true).map(drop))?;
    check!(log, inside.wait());
    // Two that want the baton, one of them for a bounded time.
    let c = caller.clone();
    let at_baton = Worker::start(None, move || c.call(false).map(drop))?;
    let c = caller.clone();
    let timed = Worker::start(None, move || c.call_timeout(false, LONG).map(drop))?;
    check!(log, at_baton.sleeps() && timed.sleeps());
    go.set();

    check!(log, dies.dies());
    for thread in [at_baton, timed, waits] {
        check_eq!(log, thread.join(LONG), Some(Err(EOWNERDEAD)));
    }
    check_eq!(log, sender.join(LONG), Some(Err((EOWNERDEAD, 2))));
    check!(log, ending.is_faulted());
    check_eq!(log, run(&other, keeper)?, Err(EOWNERDEAD));
    check_eq!(log, run(&other, server)?, Err(EOWNERDEAD));
    check!(log, eventually(LONG, || count.is_even()), "{count:?}");
    for _ in 0..100 {
        check_eq!(log, caller.call(false), Err(EOWNERDEAD));
    }
    let handle = ending.handle();
    drop(ending);
    check!(log, handle.is_closed());
    // Its name is free again.
    check!(log, domain(c"fault").is_ok());
    Ok(())
}

/// The home thread, which waits for the baton while a caller dies with it, ends, rather than look
/// for work for ever.
fn home_sees_it(log: &mut Log) -> Result {
    let ending = Domain::builder(c"fault", crate::owner())
        .spin(Spin::UpTo(1000))
        .build()?;
    let (caller, mut requests) = ending.call_mailbox::<u32, u32>()?;
    let (inside, go) = (flag()?, flag()?);
    let (i, g) = (inside.clone(), go.clone());
    ending
        .spawn(c"server", async move {
            if requests.recv().await.is_some() {
                i.set();
                g.wait();
                die();
            }
        })?
        .detach();
    settle(&ending)?;
    let dies = Worker::start(None, move || caller.call(1).map(drop))?;
    check!(log, inside.wait());
    let contended = ending.stats().contended.get();
    ending.spawn(c"wakes it", async {})?.detach();
    let waits = eventually(LONG, || ending.stats().contended.get() > contended);
    check!(log, waits, "the home thread does not wait for the baton");
    go.set();
    check!(log, dies.dies());
    check!(log, eventually(LONG, || ending.is_faulted()));
    let looks = || {
        let s = ending.stats();
        s.spin_misses.get().wrapping_add(s.spin_hits.get())
    };
    let rests = || {
        let before = looks();
        sys::sleep_ms(20);
        looks() == before
    };
    check!(log, eventually(LONG, rests));
    Ok(())
}

/// The same in the middle of calls from everywhere, with the home thread at work, too: whoever runs
/// the domain dies, nobody hangs.
fn under_callers(log: &mut Log) -> Result {
    for round in 0..6 {
        let domain = domain(c"fault")?;
        let (caller, mut requests) = domain.call_mailbox::<u32, u32>()?;
        let fatal = flag()?;
        let f = fatal.clone();
        let server = async move {
            while let Some(request) = requests.recv().await {
                let (q, reply) = request.into_parts();
                if f.is_set() {
                    die();
                }
                let _ = reply.send(q + 1);
            }
        };
        domain.spawn(c"server", server)?.detach();
        let mut threads = KVec::new();
        for n in 0..2 * sys::cpus() {
            let c = caller.clone();
            let thread = Worker::start(Some(n % sys::cpus()), move || {
                until_error(16, |i| Ok(c.call(i)? == i + 1))
            })?;
            threads.push(thread, GFP_KERNEL)?;
        }
        sys::busy(2_000 + round * 500);
        fatal.set();
        let mut died = 0;
        for thread in threads {
            let ended = eventually(LONG, || thread.is_done() || thread.is_dead());
            check!(log, ended, "a caller hangs");
            if thread.is_done() {
                check_eq!(log, thread.join(LONG), Some(EOWNERDEAD));
            } else {
                died += 1;
            }
        }
        // One, or the home thread.
        check!(log, died <= 1, "{died} threads died");
        check!(log, domain.is_faulted());
        check_eq!(log, caller.call(1), Err(EOWNERDEAD));
        drop(domain);
    }
    Ok(())
}

/// Callers that it has answered in the poll in which it dies, and that are to be woken at its end,
/// have their answers.
fn after_answers(log: &mut Log) -> Result {
    let domain = Domain::builder(c"fault", crate::owner())
        .dedicated()
        .build()?;
    let (tx, mut rx) = domain.call_mailbox::<u32, u32>()?;
    let server = async move {
        let mut taken = KVec::with_capacity(3, GFP_KERNEL)?;
        while taken.len() < 3 {
            taken.push(rx.recv().await.ok_or(ENOENT)?, GFP_KERNEL)?;
        }
        for request in taken {
            let (q, reply) = request.into_parts();
            let _ = reply.send(2 * q);
        }
        die();
        Ok::<(), Error>(())
    };
    domain.spawn(c"server", server)?.detach();
    let mut threads = KVec::new();
    for i in 0..3 {
        let tx = tx.clone();
        let thread = Worker::start(None, move || tx.call(i))?;
        check!(log, i == 2 || thread.sleeps());
        threads.push(thread, GFP_KERNEL)?;
    }
    for (i, thread) in threads.into_iter().enumerate() {
        check_eq!(log, thread.join(LONG), Some(Ok(2 * i as u32)));
    }
    check!(log, eventually(LONG, || domain.is_faulted()));
    check_eq!(log, tx.call(1), Err(EOWNERDEAD));
    Ok(())
}

/// What a panic of a `Bh` domain leaves behind, which is nothing, however it was run.
fn bh_ends(log: &mut Log, domain: Domain, caller: &Caller<bool, u32>) -> Result {
    check!(log, eventually(LONG, || domain.is_faulted()));
    check!(log, eventually(LONG, || domain.handle().is_closed()));
    for _ in 0..100 {
        check_eq!(log, caller.call(false), Err(EOWNERDEAD));
    }
    // Bottom halves are on again: they could not wait for one otherwise.
    for cpu in 0..sys::cpus() {
        check_eq!(log, sys::run_in_on(Where::Softirq, cpu, || 5), 5);
    }
    drop(domain);
    Ok(())
}

/// A `Bh` domain and its server, which dies of `true`.
fn bh_domain() -> Result<(Domain, Caller<bool, u32>)> {
    let domain = Domain::builder(c"fault", crate::owner())
        .level(Level::Bh)
        .build()?;
    let (caller, mut requests) = domain.call_mailbox::<bool, u32>()?;
    let server = async move {
        while let Some(request) = requests.recv().await {
            let (fatal, reply) = request.into_parts();
            if fatal {
                die();
            }
            let _ = reply.send(7);
        }
    };
    domain.spawn(c"server", server)?.detach();
    settle(&domain)?;
    Ok((domain, caller))
}

/// A coroutine of a `Bh` domain dies in the home thread: the machine lives. (Not on PREEMPT_RT.)
fn bh(log: &mut Log) -> Result {
    if cfg!(CONFIG_PREEMPT_RT) {
        return Ok(());
    }
    for _ in 0..3 {
        let (domain, caller) = bh_domain()?;
        let (parked, mut unanswered) = domain.call_mailbox::<u32, u32>()?;
        let keeper = async move {
            let _kept = unanswered.recv().await;
            forever().await;
        };
        domain.spawn(c"keeper", keeper)?.detach();
        check_eq!(log, caller.call(false), Ok(7));
        let waits = Worker::start(None, move || parked.call(1))?;
        check!(log, waits.sleeps());
        domain.spawn(c"dies", async { die() })?.detach();
        check_eq!(log, waits.join(LONG), Some(Err(EOWNERDEAD)));
        bh_ends(log, domain, &caller)?;
    }
    Ok(())
}

/// The same on the thread of a caller.
fn bh_under_caller(log: &mut Log) -> Result {
    if cfg!(CONFIG_PREEMPT_RT) {
        return Ok(());
    }
    for _ in 0..3 {
        let (domain, caller) = bh_domain()?;
        let c = caller.clone();
        let dies = Worker::start(None, move || c.call(true))?;
        check!(log, dies.dies());
        bh_ends(log, domain, &caller)?;
    }
    Ok(())
}
