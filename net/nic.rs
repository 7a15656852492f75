// SPDX-License-Identifier: GPL-2.0

//! A NIC as a whole: how a driver makes one of a device that is plugged in, and how it is unmade.

use core::{future::Future, marker::PhantomData};

use coop_domain::prelude::*;
use kernel::{device::Core, module::this_module, pci, prelude::*, str::CStr, sync::Arc};

use super::{
    device_name, Ethtool, Interface, Interrupt, NicDriver, Operations, Registration, Skb, Traits,
};

/// A driver of NICs on the PCI bus: what [`NicDriver`] registers.
pub(crate) trait Driver: Sized + 'static {
    /// The end of a device that the network stack calls.
    type Frontend: Operations + Ethtool;

    /// The devices that it is for.
    const ID_TABLE: pci::IdTable<()>;
    /// What they can do.
    const TRAITS: Traits;
    /// What their domains are named after.
    const DOMAIN: &'static str;

    /// Takes a device that was found. May sleep.
    fn probe(pdev: &pci::Device<Core<'_>>) -> Result<Nic<Self>>;
}

impl<D: Driver> pci::Driver for NicDriver<D> {
    type IdInfo = ();
    type Data<'bound> = Nic<D>;
    const ID_TABLE: pci::IdTable<()> = D::ID_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound ()>,
    ) -> impl PinInit<Nic<D>, Error> + 'bound {
        D::probe(pdev)
    }
}

/// A device that a driver is bound to. What is written first goes first.
pub(crate) struct Nic<D: Driver> {
    /// Closes the device, if it is open, and returns when nobody calls it any more.
    _registration: Registration<D::Frontend>,
    /// Ends the coroutines.
    _domain: Domain,
    /// What the top half has goes here, in the thread that unbinds, and not with a coroutine.
    _interrupt: Arc<Interrupt>,
}

/// A NIC in the making: its domain, and its interface, which nobody sees yet.
pub(crate) struct NewNic<D> {
    domain: Domain,
    interface: Interface,
    driver: PhantomData<D>,
}

impl<D: Driver> NewNic<D> {
    pub(crate) fn new(pdev: &pci::Device<Core<'_>>) -> Result<Self> {
        let name = device_name(pdev, D::DOMAIN)?;
        Ok(Self {
            domain: Domain::builder(&name, this_module::<crate::DriverModule>())
                .level(Level::Bh)
                .build()?,
            interface: Interface::new(pdev.as_ref(), &D::TRAITS)?,
            driver: PhantomData,
        })
    }

    pub(crate) fn interface(&self) -> Interface {
        self.interface.clone()
    }

    /// A cell for what only those inside the domain reach.
    pub(crate) fn cell<T>(&self, state: T) -> DomainCell<T> {
        self.domain.cell(state)
    }

    /// The way for the frontend to ask a coroutine for something.
    #[allow(clippy::type_complexity)]
    pub(crate) fn requests<Q: Send + 'static, R: Send + 'static>(
        &self,
    ) -> Result<(Caller<Q, R>, Receiver<coop_domain::Request<Q, R>>)> {
        self.domain.call_mailbox()
    }

    /// Starts a coroutine, which ends with the domain.
    pub(crate) fn spawn(
        &self,
        name: &'static CStr,
        coroutine: impl Future<Output = Result> + Send + 'static,
    ) -> Result {
        self.domain.spawn(name, coroutine).map(|task| task.detach())
    }

    /// From here on the interface is there, with this hardware address. While it is up it has the
    /// interrupt of `pdev`, with `top` as its top half and `signal` for [`Top::Wake`].
    pub(crate) fn register(
        self,
        pdev: &pci::Device<Core<'_>>,
        address: &[u8; 6],
        signal: Arc<Signal>,
        top: impl Fn() -> Top + Clone + Send + Sync + 'static,
        frontend: D::Frontend,
    ) -> Result<Nic<D>> {
        let interrupt = Arc::new(Interrupt::new(pdev, signal, top)?, GFP_KERNEL)?;
        let to_request = interrupt.clone();
        Ok(Nic {
            _registration: Registration::new(self.interface, address, to_request, frontend)?,
            _domain: self.domain,
            _interrupt: interrupt,
        })
    }
}

/// Has `send` send a frame, inside the domain. The frame comes back if that does not take it, or if
/// another CPU is inside, and not done soon.
#[inline(always)]
pub(crate) fn send_inside<T>(
    state: &DomainCell<T>,
    frame: Skb,
    send: impl FnOnce(&mut T, Skb) -> Result<(), Skb>,
) -> Result<(), Skb> {
    let mut frame = Some(frame);
    let entered = state.enter(|state: &mut T| match frame.take() {
        Some(frame) => send(state, frame),
        None => Ok(()),
    });
    match entered {
        Ok(result) => result,
        Err(_) => frame.map_or(Ok(()), Err),
    }
}
