// SPDX-License-Identifier: GPL-2.0

//! What belongs to a domain, in the hands of others: an error, or the domain does it; no race.
//! Invariant 1 (atomicity).

use crate::harness::*;
use crate::sync::{share, turns};
use crate::sys::{self, Worker};
use coop_domain::prelude::*;
use coop_domain::sync::*;
use core::future::{poll_fn, Future};
use core::pin::{pin, Pin};
use core::task::{Context, Poll, Waker};
use kernel::prelude::*;
use kernel::sync::Arc;

pub(crate) const TESTS: &[Test] = &[
    ("sync.outside_nothing_is_touched", refused),
    ("sync.outside_in_another_domain", refused_elsewhere),
    ("sync.outside_a_waiting_future_is_dropped", waiting_dropped),
    ("sync.outside_a_chosen_future_is_dropped", chosen_dropped),
    ("sync.outside_a_guard_is_dropped", guard_dropped),
    ("sync.outside_after_the_end_of_the_domain", after_the_end),
    ("sync.outside_drops_race_with_the_domain", races),
];

/// Whether the future says that it is not to be polled here.
fn refuses(future: Pin<&mut impl Future<Output = Result>>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(Err(EPERM))
}

fn refused(log: &mut Log) -> Result {
    let domain = domain(c"sync")?;
    let d = domain.handle();
    let (s, m, l) = (
        Semaphore::new(&d, 1),
        Mutex::new(&d, ()),
        RwLock::new(&d, ()),
    );
    let (e, n, v) = (Event::new(&d), Notify::new(&d), Condvar::new(&d));
    let (c, w) = (Channel::<u32>::new(&d, 1)?, Watch::new(&d, 0));
    for at in sys::ANY {
        let errors = sys::run_in(at, || {
            [
                s.try_acquire(1).err(),
                s.add(1).err(),
                s.available().err(),
                m.try_lock().err(),
                e.set().err(),
                e.is_set().err(),
                n.notify_one().err(),
                n.notify_all().err(),
                v.notify_one().err(),
                v.notify_all().err(),
                c.try_send(1).map_err(|e| e.error()).err(),
                c.try_recv().err(),
                c.close().err(),
                w.set(1).err(),
                w.with(|_| ()).err(),
            ]
        });
        for (i, error) in errors.iter().enumerate() {
            check!(log, *error == Some(EPERM), "{i} in {at:?}");
        }
    }
    let s = share(s)?;
    let l = share(l)?;
    let (tx, rx) = one_shot::<u32>(&d)?;
    check!(log, refuses(pin!(async { s.acquire().await.map(drop) })));
    check!(log, refuses(pin!(async { l.write().await.map(drop) })));
    check!(log, refuses(pin!(async { rx.await.map(drop) })));
    check_eq!(log, tx.send(1).map_err(|e| e.error()), Err(EPERM));
    // Nothing has changed.
    let free = run(&domain, async move {
        drop(l.write().await?);
        s.available()
    })??;
    check_eq!(log, free, 1);
    Ok(())
}

fn refused_elsewhere(log: &mut Log) -> Result {
    let (domain, other) = (domain(c"sync")?, crate::harness::domain(c"other")?);
    let s = share(Semaphore::new(&domain.handle(), 1))?;
    let theirs = s.clone();
    let result = run(&other, async move { theirs.acquire().await.map(drop) })?;
    check_eq!(log, result, Err(EPERM));
    check_eq!(log, run(&domain, async move { s.available() })?, Ok(1));
    Ok(())
}

/// A future that waits for a permit in its domain, and is out of it.
fn waiting_outside(
    domain: &Domain,
    s: &Arc<Semaphore>,
) -> Result<Pin<KBox<impl Future<Output = Result> + Send + 'static>>> {
    let s = s.clone();
    let mut future = KBox::pin(async move { s.acquire().await.map(drop) }, GFP_KERNEL)?;
    run(domain, async move {
        let pending = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await;
        pending.then_some(future).ok_or(EINVAL)
    })?
}

fn waiting_dropped(log: &mut Log) -> Result {
    for dedicated in [false, true] {
        let builder = Domain::builder(c"sync", crate::owner());
        let builder = if dedicated {
            builder.dedicated()
        } else {
            builder
        };
        let domain = builder.build()?;
        let s = share(Semaphore::new(&domain.handle(), 0))?;
        let mut futures = KVec::new();
        for _ in 0..3 {
            futures.push(waiting_outside(&domain, &s)?, GFP_KERNEL)?;
        }
        // It can be polled nowhere else.
        let mut first = futures.remove(0).map_err(|_| EINVAL)?;
        check!(log, refuses(first.as_mut()));
        drop(first);
        // From the middle of another domain, too.
        let other = crate::harness::domain(c"other")?;
        let second = futures.remove(0).map_err(|_| EINVAL)?;
        run(&other, async move { drop(second) })?;
        let waiting = s.clone();
        check_eq!(log, run(&domain, async move { waiting.waiters() })?, Ok(1));
        drop(futures);
        let left = run(&domain, async move {
            s.add(1)?;
            Ok::<_, Error>((s.waiters()?, s.available()?))
        })?;
        check_eq!(log, left, Ok((0, 1)));
    }
    Ok(())
}

fn chosen_dropped(log: &mut Log) -> Result {
    let domain = domain(c"sync")?;
    let s = share(Semaphore::new(&domain.handle(), 0))?;
    let outside = waiting_outside(&domain, &s)?;
    let behind = {
        let s = s.clone();
        domain.spawn(
            c"behind",
            async move { s.acquire().await.map(Permit::forget) },
        )?
    };
    let adds = s.clone();
    run(&domain, async move {
        turns().await;
        adds.add(1)?;
        turns().await;
        Ok::<(), Error>(())
    })??;
    check!(log, !behind.is_finished());
    drop(outside);
    check_eq!(log, join(behind)?, Ok(Ok(())));
    Ok(())
}

fn guard_dropped(log: &mut Log) -> Result {
    let domain = domain(c"sync")?;
    // For ever, so that a guard can leave its coroutine.
    let mutex: &'static Mutex<u32> =
        KBox::leak(KBox::new(Mutex::new(&domain.handle(), 7), GFP_KERNEL)?);
    let mut guard = run(&domain, async { mutex.lock().await })??;
    let waiter = domain.spawn(c"waiter", async { Ok::<_, Error>(*mutex.lock().await?) })?;
    run(&domain, turns())?;
    // The value is ours, wherever we are.
    *guard += 1;
    check!(log, !waiter.is_finished());
    drop(guard);
    check_eq!(log, join(waiter)?, Ok(Ok(8)));
    drop(domain);
    // SAFETY: From `leak`; all references are gone.
    drop(unsafe { KBox::from_raw(core::ptr::from_ref(mutex).cast_mut()) });
    Ok(())
}

fn after_the_end(log: &mut Log) -> Result {
    let domain = domain(c"sync")?;
    let s = share(Semaphore::new(&domain.handle(), 0))?;
    let mut futures = KVec::new();
    for _ in 0..20 {
        futures.push(waiting_outside(&domain, &s)?, GFP_KERNEL)?;
    }
    drop(domain);
    // From several threads at once.
    let mut workers = KVec::new();
    while let Some(future) = futures.pop() {
        workers.push(Worker::start(None, move || drop(future))?, GFP_KERNEL)?;
    }
    for worker in &workers {
        check!(log, sys::eventually(LONG, || worker.is_done()));
    }
    check_eq!(log, s.try_acquire(1).map(drop), Err(EPERM));
    Ok(())
}

fn races(log: &mut Log) -> Result {
    // Threads drop futures that wait, while the domain gives permits and takes them back.
    let domain = domain(c"sync")?;
    let s = share(Semaphore::new(&domain.handle(), 0))?;
    let stop = flag()?;
    let (inside, stopped) = (s.clone(), stop.clone());
    let busy = domain.spawn(c"busy", async move {
        while !stopped.is_set() {
            inside.add(1)?;
            yield_now().await;
            // Now and then it has been given to one that waits.
            inside.acquire().await?.forget();
        }
        Ok::<(), Error>(())
    })?;
    for round in 0..50 {
        let mut workers = KVec::new();
        for cpu in 0..sys::cpus() {
            let future = waiting_outside(&domain, &s);
            // There may have been a permit for it.
            let Ok(future) = future else { continue };
            workers.push(Worker::start(Some(cpu), move || drop(future))?, GFP_KERNEL)?;
        }
        for worker in &workers {
            check!(
                log,
                sys::eventually(LONG, || worker.is_done()),
                "round {round}"
            );
        }
    }
    stop.set();
    check_eq!(log, join(busy)?, Ok(Ok(())));
    let left = run(&domain, async move { (s.waiters(), s.available()) })?;
    check_eq!(log, left, (Ok(0), Ok(0)));
    Ok(())
}
