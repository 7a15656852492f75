// SPDX-License-Identifier: GPL-2.0

//! What sets an event from outside of its domain.

use super::event::Event;
use crate::signal::Signal;
use core::sync::atomic::{AtomicU8, Ordering::*};
use kernel::prelude::*;
use kernel::sync::Arc;

/// The event is to be set.
const SET: u8 = 1;
/// The setter is gone.
const OVER: u8 = 2;

struct Shared {
    signal: Signal,
    news: AtomicU8,
}

impl Shared {
    fn tell(&self, news: u8) {
        // Relaxed: the signal publishes it, with all that came before.
        self.news.fetch_or(news, Relaxed);
        self.signal.signal();
    }
}

/// Sets an [`Event`] from any context: an interrupt, a timer, another domain.
///
/// Made by [`Event::setter`]. A coroutine of the event's domain forwards; it ends when this is
/// dropped.
pub struct EventSetter(Arc<Shared>);

impl Event {
    /// What sets this event from outside. Not in a hard interrupt; two allocations. `ENOMEM`,
    /// `ECANCELED` when the domain is gone.
    pub fn setter(event: Arc<Self>) -> Result<EventSetter> {
        let shared = Arc::new(
            Shared {
                signal: Signal::new(),
                news: AtomicU8::new(0),
            },
            GFP_KERNEL,
        )?;
        let theirs = shared.clone();
        let domain = event.domain();
        let forward = async move {
            loop {
                theirs.signal.wait().await;
                let news = theirs.news.fetch_and(!SET, Relaxed);
                if news & SET != 0 {
                    // Cannot fail inside.
                    let _ = event.set();
                }
                if news & OVER != 0 {
                    return;
                }
            }
        };
        domain.spawn(c"event", forward)?.detach();
        Ok(EventSetter(shared))
    }
}

impl EventSetter {
    /// Sets the event, soon. Any context but NMI; does not sleep, allocate or lock.
    ///
    /// Two read-modify-writes, and a wake-up of the domain.
    #[inline]
    pub fn set(&self) {
        self.0.tell(SET);
    }
}

impl Drop for EventSetter {
    fn drop(&mut self) {
        self.0.tell(OVER);
    }
}
