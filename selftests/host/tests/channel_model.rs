// SPDX-License-Identifier: GPL-2.0

//! What a channel keeps, in both of its modes, against a queue that does the same: any sequence of
//! operations of some clients, who send, receive, wait, are served, notice it, or go at any moment,
//! until it is closed, and after. Looked at after each: what came of it, who was woken, in which order,
//! how much is in the queue, and that no permit is kept for nobody. In the end each message was
//! dropped once.
//!
//! `coop/sync/channel.rs` needs the kernel: what its futures do is written down here once more.

#![cfg(not(loom))]

mod clients;

use self::clients::{place_of, places, Wake, CLIENTS};
use coop_host::store::{Refusal, Slot, Store};
use coop_host::wait_list::Place;
use proptest::prelude::*;
use std::cell::{RefCell, UnsafeCell};
use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;

/// A message that is missed when it is lost, and counted twice when it is dropped twice.
#[derive(Debug)]
struct Message {
    number: u32,
    dropped: Rc<RefCell<Vec<u32>>>,
}

impl Drop for Message {
    fn drop(&mut self) {
        self.dropped.borrow_mut().push(self.number);
    }
}

type Channel = Store<Message, Vec<Slot<Message>>, Wake>;

/// What came of a poll, or of one attempt.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Came {
    Pending,
    Sent,
    Got(u32),
    Refused(Refusal),
}

impl From<Refusal> for Came {
    fn from(refusal: Refusal) -> Self {
        Came::Refused(refusal)
    }
}

/// The channel, and what its futures have: a place each, and the message of one that sends.
struct Futures {
    channel: Channel,
    places: Vec<Pin<Box<Place<Wake>>>>,
    messages: [Option<Message>; CLIENTS],
    log: Rc<RefCell<Vec<usize>>>,
}

impl Futures {
    fn new(capacity: u32) -> Self {
        let slots = (0..capacity.next_power_of_two())
            .map(|_| UnsafeCell::new(MaybeUninit::uninit()))
            .collect();
        Futures {
            channel: Channel::new(slots, capacity).expect("a channel"),
            places: places(),
            messages: Default::default(),
            log: Rc::default(),
        }
    }

    fn try_send(&mut self, message: Message) -> Came {
        if self.channel.is_open() {
            // SAFETY: It is open.
            unsafe { self.channel.write_open(message) };
            return Came::Sent;
        }
        match self.channel.try_put(message) {
            Ok(()) => Came::Sent,
            Err((refusal, _message)) => refusal.into(),
        }
    }

    fn try_recv(&mut self) -> Came {
        if self.channel.is_filled() {
            // SAFETY: It is filled.
            return Came::Got(unsafe { self.channel.read_filled() }.number);
        }
        match self.channel.try_get() {
            Ok(message) => Came::Got(message.number),
            Err(refusal) => refusal.into(),
        }
    }

    /// `poll_take()`, of one permit.
    fn poll_take(&mut self, client: usize, room: bool) -> Result<Option<u32>, Refusal> {
        let place = place_of(&mut self.places, client);
        let waits = place.is_waiting();
        let permits = if room {
            self.channel.room(waits)
        } else {
            self.channel.items(waits)
        };
        let permits = permits.ok_or(Refusal::Closed)?;
        if place.is_fresh() && permits.try_take(1) {
            return Ok(Some(1));
        }
        if !waits {
            let log = self.log.clone();
            // SAFETY: The place is boxed, fresh, and left by all before it is dropped.
            unsafe { permits.queue(place, 1, Wake { client, log }) };
            return Ok(None);
        }
        Ok(permits.finish(place))
    }

    /// `SendTo::poll()`.
    fn send(&mut self, client: usize) -> Came {
        let fresh = self.places[client].is_fresh();
        let mut message = self.messages[client].take();
        let mut take = || message.take().expect("a message to send");
        if self.channel.is_open() && fresh {
            // SAFETY: It is open.
            unsafe { self.channel.write_open(take()) };
            return Came::Sent;
        }
        match self.poll_take(client, true) {
            Ok(None) => {
                self.messages[client] = message;
                Came::Pending
            }
            // SAFETY: What was got.
            Ok(Some(got)) => match unsafe { self.channel.put_for(got, take) } {
                Ok(()) => Came::Sent,
                Err(refusal) => refusal.into(),
            },
            Err(refusal) => refusal.into(),
        }
    }

    /// `RecvFrom::poll()`.
    fn recv(&mut self, client: usize) -> Came {
        if self.channel.is_filled() {
            assert!(self.places[client].is_fresh());
            // SAFETY: It is filled.
            return Came::Got(unsafe { self.channel.read_filled() }.number);
        }
        match self.poll_take(client, false) {
            Ok(None) => Came::Pending,
            // SAFETY: What was got.
            Ok(Some(got)) => match unsafe { self.channel.get_for(got) } {
                Ok(message) => Came::Got(message.number),
                Err(refusal) => refusal.into(),
            },
            Err(_) => self.try_recv(),
        }
    }

    /// Its future is dropped.
    fn go(&mut self, client: usize) {
        let place = place_of(&mut self.places, client);
        if place.is_waiting() {
            if self.messages[client].is_some() {
                self.channel.cancel_put(place);
            } else {
                self.channel.cancel_get(place);
            }
        }
        self.messages[client] = None;
    }
}

/// What a client is at.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Client {
    Idle,
    /// Wants to send, or to receive.
    Waits(bool),
    /// May do so, or (`false`) is to learn that it is closed, and does not know.
    Chosen(bool, bool),
}

/// The model: one queue of messages, two of clients.
struct Model {
    capacity: usize,
    closed: bool,
    messages: VecDeque<u32>,
    senders: VecDeque<usize>,
    receivers: VecDeque<usize>,
    clients: [Client; CLIENTS],
    numbers: [u32; CLIENTS],
    woken: Vec<usize>,
}

impl Model {
    fn promised(&self, sends: bool) -> usize {
        let promised = |c: &&Client| **c == Client::Chosen(sends, true);
        self.clients.iter().filter(promised).count()
    }

    /// Free slots that nobody was promised, and messages.
    fn room(&self) -> usize {
        self.capacity - self.messages.len() - self.promised(true)
    }

    fn items(&self) -> usize {
        self.messages.len() - self.promised(false)
    }

    fn serve(&mut self) {
        while self.room() > 0 {
            let Some(client) = self.senders.pop_front() else {
                break;
            };
            self.clients[client] = Client::Chosen(true, true);
            self.woken.push(client);
        }
        while self.items() > 0 {
            let Some(client) = self.receivers.pop_front() else {
                break;
            };
            self.clients[client] = Client::Chosen(false, true);
            self.woken.push(client);
        }
    }

    fn write(&mut self, number: u32) -> Came {
        self.messages.push_back(number);
        Came::Sent
    }

    fn read(&mut self) -> Came {
        Came::Got(self.messages.pop_front().expect("a message"))
    }

    fn try_send(&mut self, number: u32) -> Came {
        if self.closed {
            Refusal::Closed.into()
        } else if self.senders.is_empty() && self.room() > 0 {
            self.write(number)
        } else {
            Refusal::Busy.into()
        }
    }

    fn try_recv(&mut self) -> Came {
        if self.receivers.is_empty() && self.items() > 0 {
            self.read()
        } else if self.closed {
            Refusal::Closed.into()
        } else {
            Refusal::Busy.into()
        }
    }

    fn poll(&mut self, client: usize, sends: bool) -> Came {
        let came = match self.clients[client] {
            Client::Idle if sends => self.try_send(self.numbers[client]),
            Client::Idle => self.try_recv(),
            Client::Waits(_) => return Came::Pending,
            Client::Chosen(sends, served) => {
                // No promise any more.
                self.clients[client] = Client::Idle;
                if !served || sends && self.closed {
                    Refusal::Closed.into()
                } else if sends {
                    self.write(self.numbers[client])
                } else {
                    self.read()
                }
            }
        };
        if came != Came::Refused(Refusal::Busy) {
            return came;
        }
        self.clients[client] = Client::Waits(sends);
        let queue = if sends {
            &mut self.senders
        } else {
            &mut self.receivers
        };
        queue.push_back(client);
        Came::Pending
    }

    fn go(&mut self, client: usize) {
        self.clients[client] = Client::Idle;
        self.senders.retain(|c| *c != client);
        self.receivers.retain(|c| *c != client);
    }

    fn close(&mut self) {
        self.closed = true;
        for (sends, queue) in [(true, &mut self.senders), (false, &mut self.receivers)] {
            for client in queue.drain(..) {
                self.clients[client] = Client::Chosen(sends, false);
                self.woken.push(client);
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    TrySend,
    TryRecv,
    Send(usize),
    Recv(usize),
    Go(usize),
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    let client = 0..CLIENTS;
    prop_oneof![
        30 => Just(Op::TrySend),
        30 => Just(Op::TryRecv),
        50 => client.clone().prop_map(Op::Send),
        50 => client.clone().prop_map(Op::Recv),
        30 => client.prop_map(Op::Go),
        1 => Just(Op::Close),
    ]
}

fn run(capacity: u32, ops: &[Op]) -> Result<(), TestCaseError> {
    let dropped = Rc::new(RefCell::new(Vec::new()));
    let mut made = 0;
    let mut message = || {
        made += 1;
        Message {
            number: made - 1,
            dropped: dropped.clone(),
        }
    };
    let mut real = Futures::new(capacity);
    let mut m = Model {
        capacity: capacity as usize,
        closed: false,
        messages: VecDeque::new(),
        senders: VecDeque::new(),
        receivers: VecDeque::new(),
        clients: [Client::Idle; CLIENTS],
        numbers: [0; CLIENTS],
        woken: Vec::new(),
    };
    for op in ops {
        match *op {
            Op::TrySend => {
                let message = message();
                let expected = m.try_send(message.number);
                prop_assert_eq!(real.try_send(message), expected);
            }
            Op::TryRecv => {
                let expected = m.try_recv();
                prop_assert_eq!(real.try_recv(), expected);
            }
            // One that waits for something is polled once more, for that.
            Op::Send(client) | Op::Recv(client) => {
                let sends = match m.clients[client] {
                    Client::Idle => matches!(op, Op::Send(_)),
                    Client::Waits(sends) | Client::Chosen(sends, _) => sends,
                };
                if sends {
                    if m.clients[client] == Client::Idle {
                        let message = message();
                        m.numbers[client] = message.number;
                        real.messages[client] = Some(message);
                    }
                    let expected = m.poll(client, true);
                    prop_assert_eq!(real.send(client), expected);
                } else {
                    let expected = m.poll(client, false);
                    prop_assert_eq!(real.recv(client), expected);
                }
            }
            Op::Go(client) => {
                m.go(client);
                real.go(client);
            }
            Op::Close => {
                if !m.closed {
                    m.close();
                }
                real.channel.close();
            }
        }
        if !m.closed {
            m.serve();
        }
        prop_assert_eq!(&*real.log.borrow(), &m.woken);
        prop_assert_eq!(real.channel.len() as usize, m.messages.len());
        for (place, client) in real.places.iter().zip(&m.clients) {
            prop_assert_eq!(place.is_waiting(), *client != Client::Idle);
        }
        let needed = m.closed || m.clients.iter().any(|c| *c != Client::Idle);
        prop_assert_eq!(real.channel.is_busy(), needed);
    }
    for client in 0..CLIENTS {
        real.go(client);
    }
    prop_assert_eq!(Rc::strong_count(&real.log), 1);
    drop(real);
    let mut dropped = dropped.borrow().clone();
    dropped.sort_unstable();
    prop_assert_eq!(dropped, (0..made).collect::<Vec<_>>());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn a_channel_does_as_a_queue(capacity in 1u32..6, ops in prop::collection::vec(op(), 0..120)) {
        run(capacity, &ops)?;
    }
}

/// The positions wrap, in either mode.
#[test]
fn a_channel_goes_round() -> Result<(), TestCaseError> {
    let once = [
        Op::TrySend,
        Op::Send(0),
        Op::TryRecv,
        Op::Recv(1),
        Op::Recv(2),
        Op::Send(3),
        Op::Recv(2),
    ];
    run(3, &once.repeat(100))
}

#[test]
fn slots_that_are_not_enough_are_refused() {
    let slots = |n: usize| -> Vec<Slot<u32>> {
        (0..n)
            .map(|_| UnsafeCell::new(MaybeUninit::uninit()))
            .collect()
    };
    type Numbers = Store<u32, Vec<Slot<u32>>, Wake>;
    assert!(Numbers::new(slots(4), 4).is_some());
    assert!(Numbers::new(slots(4), 3).is_some());
    for (n, capacity) in [(4, 5), (4, 0), (3, 3), (0, 0)] {
        assert!(Numbers::new(slots(n), capacity).is_none());
    }
}
