// SPDX-License-Identifier: GPL-2.0

//! Waiting for room: the slow path of senders that find a ring full.
//!
//! Store buffering is the danger here. A sender registers, then looks for room once more; the
//! receiver makes room, then looks for registered senders. With a full barrier between the two
//! steps on both sides, in [`Room::register`] and [`Room::made`], at least one sees the other.

use crate::waker::WakeRef;
use core::sync::atomic::{fence, AtomicBool, Ordering::*};
use kernel::prelude::*;
use kernel::sync::{new_spinlock_irq, SpinLockIrq};

/// Those who wait for room.
#[pin_data]
pub(crate) struct Room {
    waiting: AtomicBool,
    /// An answer, which frees a slot, may come from an interrupt.
    #[pin]
    waiters: SpinLockIrq<KVec<WakeRef>>,
}

impl Room {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            waiting: AtomicBool::new(false),
            waiters <- new_spinlock_irq!(KVec::new(), "coop_room"),
        })
    }

    /// Registers `waiter` for the next time there is room. The caller must look for room once
    /// more, and only then wait.
    ///
    /// Task context. `ENOMEM`.
    pub(crate) fn register(&self, waiter: WakeRef) -> Result {
        let mut waiters = self.waiters.lock();
        // A future may be polled again before there was room.
        if !waiters.iter().any(|other| other.same_as(&waiter)) {
            waiters.push(waiter, GFP_ATOMIC)?;
        }
        self.waiting.store(true, Relaxed);
        drop(waiters);
        // Pairs with the fence in `made`.
        fence(SeqCst);
        Ok(())
    }

    /// The receiver has made room. Task context; a full barrier and a load if nobody waits.
    #[inline]
    pub(crate) fn made(&self) {
        // Pairs with the fence in `register`.
        fence(SeqCst);
        if self.waiting.load(Relaxed) {
            self.wake_all();
        }
    }

    /// Lets all who wait look again.
    #[cold]
    pub(crate) fn wake_all(&self) {
        let waiters = {
            let mut waiters = self.waiters.lock();
            self.waiting.store(false, Relaxed);
            core::mem::replace(&mut *waiters, KVec::new())
        };
        for waiter in waiters {
            waiter.wake();
        }
    }
}
