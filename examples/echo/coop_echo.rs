// SPDX-License-Identifier: GPL-2.0

//! A driver outside the tree, as small as can be: a coroutine that answers calls.
//!
//! It calls itself while it is loaded, and posts to a second coroutine that shares state with the
//! first.

use coop_domain::prelude::*;
use kernel::prelude::*;
use kernel::sync::Arc;

module! {
    type: Echo,
    name: "coop_echo",
    authors: ["The coop_domain authors"],
    description: "A domain that answers calls",
    license: "GPL",
}

/// What the coroutines share. No lock: only they reach it, one at a time.
#[derive(Default)]
struct State {
    served: u32,
}

struct Echo {
    _domain: Domain,
}

impl kernel::Module for Echo {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let domain = Domain::builder(c"echo", module).build()?;
        let (doubler, mut requests) = domain.call_mailbox::<u32, u32>()?;
        let (events, mut received) = domain.mailbox::<&'static str>()?;
        let state = Arc::new(domain.cell(State::default()), GFP_KERNEL)?;

        let shared = state.clone();
        domain
            .spawn(c"doubler", async move {
                // Until the last caller has gone.
                while let Some(request) = requests.recv().await {
                    let (number, reply) = request.into_parts();
                    shared.with(|state| state.served = state.served.wrapping_add(1))?;
                    // `Err` hands the answer back: the caller was killed, and needs none.
                    let _ = reply.send(number.wrapping_mul(2));
                }
                Ok::<(), Error>(())
            })?
            .detach();

        domain
            .spawn(c"events", async move {
                while let Some(event) = received.recv().await {
                    let served = state.with(|state| state.served)?;
                    pr_info!("{event} after {served} calls\n");
                }
                Ok::<(), Error>(())
            })?
            .detach();

        // Any thread may call, and waits for the answer; any context may post.
        for number in [1, 2, 21] {
            pr_info!("twice {number} is {}\n", doubler.call(number)?);
        }
        events.try_post("hello")?;

        // Senders and callers go here, and the coroutines end. The domain goes with the module.
        Ok(Echo { _domain: domain })
    }
}
