// SPDX-License-Identifier: GPL-2.0

//! A request with a time-out and retries: firmware that does not always answer is asked again, each
//! time with more patience, and then given up.
//!
//! When the time is over, the future of the request is dropped, and with it the request: who gets it
//! afterwards sees that nobody waits any more.

use crate::{ensure, run_inside};
use coop_domain::prelude::*;
use kernel::prelude::*;
use kernel::time::Delta;

type Firmware = Caller<u32, u32>;

/// Asks up to `tries` times; waits 20 ms, then 40, then 80, … for each answer.
async fn ask_again(firmware: &Firmware, question: u32, tries: u32) -> Result<u32> {
    let mut patience = 20;
    for _ in 0..tries {
        match timeout(Delta::from_millis(patience), firmware.ask(question)).await {
            Err(ETIMEDOUT) => patience = patience.saturating_mul(2),
            Err(e) => return Err(e),
            // An error in here is one of the firmware's domain: it is not there any more.
            Ok(answer) => return answer,
        }
    }
    Err(ETIMEDOUT)
}

/// Answers each third request at once, and holds on to the others until nobody waits for them.
async fn moody(mut requests: Receiver<Request<u32, u32>>) {
    let mut n = 0u32;
    while let Some(request) = requests.recv().await {
        n = n.wrapping_add(1);
        let (question, mut reply) = request.into_parts();
        if n % 3 == 0 {
            // An error means that the one who asked has given up meanwhile.
            let _ = reply.send(question.wrapping_add(1));
        } else {
            reply.abandoned().await;
        }
    }
}

pub(crate) fn run(module: &'static ThisModule) -> Result {
    let domain = Domain::builder(c"retry", module).build()?;
    let (firmware, requests) = domain.call_mailbox()?;
    domain.spawn(c"firmware", moody(requests))?.detach();
    run_inside(&domain, async move {
        // The third try is answered.
        ensure(ask_again(&firmware, 41, 5).await? == 42)?;
        // Two are not enough.
        ensure(ask_again(&firmware, 41, 2).await == Err(ETIMEDOUT))
    })
}
