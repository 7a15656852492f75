// SPDX-License-Identifier: GPL-2.0

//! Rings of descriptors.

use kernel::{
    device::{Bound, Device},
    dma::{Coherent, DmaAddress},
    prelude::*,
};

use crate::net::dma_read_barrier;

/// A ring of descriptors of two 64-bit words, in memory little-endian, shared with the device.
///
/// An index past the end goes on at the beginning, so that there is none which is wrong. As with
/// [`kernel::dma::Coherent`], it must be dropped before the driver is unbound, and after the device
/// has stopped using it.
///
/// # Invariants
///
/// There are `2 * (mask + 1)` words, and `mask + 1` is a power of two.
pub(crate) struct Ring {
    words: Coherent<[u64]>,
    mask: usize,
}

impl Ring {
    /// Makes a ring of `len` descriptors, a power of two, zeroed. May sleep.
    pub(crate) fn new(dev: &Device<Bound>, len: usize) -> Result<Self> {
        if !len.is_power_of_two() || len > 1 << 16 {
            return Err(EINVAL);
        }
        // INVARIANT: As just seen to.
        Ok(Self {
            words: Coherent::zeroed_slice(dev, 2 * len, GFP_KERNEL)?,
            mask: len.wrapping_sub(1),
        })
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.mask.wrapping_add(1)
    }

    /// The descriptor after `index`.
    #[inline(always)]
    pub(crate) fn next(&self, index: usize) -> usize {
        index.wrapping_add(1) & self.mask
    }

    /// How many descriptors there are from `from` up to, not including, `to`.
    #[inline(always)]
    pub(crate) fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & self.mask
    }

    /// Where the device finds the ring.
    pub(crate) fn dma_address(&self) -> DmaAddress {
        self.words.dma_address()
    }

    pub(crate) fn bytes(&self) -> u32 {
        self.words.size() as u32
    }

    #[inline(always)]
    fn word(&self, index: usize, word: usize) -> *mut u64 {
        let first: *mut u64 = self.words.as_mut_ptr().cast();
        first.wrapping_add((index & self.mask) << 1 | word & 1)
    }

    /// Writes a descriptor. The device sees it once it is told so.
    #[inline(always)]
    pub(crate) fn write(&self, index: usize, first: u64, second: u64) {
        // SAFETY: By the type's invariant this is inside of the ring, which is there for the device
        // to read at any time.
        unsafe {
            self.word(index, 0).write_volatile(first.to_le());
            self.word(index, 1).write_volatile(second.to_le());
        }
    }

    /// Reads the second word of a descriptor. If it says that the device is done with it, so is
    /// everything that the device has done before it said so.
    #[inline(always)]
    pub(crate) fn status(&self, index: usize) -> u64 {
        // SAFETY: By the type's invariant this is inside of the ring, which the device may write to
        // at any time.
        let status = unsafe { self.word(index, 1).read_volatile() };
        dma_read_barrier();
        u64::from_le(status)
    }

    /// Clears all descriptors, for a device that is at rest.
    pub(crate) fn clear(&self) {
        for index in 0..self.len() {
            self.write(index, 0, 0);
        }
    }
}
