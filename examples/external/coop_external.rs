// SPDX-License-Identifier: GPL-2.0

//! A driver outside the tree: numbers are posted, from wherever; calls get their sum so far.
//!
//! Copy this folder anywhere, and build it with `make -C <checkout> EXT=<folder>`.

use coop_domain::prelude::*;
use kernel::prelude::*;
use kernel::sync::Arc;

module! {
    type: External,
    name: "coop_external",
    authors: ["The coop_domain authors"],
    description: "A driver outside the tree of coop_domain",
    license: "GPL",
}

struct External {
    _domain: Domain,
}

impl kernel::Module for External {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let domain = Domain::builder(c"external", module).build()?;
        let (numbers, mut posted) = domain.mailbox::<u32>()?;
        let (caller, mut requests) = domain.call_mailbox::<(), u32>()?;

        // Two coroutines share this, without a lock: they never run at once.
        let sum = Arc::new(domain.cell(0u32), GFP_KERNEL)?;

        let shared = sum.clone();
        let adds = async move {
            while let Some(number) = posted.recv().await {
                shared.with(|sum| *sum = sum.wrapping_add(number))?;
            }
            Ok::<(), Error>(())
        };
        let adds = domain.spawn(c"adds", adds)?;

        let answers = async move {
            // All numbers have been added when the other coroutine ends.
            adds.await??;
            while let Some(request) = requests.recv().await {
                let ((), reply) = request.into_parts();
                // An error means that the caller was killed meanwhile: nothing to do about it.
                let _ = reply.send(sum.with(|sum| *sum)?);
            }
            Ok::<(), Error>(())
        };
        domain.spawn(c"answers", answers)?.detach();

        for number in 1..=100 {
            // Waits for room if need be; `try_post` would do from an interrupt.
            numbers.post(number)?;
        }
        drop(numbers);
        pr_info!("the sum of 1 to 100 is {}\n", caller.call(())?);
        Ok(External { _domain: domain })
    }
}
