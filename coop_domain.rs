// SPDX-License-Identifier: GPL-2.0

//! Cooperative scheduling domains for Linux.
//!
//! A [`Domain`] is a set of coroutines of which at most one executes at any instant. A driver
//! written as coroutines of a domain needs no lock: it is atomic between awaits, and free to block.
//! Preemptive callers (system calls, softirqs, interrupts) reach it through lock-free rings.
//!
//! Read in this order: [`domain`] (making one), [`task`] and [`executor`] (what runs), [`mailbox`]
//! and [`call`] (how others reach it), [`irq`] (interrupts), [`cell`] (shared state).
//!
//! | from | `try_post`, `signal`, wake | `post`, `call` | spawn |
//! | --- | --- | --- | --- |
//! | task, may sleep | yes | yes | yes |
//! | softirq, bottom halves off | yes | `EWOULDBLOCK` | yes |
//! | hard interrupt | yes | `EWOULDBLOCK` | `EWOULDBLOCK` |
//! | coroutine | yes | `EDEADLK`: `send().await`, `ask().await` | yes |
//! | NMI | no | no | no |

#[allow(dead_code, unreachable_pub)] // Shared with selftests/host.
#[path = "coop/alarm.rs"]
mod alarm;
#[allow(dead_code, unreachable_pub)] // Shared with selftests/host.
#[path = "coop/alone.rs"]
mod alone;
#[allow(dead_code, unreachable_pub, unused_imports)] // Shared with selftests/host.
#[path = "coop/atomic.rs"]
mod atomic;
#[path = "coop/bh.rs"]
pub mod bh;
#[allow(dead_code, unreachable_pub)] // Shared with selftests/host.
#[path = "coop/bh_baton.rs"]
mod bh_baton;
#[path = "coop/bh_call.rs"]
mod bh_call;
#[path = "coop/block_on.rs"]
mod block_on;
#[path = "coop/call.rs"]
pub mod call;
#[path = "coop/cell.rs"]
pub mod cell;
#[path = "coop/counter.rs"]
pub mod counter;
#[path = "coop/domain.rs"]
pub mod domain;
#[path = "coop/enqueue.rs"]
mod enqueue;
#[path = "coop/errand.rs"]
mod errand;
#[path = "coop/executor.rs"]
pub mod executor;
#[path = "coop/group.rs"]
pub mod group;
#[path = "coop/home.rs"]
mod home;
#[path = "coop/inline.rs"]
mod inline;
#[path = "coop/irq.rs"]
pub mod irq;
#[path = "coop/join.rs"]
pub mod join;
#[path = "coop/join_handle.rs"]
pub mod join_handle;
#[path = "coop/levels.rs"]
pub mod levels;
#[path = "coop/mailbox.rs"]
pub mod mailbox;
pub mod msgq;
#[path = "coop/news.rs"]
mod news;
#[path = "coop/overrun.rs"]
mod overrun;
#[path = "coop/poll.rs"]
mod poll;
#[path = "coop/receiver.rs"]
pub mod receiver;
#[path = "coop/registry.rs"]
mod registry;
#[path = "coop/reply.rs"]
pub mod reply;
#[allow(dead_code, unreachable_pub)] // Shared with selftests/host.
#[path = "coop/reply_state.rs"]
mod reply_state;
#[path = "coop/room.rs"]
mod room;
#[path = "coop/roster.rs"]
mod roster;
#[path = "coop/run.rs"]
mod run;
#[allow(dead_code, unreachable_pub)] // Shared with selftests/host.
#[path = "coop/run_queue.rs"]
pub mod run_queue;
#[path = "coop/select.rs"]
pub mod select;
#[path = "coop/sender.rs"]
pub mod sender;
#[path = "coop/signal.rs"]
pub mod signal;
#[path = "coop/slice.rs"]
pub mod slice;
#[path = "coop/stats.rs"]
pub mod stats;
#[path = "coop/sync/mod.rs"]
pub mod sync;
pub mod sys;
#[path = "coop/task.rs"]
pub mod task;
#[allow(dead_code, unreachable_pub)] // Shared with selftests/host.
#[path = "coop/task_state.rs"]
mod task_state;
#[path = "coop/teardown.rs"]
mod teardown;
#[path = "coop/time.rs"]
pub mod time;
#[path = "coop/timers.rs"]
mod timers;
#[allow(dead_code, unreachable_pub)] // Shared with selftests/host.
#[path = "coop/turns.rs"]
mod turns;
#[allow(dead_code, unreachable_pub)] // Shared with selftests/host.
#[path = "coop/wait_cell.rs"]
mod wait_cell;
#[path = "coop/wake_batch.rs"]
mod wake_batch;
#[allow(dead_code, unreachable_pub)] // Shared with selftests/host.
#[path = "coop/wake_queue.rs"]
mod wake_queue;
#[path = "coop/waker.rs"]
mod waker;
#[path = "coop/yield_now.rs"]
mod yield_now;

pub use crate::alarm::Missed;
pub use crate::bh::Level;
pub use crate::call::Caller;
pub use crate::cell::DomainCell;
pub use crate::domain::{Builder, Domain, Handle};
pub use crate::group::Group;
pub use crate::home::Spin;
pub use crate::irq::{IrqLine, Top};
pub use crate::join::{join, join3, join4, join_all};
pub use crate::join_handle::{set_priority, JoinHandle};
pub use crate::levels::{LevelReceiver, Levels};
pub use crate::mailbox::Capacity;
pub use crate::receiver::Receiver;
pub use crate::reply::{Reply, Request};
pub use crate::run_queue::Priority;
pub use crate::select::{
    select, select3, select4, select_biased, select_slice, Either, Either3, Either4,
};
pub use crate::sender::{PostError, PostErrorKind, Sender};
pub use crate::signal::Signal;
pub use crate::slice::Slice;
pub use crate::sys::thread::Policy;
pub use crate::task::TASK_HEADER_BYTES;
pub use crate::time::{interval, interval_at, sleep, sleep_until, timeout, Interval};
pub use crate::yield_now::yield_now;

use crate::sys::module::GoingNotifier;
use crate::sys::runner::DieNotifier;
use kernel::prelude::*;

/// What drivers use.
pub mod prelude {
    pub use crate::{
        interval, interval_at, select, select3, select4, select_biased, select_slice, set_priority,
        sleep, sleep_until, timeout, yield_if_needed, yield_now, Builder, Caller, Capacity, Domain,
        DomainCell, Either, Either3, Either4, Group, Handle, Interval, IrqLine, JoinHandle, Level,
        Missed, Policy, PostError, PostErrorKind, Priority, Receiver, Reply, Request, Sender,
        Signal, Slice, Spin, Top,
    };
}

module! {
    type: CoopDomain,
    name: "coop_domain",
    authors: ["The coop_domain authors"],
    description: "Cooperative scheduling domains",
    license: "GPL",
}

#[pin_data(PinnedDrop)]
struct CoopDomain {
    #[pin]
    _going: GoingNotifier,
    _dying: DieNotifier,
}

impl kernel::InPlaceModule for CoopDomain {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _: { registry::init()? },
            _going <- GoingNotifier::new::<registry::Reaper>(),
            _dying: DieNotifier::new(registry::bh_runner_dies)?,
        })
    }
}

#[pinned_drop]
impl PinnedDrop for CoopDomain {
    fn drop(self: Pin<&mut Self>) {
        registry::exit();
    }
}
