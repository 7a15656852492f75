// SPDX-License-Identifier: GPL-2.0

//! Timers of coroutines.

use crate::harness::*;
use coop_domain::prelude::*;
use core::ffi::CStr;
use core::future::{poll_fn, Future};
use core::pin::pin;
use core::task::Poll;
use kernel::error::to_result;
use kernel::ffi::c_int;
use kernel::module::this_module;
use kernel::prelude::*;
use kernel::time::Delta;

/// As `BENCH_SLEEP_NS` in `baseline.h`.
const SLEEP: Delta = Delta::from_micros(100);

extern "C" {
    fn coop_bench_idle_start() -> c_int;
    fn coop_bench_idle_stop();
    fn coop_bench_idle_ns() -> u64;
}

/// As long as this is there, idle time is counted.
struct Idler;

impl Idler {
    fn new() -> Result<Self> {
        // SAFETY: By a thread that may sleep, as figures are; undone by `drop`.
        to_result(unsafe { coop_bench_idle_start() })?;
        Ok(Idler)
    }
}

impl Drop for Idler {
    fn drop(&mut self) {
        // SAFETY: Undoes what `new` did.
        unsafe { coop_bench_idle_stop() };
    }
}

/// Nanoseconds that the CPU of measurement has been idle.
fn idle_ns() -> u64 {
    // SAFETY: No precondition.
    unsafe { coop_bench_idle_ns() }
}

/// One op: a coroutine, the only one of its domain, arms a timer, sleeps, and is woken by it and
/// polled, idle time left out. The timer's interrupt and two context switches are in it.
pub(crate) struct Sleep;

impl Figure for Sleep {
    const NAME: &'static CStr = c"timer.sleep";
    const OPS: u32 = 256;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = Domain::builder(c"bench", this_module::<crate::LocalModule>())
            .cpu(cpu())
            .slack(Delta::ZERO)
            .build()?;
        let _idler = Idler::new()?;
        s.ns = run_inside(&domain, async move {
            for _ in 0..WARM_UP {
                sleep(SLEEP).await;
            }
            let idle = idle_ns();
            let start = start_clock();
            for _ in 0..ops {
                sleep(SLEEP).await;
            }
            let ns = stop_clock().wrapping_sub(start);
            Ok(ns.saturating_sub(idle_ns().wrapping_sub(idle)))
        })?;
        Ok(())
    }
}

/// Seconds after which a timer of the next figure would fire.
const FAR: i64 = 1_000;

/// One op: a coroutine arms a timer, anywhere among `N` others of its domain, and drops it.
pub(crate) struct ArmCancel<const N: u32>;

impl<const N: u32> Figure for ArmCancel<N> {
    const NAME: &'static CStr = match N {
        10 => c"timer.arm_cancel_among_10",
        1_000 => c"timer.arm_cancel_among_1000",
        100_000 => c"timer.arm_cancel_among_100000",
        _ => c"?",
    };
    const OPS: u32 = 512;
    const REPETITIONS: u32 = if N > 1_000 { 3 } else { 0 };

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = domain_on(cpu())?;
        for i in 0..i64::from(N) {
            let sleeper = async move {
                sleep(Delta::from_secs(FAR) + Delta::from_millis(i)).await;
            };
            domain.spawn(c"sleeper", sleeper)?.detach();
        }
        let mut at: u32 = 0;
        s.ns = run_inside(&domain, async move {
            // All of them are armed.
            yield_now().await;
            Ok(timed_loop!(ops, {
                at = at.wrapping_mul(5).wrapping_add(1);
                let place = i64::from(at % 1_024) * i64::from(N) * 1_000;
                let mut sleep = pin!(sleep(Delta::from_secs(FAR) + Delta::from_nanos(place)));
                poll_fn(|cx| {
                    use_value(u64::from(sleep.as_mut().poll(cx).is_ready()));
                    Poll::Ready(())
                })
                .await
            }))
        })?;
        Ok(())
    }
}

/// One op: `select` of two futures, one of which is ready, in a coroutine.
pub(crate) struct Select;

impl Figure for Select {
    const NAME: &'static CStr = c"select.ready";
    const OPS: u32 = 1024;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = domain_on(cpu())?;
        let signal = Signal::new();
        s.ns = run_inside(&domain, async move {
            Ok(timed_loop!(ops, {
                let ready = core::future::ready(forgotten(1));
                match select(signal.wait(), ready).await {
                    Either::First(()) => use_value(0),
                    Either::Second(n) => use_value(n),
                }
            }))
        })?;
        Ok(())
    }
}

/// `n`, unknown to the compiler.
fn forgotten(n: u32) -> u64 {
    let mut n = n;
    barrier(&mut n);
    n.into()
}
