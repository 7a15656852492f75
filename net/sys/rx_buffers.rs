// SPDX-License-Identifier: GPL-2.0

//! Memory that the device writes frames to.
//!
//! C header: [`include/net/page_pool/types.h`](srctree/include/net/page_pool/types.h)

use core::ptr::NonNull;

use kernel::{dma::DmaAddress, ffi::c_void, prelude::*};

use super::{ffi, interface::Interface, poll::BhOff, raw_device, skb::Skb};

/// A buffer, and where the device finds it.
#[derive(Clone, Copy)]
struct Buffer {
    memory: NonNull<c_void>,
    dma: DmaAddress,
}

/// Where buffers come from, and go back to when nobody has their frame any more: pages that stay
/// mapped for the device to write to meanwhile (`struct page_pool`).
///
/// Making one, and dropping it, may sleep. As with [`kernel::dma::Coherent`], what is mapped for a
/// device must be dropped before its driver is unbound, and after the device has stopped using it.
///
/// # Invariants
///
/// The pointer is to a pool of buffers for `size` bytes. Who has the pool alone allocates.
pub(crate) struct RxPool {
    raw: NonNull<ffi::PagePool>,
    size: u32,
}

// SAFETY: A pool belongs to no thread.
unsafe impl Send for RxPool {}

impl RxPool {
    /// A pool of buffers for `size` bytes, `count` of which may lie idle.
    pub(crate) fn new(interface: &Interface, count: usize, size: u32) -> Result<Self> {
        let count = u32::try_from(count)?;
        // SAFETY: `dev` is valid, and has a parent; the pool keeps a reference to that.
        let raw = unsafe { ffi::coop_net_rx_pool(interface.as_ptr(), count, size) };
        // INVARIANT: It is new.
        Ok(Self {
            raw: NonNull::new(raw).ok_or(ENOMEM)?,
            size,
        })
    }

    fn allocate(&mut self) -> Result<Buffer> {
        let mut dma = 0;
        // SAFETY: By the type's invariant; the caller has it alone.
        let memory = unsafe { ffi::coop_net_rx_alloc(self.raw.as_ptr(), &mut dma) };
        let memory = NonNull::new(memory).ok_or(ENOMEM)?;
        Ok(Buffer { memory, dma })
    }

    fn release(&self, buffer: Buffer) {
        // SAFETY: By the type's invariant; who releases a buffer of the pool gives it up.
        unsafe { ffi::coop_net_rx_free(self.raw.as_ptr(), buffer.memory.as_ptr()) };
    }
}

impl Drop for RxPool {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant; nobody has it any more. What is still in frames comes
        // back later, for which the kernel waits.
        unsafe { ffi::coop_net_rx_pool_free(self.raw.as_ptr()) };
    }
}

/// Buffers to receive into: an array with a slot per descriptor of a ring.
///
/// # Invariants
///
/// Each slot that is taken holds a buffer of the pool, mapped for the device to write to.
pub(crate) struct RxBuffers {
    interface: Interface,
    pool: Option<RxPool>,
    slots: KVec<Option<Buffer>>,
}

// SAFETY: The buffers belong to this object, not to a thread.
unsafe impl Send for RxBuffers {}

impl RxBuffers {
    /// Makes `count` empty slots, without a pool to fill them from.
    pub(crate) fn new(interface: Interface, count: usize) -> Result<Self> {
        Ok(Self {
            interface,
            pool: None,
            slots: KVec::from_elem(None, count, GFP_KERNEL)?,
        })
    }

    /// Empties all slots. From now on they are filled from this pool; the one before is handed back,
    /// to be dropped where one may sleep.
    pub(crate) fn set_pool(&mut self, pool: Option<RxPool>) -> Option<RxPool> {
        self.clear();
        core::mem::replace(&mut self.pool, pool)
    }

    /// Puts a new buffer into a slot, in place of what was there, and tells its address.
    pub(crate) fn fill(&mut self, index: usize) -> Result<DmaAddress> {
        let pool = self.pool.as_mut().ok_or(ENOMEM)?;
        let slot = self.slots.get_mut(index).ok_or(EINVAL)?;
        let new = pool.allocate()?;
        if let Some(old) = slot.replace(new) {
            pool.release(old);
        }
        Ok(new.dma)
    }

    /// The address of the buffer in a slot.
    pub(crate) fn address(&self, index: usize) -> Result<DmaAddress> {
        let slot = self.slots.get(index).ok_or(EINVAL)?;
        slot.as_ref().map(|buffer| buffer.dma).ok_or(EINVAL)
    }

    /// Takes the buffer out of a slot, for one that holds `len` bytes, and puts a new one there.
    fn replace(&mut self, index: usize, len: u32) -> Result<(&RxPool, Buffer)> {
        let pool = self.pool.as_mut().ok_or(ENOMEM)?;
        let slot = self.slots.get_mut(index).ok_or(EINVAL)?;
        let slot = slot.as_mut().ok_or(EINVAL)?;
        if len > pool.size {
            return Err(EINVAL);
        }
        let old = core::mem::replace(slot, pool.allocate()?);
        Ok((pool, old))
    }

    /// Makes a frame of the first `len` bytes of a slot's buffer, and puts a new buffer into the
    /// slot. Without memory for that, the slot stays as it is.
    pub(crate) fn exchange(&mut self, _bh: &BhOff, index: usize, len: u32) -> Result<Skb> {
        let netdev = self.interface.as_ptr();
        let (pool, buffer) = self.replace(index, len)?;
        // SAFETY: By the type's invariant; the buffer is handed over. Bottom halves are off.
        let skb = unsafe {
            ffi::coop_net_rx_build(netdev, pool.raw.as_ptr(), buffer.memory.as_ptr(), len)
        };
        let skb = NonNull::new(skb).ok_or(ENOMEM)?;
        // SAFETY: It is new.
        Ok(unsafe { Skb::from_raw(skb) })
    }

    /// Like [`exchange`](Self::exchange), but makes it the next part of `frame`, which was made by
    /// that.
    pub(crate) fn append(&mut self, frame: &mut Skb, index: usize, len: u32) -> Result {
        let (pool, buffer) = self.replace(index, len)?;
        // SAFETY: By the type's invariant; the buffer is handed over.
        let done = unsafe {
            ffi::coop_net_rx_append(
                frame.as_ptr(),
                pool.raw.as_ptr(),
                buffer.memory.as_ptr(),
                len,
            )
        };
        if done {
            Ok(())
        } else {
            Err(EMSGSIZE)
        }
    }

    /// The buffer in a slot, if there is one that holds `len` bytes.
    fn get(&self, index: usize, len: u32) -> Result<&Buffer> {
        match (self.slots.get(index), &self.pool) {
            (Some(Some(buffer)), Some(pool)) if len <= pool.size => Ok(buffer),
            _ => Err(EINVAL),
        }
    }

    /// Copies a frame out of a slot, which stays as it is. Cheaper than
    /// [`exchange`](Self::exchange) for short frames: nothing is allocated.
    pub(crate) fn copy(&self, _bh: &BhOff, index: usize, len: u32) -> Result<Skb> {
        let buffer = self.get(index, len)?;
        // SAFETY: By the type's invariant. While the CPU owns the buffer it is only read.
        let skb = unsafe {
            ffi::coop_net_rx_copy(
                self.interface.as_ptr(),
                raw_device(self.interface.parent()),
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
        let Ok(len) = u32::try_from(bytes.len()) else {
            return false;
        };
        let Ok(buffer) = self.get(index, len) else {
            return false;
        };
        // SAFETY: By the type's invariant, and there are so many bytes in both.
        unsafe {
            ffi::coop_net_rx_holds(
                raw_device(self.interface.parent()),
                buffer.memory.as_ptr(),
                buffer.dma,
                bytes.as_ptr(),
                len,
            )
        }
    }

    /// Empties all slots. The device must not write to them any more.
    pub(crate) fn clear(&mut self) {
        let Some(pool) = &self.pool else {
            return;
        };
        for buffer in self.slots.iter_mut().filter_map(Option::take) {
            pool.release(buffer);
        }
    }
}

impl Drop for RxBuffers {
    fn drop(&mut self) {
        self.clear();
    }
}
