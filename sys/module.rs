// SPDX-License-Identifier: GPL-2.0

//! The module loader: references to modules, and word of their going.
//!
//! C header: [`include/linux/module.h`](srctree/include/linux/module.h).

use super::ffi;
use core::pin::Pin;
use kernel::bindings;
use kernel::ffi::{c_int, c_ulong, c_void};
use kernel::prelude::*;

/// The identity of a module; never dereferenced.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ModuleId(*mut bindings::module);

// SAFETY: Only compared, or passed to the kernel while the module is known to exist.
unsafe impl Send for ModuleId {}
// SAFETY: As above.
unsafe impl Sync for ModuleId {}

impl ModuleId {
    /// The identity of `module`.
    pub fn of(module: &'static ThisModule) -> Self {
        ModuleId(module.as_ptr())
    }
}

/// A reference that keeps a module from being unloaded.
///
/// # Invariants
///
/// A reference to the module belongs to this value.
pub struct ModuleRef(ModuleId);

impl ModuleRef {
    /// Takes a reference. Any context; `ENOENT` if the module is going already.
    pub fn get(module: &'static ThisModule) -> Result<Self> {
        let id = ModuleId::of(module);
        // SAFETY: The `'static` reference says that the module is there.
        if unsafe { bindings::try_module_get(id.0) } {
            // INVARIANT: The reference was just taken.
            Ok(ModuleRef(id))
        } else {
            Err(ENOENT)
        }
    }
}

impl Drop for ModuleRef {
    fn drop(&mut self) {
        // SAFETY: By the invariant the reference is ours.
        unsafe { bindings::module_put(self.0 .0) };
    }
}

/// A module whose code is about to be freed; its exit function has returned.
pub struct GoingModule(*mut bindings::module);

impl GoingModule {
    /// Its identity.
    pub fn id(&self) -> ModuleId {
        ModuleId(self.0)
    }

    /// Whether `addr` lies in its code or data.
    pub fn contains(&self, addr: *const ()) -> bool {
        // SAFETY: The module is valid as long as the notifier runs, that is, as long as `self`.
        unsafe { ffi::coop_within_module(addr.cast(), self.0) }
    }
}

/// Calls `F` for every module that goes, from registration until drop.
///
/// # Invariants
///
/// `block` is registered.
#[pin_data(PinnedDrop)]
pub struct GoingNotifier {
    #[pin]
    block: kernel::types::Opaque<bindings::notifier_block>,
}

// SAFETY: The block is touched by the kernel only, under its own lock.
unsafe impl Send for GoingNotifier {}
// SAFETY: As above.
unsafe impl Sync for GoingNotifier {}

/// Implemented by who wants to know.
pub trait OnGoing {
    /// Task context, may sleep; the module's code can still be called.
    fn module_going(module: &GoingModule);
}

impl GoingNotifier {
    /// Registers. Task context, sleeps.
    pub fn new<T: OnGoing>() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // INVARIANT: Registered, unless the initialiser fails.
            block <- kernel::types::Opaque::try_ffi_init(|block: *mut bindings::notifier_block| {
                // SAFETY: `block` is valid for writes and pinned.
                unsafe {
                    block.write(bindings::notifier_block {
                        notifier_call: Some(Self::call::<T>),
                        ..Default::default()
                    });
                    kernel::error::to_result(bindings::register_module_notifier(block))
                }
            }),
        })
    }

    /// # Safety
    ///
    /// Called by the module loader only.
    unsafe extern "C" fn call<T: OnGoing>(
        _block: *mut bindings::notifier_block,
        state: c_ulong,
        module: *mut c_void,
    ) -> c_int {
        if state == bindings::module_state_MODULE_STATE_GOING as c_ulong {
            T::module_going(&GoingModule(module.cast()));
        }
        0
    }
}

#[pinned_drop]
impl PinnedDrop for GoingNotifier {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the invariant it is registered.
        unsafe { bindings::unregister_module_notifier(self.block.get()) };
    }
}
