// SPDX-License-Identifier: GPL-2.0

//! The smallest driver of a domain: a coroutine that answers calls.

use coop_domain::prelude::*;
use kernel::prelude::*;

module! {
    type: Echo,
    name: "coop_echo",
    authors: ["The coop_domain authors"],
    description: "A domain that answers calls",
    license: "GPL",
}

struct Echo {
    _domain: Domain,
}

impl kernel::Module for Echo {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let domain = Domain::builder(c"echo", module).build()?;
        let (caller, mut requests) = domain.call_mailbox::<u32, u32>()?;

        // Straight-line code, and no lock: this coroutine is the only one to touch `served`.
        let server = async move {
            let mut served = 0u32;
            while let Some(request) = requests.recv().await {
                served = served.wrapping_add(1);
                let (number, reply) = request.into_parts();
                // An error means that the caller was killed meanwhile: nothing to do about it.
                let _ = reply.send(number.wrapping_mul(2));
            }
            pr_info!("served {served} calls\n");
        };
        domain.spawn(c"server", server)?.detach();

        // Any thread may call; this one waits until the coroutine has answered.
        for number in [1, 2, 21] {
            pr_info!("twice {number} is {}\n", caller.call(number)?);
        }
        // The caller goes here: the coroutine's loop ends. The domain goes with the module.
        Ok(Echo { _domain: domain })
    }
}
