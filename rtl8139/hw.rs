// SPDX-License-Identifier: GPL-2.0

//! What the device can be told to do, register by register.

use kernel::{
    dma::DmaAddress,
    io::{poll::read_poll_timeout, register::Array, Io},
    num::Bounded,
    pci,
    prelude::*,
    time::Delta,
};

use super::regs::*;
use crate::net::{Filter, Link, Regs};

pub(super) struct Hw(Regs<END>);

/// What became of what was sent, a bit for each slot.
pub(super) struct Sent {
    pub(super) done: u8,
    pub(super) failed: u8,
}

impl Hw {
    pub(super) fn map(pdev: &pci::Device<kernel::device::Bound>) -> Result<Self> {
        Regs::map(pdev, 1, c"coop_rtl8139").map(Self)
    }

    /// Begins to put the device into the state of power-on: silent, nothing sent, received or stored.
    pub(super) fn begin_reset(&self) {
        self.0
            .with((), |bar| bar.write_reg(CR::zeroed().with_reset(true)));
    }

    pub(super) fn is_reset(&self) -> bool {
        self.0.with(true, |bar| !bar.read(CR).reset())
    }

    /// Resets the device, which takes some microseconds. May sleep.
    pub(super) fn reset(&self) -> Result {
        self.begin_reset();
        let (each, all) = (Delta::from_micros(10), Delta::from_millis(10));
        read_poll_timeout(|| Ok(self.is_reset()), |&done| done, each, all).map(|_| ())
    }

    /// The hardware address; after a reset, that of the EEPROM.
    pub(super) fn address(&self) -> [u8; 6] {
        let (low, high) = self.0.with((0, 0), |bar| {
            (bar.read(IDR0).into_raw(), bar.read(IDR4).into_raw())
        });
        let [a, b, c, d] = low.to_le_bytes();
        let [e, f, ..] = high.to_le_bytes();
        [a, b, c, d, e, f]
    }

    pub(super) fn set_address(&self, [a, b, c, d, e, f]: [u8; 6]) {
        self.0.with((), |bar| {
            bar.write_reg(EECR::zeroed().with_const_mode::<3>());
            bar.write_reg(IDR0::from_raw(u32::from_le_bytes([a, b, c, d])));
            bar.write_reg(IDR4::from_raw(u32::from_le_bytes([e, f, 0, 0])));
            bar.write_reg(EECR::zeroed());
        });
    }

    /// Starts the device, which has been reset; it receives into the ring at `ring`, and sends from
    /// slots of `slot_len` bytes from `slots` on. Nothing interrupts yet.
    pub(super) fn start(&self, ring: DmaAddress, slots: DmaAddress, slot_len: u32) {
        self.0.with((), |bar| {
            // The emulation keeps it over a reset, but not the length of the ring that it tells; so
            // that what is chosen then is always news.
            bar.write_reg(RCR::zeroed());
            bar.write_reg(RBSTART::from_raw(ring as u32));
            for i in 0..SLOTS {
                if let Some(tsad) = TSAD::try_at(i) {
                    let at = (slots as u32).wrapping_add(slot_len.wrapping_mul(i as u32));
                    bar.write(tsad, TSAD::from_raw(at));
                }
            }
            // Only when it is on does it take thresholds.
            bar.write_reg(CR::zeroed().with_transmit(true).with_receive(true));
            bar.write_reg(TCR::zeroed().with_const_burst::<4>().with_const_gap::<3>());
        });
    }

    /// Chooses which frames are received. Returns whether the [ring begins
    /// anew](Self::restart_receiver) for that.
    pub(super) fn set_filter(&self, filter: &Filter) -> bool {
        let all = filter.promiscuous || !filter.unicast.is_empty();
        let mut hashed = [0u32; 2];
        if filter.promiscuous || filter.all_multicast {
            hashed = [u32::MAX; 2];
        }
        for address in &filter.multicast {
            let hash = crc(address) >> 26;
            if let Some(bits) = hashed.get_mut(hash as usize >> 5) {
                *bits |= 1 << (hash & 0x1f);
            }
        }
        let config = RCR::zeroed()
            .with_accept_all(all)
            .with_accept_own(true)
            .with_accept_multicast(true)
            .with_accept_broadcast(true)
            .with_beyond_end(true)
            .with_const_burst::<7>()
            .with_const_ring_len::<2>()
            .with_const_threshold::<7>();
        let changes = self.0.with(false, |bar| {
            for (i, bits) in hashed.into_iter().enumerate() {
                if let Some(mar) = MAR::try_at(i) {
                    bar.write(mar, MAR::from_raw(bits));
                }
            }
            bar.read(RCR).into_raw() != config.into_raw()
        });
        if changes {
            self.restart_receiver(Some(config));
        }
        changes
    }

    /// Begins to receive anew, at the beginning of the ring, like this or as before.
    pub(super) fn restart_receiver(&self, config: Option<RCR>) {
        self.0.with((), |bar| {
            let config = config.unwrap_or_else(|| bar.read(RCR));
            // The device begins anew when it is switched on, the emulation when RCR is written.
            bar.write_reg(CR::zeroed().with_transmit(true));
            bar.write_reg(config);
            bar.write_reg(CR::zeroed().with_transmit(true).with_receive(true));
        });
        // Where it is already; but an emulated device that has found its ring full before takes no
        // frame until it is told this, whatever else has happened.
        self.set_read(0);
    }

    /// Up to where the device has written.
    pub(super) fn written(&self) -> usize {
        self.0.with(0, |bar| bar.read(CBR).into_raw().into())
    }

    /// Up to where the ring may be written to again.
    pub(super) fn set_read(&self, position: usize) {
        self.0.with((), |bar| {
            bar.write_reg(CAPR::from_raw((position as u16).wrapping_sub(16)))
        });
    }

    /// Sends the first `bytes` bytes of a slot.
    pub(super) fn send(&self, slot: usize, bytes: u32) {
        self.0.with((), |bar| {
            if let Some(tsd) = TSD::try_at(slot) {
                // As the whole frame is in the device before it begins, it cannot be late.
                let bytes = Bounded::from_expr(bytes & 0x1fff);
                bar.write(
                    tsd,
                    TSD::zeroed().with_bytes(bytes).with_const_threshold::<48>(),
                );
            }
        });
    }

    pub(super) fn sent(&self) -> Sent {
        self.0.with(Sent { done: 0, failed: 0 }, |bar| {
            let all = bar.read(TSADALL);
            let failed = (all.aborted().get() | all.underrun().get()) as u8;
            if failed != 0 {
                bar.update(TCR, |tcr| tcr.with_clear_abort(true));
            }
            Sent {
                done: all.sent().get() as u8 | failed,
                failed,
            }
        })
    }

    /// The causes that interrupt now. Any context.
    pub(super) fn interrupting(&self) -> Causes {
        self.0.with(Causes::NONE, |bar| {
            bar.read(ISR).causes().and(bar.read(IMR).causes())
        })
    }

    /// What has happened, and was not acknowledged.
    pub(super) fn raised(&self) -> Causes {
        self.0.with(Causes::NONE, |bar| bar.read(ISR).causes())
    }

    /// Has these causes be over.
    pub(super) fn acknowledge(&self, causes: Causes) {
        self.0
            .with((), |bar| bar.write_reg(ISR::zeroed().with_causes(causes)));
    }

    /// Has just these causes interrupt; at once, if one has happened already. Any context.
    pub(super) fn unmask(&self, causes: Causes) {
        self.0
            .with((), |bar| bar.write_reg(IMR::zeroed().with_causes(causes)));
    }

    /// How many frames found no room since the last call.
    pub(super) fn take_missed(&self) -> u64 {
        self.0.with(0, |bar| {
            let missed = bar.read(MPC).into_raw();
            bar.write_reg(MPC::zeroed());
            (missed & 0xff_ffff).into()
        })
    }

    pub(super) fn link(&self) -> Link {
        self.0.with(Link::default(), |bar| {
            let media = bar.read(MSR);
            // 10 half, 10 full, 100 half, 100 full from the lowest bit on; the best is what it is.
            let modes = bar.read(ANAR).modes().get() & bar.read(ANLPAR).modes().get();
            Link {
                up: !media.link_down(),
                mbits: if media.speed_10() { 10 } else { 100 },
                full_duplex: modes & 0b1000 != 0 || modes & 0b0110 == 0b0010,
            }
        })
    }
}

/// The checksum of Ethernet as the device has it of an address: its highest bit first.
fn crc(address: &[u8; 6]) -> u32 {
    let bits = address
        .iter()
        .flat_map(|&byte| (0..8).map(move |i| byte >> i & 1));
    bits.fold(u32::MAX, |crc, bit| {
        let carry = crc >> 31 ^ u32::from(bit);
        crc << 1 ^ carry * 0x04c1_1db7
    })
}
