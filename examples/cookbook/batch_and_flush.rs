// SPDX-License-Identifier: GPL-2.0

//! Batch and flush: requests come one by one, the device is told once for many.
//!
//! The coroutine takes what is there and then flushes. While it flushes, the next batch piles up:
//! the busier the device, the larger the batches, without a timer.

use crate::{ensure, run_inside};
use coop_domain::prelude::*;
use coop_domain::sync::Channel;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Descriptors that the device takes at once.
const BATCH: usize = 16;

/// What the device was told.
#[derive(Default)]
struct Device {
    written: usize,
    doorbells: usize,
}

impl Device {
    async fn flush(&mut self, batch: &mut KVec<u32>) {
        self.written = self.written.saturating_add(batch.len());
        self.doorbells = self.doorbells.saturating_add(1);
        batch.clear();
        // It takes its time.
        for _ in 0..20 {
            yield_now().await;
        }
    }
}

async fn flusher(requests: Arc<Channel<u32>>) -> Result<Device> {
    let mut device = Device::default();
    let mut batch = KVec::with_capacity(BATCH, GFP_KERNEL)?;
    // Waits for the first request of a batch; ends when the channel is closed and empty.
    while let Ok(first) = requests.recv().await {
        batch.push(first, GFP_KERNEL)?;
        while batch.len() < BATCH {
            let Ok(next) = requests.try_recv() else { break };
            batch.push(next, GFP_KERNEL)?;
        }
        device.flush(&mut batch).await;
    }
    Ok(device)
}

pub(crate) fn run(module: &'static ThisModule) -> Result {
    let domain = Domain::builder(c"batch", module).build()?;
    let handle = domain.handle();
    let requests = Arc::new(Channel::new(&handle, 64)?, GFP_KERNEL)?;
    let device = run_inside(&domain, async move {
        let flusher = handle.spawn(c"flusher", flusher(requests.clone()))?;
        for i in 0..1000 {
            requests.send(i).await?;
            yield_now().await;
        }
        requests.close()?;
        flusher.await?
    })?;
    ensure(device.written == 1000)?;
    // At least half of the descriptors of a batch are used.
    ensure(device.doorbells <= 2 * 1000 / BATCH)
}
