// SPDX-License-Identifier: GPL-2.0

//! Sending.

use kernel::{
    device::{Bound, Device},
    prelude::*,
};

use super::{
    descriptors::{Orders, TxStatus},
    device::{Nic, State},
    regs::Causes,
};
use crate::net::{BhOff, Pieces, Ring, Sent, Skb, TxFrames};

/// So many descriptors a frame needs at most: one for what to do with it, one for each of its up to
/// 18 pieces, and more where pieces are longer than a descriptor takes, which can be four segments
/// (of the data, and as much again for headers, of up to 255 bytes, where segments have 8 bytes at
/// least); two for the sake of [`split_end`](TxRing::push).
pub(super) const MAX_PER_FRAME: usize = 1 + 18 + (MAX_SEGMENTS as usize) / 2 + 2;

/// The shortest ring: so that there is room for a frame, and for another one meanwhile.
pub(super) const MIN_LEN: usize = 128;

/// So many segments a frame is cut into at most.
pub(super) const MAX_SEGMENTS: u16 = 64;

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
    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.oldest = 0;
        self.next = 0;
        self.watched = false;
        self.ring.clear();
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

    /// Whether all has been sent that was put into the ring.
    pub(super) fn is_idle(&self) -> bool {
        self.is_empty() || TxStatus(self.ring.status(self.next.wrapping_sub(1))).is_done()
    }

    /// Writes the descriptors of a frame, for which there must be room. Returns its length.
    #[inline(always)]
    pub(super) fn push(&mut self, frame: Skb) -> Result<u32> {
        let placed = self.frames.put(self.next, frame)?;
        let orders = Orders::new(&placed);
        let (len, only) = (placed.len(), placed.pieces.only());
        // The device may report a frame too early, before it has read all of it, when it is cut
        // into segments, or in one piece and the one before was cut. (Read the last four bytes
        // separately, and no harm is done.)
        let split_end = orders.cut || (self.segmented && only.is_some());
        if orders.cut || only.is_some() {
            self.segmented = orders.cut;
        }

        let mut next = self.next;
        if let Some((first, second)) = orders.context {
            self.ring.write(next, first, second);
            next = self.ring.next(next);
        }
        let last = match only {
            // As most are.
            Some((address, len)) if !split_end && len <= orders.limit => {
                let status = orders.data.with_end().with_len(len);
                self.ring.write(next, address, status.0);
                next
            }
            _ => {
                let (data, limit) = (orders.data, orders.limit);
                write_pieces(&self.ring, next, placed.pieces, data, limit, split_end)
            }
        };
        placed.ends_at(last);
        self.next = self.ring.next(last);
        Ok(len)
    }

    /// Frees the oldest frame, if it has been sent.
    #[inline(always)]
    fn reclaim_one(&mut self, bh: &BhOff, sent: &mut Sent) -> bool {
        let ring = &self.ring;
        let is_sent = |last| TxStatus(ring.status(last)).is_done();
        match self.frames.done_if(bh, self.oldest, sent, is_sent) {
            Some(last) => {
                self.oldest = ring.next(last);
                true
            }
            None => false,
        }
    }
}

/// Writes descriptors for all pieces of a frame, from `next` on; tells which is the last one.
#[inline(never)]
fn write_pieces(
    ring: &Ring,
    mut next: usize,
    pieces: Pieces<'_>,
    data: TxStatus,
    limit: u32,
    split_end: bool,
) -> usize {
    let mut last = next;
    let mut pieces = pieces.iter();
    while let Some((mut address, mut left)) = pieces.next() {
        let is_end = pieces.len() == 0;
        while left != 0 {
            let mut chunk = left.min(limit);
            let mut status = data;
            if is_end && chunk == left {
                if split_end && left > 8 {
                    chunk -= 4;
                } else {
                    status = status.with_end();
                }
            }
            last = next;
            ring.write(last, address, status.with_len(chunk).0);
            next = ring.next(last);
            address = address.wrapping_add(chunk.into());
            left -= chunk;
        }
    }
    last
}

impl Nic {
    /// Sends a frame; with `more`, another one follows at once. Inside the domain.
    #[inline(always)]
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
        let mut sent = Sent::default();
        while state.tx.reclaim_one(bh, &mut sent) {}
        if sent.frames != 0 {
            self.interface.completed(&sent);
            if state.tx.stopped && state.tx.has_room() {
                state.tx.stopped = false;
                self.interface.wake_queue();
            }
        }
        state.tx.is_empty()
    }
}
