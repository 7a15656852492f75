// SPDX-License-Identifier: GPL-2.0

//! Choosing among futures, and awaiting all of them. Invariant 2: the loser loses nothing.

use crate::harness::*;
use crate::sys::{self, eventually};
use crate::time::{ms, us};
use coop_domain::prelude::*;
use coop_domain::{join, join3, join4, join_all, select};
use core::future::{pending, ready};
use core::pin::pin;
use core::sync::atomic::{AtomicU32, Ordering::*};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::{Delta, Instant, Monotonic};

pub(crate) const TESTS: &[Test] = &[
    ("select.first_that_is_ready", first),
    ("select.macro", by_macro),
    ("select.fair", fair),
    ("select.biased", biased),
    ("select.slice", slice),
    ("select.losers_are_dropped_first", losers),
    ("select.join", joins),
    ("select.join_all", join_alls),
    ("select.join_dropped", join_dropped),
    ("select.loses_no_message", no_message),
    ("select.loses_no_message_of_a_sender_that_waits", no_sent),
    ("select.loses_no_signal", no_signal),
    ("select.loses_no_reply", no_reply),
    ("select.loses_no_request", no_request),
    ("select.loses_no_join", no_join),
    ("select.loses_no_time", no_time),
    ("select.loses_no_turn", no_turn),
];

/// Two, three, four: whichever is ready.
fn first(log: &mut Log) -> Result {
    let domain = domain(c"select")?;
    run(&domain, async {
        let never = || pending::<u32>();
        check2(select(ready(1), never()).await == Either::First(1))?;
        check2(select(never(), ready('2')).await == Either::Second('2'))?;
        check2(select3(never(), never(), ready("3")).await == Either3::Third("3"))?;
        check2(select3(never(), ready(()), never()).await == Either3::Second(()))?;
        check2(select4(never(), never(), never(), ready(4)).await == Either4::Fourth(4))?;
        check2(select4(never(), never(), ready(3), never()).await == Either4::Third(3))?;
        check2(matches!(
            select(sleep(ms(1)), sleep(Delta::from_secs(1_000))).await,
            Either::First(())
        ))
    })?
    .inspect_err(|_| log.line(core::format_args!("the wrong one")))
}

/// Inside a coroutine.
fn check2(so: bool) -> Result {
    if so {
        Ok(())
    } else {
        Err(EIO)
    }
}

/// Branches await, break, return, use `?` and what the losers had borrowed.
fn by_macro(log: &mut Log) -> Result {
    let domain = domain(c"select")?;
    let (tx, mut rx) = domain.mailbox::<u32>()?;
    for i in 0..10 {
        tx.try_post(i).map_err(|e| e.errno())?;
    }
    drop(tx);
    let result = run(&domain, async move {
        let (mut sum, mut ticks) = (0, 0);
        let end = loop {
            select! {
                message = rx.recv() => match message {
                    // The loser had borrowed nothing of this any more.
                    Some(n) if n < 5 => sum += n,
                    Some(n) => {
                        let m = rx.recv().await.unwrap_or(0);
                        sum += n + m;
                    }
                    None => break "closed",
                },
                () = sleep(us(1)) => ticks += 1,
                () = pending::<()>() => return Err(EIO),
            }
        };
        let last = select! { biased; a = ready(7u32) => a, b = ready(8u32) => b };
        let n = select! { r = ready(Err::<u32, Error>(EIO)) => r.unwrap_or(1) };
        core::hint::black_box(ticks);
        Ok::<_, Error>((sum, end, last, n))
    })??;
    check_eq!(log, result, (45, "closed", 7, 1));
    Ok(())
}

/// Both are always ready: each is chosen about as often; of three, too.
fn fair(log: &mut Log) -> Result {
    let domain = domain(c"select")?;
    let (two, three) = run(&domain, async {
        let (mut two, mut three) = ([0u32; 2], [0u32; 3]);
        for _ in 0..3_000 {
            match select(ready(()), ready(())).await {
                Either::First(()) => two[0] += 1,
                Either::Second(()) => two[1] += 1,
            }
            select! {
                () = ready(()) => three[0] += 1,
                () = ready(()) => three[1] += 1,
                () = ready(()) => three[2] += 1,
            }
        }
        (two, three)
    })?;
    check!(
        log,
        two.iter().all(|n| (1_300..1_700).contains(n)),
        "{two:?}"
    );
    check!(
        log,
        three.iter().all(|n| (800..1_200).contains(n)),
        "{three:?}"
    );
    Ok(())
}

/// The first one, always.
fn biased(log: &mut Log) -> Result {
    let domain = domain(c"select")?;
    let wrong = run(&domain, async {
        let mut wrong = 0;
        for _ in 0..1_000 {
            if select_biased(ready(()), ready(())).await != Either::First(()) {
                wrong += 1;
            }
        }
        wrong
    })?;
    check_eq!(log, wrong, 0);
    Ok(())
}

/// Many of one type: whichever is ready, and of those that are, any.
fn slice(log: &mut Log) -> Result {
    let domain = domain(c"select")?;
    let (order, chosen) = run(&domain, async {
        let start = Instant::<Monotonic>::now();
        // One that comes, also where that is seen late, and two that do not.
        let far = 1_000_000;
        let mut sleeps = pin!([far, 10, far].map(|n| sleep_until(start + ms(n))));
        let (first, ()) = select_slice(sleeps.as_mut()).await;
        let mut readies = [ready(0), ready(1), ready(2), ready(3)];
        let mut chosen = 0;
        for _ in 0..200 {
            let mut copies = readies.clone();
            let (i, n) = select_slice(Pin::new(copies.as_mut_slice())).await;
            if i == n {
                chosen |= 1u32 << i;
            }
        }
        readies = readies.map(|_| ready(0));
        drop(readies);
        (first, chosen)
    })?;
    check_eq!(log, order, 1);
    check_eq!(log, chosen, 0b1111);
    Ok(())
}

/// When the winner's branch runs, the losers are gone.
fn losers(log: &mut Log) -> Result {
    let domain = domain(c"select")?;
    let count = count()?;
    let c = count.clone();
    let even = run(&domain, async move {
        let (a, b) = (Counted::new(&c, 0), Counted::new(&c, 0));
        select! {
            () = async { forever().await; drop(a) } => false,
            () = async { yield_now().await; drop(b) } => c.is_even(),
        }
    })?;
    check!(log, even, "{count:?}");
    Ok(())
}

/// All of two, three, four, ready at different times.
fn joins(log: &mut Log) -> Result {
    let domain = domain(c"select")?;
    let (two, three, four) = run(&domain, async {
        let after = |n: i64| async move {
            sleep(us(n * 100)).await;
            n
        };
        (
            join(after(3), ready('x')).await,
            join3(after(3), after(1), after(2)).await,
            join4(after(1), after(2), ready(3), after(4)).await,
        )
    })?;
    check_eq!(log, two, (3, 'x'));
    check_eq!(log, three, (3, 1, 2));
    check_eq!(log, four, (1, 2, 3, 4));
    Ok(())
}

/// All of many.
fn join_alls(log: &mut Log) -> Result {
    let domain = domain(c"select")?;
    let sum = run(&domain, async {
        let sleepers = (0..50u32).map(|n| async move {
            sleep(us(i64::from(n * 7 % 50) * 20)).await;
            n
        });
        let outputs = join_all(sleepers)?.await;
        let sorted = outputs.iter().copied().eq(0..50);
        let none = join_all((0..0).map(|_| ready(0)))?.await;
        Ok::<_, Error>((outputs.len(), sorted, none.len()))
    })??;
    check_eq!(log, sum, (50, true, 0));
    Ok(())
}

/// Given up half-way: futures and outputs are gone.
fn join_dropped(log: &mut Log) -> Result {
    let domain = domain(c"select")?;
    let count = count()?;
    let c = count.clone();
    let result = run(&domain, async move {
        let (a, b) = (Counted::new(&c, 0), Counted::new(&c, 0));
        let endless = async move {
            forever().await;
            b
        };
        timeout(ms(1), join(ready(a), endless)).await.map(drop)
    })?;
    check_eq!(log, result, Err(ETIMEDOUT));
    check!(log, count.is_even(), "{count:?}");
    Ok(())
}

const MANY: u32 = 2_000;

/// Messages, received in a `select` whose other branch is ready every other time.
fn no_message(log: &mut Log) -> Result {
    let domain = domain_on(c"select", 0)?;
    let (tx, mut rx) = domain.mailbox::<u32>()?;
    let lost = Arc::new(AtomicU32::new(0), GFP_KERNEL)?;
    let l = lost.clone();
    let receiver = async move {
        let mut next = 0;
        loop {
            match select(rx.recv(), yield_now()).await {
                Either::First(Some(n)) if n == next => next += 1,
                Either::First(_) => return next,
                Either::Second(()) => {
                    l.fetch_add(1, Release);
                }
            }
        }
    };
    let handle = domain.spawn(c"receiver", receiver)?;
    sys::move_to(other(0))?;
    for i in 0..MANY {
        if i % 100 == 0 {
            // It has taken them all, and waits.
            let before = lost.load(Acquire);
            check!(log, eventually(LONG, || lost.load(Acquire) > before));
        }
        tx.post(i).map_err(|e| e.errno())?;
    }
    drop(tx);
    check_eq!(log, join_handle(handle)??, MANY);
    Ok(())
}

/// Joins from another domain.
fn join_handle<T: Send + 'static>(handle: JoinHandle<T>) -> Result<Result<T>> {
    crate::harness::join(handle)
}

/// A `send` that loses while it waits for room has sent nothing; one that wins has. All that won
/// arrive, once.
fn no_sent(log: &mut Log) -> Result {
    let (one, two) = (domain(c"select a")?, domain(c"select b")?);
    let (tx, mut rx) = one.mailbox_with::<u32>(room(2))?;
    let receiver = one.spawn(c"receiver", async move {
        let mut seen = KVec::new();
        while let Some(n) = rx.recv().await {
            seen.push(n, GFP_KERNEL)?;
            if n % 16 == 0 {
                sleep(us(50)).await;
            }
        }
        Ok::<_, Error>(seen)
    })?;
    let sender = two.spawn(c"sender", async move {
        let mut sent = KVec::new();
        for n in 0..MANY {
            match select(tx.send(n), yield_now()).await {
                Either::First(result) => {
                    result.map_err(|e| e.errno())?;
                    sent.push(n, GFP_KERNEL)?;
                }
                Either::Second(()) => (),
            }
        }
        Ok::<_, Error>(sent)
    })?;
    let sent = join_handle(sender)???;
    let seen = join_handle(receiver)???;
    check!(
        log,
        sent.as_slice() == seen.as_slice(),
        "{} sent, {} seen",
        sent.len(),
        seen.len()
    );
    check!(log, !sent.is_empty());
    Ok(())
}

/// A signal that is given when the wait has just lost is there for the next one.
fn no_signal(log: &mut Log) -> Result {
    let domain = domain_on(c"select", 0)?;
    let (signal, seen) = (signal()?, Arc::new(AtomicU32::new(0), GFP_KERNEL)?);
    let (s, n) = (signal.clone(), seen.clone());
    let waiter = async move {
        let mut won = 0;
        while won < MANY {
            if let Either::First(()) = select(s.wait(), yield_now()).await {
                won += 1;
                n.store(won, Release);
            }
        }
    };
    let handle = domain.spawn(c"waiter", waiter)?;
    sys::move_to(other(0))?;
    for i in 1..=MANY {
        signal.signal();
        // The next one only when this one was seen: one that is lost stops it.
        let mut spins = 0u32;
        while seen.load(Acquire) != i && spins < 1_000_000 {
            spins += 1;
            if spins % 256 == 0 {
                sys::cond_resched();
            }
        }
        check!(
            log,
            eventually(LONG, || seen.load(Acquire) == i),
            "signal {i} was lost"
        );
    }
    check!(log, ends(&handle));
    Ok(())
}

/// An `ask` that loses is a call that nobody waits for; one that is kept, by reference, gets its
/// answer however often it has lost.
fn no_reply(log: &mut Log) -> Result {
    let (one, two) = (domain(c"select a")?, domain(c"select b")?);
    let (caller, mut requests) = one.call_mailbox::<u32, u32>()?;
    let server = async move {
        let mut abandoned = 0;
        while let Some(request) = requests.recv().await {
            let (n, reply) = request.into_parts();
            sleep(us(20)).await;
            abandoned += u32::from(reply.send(n + 1).is_err());
        }
        abandoned
    };
    let server = one.spawn(c"server", server)?;
    let (right, dropped) = run(&two, async move {
        let (mut right, mut dropped) = (0, 0);
        for i in 0..200 {
            let mut ask = pin!(caller.ask(i));
            loop {
                match select(ask.as_mut(), yield_now()).await {
                    Either::First(answer) => break right += u32::from(answer == Ok(i + 1)),
                    Either::Second(()) => (),
                }
            }
            // Sent, then given up.
            let ask = caller.ask(i);
            if select_biased(ask, yield_now()).await == Either::Second(()) {
                dropped += 1;
            }
        }
        (right, dropped)
    })?;
    check_eq!(log, right, 200);
    let abandoned = join_handle(server)??;
    check!(log, abandoned <= dropped, "{abandoned} of {dropped}");
    Ok(())
}

/// A receiver of requests that loses loses no request: each call is answered.
fn no_request(log: &mut Log) -> Result {
    let domain = domain_on(c"select", 0)?;
    let (caller, mut requests) = domain.call_mailbox::<u32, u32>()?;
    let server = async move {
        loop {
            match select(requests.recv(), yield_now()).await {
                Either::First(Some(request)) => {
                    let (n, reply) = request.into_parts();
                    let _ = reply.send(n + 1);
                }
                Either::First(None) => break,
                Either::Second(()) => (),
            }
        }
    };
    domain.spawn(c"server", server)?.detach();
    sys::move_to(other(0))?;
    for i in 0..MANY {
        check_eq!(log, caller.call_timeout(i, LONG)?, i + 1);
        if i % 2 == 0 {
            check_eq!(log, caller.call_by_home(i)?, i + 1);
        }
    }
    Ok(())
}

/// A handle whose await has lost still has its output.
fn no_join(log: &mut Log) -> Result {
    let domain = domain(c"select")?;
    let (inner, count) = (domain.handle(), count()?);
    let c = count.clone();
    let result = run(&domain, async move {
        let mut lost = 0;
        for i in 0..200 {
            let value = Counted::new(&c, i);
            let mut handle = inner.spawn(c"child", async move {
                sleep(us(30)).await;
                value
            })?;
            let value = loop {
                match select(&mut handle, yield_now()).await {
                    Either::First(output) => break output?,
                    Either::Second(()) => lost += 1,
                }
            };
            if value.value != i {
                return Err(EIO);
            }
        }
        Ok(lost)
    })?;
    check!(log, result? > 0);
    check!(log, count.is_even(), "{count:?}");
    Ok(())
}

/// A sleep that has lost many times is over when it was to be; a tick that was not returned is
/// returned later; a time-out that has lost has left its future alone.
fn no_time(log: &mut Log) -> Result {
    let domain = domain(c"select")?;
    // Only a sleep that was not over when it was asked first has lost.
    for n in [20, 400, 6_400] {
        let (took, lost) = run(&domain, async move {
            let start = Instant::<Monotonic>::now();
            let mut sleep = pin!(sleep(ms(n)));
            let mut lost = 0;
            while select(sleep.as_mut(), yield_now()).await == Either::Second(()) {
                lost += 1;
            }
            (start.elapsed(), lost)
        })?;
        check!(log, took >= ms(n), "{took:?} instead of {n} ms");
        if lost > 0 {
            break;
        }
        check!(log, n < 6_400, "it has never lost");
    }
    let ticks = run(&domain, async {
        let mut interval = interval(ms(2)).missed(Missed::Burst);
        let first = interval.tick().await;
        let mut due = [0; 5];
        for due in &mut due {
            *due = loop {
                if let Either::First(tick) = select(interval.tick(), yield_now()).await {
                    break (tick - first).as_nanos() / 1_000_000;
                }
            };
        }
        due
    })?;
    check_eq!(log, ticks, [2, 4, 6, 8, 10]);
    let signal = signal()?;
    let s = signal.clone();
    let result = run(&domain, async move {
        let lost = timeout(us(1), s.wait()).await;
        s.signal();
        (lost, timeout(ms(10_000), s.wait()).await)
    })?;
    check_eq!(log, result, (Err(ETIMEDOUT), Ok(())));
    Ok(())
}

/// A `yield_now` that loses leaves nothing behind: who yielded is not polled for ever.
fn no_turn(log: &mut Log) -> Result {
    let domain = domain(c"select")?;
    run(&domain, async {
        for _ in 0..100 {
            let _ = select_biased(ready(()), yield_now()).await;
            let _ = select_biased(yield_now(), ready(())).await;
        }
    })?;
    settle(&domain)?;
    let before = domain.stats().polls();
    sys::sleep_ms(20);
    check_eq!(log, domain.stats().polls(), before);
    Ok(())
}
