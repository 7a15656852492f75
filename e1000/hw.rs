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
use crate::net;

/// At most 20 000 interrupts a second, as the C driver starts with.
const INTERRUPT_INTERVAL: u32 = 1_000_000_000 / 256 / 20_000;

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

    /// Puts the device into the state of power-on: silent, nothing sent, received or stored.
    ///
    /// May sleep.
    pub(super) fn reset(&self) {
        // DMA is switched off first, and gets the time to end: what it reads and writes is freed
        // after this. (The emulation ignores the reset bit while this is what stops it.)
        self.access((), |bar| {
            bar.write_reg(IMC::zeroed().with_causes(Causes::ALL));
            bar.write_reg(RCTL::zeroed());
            bar.write_reg(TCTL::zeroed().with_pad_short_packets(true));
            bar.read(STATUS);
        });
        fsleep(Delta::from_millis(10));
        self.access((), |bar| bar.update(CTRL, |ctrl| ctrl.with_reset(true)));
        // The device reads its settings from the EEPROM again.
        fsleep(Delta::from_millis(5));
        self.access((), |bar| {
            bar.write_reg(IMC::zeroed().with_causes(Causes::ALL));
            bar.read(ICR);
        });
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
    pub(super) fn start(&self, address: &[u8; 6], rx: &Ring, tx: &Ring) {
        let [a, b, c, d, e, f] = *address;
        self.access((), |bar| {
            bar.update(CTRL, |ctrl| {
                ctrl.with_auto_speed(true).with_set_link_up(true)
            });
            bar.write_reg(RAL::zeroed().with_address(u32::from_le_bytes([a, b, c, d])));
            bar.write_reg(
                RAH::zeroed()
                    .with_address(u16::from_le_bytes([e, f]))
                    .with_valid(true),
            );
            for i in 0..128 {
                if let Some(mta) = MTA::try_at(i) {
                    bar.write(mta, MTA::zeroed());
                }
            }
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
            // Buffers of 2 048 bytes are what the bits left at zero say. No filter for multicast
            // yet: the stack drops what it does not want.
            bar.write_reg(
                RCTL::zeroed()
                    .with_enable(true)
                    .with_accept_broadcast(true)
                    .with_multicast_promiscuous(true)
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
