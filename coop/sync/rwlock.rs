// SPDX-License-Identifier: GPL-2.0

//! A reader-writer lock that is held across awaits.

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

/// What a writer takes: all there is. A reader takes one.
const ALL: u32 = u32::MAX;

/// A value that many coroutines of a domain read, or one changes, for as long as they like.
///
/// First come, first served: readers that come after a writer wait behind it, so that no writer
/// starves; readers that wait next to each other go on together. (The method is that of Tokio's
/// `RwLock`: a semaphore of which a writer takes all permits.) For coroutines of the domain only;
/// others get `EPERM`.
pub struct RwLock<T> {
    lock: Bound<Local>,
    value: UnsafeCell<T>,
}

// SAFETY: The value goes along.
unsafe impl<T: Send> Send for RwLock<T> {}
// SAFETY: There is one guard that may write, or there are some that may read. Guards may go
// elsewhere, so that the value is sent, or shared.
unsafe impl<T: Send + Sync> Sync for RwLock<T> {}

impl<T> RwLock<T> {
    /// A lock for the coroutines of `domain`. Any context.
    pub fn new(domain: &Handle, value: T) -> Self {
        RwLock {
            lock: Bound::new(domain.executor().clone(), Local::new(ALL)),
            value: UnsafeCell::new(value),
        }
    }

    /// Takes the lock to read, waits for it if need be.
    ///
    /// `EPERM` outside of the domain. Cost and cancellation as for [`Mutex::lock`](super::Mutex::lock).
    /// One who reads and takes it again waits for ever if a writer came in between.
    #[inline(always)]
    pub fn read(&self) -> Read<'_, T> {
        Read {
            take: Take::new(&self.lock, 1),
            lock: self,
        }
    }

    /// Takes the lock to write, waits for it if need be.
    ///
    /// `EPERM` outside of the domain. Cost and cancellation as for [`Mutex::lock`](super::Mutex::lock).
    #[inline(always)]
    pub fn write(&self) -> Write<'_, T> {
        Write {
            take: Take::new(&self.lock, ALL),
            lock: self,
        }
    }

    /// The value, for the one who has the lock alone.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// The value back.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

/// The future of [`RwLock::read`].
#[must_use = "futures do nothing unless awaited"]
pub struct Read<'a, T> {
    take: Take<'a>,
    lock: &'a RwLock<T>,
}

impl<'a, T> Future for Read<'a, T> {
    type Output = Result<ReadGuard<'a, T>>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let lock = self.lock;
        // SAFETY: Not moved, and `take` is pinned with it.
        let take = unsafe { self.map_unchecked_mut(|this| &mut this.take) };
        ready!(take.poll(cx))?;
        // INVARIANT: The permit was just taken.
        Poll::Ready(Ok(ReadGuard {
            lock,
            _value: PhantomData,
        }))
    }
}

/// The future of [`RwLock::write`].
#[must_use = "futures do nothing unless awaited"]
pub struct Write<'a, T> {
    take: Take<'a>,
    lock: &'a RwLock<T>,
}

impl<'a, T> Future for Write<'a, T> {
    type Output = Result<WriteGuard<'a, T>>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let lock = self.lock;
        // SAFETY: Not moved, and `take` is pinned with it.
        let take = unsafe { self.map_unchecked_mut(|this| &mut this.take) };
        ready!(take.poll(cx))?;
        // INVARIANT: All permits were just taken.
        Poll::Ready(Ok(WriteGuard {
            lock,
            _value: PhantomData,
        }))
    }
}

/// The right to read, given up when dropped; dropped outside of the domain, as a
/// [`MutexGuard`](super::MutexGuard) is.
///
/// # Invariants
///
/// One permit of the lock belongs to this value.
#[must_use = "dropping the guard releases the lock"]
pub struct ReadGuard<'a, T> {
    lock: &'a RwLock<T>,
    // `Send` and `Sync` as the reference that it stands for.
    _value: PhantomData<&'a T>,
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: By the type's invariant nobody may write.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> Drop for ReadGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.lock.give_back(|permits| permits.give(1));
    }
}

/// The right to write, given up when dropped; dropped outside of the domain, as a
/// [`MutexGuard`](super::MutexGuard) is.
///
/// # Invariants
///
/// All permits of the lock belong to this value.
#[must_use = "dropping the guard releases the lock"]
pub struct WriteGuard<'a, T> {
    lock: &'a RwLock<T>,
    // `Send` and `Sync` as the reference that it stands for.
    _value: PhantomData<&'a mut T>,
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: By the type's invariant nobody else has the value.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the type's invariant nobody else has the value.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for WriteGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.lock.give_back(|permits| permits.give(ALL));
    }
}
