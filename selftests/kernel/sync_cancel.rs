// SPDX-License-Identifier: GPL-2.0

//! Those who go while they wait: nothing they were given is lost, and nothing is left of them.
//! Invariants 2 (nothing lost), 3 (no lost wake-up) and 6 (nothing outlives its owner).

use crate::harness::*;
use crate::sync::{go, happens, share, turns};
use coop_domain::prelude::*;
use coop_domain::sync::*;
use core::future::{poll_fn, Future};
use core::pin::{pin, Pin};
use core::task::{Poll, Waker};
use kernel::prelude::*;
use kernel::sync::Arc;

pub(crate) const TESTS: &[Test] = &[
    ("sync.abort_of_who_waits_for_a_permit", semaphore_abort),
    (
        "sync.abort_of_the_first_lets_those_behind_go_on",
        semaphore_first_goes,
    ),
    ("sync.abort_of_who_waits_for_a_mutex", mutex_abort),
    ("sync.abort_of_a_writer_lets_readers_go_on", rwlock_abort),
    ("sync.abort_of_who_was_notified", notify_abort),
    ("sync.abort_of_who_was_notified_with_all", notify_all_abort),
    ("sync.abort_of_who_waits_on_a_condvar", condvar_abort),
    ("sync.abort_of_a_sender_and_a_receiver", channel_abort),
    ("sync.abort_of_who_waits_for_an_event", event_abort),
    ("sync.abort_of_who_waits_for_a_change", watch_abort),
    ("sync.losers_of_a_race_lose_nothing", race),
    ("sync.other_wakers_are_kept_up_to_date", foreign_wakers),
    ("sync.at_random_nothing_is_lost", at_random),
    ("sync.a_forgotten_waiter_does_no_harm", forgotten),
    ("sync.a_domain_ends_with_all_waiting", teardown),
];

/// Spawns a coroutine that waits, has its turn to begin, and comes back with its handle.
async fn waits(
    domain: &Handle,
    trace: &Arc<Trace>,
    event: u32,
    f: impl Future<Output = Result> + Send + 'static,
) -> Result<JoinHandle<Result>> {
    let trace = trace.clone();
    let task = domain.spawn(c"waiter", async move {
        f.await?;
        trace.add(event);
        Ok(())
    })?;
    turns().await;
    Ok(task)
}

async fn take(s: Arc<Semaphore>, n: u32) -> Result {
    s.acquire_many(n).await?.forget();
    Ok(())
}

fn semaphore_abort(log: &mut Log) -> Result {
    // While it waits: the next one gets the permit. After it got it: the next one gets that. Last:
    // the permit is free again.
    happens(log, &[1, 3, 10], |d, t| {
        let s = share(Semaphore::new(&d, 0))?;
        Ok(async move {
            let mut tasks = KVec::new();
            for i in 0..5 {
                tasks.push(waits(&d, &t, i, take(s.clone(), 1)).await?, GFP_KERNEL)?;
            }
            let abort = |i: usize| tasks.get(i).map(JoinHandle::abort).ok_or(EINVAL);
            abort(0)?;
            turns().await;
            s.add(1)?;
            turns().await;
            s.add(1)?;
            abort(2)?;
            turns().await;
            s.add(1)?;
            abort(4)?;
            turns().await;
            if (s.available()?, s.waiters()?) == (1, 0) {
                t.add(10);
            }
            Ok(())
        })
    })
}

fn semaphore_first_goes(log: &mut Log) -> Result {
    // The first wants more than there is; those behind it do not.
    happens(log, &[1, 2, 10], |d, t| {
        let s = share(Semaphore::new(&d, 2))?;
        Ok(async move {
            let first = waits(&d, &t, 0, take(s.clone(), 5)).await?;
            for i in 1..3 {
                waits(&d, &t, i, take(s.clone(), 1)).await?.detach();
            }
            first.abort();
            turns().await;
            // One alone leaves what was held for it.
            let first = waits(&d, &t, 0, take(s.clone(), 5)).await?;
            s.add(3)?;
            first.abort();
            turns().await;
            if s.available()? == 3 {
                t.add(10);
            }
            Ok(())
        })
    })
}

fn mutex_abort(log: &mut Log) -> Result {
    happens(log, &[2, 10], |d, t| {
        let m = share(Mutex::new(&d, ()))?;
        Ok(async move {
            let held = m.lock().await?;
            let lock = |m: Arc<Mutex<()>>| async move { m.lock().await.map(drop) };
            let a = waits(&d, &t, 0, lock(m.clone())).await?;
            let b = waits(&d, &t, 1, lock(m.clone())).await?;
            let c = waits(&d, &t, 2, lock(m.clone())).await?;
            a.abort();
            turns().await;
            drop(held);
            b.abort();
            turns().await;
            if c.is_finished() && m.try_lock().is_ok() {
                t.add(10);
            }
            // While it has it.
            let m2 = m.clone();
            let holder = waits(&d, &t, 3, async move {
                let _guard = m2.lock().await?;
                forever().await;
                Ok(())
            })
            .await?;
            if m.try_lock().is_ok() {
                return Err(EINVAL);
            }
            holder.abort();
            m.lock().await.map(drop)
        })
    })
}

fn rwlock_abort(log: &mut Log) -> Result {
    happens(log, &[1, 2, 10], |d, t| {
        let l = share(RwLock::new(&d, ()))?;
        Ok(async move {
            let held = l.read().await?;
            let (w, r1, r2, w2) = (l.clone(), l.clone(), l.clone(), l.clone());
            let w = waits(&d, &t, 0, async move { w.write().await.map(drop) }).await?;
            let read = async move { r1.read().await.map(drop) };
            waits(&d, &t, 1, read).await?.detach();
            w.abort();
            turns().await;
            // One that got it, and has not noticed.
            let w2 = waits(&d, &t, 3, async move { w2.write().await.map(drop) }).await?;
            let read = async move { r2.read().await.map(drop) };
            waits(&d, &t, 2, read).await?.detach();
            drop(held);
            w2.abort();
            turns().await;
            drop(l.write().await?);
            t.add(10);
            Ok(())
        })
    })
}

fn notify_abort(log: &mut Log) -> Result {
    happens(log, &[1, 10], |d, t| {
        let n = share(Notify::new(&d))?;
        Ok(async move {
            let wait = |n: Arc<Notify>| async move { n.notified().await };
            let a = waits(&d, &t, 0, wait(n.clone())).await?;
            waits(&d, &t, 1, wait(n.clone())).await?.detach();
            n.notify_one()?;
            a.abort();
            turns().await;
            // Nobody is left: it is kept.
            let c = waits(&d, &t, 2, wait(n.clone())).await?;
            n.notify_one()?;
            c.abort();
            turns().await;
            n.notified().await?;
            t.add(10);
            // Nor are there two, if it was kept when it is passed on.
            let e = waits(&d, &t, 3, wait(n.clone())).await?;
            n.notify_one()?;
            n.notify_one()?;
            e.abort();
            turns().await;
            n.notified().await?;
            let f = waits(&d, &t, 4, wait(n.clone())).await?;
            f.abort();
            Ok(())
        })
    })
}

fn notify_all_abort(log: &mut Log) -> Result {
    // What was for all is not passed on: who comes later waits.
    happens(log, &[1], |d, t| {
        let n = share(Notify::new(&d))?;
        Ok(async move {
            let wait = |n: Arc<Notify>| async move { n.notified().await };
            let a = waits(&d, &t, 0, wait(n.clone())).await?;
            waits(&d, &t, 1, wait(n.clone())).await?.detach();
            n.notify_all()?;
            a.abort();
            let c = waits(&d, &t, 2, wait(n.clone())).await?;
            if c.is_finished() {
                return Err(EINVAL);
            }
            c.abort();
            Ok(())
        })
    })
}

fn condvar_abort(log: &mut Log) -> Result {
    happens(log, &[1, 3], |d, t| {
        let m = share(Mutex::new(&d, ()))?;
        let c = share(Condvar::new(&d))?;
        Ok(async move {
            let wait = |m: &Arc<Mutex<()>>, c: &Arc<Condvar>| {
                let (m, c) = (m.clone(), c.clone());
                async move {
                    let guard = m.lock().await?;
                    c.wait(guard).await.map(drop)
                }
            };
            // Notified, and aborted before it notices.
            let a = waits(&d, &t, 0, wait(&m, &c)).await?;
            waits(&d, &t, 1, wait(&m, &c)).await?.detach();
            c.notify_one()?;
            a.abort();
            turns().await;
            // Notified, and aborted while it waits for the mutex.
            let a = waits(&d, &t, 2, wait(&m, &c)).await?;
            waits(&d, &t, 3, wait(&m, &c)).await?.detach();
            let guard = m.lock().await?;
            c.notify_one()?;
            turns().await;
            a.abort();
            turns().await;
            drop(guard);
            turns().await;
            Ok(())
        })
    })
}

fn channel_abort(log: &mut Log) -> Result {
    let count = count()?;
    let kept = count.clone();
    happens(log, &[7, 100, 8, 9, 10], |d, t| {
        let c = share(Channel::new(&d, 1)?)?;
        Ok(async move {
            let recv = |c: Arc<Channel<Counted>>, t: Arc<Trace>| async move {
                t.add(c.recv().await?.value);
                Ok(())
            };
            // A message that was for one who goes is for the next.
            let a = waits(&d, &t, 0, recv(c.clone(), t.clone())).await?;
            waits(&d, &t, 100, recv(c.clone(), t.clone()))
                .await?
                .detach();
            c.send(Counted::new(&kept, 7)).await?;
            a.abort();
            turns().await;
            // Nobody is left: it stays in the queue.
            let a = waits(&d, &t, 0, recv(c.clone(), t.clone())).await?;
            c.send(Counted::new(&kept, 8)).await?;
            a.abort();
            turns().await;
            // Room that was for one who goes is for the next. Its message is gone, not sent.
            let send = |c: Arc<Channel<Counted>>, message: Counted| async move {
                Ok(c.send(message).await?)
            };
            let a = waits(&d, &t, 0, send(c.clone(), Counted::new(&kept, 99))).await?;
            let b = waits(&d, &t, 9, send(c.clone(), Counted::new(&kept, 10))).await?;
            t.add(c.try_recv()?.value);
            a.abort();
            turns().await;
            t.add(c.recv().await?.value);
            drop(b);
            // Chosen, closed, and aborted: the channel stays closed.
            c.send(Counted::new(&kept, 11)).await?;
            let a = waits(&d, &t, 0, send(c.clone(), Counted::new(&kept, 12))).await?;
            drop(c.recv().await?);
            c.close()?;
            a.abort();
            turns().await;
            if c.try_send(Counted::new(&kept, 13)).map_err(|e| e.error()) == Err(ECANCELED) {
                Ok(())
            } else {
                Err(EINVAL)
            }
        })
    })?;
    check!(log, count.made() == 7 && count.is_even(), "{count:?}");
    Ok(())
}

fn event_abort(log: &mut Log) -> Result {
    happens(log, &[1], |d, t| {
        let e = share(Event::new(&d))?;
        Ok(async move {
            let wait = |e: Arc<Event>| async move { e.wait().await };
            let a = waits(&d, &t, 0, wait(e.clone())).await?;
            waits(&d, &t, 1, wait(e.clone())).await?.detach();
            let b = waits(&d, &t, 2, wait(e.clone())).await?;
            a.abort();
            turns().await;
            e.set()?;
            b.abort();
            turns().await;
            Ok(())
        })
    })
}

fn watch_abort(log: &mut Log) -> Result {
    happens(log, &[1], |d, t| {
        let w = share(Watch::new(&d, 0))?;
        Ok(async move {
            let wait = |w: Arc<Watch<u32>>| async move { w.changed(0).await.map(drop) };
            let a = waits(&d, &t, 0, wait(w.clone())).await?;
            waits(&d, &t, 1, wait(w.clone())).await?.detach();
            let b = waits(&d, &t, 2, wait(w.clone())).await?;
            a.abort();
            turns().await;
            w.set(1)?;
            b.abort();
            turns().await;
            Ok(())
        })
    })
}

/// The first of two that is ready; the other one is dropped. The second is asked first.
async fn first_of<T>(a: impl Future<Output = T>, b: impl Future<Output = T>) -> T {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|cx| match b.as_mut().poll(cx) {
        Poll::Pending => a.as_mut().poll(cx),
        ready => ready,
    })
    .await
}

fn race(log: &mut Log) -> Result {
    // Both are given at once; what the loser was given goes to the one behind it.
    happens(log, &[1, 2], |d, t| {
        let (s, other) = (share(Semaphore::new(&d, 0))?, share(Semaphore::new(&d, 0))?);
        Ok(async move {
            let (a, b) = (s.clone(), other.clone());
            let racer = async move {
                first_of(a.acquire(), b.acquire()).await?.forget();
                Ok(())
            };
            waits(&d, &t, 1, racer).await?.detach();
            waits(&d, &t, 2, take(s.clone(), 1)).await?.detach();
            s.add(1)?;
            other.add(1)?;
            turns().await;
            if (s.available()?, other.available()?) == (0, 0) {
                Ok(())
            } else {
                Err(EINVAL)
            }
        })
    })
}

/// A future in a box, which may change hands after it was polled.
fn boxed<F>(f: F) -> Result<Pin<KBox<F>>> {
    Ok(KBox::pin(f, GFP_KERNEL)?)
}

fn foreign_wakers(log: &mut Log) -> Result {
    // A future that one coroutine polled, which ended then, goes on in another one; and one that is
    // polled with a waker that does nothing, and then with the right one.
    happens(log, &[1, 2], |d, t| {
        let s = share(Semaphore::new(&d, 0))?;
        Ok(async move {
            let mut future = Some(boxed(take(s.clone(), 1))?);
            let hand_over = d.spawn(c"first", async move {
                poll_fn(|cx| {
                    let pending = future.as_mut().map(|f| f.as_mut().poll(cx).is_pending());
                    Poll::Ready(pending == Some(true))
                })
                .await
                .then_some(future)
                .flatten()
                .ok_or(EINVAL)
            })?;
            let mut future = hand_over.await??;
            turns().await;
            waits(&d, &t, 1, async move { future.as_mut().await })
                .await?
                .detach();
            let mut future = boxed(take(s.clone(), 1))?;
            let noop = Waker::noop();
            let early = future
                .as_mut()
                .poll(&mut core::task::Context::from_waker(noop));
            if early.is_ready() {
                return Err(EINVAL);
            }
            waits(&d, &t, 2, async move { future.as_mut().await })
                .await?
                .detach();
            s.add(1)?;
            turns().await;
            s.add(1)?;
            turns().await;
            Ok(())
        })
    })
}

/// Numbers that look random, the same each time.
struct Dice(u32);

impl Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) % sides
    }
}

fn at_random(log: &mut Log) -> Result {
    // Coroutines that take permits, a lock and messages, and are aborted at any moment.
    happens(log, &[7, 1, 0], |d, t| {
        let s = share(Semaphore::new(&d, 7))?;
        let l = share(RwLock::new(&d, 0u32))?;
        let c = share(Channel::new(&d, 3)?)?;
        Ok(async move {
            let mut dice = Dice(1);
            let mut tasks = KVec::new();
            for i in 0..400u32 {
                let (s, l, c) = (s.clone(), l.clone(), c.clone());
                let (n, writes, sends) = (dice.roll(7) + 1, dice.roll(3) == 0, dice.roll(2) == 0);
                let pause = dice.roll(4);
                let work = async move {
                    let _permits = s.acquire_many(n).await?;
                    for _ in 0..pause {
                        yield_now().await;
                    }
                    if writes {
                        *l.write().await? = i;
                    } else {
                        let _guard = l.read().await?;
                        yield_now().await;
                    }
                    drop(_permits);
                    if sends {
                        c.send(i).await?;
                    } else {
                        c.recv().await?;
                    }
                    Ok::<(), Error>(())
                };
                tasks.push(d.spawn(c"random", work)?, GFP_KERNEL)?;
                if dice.roll(3) == 0 {
                    yield_now().await;
                }
                let victim = dice.roll(tasks.len() as u32) as usize;
                if let Some(task) = tasks.get(victim) {
                    if dice.roll(2) == 0 {
                        task.abort();
                    }
                }
            }
            for _ in 0..2000 {
                yield_now().await;
            }
            for task in &tasks {
                task.abort();
            }
            turns().await;
            t.add(s.available()?);
            drop(l.write().await?);
            t.add(1);
            // As much room as messages are missing.
            let queued = c.len()?;
            for _ in queued..3 {
                c.try_send(0)?;
            }
            t.add(c.try_send(0).is_ok().into());
            Ok(())
        })
    })
}

fn forgotten(log: &mut Log) -> Result {
    // It is never resumed, so what is handed to it stays with it; the others go on, and it is still
    // in the list when the semaphore and the domain go.
    happens(log, &[1], |d, t| {
        let s = share(Semaphore::new(&d, 0))?;
        Ok(async move {
            for i in 0..3 {
                if i == 1 {
                    waits(&d, &t, 1, take(s.clone(), 1)).await?.detach();
                    continue;
                }
                let mut future = boxed(take(s.clone(), 1))?;
                poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await;
                core::mem::forget(future);
            }
            s.add(2)?;
            turns().await;
            Ok(())
        })
    })
}

fn teardown(log: &mut Log) -> Result {
    for _ in 0..20 {
        let count = count()?;
        let domain = domain(c"sync")?;
        let d = domain.handle();
        let (s, m, e) = (
            share(Semaphore::new(&d, 0))?,
            share(Mutex::new(&d, ()))?,
            share(Event::new(&d))?,
        );
        let (n, c, w) = (
            share(Notify::new(&d))?,
            share(Channel::<u32>::new(&d, 1)?)?,
            share(Watch::new(&d, 0))?,
        );
        for i in 0..30 {
            let value = Counted::new(&count, i);
            let (s, m, e) = (s.clone(), m.clone(), e.clone());
            let (n, c, w) = (n.clone(), c.clone(), w.clone());
            go(&d, async move {
                let _value = value;
                match i % 6 {
                    0 => s.acquire().await.map(drop),
                    1 => {
                        let _guard = m.lock().await?;
                        forever().await;
                        Ok(())
                    }
                    2 => e.wait().await,
                    3 => n.notified().await,
                    4 => c.recv().await.map(drop),
                    _ => w.changed(0).await.map(drop),
                }
            })?;
        }
        run(&domain, turns())?;
        if count.dropped() != 0 {
            log.line(format_args!("{count:?} too early"));
            return Err(EIO);
        }
        drop(domain);
        check!(log, count.made() == 30 && count.is_even(), "{count:?}");
        check_eq!(log, s.try_acquire(1).map(drop), Err(EPERM));
    }
    Ok(())
}
