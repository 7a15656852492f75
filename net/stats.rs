// SPDX-License-Identifier: GPL-2.0

//! Counters of an interface, as `ip -s link` shows them.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A counter with one writer, any number of readers, and no locked instruction.
///
/// With two writers at once an increment may get lost, nothing worse. (The kernel crate's atomics
/// take a call each time.)
#[repr(transparent)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }
}

/// The counters; names as in `struct rtnl_link_stats64`. C reads them as `struct coop_net_stats`.
#[repr(C)]
pub(crate) struct Stats {
    pub(crate) rx_packets: Counter,
    pub(crate) rx_bytes: Counter,
    /// Frames that came in, and were not as they should be; those after it are some of the kinds.
    pub(crate) rx_errors: Counter,
    pub(crate) rx_length_errors: Counter,
    pub(crate) rx_crc_errors: Counter,
    pub(crate) rx_frame_errors: Counter,
    /// Frames that came in and were given up, for want of memory.
    pub(crate) rx_dropped: Counter,
    /// Frames that the device had no buffer for.
    pub(crate) rx_missed_errors: Counter,
    pub(crate) tx_packets: Counter,
    pub(crate) tx_bytes: Counter,
    pub(crate) multicast: Counter,
    pub(crate) collisions: Counter,
    /// How often the device stopped sending, or gave a frame up.
    pub(crate) tx_errors: Counter,
    /// Frames that could not be sent.
    pub(crate) tx_dropped: Counter,
    /// Frames that the device has cut into segments, and the segments.
    pub(crate) tx_cut_frames: Counter,
    pub(crate) tx_cut_packets: Counter,
}

impl Stats {
    pub(super) const fn new() -> Self {
        Self {
            rx_packets: Counter::new(),
            rx_bytes: Counter::new(),
            rx_errors: Counter::new(),
            rx_length_errors: Counter::new(),
            rx_crc_errors: Counter::new(),
            rx_frame_errors: Counter::new(),
            rx_dropped: Counter::new(),
            rx_missed_errors: Counter::new(),
            tx_packets: Counter::new(),
            tx_bytes: Counter::new(),
            multicast: Counter::new(),
            collisions: Counter::new(),
            tx_errors: Counter::new(),
            tx_dropped: Counter::new(),
            tx_cut_frames: Counter::new(),
            tx_cut_packets: Counter::new(),
        }
    }

    /// Counts received frames and their bytes.
    pub(crate) fn received(&self, packets: u64, bytes: u64) {
        self.rx_packets.add(packets);
        self.rx_bytes.add(bytes);
    }

    /// Counts sent frames and their bytes.
    pub(crate) fn sent(&self, packets: u64, bytes: u64) {
        self.tx_packets.add(packets);
        self.tx_bytes.add(bytes);
    }
}
