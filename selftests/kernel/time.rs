// SPDX-License-Identifier: GPL-2.0

//! Sleeps, time-outs and intervals: never early, in order, and none is lost (invariant 3).

use crate::harness::*;
use crate::sys::{self, eventually, Worker};
use coop_domain::prelude::*;
use core::future::Future;
use core::pin::{pin, Pin};
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::*};
use core::task::Poll;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::{Delta, Instant, Monotonic};

pub(crate) const TESTS: &[Test] = &[
    ("time.sleep_is_never_early", never_early),
    ("time.a_time_that_has_passed_is_over_at_once", passed),
    ("time.wakes_in_order", wakes_in_order),
    ("time.a_hundred_thousand_timers", hundred_thousand),
    ("time.near_timers_share_an_interrupt", near_timers),
    ("time.timeout", timeouts),
    ("time.a_busy_domain_sees_its_timers", busy_domain),
    ("time.a_caller_may_arm_an_earlier_timer", caller_arms),
    ("time.a_caller_may_take_timers_out", caller_expires),
    ("time.bottom_halves_off", bh),
    ("time.none_is_lost", none_is_lost),
    ("time.interval_skips", interval_skips),
    ("time.interval_bursts", interval_bursts),
    ("time.interval_delays", interval_delays),
    ("time.interval_loses_no_tick_when_dropped", interval_dropped),
];

pub(crate) fn ms(n: i64) -> Delta {
    Delta::from_millis(n)
}

pub(crate) fn us(n: i64) -> Delta {
    Delta::from_micros(n)
}

/// Nanoseconds since `start`.
fn since(start: Instant<Monotonic>) -> i64 {
    start.elapsed().as_nanos()
}

/// Polls `future` once, and goes on; what it returned.
pub(crate) async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    core::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// 1 µs to 20 ms, on each CPU: none is early, all end.
fn never_early(log: &mut Log) -> Result {
    for cpu in 0..sys::cpus() {
        let domain = domain_on(c"time", cpu)?;
        for n in [1, 10, 100, 1_000, 20_000] {
            let took = run(&domain, async move {
                let start = Instant::now();
                sleep(us(n)).await;
                since(start)
            })?;
            check!(log, took >= n * 1_000, "{n} us took {took} ns");
        }
        let deadline = Instant::now() + ms(5);
        let (told, woken) = run(&domain, async move {
            let sleep = sleep_until(deadline);
            let told = (sleep.deadline() - deadline).is_zero();
            sleep.await;
            (told, since(deadline))
        })?;
        check!(log, told);
        check!(log, woken >= 0);
    }
    Ok(())
}

/// Nothing to wait for: not even others are let run. And times beyond the end of the clock.
fn passed(log: &mut Log) -> Result {
    let domain = domain(c"time")?;
    let at_once = run(&domain, async {
        let mut polls = [false; 5];
        let past = Instant::now() - ms(1);
        polls[0] = poll_once(pin!(sleep(Delta::ZERO))).await.is_ready();
        polls[1] = poll_once(pin!(sleep(us(-1)))).await.is_ready();
        polls[2] = poll_once(pin!(sleep_until(past))).await.is_ready();
        let never = sleep(Delta::from_nanos(i64::MAX));
        polls[3] = poll_once(pin!(never)).await.is_pending();
        let before = sleep(Delta::from_nanos(i64::MIN));
        polls[4] = poll_once(pin!(before)).await.is_ready();
        polls
    })?;
    check_eq!(log, at_once, [true; 5]);
    Ok(())
}

/// Armed in any order, with some times twice: woken in order of time, then of arming.
fn wakes_in_order(log: &mut Log) -> Result {
    // Only where all were armed before the first came has this shown anything.
    for head_start in [100, 400, 1_600, 6_400, 12_800] {
        let domain = domain(c"time")?;
        let (trace, late) = (trace()?, flag()?);
        let start = Instant::<Monotonic>::now() + ms(head_start);
        let held = Held::new(&domain)?;
        for i in [5, 3, 8, 1, 1, 7, 2, 9, 4, 6, 9, 2] {
            let (t, l) = (trace.clone(), late.clone());
            // One interrupt may find several of them due.
            let sleeper = async move {
                let mut sleep = pin!(sleep_until(start + us(i64::from(i) * 300)));
                let due = poll_once(sleep.as_mut()).await.is_ready();
                if due || !start.elapsed().is_negative() {
                    return l.set();
                }
                sleep.await;
                t.add(i);
            };
            domain.spawn(c"sleeper", sleeper)?.detach();
        }
        drop(held);
        check!(log, eventually(LONG, || late.is_set() || trace.len() == 12));
        if !late.is_set() {
            return trace.is(log, &[1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 9]);
        }
    }
    check!(log, false, "they were never armed in time");
    Ok(())
}

/// What a crowd of sleepers did.
#[derive(Default)]
struct Crowd {
    armed: AtomicU32,
    fired: AtomicU32,
    early: AtomicU32,
    /// The place of the one that fired last.
    last: AtomicI64,
    disordered: AtomicU32,
}

/// 100 000 timers, armed in no order; half of them are cancelled, the others fire in order.
fn hundred_thousand(log: &mut Log) -> Result {
    // Only where all were armed, and half cancelled, before the first came is it known how many fire.
    for head_start in [4, 12, 36] {
        if crowd_of_sleepers(log, head_start * 1_000_000_000)? {
            return Ok(());
        }
    }
    check!(log, false, "they were never armed in time");
    Ok(())
}

/// Whether all was done before the first was due.
fn crowd_of_sleepers(log: &mut Log, head_start: i64) -> Result<bool> {
    const TIMERS: u32 = 100_000;
    const SPREAD_US: u32 = 1_000_000;
    let domain = domain(c"time")?;
    let crowd = Arc::new(Crowd::default(), GFP_KERNEL)?;
    let mut handles = KVVec::with_capacity(TIMERS as usize, GFP_KERNEL)?;
    // Spawned while the domain is held, then armed all at once.
    let held = Held::new(&domain)?;
    let base = Instant::<Monotonic>::now();
    let start = Arc::new(AtomicI64::new(0), GFP_KERNEL)?;
    for i in 0..TIMERS {
        let (c, s) = (crowd.clone(), start.clone());
        // Coprime to the number of places: each place once in so many.
        let place = i64::from(i.wrapping_mul(7_919) % SPREAD_US);
        let sleeper = async move {
            let deadline = base + Delta::from_nanos(s.load(Acquire)) + us(place);
            let sleep = sleep_until(deadline);
            c.armed.fetch_add(1, AcqRel);
            sleep.await;
            if deadline.elapsed().is_negative() {
                c.early.fetch_add(1, AcqRel);
            }
            if c.last.swap(place, AcqRel) > place {
                c.disordered.fetch_add(1, AcqRel);
            }
            c.fired.fetch_add(1, AcqRel);
        };
        handles.push(domain.spawn(c"sleeper", sleeper)?, GFP_KERNEL)?;
        if i % 256 == 0 {
            sys::cond_resched();
        }
    }
    let first = since(base) + head_start;
    start.store(first, Release);
    drop(held);
    check!(
        log,
        eventually(3 * LONG, || crowd.armed.load(Acquire) == TIMERS)
    );
    let mut cancelled = 0;
    for handle in handles.iter().step_by(2) {
        handle.abort();
        cancelled += 1;
        if cancelled % 256 == 0 {
            sys::cond_resched();
        }
    }
    run(&domain, yield_now())?;
    let fired = crowd.fired.load(Acquire);
    if since(base) >= first {
        return Ok(false);
    }
    check_eq!(log, fired, 0);
    let rest = TIMERS - cancelled;
    let all = eventually(3 * LONG, || crowd.fired.load(Acquire) == rest);
    check!(log, all, "{} of {rest} fired", crowd.fired.load(Acquire));
    check_eq!(log, crowd.early.load(Acquire), 0);
    check_eq!(log, crowd.disordered.load(Acquire), 0);
    check_eq!(
        log,
        domain.stats().finished.get() >= u64::from(TIMERS),
        true
    );
    Ok(true)
}

/// Interrupts that 64 timers cause, within 64 ms: longer than interrupts come late.
fn interrupts_of_64(slack: Delta) -> Result<u64> {
    let domain = Domain::builder(c"time", crate::owner())
        .slack(slack)
        .build()?;
    let fired = Arc::new(AtomicU32::new(0), GFP_KERNEL)?;
    let start = Instant::<Monotonic>::now() + ms(200);
    for i in 0..64 {
        let f = fired.clone();
        let sleeper = async move {
            sleep_until(start + ms(i)).await;
            f.fetch_add(1, AcqRel);
        };
        domain.spawn(c"sleeper", sleeper)?.detach();
    }
    if !eventually(LONG, || fired.load(Acquire) == 64) {
        return Err(ETIME);
    }
    Ok(domain.stats().timer_interrupts.get())
}

/// With slack, near timers share an interrupt.
fn near_timers(log: &mut Log) -> Result {
    let (mut few, mut many) = (0, 0);
    for _ in 0..10 {
        // An interrupt of somebody else may come in between and be used: one is not sure. And on a
        // machine that is busy elsewhere they come too late, all at once.
        (few, many) = (interrupts_of_64(ms(100))?, interrupts_of_64(Delta::ZERO)?);
        if few * 2 <= many && few <= 8 {
            break;
        }
    }
    check!(
        log,
        few * 2 <= many,
        "{few} interrupts, {many} without slack"
    );
    check!(log, few <= 8, "{few} interrupts, {many} without slack");
    Ok(())
}

/// A time-out ends what takes too long, drops it, and leaves alone what does not.
fn timeouts(log: &mut Log) -> Result {
    let domain = domain(c"time")?;
    let count = count()?;
    let c = count.clone();
    let (result, took) = run(&domain, async move {
        let start = Instant::now();
        let value = Counted::new(&c, 1);
        let endless = async move {
            forever().await;
            drop(value);
        };
        (timeout(ms(3), endless).await, since(start))
    })?;
    check_eq!(log, result, Err(ETIMEDOUT));
    check!(log, took >= 3_000_000, "after {took} ns");
    check!(log, count.is_even(), "{count:?}");
    let result = run(&domain, async {
        timeout(Delta::from_secs(1_000), async {
            sleep(ms(1)).await;
            7
        })
        .await
    })?;
    check_eq!(log, result, Ok(7));
    // Both are ready: the future is asked first.
    let result = run(&domain, timeout(Delta::ZERO, async { 8 }))?;
    check_eq!(log, result, Ok(8));
    let result = run(&domain, timeout(Delta::ZERO, forever()))?;
    check_eq!(log, result, Err(ETIMEDOUT));
    Ok(())
}

/// A domain that never has nothing to do sees its timers all the same.
fn busy_domain(log: &mut Log) -> Result {
    let domain = domain(c"time")?;
    let over = Arc::new(AtomicBool::new(false), GFP_KERNEL)?;
    for _ in 0..2 {
        let o = over.clone();
        let busy = async move {
            while !o.load(Acquire) {
                yield_now().await;
            }
        };
        domain.spawn(c"busy", busy)?.detach();
    }
    let took = run(&domain, async {
        let start = Instant::now();
        for _ in 0..50 {
            sleep(us(200)).await;
        }
        since(start)
    });
    over.store(true, Release);
    check!(log, took? >= 50 * 200_000);
    Ok(())
}

/// A caller who runs the domain arms a timer that comes before all others, and goes.
fn caller_arms(log: &mut Log) -> Result {
    let domain = domain(c"time")?;
    domain
        .spawn(c"late", sleep(Delta::from_secs(1_000)))?
        .detach();
    let (caller, mut requests) = domain.call_mailbox::<u32, u32>()?;
    let server = async move {
        while let Some(request) = requests.recv().await {
            let (n, reply) = request.into_parts();
            sleep(us(i64::from(n))).await;
            let _ = reply.send(n);
        }
    };
    domain.spawn(c"server", server)?.detach();
    for i in 1..500 {
        settle_sometimes(&domain, i)?;
        let n = i * 37 % 1_000;
        check_eq!(log, caller.call_timeout(n, LONG)?, n);
    }
    Ok(())
}

fn settle_sometimes(domain: &Domain, i: u32) -> Result {
    if i % 16 == 0 {
        settle(domain)?;
    }
    Ok(())
}

/// Callers run the domain all the time, from all CPUs, and so find interrupts before the home
/// thread does: what they take out, and what comes next, is not lost.
fn caller_expires(log: &mut Log) -> Result {
    let domain = domain(c"time")?;
    let (caller, mut requests) = domain.call_mailbox::<u32, u32>()?;
    let server = async move {
        while let Some(request) = requests.recv().await {
            let (n, reply) = request.into_parts();
            // So that the caller runs what is queued.
            yield_now().await;
            let _ = reply.send(n);
        }
    };
    domain.spawn(c"server", server)?.detach();
    let over = flag()?;
    let mut callers = KVec::new();
    for cpu in 0..sys::cpus() {
        let (c, o) = (caller.clone(), over.clone());
        let worker = Worker::start(Some(cpu), move || {
            let mut n = 0;
            while !o.is_set() && !sys::should_stop() {
                n += u32::from(c.call(n).is_ok());
                // Now and then nobody is there, and the interrupt must come.
                if n % 64 == 0 {
                    sys::sleep_ms(2);
                }
            }
            n
        })?;
        callers.push(worker, GFP_KERNEL)?;
    }
    let done = run(&domain, async {
        for i in 0..500 {
            sleep(us(i % 7 * 50 + 1)).await;
        }
    });
    over.set();
    for worker in callers {
        check!(log, worker.join(LONG).is_some());
    }
    done
}

/// The same in a domain that runs with bottom halves off.
fn bh(log: &mut Log) -> Result {
    let domain = Domain::builder(c"time", crate::owner())
        .level(Level::Bh)
        .build()?;
    let took = run(&domain, async {
        let start = Instant::now();
        for _ in 0..50 {
            sleep(us(300)).await;
        }
        since(start)
    })?;
    check!(log, took >= 50 * 300_000);
    let result = run(&domain, timeout(ms(1), forever()))?;
    check_eq!(log, result, Err(ETIMEDOUT));
    Ok(())
}

/// 64 coroutines in two domains sleep again and again, and give up other sleeps meanwhile, while
/// threads wake them for nothing: all come to their end.
fn none_is_lost(log: &mut Log) -> Result {
    const ROUNDS: u32 = 100;
    let domains = [domain_on(c"time a", 0)?, domain_on(c"time b", other(0))?];
    let (ended, nest) = (Arc::new(AtomicU32::new(0), GFP_KERNEL)?, nest()?);
    for i in 0..64 {
        let e = ended.clone();
        let sleeper = async move {
            let mut seed = i;
            for _ in 0..ROUNDS {
                seed = seed * 1_103 % 4_001 + 1;
                let (short, long) = (us(i64::from(seed) / 4), us(i64::from(seed)));
                let mut other = pin!(sleep(long));
                let _ = poll_once(other.as_mut()).await;
                sleep(short).await;
                if seed % 2 == 0 {
                    other.await;
                }
            }
            e.fetch_add(1, AcqRel);
        };
        let domain = domains.get(i as usize % 2).ok_or(EINVAL)?;
        domain.spawn(c"sleeper", sleeper)?.detach();
    }
    drop(nest);
    let all = eventually(3 * LONG, || ended.load(Acquire) == 64);
    check!(log, all, "{} of 64 ended", ended.load(Acquire));
    Ok(())
}

/// Ticks of 2 ms, the third taken 11 ms late: when each was due, after the first, in ms.
fn ticks(missed: Missed) -> Result<[i64; 7]> {
    let domain = Domain::builder(c"time", crate::owner())
        .slack(Delta::ZERO)
        .build()?;
    run(&domain, async move {
        let mut due = [0; 7];
        let mut interval = interval(ms(2)).missed(missed);
        let first = interval.tick().await;
        for (i, due) in due.iter_mut().enumerate() {
            if i == 2 {
                // By the clock: where jiffies lag behind, a sleep by them is shorter.
                let start = sys::now_ns();
                while sys::now_ns() - start < 11_000_000 {
                    sys::sleep_ms(1);
                }
            }
            let tick = interval.tick().await;
            *due = (tick - first).as_nanos();
            if tick.elapsed().is_negative() {
                *due = -1;
            }
        }
        due
    })
}

/// How far apart two ticks are, in periods, and whether that is a whole number.
fn apart(ticks: &[i64; 7], i: usize) -> (i64, bool) {
    let at = |i: usize| ticks.get(i).copied().unwrap_or(0);
    let ns = at(i + 1) - at(i);
    (ns / 2_000_000, ns % 2_000_000 == 0)
}

/// Missed ticks are left out, and the others stay on the grid.
fn interval_skips(log: &mut Log) -> Result {
    let ticks = ticks(Missed::Skip)?;
    check!(log, ticks.iter().all(|t| t % 2_000_000 == 0), "{ticks:?}");
    // The one that was waited for too late comes late; the next is in the future of that.
    check!(log, apart(&ticks, 2).0 >= 5, "{ticks:?}");
    check!(log, !ticks.contains(&-1), "{ticks:?}");
    Ok(())
}

/// All ticks come, on the grid.
fn interval_bursts(log: &mut Log) -> Result {
    let ticks = ticks(Missed::Burst)?;
    let grid = [2, 4, 6, 8, 10, 12, 14].map(|t| t * 1_000_000);
    check_eq!(log, ticks, grid);
    Ok(())
}

/// The grid moves.
fn interval_delays(log: &mut Log) -> Result {
    let ticks = ticks(Missed::Delay)?;
    check!(log, apart(&ticks, 2).0 >= 5, "{ticks:?}");
    for i in 3..6 {
        check!(log, apart(&ticks, i).0 >= 1, "{ticks:?}");
    }
    check!(log, !apart(&ticks, 2).1, "still on the grid: {ticks:?}");
    Ok(())
}

/// A tick counts only when it is returned.
fn interval_dropped(log: &mut Log) -> Result {
    let domain = domain(c"time")?;
    let (first, second) = run(&domain, async {
        let mut interval = interval(ms(50)).missed(Missed::Burst);
        let first = interval.tick().await;
        {
            // Armed, its time comes, and nobody asks it any more.
            let mut tick = pin!(interval.tick());
            let _ = poll_once(tick.as_mut()).await;
            sleep(ms(60)).await;
        }
        (first, interval.tick().await)
    })?;
    check_eq!(log, (second - first).as_nanos(), 50_000_000);
    Ok(())
}
