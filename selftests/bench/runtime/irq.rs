// SPDX-License-Identifier: GPL-2.0

//! From a hard interrupt to a coroutine.

use crate::harness::*;
use coop_domain::prelude::*;
use core::ffi::{c_int, c_uint};
use core::sync::atomic::{AtomicU64, Ordering::*};
use kernel::module::this_module;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::delay::fsleep;
use kernel::time::Delta;

extern "C" {
    fn coop_soft_irq_create(cpu: c_uint) -> c_int;
    fn coop_soft_irq_destroy();
    fn coop_soft_irq_raise();
}

/// The interrupt line without a device of `selftests/bench/baseline/soft_irq.c`.
struct SoftIrq(u32);

impl SoftIrq {
    fn create() -> Result<Self> {
        // SAFETY: No precondition.
        let irq = unsafe { coop_soft_irq_create(cpu()) };
        u32::try_from(irq)
            .map(SoftIrq)
            .map_err(|_| Error::from_errno(irq))
    }

    /// Interrupts this CPU.
    fn raise(&self) {
        // SAFETY: The line exists as long as `self`.
        unsafe { coop_soft_irq_raise() }
    }
}

impl Drop for SoftIrq {
    fn drop(&mut self) {
        // SAFETY: The line exists; its handler is freed, as `run` below declares it later.
        unsafe { coop_soft_irq_destroy() }
    }
}

/// One op: from just before an interrupt is raised to the first statement after the await of a
/// coroutine that its top half signals, on one CPU. The domain's home thread is a FIFO thread, as
/// the kernel makes that of `base.threaded_irq`; the one that raises is preempted.
pub(crate) struct ToCoroutine;

impl Figure for ToCoroutine {
    const NAME: &'static CStr = c"irq.to_coroutine";
    const OPS: u32 = 64;
    const OVERHEAD: Overhead = Overhead::Clock;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let irq = SoftIrq::create()?;
        let domain = Domain::builder(c"bench", this_module::<crate::LocalModule>())
            .cpu(cpu())
            .policy(Policy::Fifo)
            .build()?;
        let signal = Arc::new(Signal::new(), GFP_KERNEL)?;
        let arrival = Arc::new(AtomicU64::new(0), GFP_KERNEL)?;
        let (signalled, arrived) = (signal.clone(), arrival.clone());
        domain
            .spawn(c"bottom half", async move {
                loop {
                    signalled.wait().await;
                    arrived.store(stop_clock(), Relaxed);
                }
            })?
            .detach();
        let top = || Top::Wake;
        // SAFETY: The number is ours until `irq` is dropped, after the line.
        let _line = unsafe { IrqLine::from_number(irq.0, false, c"coop_bench", signal, top) }?;
        for i in 0..ops.wrapping_add(WARM_UP) {
            arrival.store(0, Relaxed);
            let start = start_clock();
            irq.raise();
            let arrived = loop {
                match arrival.load(Relaxed) {
                    0 => fsleep(Delta::from_micros(20)),
                    arrived => break arrived,
                }
            };
            if i >= WARM_UP {
                s.ns = s.ns.wrapping_add(arrived.wrapping_sub(start));
            }
        }
        Ok(())
    }
}
