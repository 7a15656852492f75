// SPDX-License-Identifier: GPL-2.0

//! Recipes: what drivers do again and again, each in a file of its own.
//!
//! Loading this module runs them all, one after the other; each checks that it did what it is for.
//! `examples/cookbook/cookbook.sh` is that as a test.

use coop_domain::prelude::*;
use core::future::Future;
use kernel::prelude::*;

mod batch_and_flush;
mod bounded_parallelism;
mod graceful_shutdown;
mod periodic_statistics;
mod poll_with_backoff;
mod priority_command_queue;
mod producer_faster_than_consumer;
mod request_with_retry;
mod reset_in_traffic;
mod watchdog;

module! {
    type: Cookbook,
    name: "coop_cookbook",
    authors: ["The coop_domain authors"],
    description: "Recipes for coop_domain",
    license: "GPL",
}

/// The name of a recipe's file, and the recipe.
type Recipe = (&'static str, fn(&'static ThisModule) -> Result);

static RECIPES: &[Recipe] = &[
    ("batch_and_flush", batch_and_flush::run),
    ("bounded_parallelism", bounded_parallelism::run),
    ("graceful_shutdown", graceful_shutdown::run),
    ("periodic_statistics", periodic_statistics::run),
    ("poll_with_backoff", poll_with_backoff::run),
    ("priority_command_queue", priority_command_queue::run),
    (
        "producer_faster_than_consumer",
        producer_faster_than_consumer::run,
    ),
    ("request_with_retry", request_with_retry::run),
    ("reset_in_traffic", reset_in_traffic::run),
    ("watchdog", watchdog::run),
];

struct Cookbook;

impl kernel::Module for Cookbook {
    fn init(module: &'static ThisModule) -> Result<Self> {
        for (name, recipe) in RECIPES {
            match recipe(module) {
                Ok(()) => pr_info!("{name}: ok\n"),
                Err(e) => pr_err!("{name}: failed: {e:?}\n"),
            }
        }
        Ok(Cookbook)
    }
}

/// Runs `future` in `domain`; waits for its value, as a thread does: by a call.
pub(crate) fn run_inside<T: Send + 'static>(
    domain: &Domain,
    future: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let (caller, mut requests) = domain.call_mailbox::<(), Result<T>>()?;
    let answer = async move {
        let value = future.await;
        if let Some(request) = requests.recv().await {
            let ((), reply) = request.into_parts();
            // An error means that the caller was killed meanwhile.
            let _ = reply.send(value);
        }
    };
    domain.spawn(c"recipe", answer)?.detach();
    caller.call(())?
}

/// What a recipe promises: an error if it is not so.
pub(crate) fn ensure(so: bool) -> Result {
    if so {
        Ok(())
    } else {
        Err(EIO)
    }
}
