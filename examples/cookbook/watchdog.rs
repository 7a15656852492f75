// SPDX-License-Identifier: GPL-2.0

//! A watchdog: whoever works says so now and then; when nothing is heard for too long, the work is
//! begun anew.
//!
//! A [`Group`] knows its coroutines by name: the one that hangs is cancelled wherever it awaits, all
//! it owns is dropped, and it starts again.

use crate::{ensure, run_inside};
use coop_domain::prelude::*;
use coop_domain::sync::Notify;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::Delta;

struct Device {
    /// A sign of life.
    alive: Notify,
    starts: DomainCell<u32>,
}

/// Works for a while and then hangs; from its third start on it goes on.
async fn works(device: Arc<Device>) {
    let Ok(starts) = device.starts.with(|n| {
        *n = n.saturating_add(1);
        *n
    }) else {
        return;
    };
    for i in 0u32.. {
        if i == 3 && starts < 3 {
            // Waits for an interrupt that never comes.
            core::future::pending::<()>().await;
        }
        let _ = device.alive.notify_one();
        sleep(Delta::from_millis(2)).await;
    }
}

pub(crate) fn run(module: &'static ThisModule) -> Result {
    let domain = Domain::builder(c"watchdog", module).build()?;
    let handle = domain.handle();
    let device = Arc::new(
        Device {
            alive: Notify::new(&handle),
            starts: domain.cell(0),
        },
        GFP_KERNEL,
    )?;
    run_inside(&domain, async move {
        let mut group = Group::new(&handle);
        let again = device.clone();
        group.spawn_restartable(c"works", move || works(again.clone()))?;

        // The watchdog. After many signs of life in a row it is content, for the sake of the test.
        let (mut restarts, mut signs) = (0, 0);
        while signs < 10 {
            match timeout(Delta::from_millis(200), device.alive.notified()).await {
                Ok(heard) => {
                    heard?;
                    signs += 1;
                }
                Err(_) => {
                    group.restart(c"works").await?;
                    restarts += 1;
                    signs = 0;
                }
            }
        }
        group.cancel().await;
        ensure(restarts == 2)
    })
}
