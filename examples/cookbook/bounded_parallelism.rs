// SPDX-License-Identifier: GPL-2.0

//! Bounded parallelism: much to do, and a device that takes four at a time.
//!
//! A [`Semaphore`] has as many permits as the device has slots. Who is cancelled while it has one, or
//! waits for one, gives it back.

use crate::{ensure, run_inside};
use coop_domain::prelude::*;
use coop_domain::sync::Semaphore;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::Delta;

const SLOTS: u32 = 4;

#[derive(Clone, Copy, Default)]
struct Seen {
    now: u32,
    most: u32,
    done: u32,
}

struct Device {
    slots: Semaphore,
    seen: DomainCell<Seen>,
}

impl Device {
    async fn job(&self) -> Result {
        let _slot = self.slots.acquire().await?;
        self.seen.with(|seen| {
            seen.now = seen.now.saturating_add(1);
            seen.most = seen.most.max(seen.now);
        })?;
        sleep(Delta::from_micros(300)).await;
        self.seen.with(|seen| {
            seen.now = seen.now.saturating_sub(1);
            seen.done = seen.done.saturating_add(1);
        })
    }
}

pub(crate) fn run(module: &'static ThisModule) -> Result {
    let domain = Domain::builder(c"parallel", module).build()?;
    let handle = domain.handle();
    let device = Arc::new(
        Device {
            slots: Semaphore::new(&handle, SLOTS),
            seen: domain.cell(Seen::default()),
        },
        GFP_KERNEL,
    )?;
    run_inside(&domain, async move {
        let mut jobs = Group::new(&handle);
        for _ in 0..50 {
            let device = device.clone();
            jobs.spawn(c"job", async move {
                // What failed is not counted below.
                let _ = device.job().await;
            })?;
        }
        jobs.wait().await?;
        let seen = device.seen.with(|seen| *seen)?;
        // All were done, never more at a time than the device takes, and not less either.
        ensure(seen.done == 50 && seen.most == SLOTS)
    })
}
