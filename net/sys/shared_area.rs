// SPDX-License-Identifier: GPL-2.0

//! Memory that the CPU and the device share, for devices whose frames are copied.

use core::ptr::NonNull;

use kernel::{
    device::{Bound, Device},
    dma::{Coherent, DmaAddress},
    ffi::c_void,
    io::io_read,
    prelude::*,
    sync::barrier::{dma_mb, Read},
};

use super::{ffi, interface::Interface, poll::BhOff, skb::Skb};

/// An area of memory that a device writes frames to, and reads them from, wherever in it the driver
/// and the device agree upon: a ring of bytes, or a few slots.
///
/// Offsets and lengths are in bytes; whatever is outside of the area is `EINVAL`. What the device
/// writes in the very moment in which it is read comes half old, half new, and that is all: the
/// driver has to know from the device what is complete.
///
/// As with [`kernel::dma::Coherent`], it must be dropped before the driver is unbound, and after the
/// device has stopped using it.
pub(crate) struct SharedArea {
    words: Coherent<[u32]>,
    interface: Interface,
}

impl SharedArea {
    /// Allocates `len` bytes, zeroed, a multiple of four. May sleep.
    pub(crate) fn new(dev: &Device<Bound>, interface: Interface, len: usize) -> Result<Self> {
        Ok(Self {
            words: Coherent::zeroed_slice(dev, len / 4, GFP_KERNEL)?,
            interface,
        })
    }

    /// Where the device finds it: at a multiple of the page size.
    pub(crate) fn dma_address(&self) -> DmaAddress {
        self.words.dma_address()
    }

    /// Reads a word, of the device's byte order, at a multiple of four. If it says that something is
    /// complete, so is everything that the device has written before it wrote that word.
    pub(crate) fn word(&self, at: usize) -> Result<u32> {
        if at % 4 != 0 {
            return Err(EINVAL);
        }
        let word = io_read!(self.words, [try: at / 4]);
        dma_mb(Read);
        Ok(u32::from_le(word))
    }

    /// The bytes from `at` on, if there are `len` of them.
    fn bytes(&self, at: usize, len: usize) -> Result<*mut c_void> {
        let end = at.checked_add(len).ok_or(EINVAL)?;
        if end > self.words.size() {
            return Err(EINVAL);
        }
        let start: *mut u8 = self.words.as_mut_ptr().cast();
        Ok(start.wrapping_add(at).cast())
    }

    /// Makes a received frame of the `len` bytes at `at`.
    pub(crate) fn take(&self, _bh: &BhOff, at: usize, len: usize) -> Result<Skb> {
        let bytes = self.bytes(at, len)?;
        // SAFETY: There are `len` bytes; `dev` is valid; bottom halves are off.
        let skb = unsafe { ffi::coop_net_take(self.interface.as_ptr(), bytes, len as u32) };
        let skb = NonNull::new(skb).ok_or(ENOMEM)?;
        // SAFETY: It is new.
        Ok(unsafe { Skb::from_raw(skb) })
    }

    /// Copies a frame to the `room` bytes at `at`, with the checksum that the stack has left to the
    /// device if it has, and as long as Ethernet asks for. Returns its length. The frame is gone, and
    /// if there is no room for it (`EMSGSIZE`), it counts as dropped.
    pub(crate) fn put(&mut self, at: usize, room: usize, frame: Skb) -> Result<u32> {
        let to = self.bytes(at, room)?;
        // SAFETY: There are `room` bytes, which nobody else writes to; the frame is handed over.
        match unsafe { ffi::coop_net_put(frame.into_raw(), to, room as u32) } {
            0 => Err(EMSGSIZE),
            len => Ok(len),
        }
    }
}
