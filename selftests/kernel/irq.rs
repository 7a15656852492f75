// SPDX-License-Identifier: GPL-2.0

//! Interrupts whose bottom half is a coroutine. Invariants 2 and 3: no interrupt is lost.

use crate::harness::*;
use crate::sys::{self, eventually, TestIrq, Worker};
use coop_domain::prelude::*;
use core::sync::atomic::{AtomicU32, Ordering::*};
use kernel::prelude::*;
use kernel::sync::Arc;

pub(crate) const TESTS: &[Test] = &[
    ("irq.every_interrupt_is_seen", every_interrupt),
    ("irq.each_wakes_the_sleeping_coroutine", handshake),
    ("irq.top_half_decides", top_half_decides),
    ("irq.no_top_half_after_drop", no_top_half_after_drop),
];

struct Device {
    /// Interrupts that the top half has counted.
    interrupts: AtomicU32,
    /// Of these, how many the bottom half has heard of.
    seen: AtomicU32,
}

fn device() -> Result<Arc<Device>> {
    Ok(Arc::new(
        Device {
            interrupts: AtomicU32::new(0),
            seen: AtomicU32::new(0),
        },
        GFP_KERNEL,
    )?)
}

/// 100 000 interrupts, sent to all CPUs as fast as they come: the coroutine, which is told once
/// for many, ends up having seen all that the top half has counted.
fn every_interrupt(log: &mut Log) -> Result {
    const TIMES: u32 = 100_000;
    let domain = domain(c"irq")?;
    let (irq, signal, device) = (TestIrq::new()?, signal()?, device()?);
    let d = device.clone();
    let top = move || {
        d.interrupts.fetch_add(1, Relaxed);
        Top::Wake
    };
    // SAFETY: The line is dropped, below, before its interrupt.
    let line = unsafe { IrqLine::from_number(irq.number(), false, c"coop_test", signal, top) }?;
    let (s, d) = (line.signal().clone(), device.clone());
    let bottom = async move {
        loop {
            s.wait().await;
            d.seen.store(d.interrupts.load(Acquire), Release);
        }
    };
    domain.spawn(c"bottom half", bottom)?.detach();
    let mut sources = KVec::new();
    for cpu in 0..sys::cpus() {
        let d = device.clone();
        let source = Worker::start(Some(cpu), move || {
            let mut n = 0u32;
            while d.interrupts.load(Relaxed) < TIMES && !sys::should_stop() {
                // Mostly its own CPU, which is quicker.
                n = n.wrapping_add(1);
                TestIrq::raise(if n % 32 == 0 { other(cpu) } else { cpu });
                sys::cond_resched();
            }
        })?;
        sources.push(source, GFP_KERNEL)?;
    }
    for source in sources {
        check!(log, source.join(5 * LONG).is_some());
    }
    TestIrq::sync();
    let interrupts = device.interrupts.load(Acquire);
    check!(
        log,
        interrupts >= TIMES,
        "only {interrupts} interrupts came"
    );
    let all = eventually(LONG, || device.seen.load(Acquire) == interrupts);
    check!(
        log,
        all,
        "{} of {interrupts} seen",
        device.seen.load(Acquire)
    );
    drop(line);
    Ok(())
}

/// The next interrupt comes only when the last was seen, 5 000 times: the signal always meets a
/// coroutine that sleeps or is about to. One that is lost stops it.
fn handshake(log: &mut Log) -> Result {
    const TIMES: u32 = 5_000;
    let domain = domain_on(c"irq", 0)?;
    let (irq, signal, device) = (TestIrq::new()?, signal()?, device()?);
    let d = device.clone();
    let top = move || {
        d.interrupts.fetch_add(1, Relaxed);
        Top::Wake
    };
    let (number, wake) = (irq.number(), signal.clone());
    // SAFETY: The line is dropped, below, before its interrupt.
    let line = unsafe { IrqLine::from_number(number, false, c"coop_test", wake, top) }?;
    let d = device.clone();
    let bottom = async move {
        loop {
            signal.wait().await;
            let seen = d.seen.fetch_add(1, AcqRel) + 1;
            if seen >= TIMES {
                break;
            }
            // From its own CPU, from another, and by turns from where it is expected least.
            while !TestIrq::raise(seen % sys::cpus()) {
                core::hint::spin_loop();
            }
        }
    };
    let bottom = domain.spawn(c"bottom half", bottom)?;
    TestIrq::raise(0);
    let done = eventually(3 * LONG, || bottom.is_finished());
    check!(log, done, "stopped after {}", device.seen.load(Acquire));
    TestIrq::sync();
    drop(line);
    check_eq!(log, device.interrupts.load(Acquire), TIMES);
    Ok(())
}

/// The top half says whether the coroutine is woken.
fn top_half_decides(log: &mut Log) -> Result {
    let domain = domain(c"irq")?;
    let (irq, signal, device) = (TestIrq::new()?, signal()?, device()?);
    let d = device.clone();
    let top = move || match d.interrupts.fetch_add(1, Relaxed) % 2 {
        0 => Top::Handled,
        _ => Top::Wake,
    };
    let (number, wake) = (irq.number(), signal.clone());
    // SAFETY: The line is dropped, below, before its interrupt.
    let line = unsafe { IrqLine::from_number(number, false, c"coop_test", wake, top) }?;
    let d = device.clone();
    let bottom = async move {
        loop {
            signal.wait().await;
            d.seen.fetch_add(1, AcqRel);
        }
    };
    domain.spawn(c"bottom half", bottom)?.detach();
    for i in 0..10 {
        check!(log, eventually(LONG, || TestIrq::raise(0)));
        TestIrq::sync();
        run(&domain, yield_now())?;
        check_eq!(log, device.interrupts.load(Acquire), i + 1);
        let want = (i + 1) / 2;
        check!(log, eventually(LONG, || device.seen.load(Acquire) == want));
    }
    drop(line);
    Ok(())
}

/// Invariant 6: when the line is dropped, its top half has run for the last time, and what it had
/// is gone.
fn no_top_half_after_drop(log: &mut Log) -> Result {
    let count = count()?;
    for _ in 0..50 {
        let (irq, device) = (TestIrq::new()?, device()?);
        let (d, value) = (device.clone(), Counted::new(&count, 1));
        let top = move || {
            // All of it, not only its number.
            let whole = &value;
            d.interrupts.fetch_add(whole.value, Relaxed);
            Top::Wake
        };
        let (number, wake) = (irq.number(), signal()?);
        // SAFETY: The line is dropped, below, before its interrupt.
        let line = unsafe { IrqLine::from_number(number, false, c"coop_test", wake, top) }?;
        for cpu in 0..sys::cpus() {
            TestIrq::raise(cpu);
        }
        // One is under way, on this CPU or another, or not.
        drop(line);
        let last = device.interrupts.load(Acquire);
        check!(log, count.is_even(), "{count:?}");
        TestIrq::sync();
        check_eq!(log, device.interrupts.load(Acquire), last);
    }
    Ok(())
}
