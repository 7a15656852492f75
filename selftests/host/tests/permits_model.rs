// SPDX-License-Identifier: GPL-2.0

//! Permits, of which everything in `coop/sync` is made, against a queue that does the same: any
//! sequence of operations of some clients, who wait, are served, notice it, or go at any moment.
//! Looked at after each: who was woken, in which order, what everybody has, and that each waker is
//! dropped.

#![cfg(not(loom))]

mod clients;

use self::clients::{place_of, places, Wake, CLIENTS};
use coop_host::permits::Permits;
use coop_host::wait_list::{Place, WakeUp};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

#[derive(Clone, Debug)]
enum Op {
    Take(usize, u32),
    Notice(usize),
    Go(usize),
    GoOnce(usize),
    Give(u32),
    GiveOnce,
    GiveFirst,
    Dismiss,
}

fn op() -> impl Strategy<Value = Op> {
    let client = 0..CLIENTS;
    prop_oneof![
        6 => (client.clone(), 1u32..5).prop_map(|(client, n)| Op::Take(client, n)),
        3 => client.clone().prop_map(Op::Notice),
        3 => client.clone().prop_map(Op::Go),
        1 => client.prop_map(Op::GoOnce),
        4 => (0u32..5).prop_map(Op::Give),
        1 => Just(Op::GiveOnce),
        1 => Just(Op::GiveFirst),
        1 => Just(Op::Dismiss),
    ]
}

/// What a client is at.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Client {
    Idle,
    Waits,
    /// Was given so many, and does not know.
    Got(u32),
}

/// The model: permits that nobody has, and a queue.
struct Model {
    free: u32,
    queue: VecDeque<(usize, u32)>,
    clients: [Client; CLIENTS],
    woken: Vec<usize>,
}

impl Model {
    fn choose(&mut self, got: u32) {
        if let Some((client, _)) = self.queue.pop_front() {
            self.clients[client] = Client::Got(got);
            self.woken.push(client);
        }
    }

    fn serve(&mut self) {
        while let Some(&(_, need)) = self.queue.front() {
            if need > self.free {
                break;
            }
            self.free -= need;
            self.choose(need);
        }
    }

    fn give(&mut self, n: u32) {
        self.free += n;
        self.serve();
    }

    /// How many were given.
    fn give_once(&mut self) -> u64 {
        if !self.queue.is_empty() || self.free == 0 {
            self.give(1);
            return 1;
        }
        0
    }
}

fn run(free: u32, ops: &[Op]) -> Result<(), TestCaseError> {
    let permits = Permits::new(free);
    let log = Rc::new(RefCell::new(Vec::new()));
    let mut places = places();
    let mut m = Model {
        free,
        queue: VecDeque::new(),
        clients: [Client::Idle; CLIENTS],
        woken: Vec::new(),
    };
    // Nothing appears or disappears: what was put in, and what was taken out.
    let (mut total, mut taken) = (u64::from(free), 0u64);
    for op in ops {
        match *op {
            Op::Take(client, n) if m.clients[client] == Client::Idle => {
                let at_once = m.queue.is_empty() && m.free >= n;
                prop_assert_eq!(permits.try_take(n), at_once);
                if at_once {
                    m.free -= n;
                    taken += u64::from(n);
                } else {
                    let log = log.clone();
                    // SAFETY: The place is boxed, idle, and left by all before it is dropped.
                    unsafe {
                        permits.queue(place_of(&mut places, client), n, Wake { client, log })
                    };
                    m.queue.push_back((client, n));
                    m.clients[client] = Client::Waits;
                }
            }
            // It waits already: polled once more.
            Op::Take(client, _) | Op::Notice(client) => {
                let expected = match m.clients[client] {
                    Client::Got(n) => Some(n),
                    _ => None,
                };
                prop_assert_eq!(permits.finish(place_of(&mut places, client)), expected);
                if let Some(n) = expected {
                    taken += u64::from(n);
                    m.clients[client] = Client::Idle;
                }
            }
            Op::Go(client) => {
                permits.cancel(place_of(&mut places, client));
                match std::mem::replace(&mut m.clients[client], Client::Idle) {
                    Client::Idle => (),
                    Client::Waits => {
                        m.queue.retain(|&(c, _)| c != client);
                        m.serve();
                    }
                    Client::Got(n) => m.give(n),
                }
            }
            Op::GoOnce(client) => {
                permits.cancel_once(place_of(&mut places, client));
                match std::mem::replace(&mut m.clients[client], Client::Idle) {
                    Client::Idle => (),
                    Client::Waits => {
                        m.queue.retain(|&(c, _)| c != client);
                        m.serve();
                    }
                    Client::Got(n) => {
                        total -= u64::from(n);
                        if n != 0 {
                            total += m.give_once();
                        }
                    }
                }
            }
            Op::Give(n) => {
                permits.give(n);
                total += u64::from(n);
                m.give(n);
            }
            Op::GiveOnce => {
                permits.give_once();
                total += m.give_once();
            }
            Op::GiveFirst => {
                prop_assert_eq!(permits.give_first(), !m.queue.is_empty());
                if !m.queue.is_empty() {
                    total += 1;
                    m.give(1);
                }
            }
            Op::Dismiss => {
                permits.dismiss();
                while !m.queue.is_empty() {
                    m.choose(0);
                }
            }
        }
        prop_assert_eq!(&*log.borrow(), &m.woken);
        prop_assert_eq!(permits.waiters(), m.queue.len());
        let open = if m.queue.is_empty() { m.free } else { 0 };
        prop_assert_eq!(permits.open(), open);
        for (client, place) in places.iter().enumerate() {
            prop_assert_eq!(place.is_waiting(), m.clients[client] != Client::Idle);
            let chosen = place.node().is_some_and(|node| node.is_chosen());
            prop_assert_eq!(chosen, matches!(m.clients[client], Client::Got(_)));
        }
        // One waker for each who waits, and none for others.
        prop_assert_eq!(Rc::strong_count(&log), 1 + m.queue.len());
        let got: u64 = m
            .clients
            .iter()
            .map(|c| {
                if let Client::Got(n) = c {
                    u64::from(*n)
                } else {
                    0
                }
            })
            .sum();
        prop_assert_eq!(total, taken + got + u64::from(m.free));
    }
    // All go, in any order: everything that was not taken is open again.
    for place in &mut places {
        // SAFETY: Not moved.
        permits.cancel(unsafe { place.as_mut().get_unchecked_mut() });
    }
    prop_assert_eq!(u64::from(permits.open()), total - taken);
    prop_assert_eq!(permits.waiters(), 0);
    prop_assert_eq!(Rc::strong_count(&log), 1);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn permits_do_as_a_queue(free in 0u32..6, ops in prop::collection::vec(op(), 0..80)) {
        run(free, &ops)?;
    }
}

/// A client who, when woken, is back in the queue before the waker returns.
struct Again<'a> {
    permits: &'a Permits<Again<'a>>,
    place: *mut Place<Again<'a>>,
    woken: &'a RefCell<u32>,
}

impl WakeUp for Again<'_> {
    fn wake_up(self) {
        *self.woken.borrow_mut() += 1;
        // SAFETY: The place outlives the permits' use of it, and nobody else has it now.
        let place = unsafe { &mut *self.place };
        assert!(self.permits.finish(place).is_some());
        // SAFETY: As above; the test has all places leave.
        unsafe { self.permits.queue(place, 1, self) };
    }
}

#[test]
fn who_comes_back_at_once_is_dismissed_once() {
    let woken = RefCell::new(0);
    let permits = Permits::new(0);
    let mut places: Vec<Box<Place<Again<'_>>>> = (0..3).map(|_| Box::default()).collect();
    for place in &mut places {
        let place: *mut Place<_> = &mut **place;
        let again = Again {
            permits: &permits,
            place,
            woken: &woken,
        };
        // SAFETY: The place is boxed and idle, and leaves below.
        unsafe { permits.queue(&mut *place, 1, again) };
    }
    permits.dismiss();
    assert_eq!((*woken.borrow(), permits.waiters()), (3, 3));
    // One permit goes round: each gives it up by coming back without it.
    permits.give(1);
    assert_eq!((*woken.borrow(), permits.open()), (4, 0));
    for place in &mut places {
        permits.cancel(place);
    }
    assert_eq!((permits.waiters(), permits.open()), (0, 0));
}

#[test]
fn there_are_never_too_many() {
    let permits: Permits<Wake> = Permits::new(u32::MAX);
    permits.give(1);
    assert_eq!(permits.open(), u32::MAX);
    assert!(permits.try_take(u32::MAX));
    permits.give(u32::MAX);
    assert!(permits.try_take(5));
    permits.give(u32::MAX);
    permits.give(5);
    assert!(permits.try_take(u32::MAX));
}
