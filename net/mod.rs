// SPDX-License-Identifier: GPL-2.0

//! What a network driver in Rust needs from the kernel, behind safe types.
//!
//! Nothing in here knows which NIC it serves. All `unsafe` of the drivers is in [`sys`], and what
//! Rust cannot call at all (inline functions, `struct net_device`) in `helpers.c` and `frames.c`.
//! Each driver compiles all of it into its own module, so that its hot paths are inlined.
//!
//! | type | is |
//! | --- | --- |
//! | [`Interface`], [`Registration`], [`Operations`] | a `struct net_device`, and what the stack asks of it |
//! | [`Ethtool`] | what `ethtool` asks of it |
//! | [`Skb`] | one frame, owned |
//! | [`Poll`], [`BhOff`] | the softirq in which frames go up the stack |
//! | [`Ring`] | descriptors of such frames |
//! | [`RxBuffers`], [`RxPool`], [`TxFrames`] | frames that the device writes, and reads, where they are |
//! | [`SharedArea`] | memory of the device's liking, for frames that are copied |
//! | [`mii`] | the registers of a transceiver |
//! | [`Driver`], [`NewNic`], [`Nic`] | a driver; how it makes a NIC of a device, with its domain |
//! | [`NicDriver`] | the same as a PCI driver: sleep, resets, errors on the bus |
//! | [`enable`], [`Interrupt`], [`Regs`] | the PCI function, its interrupt, its registers |
//! | [`Throttle`] | how often a device may interrupt |
//! | [`Stats`] | counters, written by the driver, read by anybody |

// Each driver uses its part of this.
#![allow(dead_code, unused_imports)]

mod ethtool;
pub(crate) mod mii;
mod nic;
mod stats;
mod sys;
mod throttle;

use core::sync::atomic::{compiler_fence, Ordering::SeqCst};

use kernel::sync::barrier::{dma_mb, Read};

pub(crate) use self::ethtool::{Ethtool, LinkMode, LinkModes, Modes, Pause, Refusal, Rings};
pub(crate) use self::nic::{send_inside, Driver, NewNic, Nic};
pub(crate) use self::stats::Stats;
pub(crate) use self::sys::{
    interface::{Filter, Interface, Link, Offloads, Operations, Traits},
    interrupt::Interrupt,
    pci::{device_name, enable, NicDriver, Regs},
    poll::{BhOff, Poll},
    registration::Registration,
    ring::Ring,
    rx_buffers::{RxBuffers, RxPool},
    shared_area::SharedArea,
    skb::Skb,
    tx_frames::{Offload, Pieces, Placed, Sent, TxFrames},
};
pub(crate) use self::throttle::Throttle;

/// What is read after this, the device has written before what was read before it: `dma_rmb()`.
///
/// That of the kernel crate is a call, even where it has nothing to do.
#[inline(always)]
pub(crate) fn dma_read_barrier() {
    if cfg!(CONFIG_X86_64) {
        // Reads stay in order there, unless the compiler changes it.
        compiler_fence(SeqCst);
    } else {
        dma_mb(Read);
    }
}
