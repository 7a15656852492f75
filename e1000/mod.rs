// SPDX-License-Identifier: GPL-2.0

//! Driver of the Intel 82540EM, the NIC that QEMU emulates with `-device e1000`.
//!
//! Read it in this order:
//!
//! | file | has |
//! | --- | --- |
//! | [`device`] | what a device consists of, its interrupt, and what the network stack calls |
//! | [`control`] | the coroutines that open, change and close it, and watch over it |
//! | [`link`] | the link, its negotiation and flow control |
//! | [`rx`], [`tx`] | receiving and sending, inside the domain and at once |
//! | [`descriptors`] | how frames are told to the device, and by it |
//! | [`ethtool`], [`counters`], [`test`] | what `ethtool` asks for |
//! | [`hw`], [`regs`] | what the device can be told to do, and its registers |
//!
//! What it offers, and what of it the emulated device lacks: `docs/e1000.md`.
//!
//! This file makes all of that for a device that is plugged in, and unmakes it.

mod control;
mod counters;
mod descriptors;
mod device;
mod ethtool;
mod hw;
mod link;
mod regs;
mod rx;
mod test;
mod tx;

use coop_domain::prelude::*;
use kernel::{device::Core, dma::DmaMask, pci, prelude::*, sync::Arc};

use self::{
    counters::Counters,
    device::{Frontend, Nic, State},
    hw::{Hw, Settings},
    rx::RxRing,
    tx::TxRing,
};
use crate::net::{self, Offloads};

/// Descriptors per ring, unless `ethtool -G` says otherwise.
const RING_LEN: usize = 256;

/// What is on unless it is switched off.
const USUAL: Offloads = Offloads::SCATTER
    .and(Offloads::TX_CHECKSUM)
    .and(Offloads::SEGMENT_IPV4)
    .and(Offloads::RX_CHECKSUM)
    .and(Offloads::VLAN_RX);

/// What the device can do. It has a way to cut up TCP over IPv6, too, which nobody vouches for.
const TRAITS: net::Traits = net::Traits {
    offloads: USUAL.and(Offloads::VLAN_TX).and(Offloads::VLAN_FILTER),
    switchable: USUAL.and(Offloads::RX_FCS).and(Offloads::RX_ALL),
    // Frames of 16 128 bytes with header and checksum.
    max_mtu: 16_110,
    max_segments: tx::MAX_SEGMENTS,
};

kernel::pci_device_table!(
    PCI_TABLE,
    (),
    [(pci::DeviceId::from_id(pci::Vendor::INTEL, 0x100e), ())]
);

pub(crate) struct Driver;

impl net::Driver for Driver {
    type Frontend = Frontend;
    const ID_TABLE: pci::IdTable<()> = &PCI_TABLE;
    const TRAITS: net::Traits = TRAITS;
    const DOMAIN: &'static str = "e1000";

    fn probe(pdev: &pci::Device<Core<'_>>) -> Result<net::Nic<Self>> {
        // On the PCI bus this chip knows 32 bits of an address only.
        net::enable(pdev, DmaMask::new::<32>())?;
        let hw = Hw::map(pdev)?;
        hw.reset();
        let address = hw.read_address()?;

        let new = net::NewNic::<Self>::new(pdev)?;
        let pause = net::Pause {
            negotiated: true,
            rx: true,
            tx: true,
        };
        let state = State {
            open: false,
            up: false,
            link: net::Link::default(),
            pause,
            negotiated: false,
            settings: Settings {
                address,
                mtu: 1500,
                link: net::LinkMode::Negotiate(link::MODES),
                pause,
                offloads: TRAITS.offloads,
            },
            filter: net::Filter::default(),
            vlans: [0; 128],
            throttle: net::Throttle::new(),
            counters: Counters::new(),
            hangs: 0,
            waits: 0,
            idle_interrupts: 0,
            rx: RxRing::new(pdev.as_ref(), new.interface(), RING_LEN)?,
            tx: TxRing::new(pdev.as_ref(), RING_LEN)?,
        };
        let nic = Arc::new(
            Nic {
                hw,
                interface: new.interface(),
                state: new.cell(state),
                attention: Arc::new(Signal::new(), GFP_KERNEL)?,
                hung: Signal::new(),
                started: Signal::new(),
            },
            GFP_KERNEL,
        )?;

        let (requests, requests_here) = new.requests()?;
        new.spawn(c"control", control::control(nic.clone(), requests_here))?;
        new.spawn(c"recover", control::recover(nic.clone(), requests.clone()))?;
        new.spawn(c"watch", control::watch(nic.clone(), requests.clone()))?;
        new.spawn(c"tick", control::tick(nic.clone()))?;

        let (attention, here) = (nic.attention.clone(), nic.clone());
        let frontend = Frontend { requests, nic };
        new.register(
            pdev,
            &address,
            attention,
            move || here.interrupt(),
            frontend,
        )
    }
}
