// SPDX-License-Identifier: GPL-2.0

//! Where one waits and many signal: the wake-up protocol, written down once.
//!
//! No dependency on the kernel crate: the same file is compiled into the module and, on the host,
//! into the loom models of `selftests/host`.
//!
//! ```text
//!            signal                          poll_wait
//!   EMPTY --------------> SIGNALLED   SIGNALLED --------------> EMPTY, ready
//!   waiter -------------> SIGNALLED   EMPTY, other waiter ----> waiter, pending
//!           (and wakes it)
//! ```
//!
//! Every transition is a read-modify-write of the one word, so a signal either finds the waiter or
//! is found by it: there is no pair of a store and a load that could pass each other, and no
//! barrier besides. What was written before `signal` is seen after `poll_wait` was ready:
//! `cell.signal` and `cell.wait` pair with each other, in both directions (the waiter is handed over
//! too).

use crate::atomic::{named, AtomicPtr, Ordering};
use core::ptr::{self, NonNull};

/// Something that can be woken, in one word.
///
/// # Safety
///
/// The pointers that [`into_raw`](Self::into_raw) returns are aligned to 2 at least, and
/// [`from_raw`](Self::from_raw) turns one back into the value it came from.
pub unsafe trait Waiter: Sized {
    /// The value as a pointer.
    fn into_raw(self) -> NonNull<()>;

    /// The value again.
    ///
    /// # Safety
    ///
    /// `raw` comes from [`into_raw`](Self::into_raw), and is used once only.
    unsafe fn from_raw(raw: NonNull<()>) -> Self;
}

const EMPTY: *mut () = ptr::null_mut();
const SIGNALLED: *mut () = ptr::without_provenance_mut(1);

/// A latched signal with at most one waiter.
///
/// # Invariants
///
/// The word is `EMPTY`, `SIGNALLED`, or a waiter that the cell owns.
pub struct WaitCell<W: Waiter> {
    word: AtomicPtr<()>,
    _waiter: core::marker::PhantomData<W>,
}

// SAFETY: The cell hands waiters from one thread to another.
unsafe impl<W: Waiter + Send> Send for WaitCell<W> {}
// SAFETY: As above; all access is through one atomic word.
unsafe impl<W: Waiter + Send> Sync for WaitCell<W> {}

impl<W: Waiter> WaitCell<W> {
    /// A cell without signal and waiter.
    pub fn new() -> Self {
        WaitCell {
            word: AtomicPtr::new(EMPTY),
            _waiter: core::marker::PhantomData,
        }
    }

    /// # Safety
    ///
    /// `word` was taken out of the cell by a read-modify-write.
    #[inline]
    unsafe fn owned(word: *mut ()) -> Option<W> {
        if word == SIGNALLED {
            return None;
        }
        // SAFETY: By the type's invariant this is a waiter, and the caller took it out.
        NonNull::new(word).map(|raw| unsafe { W::from_raw(raw) })
    }

    /// Latches the signal; returns the waiter, for the caller to wake.
    ///
    /// Any context. One read-modify-write.
    #[inline]
    #[must_use]
    pub fn signal(&self) -> Option<W> {
        // INVARIANT: `SIGNALLED` is a valid word.
        let old = self
            .word
            .swap(SIGNALLED, named("cell.signal", Ordering::AcqRel));
        // SAFETY: `old` was just taken out.
        unsafe { Self::owned(old) }
    }

    /// Consumes the signal if there is one; `true` if so.
    #[inline]
    pub fn try_wait(&self) -> bool {
        self.word.load(Ordering::Relaxed) == SIGNALLED
            && self
                .word
                .compare_exchange(
                    SIGNALLED,
                    EMPTY,
                    named("cell.wait", Ordering::AcqRel),
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    /// Whether the waiter in the cell is the one that [`Waiter::into_raw`] made into `raw`. One load.
    #[inline]
    pub fn is_waiting(&self, raw: NonNull<()>) -> bool {
        self.is_waiting_at(raw.as_ptr())
    }

    /// The same for any pointer that is not null.
    #[inline]
    pub fn is_waiting_at(&self, raw: *const ()) -> bool {
        // Relaxed: nothing is read through it.
        self.word.load(Ordering::Relaxed).cast_const() == raw
    }

    /// Consumes the signal (`true`), or leaves a waiter to be woken by the next one (`false`).
    ///
    /// `waiter` makes one; a waiter that was left before is replaced, so that a future can be
    /// polled from another coroutine than the last time.
    #[inline]
    pub fn poll_wait(&self, waiter: impl FnOnce() -> W) -> bool {
        if self.try_wait() {
            return true;
        }
        let new = waiter().into_raw();
        let mut now = self.word.load(Ordering::Relaxed);
        loop {
            let signalled = now == SIGNALLED;
            let next = if signalled { EMPTY } else { new.as_ptr() };
            // INVARIANT: `EMPTY`, or the new waiter, which the cell now owns.
            match self.word.compare_exchange(
                now,
                next,
                named("cell.wait", Ordering::AcqRel),
                Ordering::Relaxed,
            ) {
                Ok(old) => {
                    let unused = if signalled { new.as_ptr() } else { old };
                    // SAFETY: `old` was taken out, or the new waiter was never put in.
                    drop(unsafe { Self::owned(unused) });
                    return signalled;
                }
                Err(changed) => now = changed,
            }
        }
    }

    /// Forgets the waiter, if one is there; keeps a signal.
    #[inline]
    pub fn clear_waiter(&self) {
        let now = self.word.load(Ordering::Relaxed);
        if now == EMPTY || now == SIGNALLED {
            return;
        }
        // On failure a signal took the waiter, or left one: nothing to forget.
        // INVARIANT: `EMPTY` is a valid word.
        if let Ok(old) = self.word.compare_exchange(
            now,
            EMPTY,
            named("cell.wait", Ordering::AcqRel),
            Ordering::Relaxed,
        ) {
            // SAFETY: `old` was just taken out.
            drop(unsafe { Self::owned(old) });
        }
    }
}

impl<W: Waiter> Default for WaitCell<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Waiter> Drop for WaitCell<W> {
    fn drop(&mut self) {
        self.clear_waiter();
    }
}
