// SPDX-License-Identifier: GPL-2.0

//! Declarations of `helpers.h`, the one place where they are repeated.

use kernel::{
    bindings::{device, dma_addr_t, ethtool_ops, net_device, pci_driver, sk_buff},
    ffi::{c_char, c_int, c_uint, c_void},
};

use crate::net::Stats;

/// `netdev_tx_t`
pub(super) const NETDEV_TX_OK: c_int = 0;
pub(super) const NETDEV_TX_BUSY: c_int = 0x10;

pub(super) const ETHTOOL_COALESCE_RX_USECS: u32 = 1 << 0;

/// `struct coop_net_callbacks`
#[repr(C)]
pub(super) struct Callbacks {
    pub(super) open: unsafe extern "C" fn(*mut c_void) -> c_int,
    pub(super) stop: unsafe extern "C" fn(*mut c_void) -> c_int,
    pub(super) resume: unsafe extern "C" fn(*mut c_void) -> c_int,
    pub(super) start_xmit: unsafe extern "C" fn(*mut c_void, *mut sk_buff, bool) -> c_int,
    pub(super) poll: unsafe extern "C" fn(*mut c_void, c_int) -> c_int,
    pub(super) tx_timeout: unsafe extern "C" fn(*mut c_void),
    pub(super) set_address: unsafe extern "C" fn(*mut c_void, *const u8) -> c_int,
    pub(super) set_mtu: unsafe extern "C" fn(*mut c_void, c_uint) -> c_int,
    pub(super) set_filter: unsafe extern "C" fn(*mut c_void, *const Filter) -> c_int,
    pub(super) set_features: unsafe extern "C" fn(*mut c_void, u64) -> c_int,
    pub(super) set_vlan: unsafe extern "C" fn(*mut c_void, u16, bool) -> c_int,
}

/// `struct coop_net_filter`
#[repr(C)]
pub(super) struct Filter {
    pub(super) promiscuous: bool,
    pub(super) all_multicast: bool,
    pub(super) unicast: c_uint,
    pub(super) multicast: c_uint,
    pub(super) addresses: *const [u8; 6],
}

/// `struct coop_net_traits`
#[repr(C)]
pub(super) struct Traits {
    pub(super) features: u64,
    pub(super) hw_features: u64,
    pub(super) max_mtu: c_uint,
    pub(super) max_segments: u16,
}

/// `struct page_pool`
#[repr(C)]
pub(super) struct PagePool {
    _opaque: [u8; 0],
}

/// `struct coop_net_piece`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Piece {
    pub(super) dma: dma_addr_t,
    pub(super) len: u32,
}

/// So many pieces a frame has at most.
pub(super) const MAX_PIECES: usize = 18;

/// What `struct coop_net_offload` says in its first field.
pub(super) const CHECKSUM: u8 = 1;
pub(super) const SEGMENT: u8 = 2;

/// `struct coop_net_offload`
#[repr(C)]
pub(super) struct Offload {
    pub(super) what: u8,
    pub(super) tcp: bool,
    pub(super) tagged: bool,
    pub(super) tag: u16,
    pub(super) ipv4: bool,
    pub(super) network: u8,
    pub(super) headers: u8,
    pub(super) segment: u16,
    pub(super) start: u8,
    pub(super) field: u8,
}

// `struct lockdep_map`, somewhere inside of `struct device`, is empty in this configuration.
#[allow(improper_ctypes)]
extern "C" {
    pub(super) fn coop_net_alloc(parent: *mut device, traits: *const Traits) -> *mut net_device;
    pub(super) fn coop_net_free(dev: *mut net_device);
    pub(super) fn coop_net_set_address(dev: *mut net_device, address: *const u8);
    pub(super) fn coop_net_register(
        dev: *mut net_device,
        callbacks: *const Callbacks,
        ethtool: *const ethtool_ops,
        driver: *mut c_void,
        stats: *const Stats,
    ) -> c_int;
    pub(super) fn coop_net_driver(dev: *mut net_device) -> *mut c_void;
    pub(super) fn coop_net_parent(dev: *mut net_device) -> *mut device;
    pub(super) fn coop_net_link(
        dev: *mut net_device,
        mbits: *mut u32,
        full_duplex: *mut bool,
    ) -> bool;
    pub(super) fn coop_net_set_irq(dev: *mut net_device, irq: c_int);
    pub(super) fn coop_net_pci_driver(driver: *mut pci_driver);
    pub(super) fn coop_net_unregister(dev: *mut net_device);
    pub(super) fn coop_net_name(dev: *mut net_device) -> *const c_char;
    pub(super) fn coop_net_copy_name(dev: *mut net_device, to: *mut u8);
    pub(super) fn coop_net_set_carrier(
        dev: *mut net_device,
        up: bool,
        mbits: u32,
        full_duplex: bool,
    );
    pub(super) fn coop_net_stop_queue(dev: *mut net_device);
    pub(super) fn coop_net_wake_queue(dev: *mut net_device);
    pub(super) fn coop_net_sent(dev: *mut net_device, bytes: c_uint, more: bool) -> bool;
    pub(super) fn coop_net_completed(dev: *mut net_device, frames: c_uint, bytes: c_uint);
    pub(super) fn coop_net_reset_queue(dev: *mut net_device);
    pub(super) fn coop_net_receive(dev: *mut net_device, skb: *mut sk_buff);
    pub(super) fn coop_net_schedule_poll(dev: *mut net_device);
    pub(super) fn coop_net_complete_poll(dev: *mut net_device, work: c_int) -> bool;
    pub(super) fn coop_net_rx_pool(
        netdev: *mut net_device,
        count: c_uint,
        len: c_uint,
    ) -> *mut PagePool;
    pub(super) fn coop_net_rx_pool_free(pool: *mut PagePool);
    pub(super) fn coop_net_rx_alloc(pool: *mut PagePool, dma: *mut dma_addr_t) -> *mut c_void;
    pub(super) fn coop_net_rx_free(pool: *mut PagePool, buffer: *mut c_void);
    pub(super) fn coop_net_rx_build(
        netdev: *mut net_device,
        pool: *mut PagePool,
        buffer: *mut c_void,
        len: c_uint,
    ) -> *mut sk_buff;
    pub(super) fn coop_net_rx_append(
        skb: *mut sk_buff,
        pool: *mut PagePool,
        buffer: *mut c_void,
        len: c_uint,
    ) -> bool;
    pub(super) fn coop_net_rx_copy(
        netdev: *mut net_device,
        dev: *mut device,
        buffer: *const c_void,
        dma: dma_addr_t,
        len: c_uint,
    ) -> *mut sk_buff;
    pub(super) fn coop_net_rx_holds(
        dev: *mut device,
        buffer: *const c_void,
        dma: dma_addr_t,
        bytes: *const u8,
        len: c_uint,
    ) -> bool;
    pub(super) fn coop_net_tx_new(
        dev: *mut net_device,
        bytes: *const u8,
        len: c_uint,
    ) -> *mut sk_buff;
    pub(super) fn coop_net_rx_tag(skb: *mut sk_buff, tag: u16);
    pub(super) fn coop_net_rx_checksum_is_good(skb: *mut sk_buff);
    pub(super) fn coop_net_tx_map(
        dev: *mut device,
        skb: *mut sk_buff,
        pieces: *mut Piece,
        offload: *mut Offload,
    ) -> c_int;
    pub(super) fn coop_net_tx_done(
        dev: *mut device,
        skb: *mut sk_buff,
        pieces: *const Piece,
        count: c_uint,
        sent: *mut crate::net::Sent,
    );
    pub(super) fn coop_net_tx_undo(
        dev: *mut device,
        skb: *mut sk_buff,
        pieces: *const Piece,
        count: c_uint,
    );
    pub(super) fn coop_net_tx_drop(skb: *mut sk_buff);
    pub(super) fn coop_net_take(
        dev: *mut net_device,
        bytes: *const c_void,
        len: c_uint,
    ) -> *mut sk_buff;
    pub(super) fn coop_net_put(skb: *mut sk_buff, to: *mut c_void, room: c_uint) -> c_uint;
}
