// SPDX-License-Identifier: GPL-2.0

//! Invariant 1: between two awaits of a coroutine no other coroutine of its domain runs.

use crate::harness::*;
use crate::sys::{self, eventually, Where, Worker};
use coop_domain::prelude::*;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use kernel::prelude::*;
use kernel::sync::Arc;

pub(crate) const TESTS: &[Test] = &[
    ("atomicity.unprotected_counter", unprotected_counter),
    ("atomicity.whoever_runs_it", whoever_runs_it),
    ("atomicity.cell", cell),
    ("atomicity.ends_at_an_await", ends_at_an_await),
];

/// A counter that nothing protects: two halves that are the same unless somebody comes between.
struct Unprotected {
    halves: UnsafeCell<(u64, u64)>,
    inside: AtomicBool,
    torn: AtomicUsize,
}

// SAFETY: None. That coroutines of one domain do not run at once is what is tested.
unsafe impl Send for Unprotected {}
// SAFETY: As above.
unsafe impl Sync for Unprotected {}

impl Unprotected {
    fn new() -> Result<Arc<Self>> {
        Ok(Arc::new(
            Unprotected {
                halves: UnsafeCell::new((0, 0)),
                inside: AtomicBool::new(false),
                torn: AtomicUsize::new(0),
            },
            GFP_KERNEL,
        )?)
    }

    /// Adds one, in a way that loses counts if two do it at once.
    fn add(&self) {
        let halves = self.halves.get();
        // SAFETY: See the type.
        let (a, b) = unsafe { halves.read_volatile() };
        if self.inside.swap(true, Relaxed) || a != b {
            self.torn.fetch_add(1, Relaxed);
        }
        // SAFETY: See the type.
        unsafe {
            (&raw mut (*halves).0).write_volatile(a + 1);
            core::hint::spin_loop();
            (&raw mut (*halves).1).write_volatile(b + 1);
        }
        self.inside.store(false, Relaxed);
    }

    fn value(&self) -> (u64, u64) {
        // SAFETY: Read when the coroutines have ended.
        unsafe { self.halves.get().read_volatile() }
    }
}

/// A million turns of coroutines, woken by threads of all CPUs, of the domain itself and by
/// interrupts, share a counter without lock or atomic. None is lost, none torn.
fn unprotected_counter(log: &mut Log) -> Result {
    const PER_THREAD: u64 = 1_000_000 / 4;
    let domain = domain(c"atomicity")?;
    let counter = Unprotected::new()?;
    let mut receivers = KVec::new();
    let mut threads = KVec::new();
    for n in 0..4 {
        let (tx, mut rx) = domain.mailbox_with::<u32>(room(256))?;
        let c = counter.clone();
        let receiver = domain.spawn(c"adds", async move {
            while rx.recv().await.is_some() {
                c.add();
                if n % 2 == 0 {
                    // Interleave with the others after each message, not only when it is empty.
                    yield_now().await;
                }
            }
        })?;
        receivers.push(receiver, GFP_KERNEL)?;
        let cpu = n % sys::cpus();
        let thread = Worker::start(Some(cpu), move || {
            let mut sent = 0;
            while sent < PER_THREAD && !sys::should_stop() {
                // Some come from an interrupt of another CPU.
                if sent % 1024 < 16 && tx_from_irq(&tx, other(cpu)) {
                    sent += 1;
                    continue;
                }
                if tx.post(0).is_err() {
                    break;
                }
                sent += 1;
            }
            sent
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    for thread in threads {
        check_eq!(log, thread.join(6 * LONG), Some(PER_THREAD));
    }
    for receiver in &receivers {
        check!(log, ends(receiver));
    }
    check_eq!(log, counter.torn.load(Relaxed), 0);
    check_eq!(log, counter.value(), (4 * PER_THREAD, 4 * PER_THREAD));
    Ok(())
}

fn tx_from_irq(tx: &Sender<u32>, cpu: u32) -> bool {
    sys::run_in_on(Where::HardIrq, cpu, || tx.try_post(1).is_ok())
}

/// The same with callers of all CPUs that run the domain themselves, while the home thread has
/// coroutines that take turns, and others wake some from outside.
fn whoever_runs_it(log: &mut Log) -> Result {
    const CALLS: u64 = 150_000;
    const POSTS: u64 = 50_000;
    const TURNS: u64 = 200_000;
    let domain = domain(c"atomicity")?;
    let counter = Unprotected::new()?;
    let (caller, mut requests) = domain.call_mailbox::<u64, usize>()?;
    let c = counter.clone();
    let server = domain.spawn(c"serves", async move {
        while let Some(request) = requests.recv().await {
            let (q, reply) = request.into_parts();
            c.add();
            if q % 8 == 0 {
                yield_now().await;
            }
            let _ = reply.send(sys::me());
        }
    })?;
    let c = counter.clone();
    let turns = domain.spawn(c"turns", async move {
        for _ in 0..TURNS {
            c.add();
            yield_now().await;
        }
    })?;
    let (tx, mut rx) = domain.mailbox_with::<u64>(room(64))?;
    let c = counter.clone();
    let taker = domain.spawn(c"takes", async move {
        while rx.recv().await.is_some() {
            c.add();
        }
    })?;
    let mut threads = KVec::new();
    for n in 0..4 {
        let (caller, tx) = (caller.clone(), tx.clone());
        let cpu = n % sys::cpus();
        let thread = Worker::start(Some(cpu), move || {
            let (mut mine, me) = (0, sys::me());
            for i in 0..CALLS {
                match caller.call(i) {
                    Ok(by) if by == me => mine += 1,
                    Ok(_) => (),
                    Err(_) => return None,
                }
                if i % (CALLS / POSTS) == 0 && tx.post(i).is_err() {
                    return None;
                }
                if i % 256 == 0 {
                    sys::cond_resched();
                }
            }
            Some(mine)
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    drop((caller, tx));
    let mut mine = 0;
    for thread in threads {
        mine += thread.join(10 * LONG).flatten().ok_or(ETIME)?;
    }
    for task in [&server, &turns, &taker] {
        check!(log, ends(task));
    }
    check_eq!(log, counter.torn.load(Relaxed), 0);
    let all = 4 * (CALLS + POSTS) + TURNS;
    check_eq!(log, counter.value(), (all, all));
    // Otherwise this has shown nothing.
    let rounds = 4 * CALLS;
    check!(
        log,
        mine > 100 && mine < rounds,
        "{mine} of {rounds} by their callers"
    );
    Ok(())
}

/// The same through a [`DomainCell`], by short-lived coroutines that threads of all CPUs spawn.
fn cell(log: &mut Log) -> Result {
    const PER_THREAD: u64 = 20_000;
    let domain = domain(c"atomicity")?;
    let cell = Arc::new(domain.cell((0u64, 0u64)), GFP_KERNEL)?;
    let refused = Arc::new(AtomicUsize::new(0), GFP_KERNEL)?;
    let mut threads = KVec::new();
    for n in 0..4 {
        let (handle, cell, refused) = (domain.handle(), cell.clone(), refused.clone());
        let thread = Worker::start(Some(n % sys::cpus()), move || {
            for _ in 0..PER_THREAD {
                let (cell, refused) = (cell.clone(), refused.clone());
                let spawned = handle.spawn(c"adds", async move {
                    for _ in 0..2 {
                        let done = cell.with(|(a, b)| {
                            let old = *a;
                            core::hint::spin_loop();
                            *a = old + 1;
                            *b += 1;
                        });
                        if done.is_err() {
                            refused.fetch_add(1, Relaxed);
                        }
                        yield_now().await;
                    }
                });
                match spawned {
                    Ok(task) => task.detach(),
                    Err(_) => return false,
                }
                if sys::should_stop() {
                    return false;
                }
            }
            true
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    for thread in threads {
        check_eq!(log, thread.join(6 * LONG), Some(true));
    }
    let expected = (8 * PER_THREAD, 8 * PER_THREAD);
    let mut value = (0, 0);
    let arrived = eventually(LONG, || {
        let cell = cell.clone();
        value = run(&domain, async move { cell.with(|v| *v) })
            .and_then(|v| v)
            .unwrap_or((0, 0));
        value == expected
    });
    check!(log, arrived, "{value:?}, not {expected:?}");
    check_eq!(log, refused.load(Relaxed), 0);
    Ok(())
}

/// The counter-proof, that the tests above would notice: with an await in the middle, counts do
/// get lost, as they have to.
fn ends_at_an_await(log: &mut Log) -> Result {
    let domain = domain(c"atomicity")?;
    let cell = Arc::new(domain.cell(0u32), GFP_KERNEL)?;
    let mut tasks = KVec::new();
    let held = Held::new(&domain)?;
    for _ in 0..2 {
        let cell = cell.clone();
        let task = domain.spawn(c"adds", async move {
            for _ in 0..100 {
                let old = cell.with(|v| *v)?;
                yield_now().await;
                cell.with(|v| *v = old + 1)?;
            }
            Ok::<(), Error>(())
        })?;
        tasks.push(task, GFP_KERNEL)?;
    }
    drop(held);
    for task in &tasks {
        check!(log, ends(task));
    }
    check_eq!(
        log,
        run(&domain, async move { cell.with(|v| *v) })?,
        Ok(100)
    );
    Ok(())
}
