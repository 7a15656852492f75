// SPDX-License-Identifier: GPL-2.0

//! Sending.

use coop_domain::prelude::*;
use kernel::{
    device::{Bound, Device},
    prelude::*,
    sync::Arc,
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
}

impl TxRing {
    pub(super) fn new(dev: &Device<Bound>, len: usize) -> Result<Self> {
        Ok(Self {
            ring: Ring::new(dev, len)?,
            frames: TxFrames::new(dev, len)?,
            oldest: 0,
            next: 0,
            segmented: false,
        })
    }

    /// Gives up what has not been sent. The device must be at rest.
    pub(super) fn clear(&mut self) -> Result {
        self.frames.clear();
        self.oldest = 0;
        self.next = 0;
        self.ring.clear()
    }

    /// Whether any frame fits.
    pub(super) fn has_room(&self) -> bool {
        // One descriptor stays empty.
        self.ring.distance(self.oldest, self.next) + MAX_PER_FRAME < self.ring.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.next == self.oldest
    }

    /// Writes the descriptors of a frame, for which there must be room. Returns its length.
    fn push(&mut self, frame: Skb) -> Result<u32> {
        let first = self.next;
        let (pieces, offload) = self.frames.put(first, frame)?;
        let len = self.frames.frame(first).map_or(0, Skb::len);

        let result = self.describe(first, pieces, offload, len);
        if result.is_err() {
            self.frames.undo(first);
            self.next = first;
        }
        result.map(|()| len)
    }

    fn describe(&mut self, first: usize, pieces: usize, offload: Offload, len: u32) -> Result {
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
        let mut last = self.next;
        for piece in 0..pieces {
            let (mut address, mut left) = self.frames.piece(first.wrapping_add(piece))?;
            while left != 0 {
                let mut chunk = left.min(limit);
                let mut status = TxStatus::data(offload);
                if piece + 1 == pieces && chunk == left {
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
        self.frames.set_last(first, last);
        Ok(())
    }

    /// Frees the frames that have been sent.
    fn reclaim(&mut self, bh: &BhOff) -> Sent {
        let mut sent = Sent::default();
        while let Some(last) = self.frames.last(self.oldest) {
            if !self
                .ring
                .status(last)
                .is_ok_and(|status| TxStatus(status).is_done())
            {
                break;
            }
            self.frames.done(bh, self.oldest, &mut sent);
            self.oldest = self.ring.next(last);
        }
        sent
    }
}

/// The coroutine that sends: it takes frames from the mailbox that the network stack posts them to
/// and puts them into the ring, as many at a time as there are and fit.
pub(super) async fn transmit(nic: Arc<Nic>, mut frames: Receiver<Skb>) -> Result {
    while let Some(frame) = frames.recv().await {
        // There is room for it: see the end of the loop.
        nic.state
            .with(|state| nic.send(state, frame, &mut frames))?;
        // Room was made in the mailbox.
        nic.interface.wake_queue();

        yield_now().await;
        while nic.state.with(|state| !state.tx.has_room())? {
            nic.room.wait().await;
        }
    }
    Ok(())
}

/// The coroutine that frees frames that were still being sent when [`transmit`] was done with them.
pub(super) async fn reclaim(nic: Arc<Nic>) -> Result {
    loop {
        nic.sent.wait().await;
        nic.state.with(|state| nic.reclaim(state))?;
        nic.room.signal();
    }
}

impl Nic {
    /// Sends a frame, and those that wait in `more`.
    fn send(&self, state: &mut State, frame: Skb, more: &mut Receiver<Skb>) {
        if !state.up {
            return;
        }
        let mut next = Some(frame);
        while let Some(frame) = next {
            match state.tx.push(frame) {
                // The device is told of all of them at once, below.
                Ok(len) => _ = self.interface.sent(len, false),
                Err(_) => self.interface.stats().tx_dropped.add(1),
            }
            next = if state.tx.has_room() {
                more.try_recv()
            } else {
                None
            };
        }
        self.hw.set_tx_tail(state.tx.next as u32);
        self.reclaim(state);
    }

    /// Frees what has been sent; if anything is left, an interrupt will tell when to come again.
    fn reclaim(&self, state: &mut State) {
        let bh = BhOff::new();
        self.account(state.tx.reclaim(&bh));
        if !state.up || state.tx.is_empty() {
            return;
        }
        // Look once more afterwards, for the reason given in `rx::poll`.
        self.hw.unmask(Causes::SENT);
        self.account(state.tx.reclaim(&bh));
    }

    fn account(&self, sent: Sent) {
        if sent.frames != 0 {
            self.interface.stats().sent(sent.packets, sent.bytes);
            self.interface.completed(sent.frames, sent.frame_bytes);
        }
    }
}
