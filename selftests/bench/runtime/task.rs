// SPDX-License-Identifier: GPL-2.0

//! Coroutines: switches, wake-ups, birth and death.

use crate::harness::*;
use coop_domain::{yield_if_needed, yield_now, Slice};
use core::future::{poll_fn, Future};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use kernel::prelude::*;
use kernel::sync::{Arc, SetOnce};

/// Counts polls down, so that there is one thing to look at in each, and the measurer is not what is
/// measured: the first one, then the warm-up, then those that count.
#[derive(Default)]
struct Count {
    left: u32,
    stage: Stage,
}

#[derive(Default)]
enum Stage {
    #[default]
    New,
    WarmUp,
    Since(u64),
}

impl Count {
    /// One poll; whether that is the first one of a stage: then [`turn`](Self::turn) follows.
    #[inline(always)]
    fn step(&mut self) -> bool {
        let (left, turns) = self.left.overflowing_sub(1);
        self.left = left;
        turns
    }

    fn is_new(&self) -> bool {
        matches!(self.stage, Stage::New)
    }

    /// The next stage, which lasts for `ops` polls if they count; the nanoseconds, when they did.
    #[cold]
    #[inline(never)]
    fn turn(&mut self, ops: u32) -> Option<u64> {
        let polls = match self.stage {
            Stage::New => {
                self.stage = Stage::WarmUp;
                WARM_UP
            }
            Stage::WarmUp => {
                self.stage = Stage::Since(start_clock());
                ops
            }
            Stage::Since(start) => return Some(stop_clock().wrapping_sub(start)),
        };
        // This one is the first of them.
        self.left = polls.wrapping_sub(1);
        None
    }
}

/// One op: one `yield_now().await` of one of two coroutines that do nothing else: queued at the
/// end, the other one polled.
pub(crate) struct Yield;

/// Yields in each poll, so many times.
struct Yielder {
    count: Count,
    ops: u32,
}

impl Future for Yielder {
    type Output = Result<u64>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.count.step() {
            let ops = self.ops;
            if let Some(ns) = self.count.turn(ops) {
                return Poll::Ready(Ok(ns));
            }
        }
        Pin::new(&mut yield_now()).poll(cx).map(|()| Err(EIO))
    }
}

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
        let measurer = Yielder {
            count: Count::default(),
            ops,
        };
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

/// Where the coroutines of a domain find each other's wakers.
#[derive(Default)]
struct Nest {
    measurer: SetOnce<Waker>,
    partner: SetOnce<Waker>,
}

fn register(slot: &SetOnce<Waker>, waker: &Waker) {
    if slot.as_ref().is_none() {
        slot.populate(waker.clone());
    }
}

/// One op: one of two coroutines wakes the other one through its waker, and that one is polled.
///
/// Each of them looks for the other one's waker once, and keeps it: to look into the nest, and
/// whether one's own is there already, in each poll would cost a quarter of what is measured.
pub(crate) struct WakeLocal;

/// Wakes the measurer in each poll.
struct Partner {
    nest: Arc<Nest>,
    measurer: Option<Waker>,
}

impl Partner {
    #[cold]
    #[inline(never)]
    fn meet(&mut self, cx: &mut Context<'_>) {
        register(&self.nest.partner, cx.waker());
        // Not there yet in the first poll: then it comes by itself.
        if let Some(measurer) = self.nest.measurer.as_ref() {
            measurer.wake_by_ref();
            self.measurer = Some(measurer.clone());
        }
    }
}

impl Future for Partner {
    type Output = ();

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &self.measurer {
            Some(measurer) => measurer.wake_by_ref(),
            None => self.meet(cx),
        }
        Poll::Pending
    }
}

/// Wakes the partner in each poll, so many times.
struct Measurer {
    nest: Arc<Nest>,
    /// Nobody's before the first poll.
    partner: Waker,
    count: Count,
    ops: u32,
}

impl Measurer {
    #[cold]
    #[inline(never)]
    fn turn(&mut self, cx: &mut Context<'_>) -> Option<u64> {
        if self.count.is_new() {
            register(&self.nest.measurer, cx.waker());
            match self.nest.partner.as_ref() {
                Some(partner) => self.partner = partner.clone(),
                None => {
                    // Not there yet: it will wake us.
                    self.count = Count::default();
                    return None;
                }
            }
        }
        let ns = self.count.turn(self.ops);
        self.partner.wake_by_ref();
        ns
    }
}

impl Future for Measurer {
    type Output = Result<u64>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.count.step() {
            self.partner.wake_by_ref();
            return Poll::Pending;
        }
        self.turn(cx)
            .map_or(Poll::Pending, |ns| Poll::Ready(Ok(ns)))
    }
}

impl Figure for WakeLocal {
    const NAME: &'static CStr = c"task.wake_local";
    const OPS: u32 = 1024;

    fn run(s: &mut Sample, ops: u32) -> Result {
        let domain = domain_on(cpu())?;
        let nest = Arc::new(Nest::default(), GFP_KERNEL)?;
        let partner = Partner {
            nest: nest.clone(),
            measurer: None,
        };
        let measurer = Measurer {
            nest,
            partner: Waker::noop().clone(),
            count: Count::default(),
            ops,
        };
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
