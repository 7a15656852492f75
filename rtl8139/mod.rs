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
use kernel::{device::Core, dma::DmaMask, module::this_module, pci, prelude::*, sync::Arc};

use self::{
    device::{Frontend, Nic, State},
    frames::{RxRing, TxSlots},
    hw::Hw,
};
use crate::net::{self, Offloads};

/// As frames are copied, they may be in pieces, and are summed up at the same time.
const OFFLOADS: Offloads = Offloads::SCATTER.and(Offloads::TX_CHECKSUM);

const TRAITS: net::Traits = net::Traits {
    offloads: OFFLOADS,
    switchable: OFFLOADS,
    max_mtu: 1500,
    max_segments: u16::MAX,
};

/// A device that the driver is bound to. What is written first goes first.
pub(crate) struct Rtl8139 {
    /// Closes the device, if it is open, and returns when nobody calls it any more.
    _registration: net::Registration<Frontend>,
    /// Ends the coroutine.
    _domain: Domain,
}

kernel::pci_device_table!(
    PCI_TABLE,
    <Driver as pci::Driver>::IdInfo,
    [(pci::DeviceId::from_id(pci::Vendor::REALTEK, 0x8139), ())]
);

pub(crate) struct Driver;

impl pci::Driver for Driver {
    type IdInfo = ();
    type Data<'bound> = Rtl8139;
    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        Rtl8139::new(pdev)
    }
}

impl Rtl8139 {
    fn new(pdev: &pci::Device<Core<'_>>) -> Result<Self> {
        net::enable(pdev, DmaMask::new::<32>())?;
        let hw = Hw::map(pdev)?;
        hw.reset()?;
        let address = hw.address();

        let name = net::device_name(pdev, "rtl8139")?;
        let domain = Domain::builder(&name, this_module::<crate::DriverModule>())
            .level(Level::Bh)
            .build()?;
        let interface = net::Interface::new(pdev.as_ref(), &TRAITS)?;
        let state = State {
            up: false,
            address,
            filter: net::Filter::default(),
            rx: RxRing::new(pdev.as_ref(), interface.clone())?,
            tx: TxSlots::new(pdev.as_ref(), interface.clone())?,
        };
        let nic = Arc::new(
            Nic {
                hw,
                interface: interface.clone(),
                state: domain.cell(state),
                link_changed: Arc::new(Signal::new(), GFP_KERNEL)?,
                hung: Signal::new(),
            },
            GFP_KERNEL,
        )?;

        let (requests, requests_here) = domain.call_mailbox()?;
        domain
            .spawn(c"control", device::control(nic.clone(), requests_here))?
            .detach();

        let link_changed = nic.link_changed.clone();
        let here = nic.clone();
        net::request_irq(pdev, &interface, c"coop_rtl8139", link_changed, move || {
            here.interrupt()
        })?;
        let frontend = Frontend { requests, nic };
        let registration = net::Registration::new(interface, &address, frontend)?;
        Ok(Self {
            _registration: registration,
            _domain: domain,
        })
    }
}
