// SPDX-License-Identifier: GPL-2.0

//! A driver's interface is registered: the callbacks of the network stack, as calls of
//! [`Operations`].
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use core::{cell::UnsafeCell, ptr::NonNull};

use kernel::{
    bindings,
    error::{from_result, to_result},
    ffi::{c_int, c_uint, c_void},
    prelude::*,
    sync::Arc,
};

use super::{
    ethtool::Table,
    ffi,
    interface::{Filter, Interface, Offloads, Operations},
    interrupt::{Interrupt, Line},
    poll::{BhOff, Poll},
    skb::Skb,
};
use crate::net::Ethtool;

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
    interrupt: Arc<Interrupt>,
    /// The interrupt while the interface is up; for those who hold `rtnl`.
    line: UnsafeCell<Option<Line>>,
    /// Of the poll.
    frames: UnsafeCell<KVec<Skb>>,
}

impl<T: Operations + Ethtool> State<T> {
    /// Has the driver begin, with the interrupt; or not, and without it.
    ///
    /// # Safety
    ///
    /// `rtnl` is held.
    unsafe fn begin(&self, begin: impl FnOnce(&T) -> Result) -> c_int {
        // SAFETY: By the caller's promise nobody else looks at it meanwhile.
        let line = unsafe { &mut *self.line.get() };
        from_result(|| {
            *line = Some(self.interrupt.request(&self.interface)?);
            begin(&self.operations).inspect_err(|_| *line = None)?;
            Ok(0)
        })
    }

    /// Runs `f` with the interrupt, whether or not the interface is up.
    ///
    /// # Safety
    ///
    /// `rtnl` is held.
    pub(super) unsafe fn with_interrupt<R>(&self, f: impl FnOnce(&T) -> Result<R>) -> Result<R> {
        // SAFETY: By the caller's promise nobody changes it meanwhile.
        let line = unsafe { &*self.line.get() };
        let _line = match line {
            Some(_) => None,
            None => Some(self.interrupt.request(&self.interface)?),
        };
        f(&self.operations)
    }
}

// SAFETY: Owns handles and a box; all may be moved to another thread with `T`.
unsafe impl<T: Operations + Ethtool> Send for Registration<T> {}
// SAFETY: No method takes `&self`.
unsafe impl<T: Operations + Ethtool> Sync for Registration<T> {}

impl<T: Operations + Ethtool> Registration<T> {
    /// Registers `interface` with its hardware address; one that is not valid is replaced by a
    /// random one. The interrupt is requested when the interface goes up.
    pub(crate) fn new(
        interface: Interface,
        address: &[u8; 6],
        interrupt: Arc<Interrupt>,
        operations: T,
    ) -> Result<Self> {
        let irq = interrupt.number();
        let state = KBox::new(
            State {
                interface: interface.clone(),
                operations,
                interrupt,
                line: UnsafeCell::new(None),
                frames: UnsafeCell::new(Poll::room()?),
            },
            GFP_KERNEL,
        )?;
        let state = NonNull::from(KBox::leak(state));
        // SAFETY: `dev` is valid and not registered; the address has six bytes.
        unsafe {
            ffi::coop_net_set_address(interface.as_ptr(), address.as_ptr());
            ffi::coop_net_set_irq(interface.as_ptr(), irq);
        }
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
    /// As for all callbacks here, `driver` is the state that was registered; as for
    /// [`stop`](Self::stop) and [`resume`](Self::resume), `rtnl` is held.
    unsafe extern "C" fn open(driver: *mut c_void) -> c_int {
        // SAFETY: By the caller's promise.
        unsafe { (*driver.cast::<State<T>>()).begin(T::open) }
    }

    /// # Safety
    ///
    /// See [`Self::open`].
    unsafe extern "C" fn stop(driver: *mut c_void) -> c_int {
        // SAFETY: By the caller's promise.
        let state = unsafe { &*driver.cast::<State<T>>() };
        state.operations.stop();
        // SAFETY: As `rtnl` is held, nobody else looks at it meanwhile.
        unsafe { *state.line.get() = None };
        0
    }

    /// # Safety
    ///
    /// See [`Self::open`].
    unsafe extern "C" fn resume(driver: *mut c_void) -> c_int {
        // SAFETY: By the caller's promise.
        unsafe { (*driver.cast::<State<T>>()).begin(T::resume) }
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
    /// See [`Self::open`]; called as a poll, which never runs twice at once, unless for a netpoll,
    /// with a budget of 0: one that is set up while a poll runs does not wait for that.
    unsafe extern "C" fn poll(driver: *mut c_void, budget: c_int) -> c_int {
        // SAFETY: By the caller's promise.
        let state = unsafe { &*driver.cast::<State<T>>() };
        let mut none = KVec::new();
        let frames = match budget {
            0 => &mut none,
            // SAFETY: By the caller's promise there is no other poll that may take frames.
            _ => unsafe { &mut *state.frames.get() },
        };
        // SAFETY: This is the poll.
        let poll = unsafe { Poll::new(&state.interface, frames, budget) };
        let allowed = poll.budget();
        match state.operations.poll(poll) {
            work if work < allowed => work as c_int,
            // Who asked for more frames than that, too, is to know that the poll is not complete.
            _ => budget,
        }
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
