// SPDX-License-Identifier: GPL-2.0

//! The baton of a `Process` domain: a kernel `rt_mutex`, for its priority inheritance, adaptive
//! spinning and wait queue.
//!
//! C header: [`include/linux/rtmutex.h`](srctree/include/linux/rtmutex.h).

use super::ffi;
use super::thread;
#[cfg(not(any(CONFIG_DEBUG_RT_MUTEXES, CONFIG_DEBUG_LOCK_ALLOC)))]
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::{AtomicBool, Ordering::*};
use kernel::bindings::{self, task_struct};
use kernel::ffi::c_char;
use kernel::prelude::*;
use kernel::types::Opaque;

/// A sleeping lock with priority inheritance. Each is a lock class of its own, so that lockdep sees
/// domains that wait for each other in a circle.
#[pin_data(PinnedDrop)]
pub struct Baton {
    #[pin]
    lock: Opaque<bindings::rt_mutex>,
    #[pin]
    key: Opaque<bindings::lock_class_key>,
    /// Always, but for tests that want to see what it is good for.
    lends: AtomicBool,
}

// SAFETY: A lock may be used from any thread.
unsafe impl Send for Baton {}
// SAFETY: As above.
unsafe impl Sync for Baton {}

impl Baton {
    /// A lock that nobody holds. Lockdep calls it `name`.
    ///
    /// # Safety
    ///
    /// `name` ends in a zero byte, and stays for as long as the lock.
    pub unsafe fn new(name: *const c_char) -> impl PinInit<Self> {
        pin_init!(&this in Self {
            lends: AtomicBool::new(true),
            key <- Opaque::uninit(),
            lock <- Opaque::ffi_init(|lock| {
                // SAFETY: Both are pinned, and fit for `lockdep_register_key` and `rt_mutex_init`; the
                // name per the function's contract.
                unsafe { ffi::coop_baton_init(lock, name, (&raw mut (*this.as_ptr()).key).cast()) }
            }),
        })
    }

    /// The word of the lock that says who has it: null, or a thread and whether others wait.
    ///
    /// Written out, as in the fast paths of `kernel/locking/rtmutex.c`: each call of those takes
    /// some 20 instructions. Kernels that check locks have no fast paths.
    #[cfg(not(any(CONFIG_DEBUG_RT_MUTEXES, CONFIG_DEBUG_LOCK_ALLOC)))]
    #[inline(always)]
    fn owner(&self) -> &AtomicPtr<task_struct> {
        // SAFETY: The lock is initialised, and its owner is only accessed by atomic instructions.
        unsafe { AtomicPtr::from_ptr(&raw mut (*self.lock.get()).rtmutex.owner) }
    }

    /// Takes the lock if it is free. Task context. `me` is the current thread.
    #[inline]
    pub fn try_lock(&self, me: *mut task_struct) -> bool {
        #[cfg(not(any(CONFIG_DEBUG_RT_MUTEXES, CONFIG_DEBUG_LOCK_ALLOC)))]
        {
            self.owner()
                .compare_exchange(core::ptr::null_mut(), me, Acquire, Relaxed)
                .is_ok()
        }
        #[cfg(any(CONFIG_DEBUG_RT_MUTEXES, CONFIG_DEBUG_LOCK_ALLOC))]
        // SAFETY: The lock is initialised.
        unsafe {
            let _ = me;
            bindings::rt_mutex_trylock(self.lock.get()) == 1
        }
    }

    /// Tells lockdep that the caller is about to wait for whoever has the lock, even if it finds it
    /// free, or somebody else is to take it: what the caller holds meanwhile comes before it. A lock
    /// that is only tried says nothing of the kind. Task context; nothing without lockdep.
    ///
    /// Domains that wait for each other are found so, through whatever locks they do, before they
    /// meet. Waits of coroutines are none of its business: their domains go on meanwhile.
    #[inline(always)]
    pub fn will_lock(&self) {
        #[cfg(CONFIG_PROVE_LOCKING)]
        // SAFETY: The lock is initialised.
        unsafe {
            ffi::coop_baton_will_lock(self.lock.get())
        }
    }

    /// [`will_lock`](Self::will_lock) if the caller may wait for a domain at all. Any context.
    #[inline(always)]
    pub fn would_lock(&self) {
        #[cfg(CONFIG_PROVE_LOCKING)]
        if super::runner::may_wait().is_ok() {
            self.will_lock();
        }
    }

    /// Takes the lock; lends the holder the caller's priority meanwhile. Task context, sleeps.
    /// `EINTR` if the caller is killed.
    pub fn lock_killable(&self) -> Result {
        if !self.lends.load(Relaxed) {
            self.lock_without_lending();
            return Ok(());
        }
        // SAFETY: The lock is initialised; the caller does not hold it.
        kernel::error::to_result(unsafe { ffi::coop_baton_lock_killable(self.lock.get()) })
    }

    /// Like [`lock_killable`](Self::lock_killable), whatever comes.
    pub fn lock(&self) {
        if !self.lends.load(Relaxed) {
            return self.lock_without_lending();
        }
        // SAFETY: As above.
        unsafe { ffi::coop_baton_lock(self.lock.get()) };
    }

    /// Has those who wait lend nothing, from now on. For tests.
    pub fn lend_nothing(&self) {
        self.lends.store(false, Relaxed);
    }

    /// Takes the lock in turns with sleeping, so that the holder does not know of it.
    #[cold]
    fn lock_without_lending(&self) {
        while !self.try_lock(super::context::current_task()) {
            thread::sleep_a_tick();
        }
    }

    /// Gives the lock to whoever waits first. `me` is the current thread.
    ///
    /// # Safety
    ///
    /// The current thread holds it.
    #[inline]
    pub unsafe fn unlock(&self, me: *mut task_struct) {
        #[cfg(not(any(CONFIG_DEBUG_RT_MUTEXES, CONFIG_DEBUG_LOCK_ALLOC)))]
        if self
            .owner()
            .compare_exchange(me, core::ptr::null_mut(), Release, Relaxed)
            .is_ok()
        {
            return;
        }
        let _ = me;
        // SAFETY: Per the function's contract.
        unsafe { bindings::rt_mutex_unlock(self.lock.get()) };
    }

    /// Whether others wait for the lock, as far as is known.
    #[inline]
    pub fn is_contended(&self) -> bool {
        #[cfg(not(any(CONFIG_DEBUG_RT_MUTEXES, CONFIG_DEBUG_LOCK_ALLOC)))]
        {
            self.owner().load(Relaxed).addr() & 1 != 0
        }
        #[cfg(any(CONFIG_DEBUG_RT_MUTEXES, CONFIG_DEBUG_LOCK_ALLOC))]
        true
    }

    /// Takes the lock, if it is free or becomes so in a moment: as long as its holder is on a CPU and
    /// nobody else wants this one. No locked instruction as long as it is not. Task context.
    pub fn spin(&self, me: *mut task_struct) -> bool {
        #[cfg(any(CONFIG_DEBUG_RT_MUTEXES, CONFIG_DEBUG_LOCK_ALLOC))]
        {
            self.try_lock(me)
        }
        #[cfg(not(any(CONFIG_DEBUG_RT_MUTEXES, CONFIG_DEBUG_LOCK_ALLOC)))]
        {
            for turn in 0..SPINS {
                let owner = self.owner().load(Relaxed);
                if owner.is_null() {
                    if self.try_lock(me) {
                        return true;
                    }
                } else if turn % LOOK_EVERY == 0 {
                    let owner = owner.map_addr(|a| a & !1);
                    // SAFETY: Looks at the thread, if it is still the owner, and at this CPU.
                    if !unsafe { ffi::coop_owner_on_cpu(self.owner().as_ptr(), owner) } {
                        return false;
                    }
                }
                core::hint::spin_loop();
            }
            false
        }
    }
}

/// Looks at the lock before a waiter sleeps: some ten microseconds, a context switch or two.
#[cfg(not(any(CONFIG_DEBUG_RT_MUTEXES, CONFIG_DEBUG_LOCK_ALLOC)))]
const SPINS: u32 = 1024;

/// Looks at the lock between two at its holder.
#[cfg(not(any(CONFIG_DEBUG_RT_MUTEXES, CONFIG_DEBUG_LOCK_ALLOC)))]
const LOOK_EVERY: u32 = 16;

#[pinned_drop]
impl PinnedDrop for Baton {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The key was registered, and nobody uses the lock any more.
        unsafe { ffi::coop_baton_destroy(self.key.get()) };
    }
}
