// SPDX-License-Identifier: GPL-2.0

//! Memory that the device writes frames to.
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

use super::{ffi, interface::Interface, poll::BhOff, raw_device, skb::Skb};

/// A buffer, and where the device finds it.
#[derive(Clone, Copy)]
struct Buffer {
    memory: NonNull<c_void>,
    dma: DmaAddress,
}

/// Buffers to receive into: an array with a slot per descriptor of a ring.
///
/// As with [`kernel::dma::Coherent`], what is mapped for a device must be dropped before its driver
/// is unbound, and after the device has stopped using it.
///
/// # Invariants
///
/// Each slot that is taken holds a buffer for `size` bytes from `coop_net_rx_alloc`, mapped for the
/// device to write to.
pub(crate) struct RxBuffers {
    dev: ARef<Device>,
    interface: Interface,
    size: u32,
    slots: KVec<Option<Buffer>>,
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
            dev: dev.into(),
            interface,
            size,
            slots: KVec::from_elem(None, count, GFP_KERNEL)?,
        })
    }

    fn allocate(&self) -> Result<Buffer> {
        let mut dma = 0;
        // SAFETY: The device is valid; any size is fine; the result is checked.
        let memory = unsafe { ffi::coop_net_rx_alloc(raw_device(&self.dev), self.size, &mut dma) };
        let memory = NonNull::new(memory).ok_or(ENOMEM)?;
        Ok(Buffer { memory, dma })
    }

    /// Puts a new buffer into a slot, in place of what was there, and tells its address.
    pub(crate) fn fill(&mut self, index: usize) -> Result<DmaAddress> {
        let new = self.allocate()?;
        let Some(slot) = self.slots.get_mut(index) else {
            self.release(new);
            return Err(EINVAL);
        };
        if let Some(old) = slot.replace(new) {
            self.release(old);
        }
        Ok(new.dma)
    }

    /// The address of the buffer in a slot.
    pub(crate) fn address(&self, index: usize) -> Result<DmaAddress> {
        let slot = self.slots.get(index).ok_or(EINVAL)?;
        slot.as_ref().map(|buffer| buffer.dma).ok_or(EINVAL)
    }

    /// Takes the buffer out of a slot, for one that holds `len` bytes, and puts a new one there.
    fn replace(&mut self, index: usize, len: u32) -> Result<Buffer> {
        if len > self.size {
            return Err(EINVAL);
        }
        let new = self.allocate()?;
        match self.slots.get_mut(index) {
            Some(Some(slot)) => Ok(core::mem::replace(slot, new)),
            _ => {
                self.release(new);
                Err(EINVAL)
            }
        }
    }

    /// Makes a frame of the first `len` bytes of a slot's buffer, and puts a new buffer into the
    /// slot. Without memory for that, the slot stays as it is.
    pub(crate) fn exchange(&mut self, _bh: &BhOff, index: usize, len: u32) -> Result<Skb> {
        let buffer = self.replace(index, len)?;
        // SAFETY: By the type's invariant; the buffer is handed over. Bottom halves are off.
        let skb = unsafe {
            ffi::coop_net_rx_build(
                self.interface.as_ptr(),
                raw_device(&self.dev),
                buffer.memory.as_ptr(),
                self.size,
                buffer.dma,
                len,
            )
        };
        let skb = NonNull::new(skb).ok_or(ENOMEM)?;
        // SAFETY: It is new.
        Ok(unsafe { Skb::from_raw(skb) })
    }

    /// Like [`exchange`](Self::exchange), but makes it the next part of `frame`.
    pub(crate) fn append(&mut self, frame: &mut Skb, index: usize, len: u32) -> Result {
        let buffer = self.replace(index, len)?;
        // SAFETY: By the type's invariant; the buffer is handed over.
        let done = unsafe {
            ffi::coop_net_rx_append(
                frame.as_ptr(),
                raw_device(&self.dev),
                buffer.memory.as_ptr(),
                self.size,
                buffer.dma,
                len,
            )
        };
        if done {
            Ok(())
        } else {
            Err(EMSGSIZE)
        }
    }

    /// Copies a frame out of a slot, which stays as it is. Cheaper than
    /// [`exchange`](Self::exchange) for short frames: nothing is allocated or mapped.
    pub(crate) fn copy(&self, _bh: &BhOff, index: usize, len: u32) -> Result<Skb> {
        let slot = self.slots.get(index).ok_or(EINVAL)?;
        let buffer = slot.as_ref().ok_or(EINVAL)?;
        if len > self.size {
            return Err(EINVAL);
        }
        // SAFETY: By the type's invariant. While the CPU owns the buffer it is only read.
        let skb = unsafe {
            ffi::coop_net_rx_copy(
                self.interface.as_ptr(),
                raw_device(&self.dev),
                buffer.memory.as_ptr(),
                buffer.dma,
                len,
            )
        };
        let skb = NonNull::new(skb).ok_or(ENOMEM)?;
        // SAFETY: It is new.
        Ok(unsafe { Skb::from_raw(skb) })
    }

    /// Whether a slot's buffer begins with these bytes.
    pub(crate) fn holds(&self, index: usize, bytes: &[u8]) -> bool {
        let (Some(Some(buffer)), Ok(len)) = (self.slots.get(index), u32::try_from(bytes.len()))
        else {
            return false;
        };
        if len > self.size {
            return false;
        }
        // SAFETY: By the type's invariant, and there are so many bytes in both.
        unsafe {
            ffi::coop_net_rx_holds(
                raw_device(&self.dev),
                buffer.memory.as_ptr(),
                buffer.dma,
                bytes.as_ptr(),
                len,
            )
        }
    }

    /// Empties all slots. The device must not write to them any more.
    pub(crate) fn clear(&mut self) {
        for index in 0..self.slots.len() {
            if let Some(buffer) = self.slots.get_mut(index).and_then(Option::take) {
                self.release(buffer);
            }
        }
    }

    fn release(&self, buffer: Buffer) {
        // SAFETY: By the type's invariant; the slot was emptied.
        unsafe {
            ffi::coop_net_rx_free(
                raw_device(&self.dev),
                buffer.memory.as_ptr(),
                self.size,
                buffer.dma,
            )
        };
    }
}

impl Drop for RxBuffers {
    fn drop(&mut self) {
        self.clear();
    }
}
