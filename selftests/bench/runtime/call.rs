// SPDX-License-Identifier: GPL-2.0

//! Calls: a request, and the wait for its reply.

use crate::harness::*;
use coop_domain::prelude::*;
use kernel::prelude::*;

/// A coroutine of `domain` that answers each `u64` with the next one.
fn server(domain: &Domain) -> Result<Caller<u64, u64>> {
    let (tx, mut rx) = domain.call_mailbox::<u64, u64>()?;
    domain
        .spawn(c"server", async move {
            while let Some(request) = rx.recv().await {
                let (q, reply) = request.into_parts();
                let _ = reply.send(q.wrapping_add(1));
            }
        })?
        .detach();
    Ok(tx)
}

/// Calls from [`cpu`] into `domain`.
pub(crate) fn run(s: &mut Sample, ops: u32, domain: &Domain) -> Result {
    let tx = server(domain)?;
    s.ns = timed_loop!(ops, {
        if tx.call(1)? != 2 {
            return Err(EIO);
        }
    });
    Ok(())
}

/// One op: one call, a `u64` there and a `u64` back, into an idle domain, which the caller runs
/// itself.
pub(crate) struct Inline;

impl Figure for Inline {
    const NAME: &'static CStr = c"call.inline";
    const OPS: u32 = 4096;

    fn run(s: &mut Sample, ops: u32) -> Result {
        run(s, ops, &domain_on(cpu())?)
    }
}

/// One op: one call into a domain of the caller's CPU that only its home thread runs.
pub(crate) struct SameCpu;

impl Figure for SameCpu {
    const NAME: &'static CStr = c"call.dedicated_same_cpu";
    const OPS: u32 = 64;

    fn run(s: &mut Sample, ops: u32) -> Result {
        run(s, ops, &dedicated_on(cpu())?)
    }
}

/// The same into a domain of another CPU.
pub(crate) struct CrossCpu;

impl Figure for CrossCpu {
    const NAME: &'static CStr = c"call.dedicated_cross_cpu";
    const OPS: u32 = 64;
    const CPUS: u32 = 2;

    fn run(s: &mut Sample, ops: u32) -> Result {
        run(s, ops, &dedicated_on(other_cpu())?)
    }
}

/// One op: one call as in `call.inline`, into an idle `Bh` domain.
pub(crate) struct Bh;

impl Figure for Bh {
    const NAME: &'static CStr = c"call.bh";
    const OPS: u32 = 4096;

    fn run(s: &mut Sample, ops: u32) -> Result {
        run(s, ops, &bh_domain_on(cpu())?)
    }
}

/// One op: a `Bh` domain's cell entered with bottom halves off, and a `u64` in it changed: what takes
/// the place of a lock in a driver's data path.
pub(crate) struct EnterBh;

impl Figure for EnterBh {
    const NAME: &'static CStr = c"call.bh_enter";
    const OPS: u32 = 4096;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = bh_domain_on(cpu())?;
        let cell = domain.cell(0u64);
        settle();
        let off = BhOff::enter();
        s.ns = timed_loop!(ops, {
            let _ = cell.enter(|n| *n = n.wrapping_add(1));
        });
        drop(off);
        use_value(cell.into_inner());
        Ok(())
    }
}
