// SPDX-License-Identifier: GPL-2.0

//! What may be done where (the table in DESIGN.md): a wrong context is an error, never a hang.
//! Invariants 1 (a domain's state is reached from inside only) and 7.

use crate::harness::*;
use crate::sys::{self, eventually, Where};
use coop_domain::prelude::*;
use kernel::prelude::*;
use kernel::sync::Arc;

pub(crate) const TESTS: &[Test] = &[
    ("contexts.call_needs_to_sleep", call),
    ("contexts.post_needs_to_sleep", post),
    ("contexts.try_post_and_signal_from_anywhere", from_anywhere),
    ("contexts.spawn", spawn),
    ("contexts.making_things_needs_to_sleep", making),
    (
        "contexts.coroutines_do_not_block_each_other",
        in_a_coroutine,
    ),
    ("contexts.cell_is_for_its_domain", cell),
    (
        "contexts.cell_in_an_interrupt_of_its_domain",
        cell_in_interrupt,
    ),
];

/// `call` where one must not sleep: an error at once, and nothing was sent.
fn call(log: &mut Log) -> Result {
    let domain = domain(c"contexts")?;
    let (tx, mut rx) = domain.call_mailbox::<u32, u32>()?;
    for at in sys::ATOMIC {
        check_eq!(log, sys::run_in(at, || tx.call(1)), Err(EAGAIN));
        check_eq!(log, sys::run_in(at, || tx.call_timeout(1, 10)), Err(EAGAIN));
        check_eq!(
            log,
            sys::run_in(at, || tx.call_uninterruptible(1)),
            Err(EAGAIN)
        );
    }
    check!(log, rx.try_recv().is_none());
    Ok(())
}

/// `post` where one must not sleep: the message comes back, even if there is room.
fn post(log: &mut Log) -> Result {
    let domain = domain(c"contexts")?;
    let (tx, mut rx) = domain.mailbox::<u32>()?;
    for at in sys::ATOMIC {
        let done = sys::run_in(at, || {
            tx.post(42)
                .map_err(|e| (e.kind(), e.errno(), e.into_inner()))
        });
        check_eq!(log, done, Err((PostErrorKind::Context, EAGAIN, 42)),);
    }
    check!(log, rx.try_recv().is_none());
    Ok(())
}

/// `try_post` and signals work from everywhere, and wake the receiver.
fn from_anywhere(log: &mut Log) -> Result {
    let domain = domain(c"contexts")?;
    let (tx, mut rx) = domain.mailbox::<u32>()?;
    let (signal, trace) = (signal()?, trace()?);
    let t = trace.clone();
    let taker = async move {
        while let Some(i) = rx.recv().await {
            t.add(i);
        }
    };
    domain.spawn(c"taker", taker)?.detach();
    let (s, t) = (signal.clone(), trace.clone());
    let waiter = async move {
        loop {
            s.wait().await;
            t.add(1000);
        }
    };
    domain.spawn(c"waiter", waiter)?.detach();
    let mut expected = KVec::new();
    for (i, at) in sys::ANY.into_iter().enumerate() {
        // Asleep, so that each has to wake it.
        run(&domain, yield_now())?;
        check_eq!(log, sys::run_in(at, || tx.try_post(i as u32).is_ok()), true);
        expected.push(i as u32, GFP_KERNEL)?;
        trace.is(log, &expected)?;
        sys::run_in(at, || signal.signal());
        expected.push(1000, GFP_KERNEL)?;
        trace.is(log, &expected)?;
    }
    Ok(())
}

/// Spawning works everywhere but in hard interrupts (`EWOULDBLOCK`; the future is dropped).
fn spawn(log: &mut Log) -> Result {
    let domain = domain(c"contexts")?;
    let count = count()?;
    for at in sys::ANY {
        let (value, handle) = (Counted::new(&count, 1), domain.handle());
        let spawned = sys::run_in(at, || {
            // All of it, not only its number.
            let whole = async move { drop(value) };
            handle.spawn(c"spawned", whole).map(|t| t.detach())
        });
        // With interrupts off in a thread, only the allocator could mind, and does not.
        let expected = if at == Where::HardIrq {
            Err(EAGAIN)
        } else {
            Ok(())
        };
        check!(log, spawned == expected, "{at:?}: {spawned:?}");
        check!(
            log,
            eventually(LONG, || count.is_even()),
            "{at:?}: {count:?}"
        );
    }
    // From coroutines: of the same domain and of another.
    let other = crate::harness::domain(c"other")?;
    for from in [&domain, &other] {
        let handle = domain.handle();
        let got = run(
            from,
            async move { handle.spawn(c"inner", async { 3 })?.await },
        )?;
        check_eq!(log, got, Ok(3));
    }
    Ok(())
}

/// Domains and mailboxes are not made where one must not sleep.
fn making(log: &mut Log) -> Result {
    let existing = domain(c"contexts")?;
    for at in sys::ATOMIC {
        let made = sys::run_in(at, || domain(c"other").map(core::mem::forget));
        check_eq!(log, made, Err(EAGAIN));
        let made = sys::run_in(at, || existing.mailbox::<u32>().map(core::mem::forget));
        check_eq!(log, made, Err(EAGAIN));
    }
    Ok(())
}

/// What would block a domain's thread is refused inside every coroutine: `EDEADLK`.
fn in_a_coroutine(log: &mut Log) -> Result {
    let (home, away) = (domain(c"contexts")?, domain(c"other")?);
    for from in [&home, &away] {
        let (caller, requests) = home.call_mailbox::<u32, u32>()?;
        let (tx, mut rx) = home.mailbox::<u32>()?;
        let (t, c) = (tx.clone(), caller.clone());
        let done = run(from, async move {
            (
                c.call(1),
                c.call_timeout(1, 10),
                c.call_uninterruptible(1),
                t.post(5).map_err(|e| (e.kind(), e.errno(), e.into_inner())),
            )
        })?;
        let refused = Err((PostErrorKind::Deadlock, EDEADLK, 5));
        check_eq!(
            log,
            done,
            (Err(EDEADLK), Err(EDEADLK), Err(EDEADLK), refused)
        );
        check!(log, rx.try_recv().is_none());
        drop(requests);
        // What does not wait, or awaits, works: the same message, to a coroutine of the domain.
        let t = tx.clone();
        let sent = run(from, async move {
            (t.try_post(6).is_ok(), t.send(7).await.is_ok())
        })?;
        check_eq!(log, sent, (true, true));
        check_eq!(log, (rx.try_recv(), rx.try_recv()), (Some(6), Some(7)));
    }
    Ok(())
}

/// A cell is reached from coroutines of its domain only, and lends its value once at a time.
fn cell(log: &mut Log) -> Result {
    let (home, away) = (domain(c"contexts")?, domain(c"other")?);
    let cell = Arc::new(home.cell(1u32), GFP_KERNEL)?;
    for at in sys::ANY {
        check_eq!(log, sys::run_in(at, || cell.with(|v| *v)), Err(EPERM));
    }
    let c = cell.clone();
    check_eq!(log, run(&away, async move { c.with(|v| *v) })?, Err(EPERM));
    let c = cell.clone();
    check_eq!(log, run(&home, async move { c.with(|v| *v) })?, Ok(1));
    let c = cell.clone();
    let nested = run(&home, async move {
        let inner = c.with(|v| {
            *v = 2;
            c.with(|v| *v = 3)
        });
        (inner, c.with(|v| *v))
    })?;
    check_eq!(log, nested, (Ok(Err(EBUSY)), Ok(2)));
    // While the domain is busy, a thread is still not inside.
    let held = Held::new(&home)?;
    check_eq!(log, cell.with(|v| *v), Err(EPERM));
    drop(held);
    Ok(())
}

/// An interrupt on top of a coroutine of the cell's domain is not inside, though its `current` is.
fn cell_in_interrupt(log: &mut Log) -> Result {
    let domain = domain(c"contexts")?;
    let cell = Arc::new(domain.cell(1u32), GFP_KERNEL)?;
    for at in [Where::Softirq, Where::HardIrq] {
        let (inside, stop) = (flag()?, flag()?);
        let (i, s, c) = (inside.clone(), stop.clone(), cell.clone());
        let on = Arc::new(core::sync::atomic::AtomicU32::new(0), GFP_KERNEL)?;
        let o = on.clone();
        let busy = domain.spawn(c"busy", async move {
            o.store(sys::cpu(), core::sync::atomic::Ordering::Release);
            let _ = c.with(|v| {
                i.set();
                while !s.is_set() {
                    core::hint::spin_loop();
                }
                *v += 1;
            });
        })?;
        check!(log, inside.wait());
        let cpu = on.load(core::sync::atomic::Ordering::Acquire);
        sys::move_to(other(cpu))?;
        let mut got = KVec::new();
        for _ in 0..20 {
            got.push(sys::run_in_on(at, cpu, || cell.with(|v| *v)), GFP_KERNEL)?;
        }
        stop.set();
        check!(log, ends(&busy));
        check!(log, got.iter().all(|g| *g == Err(EPERM)), "{at:?}: {got:?}");
    }
    Ok(())
}
