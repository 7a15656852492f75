// SPDX-License-Identifier: GPL-2.0

//! Atomics of the lock-free parts, and the names their memory orderings go by.
//!
//! The files that need no kernel ([`msgq`](crate::msgq), `coop/task_state.rs`,
//! `coop/wake_queue.rs`, `coop/wait_cell.rs`, `coop/alone.rs`) take every atomic and every shared cell from here
//! and from nowhere else. In the module they are those of `core`; under `cfg(loom)`, in
//! `selftests/host`, they are loom's, and the same source is explored over all its interleavings.
//!
//! # Why `core`'s atomics and not `kernel::sync::atomic`
//!
//! The kernel's own type is defined by the kernel's memory model, but on a kernel built without
//! link-time optimisation (every distribution's) each access of it is a call of a C function, a
//! load included: that would double the cost of the hot paths. `core`'s compile to one
//! instruction. What the kernel warns of is mixing two memory models on one object, and this
//! does not happen: no C code ever touches these words, and an ordering is never borrowed from a
//! kernel primitive that the C11 model does not have (no control or address dependency, no
//! `smp_mb__after_atomic()`). Where one side of a protocol is the kernel's (going to sleep,
//! waking a thread), the words on our side are ordered by a [`fence`] or by read-modify-writes of
//! one word, which both models read alike.
//!
//! # Orderings have names
//!
//! An ordering that a protocol rests on is written `named("ring.publish", Release)`. In the
//! module this is the ordering and nothing else. In the models a test can weaken the ordering of
//! that name to `Relaxed`, run again and demand that loom finds the bug, so that each barrier is
//! shown to be needed and each model is shown to be able to see it.
//!
//! Two rules for code that is to be modelled: loom takes a `SeqCst` *access* for an
//! acquire-release one, so where two words must be seen in one order by both sides ("I stored
//! mine, then looked at yours"), use `fence(SeqCst)` on both sides, or let both sides read and
//! modify one and the same word. And atomics are not `const` under loom.

#[cfg(loom)]
pub use crate::model::atomic::*;

#[cfg(not(loom))]
pub use self::plain::*;

/// A relaxed load that can be part of the instruction which needs it: LLVM compares a value in
/// memory only if it was not loaded by an atomic.
#[inline(always)]
pub fn peek(byte: &AtomicU8) -> u8 {
    #[cfg(loom)]
    return byte.load(Ordering::Relaxed);
    #[cfg(not(loom))]
    // SAFETY: A valid byte, which everybody else writes by one instruction. (What `READ_ONCE` is to
    // the kernel: a volatile load does not tear, and is neither repeated nor left out.)
    unsafe {
        byte.as_ptr().read_volatile()
    }
}

#[cfg(not(loom))]
mod plain {
    pub use core::hint::spin_loop;
    pub use core::sync::atomic::{
        fence, AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicU8, AtomicUsize, Ordering,
    };

    /// The ordering `order`, which tests know as `name`.
    #[inline(always)]
    pub const fn named(_name: &'static str, order: Ordering) -> Ordering {
        order
    }

    /// The fence `order`, which tests know as `name`: a weakened fence is no fence.
    #[inline(always)]
    pub fn named_fence(_name: &'static str, order: Ordering) {
        fence(order);
    }

    /// Whether a test has asked for the mistake `name` to be made. Never, outside of the models.
    ///
    /// For mistakes that are not an ordering: a second look left out, two steps swapped.
    #[inline(always)]
    pub const fn mistake(_name: &'static str) -> bool {
        false
    }

    /// `core::cell::UnsafeCell` in the shape of loom's, which checks that accesses do not overlap
    /// in time: they go through a closure. Costs nothing here.
    #[repr(transparent)]
    pub struct UnsafeCell<T: ?Sized>(core::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        /// A cell that holds `value`.
        #[inline(always)]
        pub const fn new(value: T) -> Self {
            Self(core::cell::UnsafeCell::new(value))
        }

        /// The value back.
        #[inline(always)]
        pub fn into_inner(self) -> T {
            self.0.into_inner()
        }
    }

    impl<T: ?Sized> UnsafeCell<T> {
        /// Hands `f` a pointer to read the value through. It is `f` that must show why nobody
        /// writes meanwhile.
        #[inline(always)]
        pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        /// Hands `f` a pointer to read and write the value through. It is `f` that must show why
        /// nobody else reads or writes meanwhile.
        #[inline(always)]
        pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}
