// SPDX-License-Identifier: GPL-2.0

//! A command queue with priorities: an abort overtakes the reads that wait, a read the background
//! scrub; commands of the same priority stay in order.
//!
//! One bounded queue for each priority, so that much of one leaves room for the others, and one
//! semaphore that counts the commands in all of them, so that the coroutine that talks to the device
//! waits for any. What it is at it finishes: between two awaits nobody interrupts it.

use crate::{ensure, run_inside};
use coop_domain::prelude::*;
use coop_domain::sync::{Channel, Semaphore};
use kernel::prelude::*;
use kernel::sync::Arc;

#[derive(Clone, Copy)]
enum Urgency {
    Abort,
    Read,
    Scrub,
}

struct Commands {
    queues: [Channel<u32>; 3],
    queued: Semaphore,
}

impl Commands {
    fn new(domain: &Handle) -> Result<Self> {
        Ok(Commands {
            queues: [
                Channel::new(domain, 16)?,
                Channel::new(domain, 16)?,
                Channel::new(domain, 16)?,
            ],
            queued: Semaphore::new(domain, 0),
        })
    }

    /// Queues a command; waits if there are too many of its urgency.
    async fn submit(&self, urgency: Urgency, command: u32) -> Result {
        let queue = self.queues.get(urgency as usize).ok_or(EINVAL)?;
        queue.send(command).await?;
        self.queued.add(1)
    }

    /// The most urgent command, the oldest of them; waits if there is none.
    async fn next(&self) -> Result<u32> {
        // Once for each command that was queued: there is one.
        self.queued.acquire().await?.forget();
        let mut queues = self.queues.iter();
        queues.find_map(|queue| queue.try_recv().ok()).ok_or(EIO)
    }
}

pub(crate) fn run(module: &'static ThisModule) -> Result {
    let domain = Domain::builder(c"priority", module).build()?;
    let handle = domain.handle();
    run_inside(&domain, async move {
        let commands = Arc::new(Commands::new(&handle)?, GFP_KERNEL)?;
        // A scrub is begun; the others wait for the device.
        commands.submit(Urgency::Scrub, 30).await?;
        ensure(commands.next().await? == 30)?;
        commands.submit(Urgency::Scrub, 31).await?;
        commands.submit(Urgency::Read, 20).await?;
        commands.submit(Urgency::Read, 21).await?;
        commands.submit(Urgency::Abort, 10).await?;
        for expected in [10, 20, 21, 31] {
            ensure(commands.next().await? == expected)?;
        }
        // One who waits is woken by any.
        let waiting = commands.clone();
        let next = handle.spawn(c"device", async move { waiting.next().await })?;
        yield_now().await;
        commands.submit(Urgency::Read, 22).await?;
        ensure(next.await?? == 22)
    })
}
