// SPDX-License-Identifier: GPL-2.0

//! Network interfaces.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use core::{cell::UnsafeCell, ptr::NonNull};

use kernel::{
    bindings,
    device::{Bound, Device},
    error::{from_result, to_result},
    ffi::{c_int, c_uint, c_void},
    prelude::*,
    str::CStr,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

use super::{
    ethtool::Table,
    ffi,
    poll::{BhOff, Poll},
    raw_device,
    skb::Skb,
};
use crate::net::{Ethtool, Sent, Stats};

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
pub(crate) struct Offloads(u64);

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

    /// Before it is registered: the interrupt that leads to its polls, for users to see.
    pub(super) fn set_irq(&self, irq: c_int) {
        // SAFETY: `dev` is valid.
        unsafe { ffi::coop_net_set_irq(self.as_ptr(), irq) };
    }

    /// The name, for messages: `eth0`.
    pub(crate) fn name(&self) -> &CStr {
        // SAFETY: `dev` is valid, its name is part of it, and always ends with a zero. A rename in
        // this very moment may mix both names.
        unsafe { CStr::from_char_ptr(ffi::coop_net_name(self.as_ptr())) }
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

/// An interface is registered, and its driver called, while this object lives.
///
/// # Invariants
///
/// The interface is registered with the callbacks of `T`, and a [`State<T>`] that this object owns.
pub(crate) struct Registration<T: Operations + Ethtool> {
    interface: Interface,
    state: NonNull<State<T>>,
}

/// What the callbacks need.
pub(super) struct State<T> {
    pub(super) interface: Interface,
    pub(super) operations: T,
    /// Of the poll.
    frames: UnsafeCell<KVec<Skb>>,
}

// SAFETY: Owns an interface and a box; both may be moved to another thread with `T`.
unsafe impl<T: Operations + Ethtool> Send for Registration<T> {}
// SAFETY: No method takes `&self`.
unsafe impl<T: Operations + Ethtool> Sync for Registration<T> {}

impl<T: Operations + Ethtool> Registration<T> {
    /// Registers `interface` with its hardware address; one that is not valid is replaced by a
    /// random one.
    pub(crate) fn new(interface: Interface, address: &[u8; 6], operations: T) -> Result<Self> {
        let state = KBox::new(
            State {
                interface: interface.clone(),
                operations,
                frames: UnsafeCell::new(Poll::room()?),
            },
            GFP_KERNEL,
        )?;
        let state = NonNull::from(KBox::leak(state));
        // SAFETY: `dev` is valid and not registered; the address has six bytes.
        unsafe { ffi::coop_net_set_address(interface.as_ptr(), address.as_ptr()) };
        // INVARIANT: If registering fails, the state is freed right below, and dropped with the
        // registration otherwise.
        // SAFETY: `dev` is valid. The callbacks are those of `T`; the state and the counters, which
        // are the interface's own, live until after `coop_net_unregister`.
        let result = to_result(unsafe {
            ffi::coop_net_register(
                interface.as_ptr(),
                &Self::CALLBACKS,
                &Table::<T>::OPS,
                state.as_ptr().cast(),
                interface.stats(),
            )
        });
        if let Err(error) = result {
            // SAFETY: It came from `KBox::leak` above, and nobody else has it.
            drop(unsafe { KBox::from_raw(state.as_ptr()) });
            return Err(error);
        }
        Ok(Self { interface, state })
    }

    const CALLBACKS: ffi::Callbacks = ffi::Callbacks {
        open: Self::open,
        stop: Self::stop,
        resume: Self::resume,
        start_xmit: Self::start_xmit,
        poll: Self::poll,
        tx_timeout: Self::tx_timeout,
        set_address: Self::set_address,
        set_mtu: Self::set_mtu,
        set_filter: Self::set_filter,
        set_features: Self::set_features,
        set_vlan: Self::set_vlan,
    };

    /// # Safety
    ///
    /// As for all callbacks here: `driver` is the state that was registered.
    unsafe extern "C" fn open(driver: *mut c_void) -> c_int {
        // SAFETY: By the caller's promise.
        let state = unsafe { &*driver.cast::<State<T>>() };
        from_result(|| state.operations.open().map(|()| 0))
    }

    /// # Safety
    ///
    /// See [`Self::open`].
    unsafe extern "C" fn stop(driver: *mut c_void) -> c_int {
        // SAFETY: By the caller's promise.
        let state = unsafe { &*driver.cast::<State<T>>() };
        state.operations.stop();
        0
    }

    /// # Safety
    ///
    /// See [`Self::open`].
    unsafe extern "C" fn resume(driver: *mut c_void) -> c_int {
        // SAFETY: By the caller's promise.
        let state = unsafe { &*driver.cast::<State<T>>() };
        from_result(|| state.operations.resume().map(|()| 0))
    }

    /// # Safety
    ///
    /// See [`Self::open`]; `skb` is a frame that is handed over, unless it is handed back.
    unsafe extern "C" fn start_xmit(
        driver: *mut c_void,
        skb: *mut bindings::sk_buff,
        more: bool,
    ) -> c_int {
        // SAFETY: By the caller's promise.
        let state = unsafe { &*driver.cast::<State<T>>() };
        let Some(skb) = NonNull::new(skb) else {
            return ffi::NETDEV_TX_OK;
        };
        // SAFETY: By the caller's promise; the stack calls with bottom halves off, and registered
        // interfaces only.
        let (frame, bh) = unsafe { (Skb::from_raw(skb), BhOff::new(&state.interface)) };
        match state.operations.start_xmit(&bh, frame, more) {
            Ok(()) => ffi::NETDEV_TX_OK,
            Err(frame) => {
                frame.into_raw();
                ffi::NETDEV_TX_BUSY
            }
        }
    }

    /// # Safety
    ///
    /// See [`Self::open`]; called as a poll, which never runs twice at once.
    unsafe extern "C" fn poll(driver: *mut c_void, budget: c_int) -> c_int {
        // SAFETY: By the caller's promise. Only polls use `frames`.
        let (state, frames) = unsafe {
            let state = &*driver.cast::<State<T>>();
            (state, &mut *state.frames.get())
        };
        // SAFETY: This is the poll.
        let poll = unsafe { Poll::new(&state.interface, frames, budget) };
        state.operations.poll(poll) as c_int
    }

    /// # Safety
    ///
    /// See [`Self::open`].
    unsafe extern "C" fn tx_timeout(driver: *mut c_void) {
        // SAFETY: By the caller's promise.
        let state = unsafe { &*driver.cast::<State<T>>() };
        state.operations.tx_timeout();
    }

    /// # Safety
    ///
    /// See [`Self::open`]; `address` points to six bytes.
    unsafe extern "C" fn set_address(driver: *mut c_void, address: *const u8) -> c_int {
        // SAFETY: By the caller's promise.
        let (state, address) = unsafe { (&*driver.cast::<State<T>>(), *address.cast()) };
        from_result(|| state.operations.set_address(address).map(|()| 0))
    }

    /// # Safety
    ///
    /// See [`Self::open`].
    unsafe extern "C" fn set_mtu(driver: *mut c_void, mtu: c_uint) -> c_int {
        // SAFETY: By the caller's promise.
        let state = unsafe { &*driver.cast::<State<T>>() };
        from_result(|| state.operations.set_mtu(mtu).map(|()| 0))
    }

    /// # Safety
    ///
    /// See [`Self::open`].
    unsafe extern "C" fn set_features(driver: *mut c_void, features: u64) -> c_int {
        // SAFETY: By the caller's promise.
        let state = unsafe { &*driver.cast::<State<T>>() };
        from_result(|| {
            state
                .operations
                .set_offloads(Offloads(features))
                .map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// See [`Self::open`].
    unsafe extern "C" fn set_vlan(driver: *mut c_void, id: u16, wanted: bool) -> c_int {
        // SAFETY: By the caller's promise.
        let state = unsafe { &*driver.cast::<State<T>>() };
        from_result(|| state.operations.set_vlan(id, wanted).map(|()| 0))
    }

    /// # Safety
    ///
    /// See [`Self::open`]; `filter` is valid, with as many addresses as it says.
    unsafe extern "C" fn set_filter(driver: *mut c_void, filter: *const ffi::Filter) -> c_int {
        // SAFETY: By the caller's promise.
        let (state, filter) = unsafe { (&*driver.cast::<State<T>>(), &*filter) };
        let (unicast, multicast) = (filter.unicast as usize, filter.multicast as usize);
        // SAFETY: By the caller's promise; not null, even if empty.
        let all = unsafe {
            core::slice::from_raw_parts(filter.addresses, unicast.saturating_add(multicast))
        };
        let (one, many) = all.split_at(unicast);
        from_result(|| {
            let mut filter = Filter {
                promiscuous: filter.promiscuous,
                all_multicast: filter.all_multicast,
                unicast: KVec::new(),
                multicast: KVec::new(),
            };
            filter.unicast.extend_from_slice(one, GFP_KERNEL)?;
            filter.multicast.extend_from_slice(many, GFP_KERNEL)?;
            state.operations.set_filter(filter).map(|()| 0)
        })
    }
}

impl<T: Operations + Ethtool> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant. If the interface is up, this calls `stop`, and returns
        // when no callback runs any more.
        unsafe { ffi::coop_net_unregister(self.interface.as_ptr()) };
        // SAFETY: It came from `KBox::leak` in `new`, and no callback can reach it any more.
        drop(unsafe { KBox::from_raw(self.state.as_ptr()) });
    }
}
