// SPDX-License-Identifier: GPL-2.0

//! Waiting for a condition that a mutex protects.

use super::mutex::MutexGuard;
use super::notify::Notify;
use crate::domain::Handle;
use core::future::poll_fn;
use core::mem;
use core::pin::pin;
use kernel::prelude::*;

/// A condition variable: releases a [`Mutex`](super::Mutex) while it waits to be notified.
///
/// For coroutines of the domain only; others get `EPERM`.
pub struct Condvar(Notify);

impl Condvar {
    /// For the coroutines of `domain`. Any context.
    pub fn new(domain: &Handle) -> Self {
        Condvar(Notify::new(domain))
    }

    /// Releases the mutex, waits to be notified, and takes the mutex again.
    ///
    /// `EPERM` outside of the domain; the mutex is then released. Waiting allocates nothing. Dropped
    /// after it was notified, and before it was ready, it passes a notification for one on. There
    /// can be more notifications than one counts on: look whether the condition holds, as
    /// [`wait_while`](Self::wait_while) does.
    pub async fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> Result<MutexGuard<'a, T>> {
        let mutex = guard.mutex();
        let mut notified = pin!(self.0.notified());
        let mut guard = Some(guard);
        let one = poll_fn(|cx| {
            let poll = notified.as_mut().poll_which(cx);
            // Only now that we are in the list. Nobody runs in between, but who gets the mutex is
            // to find us there.
            guard = None;
            poll
        })
        .await?;
        // From here to the mutex the notification is still to be passed on.
        let pass_on = one.then(|| PassOn(self));
        let guard = mutex.lock().await?;
        mem::forget(pass_on);
        Ok(guard)
    }

    /// Waits until `condition` does not hold any more, which is looked at with the mutex taken.
    pub async fn wait_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> Result<MutexGuard<'a, T>> {
        while condition(&mut guard) {
            guard = self.wait(guard).await?;
        }
        Ok(guard)
    }

    /// Notifies the one who has waited longest, if there is one; whether there was. `EPERM` outside
    /// of the domain.
    pub fn notify_one(&self) -> Result<bool> {
        self.0.notify_first()
    }

    /// Notifies all who wait now, in the order in which they came. `EPERM` outside of the domain.
    pub fn notify_all(&self) -> Result {
        self.0.notify_all()
    }
}

/// Passes a notification on when dropped.
struct PassOn<'a>(&'a Condvar);

impl Drop for PassOn<'_> {
    fn drop(&mut self) {
        self.0 .0.pass_on();
    }
}
