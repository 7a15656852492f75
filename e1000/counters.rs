// SPDX-License-Identifier: GPL-2.0

//! What the device counts, under the names of the C driver.

use kernel::{
    io::{register::Array, Io},
    pci,
};

use super::regs::{END, STATISTICS};

/// Totals of the device's counters, which it clears when they are read.
pub(super) struct Counters {
    totals: [u64; STATISTICS_LEN],
    /// What was read last of those that reading does not clear.
    stayed: [u64; STATISTICS_LEN],
}

const STATISTICS_LEN: usize = 64;

/// Gives names to places among the registers, and puts those of one register into `SINGLE`.
macro_rules! places {
    ($($name:ident = $at:literal),*; pairs $($pair:ident = $first:literal),*) => {
        $(pub(super) const $name: usize = $at;)*
        $(pub(super) const $pair: usize = $first;)*
        const SINGLE: &[usize] = &[$($at),*];
    };
}

// Those that are added up: source: the manual named in [`regs`](super::regs), section 13.7.
// Pairs are of bytes, received and sent, with the upper half in the next register.
places! {
    CRCERRS = 0, ALGNERRC = 1, RXERRC = 3, MPC = 4, SCC = 5, ECOL = 6, MCC = 7, LATECOL = 8,
    COLC = 10, DC = 12, TNCRS = 13, CEXTERR = 15, XONRXC = 18, XONTXC = 19, XOFFRXC = 20,
    XOFFTXC = 21, GPRC = 29, BPRC = 30, MPRC = 31, GPTC = 32, RNBC = 40, RUC = 41, ROC = 43,
    MGPRC = 45, MGPDC = 46, MGPTC = 47, MPTC = 60, BPTC = 61, TSCTC = 62, TSCTFC = 63;
    pairs GORC = 34, GOTC = 36
}

pub(super) const RX_ERRORS: &[usize] = &[RXERRC, CRCERRS, ALGNERRC, RUC, ROC, CEXTERR];

/// Each statistic, and what it is the sum of.
const TABLE: [(&str, &[usize]); 41] = [
    ("rx_packets", &[GPRC]),
    ("tx_packets", &[GPTC]),
    ("rx_bytes", &[GORC]),
    ("tx_bytes", &[GOTC]),
    ("rx_broadcast", &[BPRC]),
    ("tx_broadcast", &[BPTC]),
    ("rx_multicast", &[MPRC]),
    ("tx_multicast", &[MPTC]),
    ("rx_errors", RX_ERRORS),
    ("tx_errors", &[ECOL, LATECOL]),
    ("multicast", &[MPRC]),
    ("collisions", &[COLC]),
    ("rx_length_errors", &[RUC, ROC]),
    ("rx_crc_errors", &[CRCERRS]),
    ("rx_frame_errors", &[ALGNERRC]),
    ("rx_no_buffer_count", &[RNBC]),
    ("rx_missed_errors", &[MPC]),
    ("tx_aborted_errors", &[ECOL]),
    ("tx_carrier_errors", &[TNCRS]),
    ("tx_window_errors", &[LATECOL]),
    ("tx_abort_late_coll", &[LATECOL]),
    ("tx_deferred_ok", &[DC]),
    ("tx_single_coll_ok", &[SCC]),
    ("tx_multi_coll_ok", &[MCC]),
    ("rx_long_length_errors", &[ROC]),
    ("rx_short_length_errors", &[RUC]),
    ("rx_align_errors", &[ALGNERRC]),
    ("tx_tcp_seg_good", &[TSCTC]),
    ("tx_tcp_seg_failed", &[TSCTFC]),
    ("rx_flow_control_xon", &[XONRXC]),
    ("rx_flow_control_xoff", &[XOFFRXC]),
    ("tx_flow_control_xon", &[XONTXC]),
    ("tx_flow_control_xoff", &[XOFFTXC]),
    ("rx_long_byte_count", &[GORC]),
    ("tx_smbus", &[MGPTC]),
    ("rx_smbus", &[MGPRC]),
    ("dropped_smbus", &[MGPDC]),
    // What the driver counts.
    ("tx_timeout_count", &[]),
    ("tx_restart_queue", &[]),
    ("tx_dropped", &[]),
    ("alloc_rx_buff_failed", &[]),
];

/// The names of what [`Counters::tell`] tells.
pub(super) const NAMES: &[&str] = &{
    let mut names = [""; TABLE.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = TABLE[i].0;
        i += 1;
    }
    names
};

impl Counters {
    pub(super) const fn new() -> Self {
        Self {
            totals: [0; STATISTICS_LEN],
            stayed: [0; STATISTICS_LEN],
        }
    }

    /// Adds what has been counted since the last call.
    pub(super) fn collect(&mut self, bar: &pci::Bar<'_, END>) {
        let read = |i: usize| STATISTICS::try_at(i).map_or(0, |at| bar.read(at).into_raw().into());
        for &i in SINGLE {
            let n: u64 = read(i);
            // Reading clears; but the emulation leaves some as they are, which go on from there.
            let again = if n == 0 { 0 } else { read(i) };
            let stays = n != 0 && again >= n;
            let before = self.stayed.get(i).copied().unwrap_or(0);
            if stays {
                // A reset clears them.
                self.add(i, n.checked_sub(before).unwrap_or(n));
            } else {
                self.add(i, n.wrapping_add(again));
            }
            if let Some(stayed) = self.stayed.get_mut(i) {
                *stayed = if stays { n } else { 0 };
            }
        }
        for low in [GORC, GOTC] {
            // The lower half first: reading the upper one clears both.
            let bytes = read(low) | read(low + 1) << 32;
            self.add(low, bytes);
        }
    }

    fn add(&mut self, i: usize, n: u64) {
        if let Some(total) = self.totals.get_mut(i) {
            *total = total.wrapping_add(n);
        }
    }

    pub(super) fn get(&self, i: usize) -> u64 {
        self.totals.get(i).copied().unwrap_or(0)
    }

    pub(super) fn sum(&self, parts: &[usize]) -> u64 {
        parts
            .iter()
            .fold(0, |sum, &i| sum.wrapping_add(self.get(i)))
    }

    /// Pause frames that were received, and sent, with those that end a pause.
    pub(super) fn pause_frames(&self) -> [u64; 2] {
        [[XONRXC, XOFFRXC], [XONTXC, XOFFTXC]]
            .map(|[on, off]| self.get(on).wrapping_add(self.get(off)))
    }

    /// Tells all statistics, with those in the end that the driver counts.
    pub(super) fn tell(&self, to: &mut [u64], own: &[u64]) {
        let (totals, rest) = to.split_at_mut(to.len().saturating_sub(own.len()));
        for (to, (_, parts)) in totals.iter_mut().zip(TABLE) {
            *to = self.sum(parts);
        }
        for (to, n) in rest.iter_mut().zip(own) {
            *to = *n;
        }
    }
}
