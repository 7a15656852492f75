// SPDX-License-Identifier: GPL-2.0

//! What a network driver in Rust needs from the kernel, behind safe types.
//!
//! Nothing in here knows which NIC it serves. All `unsafe` of the sample driver is in [`sys`], and
//! what Rust cannot call at all (inline functions, `struct net_device`) in `helpers.c`.
//!
//! | type | is |
//! | --- | --- |
//! | [`Interface`], [`Registration`], [`Operations`] | a `struct net_device`, and what the stack asks of it |
//! | [`Ethtool`] | what `ethtool` asks of it |
//! | [`Skb`] | one frame, owned |
//! | [`Poll`], [`BhOff`] | the softirq in which frames go up the stack |
//! | [`RxBuffers`], [`TxFrames`] | memory that the device writes, and reads |
//! | [`enable`], [`request_irq`], [`Regs`] | the PCI function, its interrupt, its registers |
//! | [`Stats`] | counters, written by the driver, read by anybody |

mod ethtool;
mod stats;
mod sys;

pub(crate) use self::ethtool::{Ethtool, LinkMode, LinkModes, Modes, Pause, Refusal, Rings};
pub(crate) use self::stats::Stats;
pub(crate) use self::sys::{
    interface::{Filter, Interface, Link, Offloads, Operations, Registration, Traits},
    pci::{enable, request_irq, Regs},
    poll::{BhOff, Poll},
    rx_buffers::RxBuffers,
    skb::Skb,
    tx_frames::{Offload, Sent, TxFrames},
};
