// SPDX-License-Identifier: GPL-2.0

//! From `struct ethtool_ops` to [`Ethtool`].

use core::{marker::PhantomData, mem::zeroed, slice};

use kernel::{
    bindings::{self, net_device},
    device::{Bound, Device},
    error::from_result,
    ffi::{c_int, c_void},
    prelude::*,
    str::CStr,
};

use super::{ffi, interface::Operations, registration::State};
use crate::net::ethtool::{Ethtool, LinkMode, Modes, Pause, Rings};

/// An error, with a sentence for the user of `ethtool`.
pub(crate) struct Refusal(pub(crate) Error, pub(crate) &'static CStr);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(error, c"")
    }
}

/// The table of functions for a driver.
pub(super) struct Table<T>(PhantomData<T>);

/// `Some($f)` if the driver has `$has`.
macro_rules! if_has {
    ($has:ident, $f:ident) => {
        if T::$has {
            Some(Self::$f)
        } else {
            None
        }
    };
}

// As for all functions here: `dev` is registered with a `State<T>`, which lives as long as it is;
// what the other pointers lead to is valid, and nobody else's meanwhile; and `rtnl` is held.
#[allow(clippy::missing_safety_doc)]
impl<T: Operations + Ethtool> Table<T> {
    pub(super) const OPS: bindings::ethtool_ops = bindings::ethtool_ops {
        supported_coalesce_params: if T::HAS_SET_COALESCE {
            ffi::ETHTOOL_COALESCE_RX_USECS
        } else {
            0
        },
        get_link: Some(bindings::ethtool_op_get_link),
        get_ts_info: Some(bindings::ethtool_op_get_ts_info),
        get_msglevel: Some(Self::get_msglevel),
        set_msglevel: Some(Self::set_msglevel),
        get_link_ksettings: if_has!(HAS_LINK_MODES, get_link_ksettings),
        set_link_ksettings: if_has!(HAS_SET_LINK_MODE, set_link_ksettings),
        nway_reset: if_has!(HAS_RENEGOTIATE, nway_reset),
        get_sset_count: Some(Self::get_sset_count),
        get_strings: Some(Self::get_strings),
        get_ethtool_stats: if_has!(HAS_STATISTICS, get_ethtool_stats),
        get_ringparam: if_has!(HAS_RINGS, get_ringparam),
        set_ringparam: if_has!(HAS_SET_RINGS, set_ringparam),
        get_coalesce: if_has!(HAS_COALESCE, get_coalesce),
        set_coalesce: if_has!(HAS_SET_COALESCE, set_coalesce),
        get_pauseparam: if_has!(HAS_PAUSE, get_pauseparam),
        set_pauseparam: if_has!(HAS_SET_PAUSE, set_pauseparam),
        get_pause_stats: if_has!(HAS_PAUSE_FRAMES, get_pause_stats),
        get_channels: Some(Self::get_channels),
        set_channels: Some(Self::set_channels),
        get_regs_len: if_has!(HAS_REGISTERS, get_regs_len),
        get_regs: if_has!(HAS_REGISTERS, get_regs),
        get_eeprom_len: if_has!(HAS_EEPROM, get_eeprom_len),
        get_eeprom: if_has!(HAS_EEPROM, get_eeprom),
        reset: if_has!(HAS_RESET, reset),
        self_test: if_has!(HAS_TEST, self_test),
        set_phys_id: if_has!(HAS_IDENTIFY, set_phys_id),
        // SAFETY: It has numbers and functions only, which may all be none.
        ..unsafe { zeroed() }
    };

    unsafe fn state<'a>(dev: *mut net_device) -> &'a State<T> {
        // SAFETY: By the caller's promise.
        unsafe { &*ffi::coop_net_driver(dev).cast() }
    }

    unsafe fn driver<'a>(dev: *mut net_device) -> &'a T {
        // SAFETY: By the caller's promise.
        unsafe { &Self::state(dev).operations }
    }

    unsafe extern "C" fn get_msglevel(dev: *mut net_device) -> u32 {
        // SAFETY: By the caller's promise.
        unsafe { Self::state(dev).interface.message_level() }
    }

    unsafe extern "C" fn set_msglevel(dev: *mut net_device, level: u32) {
        // SAFETY: By the caller's promise.
        unsafe { Self::state(dev).interface.set_message_level(level) }
    }

    unsafe extern "C" fn get_link_ksettings(
        dev: *mut net_device,
        to: *mut bindings::ethtool_link_ksettings,
    ) -> c_int {
        // SAFETY: By the caller's promise.
        let (state, to) = unsafe { (Self::state(dev), &mut *to) };
        from_result(|| {
            let modes = state.operations.link_modes()?;
            let link = state.interface.link();
            let mut advertised = modes.supported.0 & Modes::TWISTED_PAIR.0;
            let mut negotiated = bindings::AUTONEG_DISABLE;
            let mut speed = (link.up, link.mbits, link.full_duplex);
            match modes.mode {
                LinkMode::Negotiate(modes) => {
                    advertised |= modes.0 | Modes::NEGOTIATION.0;
                    negotiated = bindings::AUTONEG_ENABLE;
                }
                // What was asked for, though there is no link.
                LinkMode::Force { mbits, full_duplex } => speed = (true, mbits, full_duplex),
            }
            let (speed, duplex) = match speed {
                (false, ..) => (bindings::SPEED_UNKNOWN as u32, bindings::DUPLEX_UNKNOWN),
                (true, mbits, full_duplex) => (mbits, full_duplex.into()),
            };
            to.base.speed = speed;
            to.base.duplex = duplex as u8;
            to.base.port = bindings::PORT_TP as u8;
            to.base.autoneg = negotiated as u8;
            to.base.eth_tp_mdix_ctrl = bindings::ETH_TP_MDI_AUTO as u8;
            // SAFETY: These are bitmaps of that kind.
            unsafe {
                bindings::ethtool_convert_legacy_u32_to_link_mode(
                    to.link_modes.supported.as_mut_ptr(),
                    modes.supported.0,
                );
                bindings::ethtool_convert_legacy_u32_to_link_mode(
                    to.link_modes.advertising.as_mut_ptr(),
                    advertised,
                );
            }
            Ok(0)
        })
    }

    unsafe extern "C" fn set_link_ksettings(
        dev: *mut net_device,
        from: *const bindings::ethtool_link_ksettings,
    ) -> c_int {
        // SAFETY: By the caller's promise.
        let (driver, from) = unsafe { (Self::driver(dev), &*from) };
        from_result(|| {
            // Which wires are crossed is not asked for, or the device is to find out.
            if !matches!(
                from.base.eth_tp_mdix_ctrl.into(),
                bindings::ETH_TP_MDI_INVALID | bindings::ETH_TP_MDI_AUTO
            ) {
                return Err(EOPNOTSUPP);
            }
            let mode = if u32::from(from.base.autoneg) == bindings::AUTONEG_ENABLE {
                let mut modes = 0;
                // SAFETY: This is a bitmap of that kind.
                unsafe {
                    bindings::ethtool_convert_link_mode_to_legacy_u32(
                        &mut modes,
                        from.link_modes.advertising.as_ptr(),
                    )
                };
                LinkMode::Negotiate(Modes(modes))
            } else {
                LinkMode::Force {
                    mbits: from.base.speed,
                    full_duplex: u32::from(from.base.duplex) == bindings::DUPLEX_FULL,
                }
            };
            driver.set_link_mode(mode).map(|()| 0)
        })
    }

    unsafe extern "C" fn nway_reset(dev: *mut net_device) -> c_int {
        // SAFETY: By the caller's promise.
        from_result(|| unsafe { Self::driver(dev) }.renegotiate().map(|()| 0))
    }

    fn names(set: u32) -> &'static [&'static str] {
        match set {
            bindings::ethtool_stringset_ETH_SS_STATS => T::STATISTICS,
            bindings::ethtool_stringset_ETH_SS_TEST => T::TESTS,
            _ => &[],
        }
    }

    unsafe extern "C" fn get_sset_count(_dev: *mut net_device, set: c_int) -> c_int {
        match Self::names(set as u32).len() {
            0 => EOPNOTSUPP.to_errno(),
            len => len as c_int,
        }
    }

    unsafe extern "C" fn get_strings(_dev: *mut net_device, set: u32, to: *mut u8) {
        const LEN: usize = bindings::ETH_GSTRING_LEN as usize;
        let names = Self::names(set);
        // SAFETY: There is room for as many names as `get_sset_count` said, zeroed.
        let to = unsafe { slice::from_raw_parts_mut(to, names.len().saturating_mul(LEN)) };
        for (to, name) in to.chunks_exact_mut(LEN).zip(names) {
            for (to, byte) in to.iter_mut().take(LEN.wrapping_sub(1)).zip(name.bytes()) {
                *to = byte;
            }
        }
    }

    unsafe extern "C" fn get_ethtool_stats(
        dev: *mut net_device,
        _stats: *mut bindings::ethtool_stats,
        to: *mut u64,
    ) {
        // SAFETY: By the caller's promise; there is room for as many as `get_sset_count` said.
        let (driver, to) = unsafe {
            let to = slice::from_raw_parts_mut(to, T::STATISTICS.len());
            (Self::driver(dev), to)
        };
        to.fill(0);
        // There is no way to fail.
        let _ = driver.statistics(to);
    }

    unsafe extern "C" fn get_ringparam(
        dev: *mut net_device,
        to: *mut bindings::ethtool_ringparam,
        _more: *mut bindings::kernel_ethtool_ringparam,
        _ack: *mut bindings::netlink_ext_ack,
    ) {
        // SAFETY: By the caller's promise.
        let (driver, to) = unsafe { (Self::driver(dev), &mut *to) };
        to.rx_max_pending = T::MAX_RINGS.rx as u32;
        to.tx_max_pending = T::MAX_RINGS.tx as u32;
        if let Ok(rings) = driver.rings() {
            to.rx_pending = rings.rx as u32;
            to.tx_pending = rings.tx as u32;
        }
    }

    unsafe extern "C" fn set_ringparam(
        dev: *mut net_device,
        from: *mut bindings::ethtool_ringparam,
        _more: *mut bindings::kernel_ethtool_ringparam,
        _ack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: By the caller's promise; as long as the interface is registered, the driver is
        // bound to its device, which is its parent.
        let (driver, parent, from) = unsafe {
            let parent: &Device<Bound> = Device::from_raw(ffi::coop_net_parent(dev));
            (Self::driver(dev), parent, &*from)
        };
        // `ethtool` itself has seen to the greatest numbers.
        let rings = Rings {
            rx: from.rx_pending as usize,
            tx: from.tx_pending as usize,
        };
        from_result(|| driver.set_rings(parent, rings).map(|()| 0))
    }

    unsafe extern "C" fn get_coalesce(
        dev: *mut net_device,
        to: *mut bindings::ethtool_coalesce,
        _more: *mut bindings::kernel_ethtool_coalesce,
        _ack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: By the caller's promise.
        let (driver, to) = unsafe { (Self::driver(dev), &mut *to) };
        from_result(|| {
            to.rx_coalesce_usecs = driver.coalesce()?;
            Ok(0)
        })
    }

    unsafe extern "C" fn set_coalesce(
        dev: *mut net_device,
        from: *mut bindings::ethtool_coalesce,
        _more: *mut bindings::kernel_ethtool_coalesce,
        ack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: By the caller's promise.
        let (driver, from) = unsafe { (Self::driver(dev), &*from) };
        match driver.set_coalesce(from.rx_coalesce_usecs) {
            Ok(()) => 0,
            Err(Refusal(error, text)) => {
                // SAFETY: By the caller's promise, unless it is null.
                if let Some(ack) = unsafe { ack.as_mut() } {
                    ack._msg = text.as_char_ptr();
                }
                error.to_errno()
            }
        }
    }

    unsafe extern "C" fn get_pauseparam(
        dev: *mut net_device,
        to: *mut bindings::ethtool_pauseparam,
    ) {
        // SAFETY: By the caller's promise.
        let (driver, to) = unsafe { (Self::driver(dev), &mut *to) };
        if let Ok(pause) = driver.pause() {
            to.autoneg = pause.negotiated.into();
            to.rx_pause = pause.rx.into();
            to.tx_pause = pause.tx.into();
        }
    }

    unsafe extern "C" fn set_pauseparam(
        dev: *mut net_device,
        from: *mut bindings::ethtool_pauseparam,
    ) -> c_int {
        // SAFETY: By the caller's promise.
        let (driver, from) = unsafe { (Self::driver(dev), &*from) };
        let pause = Pause {
            negotiated: from.autoneg != 0,
            rx: from.rx_pause != 0,
            tx: from.tx_pause != 0,
        };
        from_result(|| driver.set_pause(pause).map(|()| 0))
    }

    unsafe extern "C" fn get_pause_stats(
        dev: *mut net_device,
        to: *mut bindings::ethtool_pause_stats,
    ) {
        // SAFETY: By the caller's promise.
        let (driver, to) = unsafe { (Self::driver(dev), &mut *to) };
        if let Ok([received, sent]) = driver.pause_frames() {
            to.__bindgen_anon_1.stats.rx_pause_frames = received;
            to.__bindgen_anon_1.stats.tx_pause_frames = sent;
        }
    }

    /// There is one queue each way, and one poll for both.
    unsafe extern "C" fn get_channels(_dev: *mut net_device, to: *mut bindings::ethtool_channels) {
        // SAFETY: By the caller's promise.
        let to = unsafe { &mut *to };
        to.max_combined = 1;
        to.combined_count = 1;
    }

    /// `ethtool` itself refuses all other numbers, and asks for none that are so already.
    unsafe extern "C" fn set_channels(
        _dev: *mut net_device,
        _from: *mut bindings::ethtool_channels,
    ) -> c_int {
        EINVAL.to_errno()
    }

    unsafe extern "C" fn get_regs_len(_dev: *mut net_device) -> c_int {
        (T::REGISTERS * size_of::<u32>()) as c_int
    }

    unsafe extern "C" fn get_regs(
        dev: *mut net_device,
        regs: *mut bindings::ethtool_regs,
        to: *mut c_void,
    ) {
        // SAFETY: By the caller's promise; there is room for what `get_regs_len` said, from
        // `vzalloc`.
        let (driver, regs, to) = unsafe {
            let to = slice::from_raw_parts_mut(to.cast(), T::REGISTERS);
            (Self::driver(dev), &mut *regs, to)
        };
        regs.version = driver.registers(to).unwrap_or(0);
    }

    unsafe extern "C" fn get_eeprom_len(_dev: *mut net_device) -> c_int {
        (T::EEPROM.0 * size_of::<u16>()) as c_int
    }

    unsafe extern "C" fn get_eeprom(
        dev: *mut net_device,
        eeprom: *mut bindings::ethtool_eeprom,
        to: *mut u8,
    ) -> c_int {
        // SAFETY: By the caller's promise; there is room for `len` bytes.
        let (driver, eeprom, to) = unsafe {
            let to = slice::from_raw_parts_mut(to, (*eeprom).len as usize);
            (Self::driver(dev), &mut *eeprom, to)
        };
        eeprom.magic = T::EEPROM.1;
        from_result(|| {
            for (to, at) in to.iter_mut().zip(eeprom.offset as usize..) {
                let [low, high] = driver.eeprom(at / 2)?.to_le_bytes();
                *to = if at % 2 == 0 { low } else { high };
            }
            Ok(0)
        })
    }

    unsafe extern "C" fn reset(dev: *mut net_device, flags: *mut u32) -> c_int {
        const WHOLE: u32 = bindings::ethtool_reset_flags_ETH_RESET_IRQ
            | bindings::ethtool_reset_flags_ETH_RESET_DMA
            | bindings::ethtool_reset_flags_ETH_RESET_FILTER
            | bindings::ethtool_reset_flags_ETH_RESET_OFFLOAD
            | bindings::ethtool_reset_flags_ETH_RESET_MAC;
        // SAFETY: By the caller's promise.
        let (driver, flags) = unsafe { (Self::driver(dev), &mut *flags) };
        from_result(|| {
            // There is no way to reset just a part.
            if *flags & WHOLE != WHOLE {
                return Err(EOPNOTSUPP);
            }
            driver.reset()?;
            // What stays has not been reset.
            *flags &= !WHOLE;
            Ok(0)
        })
    }

    unsafe extern "C" fn self_test(
        dev: *mut net_device,
        test: *mut bindings::ethtool_test,
        to: *mut u64,
    ) {
        const OFFLINE: u32 = bindings::ethtool_test_flags_ETH_TEST_FL_OFFLINE;
        const FAILED: u32 = bindings::ethtool_test_flags_ETH_TEST_FL_FAILED;
        // SAFETY: By the caller's promise; there is room for as many as `get_sset_count` said.
        let (state, test, to) = unsafe {
            let to = slice::from_raw_parts_mut(to, T::TESTS.len());
            (Self::state(dev), &mut *test, to)
        };
        to.fill(0);
        let offline = test.flags & OFFLINE != 0;
        // SAFETY: By the caller's promise `rtnl` is held.
        let result = unsafe { state.with_interrupt(|driver| driver.test(offline, to)) };
        if result.is_err() || to.iter().any(|&n| n != 0) {
            test.flags |= FAILED;
        }
    }

    unsafe extern "C" fn set_phys_id(
        dev: *mut net_device,
        state: bindings::ethtool_phys_id_state,
    ) -> c_int {
        // SAFETY: By the caller's promise.
        let driver = unsafe { Self::driver(dev) };
        let light = match state {
            // So many times on and off a second, by `ethtool`.
            bindings::ethtool_phys_id_state_ETHTOOL_ID_ACTIVE => return 2,
            bindings::ethtool_phys_id_state_ETHTOOL_ID_ON => Some(true),
            bindings::ethtool_phys_id_state_ETHTOOL_ID_OFF => Some(false),
            _ => None,
        };
        from_result(|| driver.identify(light).map(|()| 0))
    }
}
