// SPDX-License-Identifier: GPL-2.0

//! The interrupt of an interface, which is requested while the interface is up, under its name: so
//! `/proc/interrupts` says whose it is, as with drivers in C.

use coop_domain::{IrqLine, Signal, Top};
use kernel::{
    device::Bound,
    ffi::{c_char, c_int},
    pci,
    prelude::*,
    sync::Arc,
};

use super::{interface::Interface, pci::interrupt_number};

/// An interrupt that was requested, until it is dropped.
pub(super) type Line = KBox<dyn Send>;

/// How to request the interrupt of a device.
pub(crate) struct Interrupt {
    number: c_int,
    request: KBox<dyn Fn(*const c_char, Interface) -> Result<Line> + Send + Sync>,
}

impl Interrupt {
    /// The interrupt of `pdev`, with `top` as its top half and `signal` for [`Top::Wake`].
    pub(crate) fn new(
        pdev: &pci::Device<Bound>,
        signal: Arc<Signal>,
        top: impl Fn() -> Top + Clone + Send + Sync + 'static,
    ) -> Result<Self> {
        let number = interrupt_number(pdev)?;
        let request = move |name, interface: Interface| -> Result<Line> {
            let (signal, top) = (signal.clone(), top.clone());
            // SAFETY: `Registration` drops the line when the interface goes down, which it has done
            // before the driver is unbound, and the number goes. The name is part of the interface,
            // of which there is a handle as long as the line is there, and always ends with a zero.
            let line = unsafe { IrqLine::with_name_at(number as u32, true, name, signal, top) }?;
            // They are dropped in this order.
            Ok(KBox::new((line, interface), GFP_KERNEL)?)
        };
        Ok(Self {
            number,
            request: KBox::new(request, GFP_KERNEL)?,
        })
    }

    pub(super) fn number(&self) -> c_int {
        self.number
    }

    /// Requests it for `interface`. May sleep.
    pub(super) fn request(&self, interface: &Interface) -> Result<Line> {
        (self.request)(interface.name_ptr(), interface.clone())
    }
}
