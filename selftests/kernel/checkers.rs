// SPDX-License-Identifier: GPL-2.0

//! Mistakes of drivers that the kernel's own checkers are to report, where it has them
//! (`KERNEL=uml-debug`). Each of these tests passes by making one; `selftests/checkers/` looks for
//! what was said about it. Nothing waits for ever, as each happens on one thread: that it could is
//! for the checkers to say.

use crate::bh::bh_domain;
use crate::harness::*;
use coop_domain::prelude::*;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};

pub(crate) const TESTS: &[Test] = &[
    ("checkers.locks_the_wrong_way_round", inversion),
    ("checkers.domains_in_a_circle", circle),
    (
        "checkers.a_domain_that_takes_what_its_callers_hold",
        own_lock,
    ),
    ("checkers.a_sender_that_holds_what_the_receiver_takes", full),
    ("checkers.an_owner_that_holds_what_its_domain_takes", end),
    ("checkers.a_bh_coroutine_that_sleeps", sleeps),
];

/// A domain that takes `lock` for each call.
fn locking(name: &CStr, lock: &Arc<Mutex<u32>>) -> Result<(Domain, Caller<(), u32>)> {
    let domain = domain(name)?;
    let (caller, mut requests) = domain.call_mailbox::<(), u32>()?;
    let lock = lock.clone();
    let server = async move {
        while let Some(request) = requests.recv().await {
            let value = *lock.lock();
            let _ = request.into_parts().1.send(value);
        }
    };
    domain.spawn(c"locking", server)?.detach();
    settle(&domain)?;
    Ok((domain, caller))
}

/// No domain is in it: whether there is a checker at all.
fn inversion(log: &mut Log) -> Result {
    let ours = Arc::pin_init(new_mutex!(1u32, "coop_test_ours"), GFP_KERNEL)?;
    let theirs = Arc::pin_init(new_mutex!(2u32, "coop_test_theirs"), GFP_KERNEL)?;
    {
        let held = ours.lock();
        check_eq!(log, *theirs.lock() - *held, 1);
    }
    let held = theirs.lock();
    check_eq!(log, *held - *ours.lock(), 1);
    Ok(())
}

/// Two domains, each called by somebody who holds what the other one's coroutine takes.
fn circle(log: &mut Log) -> Result {
    let ours = Arc::pin_init(new_mutex!(1u32, "coop_test_ours"), GFP_KERNEL)?;
    let theirs = Arc::pin_init(new_mutex!(2u32, "coop_test_theirs"), GFP_KERNEL)?;
    let (_a, call_a) = locking(c"circle-a", &ours)?;
    let (_b, call_b) = locking(c"circle-b", &theirs)?;
    // Each takes its lock before anybody holds one.
    check_eq!(log, call_a.call(()), Ok(1));
    check_eq!(log, call_b.call(()), Ok(2));
    // By the home threads: what is run inline lockdep sees for itself.
    {
        let _held = ours.lock();
        check_eq!(log, call_b.call_by_home(()), Ok(2));
    }
    let _held = theirs.lock();
    check_eq!(log, call_a.call_by_home(()), Ok(1));
    Ok(())
}

/// One domain, and one lock: an inline call with the lock held that does not happen to need it.
fn own_lock(log: &mut Log) -> Result {
    let lock = Arc::pin_init(new_mutex!(0u32, "coop_test_ours"), GFP_KERNEL)?;
    let domain = domain(c"own-lock")?;
    let (caller, mut requests) = domain.call_mailbox::<bool, u32>()?;
    let inside = lock.clone();
    let server = async move {
        while let Some(request) = requests.recv().await {
            let (needed, reply) = request.into_parts();
            let _ = reply.send(if needed { *inside.lock() } else { 1 });
        }
    };
    domain.spawn(c"server", server)?.detach();
    settle(&domain)?;
    check_eq!(log, caller.call(true), Ok(0));
    let _held = lock.lock();
    check_eq!(log, caller.call(false), Ok(1));
    Ok(())
}

/// There is room, this time.
fn full(log: &mut Log) -> Result {
    let lock = Arc::pin_init(new_mutex!(0u32, "coop_test_ours"), GFP_KERNEL)?;
    let domain = domain(c"full")?;
    let (sender, mut receiver) = domain.mailbox::<u32>()?;
    let (inside, done) = (lock.clone(), flag()?);
    let inside_done = done.clone();
    let receive = async move {
        while let Some(value) = receiver.recv().await {
            *inside.lock() += value;
            inside_done.set();
        }
    };
    domain.spawn(c"receive", receive)?.detach();
    check!(log, sender.post(1).is_ok());
    check!(log, done.wait());
    let _held = lock.lock();
    check!(log, sender.post(1).is_ok());
    Ok(())
}

/// The domain ends with the lock held.
fn end(log: &mut Log) -> Result {
    let lock = Arc::pin_init(new_mutex!(1u32, "coop_test_ours"), GFP_KERNEL)?;
    let (domain, caller) = locking(c"end", &lock)?;
    check_eq!(log, caller.call(()), Ok(1));
    let _held = lock.lock();
    drop(domain);
    Ok(())
}

/// What sleeps outside of an await in a domain whose coroutines run with bottom halves off.
fn sleeps(log: &mut Log) -> Result {
    let domain = bh_domain(c"sleeper")?;
    let lock = Arc::pin_init(new_mutex!(3u32), GFP_KERNEL)?;
    let done = flag()?;
    let (inside, inside_done) = (lock.clone(), done.clone());
    // Not contended, so that nobody is switched to with bottom halves off.
    let task = async move {
        core::hint::black_box(*inside.lock());
        inside_done.set();
    };
    domain.spawn(c"sleeps", task)?.detach();
    check!(log, done.wait());
    Ok(())
}
