// SPDX-License-Identifier: GPL-2.0

//! Coroutines: switches, wake-ups, birth and death.

use crate::harness::*;
use coop_domain::{yield_if_needed, yield_now, Slice};
use core::cell::UnsafeCell;
use core::future::{poll_fn, Future};
use core::pin::Pin;
use core::task::{Poll, Waker};
use kernel::prelude::*;
use kernel::sync::{Arc, SetOnce};

/// Counts polls down, so that there is one thing to look at in each, and the measurer is not what is
/// measured: first the warm-up, then those that count.
struct Count {
    left: u32,
    ops: u32,
    start: Option<u64>,
}

impl Count {
    fn down(ops: u32) -> Self {
        Count {
            left: WARM_UP,
            ops,
            start: None,
        }
    }

    /// One poll; the nanoseconds, when that was the last.
    #[inline(always)]
    fn step(&mut self) -> Option<u64> {
        if self.left == 0 {
            if let Some(ns) = self.turn() {
                return Some(ns);
            }
        }
        self.left = self.left.wrapping_sub(1);
        None
    }

    #[cold]
    #[inline(never)]
    fn turn(&mut self) -> Option<u64> {
        if let Some(start) = self.start {
            return Some(stop_clock().wrapping_sub(start));
        }
        self.left = self.ops;
        self.start = Some(start_clock());
        None
    }
}

/// One op: one `yield_now().await` of one of two coroutines that do nothing else: queued at the
/// end, the other one polled.
pub(crate) struct Yield;

impl Figure for Yield {
    const NAME: &'static CStr = c"task.yield";
    const OPS: u32 = 1024;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = domain_on(cpu())?;
        domain
            .spawn(c"partner", async move {
                loop {
                    yield_now().await;
                }
            })?
            .detach();
        let mut count = Count::down(ops);
        let measurer = poll_fn(move |cx| match count.step() {
            Some(ns) => Poll::Ready(Ok(ns)),
            None => Pin::new(&mut yield_now()).poll(cx).map(|()| Err(EIO)),
        });
        s.ns = run_inside(&domain, measurer)?;
        // The partner yielded as often.
        s.ops = u64::from(ops).wrapping_mul(2);
        Ok(())
    }
}

/// One op: one `yield_if_needed!` that is not taken.
pub(crate) struct YieldIfNeeded;

impl Figure for YieldIfNeeded {
    const NAME: &'static CStr = c"task.yield_if_needed";
    const OPS: u32 = 1024;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = domain_on(cpu())?;
        s.ns = run_inside(&domain, async move {
            let mut slice = Slice::start();
            Ok(timed_loop!(ops, yield_if_needed!(slice)))
        })?;
        Ok(())
    }
}

/// One op: a coroutine spawns another one, which does nothing, and awaits its end.
pub(crate) struct SpawnJoin;

impl Figure for SpawnJoin {
    const NAME: &'static CStr = c"task.spawn_join";
    const OPS: u32 = 256;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = domain_on(cpu())?;
        let handle = domain.handle();
        s.ns = run_inside(&domain, async move {
            Ok(timed_loop!(ops, handle.spawn(c"child", async {})?.await?))
        })?;
        Ok(())
    }
}

/// Where one of two coroutines of a domain leaves its waker for the other one.
#[derive(Default)]
struct Nest(UnsafeCell<Option<Waker>>);

// SAFETY: Coroutines of one domain run one at a time, and no others have it.
unsafe impl Sync for Nest {}

impl Nest {
    fn register(&self, waker: &Waker) {
        // SAFETY: As for `Sync`; no reference to the content is held.
        let slot = unsafe { &mut *self.0.get() };
        if slot.is_none() {
            *slot = Some(waker.clone());
        }
    }

    fn wake(&self) {
        // SAFETY: As for `Sync`; waking polls nothing by itself.
        if let Some(waker) = unsafe { (*self.0.get()).as_ref() } {
            waker.wake_by_ref();
        }
    }
}

/// The wakers of two coroutines that wake each other.
#[derive(Default)]
struct Pair {
    measurer: Nest,
    partner: Nest,
}

fn register(slot: &SetOnce<Waker>, waker: &Waker) {
    if slot.as_ref().is_none() {
        slot.populate(waker.clone());
    }
}

/// One op: one of two coroutines wakes the other one through its waker, and that one is polled.
pub(crate) struct WakeLocal;

impl Figure for WakeLocal {
    const NAME: &'static CStr = c"task.wake_local";
    const OPS: u32 = 1024;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = domain_on(cpu())?;
        let pair = Arc::new(Pair::default(), GFP_KERNEL)?;
        let partners = pair.clone();
        let partner = poll_fn(move |cx| -> Poll<()> {
            partners.partner.register(cx.waker());
            partners.measurer.wake();
            Poll::Pending
        });
        let mut count = Count::down(ops);
        let measurer = poll_fn(move |cx| {
            if let Some(ns) = count.step() {
                return Poll::Ready(Ok(ns));
            }
            pair.measurer.register(cx.waker());
            pair.partner.wake();
            Poll::Pending
        });
        domain.spawn(c"partner", partner)?.detach();
        s.ns = run_inside(&domain, measurer)?;
        // There and back.
        s.ops = u64::from(ops).wrapping_mul(2);
        Ok(())
    }
}

/// One op: a sleeping coroutine of a running domain is woken through its waker by a thread from
/// outside: the waker's side alone.
pub(crate) struct WakeRemote;

impl Figure for WakeRemote {
    const NAME: &'static CStr = c"task.wake_remote";
    const OPS: u32 = 256;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = domain_on(cpu())?;
        let mut sleepers = KVec::new();
        for _ in 0..ops.wrapping_add(WARM_UP) {
            let slot = Arc::new(SetOnce::<Waker>::new(), GFP_KERNEL)?;
            let own = slot.clone();
            let sleeper = poll_fn(move |cx| -> Poll<()> {
                register(&own, cx.waker());
                Poll::Pending
            });
            domain.spawn(c"sleeper", sleeper)?.detach();
            sleepers.push(slot, GFP_KERNEL)?;
        }
        // Spawned last, it runs when all others sleep.
        let _held = Held::new(&domain)?;
        let mut wakers = KVec::new();
        for slot in &sleepers {
            let waker = SetOnce::as_ref(slot).ok_or(EIO)?;
            wakers.push(waker.clone(), GFP_KERNEL)?;
        }
        let (warm_up, timed) = wakers.split_at_checked(WARM_UP as usize).ok_or(EIO)?;
        warm_up.iter().for_each(Waker::wake_by_ref);
        let start = start_clock();
        for waker in timed {
            waker.wake_by_ref();
            forget();
        }
        s.ns = stop_clock().wrapping_sub(start);
        Ok(())
    }
}
