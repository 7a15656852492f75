// SPDX-License-Identifier: GPL-2.0

//! A reset in the middle of traffic: who is at it finishes, who comes waits, nobody sees the device
//! half reset, and nothing is lost.
//!
//! Traffic holds the device for reading, across its awaits, the reset for writing. A writer is not
//! kept waiting by readers that come after it.

use crate::{ensure, run_inside};
use coop_domain::prelude::*;
use coop_domain::sync::RwLock;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::Delta;

struct Device {
    up: bool,
    resets: u32,
}

/// The straight line of a reset.
async fn reset(device: &RwLock<Device>) -> Result {
    let mut device = device.write().await?;
    device.up = false;
    // The device needs its time, twice.
    sleep(Delta::from_millis(2)).await;
    sleep(Delta::from_millis(1)).await;
    device.up = true;
    device.resets = device.resets.saturating_add(1);
    Ok(())
}

/// Sends one, in two steps.
async fn send(device: &RwLock<Device>) -> Result {
    let device = device.read().await?;
    ensure(device.up)?;
    yield_now().await;
    // Nobody has reset it meanwhile.
    ensure(device.up)
}

pub(crate) fn run(module: &'static ThisModule) -> Result {
    let domain = Domain::builder(c"reset", module).build()?;
    let handle = domain.handle();
    let first = Device {
        up: true,
        resets: 0,
    };
    let device = Arc::new(RwLock::new(&handle, first), GFP_KERNEL)?;
    run_inside(&domain, async move {
        let mut senders = KVec::new();
        for _ in 0..4 {
            let device = device.clone();
            let sends = async move {
                for _ in 0..100 {
                    send(&device).await?;
                    sleep(Delta::from_micros(50)).await;
                }
                Ok::<(), Error>(())
            };
            senders.push(handle.spawn(c"sender", sends)?, GFP_KERNEL)?;
        }
        for _ in 0..3 {
            sleep(Delta::from_millis(1)).await;
            reset(&device).await?;
        }
        while let Some(sender) = senders.pop() {
            sender.await??;
        }
        ensure(device.read().await?.resets == 3)
    })
}
