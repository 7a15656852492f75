// SPDX-License-Identifier: GPL-2.0

//! Periodic statistics: coroutines count as they go, one takes the counts at each tick.
//!
//! The counters need no lock and no atomic, and a snapshot is consistent: nobody counts between two
//! awaits of the one who takes it. Who wants to know waits for a change of a [`Watch`].

use crate::{ensure, run_inside};
use coop_domain::prelude::*;
use coop_domain::sync::Watch;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::Delta;

#[derive(Clone, Copy, Default)]
struct Counters {
    packets: u64,
    bytes: u64,
}

/// What the last tick found, and the sum of all.
#[derive(Clone, Copy, Default)]
struct Report {
    last: Counters,
    packets: u64,
}

struct Driver {
    counters: DomainCell<Counters>,
    report: Watch<Report>,
}

async fn traffic(driver: Arc<Driver>) -> Result {
    loop {
        driver.counters.with(|c| {
            c.packets = c.packets.wrapping_add(1);
            c.bytes = c.bytes.wrapping_add(1500);
        })?;
        // Not busy: a domain that always has work leaves little for others.
        sleep(Delta::from_micros(100)).await;
    }
}

async fn reporter(driver: Arc<Driver>) -> Result {
    let mut ticks = interval(Delta::from_millis(10));
    // The first tick is at once.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let last = driver.counters.with(core::mem::take)?;
        driver.report.update(|report| {
            report.last = last;
            report.packets = report.packets.wrapping_add(last.packets);
        })?;
        // Even if the next tick is due: who waits sees each report.
        yield_now().await;
    }
}

pub(crate) fn run(module: &'static ThisModule) -> Result {
    let domain = Domain::builder(c"statistics", module).build()?;
    let handle = domain.handle();
    let driver = Arc::new(
        Driver {
            counters: domain.cell(Counters::default()),
            report: Watch::new(&handle, Report::default()),
        },
        GFP_KERNEL,
    )?;
    run_inside(&domain, async move {
        handle.spawn(c"traffic", traffic(driver.clone()))?.detach();
        handle
            .spawn(c"reporter", reporter(driver.clone()))?
            .detach();
        let (mut seen, mut packets) = (0, 0u64);
        for _ in 0..5 {
            seen = driver.report.changed(seen).await?;
            let report = driver.report.with(|report| *report)?;
            ensure(report.last.bytes == report.last.packets.wrapping_mul(1500))?;
            packets = packets.wrapping_add(report.last.packets);
            // No report was missed, and each packet is in one.
            ensure(report.packets == packets)?;
        }
        ensure(packets != 0)
    })
}
