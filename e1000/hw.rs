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

use super::{counters::Counters, device::State, regs::*};
use crate::net::{self, BhOff, LinkMode, Offloads, Pause};

/// How much of the device's memory is for frames that come in, unless it is told otherwise.
const RX_MEMORY: u32 = 48 << 10;

/// What the interface is to be like; outlives a reset of the device.
#[derive(Clone, Copy)]
pub(super) struct Settings {
    pub(super) address: [u8; 6],
    pub(super) mtu: u32,
    pub(super) link: LinkMode,
    pub(super) pause: Pause,
    pub(super) offloads: Offloads,
}

/// The VLANs whose frames are received, a bit for each.
pub(super) type Vlans = [u32; 128];

pub(super) struct Hw(net::Regs<END>);

impl Hw {
    pub(super) fn map(pdev: &pci::Device<kernel::device::Bound>) -> Result<Self> {
        net::Regs::map(pdev, 0, c"coop_e1000").map(Self)
    }

    fn access<R>(&self, gone: R, f: impl FnOnce(&pci::Bar<'_, END>) -> R) -> R {
        self.0.with(gone, f)
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

    /// Reads a word of the EEPROM. May sleep; one at a time.
    pub(super) fn read_eeprom(&self, word: u8) -> Result<u16> {
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

    /// Sets the device up to send and receive through its rings, and starts it.
    ///
    /// The interrupts stay off.
    pub(super) fn start(&self, state: &State) {
        let (settings, rx, tx) = (&state.settings, &state.rx.ring, &state.tx.ring);
        self.set_link(settings);
        self.access((), |bar| {
            bar.write_reg(VET::zeroed().with_ethertype(0x8100u16));
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
        });
        self.set_pause(state);
        self.set_filter(state);
    }

    /// Chooses which frames are received, and how, and starts that.
    pub(super) fn set_filter(&self, state: &State) {
        let State {
            settings, filter, ..
        } = state;
        let all = settings.offloads.has(Offloads::RX_ALL);
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
            for (i, bits) in state.vlans.into_iter().enumerate() {
                if let Some(vfta) = VFTA::try_at(i) {
                    bar.write(vfta, VFTA::zeroed().with_bits(bits));
                }
            }
            let some_vlans = state.vlans.iter().any(|&bits| bits != 0);
            let checksum = settings.offloads.has(Offloads::RX_CHECKSUM);
            bar.write_reg(RXCSUM::zeroed().with_tcp_udp(checksum));
            // Buffers of 2 048 bytes are what the bits left at zero say.
            let rctl = RCTL::zeroed()
                .with_enable(true)
                .with_unicast_promiscuous(filter.promiscuous || !unicast_fits)
                .with_multicast_promiscuous(filter.promiscuous || filter.all_multicast)
                .with_long_frames(settings.mtu > 1500)
                .with_accept_broadcast(true)
                .with_store_bad(all)
                .with_filter_vlans(some_vlans && !filter.promiscuous && !all)
                .with_strip_crc(!settings.offloads.has(Offloads::RX_FCS));
            // The emulated device takes no frame for a second after this is written.
            if bar.read(RCTL).into_raw() != rctl.into_raw() {
                bar.write_reg(rctl);
            }
        });
    }

    /// What is done for each frame: quicker where the stack calls.
    fn quick(&self, bh: Option<&BhOff>, f: impl FnOnce(&pci::Bar<'_, END>)) {
        match bh {
            None => self.access((), f),
            Some(bh) => self.0.at(bh).map_or((), f),
        }
    }

    /// Descriptors up to `tail` are the device's to receive into.
    pub(super) fn set_rx_tail(&self, bh: Option<&BhOff>, tail: u32) {
        self.quick(bh, |bar| bar.write_reg(RDT::from_raw(tail)));
    }

    /// Descriptors up to `tail` are the device's to send.
    pub(super) fn set_tx_tail(&self, bh: Option<&BhOff>, tail: u32) {
        self.quick(bh, |bar| bar.write_reg(TDT::from_raw(tail)));
    }

    /// What has happened since the last call; the line goes down. If it is for the poll, nothing of
    /// that kind interrupts any more, but is remembered. Any context.
    pub(super) fn take_causes(&self) -> Causes {
        self.access(Causes::NONE, |bar| {
            let causes = bar.read(ICR).causes();
            if causes == Causes::ALL {
                // Nobody there.
                return Causes::NONE;
            }
            if causes.has(Causes::FRAMES) {
                bar.write_reg(IMC::zeroed().with_causes(Causes::FRAMES));
            }
            causes
        })
    }

    /// Lets these causes interrupt; at once, if one has happened meanwhile.
    pub(super) fn unmask(&self, bh: Option<&BhOff>, causes: Causes) {
        self.quick(bh, |bar| bar.write_reg(IMS::zeroed().with_causes(causes)));
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

    /// Makes speed and duplex be negotiated, or be as the settings say, and VLAN tags be handled.
    pub(super) fn set_link(&self, settings: &Settings) {
        self.access((), |bar| {
            bar.update(CTRL, |ctrl| {
                let ctrl = ctrl
                    .with_set_link_up(true)
                    .with_vlan(settings.offloads.has(Offloads::VLAN_RX));
                match settings.link {
                    LinkMode::Negotiate(_) => ctrl
                        .with_auto_speed(true)
                        .with_force_speed(false)
                        .with_force_duplex(false),
                    LinkMode::Force { mbits, full_duplex } => {
                        let ctrl = ctrl
                            .with_auto_speed(false)
                            .with_force_speed(true)
                            .with_force_duplex(true)
                            .with_full_duplex(full_duplex);
                        match mbits {
                            100 => ctrl.with_const_speed::<1>(),
                            _ => ctrl.with_const_speed::<0>(),
                        }
                    }
                }
            })
        });
    }

    /// Chooses flow control.
    pub(super) fn set_pause(&self, state: &State) {
        let (pause, mtu) = (state.pause, state.settings.mtu);
        // There must be room for a frame that is on its way already, and for some more.
        let high = (RX_MEMORY / 10 * 9).min(RX_MEMORY.saturating_sub(mtu + 18)) & 0xfff8;
        let (low, high) = if pause.tx { (high - 8, high) } else { (0, 0) };
        self.access((), |bar| {
            bar.update(CTRL, |ctrl| {
                ctrl.with_rx_pause(pause.rx).with_tx_pause(pause.tx)
            });
            // 01:80:c2:00:00:01, and the type of such frames.
            bar.write_reg(FCAL::from_raw(0x00c2_8001));
            bar.write_reg(FCAH::from_raw(0x0100));
            bar.write_reg(FCT::from_raw(0x8808));
            bar.write_reg(FCTTV::from_raw(0xffff));
            bar.write_reg(FCRTL::zeroed().with_bytes(low as u16).with_say_so(pause.tx));
            bar.write_reg(FCRTH::zeroed().with_bytes(high as u16));
        });
    }

    /// Lets the device interrupt so often a second at most; 0: as often as it likes.
    pub(super) fn set_interrupt_rate(&self, rate: u32) {
        let interval = (1_000_000_000 / 256u32).checked_div(rate).unwrap_or(0);
        let interval = interval.min(u16::MAX.into()) as u16;
        self.access((), |bar| {
            bar.write_reg(ITR::zeroed().with_interval(interval))
        });
    }

    /// Begins to read, or with `value` to write, a register of the transceiver.
    pub(super) fn start_phy(&self, register: u8, value: Option<u16>) {
        let mdic = MDIC::zeroed().with_const_phy::<1>();
        self.access((), |bar| {
            let mdic =
                mdic.with_register(kernel::num::Bounded::from_expr((register & 0x1f).into()));
            bar.write_reg(match value {
                None => mdic.with_read(true),
                Some(value) => mdic.with_data(value).with_write(true),
            })
        });
    }

    /// What has come of it, if it is done.
    pub(super) fn phy_result(&self) -> Result<Option<u16>> {
        let mdic = self.access(Err(ENODEV), |bar| Ok(bar.read(MDIC)))?;
        match (mdic.ready(), mdic.error()) {
            (_, true) => Err(EIO),
            (true, _) => Ok(Some(mdic.data().into())),
            _ => Ok(None),
        }
    }

    /// Adds to `counters` what the device has counted, if it is there.
    pub(super) fn collect(&self, counters: &mut Counters) {
        self.access((), |bar| {
            if bar.read(STATUS).into_raw() != u32::MAX {
                counters.collect(bar);
            }
        });
    }

    /// Switches the first light on or off; `None`: it is for the link again.
    pub(super) fn set_light(&self, light: Option<bool>) {
        self.access((), |bar| {
            bar.update(LEDCTL, |led| match light {
                Some(true) => led.with_const_first::<14>(),
                Some(false) => led.with_const_first::<15>(),
                None => led.with_const_first::<2>(),
            })
        });
    }

    /// The registers that the C driver tells, each after its place there: CTRL, STATUS, RCTL, those
    /// of the receive ring, RDTR, TCTL, those of the transmit ring, TIDV, MANC.
    pub(super) fn registers(&self) -> [(usize, u32); 13] {
        #[rustfmt::skip]
        const TOLD: [(usize, usize); 13] = [
            (0, 0x0000), (1, 0x0008), (2, 0x0100), (3, 0x2808), (4, 0x2810), (5, 0x2818), (6, 0x2820),
            (7, 0x0400), (8, 0x3808), (9, 0x3810), (10, 0x3818), (11, 0x3820), (26, 0x5820),
        ];
        let read = |at| self.access(u32::MAX, |bar| bar.try_read32(at).unwrap_or(u32::MAX));
        TOLD.map(|(place, at)| (place, read(at)))
    }

    /// Has a cause happen.
    pub(super) fn cause(&self, cause: Causes) {
        self.access((), |bar| bar.write_reg(ICS::zeroed().with_causes(cause)));
    }

    /// Writes patterns to registers, and reads them back: 0, or the place of the first one that is
    /// wrong. The device must be at rest, and be reset afterwards.
    pub(super) fn test_registers(&self) -> u64 {
        /// Place, number, distance of registers, and the bits that they keep. (Those of flow
        /// control and TIDV, which the C driver tests, too, the emulation does not keep.)
        const KEPT: [(usize, usize, usize, u32); 9] = [
            (0x0038, 1, 0, 0x0000_ffff),
            (0x2804, 1, 0, 0xffff_ffff),
            (0x2808, 1, 0, 0x000f_ff80),
            (0x2810, 2, 8, 0x0000_ffff),
            (0x2820, 1, 0, 0x0000_ffff),
            (0x3804, 1, 0, 0xffff_ffff),
            (0x3808, 1, 0, 0x000f_ff80),
            (0x5200, 128, 4, 0xffff_ffff),
            (0x5404, ADDRESSES, 8, 0x8003_ffff),
        ];
        const PATTERNS: [u32; 4] = [0x5a5a_5a5a, 0xa5a5_a5a5, 0, 0xffff_ffff];
        let keeps = |bar: &pci::Bar<'_, END>, at: usize, mask: u32, pattern: u32| -> Result<bool> {
            // Bits that are not kept must not matter.
            bar.try_write32(pattern & mask, at)?;
            Ok(bar.try_read32(at)? & mask == pattern & mask)
        };
        self.access(1, |bar| {
            for (first, count, distance, mask) in KEPT {
                for at in (0..count).map(|i| first + i * distance) {
                    for pattern in PATTERNS {
                        if keeps(bar, at, mask, pattern) != Ok(true) {
                            return at as u64;
                        }
                    }
                }
            }
            0
        })
    }
}
