// SPDX-License-Identifier: GPL-2.0

//! What the device can be told to do, register by register.
//!
//! After an unplug the registers are gone: reading gives ones as from an empty slot, writing does
//! nothing. So nobody above needs to care.

use kernel::{
    io::{poll::read_poll_timeout, register::Array, Io},
    pci,
    prelude::*,
    time::{delay::fsleep, Delta},
};

use super::{regs::*, ring::Ring};
use crate::net::{self, Filter};

/// At most 20 000 interrupts a second, as the C driver starts with.
const INTERRUPT_INTERVAL: u32 = 1_000_000_000 / 256 / 20_000;

/// What the interface is to be like; outlives a reset of the device.
pub(super) struct Settings {
    pub(super) address: [u8; 6],
    pub(super) mtu: u32,
    pub(super) filter: Filter,
}

pub(super) struct Hw(net::Regs<END>);

impl Hw {
    pub(super) fn map(pdev: &pci::Device<kernel::device::Bound>) -> Result<Self> {
        net::Regs::map(pdev, 0, c"coop_e1000").map(Self)
    }

    fn access<R>(&self, gone: R, f: impl FnOnce(&pci::Bar<'_, END>) -> R) -> R {
        match self.0.access() {
            Some(bar) => f(&bar),
            None => gone,
        }
    }

    /// The steps that put the device into the state of power-on: silent, nothing sent, received or
    /// stored. After each, so much time has to pass; and in the end comes [`silence`](Self::silence).
    pub(super) const RESET: [fn(&Self) -> Delta; 2] = [Self::stop, Self::restart];

    /// DMA is switched off first, and gets the time to end: what it reads and writes is freed after
    /// this. (The emulation ignores the reset bit while this is what stops it.)
    fn stop(&self) -> Delta {
        self.access((), |bar| {
            bar.write_reg(IMC::zeroed().with_causes(Causes::ALL));
            bar.write_reg(RCTL::zeroed());
            bar.write_reg(TCTL::zeroed().with_pad_short_packets(true));
            bar.read(STATUS);
        });
        Delta::from_millis(10)
    }

    /// The device reads its settings from the EEPROM again.
    fn restart(&self) -> Delta {
        self.access((), |bar| bar.update(CTRL, |ctrl| ctrl.with_reset(true)));
        Delta::from_millis(5)
    }

    /// Nothing interrupts until it is [unmasked](Self::unmask).
    pub(super) fn silence(&self) {
        self.access((), |bar| {
            bar.write_reg(IMC::zeroed().with_causes(Causes::ALL));
            bar.read(ICR);
        });
    }

    /// All of [`RESET`](Self::RESET), for those who may sleep.
    pub(super) fn reset(&self) {
        for step in Self::RESET {
            fsleep(step(self));
        }
        self.silence();
    }

    /// The hardware address, from the first three words of the EEPROM. May sleep.
    pub(super) fn read_address(&self) -> Result<[u8; 6]> {
        let mut address = [0; 6];
        for (bytes, word) in address.chunks_exact_mut(2).zip(0u8..) {
            bytes.copy_from_slice(&self.read_eeprom(word)?.to_le_bytes());
        }
        Ok(address)
    }

    fn read_eeprom(&self, word: u8) -> Result<u16> {
        self.access((), |bar| {
            bar.write_reg(EERD::zeroed().with_address(word).with_start(true))
        });
        let eerd = read_poll_timeout(
            || self.access(Err(ENODEV), |bar| Ok(bar.read(EERD))),
            |eerd| eerd.done(),
            Delta::from_micros(50),
            Delta::from_millis(10),
        )?;
        Ok(eerd.data().into())
    }

    /// Sets the device up to send and receive through these rings, and starts it.
    ///
    /// The interrupts stay off.
    pub(super) fn start(&self, settings: &Settings, rx: &Ring, tx: &Ring) {
        self.access((), |bar| {
            bar.update(CTRL, |ctrl| {
                ctrl.with_auto_speed(true).with_set_link_up(true)
            });
            bar.write_reg(ITR::zeroed().with_interval(INTERRUPT_INTERVAL as u16));

            bar.write_reg(TDBAL::from_raw(tx.dma_address() as u32));
            bar.write_reg(TDBAH::from_raw((tx.dma_address() >> 32) as u32));
            bar.write_reg(TDLEN::from_raw(tx.bytes()));
            bar.write_reg(TDH::zeroed());
            bar.write_reg(TDT::zeroed());
            bar.write_reg(
                TIPG::zeroed()
                    .with_const_transmit::<8>()
                    .with_const_receive1::<8>()
                    .with_const_receive2::<6>(),
            );
            bar.write_reg(
                TCTL::zeroed()
                    .with_enable(true)
                    .with_pad_short_packets(true)
                    .with_const_collision_threshold::<15>()
                    .with_const_collision_distance::<64>(),
            );

            bar.write_reg(RDBAL::from_raw(rx.dma_address() as u32));
            bar.write_reg(RDBAH::from_raw((rx.dma_address() >> 32) as u32));
            bar.write_reg(RDLEN::from_raw(rx.bytes()));
            bar.write_reg(RDH::zeroed());
            bar.write_reg(RDT::zeroed());
            bar.write_reg(RXCSUM::zeroed().with_tcp_udp(true));
        });
        self.set_filter(settings);
    }

    /// Chooses which frames are received, and starts that.
    pub(super) fn set_filter(&self, settings: &Settings) {
        let filter = &settings.filter;
        // The own address comes first; unicast ones that do not fit into the registers ask for all
        // frames, multicast ones go into the hash table.
        let others = ADDRESSES.saturating_sub(1);
        let unicast_fits = filter.unicast.len() <= others;
        let unicast: &[[u8; 6]] = if unicast_fits { &filter.unicast } else { &[] };
        let exact = Iterator::chain(unicast.iter(), filter.multicast.iter());
        let rest = exact.clone().skip(others);

        let mut hashed = [0u32; 128];
        for &[.., fourth, fifth] in rest {
            let hash = usize::from(fourth >> 4) | usize::from(fifth) << 4;
            if let Some(bits) = hashed.get_mut(hash >> 5 & 0x7f) {
                *bits |= 1 << (hash & 0x1f);
            }
        }
        let mut addresses = Iterator::chain(core::iter::once(&settings.address), exact);
        self.access((), |bar| {
            for i in 0..ADDRESSES {
                let (Some(ral), Some(rah)) = (RAL::try_at(i), RAH::try_at(i)) else {
                    break;
                };
                let (low, high) = match addresses.next() {
                    Some(&[a, b, c, d, e, f]) => (
                        RAL::zeroed().with_address(u32::from_le_bytes([a, b, c, d])),
                        RAH::zeroed()
                            .with_address(u16::from_le_bytes([e, f]))
                            .with_valid(true),
                    ),
                    None => (RAL::zeroed(), RAH::zeroed()),
                };
                bar.write(ral, low);
                bar.write(rah, high);
            }
            for (i, bits) in hashed.into_iter().enumerate() {
                if let Some(mta) = MTA::try_at(i) {
                    bar.write(mta, MTA::zeroed().with_bits(bits));
                }
            }
            // Buffers of 2 048 bytes are what the bits left at zero say.
            bar.write_reg(
                RCTL::zeroed()
                    .with_enable(true)
                    .with_unicast_promiscuous(filter.promiscuous || !unicast_fits)
                    .with_multicast_promiscuous(filter.promiscuous || filter.all_multicast)
                    .with_long_frames(settings.mtu > 1500)
                    .with_accept_broadcast(true)
                    .with_strip_crc(true),
            );
        });
    }

    /// Descriptors up to `tail` are the device's to receive into.
    pub(super) fn set_rx_tail(&self, tail: u32) {
        self.access((), |bar| bar.write_reg(RDT::from_raw(tail)));
    }

    /// Descriptors up to `tail` are the device's to send.
    pub(super) fn set_tx_tail(&self, tail: u32) {
        self.access((), |bar| bar.write_reg(TDT::from_raw(tail)));
    }

    /// What has happened since the last call; the line goes down. Any context.
    pub(super) fn take_causes(&self) -> Causes {
        match self.access(Causes::ALL, |bar| bar.read(ICR).causes()) {
            // Nobody there.
            Causes::ALL => Causes::NONE,
            causes => causes,
        }
    }

    /// Lets these causes interrupt; at once, if one has happened meanwhile.
    pub(super) fn unmask(&self, causes: Causes) {
        self.access((), |bar| bar.write_reg(IMS::zeroed().with_causes(causes)));
    }

    /// Keeps these causes from interrupting. They are remembered. Any context.
    pub(super) fn mask(&self, causes: Causes) {
        self.access((), |bar| bar.write_reg(IMC::zeroed().with_causes(causes)));
    }

    pub(super) fn link(&self) -> net::Link {
        let status = self.access(STATUS::zeroed(), |bar| bar.read(STATUS));
        net::Link {
            up: status.link_up(),
            full_duplex: status.full_duplex(),
            mbits: match status.speed().get() {
                0 => 10,
                1 => 100,
                _ => 1000,
            },
        }
    }

    /// How many frames were missed for want of a buffer since the last call.
    pub(super) fn take_missed(&self) -> u32 {
        self.access(0, |bar| bar.read(MPC).into_raw())
    }
}
