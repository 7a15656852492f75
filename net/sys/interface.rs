// SPDX-License-Identifier: GPL-2.0

//! Network interfaces: what the stack asks of a driver, and what a driver does with an interface. How
//! one comes to the other is told in [`registration`](super::registration).
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use core::ptr::NonNull;

use kernel::{
    bindings,
    device::{Bound, Device},
    ffi::c_char,
    fmt,
    prelude::*,
    str::CStr,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

use super::{
    ffi,
    poll::{BhOff, Poll},
    raw_device,
    skb::Skb,
};
use crate::net::{Sent, Stats};

/// What the network stack asks of a driver.
pub(crate) trait Operations: Send + Sync + 'static {
    /// The interface goes up. May sleep; `rtnl` is held.
    fn open(&self) -> Result;

    /// The interface goes down, and cannot refuse. May sleep; `rtnl` is held.
    fn stop(&self);

    /// Like [`open`](Self::open), after a [`stop`](Self::stop) during which the device may have lost
    /// all that it has ever been told: it was without power, or was reset.
    fn resume(&self) -> Result {
        self.open()
    }

    /// Takes a frame to send. With `more`, another one follows at once, and the device need not be
    /// told before. A frame that is handed back comes again soon; when there is no room for the
    /// next one, the driver [stops the queue](Interface::stop_queue).
    fn start_xmit(&self, bh: &BhOff, frame: Skb, more: bool) -> Result<(), Skb>;

    /// Takes frames from the device, up to the budget, and passes them on; returns how many. If
    /// fewer than the budget, it has to [complete](Poll::complete) the poll before.
    ///
    /// Runs in a softirq, soon after [`Interface::schedule_poll`], and never twice at once.
    fn poll(&self, poll: Poll<'_>) -> usize;

    /// The queue has been stopped for too long. Bottom halves are off.
    fn tx_timeout(&self);

    /// The interface gets another hardware address, a valid one. May sleep; `rtnl` is held, as for
    /// all that follow.
    fn set_address(&self, address: [u8; 6]) -> Result;

    /// The interface gets another MTU, of at most what was [announced](Traits::max_mtu). Not
    /// needed where that makes no difference.
    fn set_mtu(&self, _mtu: u32) -> Result {
        Ok(())
    }

    /// Other frames are wanted than before.
    fn set_filter(&self, filter: Filter) -> Result;

    /// Of all that was [announced](Traits) only these things are wanted from now on. Not needed
    /// where each frame tells.
    fn set_offloads(&self, _offloads: Offloads) -> Result {
        Ok(())
    }

    /// Whether frames of this VLAN are to be received, if [`Offloads::VLAN_FILTER`] was announced.
    fn set_vlan(&self, _id: u16, _wanted: bool) -> Result {
        Ok(())
    }
}

/// What an interface can do.
#[derive(Clone, Copy)]
pub(crate) struct Traits {
    /// What is on at first, and whether or not it is, can be switched.
    pub(crate) offloads: Offloads,
    pub(crate) switchable: Offloads,
    pub(crate) max_mtu: u32,
    /// The most segments that a frame may have to be cut into.
    pub(crate) max_segments: u16,
}

/// A set of the things that a device can do for the stack, as `ethtool -K` switches them.
#[derive(Clone, Copy)]
pub(crate) struct Offloads(pub(super) u64);

impl Offloads {
    const fn bit(bit: u32) -> Self {
        Self(1 << bit)
    }

    /// Take a frame that is in several pieces.
    pub(crate) const SCATTER: Self = Self::bit(bindings::NETIF_F_SG_BIT);
    /// Put in a checksum, wherever it is.
    pub(crate) const TX_CHECKSUM: Self = Self::bit(bindings::NETIF_F_HW_CSUM_BIT);
    /// Cut TCP data of IPv4 into segments.
    pub(crate) const SEGMENT_IPV4: Self = Self::bit(bindings::NETIF_F_TSO_BIT);
    /// Verify the checksum of TCP and UDP.
    pub(crate) const RX_CHECKSUM: Self = Self::bit(bindings::NETIF_F_RXCSUM_BIT);

    /// Put in VLAN tags, take them out, and drop frames of VLANs that nobody wants. The first two
    /// only go together.
    pub(crate) const VLAN_TX: Self = Self::bit(bindings::NETIF_F_HW_VLAN_CTAG_TX_BIT);
    pub(crate) const VLAN_RX: Self = Self::bit(bindings::NETIF_F_HW_VLAN_CTAG_RX_BIT);
    pub(crate) const VLAN_FILTER: Self = Self::bit(bindings::NETIF_F_HW_VLAN_CTAG_FILTER_BIT);
    /// Leave Ethernet's checksum at the end of received frames.
    pub(crate) const RX_FCS: Self = Self::bit(bindings::NETIF_F_RXFCS_BIT);
    /// Receive frames with errors, too.
    pub(crate) const RX_ALL: Self = Self::bit(bindings::NETIF_F_RXALL_BIT);

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// Which frames an interface is to receive besides those to its own address and to all.
#[derive(Default)]
pub(crate) struct Filter {
    /// Every frame.
    pub(crate) promiscuous: bool,
    /// Every multicast frame.
    pub(crate) all_multicast: bool,
    /// Those to these addresses.
    pub(crate) unicast: KVec<[u8; 6]>,
    pub(crate) multicast: KVec<[u8; 6]>,
}

/// What a link is like.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) up: bool,
    pub(crate) mbits: u32,
    pub(crate) full_duplex: bool,
}

/// `NETIF_MSG_LINK`
const MESSAGE_LINK: u32 = 1 << 2;
/// What is told unless `ethtool` says otherwise: that of `NETIF_MSG_DRV`, `_PROBE` and `_LINK`.
const MESSAGES: u32 = 0b11 | MESSAGE_LINK;

/// The name of an interface, as it was when somebody asked for it.
pub(crate) struct Name([u8; NAME_LEN]);

/// So long is a name at most, with the zero at its end.
const NAME_LEN: usize = bindings::IFNAMSIZ as usize;

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match CStr::from_bytes_until_nul(&self.0) {
            Ok(name) => fmt::Display::fmt(name, f),
            // There is an end: see `Interface::name`.
            Err(_) => Ok(()),
        }
    }
}

/// A network interface, a `struct net_device`.
///
/// Clones are handles of the same interface. They do not keep it registered: on an interface that
/// is gone, all methods are without effect.
#[derive(Clone)]
pub(crate) struct Interface(Arc<Inner>);

/// # Invariants
///
/// `dev` came from `coop_net_alloc`, and is not registered when this object is dropped.
struct Inner {
    dev: NonNull<bindings::net_device>,
    parent: ARef<Device>,
    stats: Stats,
    /// What the driver is to tell in the kernel log: `NETIF_MSG_*`.
    messages: Atomic<u32>,
}

// SAFETY: A `net_device` belongs to no thread; each function that is called on it here takes care
// of its own exclusion.
unsafe impl Send for Inner {}
// SAFETY: As above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant; nobody has a handle any more.
        unsafe { ffi::coop_net_free(self.dev.as_ptr()) };
    }
}

impl Interface {
    /// Makes an interface of the device `parent`; it is not there for anybody until it is
    /// [registered](Registration::new).
    pub(crate) fn new(parent: &Device<Bound>, traits: &Traits) -> Result<Self> {
        let traits = ffi::Traits {
            features: traits.offloads.0,
            hw_features: traits.switchable.0,
            max_mtu: traits.max_mtu,
            max_segments: traits.max_segments,
        };
        // SAFETY: `parent` is a valid device; the interface holds a reference to it when it is
        // registered.
        let dev = unsafe { ffi::coop_net_alloc(raw_device(parent), &traits) };
        let dev = NonNull::new(dev).ok_or(ENOMEM)?;
        let inner = Arc::new(
            // INVARIANT: `dev` was just allocated.
            Inner {
                dev,
                parent: parent.into(),
                stats: Stats::new(),
                messages: Atomic::new(MESSAGES),
            },
            GFP_KERNEL,
        );
        Ok(Self(inner?))
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::net_device {
        self.0.dev.as_ptr()
    }

    /// The device that it is an interface of.
    #[inline]
    pub(super) fn parent(&self) -> &Device {
        &self.0.parent
    }

    /// Where its name is, which anybody may change at any time.
    pub(super) fn name_ptr(&self) -> *const c_char {
        // SAFETY: `dev` is valid.
        unsafe { ffi::coop_net_name(self.as_ptr()) }
    }

    /// The name, for messages: `eth0`. A rename in this very moment may mix both names.
    pub(crate) fn name(&self) -> Name {
        let mut name = [0; NAME_LEN];
        // SAFETY: `dev` is valid; there is room for a name, of which the end is written, too.
        unsafe { ffi::coop_net_copy_name(self.as_ptr(), name.as_mut_ptr()) };
        Name(name)
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.0.stats
    }

    pub(super) fn message_level(&self) -> u32 {
        self.0.messages.load(Relaxed)
    }

    pub(super) fn set_message_level(&self, level: u32) {
        self.0.messages.store(level, Relaxed);
    }

    /// Whether the state of the link is to be told in the kernel log: `ethtool -s .. msglvl link`.
    pub(crate) fn tells_link(&self) -> bool {
        self.message_level() & MESSAGE_LINK != 0
    }

    /// What the stack was told last by [`set_link`](Self::set_link). Any context.
    pub(crate) fn link(&self) -> Link {
        let mut link = Link::default();
        let Link {
            mbits, full_duplex, ..
        } = &mut link;
        // SAFETY: `dev` is valid; both are written.
        link.up = unsafe { ffi::coop_net_link(self.as_ptr(), mbits, full_duplex) };
        link
    }

    /// Tells the stack what the link is like. Any context but hard IRQ.
    pub(crate) fn set_link(&self, link: Link) {
        // SAFETY: `dev` is valid; the function leaves an unregistered interface alone.
        unsafe { ffi::coop_net_set_carrier(self.as_ptr(), link.up, link.mbits, link.full_duplex) };
    }

    /// The same, if that is news; and tells the kernel log, unless `ethtool` has silenced that.
    pub(crate) fn change_link(&self, link: Link) {
        let before = self.link();
        if link == before || !(link.up || before.up) {
            return;
        }
        self.set_link(link);
        if !self.tells_link() {
            return;
        }
        if link.up {
            let duplex = if link.full_duplex { "full" } else { "half" };
            pr_info!(
                "{}: link is up, {} Mbit/s, {duplex} duplex\n",
                self.name(),
                link.mbits
            );
        } else {
            pr_info!("{}: link is down\n", self.name());
        }
    }

    /// Keeps the stack from sending; under the same exclusion as
    /// [`wake_queue`](Self::wake_queue).
    pub(crate) fn stop_queue(&self) {
        // SAFETY: `dev` is valid.
        unsafe { ffi::coop_net_stop_queue(self.as_ptr()) };
    }

    /// Lets the stack send again.
    pub(crate) fn wake_queue(&self) {
        // SAFETY: `dev` is valid; on a closed interface the queue belongs to the no-op discipline.
        unsafe { ffi::coop_net_wake_queue(self.as_ptr()) };
    }

    /// Has [`Operations::poll`] called soon; if it runs already, once more. Any context.
    pub(crate) fn schedule_poll(&self) {
        // SAFETY: `dev` is valid. While the interface is down nothing happens.
        unsafe { ffi::coop_net_schedule_poll(self.as_ptr()) };
    }

    /// A frame of `bytes` was put into the ring (byte queue limits). Whether to tell the device so
    /// now; with `more` that may wait. Under the same exclusion as [`completed`](Self::completed)
    /// and [`reset_queue`](Self::reset_queue): that of the domain.
    pub(crate) fn sent(&self, bytes: u32, more: bool) -> bool {
        // SAFETY: `dev` is valid.
        unsafe { ffi::coop_net_sent(self.as_ptr(), bytes, more) }
    }

    /// The device is done with these. Counts them, too.
    pub(crate) fn completed(&self, sent: &Sent) {
        let stats = self.stats();
        stats.sent(sent.packets, sent.bytes);
        stats.tx_cut_frames.add(sent.cut_frames.into());
        stats.tx_cut_packets.add(sent.cut_packets.into());
        // SAFETY: `dev` is valid.
        unsafe { ffi::coop_net_completed(self.as_ptr(), sent.frames, sent.frame_bytes) };
    }

    /// All frames in the ring are given up.
    pub(crate) fn reset_queue(&self) {
        // SAFETY: `dev` is valid.
        unsafe { ffi::coop_net_reset_queue(self.as_ptr()) };
    }
}
