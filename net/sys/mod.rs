// SPDX-License-Identifier: GPL-2.0

//! The part of the glue that touches C: all `unsafe` is here.

pub(super) mod ethtool;
mod ffi;
pub(super) mod interface;
pub(super) mod interrupt;
pub(super) mod pci;
pub(super) mod poll;
pub(super) mod registration;
pub(super) mod ring;
pub(super) mod rx_buffers;
pub(super) mod shared_area;
pub(super) mod skb;
pub(super) mod tx_frames;

use kernel::{bindings, device};

/// The C side of a device.
fn raw_device<Ctx: device::DeviceContext>(dev: &device::Device<Ctx>) -> *mut bindings::device {
    // `device::Device` is a transparent wrapper.
    core::ptr::from_ref(dev).cast_mut().cast()
}
