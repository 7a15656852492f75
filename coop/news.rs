// SPDX-License-Identifier: GPL-2.0

//! What the runner is told besides wake-ups: that time has passed, and that coroutines have moved to
//! another priority.
//!
//! **No lost news.** Who has news sets its bit, then changes the pending word of
//! [`wake_queue`](crate::wake_queue) ([`alert`](crate::wake_queue::WakeQueue::alert)). A runner changes
//! that word ([`take`](crate::wake_queue::WakeQueue::take)), then looks for news. So either it sees
//! them, or the word says that there is work again.

use crate::executor::Executor;
use crate::run::priority_of;
use core::sync::atomic::{AtomicU8, Ordering::*};

/// The interrupt of the domain's timers has come, of which there are several.
pub(crate) const TIMER: u8 = 1 << 0;
/// A coroutine that is queued has another priority now.
const MOVED: u8 = 1 << 1;

/// News that nobody has looked at yet.
pub(crate) struct News(AtomicU8);

impl News {
    pub(crate) const fn new() -> Self {
        News(AtomicU8::new(0))
    }

    /// Whether there are any. Runner only, after it has changed the pending word.
    #[inline(always)]
    pub(crate) fn any(&self) -> bool {
        self.0.load(Relaxed) != 0
    }
}

impl Executor {
    /// Has the runner told. Any context but NMI.
    pub(crate) fn tell(&self, news: u8) {
        // Published by `alert`, which is a read-modify-write.
        self.news.0.fetch_or(news, Release);
        if self.queue.0.alert() {
            self.wake_home();
        }
    }

    /// Has a coroutine whose priority has changed, and that is queued, put where it belongs: when the
    /// runner looks for wake-ups next, that is, before the next round. Any context but NMI.
    pub(crate) fn refile_soon(&self) {
        self.tell(MOVED);
    }

    /// Does what is to be done about the news. Runner only, who calls
    /// [`end_run`](Self::end_run) later.
    #[cold]
    pub(crate) fn attend_news(&self) {
        // Before anything is looked at: what comes after that is told again.
        let news = self.news.0.swap(0, AcqRel);
        if news & MOVED != 0 {
            // SAFETY: We are the runner; no driver code runs while the reference lives.
            unsafe { &mut (*self.local.get()).queue }.refile(priority_of);
        }
        if news & TIMER != 0 {
            self.timers.expire();
        }
    }
}
