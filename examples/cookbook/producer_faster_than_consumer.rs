// SPDX-License-Identifier: GPL-2.0

//! A producer that is faster than its consumer: three answers.
//!
//! - It waits: a bounded [`Channel`] makes the sender wait for room.
//! - It drops the newest: an interrupt cannot wait; `try_post` hands the message back.
//! - It drops all but the last: of a [`Watch`] only the newest state is seen, which is what link
//!   states, temperatures and the like want.

use crate::{ensure, run_inside};
use coop_domain::prelude::*;
use coop_domain::sync::{Channel, Watch};
use kernel::prelude::*;
use kernel::sync::Arc;

/// What the consumer does with each.
async fn work() {
    for _ in 0..3 {
        yield_now().await;
    }
}

/// Every message arrives; the producer runs at the consumer's pace.
async fn waits(domain: Handle) -> Result {
    let channel = Arc::new(Channel::new(&domain, 4)?, GFP_KERNEL)?;
    let producer = channel.clone();
    let produce = async move {
        for i in 0..100u32 {
            producer.send(i).await?;
        }
        producer.close()
    };
    domain.spawn(c"producer", produce)?.detach();
    let mut expected = 0;
    while let Ok(i) = channel.recv().await {
        ensure(i == expected && channel.len()? <= 4)?;
        expected += 1;
        work().await;
    }
    ensure(expected == 100)
}

/// Only states arrive that were the newest at that time, and the last one for sure.
async fn skips(domain: Handle) -> Result {
    let state = Arc::new(Watch::new(&domain, 0u32), GFP_KERNEL)?;
    let producer = state.clone();
    let produce = async move {
        for i in 1..=100 {
            producer.set(i)?;
            yield_now().await;
        }
        Ok::<(), Error>(())
    };
    domain.spawn(c"producer", produce)?.detach();
    let (mut seen, mut looks) = (0, 0);
    while state.with(|i| *i)? < 100 {
        seen = state.changed(seen).await?;
        looks += 1;
        work().await;
    }
    ensure(looks < 100)
}

/// What finds no room comes back to the sender at once, who counts it.
fn drops(domain: &Domain) -> Result {
    let capacity = Capacity {
        task: 8,
        softirq: 8,
        hardirq: 8,
    };
    let (sender, mut messages) = domain.mailbox_with::<u32>(capacity)?;
    let (mut sent, mut lost) = (0u32, 0u32);
    for i in 0..100_000 {
        // As an interrupt handler would.
        match sender.try_post(i) {
            Ok(()) => sent += 1,
            Err(_full) => lost += 1,
        }
    }
    drop(sender);
    let received = run_inside(domain, async move {
        let mut received = 0;
        while messages.recv().await.is_some() {
            received += 1;
            work().await;
        }
        Ok(received)
    })?;
    pr_info!("of 100000 messages, {sent} found room\n");
    ensure(received == sent && lost > 0)
}

pub(crate) fn run(module: &'static ThisModule) -> Result {
    let domain = Domain::builder(c"producer", module).build()?;
    run_inside(&domain, waits(domain.handle()))?;
    run_inside(&domain, skips(domain.handle()))?;
    drops(&domain)
}
