// SPDX-License-Identifier: GPL-2.0

//! The PCI side of a NIC.
//!
//! C header: [`include/linux/pci.h`](srctree/include/linux/pci.h)

use kernel::{
    bindings,
    device::Core,
    devres::DevresGuard,
    dma::{Device as _, DmaMask},
    pci,
    prelude::*,
    str::CStr,
};

/// A PCI function is on and may do DMA while this object lives.
pub(crate) struct Enabled<'bound>(&'bound pci::Device<kernel::device::Bound>);

impl<'bound> Enabled<'bound> {
    /// Switches the memory and DMA of `pdev` on, with addresses as `mask` allows them.
    pub(crate) fn new(pdev: &'bound pci::Device<Core<'_>>, mask: DmaMask) -> Result<Self> {
        pdev.enable_device_mem()?;
        let this = Self(pdev);
        // SAFETY: Nothing has been mapped for this device yet: its driver is about to begin.
        unsafe { pdev.dma_set_mask_and_coherent(mask) }?;
        pdev.set_master();
        Ok(this)
    }
}

impl Drop for Enabled<'_> {
    fn drop(&mut self) {
        let pdev = core::ptr::from_ref(self.0)
            .cast_mut()
            .cast::<bindings::pci_dev>();
        // SAFETY: `pci::Device` is a transparent wrapper of `pci_dev`; `new` enabled it.
        unsafe {
            bindings::pci_clear_master(pdev);
            bindings::pci_disable_device(pdev);
        }
    }
}

/// The registers of a PCI function, to be shared by coroutines and interrupt handlers.
///
/// After the driver is unbound they are out of reach, whoever still has this object.
pub(crate) struct Regs<const SIZE: usize>(pci::DevresBar<SIZE>);

impl<const SIZE: usize> Regs<SIZE> {
    /// Maps the memory behind the base address register `bar`.
    pub(crate) fn map(
        pdev: &pci::Device<kernel::device::Bound>,
        bar: u32,
        name: &'static CStr,
    ) -> Result<Self> {
        pdev.iomap_region_sized::<SIZE>(bar, name)?
            .into_devres()
            .map(Self)
    }

    /// The registers, for a few accesses; `None` if the driver is unbound.
    ///
    /// An RCU reader: do not sleep with it.
    pub(crate) fn access(&self) -> Option<DevresGuard<'_, pci::Bar<'static, SIZE>>> {
        self.0.try_access()
    }
}
