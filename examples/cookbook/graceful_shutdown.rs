// SPDX-License-Identifier: GPL-2.0

//! Graceful shutdown: nothing new is accepted, what was accepted is finished, then the device is
//! switched off, and then the domain goes.
//!
//! Dropping a domain drops its coroutines wherever they wait. What has to be finished first is
//! finished here, in order: close the queue, wait for the workers, switch off.

use crate::{ensure, run_inside};
use coop_domain::prelude::*;
use coop_domain::sync::{Channel, Event};
use kernel::prelude::*;
use kernel::sync::Arc;

struct Driver {
    requests: Channel<u32>,
    stopping: Event,
    finished: DomainCell<u32>,
}

async fn worker(driver: Arc<Driver>) -> Result {
    while let Ok(_request) = driver.requests.recv().await {
        // Several steps, with waits in between.
        yield_now().await;
        yield_now().await;
        driver.finished.with(|n| *n = n.saturating_add(1))?;
    }
    // Closed and empty.
    Ok(())
}

/// Something that goes on for as long as the driver does.
async fn watches_link(driver: Arc<Driver>) -> Result {
    driver.stopping.wait().await
}

pub(crate) fn run(module: &'static ThisModule) -> Result {
    let domain = Domain::builder(c"shutdown", module).build()?;
    let handle = domain.handle();
    let driver = Arc::new(
        Driver {
            requests: Channel::new(&handle, 8)?,
            stopping: Event::new(&handle),
            finished: domain.cell(0),
        },
        GFP_KERNEL,
    )?;
    let finished = run_inside(&domain, async move {
        let mut workers = KVec::new();
        for _ in 0..3 {
            workers.push(handle.spawn(c"worker", worker(driver.clone()))?, GFP_KERNEL)?;
        }
        let link = handle.spawn(c"link", watches_link(driver.clone()))?;
        for i in 0..100 {
            driver.requests.send(i).await?;
        }

        // The shutdown: refuse, finish, stop the rest.
        driver.requests.close()?;
        ensure(driver.requests.try_send(100).is_err())?;
        while let Some(worker) = workers.pop() {
            worker.await??;
        }
        driver.stopping.set()?;
        link.await??;
        driver.finished.with(|n| *n)
    })?;
    // Here the device is switched off. The domain goes last.
    ensure(finished == 100)
}
