// SPDX-License-Identifier: GPL-2.0

//! A ring of descriptors, shared with the device.
//!
//! The device owns the descriptors from its head register up to, not including, its tail register;
//! the driver owns the others. A descriptor is two words: see [`descriptors`](super::descriptors).

use kernel::{
    device::{Bound, Device},
    dma::{Coherent, DmaAddress},
    io::{io_read, io_write},
    prelude::*,
};

use crate::net::dma_read_barrier;

pub(super) struct Ring {
    words: Coherent<[u64]>,
    len: usize,
}

impl Ring {
    /// Makes a ring of `len` descriptors, a power of two. One of them always stays empty: head =
    /// tail means that the device owns none, and must not come to mean that it owns all.
    pub(super) fn new(dev: &Device<Bound>, len: usize) -> Result<Self> {
        if !len.is_power_of_two() {
            return Err(EINVAL);
        }
        Ok(Self {
            words: Coherent::zeroed_slice(dev, 2 * len, GFP_KERNEL)?,
            len,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The descriptor after `index`.
    #[inline(always)]
    pub(super) fn next(&self, index: usize) -> usize {
        index.wrapping_add(1) & self.len.wrapping_sub(1)
    }

    /// How many descriptors there are from `from` up to, not including, `to`.
    #[inline(always)]
    pub(super) fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & self.len.wrapping_sub(1)
    }

    /// Where the device finds the ring.
    pub(super) fn dma_address(&self) -> DmaAddress {
        self.words.dma_address()
    }

    pub(super) fn bytes(&self) -> u32 {
        self.words.size() as u32
    }

    /// Writes a descriptor. The device sees it once the tail register has passed it.
    #[inline(always)]
    pub(super) fn write(&self, index: usize, first: u64, second: u64) -> Result {
        io_write!(self.words, [try: 2 * index], first);
        io_write!(self.words, [try: 2 * index + 1], second);
        Ok(())
    }

    /// Reads the second word of a descriptor. If it says that the device is done with it, so is
    /// everything that the device has done before it said so.
    #[inline(always)]
    pub(super) fn status(&self, index: usize) -> Result<u64> {
        let status = io_read!(self.words, [try: 2 * index + 1]);
        dma_read_barrier();
        Ok(status)
    }

    /// Clears all descriptors, for a device that is at rest.
    pub(super) fn clear(&self) -> Result {
        for index in 0..self.len {
            self.write(index, 0, 0)?;
        }
        Ok(())
    }
}
