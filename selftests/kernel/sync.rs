// SPDX-License-Identifier: GPL-2.0

//! What coroutines of a domain wait for from each other: in which order they go on. Invariants 3
//! (no lost wake-up) and 5 (fairness).

use crate::harness::*;
use crate::sys::{self, Where};
use coop_domain::prelude::*;
use coop_domain::sync::*;
use core::future::Future;
use kernel::prelude::*;
use kernel::sync::Arc;

pub(crate) const TESTS: &[Test] = &[
    ("sync.semaphore_is_first_come_first_served", semaphore_order),
    (
        "sync.semaphore_who_wants_many_is_not_overtaken",
        semaphore_many,
    ),
    ("sync.semaphore_limits_how_many", semaphore_limits),
    ("sync.mutex_is_handed_over_in_order", mutex_order),
    (
        "sync.mutex_is_not_taken_by_who_comes_later",
        mutex_no_barging,
    ),
    ("sync.mutex_excludes_across_awaits", mutex_excludes),
    (
        "sync.rwlock_readers_go_together_writers_alone",
        rwlock_order,
    ),
    ("sync.rwlock_writer_does_not_starve", rwlock_no_starvation),
    ("sync.event_stays_set", event_stays),
    ("sync.event_is_set_from_anywhere", event_setter),
    ("sync.notify_one_is_kept_once", notify_kept),
    ("sync.notify_all_is_for_those_who_wait", notify_all),
    ("sync.condvar_waits_without_the_mutex", condvar),
    ("sync.channel_keeps_the_order", channel_order),
    ("sync.channel_makes_senders_wait", channel_full),
    ("sync.channel_close_delivers_what_was_sent", channel_close),
    ("sync.channel_drops_what_is_left", channel_drops),
    (
        "sync.one_shot_delivers_or_says_that_nothing_comes",
        one_shots,
    ),
    ("sync.watch_tells_the_last_change", watch),
    ("sync.watch_tells_all_who_wait", watch_all),
];

/// Lets all that is ready run, and what they make ready.
pub(crate) async fn turns() {
    for _ in 0..4 {
        yield_now().await;
    }
}

/// Spawns what is not waited for.
pub(crate) fn go(domain: &Handle, f: impl Future<Output = Result> + Send + 'static) -> Result {
    let waiter = async move {
        if let Err(e) = f.await {
            pr_err!("coop_test: a waiter failed: {e:?}\n");
        }
    };
    domain.spawn(c"waiter", waiter)?.detach();
    Ok(())
}

/// A value that coroutines share.
pub(crate) fn share<T>(value: T) -> Result<Arc<T>> {
    Ok(Arc::new(value, GFP_KERNEL)?)
}

/// Runs a scenario inside a domain, then looks whether `expected` happened, in this order.
pub(crate) fn happens<F>(
    log: &mut Log,
    expected: &[u32],
    scenario: impl FnOnce(Handle, Arc<Trace>) -> Result<F>,
) -> Result
where
    F: Future<Output = Result> + Send + 'static,
{
    let domain = domain(c"sync")?;
    let trace = trace()?;
    let future = scenario(domain.handle(), trace.clone())?;
    let result = run(&domain, future)?;
    trace.is(log, expected)?;
    result
}

fn semaphore_order(log: &mut Log) -> Result {
    happens(log, &[100, 0, 101, 1, 102, 2, 103, 3], |d, t| {
        let s = share(Semaphore::new(&d, 0))?;
        Ok(async move {
            for i in 0..4 {
                let (s, t) = (s.clone(), t.clone());
                go(&d, async move {
                    s.acquire().await?.forget();
                    t.add(i);
                    Ok(())
                })?;
            }
            turns().await;
            for i in 100..104 {
                t.add(i);
                s.add(1)?;
                turns().await;
            }
            Ok(())
        })
    })
}

fn semaphore_many(log: &mut Log) -> Result {
    // 3 are wanted by 0, then 1 by 1. One permit is not enough for 0, and not for 1 before it.
    happens(log, &[10, 11, 12, 0, 13, 1], |d, t| {
        let s = share(Semaphore::new(&d, 0))?;
        Ok(async move {
            for (i, n) in [(0, 3), (1, 1)] {
                let (s, t) = (s.clone(), t.clone());
                go(&d, async move {
                    s.acquire_many(n).await?.forget();
                    t.add(i);
                    Ok(())
                })?;
            }
            turns().await;
            for i in 10..14 {
                t.add(i);
                s.add(1)?;
                // What is held for the first is not for one who comes now.
                if s.try_acquire(1).is_ok() {
                    return Err(EINVAL);
                }
                turns().await;
            }
            Ok(())
        })
    })
}

fn semaphore_limits(log: &mut Log) -> Result {
    happens(log, &[3, 0], |d, t| {
        let s = share(Semaphore::new(&d, 3))?;
        let at_once = share(Watch::new(&d, (0u32, 0u32)))?;
        Ok(async move {
            let mut all = KVec::new();
            for _ in 0..20 {
                let (s, n) = (s.clone(), at_once.clone());
                let work = async move {
                    let _slot = s.acquire().await?;
                    n.update(|(now, most)| {
                        *now += 1;
                        *most = (*most).max(*now);
                    })?;
                    turns().await;
                    n.update(|(now, _)| *now -= 1)
                };
                all.push(d.spawn(c"work", work)?, GFP_KERNEL)?;
            }
            while let Some(one) = all.pop() {
                one.await??;
            }
            let (now, most) = at_once.with(|n| *n)?;
            t.add(most);
            t.add(now);
            Ok(())
        })
    })
}

fn mutex_order(log: &mut Log) -> Result {
    happens(log, &[0, 100, 1, 101, 2, 102, 3, 103], |d, t| {
        let m = share(Mutex::new(&d, ()))?;
        Ok(async move {
            let held = m.lock().await?;
            for i in 0..4 {
                let (m, t) = (m.clone(), t.clone());
                go(&d, async move {
                    let guard = m.lock().await?;
                    t.add(i);
                    turns().await;
                    t.add(100 + i);
                    drop(guard);
                    Ok(())
                })?;
            }
            turns().await;
            drop(held);
            // Comes last, so it waits for all of them.
            drop(m.lock().await?);
            Ok(())
        })
    })
}

fn mutex_no_barging(log: &mut Log) -> Result {
    happens(log, &[1, 0, 2], |d, t| {
        let m = share(Mutex::new(&d, ()))?;
        Ok(async move {
            let held = m.lock().await?;
            let (other, trace) = (m.clone(), t.clone());
            go(&d, async move {
                let _guard = other.lock().await?;
                trace.add(0);
                Ok(())
            })?;
            turns().await;
            drop(held);
            // It is the other one's, which has not run yet.
            t.add(if m.try_lock().is_ok() { 99 } else { 1 });
            drop(m.lock().await?);
            t.add(2);
            Ok(())
        })
    })
}

fn mutex_excludes(log: &mut Log) -> Result {
    happens(log, &[800], |d, t| {
        let m = share(Mutex::new(&d, 0u32))?;
        Ok(async move {
            let mut all = KVec::new();
            for i in 0..8u32 {
                let m = m.clone();
                let work = async move {
                    for j in 0..100 {
                        let mut guard = m.lock().await?;
                        let seen = *guard;
                        if (i + j) % 3 == 0 {
                            yield_now().await;
                        }
                        *guard = seen + 1;
                    }
                    Ok::<(), Error>(())
                };
                all.push(d.spawn(c"work", work)?, GFP_KERNEL)?;
            }
            while let Some(one) = all.pop() {
                one.await??;
            }
            t.add(*m.lock().await?);
            Ok(())
        })
    })
}

fn rwlock_order(log: &mut Log) -> Result {
    // Readers 0 and 1, writer 2, readers 3 and 4, writer 5; 100 more when they release.
    let expected = [0, 1, 100, 101, 2, 102, 3, 4, 103, 104, 5, 105];
    happens(log, &expected, |d, t| {
        let lock = share(RwLock::new(&d, 0u32))?;
        Ok(async move {
            for i in 0..6 {
                let (lock, t) = (lock.clone(), t.clone());
                if i % 3 == 2 {
                    go(&d, async move {
                        let mut guard = lock.write().await?;
                        t.add(i);
                        *guard += 1;
                        turns().await;
                        t.add(100 + i);
                        Ok(())
                    })?;
                } else {
                    go(&d, async move {
                        let guard = lock.read().await?;
                        t.add(i);
                        let before = *guard;
                        turns().await;
                        t.add(if before == *guard { 100 + i } else { 999 });
                        Ok(())
                    })?;
                }
            }
            turns().await;
            drop(lock.write().await?);
            Ok(())
        })
    })
}

/// Reads for ever, from a delay on.
async fn reads(lock: Arc<RwLock<u32>>, delay: u32) -> Result {
    for _ in 0..delay {
        yield_now().await;
    }
    loop {
        let guard = lock.read().await?;
        for _ in 0..6 {
            yield_now().await;
        }
        drop(guard);
    }
}

fn rwlock_no_starvation(log: &mut Log) -> Result {
    // Two readers that overlap for ever, so that there is always one. The writer waits for those
    // that were there, and for none that came after it.
    happens(log, &[0], |d, t| {
        let lock = share(RwLock::new(&d, 0u32))?;
        Ok(async move {
            let mut readers = KVec::new();
            for delay in [1, 3] {
                let reader = reads(lock.clone(), delay);
                readers.push(d.spawn(c"reader", reader)?, GFP_KERNEL)?;
            }
            for _ in 0..20 {
                yield_now().await;
            }
            let writer = {
                let (lock, t) = (lock.clone(), t.clone());
                d.spawn(c"writer", async move {
                    drop(lock.write().await?);
                    t.add(0);
                    Ok::<(), Error>(())
                })?
            };
            for _ in 0..40 {
                yield_now().await;
            }
            let wrote = writer.is_finished();
            for reader in readers {
                reader.abort();
            }
            if wrote {
                Ok(())
            } else {
                Err(ETIME)
            }
        })
    })
}

fn event_stays(log: &mut Log) -> Result {
    happens(log, &[10, 0, 1, 2, 11, 12, 3], |d, t| {
        let e = share(Event::new(&d))?;
        Ok(async move {
            let wait = |i: u32| {
                let (e, t) = (e.clone(), t.clone());
                async move {
                    e.wait().await?;
                    t.add(i);
                    Ok(())
                }
            };
            for i in 0..3 {
                go(&d, wait(i))?;
            }
            turns().await;
            t.add(10);
            e.set()?;
            // They have seen it.
            e.reset()?;
            turns().await;
            t.add(11);
            go(&d, wait(3))?;
            turns().await;
            t.add(12);
            e.set()?;
            turns().await;
            // Nobody has to wait any more.
            e.wait().await?;
            e.wait().await
        })
    })
}

fn event_setter(log: &mut Log) -> Result {
    let domain = domain(c"sync")?;
    for at in sys::ANY {
        let event = share(Event::new(&domain.handle()))?;
        let setter = Event::setter(event.clone())?;
        let waiter = domain.spawn(c"waiter", async move { event.wait().await })?;
        run(&domain, turns())?;
        check!(log, !waiter.is_finished());
        sys::run_in(at, || setter.set());
        // Set is set, though the setter goes.
        drop(setter);
        check_eq!(log, join(waiter)?, Ok(Ok(())));
    }
    // Nor is anything left that forwards for it.
    settle(&domain)?;
    let stats = domain.stats();
    check_eq!(log, stats.finished.get(), stats.spawned.get());
    check_eq!(
        log,
        sys::run_in(Where::Task, || Event::new(&domain.handle()).set()),
        Err(EPERM)
    );
    Ok(())
}

fn notify_kept(log: &mut Log) -> Result {
    happens(log, &[0, 1], |d, t| {
        let n = share(Notify::new(&d))?;
        Ok(async move {
            n.notify_one()?;
            n.notify_one()?;
            for i in 0..3 {
                let (n, t) = (n.clone(), t.clone());
                go(&d, async move {
                    n.notified().await?;
                    t.add(i);
                    Ok(())
                })?;
            }
            turns().await;
            n.notify_one()?;
            turns().await;
            Ok(())
        })
    })
}

fn notify_all(log: &mut Log) -> Result {
    happens(log, &[0, 1, 2], |d, t| {
        let n = share(Notify::new(&d))?;
        Ok(async move {
            // For nobody.
            n.notify_all()?;
            for i in 0..4 {
                let (theirs, t) = (n.clone(), t.clone());
                go(&d, async move {
                    theirs.notified().await?;
                    t.add(i);
                    Ok(())
                })?;
                if i == 2 {
                    turns().await;
                    n.notify_all()?;
                }
            }
            turns().await;
            Ok(())
        })
    })
}

fn condvar(log: &mut Log) -> Result {
    happens(log, &[10, 0, 11, 1, 12, 2, 3], |d, t| {
        let m = share(Mutex::new(&d, 0u32))?;
        let c = share(Condvar::new(&d))?;
        Ok(async move {
            for i in 0..4 {
                let (m, c, t) = (m.clone(), c.clone(), t.clone());
                go(&d, async move {
                    let guard = m.lock().await?;
                    let mut guard = c.wait_while(guard, |n| *n == 0).await?;
                    *guard -= 1;
                    t.add(i);
                    turns().await;
                    Ok(())
                })?;
            }
            turns().await;
            for i in 10..12 {
                *m.lock().await? += 1;
                t.add(i);
                if !c.notify_one()? {
                    return Err(EINVAL);
                }
                turns().await;
                turns().await;
            }
            *m.lock().await? += 2;
            t.add(12);
            c.notify_all()?;
            turns().await;
            turns().await;
            turns().await;
            // Nothing is kept for those who come later.
            if c.notify_one()? {
                return Err(EINVAL);
            }
            Ok(())
        })
    })
}

fn channel_order(log: &mut Log) -> Result {
    let mut expected = KVec::new();
    for i in 0..100 {
        expected.push(i, GFP_KERNEL)?;
    }
    happens(log, &expected, |d, t| {
        let c = share(Channel::new(&d, 7)?)?;
        Ok(async move {
            let sender = c.clone();
            go(&d, async move {
                for i in 0..100u32 {
                    sender.send(i).await?;
                    if i % 13 == 0 {
                        turns().await;
                    }
                }
                sender.close()
            })?;
            while let Ok(i) = c.recv().await {
                t.add(i);
                if i % 17 == 0 {
                    turns().await;
                }
            }
            Ok(())
        })
    })
}

fn channel_full(log: &mut Log) -> Result {
    // Senders 0 to 4 into room for 2; 100 more when they go on.
    let expected = [100, 101, 0, 102, 1, 103, 2, 104, 3, 4];
    happens(log, &expected, |d, t| {
        let c = share(Channel::new(&d, 2)?)?;
        Ok(async move {
            for i in 0..5u32 {
                let (c, t) = (c.clone(), t.clone());
                go(&d, async move {
                    c.send(i).await?;
                    t.add(100 + i);
                    Ok(())
                })?;
            }
            turns().await;
            if c.len()? != 2 || c.try_send(9).map_err(|e| e.error()) != Err(EBUSY) {
                return Err(EINVAL);
            }
            for _ in 0..5 {
                t.add(c.recv().await?);
                // The room is that of a sender that waits.
                if t.len() < 9 && c.try_send(9).is_ok() {
                    return Err(EINVAL);
                }
                turns().await;
            }
            if c.try_recv() != Err(EBUSY) {
                return Err(EINVAL);
            }
            Ok(())
        })
    })
}

fn channel_close(log: &mut Log) -> Result {
    let count = count()?;
    let kept = count.clone();
    // Two messages were sent; the third sender gets its back, and so does a fourth.
    happens(log, &[2, 0, 1, 3, 4, 5], |d, t| {
        let c = share(Channel::new(&d, 2)?)?;
        Ok(async move {
            for i in 0..3u32 {
                let (c, t, message) = (c.clone(), t.clone(), Counted::new(&kept, i));
                go(&d, async move {
                    if let Err(unsent) = c.send(message).await {
                        if unsent.error() == ECANCELED {
                            t.add(unsent.into_inner().value);
                        }
                    }
                    Ok(())
                })?;
            }
            turns().await;
            c.close()?;
            turns().await;
            while let Ok(message) = c.recv().await {
                t.add(message.value);
            }
            if let Err(unsent) = c.send(Counted::new(&kept, 3)).await {
                t.add(unsent.into_inner().value);
            }
            if let Err(unsent) = c.try_send(Counted::new(&kept, 4)) {
                t.add(unsent.into_inner().value);
            }
            if c.try_recv().map(drop) == Err(ECANCELED) {
                t.add(5);
            }
            Ok(())
        })
    })?;
    check!(log, count.made() == 5 && count.is_even(), "{count:?}");
    Ok(())
}

fn channel_drops(log: &mut Log) -> Result {
    let domain = domain(c"sync")?;
    let count = count()?;
    // Around the end of the slots, too.
    for received in 0..4 {
        let (c, kept) = (Channel::new(&domain.handle(), 3)?, count.clone());
        run(&domain, async move {
            for i in 0..received {
                c.send(Counted::new(&kept, i)).await?;
                drop(c.recv().await?);
            }
            for i in 0..3 {
                c.send(Counted::new(&kept, i)).await?;
            }
            Ok::<(), Error>(())
        })??;
    }
    check!(log, count.made() == 18 && count.is_even(), "{count:?}");
    Ok(())
}

fn one_shots(log: &mut Log) -> Result {
    let count = count()?;
    let kept = count.clone();
    happens(log, &[0, 1, 2, 3], |d, t| {
        Ok(async move {
            // Sent before, and after, it is waited for.
            let (tx, rx) = one_shot(&d)?;
            tx.send(Counted::new(&kept, 0))?;
            t.add(rx.await?.value);
            let (tx, rx) = one_shot(&d)?;
            let message = Counted::new(&kept, 1);
            go(&d, async move { Ok(tx.send(message)?) })?;
            t.add(rx.await?.value);
            // Not at all.
            let (tx, rx) = one_shot::<Counted>(&d)?;
            go(&d, async move {
                turns().await;
                drop(tx);
                Ok(())
            })?;
            if rx.await.map(drop) == Err(ECANCELED) {
                t.add(2);
            }
            // To nobody; and sent, but not awaited.
            let (tx, rx) = one_shot(&d)?;
            drop(rx);
            if tx.is_closed()? && tx.send(Counted::new(&kept, 3)).is_err() {
                t.add(3);
            }
            let (tx, rx) = one_shot(&d)?;
            tx.send(Counted::new(&kept, 4))?;
            drop(rx);
            Ok(())
        })
    })?;
    check!(log, count.made() == 4 && count.is_even(), "{count:?}");
    Ok(())
}

fn watch(log: &mut Log) -> Result {
    happens(log, &[1, 10, 3, 30, 3, 30], |d, t| {
        let w = share(Watch::new(&d, 0u32))?;
        Ok(async move {
            for start in [0, 2] {
                let (theirs, t) = (w.clone(), t.clone());
                go(&d, async move {
                    let mut seen = start;
                    while seen < 3 {
                        seen = theirs.changed(seen).await?;
                        t.add(seen as u32);
                        t.add(theirs.with(|v| *v)?);
                    }
                    Ok(())
                })?;
                turns().await;
                if start == 0 {
                    w.set(10)?;
                    turns().await;
                    // Of two changes the first is not seen.
                    w.set(20)?;
                    w.update(|v| *v += 10)?;
                }
            }
            // Not from inside itself.
            if w.update(|_| w.with(|_| ()))? != Err(EBUSY) {
                return Err(EINVAL);
            }
            Ok(())
        })
    })
}

fn watch_all(log: &mut Log) -> Result {
    happens(log, &[0, 1, 2], |d, t| {
        let w = share(Watch::new(&d, 0u32))?;
        Ok(async move {
            for i in 0..3 {
                let (w, t) = (w.clone(), t.clone());
                go(&d, async move {
                    w.changed(0).await?;
                    t.add(i);
                    Ok(())
                })?;
            }
            turns().await;
            w.set(1)
        })
    })
}
