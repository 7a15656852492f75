// SPDX-License-Identifier: GPL-2.0

//! Calls: a request, and the wait for its reply.

use crate::harness::*;
use kernel::prelude::*;

/// Calls from [`cpu`] into a domain whose home thread is bound to `home`, which is the only one to
/// run it.
fn run(s: &mut Sample, ops: u32, home: u32) -> Result {
    let domain = domain_on(home)?;
    let (tx, mut rx) = domain.call_mailbox::<u64, u64>()?;
    domain
        .spawn(c"server", async move {
            while let Some(request) = rx.recv().await {
                let (q, reply) = request.into_parts();
                let _ = reply.send(q.wrapping_add(1));
            }
        })?
        .detach();
    s.ns = timed_loop!(ops, {
        if tx.call(1)? != 2 {
            return Err(EIO);
        }
    });
    Ok(())
}

/// One op: one call, a `u64` there and a `u64` back, into a domain of the caller's CPU.
pub(crate) struct SameCpu;

impl Figure for SameCpu {
    const NAME: &'static CStr = c"call.dedicated_same_cpu";
    const OPS: u32 = 64;

    fn run(s: &mut Sample, ops: u32) -> Result {
        run(s, ops, cpu())
    }
}

/// The same into a domain of another CPU.
pub(crate) struct CrossCpu;

impl Figure for CrossCpu {
    const NAME: &'static CStr = c"call.dedicated_cross_cpu";
    const OPS: u32 = 64;
    const CPUS: u32 = 2;

    fn run(s: &mut Sample, ops: u32) -> Result {
        run(s, ops, other_cpu())
    }
}
