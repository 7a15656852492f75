// SPDX-License-Identifier: GPL-2.0

//! The figures of the runtime.
//!
//! Loading runs nothing: the table below is offered in debugfs, `coop_bench/run` and
//! `coop_bench/results`, by the harness of `coop_baseline.ko`, which measures the baselines too.
//! What one operation of a figure is, its type says.

use kernel::prelude::*;

#[path = "runtime/among.rs"]
mod among;
#[path = "runtime/call.rs"]
mod call;
#[path = "runtime/callers.rs"]
mod callers;
#[path = "runtime/harness.rs"]
mod harness;
#[path = "runtime/irq.rs"]
mod irq;
#[path = "runtime/mem.rs"]
mod mem;
#[path = "runtime/post.rs"]
mod post;
#[path = "runtime/ring.rs"]
mod ring;
#[path = "runtime/sync.rs"]
mod sync;
#[path = "runtime/task.rs"]
mod task;
#[path = "runtime/timer.rs"]
mod timer;

use harness::{entry, Entry, Suite};

static FIGURES: [Entry; 53] = [
    entry::<ring::PushPop>(),
    entry::<ring::PushPopInMemory>(),
    entry::<ring::Batch32>(),
    entry::<ring::Batch32Copied>(),
    entry::<task::Yield>(),
    entry::<task::YieldIfNeeded>(),
    entry::<task::SpawnJoin>(),
    entry::<task::WakeLocal>(),
    entry::<task::WakeRemote>(),
    entry::<among::Yield<10>>(),
    entry::<among::Yield<1_000>>(),
    entry::<among::Yield<100_000>>(),
    entry::<post::Busy>(),
    entry::<post::Batch32>(),
    entry::<post::Idle>(),
    entry::<post::Bh>(),
    entry::<post::BhInside>(),
    entry::<call::Inline>(),
    entry::<call::Bh>(),
    entry::<call::EnterBh>(),
    entry::<among::Inline<10>>(),
    entry::<among::Inline<1_000>>(),
    entry::<among::Inline<100_000>>(),
    entry::<callers::Inline<1>>(),
    entry::<callers::Inline<2>>(),
    entry::<callers::Inline<4>>(),
    entry::<callers::Meeting<false, true>>(),
    entry::<callers::Meeting<false, false>>(),
    entry::<callers::Meeting<true, true>>(),
    entry::<callers::Meeting<true, false>>(),
    entry::<callers::FirstAnswer<false, true>>(),
    entry::<callers::FirstAnswer<false, false>>(),
    entry::<callers::FirstAnswer<true, true>>(),
    entry::<callers::FirstAnswer<true, false>>(),
    entry::<call::SameCpu>(),
    entry::<call::CrossCpu>(),
    entry::<irq::ToCoroutine>(),
    entry::<sync::Acquire>(),
    entry::<sync::Lock>(),
    entry::<sync::Read>(),
    entry::<sync::Send>(),
    entry::<sync::SendOnly>(),
    entry::<sync::ReceiveOnly>(),
    entry::<sync::TrySend>(),
    entry::<sync::Set>(),
    entry::<sync::HandOver>(),
    entry::<timer::Sleep>(),
    entry::<timer::ArmCancel<10>>(),
    entry::<timer::ArmCancel<1_000>>(),
    entry::<timer::ArmCancel<100_000>>(),
    entry::<timer::Select>(),
    entry::<mem::TaskHeader>(),
    entry::<mem::OneDomain>(),
];

struct CoopBench {
    _suite: Suite,
}

impl kernel::Module for CoopBench {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(CoopBench {
            _suite: Suite::register(c"coop_bench", &FIGURES)?,
        })
    }
}

module! {
    type: CoopBench,
    name: "coop_bench",
    authors: ["The coop_domain authors"],
    description: "The figures of coop_domain",
    license: "GPL",
}
