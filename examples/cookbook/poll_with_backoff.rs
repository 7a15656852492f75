// SPDX-License-Identifier: GPL-2.0

//! Poll a register with back-off: soon at first, then less and less often, and not for ever.
//!
//! Others of the domain run meanwhile: this is not `udelay` in a loop.

use crate::{ensure, run_inside};
use coop_domain::prelude::*;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::{Delta, Instant, Monotonic};

/// What the register says when the device is ready.
const READY: u32 = 1;

/// Reads until `done`: after 100 µs, 200 µs, … 5 ms. `ETIMEDOUT` when `limit` has passed, but not
/// before one more look: the caller may have been kept from running.
async fn poll_until(
    mut read: impl FnMut() -> Result<u32>,
    done: impl Fn(u32) -> bool,
    limit: Delta,
) -> Result<u32> {
    const LONGEST: i64 = 5_000_000;
    let mut pause = 100_000;
    let start = Instant::<Monotonic>::now();
    loop {
        let late = start.elapsed() >= limit;
        let value = read()?;
        if done(value) {
            return Ok(value);
        }
        if late {
            return Err(ETIMEDOUT);
        }
        sleep(Delta::from_nanos(pause)).await;
        pause = LONGEST.min(pause.saturating_mul(2));
    }
}

pub(crate) fn run(module: &'static ThisModule) -> Result {
    let domain = Domain::builder(c"poll", module).build()?;
    let handle = domain.handle();
    let register = Arc::new(domain.cell(0u32), GFP_KERNEL)?;
    run_inside(&domain, async move {
        let device = register.clone();
        let warms_up = async move {
            sleep(Delta::from_millis(20)).await;
            device.with(|value| *value = READY)
        };
        handle.spawn(c"device", warms_up)?.detach();

        let mut looks = 0u32;
        let read = || {
            looks = looks.saturating_add(1);
            register.with(|value| *value)
        };
        poll_until(read, |value| value == READY, Delta::from_secs(60)).await?;
        // Every 100 µs it would have been two hundred. The first one was too early.
        ensure((2..50).contains(&looks))?;

        let never = || register.with(|_| 0);
        let result = poll_until(never, |value| value == READY, Delta::from_millis(10)).await;
        ensure(result == Err(ETIMEDOUT))
    })
}
