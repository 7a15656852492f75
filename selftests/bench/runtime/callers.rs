// SPDX-License-Identifier: GPL-2.0

//! Threads on several CPUs that call one domain at once.
//!
//! C header: `selftests/bench/baseline/callers.h`.

use crate::harness::*;
use coop_domain::prelude::*;
use core::cell::UnsafeCell;
use core::ffi::{c_int, c_uint, c_void};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use kernel::prelude::*;

/// What is to be worked on by one at a time: `struct load`.
#[repr(C)]
struct Load {
    words: UnsafeCell<[u64; 4]>,
    done: UnsafeCell<u64>,
}

// SAFETY: Only C touches it, and only in a coroutine of one domain.
unsafe impl Sync for Load {}

impl Load {
    const fn new() -> Self {
        Load {
            words: UnsafeCell::new([0; 4]),
            done: UnsafeCell::new(0),
        }
    }
}

static LOAD: Load = Load::new();

/// What is worked on besides: does not count.
static MORE: Load = Load::new();

extern "C" {
    fn coop_bench_work(load: *const Load);
    fn coop_bench_callers(
        s: *mut Sample,
        ops: c_uint,
        callers: c_uint,
        op: unsafe extern "C" fn(*const c_void) -> c_int,
        arg: *const c_void,
        load: *const Load,
    ) -> c_int;
}

/// # Safety
///
/// `tx` is valid.
unsafe extern "C" fn call(tx: *const c_void) -> c_int {
    // SAFETY: Per the function's contract.
    let tx = unsafe { &*tx.cast::<Caller<u64, u64>>() };
    match tx.call(1) {
        Ok(_) => 0,
        Err(e) => e.to_errno(),
    }
}

/// One op: one call, by any of `N` threads with a CPU each that all call one domain, until a certain
/// number of calls is done. The domain does the work that the mutex of `base.mutex_callers_*`
/// protects; each thread does a little work of its own between two calls. All CPUs' instructions
/// count, also those that wait: with the same number of threads, throughput is the inverse.
pub(crate) struct Inline<const N: u32>;

impl<const N: u32> Figure for Inline<N> {
    const NAME: &'static CStr = match N {
        1 => c"call.inline_callers_1",
        2 => c"call.inline_callers_2",
        _ => c"call.inline_callers_4",
    };
    const OPS: u32 = 512;
    const CPUS: u32 = N;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = domain_on(cpu())?;
        let (tx, mut rx) = domain.call_mailbox::<u64, u64>()?;
        domain
            .spawn(c"server", async move {
                while let Some(request) = rx.recv().await {
                    let (q, reply) = request.into_parts();
                    // SAFETY: Coroutines of a domain run one at a time, and only this one works.
                    unsafe { coop_bench_work(&LOAD) };
                    let _ = reply.send(q.wrapping_add(1));
                }
            })?
            .detach();
        callers(s, ops, N, call, &tx)
    }
}

/// Has `n` threads call `op` with `arg`, which it is made for.
fn callers<T: Sync>(
    s: &mut Sample,
    ops: u32,
    n: u32,
    op: unsafe extern "C" fn(*const c_void) -> c_int,
    arg: &T,
) -> Result {
    let arg = core::ptr::from_ref(arg).cast();
    // SAFETY: All are valid until it returns; all threads have ended then.
    kernel::error::to_result(unsafe { coop_bench_callers(s, ops, n, op, arg, &LOAD) })
}

/// A coroutine whose callers meet: it takes the requests of four before it answers any, and answers
/// all in one poll. They are woken together, at the end of that, or `NOW`, with their answers. Between
/// them it does nothing, so that nobody who was woken has anything to wait for; or it works for `EACH`
/// of them before that one's answer, as one that serves what there is would: who was woken first comes
/// again meanwhile. `STAMPED`: the first answer of a meeting is when it was given, the others are 0.
fn meeting<const EACH: bool, const NOW: bool, const STAMPED: bool>(
    domain: &Domain,
) -> Result<Caller<u64, u64>> {
    let (tx, mut rx) = domain.call_mailbox::<u64, u64>()?;
    // SAFETY: Coroutines of a domain run one at a time, and only this one works.
    let work = |load| unsafe { coop_bench_work(load) };
    domain
        .spawn(c"server", async move {
            loop {
                let mut here: [_; 4] = core::array::from_fn(|_| None);
                for place in &mut here {
                    *place = rx.recv().await;
                }
                // Nobody stops before all are here: what counts is done for all of them first.
                here.iter().flatten().for_each(|_| work(&LOAD));
                for (nth, request) in here.into_iter().enumerate() {
                    let Some(request) = request else { return };
                    let (mut q, reply) = request.into_parts();
                    if EACH {
                        work(&MORE);
                    }
                    if STAMPED {
                        q = if nth == 0 { now() } else { 0 };
                    }
                    let _ = if NOW {
                        reply.send_now(q)
                    } else {
                        reply.send(q)
                    };
                }
            }
        })?
        .detach();
    Ok(tx)
}

/// One op: one call, as in `call.inline_callers_4`, but four callers [meet](meeting).
pub(crate) struct Meeting<const EACH: bool, const NOW: bool>;

impl<const EACH: bool, const NOW: bool> Figure for Meeting<EACH, NOW> {
    const NAME: &'static CStr = match (EACH, NOW) {
        (false, true) => c"call.meeting_4_now",
        (false, false) => c"call.meeting_4",
        (true, true) => c"call.serving_4_now",
        (true, false) => c"call.serving_4",
    };
    const OPS: u32 = 512;
    const CPUS: u32 = 4;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = domain_on(cpu())?;
        let tx = meeting::<EACH, NOW, false>(&domain)?;
        callers(s, ops, 4, call, &tx)
    }
}

/// A caller of a `STAMPED` meeting, and what the first answers took to it.
struct Delays {
    tx: Caller<u64, u64>,
    ns: AtomicU64,
    answers: AtomicU64,
}

/// # Safety
///
/// `delays` is valid.
unsafe extern "C" fn stamped_call(delays: *const c_void) -> c_int {
    // SAFETY: Per the function's contract.
    let delays = unsafe { &*delays.cast::<Delays>() };
    match delays.tx.call(0) {
        Ok(0) => 0,
        Ok(given) => {
            let took = now().wrapping_sub(given);
            delays.ns.fetch_add(took, Relaxed);
            delays.answers.fetch_add(1, Relaxed);
            0
        }
        Err(e) => e.to_errno(),
    }
}

/// One op: from the first answer of a [`meeting`] until the caller whose it is has it, and runs. Of the
/// four it has the longest to wait for the end of that poll. On all CPUs, whatever they do meanwhile.
pub(crate) struct FirstAnswer<const EACH: bool, const NOW: bool>;

impl<const EACH: bool, const NOW: bool> Figure for FirstAnswer<EACH, NOW> {
    const NAME: &'static CStr = match (EACH, NOW) {
        (false, true) => c"call.meeting_4_delay_now",
        (false, false) => c"call.meeting_4_delay",
        (true, true) => c"call.serving_4_delay_now",
        (true, false) => c"call.serving_4_delay",
    };
    const OPS: u32 = 128;
    const CPUS: u32 = 4;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = domain_on(cpu())?;
        let delays = Delays {
            tx: meeting::<EACH, NOW, true>(&domain)?,
            ns: AtomicU64::new(0),
            answers: AtomicU64::new(0),
        };
        callers(s, ops, 4, stamped_call, &delays)?;
        (s.ns, s.ops) = (delays.ns.into_inner(), delays.answers.into_inner());
        Ok(())
    }
}
