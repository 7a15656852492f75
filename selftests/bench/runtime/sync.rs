// SPDX-License-Identifier: GPL-2.0

//! What coroutines of a domain wait for from each other, where nobody has to wait.

use crate::harness::*;
use coop_domain::sync::{Channel, Event, Mutex, RwLock, Semaphore};
use kernel::prelude::*;
use kernel::sync::Arc;

/// One op: acquire a permit and give it back: two operations of the semaphore.
pub(crate) struct Acquire;

impl Figure for Acquire {
    const NAME: &'static CStr = c"sync.semaphore";
    const OPS: u32 = 1024;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = domain_on(cpu())?;
        let semaphore = Arc::new(Semaphore::new(&domain.handle(), 2), GFP_KERNEL)?;
        s.ns = run_inside(&domain, async move {
            Ok(timed_loop!(ops, drop(semaphore.acquire().await?)))
        })?;
        Ok(())
    }
}

/// One op: take a mutex and release it.
pub(crate) struct Lock;

impl Figure for Lock {
    const NAME: &'static CStr = c"sync.mutex";
    const OPS: u32 = 1024;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = domain_on(cpu())?;
        let mutex = Arc::new(Mutex::new(&domain.handle(), 0u32), GFP_KERNEL)?;
        s.ns = run_inside(&domain, async move {
            Ok(timed_loop!(ops, drop(mutex.lock().await?)))
        })?;
        Ok(())
    }
}

/// One op: take a lock to read and release it.
pub(crate) struct Read;

impl Figure for Read {
    const NAME: &'static CStr = c"sync.rwlock_read";
    const OPS: u32 = 1024;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = domain_on(cpu())?;
        let lock = Arc::new(RwLock::new(&domain.handle(), 0u32), GFP_KERNEL)?;
        s.ns = run_inside(&domain, async move {
            Ok(timed_loop!(ops, drop(lock.read().await?)))
        })?;
        Ok(())
    }
}

/// One op: send a `u64` or receive one, by turns: the mean of both. (`base.kfifo` is a pair of them.)
pub(crate) struct Send;

impl Figure for Send {
    const NAME: &'static CStr = c"sync.channel";
    const OPS: u32 = 1024;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = domain_on(cpu())?;
        let channel = Arc::new(Channel::new(&domain.handle(), 64)?, GFP_KERNEL)?;
        s.ns = run_inside(&domain, async move {
            Ok(timed_loop!(ops, {
                channel.send(1u64).await?;
                forget();
                use_value(channel.recv().await?);
            }))
        })?;
        s.ops = u64::from(ops).wrapping_mul(2);
        Ok(())
    }
}

/// One op: send a `u64` or receive one, by turns, by the functions that do not wait: the mean of both.
pub(crate) struct TrySend;

impl Figure for TrySend {
    const NAME: &'static CStr = c"sync.channel_try";
    const OPS: u32 = 1024;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = domain_on(cpu())?;
        let channel = Arc::new(Channel::new(&domain.handle(), 64)?, GFP_KERNEL)?;
        s.ns = run_inside(&domain, async move {
            Ok(timed_loop!(ops, {
                channel.try_send(1u64)?;
                forget();
                use_value(channel.try_recv()?);
            }))
        })?;
        s.ops = u64::from(ops).wrapping_mul(2);
        Ok(())
    }
}

/// One op: send a `u64`, nothing else. (Four in a row share the loop.)
pub(crate) struct SendOnly;

impl Figure for SendOnly {
    const NAME: &'static CStr = c"sync.channel_send";
    const OPS: u32 = 512;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = domain_on(cpu())?;
        let room = ops.wrapping_add(WARM_UP).wrapping_mul(4);
        let channel = Arc::new(Channel::new(&domain.handle(), room)?, GFP_KERNEL)?;
        s.ns = run_inside(&domain, async move {
            Ok(timed_loop!(ops, {
                channel.send(1u64).await?;
                forget();
                channel.send(2u64).await?;
                forget();
                channel.send(3u64).await?;
                forget();
                channel.send(4u64).await?;
            }))
        })?;
        s.ops = u64::from(ops).wrapping_mul(4);
        Ok(())
    }
}

/// One op: receive a `u64` that is there, nothing else. (Four in a row share the loop.)
pub(crate) struct ReceiveOnly;

impl Figure for ReceiveOnly {
    const NAME: &'static CStr = c"sync.channel_recv";
    const OPS: u32 = 512;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = domain_on(cpu())?;
        let count = ops.wrapping_add(WARM_UP).wrapping_mul(4);
        let channel = Arc::new(Channel::new(&domain.handle(), count)?, GFP_KERNEL)?;
        s.ns = run_inside(&domain, async move {
            for n in 0..count {
                channel.try_send(u64::from(n))?;
            }
            Ok(timed_loop!(ops, {
                use_value(channel.recv().await?);
                use_value(channel.recv().await?);
                use_value(channel.recv().await?);
                use_value(channel.recv().await?);
            }))
        })?;
        s.ops = u64::from(ops).wrapping_mul(4);
        Ok(())
    }
}

/// One op: set an event that nobody waits for, and wait for it, which it does not come to.
pub(crate) struct Set;

impl Figure for Set {
    const NAME: &'static CStr = c"sync.event";
    const OPS: u32 = 1024;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = domain_on(cpu())?;
        let event = Arc::new(Event::new(&domain.handle()), GFP_KERNEL)?;
        s.ns = run_inside(&domain, async move {
            Ok(timed_loop!(ops, {
                event.set()?;
                event.wait().await?;
            }))
        })?;
        Ok(())
    }
}

/// One op: a mutex is handed to the one that waits for it, which is polled, and releases it.
pub(crate) struct HandOver;

impl Figure for HandOver {
    const NAME: &'static CStr = c"sync.mutex_hand_over";
    const OPS: u32 = 512;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = domain_on(cpu())?;
        let mutex = Arc::new(Mutex::new(&domain.handle(), ()), GFP_KERNEL)?;
        let partners = mutex.clone();
        domain
            .spawn(c"partner", async move {
                // Ends with the domain.
                while let Ok(guard) = partners.lock().await {
                    coop_domain::yield_now().await;
                    drop(guard);
                }
            })?
            .detach();
        s.ns = run_inside(&domain, async move {
            Ok(timed_loop!(ops, {
                let guard = mutex.lock().await?;
                coop_domain::yield_now().await;
                drop(guard);
            }))
        })?;
        // The partner got it as often.
        s.ops = u64::from(ops).wrapping_mul(2);
        Ok(())
    }
}
