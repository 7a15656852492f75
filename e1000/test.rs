// SPDX-License-Identifier: GPL-2.0

//! The device tests itself: `ethtool -t`.

use coop_domain::sleep;
use kernel::{prelude::*, time::Delta};

use super::{
    device::{Nic, State},
    hw::Hw,
    regs::Causes,
};
use crate::net::{mii, Skb};

pub(super) const NAMES: [&str; 5] = [
    "Register test  (offline)",
    "Eeprom test    (offline)",
    "Interrupt test (offline)",
    "Loopback test  (offline)",
    "Link test   (on/offline)",
];

/// The test that needs no coroutine.
pub(super) const EEPROM: usize = 1;

/// What all words of an EEPROM add up to, up to the one that sees to that.
const EEPROM_SUM: u16 = 0xbaba;
const EEPROM_WORDS: u8 = 64;

/// So many frames are sent to and fro, so often at most; the shortest ring holds them all.
const FRAMES: usize = 32;
const ROUNDS: usize = 3;

impl Nic {
    /// Tests that go through a coroutine; offline, the interface neither sends nor receives
    /// meanwhile. The results are in the order of [`NAMES`].
    pub(super) async fn test(&self, offline: bool, to: &mut [u64]) -> Result {
        let [registers, _, interrupt, loopback, link] = to else {
            return Err(EINVAL);
        };
        *link = self.test_link().await.into();
        if !offline {
            return Ok(());
        }
        self.rest().await?;
        *registers = self.hw.test_registers();
        self.rest().await?;
        *interrupt = self.test_interrupt().await?;
        self.rest().await?;
        let result = self.test_loopback().await;
        // Whatever has come of it, the interface goes on.
        self.reset().await?;
        *loopback = result?;
        Ok(())
    }

    /// Whether there is no link, even after the time that negotiation takes.
    async fn test_link(&self) -> bool {
        for _ in 0..40 {
            if self.hw.link().up {
                return false;
            }
            sleep(Delta::from_millis(100)).await;
        }
        true
    }

    /// Each cause must interrupt when it may, and must not when it may not.
    async fn test_interrupt(&self) -> Result<u64> {
        const NOT_KEPT_BACK: u64 = 3;
        const NEVER_CAME: u64 = 4;
        // Of those that are for the poll nothing is seen while the interface is down.
        let causes = if self.state.with(|state| state.open)? {
            Causes::SELDOM.or(Causes::FRAMES)
        } else {
            Causes::SELDOM
        };
        for cause in (0..10).map(Causes::bit).filter(|&cause| causes.has(cause)) {
            self.hw.silence();
            let before = self.idle_interrupts()?;
            self.hw.cause(cause);
            sleep(Delta::from_millis(10)).await;
            if self.idle_interrupts()? != before {
                return Ok(NOT_KEPT_BACK);
            }
            self.hw.unmask(None, cause);
            for round in 0.. {
                sleep(Delta::from_millis(10)).await;
                if self.idle_interrupts()? != before {
                    break;
                }
                if round == 50 {
                    return Ok(NEVER_CAME);
                }
            }
            // Whatever it has set going ends.
            sleep(Delta::from_millis(10)).await;
        }
        Ok(0)
    }

    fn idle_interrupts(&self) -> Result<u64> {
        self.state.with(|state| state.idle_interrupts)
    }

    /// Frames that the transceiver sends back must come in as they went out.
    async fn test_loopback(&self) -> Result<u64> {
        const NO_MEMORY: u64 = 5;
        const NOT_THE_SAME: u64 = 13;
        let was = self.phy(mii::CONTROL, None).await?;
        let same = self.state.with(|state| -> Result<_> {
            state.rx.fill()?;
            self.hw.start(state);
            state.rx.start(&self.hw);
            Ok(state.settings.address)
        })?;
        let Ok(address) = same else {
            return Ok(NO_MEMORY);
        };
        self.phy(mii::CONTROL, Some(was | mii::LOOP_BACK)).await?;
        // In the first second the emulated device receives nothing.
        sleep(Delta::from_millis(1100)).await;
        let mut same = Ok(false);
        // More than once, as on a busy machine that second may be a long one.
        for _ in 0..ROUNDS {
            let sent = self
                .state
                .with(|state| self.send_patterns(state, address))?;
            sleep(Delta::from_millis(300)).await;
            let came = self.state.with(|state| patterns_came(state, address))?;
            same = sent.map(|()| came);
            if same != Ok(false) {
                break;
            }
        }
        self.phy(mii::CONTROL, Some(was)).await?;
        self.rest().await?;
        Ok(match same {
            Err(_) => NO_MEMORY,
            Ok(true) => 0,
            Ok(false) => NOT_THE_SAME,
        })
    }

    fn send_patterns(&self, state: &mut State, address: [u8; 6]) -> Result {
        for n in 0..FRAMES {
            let frame = Skb::new(&self.interface, &pattern(address, n as u8))?;
            state.tx.push(frame)?;
        }
        self.hw.set_tx_tail(None, state.tx.tail());
        Ok(())
    }
}

/// Whether all of them are in the ring. (Others may be among them: the emulated wire is not cut off.)
fn patterns_came(state: &State, address: [u8; 6]) -> bool {
    let mut places = 0..state.rx.ring.len();
    (0..FRAMES).all(|n| {
        let frame = pattern(address, n as u8);
        places.any(|place| state.rx.has(place, &frame))
    })
}

/// A frame to ourselves.
fn pattern([a, b, c, d, e, f]: [u8; 6], n: u8) -> [u8; 1024] {
    let mut frame = [n; 1024];
    let head = [a, b, c, d, e, f, a, b, c, d, e, f, 0x88, 0xb5];
    for (to, from) in frame.iter_mut().zip(head) {
        *to = from;
    }
    frame
}

impl Hw {
    /// The word by which the EEPROM's sum is wrong; that it cannot be read is an error. May sleep.
    pub(super) fn test_eeprom(&self) -> Result<u64> {
        let mut sum = 0u16;
        for word in 0..EEPROM_WORDS {
            sum = sum.wrapping_add(self.read_eeprom(word)?);
        }
        Ok(sum.wrapping_sub(EEPROM_SUM).into())
    }
}
