// SPDX-License-Identifier: GPL-2.0

//! What `ethtool` is told, and asks for.

use kernel::{
    device::{Bound, Device},
    prelude::*,
};

use super::{
    control::{Answer, Reading, Request, Told},
    counters,
    device::Frontend,
    link,
    rx::{self, RxRing},
    test,
    tx::{self, TxRing},
};
use crate::net::{Ethtool, LinkMode, LinkModes, Modes, Pause, Refusal, Rings, Throttle};

/// What may go over twisted pair.
const SUPPORTED: Modes = link::MODES.and(Modes::NEGOTIATION).and(Modes::TWISTED_PAIR);

/// The device's number, and its maker's.
const ID: u32 = 0x100e_8086;

impl Frontend {
    fn told(&self) -> Result<Told> {
        match self.requests.call(Request::Tell)?? {
            Answer::Told(told) => Ok(told),
            _ => Err(EPROTO),
        }
    }

    fn read(&self, what: Reading, count: usize) -> Result<KVec<u64>> {
        let to = KVec::from_elem(0, count, GFP_KERNEL)?;
        match self.requests.call(Request::Read(what, to))?? {
            Answer::Read(numbers) => Ok(numbers),
            _ => Err(EPROTO),
        }
    }
}

#[vtable]
impl Ethtool for Frontend {
    const STATISTICS: &'static [&'static str] = counters::NAMES;
    const TESTS: &'static [&'static str] = &test::NAMES;
    const REGISTERS: usize = 32;
    const EEPROM: (usize, u32) = (64, ID);
    const MAX_RINGS: Rings = Rings { rx: 4096, tx: 4096 };

    fn link_modes(&self) -> Result<LinkModes> {
        Ok(LinkModes {
            supported: SUPPORTED,
            mode: self.told()?.settings.link,
        })
    }

    fn set_link_mode(&self, mode: LinkMode) -> Result {
        let mode = match mode {
            // Gigabit over twisted pair does not do without negotiation.
            LinkMode::Force {
                mbits: 1000,
                full_duplex: true,
            } => LinkMode::Negotiate(Modes::FULL_1000),
            LinkMode::Force {
                mbits: 10 | 100, ..
            } => mode,
            LinkMode::Negotiate(modes) if modes.has(link::MODES) => {
                LinkMode::Negotiate(modes.common(link::MODES))
            }
            _ => return Err(EINVAL),
        };
        self.ask(Request::SetLink(mode))
    }

    fn renegotiate(&self) -> Result {
        match self.told()?.settings.link {
            LinkMode::Negotiate(_) => self.ask(Request::Renegotiate),
            LinkMode::Force { .. } => Err(EINVAL),
        }
    }

    fn statistics(&self, to: &mut [u64]) -> Result {
        let numbers = self.read(Reading::Statistics, to.len())?;
        to.copy_from_slice(&numbers);
        Ok(())
    }

    fn rings(&self) -> Result<Rings> {
        Ok(self.told()?.rings)
    }

    fn set_rings(&self, dev: &Device<Bound>, rings: Rings) -> Result {
        let (rx, tx) = (rings.rx.next_power_of_two(), rings.tx.next_power_of_two());
        if rx < rx::MIN_LEN || tx < tx::MIN_LEN {
            return Err(EINVAL);
        }
        // All that can fail is done before anything changes.
        let interface = self.nic.interface.clone();
        let mut new = (RxRing::new(dev, interface, rx)?, TxRing::new(dev, tx)?);
        new.0.set_pool(Some(RxRing::new_pool(&self.nic.interface)?));
        new.0.fill()?;
        let new = KBox::new(new, GFP_KERNEL)?;
        // Killed or not: the old ones are to be freed here.
        match self
            .requests
            .call_uninterruptible(Request::SetRings(new))??
        {
            Answer::Rings(old) => drop(old),
            _ => return Err(EPROTO),
        }
        Ok(())
    }

    fn coalesce(&self) -> Result<u32> {
        Ok(self.told()?.coalesce)
    }

    fn set_coalesce(&self, usecs: u32) -> Result<(), Refusal> {
        Throttle::check(usecs)?;
        Ok(self.ask(Request::SetCoalesce(usecs))?)
    }

    fn pause(&self) -> Result<Pause> {
        Ok(self.told()?.settings.pause)
    }

    fn set_pause(&self, pause: Pause) -> Result {
        self.ask(Request::SetPause(pause))
    }

    fn pause_frames(&self) -> Result<[u64; 2]> {
        Ok(self.told()?.pause_frames)
    }

    fn registers(&self, to: &mut [u32]) -> Result<u32> {
        let numbers = self.read(Reading::Registers, to.len())?;
        for (to, &n) in to.iter_mut().zip(&numbers) {
            *to = n as u32;
        }
        // Format 1, of this device.
        Ok(1 << 24 | ID >> 16)
    }

    fn eeprom(&self, word: usize) -> Result<u16> {
        self.nic.hw.read_eeprom(word as u8)
    }

    fn reset(&self) -> Result {
        self.ask(Request::Reset)
    }

    fn test(&self, offline: bool, to: &mut [u64]) -> Result {
        if offline {
            self.set_pool(Some(RxRing::new_pool(&self.nic.interface)?))?;
        }
        let numbers = self.read(Reading::Tests { offline }, to.len());
        if offline {
            self.set_pool(None)?;
        }
        to.copy_from_slice(&numbers?);
        if let (true, Some(to)) = (offline, to.get_mut(test::EEPROM)) {
            *to = self.nic.hw.test_eeprom()?;
        }
        Ok(())
    }

    fn identify(&self, light: Option<bool>) -> Result {
        self.ask(Request::SetLight(light))
    }
}
