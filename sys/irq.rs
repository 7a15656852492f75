// SPDX-License-Identifier: GPL-2.0

//! Interrupt lines.
//!
//! C header: [`include/linux/interrupt.h`](srctree/include/linux/interrupt.h).
//!
//! The kernel crate's `irq::Registration` would do, but is bound to devices of its own types; a
//! bare interrupt number, as an interrupt controller's driver has it, is needed here too.

use core::marker::PhantomData;
use kernel::bindings;
use kernel::ffi::{c_char, c_int, c_uint, c_ulong, c_void};
use kernel::irq::IrqReturn;
use kernel::prelude::*;

/// A function for hard interrupt context.
pub trait Handler: Send + Sync {
    /// Called with interrupts off; must not sleep.
    fn handle(&self) -> IrqReturn;
}

/// A requested interrupt line; dropping it frees the line, after the handler's last run.
///
/// # Invariants
///
/// `handler` is registered for `irq`, with its own address as the cookie.
pub struct Line<'a, H: Handler> {
    irq: c_uint,
    handler: Pin<KBox<H>>,
    _device: PhantomData<&'a ()>,
}

impl<'a, H: Handler> Line<'a, H> {
    /// Requests the line. Task context, sleeps.
    ///
    /// # Safety
    ///
    /// `irq` stays the number of the caller's interrupt for `'a`, `name` stays a C string for as
    /// long, and the line is dropped, not leaked, before `'a` ends or `H`'s code goes.
    pub unsafe fn request(irq: u32, shared: bool, name: *const c_char, handler: H) -> Result<Self> {
        let handler = KBox::pin(handler, GFP_KERNEL)?;
        let cookie = core::ptr::from_ref(&*handler).cast_mut().cast::<c_void>();
        let flags = if shared { bindings::IRQF_SHARED } else { 0 } as c_ulong;
        // SAFETY: `cookie` is what `entry::<H>` expects, and lives until the line is freed, as does
        // `name`.
        kernel::error::to_result(unsafe {
            bindings::request_irq(irq, Some(Self::entry), flags, name, cookie)
        })?;
        // INVARIANT: Just registered.
        Ok(Line {
            irq,
            handler,
            _device: PhantomData,
        })
    }

    /// The handler.
    pub fn handler(&self) -> &H {
        &self.handler
    }

    /// # Safety
    ///
    /// Called by the kernel with the cookie of [`Line::request`].
    unsafe extern "C" fn entry(_irq: c_int, cookie: *mut c_void) -> bindings::irqreturn_t {
        // SAFETY: The cookie is a valid `H` until the line is freed.
        let handler = unsafe { &*cookie.cast::<H>() };
        bindings::irqreturn(handler.handle() as c_uint)
    }
}

impl<H: Handler> Drop for Line<'_, H> {
    fn drop(&mut self) {
        let cookie = core::ptr::from_ref(&*self.handler).cast_mut().cast();
        // SAFETY: By the invariant this is what was registered.
        unsafe { bindings::free_irq(self.irq, cookie) };
    }
}
