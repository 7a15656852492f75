// SPDX-License-Identifier: GPL-2.0

//! Declarations of `helpers.h`, the one place where they are repeated.

use kernel::{
    bindings::{device, dma_addr_t, net_device, sk_buff},
    ffi::{c_char, c_int, c_uint, c_void},
};

use crate::net::Stats;

/// `DMA_MAPPING_ERROR`
pub(super) const DMA_MAPPING_ERROR: dma_addr_t = dma_addr_t::MAX;

/// `netdev_tx_t`
pub(super) const NETDEV_TX_OK: c_int = 0;
pub(super) const NETDEV_TX_BUSY: c_int = 0x10;

#[repr(C)]
pub(super) struct Callbacks {
    pub(super) open: unsafe extern "C" fn(*mut c_void) -> c_int,
    pub(super) stop: unsafe extern "C" fn(*mut c_void) -> c_int,
    pub(super) start_xmit: unsafe extern "C" fn(*mut c_void, *mut sk_buff) -> c_int,
}

// `struct lockdep_map`, somewhere inside of `struct device`, is empty in this configuration.
#[allow(improper_ctypes)]
extern "C" {
    pub(super) fn coop_net_alloc(parent: *mut device) -> *mut net_device;
    pub(super) fn coop_net_free(dev: *mut net_device);
    pub(super) fn coop_net_set_address(dev: *mut net_device, address: *const u8);
    pub(super) fn coop_net_register(
        dev: *mut net_device,
        callbacks: *const Callbacks,
        driver: *mut c_void,
        stats: *const Stats,
    ) -> c_int;
    pub(super) fn coop_net_unregister(dev: *mut net_device);
    pub(super) fn coop_net_name(dev: *mut net_device) -> *const c_char;
    pub(super) fn coop_net_set_carrier(
        dev: *mut net_device,
        up: bool,
        mbits: u32,
        full_duplex: bool,
    );
    pub(super) fn coop_net_start_queue(dev: *mut net_device);
    pub(super) fn coop_net_stop_queue(dev: *mut net_device);
    pub(super) fn coop_net_wake_queue(dev: *mut net_device);
    pub(super) fn coop_net_bh_disable();
    pub(super) fn coop_net_bh_enable();
    pub(super) fn coop_net_receive(dev: *mut net_device, skb: *mut sk_buff);
    pub(super) fn coop_net_flush(dev: *mut net_device);
    pub(super) fn coop_net_rx_alloc(len: c_uint) -> *mut c_void;
    pub(super) fn coop_net_rx_data(buffer: *mut c_void) -> *mut c_void;
    pub(super) fn coop_net_rx_free(buffer: *mut c_void);
    pub(super) fn coop_net_rx_build(
        dev: *mut net_device,
        buffer: *mut c_void,
        size: c_uint,
        len: c_uint,
    ) -> *mut sk_buff;
    pub(super) fn coop_net_rx_copy(
        dev: *mut net_device,
        buffer: *const c_void,
        len: c_uint,
    ) -> *mut sk_buff;
    pub(super) fn coop_net_tx_pad(skb: *mut sk_buff) -> bool;
    pub(super) fn coop_net_tx_drop(skb: *mut sk_buff);
    pub(super) fn coop_net_dma_map(
        dev: *mut device,
        data: *mut c_void,
        len: c_uint,
        to_device: bool,
    ) -> dma_addr_t;
    pub(super) fn coop_net_dma_unmap(
        dev: *mut device,
        dma: dma_addr_t,
        len: c_uint,
        to_device: bool,
    );
    pub(super) fn coop_net_dma_sync_for_cpu(dev: *mut device, dma: dma_addr_t, len: c_uint);
    pub(super) fn coop_net_dma_sync_for_device(dev: *mut device, dma: dma_addr_t, len: c_uint);
}
