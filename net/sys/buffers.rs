// SPDX-License-Identifier: GPL-2.0

//! Memory that the device reads frames from, and writes them to.
//!
//! Both types are arrays with one slot per descriptor of a ring: the ring says what a slot is for,
//! the array sees to it that its memory is mapped, and unmapped once.
//!
//! C header: [`include/linux/dma-mapping.h`](srctree/include/linux/dma-mapping.h)

use core::ptr::NonNull;

use kernel::{
    device::{Bound, Device},
    dma::DmaAddress,
    ffi::c_void,
    prelude::*,
    sync::aref::ARef,
};

use super::{ffi, gro::BhOff, interface::Interface, raw_device, skb::Skb};

/// Who does the DMA. As with [`kernel::dma::Coherent`], what is mapped for a device must be dropped
/// before its driver is unbound, and after the device has stopped using it.
struct Mapper(ARef<Device>);

impl Mapper {
    /// # Safety
    ///
    /// `data` is valid for `len` bytes until it is unmapped.
    unsafe fn map(&self, data: *mut c_void, len: u32, to_device: bool) -> Result<DmaAddress> {
        // SAFETY: By the caller's promise.
        match unsafe { ffi::coop_net_dma_map(raw_device(&self.0), data, len, to_device) } {
            ffi::DMA_MAPPING_ERROR => Err(ENOMEM),
            dma => Ok(dma),
        }
    }

    /// # Safety
    ///
    /// The arguments are those of a `map` before, and what it returned.
    unsafe fn unmap(&self, dma: DmaAddress, len: u32, to_device: bool) {
        // SAFETY: By the caller's promise.
        unsafe { ffi::coop_net_dma_unmap(raw_device(&self.0), dma, len, to_device) };
    }
}

/// Buffers to receive into.
///
/// # Invariants
///
/// Each slot that is taken holds a buffer for `size` bytes from `coop_net_rx_alloc`, mapped at its
/// address for the device to write to.
pub(crate) struct RxBuffers {
    mapper: Mapper,
    interface: Interface,
    size: u32,
    slots: KVec<Option<(NonNull<c_void>, DmaAddress)>>,
}

// SAFETY: The buffers belong to this object, not to a thread.
unsafe impl Send for RxBuffers {}

impl RxBuffers {
    /// Makes `count` empty slots for buffers of `size` bytes.
    pub(crate) fn new(
        dev: &Device<Bound>,
        interface: Interface,
        count: usize,
        size: u32,
    ) -> Result<Self> {
        Ok(Self {
            mapper: Mapper(dev.into()),
            interface,
            size,
            slots: KVec::from_elem(None, count, GFP_KERNEL)?,
        })
    }

    fn allocate(&self) -> Result<(NonNull<c_void>, DmaAddress)> {
        // SAFETY: Any size is fine; the result is checked.
        let buffer = NonNull::new(unsafe { ffi::coop_net_rx_alloc(self.size) }).ok_or(ENOMEM)?;
        // SAFETY: `buffer` has `size` bytes from there on.
        let mapped = unsafe {
            let data = ffi::coop_net_rx_data(buffer.as_ptr());
            self.mapper.map(data, self.size, false)
        };
        match mapped {
            Ok(dma) => Ok((buffer, dma)),
            Err(error) => {
                // SAFETY: It is ours and not mapped.
                unsafe { ffi::coop_net_rx_free(buffer.as_ptr()) };
                Err(error)
            }
        }
    }

    /// Puts a new buffer into a slot, in place of what was there, and tells its address.
    pub(crate) fn fill(&mut self, index: usize) -> Result<DmaAddress> {
        let new = self.allocate()?;
        let Some(slot) = self.slots.get_mut(index) else {
            self.release(Some(new));
            return Err(EINVAL);
        };
        let old = slot.replace(new);
        self.release(old);
        Ok(new.1)
    }

    /// The address of the buffer in a slot.
    pub(crate) fn address(&self, index: usize) -> Result<DmaAddress> {
        let slot = self.slots.get(index).ok_or(EINVAL)?;
        slot.as_ref().map(|(_, dma)| *dma).ok_or(EINVAL)
    }

    /// Makes a frame of the first `len` bytes of a slot's buffer, and puts a new buffer into the
    /// slot. Without memory for that, the slot stays as it is.
    pub(crate) fn exchange(&mut self, _bh: &BhOff, index: usize, len: u32) -> Result<Skb> {
        if len > self.size {
            return Err(EINVAL);
        }
        let new = self.allocate()?;
        let slot = self.slots.get_mut(index).and_then(Option::as_mut);
        let Some((buffer, dma)) = slot.map(|slot| core::mem::replace(slot, new)) else {
            self.release(Some(new));
            return Err(EINVAL);
        };
        // SAFETY: By the type's invariant. The buffer is handed over, and has `len` bytes.
        let skb = unsafe {
            self.mapper.unmap(dma, self.size, false);
            ffi::coop_net_rx_build(self.interface.as_ptr(), buffer.as_ptr(), self.size, len)
        };
        match NonNull::new(skb) {
            // SAFETY: Just made, and linear.
            Some(skb) => Ok(unsafe { Skb::from_raw(skb) }),
            None => {
                // SAFETY: It was not taken over, and is not mapped.
                unsafe { ffi::coop_net_rx_free(buffer.as_ptr()) };
                Err(ENOMEM)
            }
        }
    }

    /// Copies a frame out of a slot, which stays as it is. Cheaper than [`exchange`](Self::exchange) for
    /// short frames: nothing is allocated or mapped.
    pub(crate) fn copy(&self, _bh: &BhOff, index: usize, len: u32) -> Result<Skb> {
        let slot = self.slots.get(index).ok_or(EINVAL)?;
        let (buffer, dma) = slot.as_ref().ok_or(EINVAL)?;
        if len > self.size {
            return Err(EINVAL);
        }
        let dev = raw_device(&self.mapper.0);
        // SAFETY: By the type's invariant. While the CPU owns the buffer it is only read.
        let skb = unsafe {
            ffi::coop_net_dma_sync_for_cpu(dev, *dma, len);
            let skb = ffi::coop_net_rx_copy(self.interface.as_ptr(), buffer.as_ptr(), len);
            ffi::coop_net_dma_sync_for_device(dev, *dma, len);
            skb
        };
        let skb = NonNull::new(skb).ok_or(ENOMEM)?;
        // SAFETY: Just made, and linear.
        Ok(unsafe { Skb::from_raw(skb) })
    }

    /// Empties all slots. The device must not write to them any more.
    pub(crate) fn clear(&mut self) {
        for index in 0..self.slots.len() {
            let slot = self.slots.get_mut(index).and_then(Option::take);
            self.release(slot);
        }
    }

    fn release(&self, slot: Option<(NonNull<c_void>, DmaAddress)>) {
        if let Some((buffer, dma)) = slot {
            // SAFETY: By the type's invariant; the slot was emptied.
            unsafe {
                self.mapper.unmap(dma, self.size, false);
                ffi::coop_net_rx_free(buffer.as_ptr());
            }
        }
    }
}

impl Drop for RxBuffers {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Frames that are being sent.
///
/// # Invariants
///
/// The data of each frame is mapped at the address beside it for the device to read.
pub(crate) struct TxBuffers {
    mapper: Mapper,
    slots: KVec<Option<(Skb, DmaAddress)>>,
}

impl TxBuffers {
    /// Makes `count` empty slots.
    pub(crate) fn new(dev: &Device<Bound>, count: usize) -> Result<Self> {
        let mut slots = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            slots.push(None, GFP_KERNEL)?;
        }
        Ok(Self {
            mapper: Mapper(dev.into()),
            slots,
        })
    }

    /// Puts a frame into an empty slot, and tells where the device finds its data.
    pub(crate) fn put(&mut self, index: usize, frame: Skb) -> Result<DmaAddress> {
        let slot = self.slots.get_mut(index).ok_or(EINVAL)?;
        if slot.is_some() {
            return Err(EBUSY);
        }
        // SAFETY: All data of a frame is linear and lives as long as the frame.
        let dma = unsafe { self.mapper.map(frame.data(), frame.len(), true) }?;
        *slot = Some((frame, dma));
        Ok(dma)
    }

    /// Takes a frame out that was sent.
    pub(crate) fn take(&mut self, index: usize) -> Option<Skb> {
        let (frame, dma) = self.slots.get_mut(index)?.take()?;
        // SAFETY: By the type's invariant.
        unsafe { self.mapper.unmap(dma, frame.len(), true) };
        Some(frame)
    }

    /// Gives all frames up. The device must not read them any more.
    pub(crate) fn clear(&mut self) {
        for index in 0..self.slots.len() {
            drop(self.take(index));
        }
    }
}

impl Drop for TxBuffers {
    fn drop(&mut self) {
        self.clear();
    }
}
