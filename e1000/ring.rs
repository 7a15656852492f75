// SPDX-License-Identifier: GPL-2.0

//! A ring of descriptors, shared with the device.
//!
//! The device owns the descriptors from its head register up to, not including, its tail register;
//! the driver owns the others. A descriptor is two words: an address, which the driver writes, and
//! a word that says how long the data are and, once the device sets a bit in it, how it went.

use kernel::{
    device::{Bound, Device},
    dma::{Coherent, DmaAddress},
    io::{io_read, io_write},
    prelude::*,
    sync::barrier::{dma_mb, Read},
};

pub(super) struct Ring {
    words: Coherent<[u64]>,
}

impl Ring {
    /// How many descriptors a ring has. One of them always stays empty: head = tail means that the
    /// device owns none, and must not come to mean that it owns all.
    pub(super) const LEN: usize = 256;

    pub(super) fn new(dev: &Device<Bound>) -> Result<Self> {
        Ok(Self {
            words: Coherent::zeroed_slice(dev, 2 * Self::LEN, GFP_KERNEL)?,
        })
    }

    /// The descriptor after `index`.
    pub(super) fn next(index: usize) -> usize {
        (index + 1) % Self::LEN
    }

    /// Where the device finds the ring.
    pub(super) fn dma_address(&self) -> DmaAddress {
        self.words.dma_address()
    }

    pub(super) fn bytes(&self) -> u32 {
        self.words.size() as u32
    }

    /// Writes a descriptor. The device sees it once the tail register has passed it.
    pub(super) fn write(&self, index: usize, address: DmaAddress, status: u64) -> Result {
        io_write!(self.words, [try: 2 * index], address);
        io_write!(self.words, [try: 2 * index + 1], status);
        Ok(())
    }

    /// Reads the second word of a descriptor. If it says that the device is done with it, so is
    /// everything that the device has done before it said so.
    pub(super) fn status(&self, index: usize) -> Result<u64> {
        let status = io_read!(self.words, [try: 2 * index + 1]);
        dma_mb(Read);
        Ok(status)
    }

    /// Clears all descriptors, for a device that is at rest.
    pub(super) fn clear(&self) -> Result {
        for index in 0..Self::LEN {
            self.write(index, 0, 0)?;
        }
        Ok(())
    }
}
