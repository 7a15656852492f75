// SPDX-License-Identifier: GPL-2.0

//! Groups of coroutines end, or are cancelled, as one.

use crate::harness::*;
use crate::sync::turns;
use coop_domain::prelude::*;
use core::sync::atomic::{AtomicU32, Ordering::*};
use kernel::prelude::*;
use kernel::sync::Arc;

pub(crate) const TESTS: &[Test] = &[
    ("group.waits_for_all", waits_for_all),
    ("group.wait_tells_of_an_abort", tells_of_an_abort),
    ("group.wait_goes_on", wait_goes_on),
    ("group.cancels_all", cancels_all),
    ("group.drop_aborts", drop_aborts),
    ("group.drop_detaches_if_asked", drop_detaches),
    ("group.restarts_by_name", restarts),
];

fn waits_for_all(log: &mut Log) -> Result {
    let domain = domain(c"group")?;
    let (handle, trace) = (domain.handle(), trace()?);
    let t = trace.clone();
    let result = run(&domain, async move {
        let mut group = Group::new(&handle);
        for n in 1..4 {
            let t = t.clone();
            group.spawn(c"child", async move {
                for _ in 0..n {
                    yield_now().await;
                }
                t.add(n);
            })?;
        }
        let result = group.wait().await;
        t.add(9);
        result
    })?;
    check_eq!(log, result, Ok(()));
    trace.is(log, &[1, 2, 3, 9])
}

fn tells_of_an_abort(log: &mut Log) -> Result {
    let domain = domain(c"group")?;
    let handle = domain.handle();
    let result = run(&domain, async move {
        let mut group = Group::new(&handle);
        group.spawn(c"ends", async {})?;
        group.spawn(c"waits", forever())?;
        yield_now().await;
        group.abort();
        group.wait().await
    })?;
    check_eq!(log, result, Err(ECANCELED));
    Ok(())
}

/// Cancel-safe: a wait that is dropped has not lost what it had learned.
fn wait_goes_on(log: &mut Log) -> Result {
    let domain = domain(c"group")?;
    let (handle, go) = (domain.handle(), signal()?);
    let result = run(&domain, async move {
        let mut group = Group::new(&handle);
        group.spawn(c"ends", async {})?;
        let g = go.clone();
        group.spawn(c"ends later", async move { g.wait().await })?;
        // It has seen the first one end when the second one keeps it waiting.
        let lost = select_biased(group.wait(), turns()).await;
        go.signal();
        Ok::<_, Error>((matches!(lost, Either::Second(())), group.wait().await))
    })??;
    check_eq!(log, result, (true, Ok(())));
    Ok(())
}

/// When `cancel` is over, nothing of theirs is left.
fn cancels_all(log: &mut Log) -> Result {
    let domain = domain(c"group")?;
    let (handle, count) = (domain.handle(), count()?);
    let c = count.clone();
    let left = run(&domain, async move {
        let mut group = Group::new(&handle);
        for _ in 0..3 {
            let owned = Counted::new(&c, 1);
            group.spawn(c"child", async move {
                let _owned = owned;
                forever().await;
            })?;
        }
        yield_now().await;
        let running = group.running();
        group.cancel().await;
        Ok::<_, Error>((running, c.made(), c.dropped()))
    })??;
    check_eq!(log, left, (3, 3, 3));
    Ok(())
}

fn leave_scope(log: &mut Log, detach: bool) -> Result<(usize, usize)> {
    let domain = domain(c"group")?;
    let (handle, count) = (domain.handle(), count()?);
    let c = count.clone();
    let spawned = run(&domain, async move {
        let group = Group::new(&handle);
        let mut group = if detach {
            group.detach_on_drop()
        } else {
            group
        };
        let owned = Counted::new(&c, 1);
        group.spawn(c"child", async move {
            let _owned = owned;
            forever().await;
        })
    })?;
    check_eq!(log, spawned, Ok(()));
    settle(&domain)?;
    Ok((count.made(), count.dropped()))
}

fn drop_aborts(log: &mut Log) -> Result {
    let found = leave_scope(log, false)?;
    check_eq!(log, found, (1, 1));
    Ok(())
}

fn drop_detaches(log: &mut Log) -> Result {
    let found = leave_scope(log, true)?;
    check_eq!(log, found, (1, 0));
    Ok(())
}

/// When `restart` is over, nothing of the old one is left.
fn restarts(log: &mut Log) -> Result {
    let domain = domain(c"group")?;
    let (handle, starts) = (domain.handle(), Arc::new(AtomicU32::new(0), GFP_KERNEL)?);
    let (s, count) = (starts.clone(), count()?);
    let result = run(&domain, async move {
        let mut group = Group::new(&handle);
        let c = count.clone();
        group.spawn_restartable(c"service", move || {
            let (s, owned) = (s.clone(), Counted::new(&c, 1));
            async move {
                let _owned = owned;
                s.fetch_add(1, Relaxed);
                forever().await;
            }
        })?;
        yield_now().await;
        group.restart(c"service").await?;
        let gone = count.dropped();
        yield_now().await;
        let missing = group.restart(c"nobody").await;
        Ok::<_, Error>((gone, group.running(), missing))
    })??;
    check_eq!(log, result, (1, 1, Err(ENOENT)));
    check_eq!(log, starts.load(Relaxed), 2);
    Ok(())
}
