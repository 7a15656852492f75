// SPDX-License-Identifier: GPL-2.0

//! Calls and posts of all CPUs and contexts, from load to unload: for `owner.sh`, which does both
//! hundreds of times. Invariant 6: no code of a module runs after its unload.
//!
//! A module of its own, because it is small: `coop_test.ko` takes a second to load.

#[allow(dead_code, unused_imports, unused_macros)] // Shared with coop_test.rs.
#[path = "harness.rs"]
mod harness;
#[allow(dead_code, unused_imports, unused_macros)] // Shared with coop_test.rs.
#[path = "sys.rs"]
mod sys;

use coop_domain::prelude::*;
use harness::{domain, other, room};
use kernel::ffi::c_void;
use kernel::module::this_module;
use kernel::prelude::*;
use sys::{Where, Worker};

module! {
    type: Cycle,
    name: "coop_cycle",
    authors: ["The coop_domain authors"],
    description: "Traffic from load to unload",
    license: "GPL",
    params: {
        senders_first: u32 {
            default: 0,
            description: "At unload, end the senders before their domain",
        },
        lodger: u32 {
            default: 0,
            description: "Leave coroutines behind in the domain of coop_test.ko",
        },
        slow: u32 {
            default: 0,
            description: "Milliseconds that the destructors of these take",
        },
    },
}

/// This module, which owns the domain.
fn owner() -> &'static ThisModule {
    this_module::<Cycle>()
}

/// A message of this module's own.
struct Mine;

/// Coroutines in a domain of another module, which nobody ends before this one goes: one that
/// waits, with both ends of a mailbox, one that always runs, and many that are new when the module
/// goes.
fn lodge(count: u32) -> Result {
    extern "C" {
        fn coop_cycle_lodge() -> *mut c_void;
    }
    // SAFETY: No precondition.
    let domain = unsafe { coop_cycle_lodge() }.cast::<Domain>();
    // SAFETY: Null, or a domain that is there as long as `coop_test.ko` is not told to end.
    let domain = unsafe { domain.as_ref() }.ok_or(ENOENT)?;
    let slow = module_parameters::slow.value();
    for i in 0..count {
        let left = harness::on_drop(move || {
            pr_info!("lodger {i} is dropped\n");
            sys::sleep_ms(slow);
        });
        let mailbox = if i == 0 {
            Some(domain.mailbox::<Mine>()?)
        } else {
            None
        };
        let lodger = async move {
            let (_left, _mailbox) = (left, mailbox);
            if i == 1 {
                loop {
                    yield_now().await;
                }
            }
            harness::forever().await;
        };
        domain.spawn(c"lodger", lodger)?.detach();
    }
    Ok(())
}

struct Cycle {
    domain: Option<Domain>,
    senders: KVec<Worker<()>>,
}

impl kernel::Module for Cycle {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let lodgers = module_parameters::lodger.value();
        if lodgers != 0 {
            lodge(lodgers)?;
            return Ok(Cycle {
                domain: None,
                senders: KVec::new(),
            });
        }
        let domain = domain(c"cycle")?;
        let (caller, mut requests) = domain.call_mailbox::<u32, u32>()?;
        let (tx, mut rx) = domain.mailbox_with::<u32>(room(4))?;
        let server = async move {
            while let Some(request) = requests.recv().await {
                let (q, reply) = request.into_parts();
                let _ = reply.send(q);
            }
        };
        domain.spawn(c"server", server)?.detach();
        let taker = async move { while rx.recv().await.is_some() {} };
        domain.spawn(c"taker", taker)?.detach();

        let mut senders = KVec::new();
        for cpu in 0..sys::cpus() {
            let (caller, tx) = (caller.clone(), tx.clone());
            let sender = Worker::start(Some(cpu), move || {
                let mut i = 0;
                while !sys::should_stop() {
                    let called = caller.call(i).is_ok();
                    let posted = tx.post(i).is_ok();
                    let irq = sys::run_in_on(Where::HardIrq, other(cpu), || tx.try_post(i).is_ok());
                    if !(called || posted || irq) {
                        break;
                    }
                    i += 1;
                }
            })?;
            senders.push(sender, GFP_KERNEL)?;
        }
        // At least once there and back, before anything ends.
        if caller.call(7)? != 7 {
            return Err(EIO);
        }
        Ok(Cycle {
            domain: Some(domain),
            senders,
        })
    }
}

impl Drop for Cycle {
    fn drop(&mut self) {
        if module_parameters::senders_first.value() != 0 {
            self.senders.clear();
        }
        drop(self.domain.take());
        self.senders.clear();
    }
}
