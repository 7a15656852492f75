// SPDX-License-Identifier: GPL-2.0

//! What `coop/atomic.rs` becomes under loom, and the mistakes that a test can ask for.

pub mod atomic {
    pub use loom::cell::UnsafeCell;
    pub use loom::hint::spin_loop;
    pub use loom::sync::atomic::{
        fence, AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering,
    };

    /// `order`, or `Relaxed` while the test makes the mistake `name`.
    pub fn named(name: &'static str, order: Ordering) -> Ordering {
        if mistake(name) {
            Ordering::Relaxed
        } else {
            order
        }
    }

    /// A fence, or none while the test makes the mistake `name`.
    pub fn named_fence(name: &'static str, order: Ordering) {
        if !mistake(name) {
            fence(order);
        }
    }

    pub use super::mistake;
}

use std::cell::Cell;

thread_local! {
    // Loom runs all threads of a model as coroutines of the thread that called it.
    static MISTAKE: Cell<Option<&'static str>> = const { Cell::new(None) };
    static MADE: Cell<u64> = const { Cell::new(0) };
}

/// Whether the mistake `name` is to be made now.
pub fn mistake(name: &str) -> bool {
    let made = MISTAKE.get() == Some(name);
    if made {
        MADE.set(MADE.get() + 1);
    }
    made
}

/// What a model said to the mistake that was made in it.
pub enum Verdict {
    /// It found it, in these words.
    Found(String),
    /// It let it pass.
    Passed,
    /// The code does not know that mistake, or never came by it.
    NotMade,
}

/// Runs `model` with the mistake `name` made in it.
pub fn with_mistake(name: &'static str, model: fn()) -> Verdict {
    MISTAKE.set(Some(name));
    MADE.set(0);
    let outcome = std::panic::catch_unwind(model);
    MISTAKE.set(None);
    if MADE.get() == 0 {
        return Verdict::NotMade;
    }
    match outcome {
        Ok(()) => Verdict::Passed,
        Err(cause) => Verdict::Found(
            cause
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| cause.downcast_ref::<&str>().copied())
                .unwrap_or("a panic without words")
                .to_owned(),
        ),
    }
}
