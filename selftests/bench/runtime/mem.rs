// SPDX-License-Identifier: GPL-2.0

//! Memory.

use crate::harness::*;
use core::mem::size_of;
use kernel::prelude::*;

/// Bytes of a coroutine besides its future.
pub(crate) struct TaskHeader;

impl Figure for TaskHeader {
    const NAME: &'static CStr = c"mem.task_header";
    const OPS: u32 = 1;
    const OVERHEAD: Overhead = Overhead::Bytes;

    fn run(s: &mut Sample, _ops: u32) -> Result {
        s.ns = size_of::<coop_domain::task::Header>() as u64;
        Ok(())
    }
}

/// Bytes of a domain besides its coroutines, its mailboxes, its debugfs files, and the kernel's part
/// of its home thread.
pub(crate) struct OneDomain;

impl Figure for OneDomain {
    const NAME: &'static CStr = c"mem.domain";
    const OPS: u32 = 1;
    const OVERHEAD: Overhead = Overhead::Bytes;

    fn run(s: &mut Sample, _ops: u32) -> Result {
        s.ns = domain_on(cpu())?.bytes() as u64;
        Ok(())
    }
}
