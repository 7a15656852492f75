// SPDX-License-Identifier: GPL-2.0

//! Holds a domain: for the tests and for the benchmarks.

use coop_domain::prelude::*;
use core::sync::atomic::{AtomicBool, Ordering::*};
use kernel::bindings;
use kernel::prelude::*;
use kernel::sync::{Arc, Completion};

/// Milliseconds after which a domain does not come round to it any more.
const LIMIT: u32 = 20_000;

/// Keeps a domain in the middle of a poll, asleep, as long as it exists: what is queued meanwhile
/// is known to be queued, and the runner is out of the way.
pub(crate) struct Held(Arc<Hold>);

#[pin_data]
struct Hold {
    held: AtomicBool,
    #[pin]
    go: Completion,
}

impl Held {
    /// Returns when all that was ready before has been polled. `ETIME` if that does not happen.
    pub(crate) fn new(domain: &Domain) -> Result<Self> {
        let hold = Arc::pin_init(
            pin_init!(Hold {
                held: AtomicBool::new(false),
                go <- Completion::new(),
            }),
            GFP_KERNEL,
        )?;
        let inside = hold.clone();
        domain
            .spawn(c"hold", async move {
                inside.held.store(true, Release);
                inside.go.wait_for_completion();
            })?
            .detach();
        // If it is not held, dropping this lets the coroutine pass.
        let this = Held(hold);
        for _ in 0..LIMIT {
            if this.0.held.load(Acquire) {
                return Ok(this);
            }
            // SAFETY: The callers may sleep.
            unsafe { bindings::msleep(1) };
        }
        Err(ETIME)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.go.complete_all();
    }
}
