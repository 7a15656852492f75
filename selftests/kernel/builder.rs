// SPDX-License-Identifier: GPL-2.0

//! What a domain is asked to be, it is, or there is none. Invariant 6: a domain that could not be
//! made leaves nothing behind (its name can be used again).

use crate::harness::*;
use crate::sys;
use coop_domain::prelude::*;
use kernel::bindings;
use kernel::prelude::*;

pub(crate) const TESTS: &[Test] = &[
    ("builder.wrong_values_are_refused", wrong_values),
    ("builder.names_are_unique", names),
    ("builder.cpu_is_kept", cpu_is_kept),
    ("builder.policy", policy),
    ("builder.large_mailboxes_come_and_go", large_mailboxes),
];

fn wrong_values(log: &mut Log) -> Result {
    let build = |name| Domain::builder(name, crate::owner());
    check_eq!(log, build(c"").build().map(drop), Err(EINVAL));
    check_eq!(log, build(c"a/b").build().map(drop), Err(EINVAL));
    check_eq!(log, build(c"..").build().map(drop), Err(EINVAL));
    for nice in [-21, 20, i32::MIN, i32::MAX] {
        let policy = Policy::Normal { nice };
        check_eq!(
            log,
            build(c"builder").policy(policy).build().map(drop),
            Err(EINVAL)
        );
    }
    for cpu in [sys::cpus(), 100_000, u32::MAX] {
        check_eq!(
            log,
            build(c"builder").cpu(cpu).build().map(drop),
            Err(EINVAL)
        );
    }
    check!(log, build(c"builder").build().is_ok());
    Ok(())
}

fn names(log: &mut Log) -> Result {
    let first = domain(c"builder")?;
    check_eq!(log, domain(c"builder").map(drop), Err(EEXIST));
    // The first is none the worse for it.
    check_eq!(log, run(&first, async { 1 })?, 1);
    drop(first);
    check!(log, domain(c"builder").is_ok());
    Ok(())
}

/// The home thread runs on its CPU and no other, from the first poll on.
fn cpu_is_kept(log: &mut Log) -> Result {
    for cpu in 0..sys::cpus() {
        let domain = domain_on(c"builder", cpu)?;
        for _ in 0..20 {
            let at = run(&domain, async {
                yield_now().await;
                (sys::cpu(), sys::may_migrate())
            })?;
            check_eq!(log, at, (cpu, false));
            sys::sleep_ms(1);
        }
    }
    let anywhere = domain(c"builder")?;
    let may = run(&anywhere, async { sys::may_migrate() })?;
    check_eq!(log, may, sys::cpus() > 1);
    Ok(())
}

/// Policy and nice level of the home thread, as the scheduler has them.
fn policy(log: &mut Log) -> Result {
    let seen = |policy| -> Result<(u32, i32)> {
        let domain = Domain::builder(c"builder", crate::owner())
            .policy(policy)
            .build()?;
        run(&domain, async {
            // SAFETY: The current thread is valid.
            unsafe {
                let task = bindings::get_current();
                ((*task).policy, (*task).static_prio - 120)
            }
        })
    };
    check_eq!(
        log,
        seen(Policy::Normal { nice: -5 })?,
        (bindings::SCHED_NORMAL, -5)
    );
    check_eq!(
        log,
        seen(Policy::Normal { nice: 19 })?,
        (bindings::SCHED_NORMAL, 19)
    );
    check_eq!(log, seen(Policy::Fifo)?.0, bindings::SCHED_FIFO);
    Ok(())
}

/// One too large for `kmalloc` sleeps when it is freed: the next one that is made does that for those
/// that have gone (and a kernel that checks such things would complain if it held a spinlock).
fn large_mailboxes(log: &mut Log) -> Result {
    let domain = domain(c"builder")?;
    let large = Capacity {
        task: 1 << 18,
        softirq: 0,
        hardirq: 0,
    };
    for i in 0..3 {
        let (tx, mut rx) = domain.mailbox_with::<[u64; 2]>(large)?;
        check!(log, tx.try_post([i, i]).is_ok());
        check_eq!(log, rx.try_recv(), Some([i, i]));
        drop(rx);
        drop(tx);
    }
    Ok(())
}
