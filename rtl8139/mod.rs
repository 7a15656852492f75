// SPDX-License-Identifier: GPL-2.0

//! Driver of the RTL8139, the NIC that QEMU emulates with `-device rtl8139`.
//!
//! Read it in this order:
//!
//! | file | has |
//! | --- | --- |
//! | [`device`] | what a device consists of, its interrupt, its coroutine, and what the stack calls |
//! | [`frames`] | receiving and sending, inside the domain and at once |
//! | [`hw`], [`regs`] | what the device can be told to do, and its registers |
//!
//! This file makes all of that for a device that is plugged in, and unmakes it.

mod device;
mod frames;
mod hw;
mod regs;

use coop_domain::prelude::*;
use kernel::{device::Core, dma::DmaMask, pci, prelude::*, sync::Arc};

use self::{
    device::{Frontend, Nic, State},
    frames::{RxRing, TxSlots},
    hw::Hw,
};
use crate::net::{self, Offloads};

/// As frames are copied, they may be in pieces, and are summed up at the same time.
const OFFLOADS: Offloads = Offloads::SCATTER.and(Offloads::TX_CHECKSUM);

kernel::pci_device_table!(
    PCI_TABLE,
    (),
    [(pci::DeviceId::from_id(pci::Vendor::REALTEK, 0x8139), ())]
);

pub(crate) struct Driver;

impl net::Driver for Driver {
    type Frontend = Frontend;
    const ID_TABLE: pci::IdTable<()> = &PCI_TABLE;
    const TRAITS: net::Traits = net::Traits {
        offloads: OFFLOADS,
        switchable: OFFLOADS,
        max_mtu: 1500,
        max_segments: u16::MAX,
    };
    const DOMAIN: &'static str = "rtl8139";

    fn probe(pdev: &pci::Device<Core<'_>>) -> Result<net::Nic<Self>> {
        net::enable(pdev, DmaMask::new::<32>())?;
        let hw = Hw::map(pdev)?;
        hw.reset()?;
        let address = hw.address();

        let new = net::NewNic::<Self>::new(pdev)?;
        let state = State {
            up: false,
            address,
            filter: net::Filter::default(),
            rx: RxRing::new(pdev.as_ref(), new.interface())?,
            tx: TxSlots::new(pdev.as_ref(), new.interface())?,
        };
        let nic = Arc::new(
            Nic {
                hw,
                interface: new.interface(),
                state: new.cell(state),
                link_changed: Arc::new(Signal::new(), GFP_KERNEL)?,
                hung: Signal::new(),
            },
            GFP_KERNEL,
        )?;
        let (requests, requests_here) = new.requests()?;
        new.spawn(c"control", device::control(nic.clone(), requests_here))?;

        let (signal, here) = (nic.link_changed.clone(), nic.clone());
        let frontend = Frontend { requests, nic };
        new.register(pdev, &address, signal, move || here.interrupt(), frontend)
    }
}
