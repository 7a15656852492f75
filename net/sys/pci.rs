// SPDX-License-Identifier: GPL-2.0

//! The PCI side of a NIC.
//!
//! What is set up here for a device lasts until its driver is unbound, and is undone then in
//! reverse order, after the driver's own data are gone: the kernel's device resource management
//! (devres) sees to that, so that it cannot be forgotten.
//!
//! C header: [`include/linux/pci.h`](srctree/include/linux/pci.h)

use core::marker::PhantomData;

use kernel::{
    bindings,
    device::{Bound, Core},
    devres::{self, DevresGuard},
    dma::{Device as _, DmaMask},
    driver::{DriverLayout, RegistrationOps},
    error::to_result,
    ffi::c_int,
    pci,
    prelude::*,
    str::{CStr, CString},
    sync::aref::ARef,
    types::Opaque,
    ThisModule,
};

use super::{ffi, poll::BhOff};
use crate::net::nic::{Driver, Nic};

fn raw_pdev(pdev: &pci::Device) -> *mut bindings::pci_dev {
    // `pci::Device` is a transparent wrapper.
    core::ptr::from_ref(pdev).cast_mut().cast()
}

/// Registers a PCI driver as [`pci::Adapter`] does, and one whose interfaces are at rest while the
/// system sleeps, from an error on the bus until it is over, and while somebody resets the device:
/// [`Operations::stop`](super::interface::Operations::stop) and
/// [`resume`](super::interface::Operations::resume).
pub(crate) struct NicDriver<D: Driver>(PhantomData<D>);

// SAFETY: As for `pci::Adapter`, whose type and data these are.
unsafe impl<D: Driver> DriverLayout for NicDriver<D> {
    type DriverType = bindings::pci_driver;
    type DriverData<'bound> = Nic<D>;
    const DEVICE_DRIVER_OFFSET: usize = pci::Adapter::<Self>::DEVICE_DRIVER_OFFSET;
}

// SAFETY: That of `pci::Adapter` does it.
unsafe impl<D: Driver> RegistrationOps for NicDriver<D> {
    unsafe fn register(
        driver: &Opaque<Self::DriverType>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        // SAFETY: It is not registered yet; by the caller's promise for the rest.
        unsafe {
            ffi::coop_net_pci_driver(driver.get());
            pci::Adapter::<Self>::register(driver, name, module)
        }
    }

    unsafe fn unregister(driver: &Opaque<Self::DriverType>) {
        // SAFETY: By the caller's promise.
        unsafe { pci::Adapter::<Self>::unregister(driver) }
    }
}

/// Switches the memory and the DMA of `pdev` on, with addresses as `mask` allows them.
pub(crate) fn enable(pdev: &pci::Device<Core<'_>>, mask: DmaMask) -> Result {
    struct Enabled(ARef<pci::Device>);

    impl Drop for Enabled {
        fn drop(&mut self) {
            // SAFETY: It was enabled below.
            unsafe {
                bindings::pci_clear_master(raw_pdev(&self.0));
                bindings::pci_disable_device(raw_pdev(&self.0));
            }
        }
    }

    pdev.enable_device_mem()?;
    let pdev_ref: &pci::Device = pdev;
    devres::register(pdev.as_ref(), Enabled(pdev_ref.into()), GFP_KERNEL)?;
    // SAFETY: Nothing has been mapped for this device yet: its driver is about to begin.
    unsafe { pdev.dma_set_mask_and_coherent(mask) }?;
    pdev.set_master();
    Ok(())
}

/// A name for what belongs to `pdev`: that of the driver, and where the device is, `e1000-00:0a.0`.
pub(crate) fn device_name(pdev: &pci::Device, driver: &str) -> Result<CString> {
    let id = pdev.dev_id();
    let (bus, slot, function) = (id >> 8, id >> 3 & 0x1f, id & 7);
    CString::try_from_fmt(fmt!("{driver}-{bus:02x}:{slot:02x}.{function}"))
}

/// Allocates the interrupt of `pdev`, for as long as the driver is bound. Its number is not negative.
pub(super) fn interrupt_number(pdev: &pci::Device<Bound>) -> Result<c_int> {
    struct Vectors(ARef<pci::Device>);

    impl Drop for Vectors {
        fn drop(&mut self) {
            // SAFETY: They were allocated below.
            unsafe { bindings::pci_free_irq_vectors(raw_pdev(&self.0)) };
        }
    }

    let pdev_ref: &pci::Device = pdev;
    let raw = raw_pdev(pdev_ref);
    // Chips of the time when MSI was new have it, but their makers' drivers do not use it.
    let types = bindings::PCI_IRQ_INTX;
    // SAFETY: `pdev` is valid and bound.
    let count = unsafe { bindings::pci_alloc_irq_vectors(raw, 1, 1, types) };
    to_result(count)?;
    devres::register(pdev.as_ref(), Vectors(pdev_ref.into()), GFP_KERNEL)?;

    // SAFETY: `pdev` is valid; it has at least one vector.
    let irq = unsafe { bindings::pci_irq_vector(raw, 0) };
    to_result(irq)?;
    Ok(irq)
}

/// The registers of a PCI function, to be shared by coroutines and interrupt handlers.
///
/// After the driver is unbound they are out of reach, whoever still has this object.
pub(crate) struct Regs<const SIZE: usize>(pci::DevresBar<SIZE>);

impl<const SIZE: usize> Regs<SIZE> {
    /// Maps the memory behind the base address register `bar`.
    pub(crate) fn map(pdev: &pci::Device<Bound>, bar: u32, name: &'static CStr) -> Result<Self> {
        pdev.iomap_region_sized::<SIZE>(bar, name)?
            .into_devres()
            .map(Self)
    }

    /// The registers of the device that one is called for, which is `None` if they are another's.
    /// Four instructions.
    #[inline]
    pub(crate) fn at<'a>(&'a self, bh: &'a BhOff) -> Option<&'a pci::Bar<'a, SIZE>> {
        self.0.access(bh.device()).ok()
    }

    /// The registers, for a few accesses; `None` if the driver is unbound. Some fifty instructions.
    ///
    /// An RCU reader: do not sleep with it.
    pub(crate) fn access(&self) -> Option<DevresGuard<'_, pci::Bar<'static, SIZE>>> {
        self.0.try_access()
    }

    /// What `f` makes of the registers, or `gone` if the driver is unbound. `f` must not sleep.
    #[inline]
    pub(crate) fn with<R>(&self, gone: R, f: impl FnOnce(&pci::Bar<'_, SIZE>) -> R) -> R {
        match self.access() {
            Some(bar) => f(&bar),
            None => gone,
        }
    }
}
