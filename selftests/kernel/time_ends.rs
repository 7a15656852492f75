// SPDX-License-Identifier: GPL-2.0

//! How timers end that do not fire. Invariants 2 (nothing lost) and 6 (nothing outlives its owner).

use crate::harness::*;
use crate::sys::{self, eventually};
use crate::time::{ms, poll_once, us};
use coop_domain::prelude::*;
use coop_domain::time::Sleep;
use core::pin::pin;
use core::sync::atomic::{AtomicU32, Ordering::*};
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};
use kernel::time::{Delta, Instant, Monotonic};

pub(crate) const TESTS: &[Test] = &[
    ("time_ends.domain_with_timers_armed", domain_ends),
    ("time_ends.domain_as_they_fire", domain_ends_as_they_fire),
    ("time_ends.aborted_as_they_fire", aborted_as_they_fire),
    ("time_ends.dropped_in_any_context", dropped_anywhere),
    (
        "time_ends.alone_dropped_in_any_context",
        alone_dropped_anywhere,
    ),
    ("time_ends.taken_to_another_domain", taken_elsewhere),
    ("time_ends.its_domain_ends_without_it", left_alone),
    ("time_ends.polled_by_a_thread", polled_by_a_thread),
];

/// A thousand sleepers, and their domain ends: their futures are gone, and nothing fires any more.
fn domain_ends(log: &mut Log) -> Result {
    // On a machine that kept this domain waiting for so long some have fired before.
    for seconds in [1, 1, 2, 4, 8, 16] {
        if domain_ends_before(log, seconds)? {
            return Ok(());
        }
    }
    check!(log, false, "the timers fired before the domain ended");
    Ok(())
}

/// Whether there were timers left when it did.
fn domain_ends_before(log: &mut Log, seconds: u32) -> Result<bool> {
    let (count, fired) = (count()?, Arc::new(AtomicU32::new(0), GFP_KERNEL)?);
    let domain = domain(c"time")?;
    for i in 0..1_000 {
        let (value, f) = (Counted::new(&count, 0), fired.clone());
        let sleeper = async move {
            sleep(Delta::from_secs(i64::from(seconds)) + us(i)).await;
            f.fetch_add(1, AcqRel);
            drop(value);
        };
        domain.spawn(c"sleeper", sleeper)?.detach();
    }
    settle(&domain)?;
    drop(domain);
    check!(log, count.is_even(), "{count:?}");
    let before = fired.load(Acquire);
    sys::sleep_ms(1_000 * seconds + 200);
    check_eq!(log, fired.load(Acquire), before);
    Ok(before == 0)
}

/// The interrupt comes when the domain is about to end, is ending, has ended.
fn domain_ends_as_they_fire(log: &mut Log) -> Result {
    let count = count()?;
    for round in 0..200 {
        let domain = domain_on(c"time", round % sys::cpus())?;
        let at = Instant::<Monotonic>::now() + us(500);
        for i in 0..8 {
            let value = Counted::new(&count, 0);
            let sleeper = async move {
                loop {
                    sleep_until(at + us(i)).await;
                    sleep(us(10)).await;
                    core::hint::black_box(&value);
                }
            };
            domain.spawn(c"sleeper", sleeper)?.detach();
        }
        while at.elapsed() < us(-10) {
            core::hint::spin_loop();
        }
        sys::busy(round % 50);
        drop(domain);
        check!(log, count.is_even(), "{count:?}");
    }
    Ok(())
}

/// A sleeper is aborted at about the time at which it is woken.
fn aborted_as_they_fire(log: &mut Log) -> Result {
    let domain = domain_on(c"time", 0)?;
    let count = count()?;
    sys::move_to(other(0))?;
    for round in 0..500 {
        let value = Counted::new(&count, 0);
        let at = Instant::<Monotonic>::now() + us(200);
        let sleeper = async move {
            sleep_until(at).await;
            drop(value);
        };
        let handle = domain.spawn(c"sleeper", sleeper)?;
        while at.elapsed().is_negative() {
            core::hint::spin_loop();
        }
        sys::busy(round % 100);
        handle.abort();
        check!(log, ends(&handle));
    }
    check!(log, count.is_even(), "{count:?}");
    Ok(())
}

/// A sleep in a box, which was polled.
type Boxed = Pin<KBox<Sleep>>;

/// Arms `n` timers, and hands them out.
fn armed(domain: &Domain, n: usize, duration: Delta) -> Result<KVec<Boxed>> {
    let out = Arc::pin_init(new_mutex!(KVec::new()), GFP_KERNEL)?;
    let o: Arc<Mutex<KVec<Boxed>>> = out.clone();
    run(domain, async move {
        for _ in 0..n {
            let mut boxed = KBox::pin(sleep(duration), GFP_KERNEL)?;
            let _ = poll_once(boxed.as_mut()).await;
            o.lock().push(boxed, GFP_KERNEL)?;
        }
        Ok::<(), Error>(())
    })??;
    let armed = core::mem::take(&mut *out.lock());
    Ok(armed)
}

/// Armed in a domain, dropped anywhere, while it arms, disarms and fires others.
fn dropped_anywhere(log: &mut Log) -> Result {
    let domain = domain_on(c"time", 0)?;
    let over = flag()?;
    for i in 0..4 {
        let o = over.clone();
        let busy = async move {
            let mut polls = 0;
            while !o.is_set() {
                let mut dropped = pin!(sleep(ms(i + 1)));
                let _ = poll_once(dropped.as_mut()).await;
                sleep(us(20 * (i + 1))).await;
                polls += 1;
            }
            polls
        };
        domain.spawn(c"busy", busy)?.detach();
    }
    for round in 0..60 {
        for at in sys::ANY {
            // Some fire before they are dropped.
            let boxed = armed(&domain, 4, us(100 + round * 20))?;
            for one in boxed {
                let mut slot = Some(one);
                sys::run_in_on(at, other(0), || {
                    if at.may_free() {
                        slot = None;
                    }
                });
            }
        }
    }
    // The domain is as it was.
    let took = run(&domain, async {
        let start = Instant::<Monotonic>::now();
        sleep(ms(2)).await;
        start.elapsed().as_nanos()
    });
    over.set();
    check!(log, took? >= 2_000_000);
    Ok(())
}

/// The only one of its domain, dropped anywhere at about the time at which the interrupt comes; the
/// one after it is neither early nor lost.
fn alone_dropped_anywhere(log: &mut Log) -> Result {
    let domain = domain_on(c"time", 0)?;
    sys::move_to(other(0))?;
    for round in 0..50 {
        for at in sys::ANY {
            let Some(one) = armed(&domain, 1, us(300))?.pop() else {
                return Err(EIO);
            };
            let deadline = one.deadline();
            let mut slot = Some(one);
            while deadline.elapsed() < us(round % 25 - 15) {
                core::hint::spin_loop();
            }
            sys::run_in_on(at, other(0), || {
                if at.may_free() {
                    slot = None;
                }
            });
            drop(slot);
            // Before the interrupt of the dropped one, or after it.
            let next = us(if round % 2 == 0 { 40 } else { 400 });
            let took = run(&domain, async move {
                let start = Instant::<Monotonic>::now();
                sleep(next).await;
                start.elapsed()
            })?;
            check!(log, took >= next, "{} ns", took.as_nanos());
        }
    }
    Ok(())
}

/// Armed in one domain, awaited in another one: it fires there, in time.
fn taken_elsewhere(log: &mut Log) -> Result {
    let (one, two) = (domain(c"time a")?, domain(c"time b")?);
    let start = Instant::<Monotonic>::now();
    for boxed in armed(&one, 8, ms(300))? {
        run(&two, boxed)?;
    }
    check!(log, start.elapsed() >= ms(300));
    // And it is not in the queue of the first one any more.
    drop(one);
    run(&two, sleep(ms(1)))?;
    Ok(())
}

/// Armed in a domain that ends; awaited in another one, before that or after.
fn left_alone(log: &mut Log) -> Result {
    let two = domain(c"time b")?;
    for late in [false, true] {
        let one = domain(c"time a")?;
        let start = Instant::<Monotonic>::now();
        let mut boxed = armed(&one, 4, ms(300))?;
        let mut joins = KVec::new();
        if late {
            drop(one);
            while let Some(one) = boxed.pop() {
                joins.push(two.spawn(c"sleeper", one)?, GFP_KERNEL)?;
            }
        } else {
            while let Some(one) = boxed.pop() {
                joins.push(two.spawn(c"sleeper", one)?, GFP_KERNEL)?;
            }
            drop(one);
        }
        for join in &joins {
            check!(log, ends(join));
        }
        check!(log, start.elapsed() >= ms(300));
    }
    Ok(())
}

/// A waker that is no coroutine's: it is asked again until the time has come.
fn polled_by_a_thread(log: &mut Log) -> Result {
    use core::future::Future;
    use core::task::{Context, Waker};
    let mut cx = Context::from_waker(Waker::noop());
    // One that is kept waiting here for as long is told that the time has come, as it has.
    for n in [3, 100, 3_000] {
        let start = Instant::<Monotonic>::now();
        let mut future = pin!(sleep(ms(n)));
        let asked = future.as_mut().poll(&mut cx).is_pending();
        let ready = !asked || eventually(LONG, || future.as_mut().poll(&mut cx).is_ready());
        check!(log, ready && start.elapsed() >= ms(n));
        if asked {
            return Ok(());
        }
    }
    check!(log, false, "it was over at once");
    Ok(())
}
