// SPDX-License-Identifier: GPL-2.0

//! The baton of a `Bh` domain, and how it goes from one runner to the next.
//!
//! No dependency on the kernel crate: the same file is compiled into the module and, on the host,
//! into the loom models of `selftests/host`.
//!
//! The baton is a word that is taken with bottom halves off. Nobody but the home thread ever waits
//! for it; whoever finds it taken leaves a note there, and goes:
//!
//! ```text
//!            try_lock, take_or_leave,             take_or_leave: | AGAIN
//!            take_or_wait                         take_or_wait:  | HOME
//!     FREE ---------------------------> HELD -----------------------------> HELD with notes
//!       ^                                |                                      |
//!       +---------------- unlock --------+--------------------------------------+
//! ```
//!
//! - `AGAIN`: a sender has queued work, was to see to it that it is run, and relies on the runner
//!   for that. The runner, having let go, is in the sender's place, and sees to it likewise.
//! - `HOME`: the home thread sleeps until the baton is free. The runner, having let go, wakes it.
//!
//! **Who sees to it that work is run.** The pending word of [`wake_queue`](crate::wake_queue) is not
//! `IDLE` as long as there is work, and whoever changed it from that, by a push or a kick, has the
//! *duty*: it runs the domain until the word is `IDLE` again, or has the home thread woken, or finds
//! the baton taken and leaves the duty there. (Two may come to have it, as when the home thread is
//! woken for something else; then one of them finds nothing to do.)
//!
//! **No lost wake-up.** Leaving a note and letting go are read-modify-writes of the *same* word, so
//! one comes first: the runner finds the note, or the sender finds the baton free and takes it.
//! What the sender queued before is seen by whoever finds the note: `bh.note` pairs with
//! `bh.unlock`. The home thread's sleep is that of [`wake_queue`](crate::wake_queue): it sets its
//! state, a full barrier, and looks at its note once more.

use crate::atomic::{mistake, named, AtomicU32, Ordering};
use crate::wake_queue::WakeQueue;

const FREE: u32 = 0;
const HELD: u32 = 1 << 0;
const AGAIN: u32 = 1 << 1;
const HOME: u32 = 1 << 2;

/// A lock for those who have bottom halves off.
///
/// # Invariants
///
/// `word` is `FREE`, or `HELD` with any of the notes.
pub struct BhBaton {
    word: AtomicU32,
}

impl BhBaton {
    /// A baton that nobody has.
    pub fn new() -> Self {
        BhBaton {
            word: AtomicU32::new(FREE),
        }
    }

    /// Takes the baton if it is free. One read-modify-write.
    #[inline(always)]
    pub fn try_lock(&self) -> bool {
        self.word
            .compare_exchange(
                FREE,
                HELD,
                named("bh.lock", Ordering::Acquire),
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// Whether the baton can be taken at the moment. A hint, one load.
    #[inline]
    pub fn is_free(&self) -> bool {
        self.word.load(Ordering::Relaxed) == FREE
    }

    /// Takes the baton (`true`), or leaves `note` for the one who has it.
    #[inline(always)]
    fn take_or_note(&self, note: u32) -> bool {
        let mut now = FREE;
        loop {
            let free = now == FREE;
            let next = if free { HELD } else { now | note };
            // INVARIANT: `HELD`, or another note. AcqRel: the note publishes what was queued before.
            match self.word.compare_exchange(
                now,
                next,
                named("bh.note", Ordering::AcqRel),
                Ordering::Relaxed,
            ) {
                Ok(_) => return free,
                Err(changed) => now = changed,
            }
        }
    }

    /// Takes the baton (`true`), or leaves the duty to the one who has it.
    #[inline(always)]
    pub fn take_or_leave(&self) -> bool {
        self.take_or_note(AGAIN)
    }

    /// Takes the baton (`true`), or has the home thread, which is the caller, woken when it is free.
    pub fn take_or_wait(&self) -> bool {
        self.take_or_note(HOME)
    }

    /// Whether the home thread's note is still there.
    pub fn home_waits(&self) -> bool {
        self.word.load(Ordering::Acquire) & HOME != 0
    }

    /// Gives the baton back; the notes that were left. Only who has it calls this.
    #[inline(always)]
    fn unlock(&self) -> u32 {
        // INVARIANT: `FREE` is a valid word.
        let old = self.word.swap(FREE, named("bh.unlock", Ordering::AcqRel));
        old & !HELD
    }
}

impl Default for BhBaton {
    fn default() -> Self {
        Self::new()
    }
}

/// What a `Bh` domain is made of, as far as its runners need to know.
///
/// # Safety
///
/// `baton` and `queue` return the same ones each time.
pub unsafe trait BhDomain {
    /// Polls that one makes who has the duty before it is the home thread's.
    const POLLS: usize;

    /// The baton.
    fn baton(&self) -> &BhBaton;

    /// The queue of what was woken from outside, with the pending word.
    fn queue(&self) -> &WakeQueue;

    /// The caller, who has just got the baton, becomes the runner.
    fn begin(&self);

    /// The caller is not the runner any more, and about to give the baton back.
    fn end(&self);

    /// Polls coroutines until none is ready, or `polls` is used up; what is left of it. Runner only.
    fn run(&self, polls: usize) -> usize;

    /// Whether coroutines may be run in this context at all; if not, there was no duty to begin with.
    fn may_run(&self) -> bool;

    /// Whether something is left in the runner's own queue. Runner only.
    fn has_left_over(&self) -> bool;

    /// Wakes the home thread, which has the duty from then on.
    fn wake_home(&self);
}

/// Times that one who lets go takes on the duty of others.
const TURNS: usize = 4;

/// The caller has the duty: it has pushed into an idle domain. Bottom halves are off.
#[inline]
pub fn run_or_leave<D: BhDomain>(domain: &D) {
    if domain.baton().take_or_leave() || mistake("bh.runs_all_the_same") {
        domain.begin();
        serve(domain);
        leave(domain);
    }
}

/// The runner, who has the duty, runs the domain until that is idle, or leaves it to the home
/// thread.
#[inline(always)]
fn serve<D: BhDomain>(domain: &D) {
    let mut polls = D::POLLS;
    while polls != 0 {
        // A round is worth a poll, so that this ends.
        polls = domain.run(polls).saturating_sub(1);
        if domain.has_left_over() {
            break;
        }
        if domain.queue().go_idle() || mistake("bh.does_not_go_idle") || domain.queue().is_idle() {
            return;
        }
    }
    pass_on(domain);
}

/// Leaves the duty to the home thread. Any context; with the baton if there is something left over.
#[cold]
#[inline(never)]
pub fn pass_on<D: BhDomain>(domain: &D) {
    // The home thread may be about to go to sleep, having found nothing: then it finds this.
    if !mistake("bh.no_kick") {
        domain.queue().kick();
    }
    domain.wake_home();
}

/// The runner gives the baton back, with nothing left over that nobody has the duty for.
#[inline(always)]
pub fn leave<D: BhDomain>(domain: &D) {
    domain.end();
    let notes = domain.baton().unlock();
    if notes != 0 {
        attend(domain, notes);
    }
}

/// The baton was given back, with `notes`.
#[cold]
#[inline(never)]
fn attend<D: BhDomain>(domain: &D, mut notes: u32) {
    for _ in 0..TURNS {
        if notes & HOME != 0 && !mistake("bh.home_forgotten") {
            domain.wake_home();
        }
        if notes & AGAIN == 0 || mistake("bh.does_not_look_again") {
            return;
        }
        if !domain.may_run() {
            break;
        }
        if !domain.baton().take_or_leave() {
            return;
        }
        domain.begin();
        serve(domain);
        domain.end();
        notes = domain.baton().unlock();
    }
    if notes & (AGAIN | HOME) != 0 {
        // Somebody never stops. The home thread finds its own note gone, too.
        pass_on(domain);
    }
}
