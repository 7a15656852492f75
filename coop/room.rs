// SPDX-License-Identifier: GPL-2.0

//! Waiting for room: the slow path of senders that find a ring full.
//!
//! Store buffering is the danger here: a sender registers, then looks for room; the receiver makes
//! room, then looks for registered senders, and each may miss the other. A full barrier on both
//! sides would do, for each message. Instead the sender that has registered reads and modifies a
//! word that the receiver reads and modifies, too, after it has made room and before it waits: of
//! the two, one comes first. For a mailbox this word is its receiver's wait cell (the sender
//! signals the receiver), for reply slots it is the spare one.

use crate::waker::WakeRef;
use core::sync::atomic::{AtomicBool, Ordering::*};
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

    /// Registers `waiter` for the next time there is room. The caller then reads and modifies the
    /// word that it shares with whoever makes room, and looks once more, before it waits.
    ///
    /// Task context. `ENOMEM`.
    pub(crate) fn register(&self, waiter: WakeRef) -> Result {
        let mut waiters = self.waiters.lock();
        // A future may be polled again before there was room.
        if !waiters.iter().any(|other| other.same_as(&waiter)) {
            waiters.push(waiter, GFP_ATOMIC)?;
        }
        // Published by the read-modify-write that follows.
        self.waiting.store(true, Relaxed);
        Ok(())
    }

    /// Room was made. Those who registered before the caller's last read-modify-write of the shared
    /// word are woken; one load if nobody waits.
    #[inline]
    pub(crate) fn made(&self) {
        if self.waiting.load(Relaxed) {
            self.wake_all();
        }
    }

    /// Lets all who wait look again.
    #[cold]
    #[inline(never)]
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
