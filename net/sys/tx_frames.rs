// SPDX-License-Identifier: GPL-2.0

//! Frames that are being sent, and where the device finds them in memory.
//!
//! C header: [`include/linux/dma-mapping.h`](srctree/include/linux/dma-mapping.h)

use core::mem::{self, ManuallyDrop, MaybeUninit};

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
    Checksum { tcp: bool, start: u8, field: u8 },
    /// Cut the TCP data into segments of `segment` bytes, give each the first `headers` bytes with
    /// lengths, numbers and checksums put right: no more segments than the driver has
    /// [announced](super::interface::Traits), none of less than 8 bytes.
    Segment {
        ipv4: bool,
        network: u8,
        transport: u8,
        /// Of the TCP checksum.
        field: u8,
        headers: u8,
        segment: u16,
    },
}

impl Offload {
    /// # Safety
    ///
    /// `from` is as `coop_net_tx_map` has set it.
    #[inline(always)]
    unsafe fn from_raw(from: *const ffi::Offload) -> Self {
        // SAFETY: By the caller's promise; what is read is what is set for each.
        unsafe {
            match (*from).what {
                ffi::CHECKSUM => Self::Checksum {
                    tcp: (*from).tcp,
                    start: (*from).start,
                    field: (*from).field,
                },
                ffi::SEGMENT => Self::Segment {
                    ipv4: (*from).ipv4,
                    network: (*from).network,
                    transport: (*from).start,
                    field: (*from).field,
                    headers: (*from).headers,
                    segment: (*from).segment,
                },
                _ => Self::None,
            }
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
    /// Of these, the frames that the device has cut into segments, and the segments.
    pub(crate) cut_frames: u32,
    pub(crate) cut_packets: u32,
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
/// - There are [`ffi::MAX_PIECES`] more pieces than slots.
/// - The pieces of each frame are mapped for the device to read, and are those from its place on.
pub(crate) struct TxFrames {
    dev: ARef<Device>,
    pieces: KVec<ffi::Piece>,
    slots: KVec<Option<Slot>>,
}

/// The pieces of a frame, as the device finds them: one at least.
#[derive(Clone, Copy)]
pub(crate) struct Pieces<'a>(&'a [ffi::Piece]);

impl<'a> Pieces<'a> {
    /// The address and the length of each.
    pub(crate) fn iter(self) -> impl ExactSizeIterator<Item = (DmaAddress, u32)> + 'a {
        self.0.iter().map(|piece| (piece.dma, piece.len))
    }

    /// The same of the only one, if there is only one.
    #[inline(always)]
    pub(crate) fn only(self) -> Option<(DmaAddress, u32)> {
        match self.0 {
            [piece] => Some((piece.dma, piece.len)),
            _ => None,
        }
    }
}

/// A frame that has just been [put](TxFrames::put) at its place, and what the device has to do.
pub(crate) struct Placed<'a> {
    slot: &'a mut Slot,
    pub(crate) pieces: Pieces<'a>,
    pub(crate) offload: Offload,
    /// The VLAN tag to put in.
    pub(crate) tag: Option<u16>,
}

impl Placed<'_> {
    /// The length of the frame. (It may have grown, for Ethernet's sake.)
    #[inline(always)]
    pub(crate) fn len(&self) -> u32 {
        self.slot.frame.len()
    }

    /// Notes which descriptor is the last one of the frame.
    #[inline(always)]
    pub(crate) fn ends_at(self, last: usize) {
        self.slot.last = last as u32;
    }
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
        let pieces = count.saturating_add(ffi::MAX_PIECES);
        // INVARIANT: There are so many more, and no frames yet.
        Ok(Self {
            dev: dev.into(),
            pieces: KVec::from_elem(ffi::Piece::default(), pieces, GFP_KERNEL)?,
            slots,
        })
    }

    /// Maps a frame at place `first`, which has to be free, as have to be those after it. If that
    /// fails, the frame is gone.
    ///
    /// The caller is sure to use as many descriptors as there are pieces, at least.
    #[inline(always)]
    pub(crate) fn put(&mut self, first: usize, frame: Skb) -> Result<Placed<'_>> {
        let place = self.slots.get_mut(first).ok_or(EINVAL)?;
        if place.is_some() {
            return Err(EBUSY);
        }
        let frame = ManuallyDrop::new(frame);
        let mut offload = MaybeUninit::uninit();
        // By the type's invariant there are so many from there on.
        let pieces = self.pieces.as_mut_ptr().wrapping_add(first);
        // SAFETY: The frame is handed over, and no more than `MAX_PIECES` are written.
        let count = unsafe {
            ffi::coop_net_tx_map(
                raw_device(&self.dev),
                frame.as_ptr(),
                pieces,
                offload.as_mut_ptr(),
            )
        };
        let Ok(count) = u32::try_from(count) else {
            return Err(ENOMEM);
        };
        let slot = Slot {
            // As it did not fail, the frame is still ours.
            frame: ManuallyDrop::into_inner(frame),
            pieces: count,
            last: first as u32,
        };
        // INVARIANT: The pieces have just been mapped. (There was nothing in the place.)
        mem::forget(place.replace(slot));
        let slot = place.as_mut().ok_or(EINVAL)?;
        let raw: *const ffi::Offload = offload.as_ptr();
        // SAFETY: It did not fail, and so has set these; so many pieces were written, and belong to
        // the slot.
        unsafe {
            Ok(Placed {
                slot,
                pieces: Pieces(core::slice::from_raw_parts(pieces, count as usize)),
                offload: Offload::from_raw(raw),
                tag: (*raw).tagged.then(|| (*raw).tag),
            })
        }
    }

    /// Frees the frame at `first`, if there is one whose last descriptor `is_sent`; adds it to
    /// `sent`, and tells that descriptor.
    #[inline(always)]
    pub(crate) fn done_if(
        &mut self,
        _bh: &BhOff,
        first: usize,
        sent: &mut Sent,
        is_sent: impl FnOnce(usize) -> bool,
    ) -> Option<usize> {
        let place = self.slots.get_mut(first)?;
        let last = place.as_ref()?.last as usize;
        if !is_sent(last) {
            return None;
        }
        let slot = place.take()?;
        // SAFETY: By the type's invariant; the frame is handed over, and bottom halves are off.
        unsafe {
            ffi::coop_net_tx_done(
                raw_device(&self.dev),
                slot.frame.into_raw(),
                self.pieces.as_ptr().wrapping_add(first),
                slot.pieces,
                sent,
            )
        };
        Some(last)
    }

    /// Gives all frames up. The device must not read them any more.
    pub(crate) fn clear(&mut self) {
        for (first, place) in self.slots.iter_mut().enumerate() {
            let Some(slot) = place.take() else {
                continue;
            };
            // SAFETY: By the type's invariant; the frame is handed over.
            unsafe {
                ffi::coop_net_tx_undo(
                    raw_device(&self.dev),
                    slot.frame.into_raw(),
                    self.pieces.as_ptr().wrapping_add(first),
                    slot.pieces,
                )
            };
        }
    }
}

impl Drop for TxFrames {
    fn drop(&mut self) {
        self.clear();
    }
}
