// SPDX-License-Identifier: GPL-2.0

//! Interrupts whose bottom half is a coroutine.
//!
//! The top half is the driver's short function: it asks the device whether the interrupt is its
//! own, and makes it be quiet. The bottom half is `irq.wait().await`, in any coroutine.
//!
//! ```ignore
//! let irq = Arc::new(Signal::new(), GFP_KERNEL)?;
//! let line = IrqLine::request(request, true, c"mydev", irq.clone(), move || {
//!     if registers.take_cause() == 0 { Top::NotMine } else { Top::Wake }
//! })?;
//! domain.spawn(c"bottom half", async move {
//!     loop {
//!         irq.wait().await;
//!         // ... handle what the device has ...
//!     }
//! })?.detach();
//! ```

use crate::signal::Signal;
use crate::sys::irq::{Handler, Line};
use kernel::ffi::c_char;
use kernel::irq::{IrqRequest, IrqReturn};
use kernel::prelude::*;
use kernel::sync::Arc;

/// What a top half found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Top {
    /// The interrupt of somebody else on the same line.
    NotMine,
    /// Handled; nothing is left to do.
    Handled,
    /// The coroutine is to be woken.
    Wake,
}

struct TopHalf<F> {
    f: F,
    signal: Arc<Signal>,
}

impl<F: Fn() -> Top + Send + Sync> Handler for TopHalf<F> {
    #[inline]
    fn handle(&self) -> IrqReturn {
        match (self.f)() {
            Top::NotMine => IrqReturn::None,
            Top::Handled => IrqReturn::Handled,
            Top::Wake => {
                self.signal.signal();
                IrqReturn::Handled
            }
        }
    }
}

/// An interrupt line with a top half. Dropping it frees the line: no top half runs afterwards.
pub struct IrqLine<'a, F: Fn() -> Top + Send + Sync>(Line<'a, TopHalf<F>>);

impl<'a, F: Fn() -> Top + Send + Sync + 'static> IrqLine<'a, F> {
    /// Requests the interrupt of a device. Task context, sleeps. The errors of `request_irq`.
    ///
    /// `top` runs in hard interrupt context: it must not sleep.
    ///
    /// # Safety
    ///
    /// The line is dropped, not leaked, before the device is unbound (as for the kernel crate's
    /// `irq::Registration`).
    pub unsafe fn request(
        request: IrqRequest<'a>,
        shared: bool,
        name: &'static CStr,
        signal: Arc<Signal>,
        top: F,
    ) -> Result<Self> {
        // SAFETY: Per the function's contract, for as long as the device is bound.
        unsafe { Self::from_number(request.irq(), shared, name, signal, top) }
    }

    /// Like [`request`](Self::request), for a bare interrupt number.
    ///
    /// # Safety
    ///
    /// `irq` stays the number of the caller's interrupt for `'a`, and the line is dropped, not
    /// leaked, before `'a` ends.
    pub unsafe fn from_number(
        irq: u32,
        shared: bool,
        name: &'static CStr,
        signal: Arc<Signal>,
        top: F,
    ) -> Result<Self> {
        // SAFETY: Per the function's contract; the name is there for ever.
        unsafe { Self::with_name_at(irq, shared, name.as_char_ptr(), signal, top) }
    }

    /// Like [`from_number`](Self::from_number), for a name that others may change: that of a network
    /// interface, say, by which `/proc/interrupts` then calls the line.
    ///
    /// # Safety
    ///
    /// As there; and `name` points to a C string for `'a`, whatever it is changed to.
    pub unsafe fn with_name_at(
        irq: u32,
        shared: bool,
        name: *const c_char,
        signal: Arc<Signal>,
        top: F,
    ) -> Result<Self> {
        // SAFETY: Per the function's contract.
        unsafe { Line::request(irq, shared, name, TopHalf { f: top, signal }) }.map(IrqLine)
    }

    /// The signal that the top half gives.
    pub fn signal(&self) -> &Arc<Signal> {
        &self.0.handler().signal
    }
}
