// SPDX-License-Identifier: GPL-2.0

//! A mailbox that is full, and one whose receiver goes: who waits for room gets it or learns that
//! there will be none, and no message that was accepted is lost.
//!
//! Ring and wait cell are the module's own. `coop/room.rs`, `coop/sender.rs` and `coop/receiver.rs`
//! need the kernel: what they do is written down here once more, step by step. A grace period is
//! the writer's side of a lock whose readers are the sections in which senders push.

#![cfg(loom)]

use coop_host::model;
use coop_host::model::atomic::{AtomicBool, Ordering};
use coop_host::model::{mistake, Kthread, Static, Waiting};
use coop_host::wait_cell::WaitCell;
use coop_host::{ring, HeapRing};
use loom::alloc::Track;
use loom::sync::{Mutex, RwLock};
use loom::thread;

struct Room {
    waiting: AtomicBool,
    waiters: Mutex<Vec<Static<Kthread>>>,
}

impl Room {
    fn register(&self, thread: Static<Kthread>) {
        let mut waiters = self.waiters.lock().unwrap();
        waiters.push(thread);
        self.waiting.store(true, Ordering::Relaxed);
    }

    fn made(&self) {
        if self.waiting.load(Ordering::Relaxed) {
            self.wake_all();
        }
    }

    fn wake_all(&self) {
        let waiters = {
            let mut waiters = self.waiters.lock().unwrap();
            self.waiting.store(false, Ordering::Relaxed);
            std::mem::take(&mut *waiters)
        };
        for thread in waiters {
            thread.wake();
        }
    }
}

#[derive(Debug, PartialEq)]
enum Refused {
    Full,
    Closed,
}

/// One lane of one slot.
struct Mailbox {
    lane: HeapRing<Track<u32>>,
    cell: WaitCell<Waiting>,
    room: Room,
    closed: AtomicBool,
    sections: RwLock<()>,
}

impl Mailbox {
    fn new() -> Static<Self> {
        Static::new(Self {
            lane: ring(1),
            cell: WaitCell::new(),
            room: Room {
                waiting: AtomicBool::new(false),
                waiters: Mutex::new(Vec::new()),
            },
            closed: AtomicBool::new(false),
            sections: RwLock::new(()),
        })
    }

    fn wake_receiver(&self) {
        if let Some(waiter) = self.cell.signal() {
            waiter.wake();
        }
    }

    /// `Sender::try_post()`.
    fn try_post(&self, message: u32) -> Result<(), Refused> {
        let section = self.sections.read().unwrap();
        if self.closed.load(Ordering::Relaxed) {
            return Err(Refused::Closed);
        }
        // SAFETY: There is one sender.
        let vacant = unsafe { self.lane.vacant() }.ok_or(Refused::Full)?;
        vacant.push(Track::new(message));
        drop(section);
        self.wake_receiver();
        Ok(())
    }

    /// `Sender::poll_send()`.
    fn poll_send(&self, message: u32, thread: Static<Kthread>) -> Result<(), Refused> {
        match self.try_post(message) {
            Err(Refused::Full) => (),
            done => return done,
        }
        self.room.register(thread);
        let sent = self.try_post(message);
        if !mistake("room.no_signal") {
            self.wake_receiver();
        }
        sent
    }

    /// `Sender::post()`.
    fn post(&self, message: u32) -> Result<(), Refused> {
        let thread = Static::new(Kthread::new());
        let mut sent = Err(Refused::Full);
        while sent == Err(Refused::Full) {
            thread.park_unless(|| {
                sent = self.poll_send(message, thread);
                sent != Err(Refused::Full)
            });
        }
        // Its registration may be left: a waker that comes late finds it awake. Freed at the end
        // of the program, as the kernel keeps it by a reference.
        sent
    }

    fn pop(&self) -> Option<u32> {
        // SAFETY: There is one receiver.
        unsafe { self.lane.pop() }.map(Track::into_inner)
    }

    /// `Recv::poll()`.
    fn poll_recv(&self, thread: Static<Kthread>) -> Option<u32> {
        loop {
            self.cell.try_wait();
            if let Some(message) = self.pop() {
                self.room.made();
                return Some(message);
            }
            if !mistake("room.no_look") {
                self.room.made();
            }
            if !self.cell.poll_wait(|| Waiting::new(thread)) {
                return None;
            }
        }
    }

    fn recv(&self, thread: Static<Kthread>) -> u32 {
        let mut message = None;
        while message.is_none() {
            thread.park_unless(|| {
                message = self.poll_recv(thread);
                message.is_some()
            });
        }
        message.unwrap()
    }

    /// The receiver goes: how many messages it drops.
    fn close(&self) -> usize {
        self.closed.store(true, Ordering::Release);
        if !mistake("close.no_grace_period") {
            drop(self.sections.write().unwrap());
        }
        self.cell.clear_waiter();
        let dropped = std::iter::from_fn(|| self.pop()).count();
        if !mistake("close.no_wake_up") {
            self.room.wake_all();
        }
        dropped
    }
}

model! {
    /// The sender finds the ring full, and waits; the receiver takes what there is, and waits, too.
    /// Neither sleeps for ever.
    fn a_full_mailbox() {
        let (mailbox, thread) = (Mailbox::new(), Static::new(Kthread::new()));
        mailbox.try_post(1).unwrap();
        let sender = thread::spawn(move || mailbox.post(2));
        assert_eq!(mailbox.recv(thread), 1);
        assert_eq!(mailbox.recv(thread), 2);
        assert_eq!(sender.join().unwrap(), Ok(()));
        // SAFETY: All threads have ended.
        unsafe { (mailbox.free(), thread.free()) };
    }
    #![preemptions = 3]
    no_signal: "room.no_signal",
    no_look: "room.no_look",
    signal: "cell.signal",
    wait: "cell.wait",
}

model! {
    /// The receiver goes while a message is being sent: it is dropped by the receiver, or comes back
    /// to its sender.
    fn a_message_against_the_end() {
        let mailbox = Mailbox::new();
        let sender = thread::spawn(move || mailbox.try_post(1).is_ok());
        let dropped = mailbox.close();
        assert_eq!(dropped, usize::from(sender.join().unwrap()));
        // SAFETY: All threads have ended.
        unsafe { mailbox.free() };
    }
    no_grace_period: "close.no_grace_period",
}

model! {
    /// The receiver goes while a sender waits for room: it learns of it.
    fn a_waiting_sender_against_the_end() {
        let mailbox = Mailbox::new();
        mailbox.try_post(1).unwrap();
        let sender = thread::spawn(move || mailbox.post(2));
        assert_eq!(mailbox.close(), 1);
        assert_eq!(sender.join().unwrap(), Err(Refused::Closed));
        // SAFETY: All threads have ended.
        unsafe { mailbox.free() };
    }
    #![preemptions = 3]
    no_wake_up: "close.no_wake_up",
}
