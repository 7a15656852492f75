// SPDX-License-Identifier: GPL-2.0

//! Counters of a domain: written by its runner alone, read by anybody.

pub use crate::counter::{CountDown, Counter};

use crate::counter::COUNTS;
use crate::sys::context::{cycles, ticks};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use kernel::prelude::*;
use kernel::time::{Instant, Monotonic};

/// Bytes of a coroutine's name that are kept after it is gone.
const NAME_WORDS: usize = 4;

/// Ticks for which polls are watched one by one, after a round that took too long.
const WATCH: u32 = 16;

/// What a domain counts; in each poll, what comes before `spawned`.
#[repr(C)]
pub struct Stats {
    /// Calls whose caller ran the domain itself, from the request to the reply: one counter for
    /// call, poll and all, in the one path where a second one would be felt.
    pub inline_calls: CountDown,
    /// Polls of a coroutine that was woken from outside, and the only one to be run: one counter for
    /// wake-up and poll, where a second one would be felt.
    pub(crate) singles: Counter,
    /// What [`polls`](Self::polls) counts, but for calls that were answered in place and `singles`.
    pub(crate) queued_polls: Counter,
    /// What [`wakes_remote`](Self::wakes_remote) counts, but for `singles`.
    pub(crate) queued_wakes: Counter,
    /// Coroutines spawned.
    pub spawned: Counter,
    /// Coroutines that have ended.
    pub finished: Counter,
    /// Times the home thread went to sleep.
    pub sleeps: Counter,
    /// Times the home thread woke up and found nothing to do.
    pub unproductive: Counter,
    /// Messages received that nobody waits for an answer to.
    pub(crate) plain_posts: Counter,
    /// What [`calls`](Self::calls) counts, but for those that were answered in place.
    pub(crate) queued_calls: Counter,
    /// Largest number of messages found in one ring.
    pub ring_high_water: AtomicU64,
    /// Times that a caller left work to the home thread.
    pub hand_overs: Counter,
    /// Callers that were answered while they slept, and woken at the end of the coroutine's poll.
    pub answered_together: Counter,
    /// Polls at whose end that was.
    pub answer_batches: Counter,
    /// Times that the home thread had to wait for the baton.
    pub contended: Counter,
    /// Times that work came while the home thread was spinning, and that it did not.
    pub spin_hits: Counter,
    /// See `spin_hits`.
    pub spin_misses: Counter,
    /// Rounds of polls, or single ones, that took more than a timer tick: somebody has overrun its
    /// slice of the CPU (or had to wait for other threads in the middle of it).
    pub overruns: Counter,
    /// See [`WATCH`].
    watching: AtomicU32,
    /// Interrupts of the domain's timer, counted by these.
    pub timer_interrupts: Counter,
    /// Duration of the longest poll, in cycles, as far as is known: see `start_batch`.
    longest: AtomicU64,
    longest_name: [AtomicU64; NAME_WORDS],
    /// When the last poll that was timed began, or the one before ended.
    mark: AtomicU64,
    /// Start of the domain in cycles and by the clock: what a cycle is worth.
    born: (u64, Instant<Monotonic>),
}

impl Stats {
    pub(crate) fn new() -> Self {
        Stats {
            queued_polls: Counter::default(),
            spawned: Counter::default(),
            finished: Counter::default(),
            singles: Counter::default(),
            queued_wakes: Counter::default(),
            sleeps: Counter::default(),
            unproductive: Counter::default(),
            plain_posts: Counter::default(),
            queued_calls: Counter::default(),
            ring_high_water: AtomicU64::new(0),
            inline_calls: CountDown::new(),
            hand_overs: Counter::default(),
            answered_together: Counter::default(),
            answer_batches: Counter::default(),
            contended: Counter::default(),
            spin_hits: Counter::default(),
            spin_misses: Counter::default(),
            overruns: Counter::default(),
            watching: AtomicU32::new(0),
            timer_interrupts: Counter::default(),
            longest: AtomicU64::new(0),
            longest_name: Default::default(),
            mark: AtomicU64::new(0),
            born: (cycles(), Instant::now()),
        }
    }

    /// The runner begins to poll coroutines; returns the tick.
    ///
    /// Time stamps cost as much as a poll, and even a look at the tick after each would be a twentieth
    /// of one. So a poll is timed if it is the only one of its batch, as most are in a domain that is
    /// not busy. Of a round of several polls it is found that a timer tick has passed: whenever one
    /// of them has ended, or begins or ceases to yield, and after all. If it was the first of its
    /// round, it is named; else the one that [`overrun`](crate::overrun) has met, or, where it
    /// has met nobody, rounds are of one poll each for [`WATCH`] ticks, and who does it again is named.
    /// What takes less, in a busy domain, may go unnoticed. Of calls that are answered in place, one of
    /// [`CountDown::PERIOD`] is timed.
    #[inline]
    pub(crate) fn start_batch(&self) -> usize {
        if !COUNTS {
            return 0;
        }
        self.mark.store(cycles(), Relaxed);
        ticks()
    }

    /// Whether a tick has passed since `since`, which [`start_batch`](Self::start_batch) or
    /// [`tick_passed`](Self::tick_passed) has returned. Runner only.
    #[inline(always)]
    pub(crate) fn has_ticked(&self, since: usize) -> bool {
        COUNTS && ticks() != since
    }

    /// Whether polls are watched one by one. Runner only.
    #[inline(always)]
    pub(crate) fn is_watching(&self) -> bool {
        COUNTS && self.watching.load(Relaxed) != 0
    }

    /// `polls` polls have ended, and a tick has passed since `since`; returns the tick. If it was more
    /// than one, `name` is asked who it was; the time since the last stamp is taken for that one's own.
    #[cold]
    #[inline(never)]
    pub(crate) fn tick_passed<'a>(
        &self,
        since: usize,
        polls: usize,
        name: impl FnOnce() -> Option<&'a CStr>,
    ) -> usize {
        let tick = ticks();
        let watching = self.watching.load(Relaxed);
        self.watching.store(watching.saturating_sub(1), Relaxed);
        if tick.wrapping_sub(since) > 1 && polls != 0 {
            self.overruns.add(1);
            match name() {
                Some(name) => {
                    self.polled(|| name);
                    return tick;
                }
                None => self.watching.store(WATCH, Relaxed),
            }
        }
        self.mark.store(cycles(), Relaxed);
        tick
    }

    /// A poll that is timed has ended. Runner only.
    #[inline]
    pub(crate) fn polled<'a>(&self, name: impl FnOnce() -> &'a CStr) {
        if !COUNTS {
            return;
        }
        let now = cycles();
        let took = now.wrapping_sub(self.mark.load(Relaxed));
        if took > self.longest.load(Relaxed) {
            self.record(took, name());
        }
        self.mark.store(now, Relaxed);
    }

    /// Nothing came of the call counted last but a poll, and, if `taken`, a request.
    pub(crate) fn not_inline(&self, taken: bool) {
        if !COUNTS {
            return;
        }
        self.inline_calls.take_back();
        self.queued_polls.add(1);
        self.queued_calls.add(u64::from(taken));
    }

    /// Polls of coroutines (and the few times that one was dropped instead); up to date whenever
    /// the domain is idle.
    pub fn polls(&self) -> u64 {
        self.queued_polls
            .get()
            .wrapping_add(self.singles.get())
            .wrapping_add(self.inline_calls.get())
    }

    /// Wake-ups of coroutines from outside, first runs of those spawned from outside included.
    pub fn wakes_remote(&self) -> u64 {
        self.queued_wakes.get().wrapping_add(self.singles.get())
    }

    /// Requests received.
    pub fn calls(&self) -> u64 {
        self.queued_calls
            .get()
            .wrapping_add(self.inline_calls.get())
    }

    /// Messages received, requests among them.
    pub fn posts(&self) -> u64 {
        self.plain_posts.get().wrapping_add(self.calls())
    }

    /// Wake-ups of coroutines by the domain itself, as it lets others run among them: all that was
    /// polled, but for those woken from outside and those polled in place.
    pub fn wakes_local(&self) -> u64 {
        self.queued_polls
            .get()
            .saturating_sub(self.queued_wakes.get())
    }

    #[cold]
    fn record(&self, took: u64, name: &CStr) {
        self.longest.store(took, Relaxed);
        let mut bytes = name.to_bytes().iter().copied();
        for word in &self.longest_name {
            let mut packed = [0u8; 8];
            for (to, from) in packed.iter_mut().zip(&mut bytes) {
                *to = from;
            }
            word.store(u64::from_le_bytes(packed), Relaxed);
        }
    }

    /// Notes how full a ring was found, if it had more than one message. Runner only.
    #[cold]
    #[inline(never)]
    pub(crate) fn saw_in_ring(&self, messages: usize) {
        if COUNTS && messages as u64 > self.ring_high_water.load(Relaxed) {
            self.ring_high_water.store(messages as u64, Relaxed);
        }
    }

    /// A ring is used: it has one message at least. Senders; the runner may store more meanwhile.
    #[cold]
    pub(crate) fn ring_is_used(&self) {
        if COUNTS {
            self.ring_high_water.fetch_max(1, Relaxed);
        }
    }

    /// The longest poll in nanoseconds.
    fn longest_ns(&self) -> u64 {
        let mut cycles = cycles().wrapping_sub(self.born.0);
        let mut ns = self.born.1.elapsed().as_nanos().max(0) as u64;
        // Keep the product below within 64 bits; precision is not the point.
        while (cycles | ns) >> 24 != 0 {
            cycles >>= 1;
            ns >>= 1;
        }
        let longest = self.longest.load(Relaxed).min(1 << 40);
        longest.wrapping_mul(ns).checked_div(cycles).unwrap_or(0)
    }
}

impl kernel::fmt::Display for Stats {
    fn fmt(&self, f: &mut kernel::fmt::Formatter<'_>) -> kernel::fmt::Result {
        let counters = [
            ("spawned", self.spawned.get()),
            ("finished", self.finished.get()),
            ("wakes_remote", self.wakes_remote()),
            ("sleeps", self.sleeps.get()),
            ("wakes_unproductive", self.unproductive.get()),
            ("inline_calls", self.inline_calls.get()),
            ("hand_overs", self.hand_overs.get()),
            ("answered_together", self.answered_together.get()),
            ("answer_batches", self.answer_batches.get()),
            ("contended", self.contended.get()),
            ("spin_hits", self.spin_hits.get()),
            ("spin_misses", self.spin_misses.get()),
            ("overruns", self.overruns.get()),
            ("timer_interrupts", self.timer_interrupts.get()),
        ];
        writeln!(f, "polls {}", self.polls())?;
        writeln!(f, "calls {}", self.calls())?;
        writeln!(f, "wakes_local {}", self.wakes_local())?;
        for (name, counter) in counters {
            writeln!(f, "{name} {counter}")?;
        }
        writeln!(f, "posts {}", self.posts())?;
        writeln!(f, "ring_high_water {}", self.ring_high_water.load(Relaxed))?;
        writeln!(f, "longest_poll_ns {}", self.longest_ns())?;
        write!(f, "longest_poll_name ")?;
        for word in &self.longest_name {
            for byte in word.load(Relaxed).to_le_bytes() {
                if byte != 0 {
                    write!(f, "{}", byte as char)?;
                }
            }
        }
        writeln!(f)
    }
}
