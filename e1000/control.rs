// SPDX-License-Identifier: GPL-2.0

//! Going up and down, and being changed meanwhile.

use coop_domain::prelude::*;
use kernel::{prelude::*, sync::Arc, time::Delta};

use super::{
    device::{Nic, State},
    hw::{Hw, Settings},
    link,
    regs::Causes,
    rx::RxRing,
    tx::TxRing,
};
use crate::net::{mii, Filter, Link, LinkMode, Offloads, Pause, Rings, RxPool};

/// What the network stack and `ethtool` ask for, and wait for.
pub(super) enum Request {
    /// Unless the interface is up: where its buffers are to come from. The answer is what is of no
    /// use any more.
    SetPool(Option<RxPool>),
    Open,
    Close,
    SetAddress([u8; 6]),
    SetMtu(u32),
    SetFilter(Filter),
    SetOffloads(Offloads),
    SetVlan {
        id: u16,
        wanted: bool,
    },
    SetLink(LinkMode),
    SetPause(Pause),
    SetCoalesce(u32),
    SetLight(Option<bool>),
    /// To use these rings, the first of them full of buffers. They are swapped.
    SetRings(KBox<(RxRing, TxRing)>),
    /// Begin anew, if the interface is up.
    Reset,
    /// Negotiate anew.
    Renegotiate,
    /// Look after the link.
    Look,
    /// Tell how things are.
    Tell,
    Read(Reading, KVec<u64>),
}

/// What is to be read into a vector of numbers.
pub(super) enum Reading {
    Statistics,
    Registers,
    Tests { offline: bool },
}

pub(super) enum Answer {
    Done,
    Told(Told),
    Read(KVec<u64>),
    /// What is of no use any more, for a thread to free it.
    Pool(Option<RxPool>),
    Rings(KBox<(RxRing, TxRing)>),
}

/// How things are.
pub(super) struct Told {
    pub(super) settings: Settings,
    pub(super) rings: Rings,
    pub(super) coalesce: u32,
    /// Received, and sent.
    pub(super) pause_frames: [u64; 2],
}

/// The coroutine that answers [`Request`]s, one after the other: none meets another half done.
pub(super) async fn control(
    nic: Arc<Nic>,
    mut requests: Receiver<coop_domain::Request<Request, Result<Answer>>>,
) -> Result {
    while let Some(request) = requests.recv().await {
        let (request, reply) = request.into_parts();
        let opening = matches!(request, Request::Open);
        let result = nic.handle(request).await;
        // If the caller was killed meanwhile, the stack believes that opening failed.
        if reply.send(result).is_err() && opening {
            nic.close().await?;
        }
    }
    Ok(())
}

/// The coroutine that resets a device that has stopped sending.
pub(super) async fn recover(nic: Arc<Nic>, requests: Caller<Request, Result<Answer>>) -> Result {
    loop {
        nic.hung.wait().await;
        pr_warn!("{}: does not send any more: reset\n", nic.interface.name());
        nic.interface.stats().tx_errors.add(1);
        nic.state.with(|state| state.hangs += 1)?;
        if let Err(error) = requests.ask(Request::Reset).await? {
            pr_err!("{}: reset failed: {error:?}\n", nic.interface.name());
        }
    }
}

/// The coroutine that has [`Nic::look`] happen when the device asks for it.
pub(super) async fn watch(nic: Arc<Nic>, requests: Caller<Request, Result<Answer>>) -> Result {
    loop {
        nic.attention.wait().await;
        let up = nic.state.with(|state| {
            state.idle_interrupts += u64::from(!state.up);
            state.up
        })?;
        if !up {
            continue;
        }
        if let Err(error) = requests.ask(Request::Look).await? {
            pr_err!("{}: no word of the link: {error:?}\n", nic.interface.name());
        }
    }
}

/// The coroutine that has it happen every other second, too, before the device's counters overflow.
pub(super) async fn tick(nic: Arc<Nic>) -> Result {
    loop {
        nic.started.wait().await;
        while nic.state.with(|state| state.up)? {
            sleep(Delta::from_secs(2)).await;
            if nic.state.with(|state| state.up)? {
                nic.attention.signal();
            }
        }
    }
}

impl Nic {
    async fn handle(&self, request: Request) -> Result<Answer> {
        match request {
            Request::SetPool(pool) => {
                return self.state.with(|state| {
                    Answer::Pool(if state.open {
                        pool
                    } else {
                        state.rx.set_pool(pool)
                    })
                })
            }
            Request::Open => {
                self.claim_link().await?;
                self.state.with(|state| {
                    self.open(state)?;
                    state.open = true;
                    Ok::<(), Error>(())
                })??;
            }
            Request::Close => self.close().await?,
            Request::Reset => self.reset().await?,
            Request::Look => self.look().await?,
            Request::SetAddress(address) => {
                self.change(|state| state.settings.address = address)?
            }
            Request::SetMtu(mtu) => self.change(|state| state.settings.mtu = mtu)?,
            Request::SetFilter(filter) => self.change(|state| state.filter = filter)?,
            Request::SetOffloads(offloads) => {
                self.change(|state| state.settings.offloads = offloads)?;
            }
            Request::SetVlan { id, wanted } => self.change(|state| {
                if let Some(bits) = state.vlans.get_mut(usize::from(id >> 5)) {
                    let bit = 1 << (id & 0x1f);
                    *bits = *bits & !bit | if wanted { bit } else { 0 };
                }
            })?,
            Request::SetLink(link) => {
                self.state.with(|state| state.settings.link = link)?;
                self.set_up_link().await?;
            }
            Request::SetPause(pause) => {
                self.state.with(|state| state.settings.pause = pause)?;
                self.set_up_link().await?;
            }
            Request::Renegotiate => self.set_up_link().await?,
            Request::SetCoalesce(usecs) => {
                self.state.with(|state| {
                    state.throttle.set(usecs);
                    self.hw.set_interrupt_rate(state.throttle.rate());
                })?;
            }
            Request::SetLight(light) => self.hw.set_light(light),
            Request::SetRings(mut rings) => {
                self.set_rings(&mut rings).await?;
                return Ok(Answer::Rings(rings));
            }
            Request::Tell => {
                return self.state.with(|state| {
                    self.collect(state);
                    let [rx, tx] = [state.rx.ring.len(), state.tx.ring.len()];
                    Answer::Told(Told {
                        settings: state.settings,
                        rings: Rings { rx, tx },
                        coalesce: state.throttle.setting(),
                        pause_frames: state.counters.pause_frames(),
                    })
                })
            }
            Request::Read(what, mut to) => {
                match what {
                    Reading::Statistics => self.state.with(|state| self.tell(state, &mut to))?,
                    Reading::Registers => self.read_registers(&mut to).await?,
                    Reading::Tests { offline } => self.test(offline, &mut to).await?,
                }
                return Ok(Answer::Read(to));
            }
        }
        Ok(Answer::Done)
    }

    fn change(&self, change: impl FnOnce(&mut State)) -> Result {
        self.state.with(|state| {
            change(state);
            state.rx.keeps_bad = state.settings.offloads.has(Offloads::RX_ALL);
            if state.up {
                self.hw.set_link(&state.settings);
                self.hw.set_pause(state);
                self.hw.set_filter(state);
            }
        })
    }

    fn open(&self, state: &mut State) -> Result {
        if state.up {
            return Err(EBUSY);
        }
        let filled = state.rx.fill();
        match filled {
            Ok(()) => self.start(state),
            Err(_) => state.rx.clear(),
        }
        filled
    }

    /// Has the device begin. The receive ring is full of buffers.
    fn start(&self, state: &mut State) {
        self.hw.start(state);
        state.rx.start(&self.hw);
        self.hw.set_interrupt_rate(state.throttle.rate());
        state.up = true;
        state.tx.stopped = false;
        self.interface.wake_queue();
        self.hw.unmask(None, Causes::RECEIVED.or(Causes::LINK));
        // The link may be up already.
        self.attention.signal();
        self.started.signal();
    }

    /// Puts the device to rest, and empties the rings; the stack has to wait.
    pub(super) async fn rest(&self) -> Result {
        self.state.with(|state| {
            self.collect(state);
            state.up = false;
            state.tx.stopped = true;
            self.interface.stop_queue();
        })?;
        for step in Hw::RESET {
            let delay = step(&self.hw);
            sleep(delay).await;
        }
        self.hw.silence();
        self.state.with(|state| {
            state.rx.clear();
            state.tx.clear();
            self.interface.reset_queue();
        })
    }

    async fn close(&self) -> Result {
        self.state.with(|state| {
            state.open = false;
            state.link = Link::default();
            state.negotiated = false;
        })?;
        self.interface.set_link(Link::default());
        self.rest().await
    }

    pub(super) async fn reset(&self) -> Result {
        if !self.state.with(|state| state.open)? {
            return Ok(());
        }
        self.rest().await?;
        self.state.with(|state| self.open(state))?
    }

    /// Begins anew with other rings, and swaps them.
    async fn set_rings(&self, new: &mut (RxRing, TxRing)) -> Result {
        if self.state.with(|state| state.up)? {
            self.rest().await?;
        }
        self.state.with(|state| {
            new.0.keeps_bad = state.rx.keeps_bad;
            core::mem::swap(&mut state.rx, &mut new.0);
            core::mem::swap(&mut state.tx, &mut new.1);
            // Even if a reset has failed, for want of memory.
            if state.open {
                self.start(state);
            } else {
                // Nor do they keep any memory.
                let pool = state.rx.set_pool(None);
                new.0.set_pool(pool);
            }
        })
    }

    fn tell(&self, state: &mut State, to: &mut [u64]) {
        self.collect(state);
        let stats = self.interface.stats();
        let own = [
            state.hangs,
            state.waits,
            stats.tx_dropped.get(),
            stats.rx_dropped.get(),
        ];
        state.counters.tell(to, &own);
    }

    /// Tells registers as the C driver does: those of the device, then those of the transceiver.
    async fn read_registers(&self, to: &mut [u64]) -> Result {
        let status = self.phy(link::SPECIFIC_STATUS, None).await?;
        let control = self.phy(link::SPECIFIC_CONTROL, None).await?;
        let gigabit = self.phy(mii::STATUS_1000, None).await?;
        let phy = [
            (13, status),
            (17, control),
            (18, status),
            (20, control),
            (23, status),
            (24, gigabit),
            (25, gigabit),
        ];
        let phy = phy.map(|(at, value)| (at, value.into()));
        for (at, value) in Iterator::chain(self.hw.registers().into_iter(), phy) {
            if let Some(to) = to.get_mut(at) {
                *to = u32::into(value);
            }
        }
        Ok(())
    }
}
