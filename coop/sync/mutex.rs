// SPDX-License-Identifier: GPL-2.0

//! A mutex that is held across awaits.

use super::bound::{Bound, Local};
use super::take::Take;
use crate::domain::Handle;
use core::cell::UnsafeCell;
use core::future::Future;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::pin::Pin;
use core::task::{ready, Context, Poll};
use kernel::prelude::*;

/// A value that one coroutine of a domain has at a time, for as long as it likes.
///
/// For state that is worked on in several steps with awaits in between; between two awaits the
/// domain is exclusion enough, see [`DomainCell`](crate::DomainCell). First come, first served: a
/// mutex that is released is handed to the one who has waited longest. For coroutines of the domain
/// only; others get `EPERM`.
pub struct Mutex<T> {
    pub(super) lock: Bound<Local>,
    value: UnsafeCell<T>,
}

// SAFETY: The value goes along.
unsafe impl<T: Send> Send for Mutex<T> {}
// SAFETY: There is one permit, so one guard at a time, which has the value alone. Where the guard
// goes, the value goes: `T: Send` is enough.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    /// A mutex for the coroutines of `domain`. Any context.
    pub fn new(domain: &Handle, value: T) -> Self {
        Mutex {
            lock: Bound::new(domain.executor().clone(), Local::new(1)),
            value: UnsafeCell::new(value),
        }
    }

    /// Takes the mutex, waits for it if need be.
    ///
    /// `EPERM` outside of the domain. About 40 instructions with its release, if it is free; waiting
    /// allocates nothing. Dropped before it is ready, it has taken nothing. One who takes it twice
    /// waits for ever.
    #[inline(always)]
    pub fn lock(&self) -> Lock<'_, T> {
        Lock {
            take: Take::new(&self.lock, 1),
            mutex: self,
        }
    }

    /// Takes the mutex; `EBUSY` if it is taken, `EPERM` outside of the domain.
    #[inline]
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T>> {
        if self.lock.enter()?.try_take(1) {
            // INVARIANT: The permit was just taken.
            Ok(MutexGuard {
                mutex: self,
                _value: PhantomData,
            })
        } else {
            Err(EBUSY)
        }
    }

    /// The value, for the one who has the mutex alone.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// The value back.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

/// The future of [`Mutex::lock`].
#[must_use = "futures do nothing unless awaited"]
pub struct Lock<'a, T> {
    take: Take<'a>,
    mutex: &'a Mutex<T>,
}

impl<'a, T> Future for Lock<'a, T> {
    type Output = Result<MutexGuard<'a, T>>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mutex = self.mutex;
        // SAFETY: Not moved, and `take` is pinned with it.
        let take = unsafe { self.map_unchecked_mut(|this| &mut this.take) };
        ready!(take.poll(cx))?;
        // INVARIANT: The permit was just taken.
        Poll::Ready(Ok(MutexGuard {
            mutex,
            _value: PhantomData,
        }))
    }
}

/// The right to the value of a mutex, given up when dropped.
///
/// Dropped outside of the domain, this sleeps until the domain's home thread has seen to it; in
/// atomic context there the mutex stays taken, and a warning is logged.
///
/// # Invariants
///
/// The mutex's one permit belongs to this value.
#[must_use = "dropping the guard releases the mutex"]
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    // `Send` and `Sync` as the reference that it stands for.
    _value: PhantomData<&'a mut T>,
}

impl<'a, T> MutexGuard<'a, T> {
    /// What is taken.
    pub(super) fn mutex(&self) -> &'a Mutex<T> {
        self.mutex
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: By the type's invariant nobody else has the value.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the type's invariant nobody else has the value.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.mutex.lock.give_back(|permits| permits.give(1));
    }
}
