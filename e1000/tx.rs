// SPDX-License-Identifier: GPL-2.0

//! Sending.

use core::ops::Range;

use kernel::{
    device::{Bound, Device},
    prelude::*,
};

use super::{
    descriptors::{context, TxStatus},
    device::{Nic, State},
    regs::Causes,
    ring::Ring,
};
use crate::net::{BhOff, Offload, Sent, Skb, TxFrames};

/// So many descriptors a frame needs at most: one for what to do with it, one for each of its up to
/// 18 pieces, and more where pieces are longer than a descriptor takes, which can be four segments;
/// two for the sake of [`split_end`](TxRing::push).
pub(super) const MAX_PER_FRAME: usize = 1 + 18 + (MAX_SEGMENTS as usize) / 2 + 2;

/// The shortest ring: so that there is room for a frame, and for another one meanwhile.
pub(super) const MIN_LEN: usize = 128;

/// So many segments a frame is cut into at most.
pub(super) const MAX_SEGMENTS: u16 = 64;

/// So many bytes a descriptor takes at most.
const MAX_CHUNK: u32 = 4096;

/// The transmit ring: `oldest..next` are the device's.
pub(super) struct TxRing {
    pub(super) ring: Ring,
    frames: TxFrames,
    /// The first descriptor of the oldest frame that is not known to be sent.
    oldest: usize,
    /// The descriptor for the next frame.
    next: usize,
    /// The last frame was cut into segments.
    segmented: bool,
    /// The stack has to wait for room.
    pub(super) stopped: bool,
    /// [`Causes::SENT`] interrupts, or has, and the poll is going to look.
    pub(super) watched: bool,
}

impl TxRing {
    pub(super) fn new(dev: &Device<Bound>, len: usize) -> Result<Self> {
        Ok(Self {
            ring: Ring::new(dev, len)?,
            frames: TxFrames::new(dev, len)?,
            oldest: 0,
            next: 0,
            segmented: false,
            stopped: false,
            watched: false,
        })
    }

    /// Gives up what has not been sent. The device must be at rest.
    pub(super) fn clear(&mut self) -> Result {
        self.frames.clear();
        self.oldest = 0;
        self.next = 0;
        self.watched = false;
        self.ring.clear()
    }

    /// Whether any frame fits.
    pub(super) fn has_room(&self) -> bool {
        // One descriptor stays empty.
        self.ring.distance(self.oldest, self.next) + MAX_PER_FRAME < self.ring.len()
    }

    /// Where the tail of the device's part is.
    pub(super) fn tail(&self) -> u32 {
        self.next as u32
    }

    pub(super) fn is_empty(&self) -> bool {
        self.next == self.oldest
    }

    /// Writes the descriptors of a frame, for which there must be room. Returns its length.
    #[inline(always)]
    pub(super) fn push(&mut self, frame: Skb) -> Result<u32> {
        let first = self.next;
        let (pieces, offload, tag) = self.frames.put(first, frame)?;
        let len = self.frames.frame(first).map_or(0, Skb::len);

        let result = self.describe(first, pieces, offload, tag, len);
        if result.is_err() {
            self.frames.undo(first);
            self.next = first;
        }
        result.map(|()| len)
    }

    #[inline(always)]
    fn describe(
        &mut self,
        first: usize,
        pieces: usize,
        offload: Offload,
        tag: Option<u16>,
        len: u32,
    ) -> Result {
        let limit = match offload {
            // The device waits for the whole of a descriptor's data, and its memory is small.
            Offload::Segment { segment, .. } => MAX_CHUNK.min(4 * u32::from(segment)),
            _ => MAX_CHUNK,
        };
        // The device may report a frame too early, before it has read all of it, when it is cut
        // into segments, or in one piece and the one before was cut. (Read the last four bytes
        // separately, and no harm is done.)
        let segment = matches!(offload, Offload::Segment { .. });
        let split_end = segment || (self.segmented && pieces == 1);
        if segment || pieces == 1 {
            self.segmented = segment;
        }

        if let Some((first, second)) = context(offload, len) {
            self.ring.write(self.next, first, second)?;
            self.next = self.ring.next(self.next);
        }
        let data = TxStatus::data(offload).with_vlan_tag(tag);
        let (address, len) = self.frames.piece(first)?;
        let last = if pieces == 1 && !split_end && len <= limit {
            // As most are.
            let last = self.next;
            let status = data.with_end().with_len(len);
            self.ring.write(last, address, status.0)?;
            self.next = self.ring.next(last);
            last
        } else {
            self.cut(first..first.wrapping_add(pieces), data, limit, split_end)?
        };
        self.frames.set_last(first, last);
        Ok(())
    }

    /// Writes the descriptors of data in these places; tells which is the last one.
    #[inline(never)]
    fn cut(
        &mut self,
        mut places: Range<usize>,
        data: TxStatus,
        limit: u32,
        split_end: bool,
    ) -> Result<usize> {
        let mut last = self.next;
        while let Some(place) = places.next() {
            let (mut address, mut left) = self.frames.piece(place)?;
            while left != 0 {
                let mut chunk = left.min(limit);
                let mut status = data;
                if places.is_empty() && chunk == left {
                    if split_end && left > 8 {
                        chunk -= 4;
                    } else {
                        status = status.with_end();
                    }
                }
                last = self.next;
                self.ring.write(last, address, status.with_len(chunk).0)?;
                self.next = self.ring.next(last);
                address += u64::from(chunk);
                left -= chunk;
            }
        }
        Ok(last)
    }

    /// Frees the oldest frame, if it has been sent.
    #[inline(always)]
    fn reclaim_one(&mut self, bh: &BhOff, sent: &mut Sent) -> bool {
        let Some(last) = self.frames.last(self.oldest) else {
            return false;
        };
        let status = self.ring.status(last).map(TxStatus);
        let done = status.is_ok_and(TxStatus::is_done);
        if done {
            self.frames.done(bh, self.oldest, sent);
            self.oldest = self.ring.next(last);
        }
        done
    }

    /// Frees the frames that have been sent.
    fn reclaim(&mut self, bh: &BhOff) -> Sent {
        let mut sent = Sent::default();
        while self.reclaim_one(bh, &mut sent) {}
        sent
    }
}

impl Nic {
    /// Sends a frame; with `more`, another one follows at once. Inside the domain.
    pub(super) fn send(
        &self,
        bh: &BhOff,
        state: &mut State,
        frame: Skb,
        more: bool,
    ) -> Result<(), Skb> {
        if !state.up || !state.tx.has_room() {
            // It was the stack's turn already when the queue was stopped.
            return Err(frame);
        }
        let alone = state.tx.is_empty();
        let len = match state.tx.push(frame) {
            Ok(len) => len,
            Err(_) => {
                self.interface.stats().tx_dropped.add(1);
                if !more {
                    self.hw.set_tx_tail(Some(bh), state.tx.tail());
                }
                return Ok(());
            }
        };
        if alone && !more && !state.tx.segmented {
            self.hw.set_tx_tail(Some(bh), state.tx.tail());
            let mut sent = Sent::default();
            if state.tx.reclaim_one(bh, &mut sent) {
                // As quick as that: there was never anything in the queue.
                self.interface.stats().sent(sent.packets, sent.bytes);
                return Ok(());
            }
            self.interface.sent(len, false);
        } else {
            let mut tell = self.interface.sent(len, more);
            if !state.tx.has_room() {
                state.waits += 1;
                state.tx.stopped = true;
                self.interface.stop_queue();
                tell = true;
            }
            if !tell {
                return Ok(());
            }
            self.hw.set_tx_tail(Some(bh), state.tx.tail());
            // Some may be gone already, but not what takes long.
            if !state.tx.segmented && self.reclaim(bh, state) {
                return Ok(());
            }
        }
        if !state.tx.watched {
            state.tx.watched = true;
            self.hw.unmask(Some(bh), Causes::SENT);
        }
        Ok(())
    }

    /// Frees what has been sent; whether that is all. Inside the domain.
    pub(super) fn reclaim(&self, bh: &BhOff, state: &mut State) -> bool {
        let sent = state.tx.reclaim(bh);
        if sent.frames != 0 {
            self.interface.stats().sent(sent.packets, sent.bytes);
            self.interface.completed(sent.frames, sent.frame_bytes);
            if state.tx.stopped && state.tx.has_room() {
                state.tx.stopped = false;
                self.interface.wake_queue();
            }
        }
        state.tx.is_empty()
    }
}
