// SPDX-License-Identifier: GPL-2.0

//! Long work, split well: a coroutine that computes for long lets others run when it is time.

use crate::sys::context::{ticks, wants_cpu_back};
use crate::yield_now::yield_now;

/// The share of the CPU that a coroutine takes at a time: it ends with the timer tick (of 1 to
/// 10 ms, as the kernel was configured), or when the kernel wants the CPU for another thread.
///
/// # Examples
///
/// ```ignore
/// let mut slice = Slice::start();
/// for block in blocks {
///     checksum(block);
///     yield_if_needed!(slice);
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    tick: usize,
}

impl Slice {
    /// A new slice begins. Any context.
    #[inline]
    pub fn start() -> Self {
        Slice { tick: ticks() }
    }

    /// Whether the slice is used up, or the kernel wants the CPU back. Any context; 6
    /// instructions.
    #[inline(always)]
    pub fn is_over(&self) -> bool {
        ticks() != self.tick || wants_cpu_back()
    }

    /// Lets the other coroutines of the domain run, and other threads of the CPU; then the next slice
    /// begins. Coroutines of a domain only.
    pub async fn end(&mut self) {
        yield_now().await;
        *self = Slice::start();
    }
}

/// Lets others run if a [`Slice`] is over; does nothing, in 6 instructions, if not. In a coroutine.
///
/// (A macro, because to make, and look at, a future that is not needed takes as long again.)
#[macro_export]
macro_rules! yield_if_needed {
    ($slice:expr) => {
        if $slice.is_over() {
            $slice.end().await;
        }
    };
}
