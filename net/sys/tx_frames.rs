// SPDX-License-Identifier: GPL-2.0

//! Frames that are being sent, and where the device finds them in memory.
//!
//! C header: [`include/linux/dma-mapping.h`](srctree/include/linux/dma-mapping.h)

use core::ptr::NonNull;

use kernel::{
    device::{Bound, Device},
    dma::DmaAddress,
    prelude::*,
    sync::aref::ARef,
};

use super::{ffi, poll::BhOff, raw_device, skb::Skb};

/// What the device is to do with a frame while it sends it. Offsets and lengths are in bytes, from
/// the first one of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offload {
    /// Nothing.
    None,
    /// Put the Internet checksum of all from `start` to the end into the two bytes at `field`.
    Checksum { tcp: bool, start: u16, field: u16 },
    /// Cut the TCP data into segments of `segment` bytes, give each the first `headers` bytes with
    /// lengths, numbers and checksums put right.
    Segment {
        ipv4: bool,
        network: u16,
        transport: u16,
        /// Of the TCP checksum.
        field: u16,
        headers: u16,
        segment: u16,
    },
}

impl From<&ffi::Offload> for Offload {
    fn from(from: &ffi::Offload) -> Self {
        match from.what {
            ffi::CHECKSUM => Self::Checksum {
                tcp: from.tcp,
                start: from.start,
                field: from.field,
            },
            ffi::SEGMENT => Self::Segment {
                ipv4: from.ipv4,
                network: from.network,
                transport: from.start,
                field: from.field,
                headers: from.headers,
                segment: from.segment,
            },
            _ => Self::None,
        }
    }
}

/// What has been sent. C reads it as `struct coop_net_sent`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Sent {
    /// Frames as the stack gave them, and their bytes.
    pub(crate) frames: u32,
    pub(crate) frame_bytes: u32,
    /// Packets as they went over the wire, and their bytes.
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// A frame that was put into [`TxFrames`].
struct Slot {
    frame: Skb,
    pieces: u32,
    last: u32,
}

/// Frames that are being sent: an array with a place per descriptor of a ring.
///
/// A frame is kept at the place of its first descriptor. As with [`kernel::dma::Coherent`], what is
/// mapped for a device must be dropped before its driver is unbound, and after the device has
/// stopped using it.
///
/// # Invariants
///
/// - `pieces` and `slots` have the same length, a power of two.
/// - The pieces of each frame are mapped for the device to read, and are those from its place on.
pub(crate) struct TxFrames {
    dev: ARef<Device>,
    pieces: KVec<ffi::Piece>,
    slots: KVec<Option<Slot>>,
}

impl TxFrames {
    /// Makes `count` places, a power of two.
    pub(crate) fn new(dev: &Device<Bound>, count: usize) -> Result<Self> {
        if !count.is_power_of_two() || count > 1 << 16 {
            return Err(EINVAL);
        }
        let mut slots = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            slots.push_within_capacity(None)?;
        }
        Ok(Self {
            dev: dev.into(),
            pieces: KVec::from_elem(ffi::Piece::default(), count, GFP_KERNEL)?,
            slots,
        })
    }

    fn mask(&self) -> u32 {
        (self.slots.len() as u32).wrapping_sub(1)
    }

    /// Maps a frame at place `first`, which with those after it has to be free. Returns how many
    /// [pieces](Self::piece) it is in, and what the device has to do about it, such as to put in a
    /// VLAN tag. If that fails, the frame is gone.
    ///
    /// The caller is sure to use as many descriptors as there are pieces, at least.
    #[inline]
    pub(crate) fn put(
        &mut self,
        first: usize,
        frame: Skb,
    ) -> Result<(usize, Offload, Option<u16>)> {
        let mask = self.mask();
        let slot = self.slots.get_mut(first).ok_or(EINVAL)?;
        if slot.is_some() {
            return Err(EBUSY);
        }
        let skb = frame.into_raw();
        let mut offload = ffi::Offload::default();
        // SAFETY: The frame is handed over, `pieces` has `mask + 1` elements, and no more than
        // MAX_SKB_FRAGS + 1 of them are written.
        let count = unsafe {
            ffi::coop_net_tx_map(
                raw_device(&self.dev),
                skb,
                self.pieces.as_mut_ptr(),
                first as u32,
                mask,
                &mut offload,
            )
        };
        let (Ok(pieces), Some(skb)) = (u32::try_from(count), NonNull::new(skb)) else {
            return Err(ENOMEM);
        };
        // INVARIANT: The pieces have just been mapped.
        *slot = Some(Slot {
            // SAFETY: As it did not fail, the frame is still ours.
            frame: unsafe { Skb::from_raw(skb) },
            pieces,
            last: first as u32,
        });
        let tag = offload.tagged.then_some(offload.tag);
        Ok((pieces as usize, Offload::from(&offload), tag))
    }

    /// The address and the length of what is at a place.
    #[inline]
    pub(crate) fn piece(&self, place: usize) -> Result<(DmaAddress, u32)> {
        let place = place & self.mask() as usize;
        let piece = self.pieces.get(place).ok_or(EINVAL)?;
        Ok((piece.dma, piece.len))
    }

    /// The frame at a place. (Its length may have grown, for Ethernet's sake.)
    #[inline]
    pub(crate) fn frame(&self, first: usize) -> Option<&Skb> {
        Some(&self.slots.get(first)?.as_ref()?.frame)
    }

    /// Notes which descriptor is the last one of the frame at `first`.
    #[inline]
    pub(crate) fn set_last(&mut self, first: usize, last: usize) {
        if let Some(Some(slot)) = self.slots.get_mut(first) {
            slot.last = last as u32;
        }
    }

    /// Which descriptor is the last one of the frame at `first`.
    #[inline]
    pub(crate) fn last(&self, first: usize) -> Option<usize> {
        Some(self.slots.get(first)?.as_ref()?.last as usize)
    }

    /// The frame at `first` has been sent; adds it to `sent`.
    #[inline]
    pub(crate) fn done(&mut self, _bh: &BhOff, first: usize, sent: &mut Sent) {
        let mask = self.mask();
        let Some(slot) = self.slots.get_mut(first).and_then(Option::take) else {
            return;
        };
        // SAFETY: By the type's invariant; the frame is handed over, and bottom halves are off.
        unsafe {
            ffi::coop_net_tx_done(
                raw_device(&self.dev),
                slot.frame.into_raw(),
                self.pieces.as_ptr(),
                first as u32,
                mask,
                slot.pieces,
                sent,
            )
        };
    }

    /// Gives the frame at `first` up. The device must not read it any more.
    pub(crate) fn undo(&mut self, first: usize) {
        let mask = self.mask();
        let Some(slot) = self.slots.get_mut(first).and_then(Option::take) else {
            return;
        };
        // SAFETY: By the type's invariant; the frame is handed over.
        unsafe {
            ffi::coop_net_tx_undo(
                raw_device(&self.dev),
                slot.frame.into_raw(),
                self.pieces.as_ptr(),
                first as u32,
                mask,
                slot.pieces,
            )
        };
    }

    /// Gives all frames up. The device must not read them any more.
    pub(crate) fn clear(&mut self) {
        for first in 0..self.slots.len() {
            self.undo(first);
        }
    }
}

impl Drop for TxFrames {
    fn drop(&mut self) {
        self.clear();
    }
}
