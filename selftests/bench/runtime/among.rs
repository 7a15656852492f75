// SPDX-License-Identifier: GPL-2.0

//! What it costs that a domain has many coroutines, of which one is active: nothing.

use crate::call;
use crate::harness::*;
use coop_domain::prelude::*;
use coop_domain::yield_now;
use core::future::pending;
use kernel::prelude::*;
use kernel::time::delay::fsleep;
use kernel::time::Delta;

/// A domain with `n` coroutines that sleep.
fn crowd(n: u32) -> Result<Domain> {
    let domain = domain_on(cpu())?;
    for _ in 0..n {
        domain.spawn(c"sleeper", pending::<()>())?.detach();
    }
    // All of them have been polled when this one is. (Nobody sleeps in a poll for that: the domain
    // would look for who does, for some ticks.)
    run_inside(&domain, async { Ok(0) })?;
    // And what the allocations left to be done later has been done.
    fsleep(Delta::from_millis(10));
    Ok(domain)
}

/// One op: one `yield_now().await` of the only coroutine that does not sleep, besides `N` that do.
pub(crate) struct Yield<const N: u32>;

impl<const N: u32> Figure for Yield<N> {
    const NAME: &'static CStr = match N {
        10 => c"task.yield_among_10",
        1_000 => c"task.yield_among_1000",
        _ => c"task.yield_among_100000",
    };
    const OPS: u32 = 4096;
    const REPETITIONS: u32 = if N > 10_000 { 5 } else { 0 };

    fn run(s: &mut Sample, ops: u32) -> Result {
        s.ns = run_inside(&crowd(N)?, async move {
            Ok(timed_loop!(ops, yield_now().await))
        })?;
        Ok(())
    }
}

/// One op: one call as in `call.inline`, into a domain with `N` more coroutines, which sleep.
pub(crate) struct Inline<const N: u32>;

impl<const N: u32> Figure for Inline<N> {
    const NAME: &'static CStr = match N {
        10 => c"call.inline_among_10",
        1_000 => c"call.inline_among_1000",
        _ => c"call.inline_among_100000",
    };
    const OPS: u32 = 4096;
    const REPETITIONS: u32 = if N > 10_000 { 5 } else { 0 };

    fn run(s: &mut Sample, ops: u32) -> Result {
        call::run(s, ops, &crowd(N)?)
    }
}
