// SPDX-License-Identifier: GPL-2.0

//! How often a device may interrupt, as the traffic is.
//!
//! The rules are those of Intel's drivers (`e1000_update_itr`, `e1000_set_itr`, and in later ones
//! the same), whose users know the meaning of small numbers in `ethtool -C .. rx-usecs`.

use kernel::prelude::*;

use super::{Refusal, Stats};

/// What the traffic of one direction asks for: few interrupts, or to wait for none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Lowest,
    Low,
    Bulk,
}

impl Class {
    /// The class after a poll that found so many frames and bytes.
    fn after(self, frames: u64, bytes: u64) -> Self {
        if frames == 0 {
            return self;
        }
        let jumbo = bytes > 8000 * frames;
        match self {
            Self::Lowest if jumbo => Self::Bulk,
            Self::Lowest if frames < 5 && bytes > 512 => Self::Low,
            Self::Low if bytes > 10_000 => {
                if jumbo || frames < 10 || bytes > 1200 * frames {
                    Self::Bulk
                } else if frames > 35 {
                    Self::Lowest
                } else {
                    self
                }
            }
            Self::Low if bytes > 2000 * frames => Self::Bulk,
            Self::Low if frames <= 2 && bytes < 512 => Self::Lowest,
            Self::Bulk if bytes > 25_000 && frames > 35 || bytes < 6000 => Self::Low,
            _ => self,
        }
    }
}

/// What is asked for, and how it is at present.
pub(crate) struct Throttle {
    /// In microseconds, but for these: 0 is never to wait; 1 and 3 are as the traffic is, with 3
    /// never less than 50; 4 is less often the more traffic goes both ways.
    setting: u32,
    /// Interrupts per second at most; 0: any number.
    rate: u32,
    tx: Class,
    rx: Class,
    /// The counters of frames and bytes at the last poll: sent, received.
    seen: [(u64, u64); 2],
}

impl Throttle {
    pub(crate) const fn new() -> Self {
        Self {
            setting: 3,
            rate: 20_000,
            tx: Class::Low,
            rx: Class::Low,
            seen: [(0, 0); 2],
        }
    }

    pub(crate) fn setting(&self) -> u32 {
        self.setting
    }

    /// Whether a setting makes sense.
    pub(crate) fn check(usecs: u32) -> Result<(), Refusal> {
        match usecs {
            0 | 1 | 3 | 4 | 10..=10_000 => Ok(()),
            _ => Err(Refusal(
                EINVAL,
                c"rx-usecs is 10 to 10000, or 0 (off), 1 or 3 (adaptive), 4 (balanced)",
            )),
        }
    }

    /// Another setting.
    pub(crate) fn set(&mut self, usecs: u32) {
        self.setting = usecs;
        self.rate = match usecs {
            0 => 0,
            1..=3 => 20_000,
            4 => 8000,
            _ => 1_000_000 / usecs,
        };
    }

    /// What the device is to be told: interrupts per second at most; 0: any number.
    pub(crate) fn rate(&self) -> u32 {
        self.rate
    }

    /// After a poll: looks at what has been sent and received since the last one. Whether the rate
    /// is another now.
    pub(crate) fn adapt(&mut self, stats: &Stats, gigabit: bool) -> bool {
        if self.setting & 3 == 0 || self.setting > 3 {
            return false;
        }
        let sent = (stats.tx_packets.get(), stats.tx_bytes.get());
        let received = (stats.rx_packets.get(), stats.rx_bytes.get());
        let [tx, rx] = core::mem::replace(&mut self.seen, [sent, received]);
        let least = if self.setting == 3 {
            Class::Low
        } else {
            Class::Lowest
        };
        let next = |class: Class, now: (u64, u64), then: (u64, u64)| {
            let frames = now.0.wrapping_sub(then.0);
            class.after(frames, now.1.wrapping_sub(then.1)).max(least)
        };
        self.tx = next(self.tx, sent, tx);
        self.rx = next(self.rx, received, rx);
        let wanted = match self.tx.max(self.rx) {
            _ if !gigabit => 4000,
            Class::Lowest => 70_000,
            Class::Low => 20_000,
            Class::Bulk => 4000,
        };
        let changes = wanted != self.rate;
        if changes {
            // Up by steps, down at once.
            self.rate = wanted.min(self.rate.saturating_add(wanted >> 2));
        }
        changes
    }

    /// Every other second: balances, with so many bytes received and sent since the last time.
    /// Whether the rate is another now.
    pub(crate) fn balance(&mut self, received: u64, sent: u64) -> bool {
        let balances = self.setting == 4;
        if balances {
            let share =
                received.abs_diff(sent).saturating_mul(6000) / received.saturating_add(sent).max(1);
            self.rate = 2000 + share.min(6000) as u32;
        }
        balances
    }
}
