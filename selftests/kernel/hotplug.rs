// SPDX-License-Identifier: GPL-2.0

//! A CPU goes and comes back: `hotplug.sh` switches it, these see to it that nobody minds.
//! Invariants 2 and 3: messages in the rings of a CPU that is gone arrive, in order, and a home
//! thread that was bound to it is still woken.

use crate::harness::*;
use crate::sys::{self, Where, Worker};
use coop_domain::prelude::*;
use core::sync::atomic::{AtomicU32, Ordering::*};
use kernel::prelude::*;
use kernel::sync::{global_lock, Arc};

pub(crate) const TESTS: &[Test] = &[
    ("hotplug.fill", fill),
    ("hotplug.drain", drain),
    ("hotplug.traffic", traffic),
    ("hotplug.traffic_ends", traffic_ends),
];

/// The CPU that goes.
const CPU: u32 = 1;
/// Messages of each kind of context.
const EACH: u32 = 10;

/// A domain whose home is the CPU that goes.
struct Kept {
    domain: Domain,
    tx: Sender<u32>,
    caller: Caller<u32, u32>,
    go: Arc<Signal>,
    trace: Arc<Trace>,
}

/// Threads that go on while CPUs come and go.
struct Busy {
    domain: Domain,
    threads: KVec<Worker<bool>>,
    rounds: Arc<AtomicU32>,
}

#[derive(Default)]
struct State {
    kept: Option<Kept>,
    busy: Option<Busy>,
}

global_lock! {
    // SAFETY: Initialised in the module's initialiser, before first use.
    unsafe(uninit) static STATE: Mutex<State> = State { kept: None, busy: None };
}

/// # Safety
///
/// Called once, before any other function here.
pub(crate) unsafe fn init() {
    // SAFETY: Per the function's contract.
    unsafe { STATE.init() }
}

/// Called when the module goes.
pub(crate) fn exit() {
    let state = core::mem::take(&mut *STATE.lock());
    drop(state);
}

/// Fills the rings of the CPU, whose messages nobody takes yet.
fn fill(log: &mut Log) -> Result {
    let domain = domain_on(c"hotplug", CPU)?;
    let (tx, mut rx) = domain.mailbox_with::<u32>(room(16))?;
    let (caller, mut requests) = domain.call_mailbox::<u32, u32>()?;
    let (go, trace) = (signal()?, trace()?);
    let (g, t) = (go.clone(), trace.clone());
    let taker = async move {
        g.wait().await;
        while let Some(i) = rx.recv().await {
            t.add(i);
        }
    };
    domain.spawn(c"taker", taker)?.detach();
    let server = async move {
        while let Some(request) = requests.recv().await {
            let (q, reply) = request.into_parts();
            let _ = reply.send(q + 1);
        }
    };
    domain.spawn(c"server", server)?.detach();
    check_eq!(log, run(&domain, async { sys::cpu() })?, CPU);
    sys::move_to(CPU)?;
    for (kind, at) in [Where::Task, Where::Softirq, Where::HardIrq]
        .into_iter()
        .enumerate()
    {
        for i in 0..EACH {
            let message = kind as u32 * 100 + i;
            check!(log, sys::run_in(at, || tx.try_post(message).is_ok()));
        }
    }
    let kept = Kept {
        domain,
        tx,
        caller,
        go,
        trace,
    };
    STATE.lock().kept = Some(kept);
    Ok(())
}

/// The CPU is gone, or back: all messages arrive, in each sender's order, and the domain works.
fn drain(log: &mut Log) -> Result {
    let kept = STATE.lock().kept.take().ok_or(ENOENT)?;
    kept.go.signal();
    let total = 3 * EACH;
    let arrived = sys::eventually(LONG, || kept.trace.len() == total as usize);
    check!(log, arrived, "{} of {total}", kept.trace.len());
    for kind in 0..3 {
        let mut expected = kind * 100;
        for event in kept.trace.events() {
            if event / 100 == kind {
                check_eq!(log, event, expected);
                expected += 1;
            }
        }
        check_eq!(log, expected, kind * 100 + EACH);
    }
    for i in 0..100 {
        check_eq!(log, kept.caller.call(i), Ok(i + 1));
        check_eq!(log, kept.caller.call_timeout(i, LONG), Ok(i + 1));
        check!(log, kept.tx.post(1000 + i).is_ok());
    }
    let arrived = sys::eventually(LONG, || kept.trace.len() == total as usize + 100);
    check!(log, arrived, "{} of {}", kept.trace.len(), total + 100);
    drop(kept.domain);
    Ok(())
}

/// Begins to call and post from everywhere.
fn traffic(log: &mut Log) -> Result {
    let domain = domain(c"hotplug")?;
    let (tx, mut rx) = domain.mailbox_with::<u32>(room(4))?;
    let (caller, mut requests) = domain.call_mailbox::<u32, u32>()?;
    let taker = async move { while rx.recv().await.is_some() {} };
    domain.spawn(c"taker", taker)?.detach();
    let server = async move {
        while let Some(request) = requests.recv().await {
            let (q, reply) = request.into_parts();
            let _ = reply.send(q + 1);
        }
    };
    domain.spawn(c"server", server)?.detach();
    let rounds = Arc::new(AtomicU32::new(0), GFP_KERNEL)?;
    let mut threads = KVec::new();
    for _ in 0..3 {
        let (tx, caller, r) = (tx.clone(), caller.clone(), rounds.clone());
        let thread = Worker::start(None, move || {
            let mut i = 0;
            while !sys::should_stop() {
                let called = caller.call(i);
                let ok = called == Ok(i + 1) && tx.post(i).is_ok();
                if !ok && !sys::should_stop() {
                    return false;
                }
                i += 1;
                r.fetch_add(1, Relaxed);
                sys::cond_resched();
            }
            true
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    check!(log, sys::eventually(LONG, || rounds.load(Relaxed) > 100));
    let busy = Busy {
        domain,
        threads,
        rounds,
    };
    STATE.lock().busy = Some(busy);
    Ok(())
}

/// They are all still at it, and have seen no error.
fn traffic_ends(log: &mut Log) -> Result {
    let busy = STATE.lock().busy.take().ok_or(ENOENT)?;
    let now = busy.rounds.load(Relaxed);
    let go_on = || busy.rounds.load(Relaxed) > now.wrapping_add(100);
    check!(log, sys::eventually(LONG, go_on), "stopped after {now}");
    for thread in busy.threads {
        thread.kill();
        check_eq!(log, thread.join(LONG), Some(true));
    }
    drop(busy.domain);
    Ok(())
}
