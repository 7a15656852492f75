// SPDX-License-Identifier: GPL-2.0

//! Invariant 2: what was accepted is delivered, once, in the order of its sender.

use crate::harness::*;
use crate::sys::{self, eventually, Where, Worker};
use coop_domain::prelude::*;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use kernel::prelude::*;
use kernel::sync::Arc;

pub(crate) const TESTS: &[Test] = &[
    ("delivery.ten_million_from_all_contexts", ten_million),
    ("delivery.migrating_sender_keeps_its_order", migrating_exact),
    ("delivery.migrating_sender_under_way", migrating),
    ("delivery.threads_that_share_a_sender", shared_sender),
    ("delivery.interrupts_amid_a_post", interrupts_amid_a_post),
    ("delivery.senders_go_first", senders_go_first),
    ("delivery.lanes_take_turns", lanes_take_turns),
    (
        "delivery.undelivered_are_dropped_once",
        undelivered_are_dropped,
    ),
    (
        "delivery.receiver_goes_amid_posts",
        receiver_goes_amid_posts,
    ),
];

/// A message of sender `from`: its position, and a checksum of both.
#[derive(Clone, Copy)]
pub(crate) struct Message {
    pub(crate) from: u32,
    sum: u32,
    pub(crate) position: u64,
}

fn checksum(from: u32, position: u64) -> u32 {
    let mixed = (position ^ (u64::from(from) << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32
}

impl Message {
    pub(crate) fn new(from: u32, position: u64) -> Self {
        Message {
            from,
            sum: checksum(from, position),
            position,
        }
    }

    /// It is as it was made.
    pub(crate) fn is_whole(&self) -> bool {
        self.sum == checksum(self.from, self.position)
    }
}

/// What a receiver found wrong, and how many messages it took.
#[derive(Default)]
struct Tally {
    total: AtomicU64,
    garbled: AtomicU64,
    out_of_order: AtomicU64,
    /// The first of these: sender, position, and what should have come.
    first: [AtomicU64; 3],
}

impl Tally {
    /// Nothing was garbled or came out of order.
    fn is_clean(&self, log: &mut Log) -> Result {
        let [from, position, expected] = self.first.each_ref().map(|a| a.load(Relaxed));
        check_eq!(log, self.garbled.load(Relaxed), 0);
        let wrong = self.out_of_order.load(Relaxed);
        check!(
            log,
            wrong == 0,
            "{wrong}, first {position}, not {expected}, of sender {from}"
        );
        Ok(())
    }
}

fn tally() -> Result<Arc<Tally>> {
    Ok(Arc::new(Tally::default(), GFP_KERNEL)?)
}

/// Takes messages until all senders are gone; the next position of each of `senders`.
async fn take_all(mut rx: Receiver<Message>, senders: u32, tally: Arc<Tally>) -> KVec<u64> {
    let mut next = KVec::new();
    for _ in 0..senders {
        let _ = next.push(0, GFP_KERNEL);
    }
    while let Some(message) = rx.recv().await {
        tally.total.store(tally.total.load(Relaxed) + 1, Relaxed);
        if !message.is_whole() {
            tally.garbled.fetch_add(1, Relaxed);
        }
        match next.get_mut(message.from as usize) {
            // Exactly the next: nothing lost, nothing twice, nothing early.
            Some(next) if *next == message.position => *next += 1,
            // Go on from there, so that each fault counts once.
            next => {
                let expected = next.as_ref().map_or(0, |n| **n);
                if tally.out_of_order.fetch_add(1, Relaxed) == 0 {
                    let found = [u64::from(message.from), message.position, expected];
                    for (to, value) in tally.first.iter().zip(found) {
                        to.store(value, Relaxed);
                    }
                }
                if let Some(next) = next {
                    *next = message.position + 1;
                }
            }
        }
    }
    next
}

/// Sends `count` messages from a context of `cpu`, and says whether all went.
pub(crate) fn send_from(at: Where, cpu: u32, from: u32, count: u64, tx: &Sender<Message>) -> bool {
    let mut position = 0;
    if at == Where::Task {
        while position < count && !sys::should_stop() {
            // Mostly without waiting, and now and then with.
            let sent = if position % 16 == 15 {
                tx.post(Message::new(from, position)).is_ok()
            } else {
                tx.try_post(Message::new(from, position)).is_ok()
            };
            if sent {
                position += 1;
            } else {
                sys::cond_resched();
            }
        }
        return position == count;
    }
    while position < count && !sys::should_stop() {
        let before = position;
        position = sys::run_in_on(at, cpu, || {
            let end = count.min(position + 512);
            while position < end && tx.try_post(Message::new(from, position)).is_ok() {
                position += 1;
            }
            position
        });
        if position == before {
            sys::sleep_ms(1);
        }
    }
    position == count
}

/// Ten million messages, from threads, softirqs and hard interrupts of each CPU at once. The
/// threads that cause the interrupts sit on another CPU, so that these hit whatever runs: senders
/// in the middle of a post, the domain itself.
fn ten_million(log: &mut Log) -> Result {
    const TOTAL: u64 = 10_000_000;
    let domain = domain(c"delivery")?;
    let (tx, rx) = domain.mailbox_with::<Message>(room(1024))?;
    let senders = 3 * sys::cpus();
    let each = TOTAL.div_ceil(u64::from(senders));
    let tally = tally()?;
    let task = domain.spawn(c"takes", take_all(rx, senders, tally.clone()))?;
    let mut threads = KVec::new();
    for from in 0..senders {
        let (at, cpu, home) = origin(from);
        let tx = tx.clone();
        let thread = Worker::start(Some(home), move || send_from(at, cpu, from, each, &tx))?;
        threads.push(thread, GFP_KERNEL)?;
    }
    drop(tx);
    for thread in threads {
        check_eq!(log, thread.join(20 * LONG), Some(true));
    }
    let next = join(task)??;
    tally.is_clean(log)?;
    check_eq!(log, tally.total.load(Relaxed), each * u64::from(senders));
    check!(log, next.iter().all(|n| *n == each), "{next:?}");
    check_eq!(log, domain.stats().posts(), each * u64::from(senders));
    Ok(())
}

/// A thread that changes its CPU between posts, and with it its ring, while nothing is taken: a
/// receiver that visits the rings in turn would get this wrong.
fn migrating_exact(log: &mut Log) -> Result {
    const COUNT: u64 = 96;
    let domain = domain(c"delivery")?;
    let (tx, rx) = domain.mailbox_with::<Message>(room(128))?;
    let tally = tally()?;
    let task = domain.spawn(c"takes", take_all(rx, 1, tally.clone()))?;
    let held = Held::new(&domain)?;
    let thread = Worker::start(None, move || -> Result {
        for position in 0..COUNT {
            // Runs of different length, so that the rings fill unevenly.
            if position % 5 == 0 || position % 7 == 0 {
                sys::move_to((position as u32 / 5 + position as u32 / 7) % sys::cpus())?;
            }
            tx.try_post(Message::new(0, position))?;
        }
        Ok(())
    })?;
    check_eq!(log, thread.join(LONG), Some(Ok(())));
    drop(held);
    check_eq!(log, join(task)??.first(), Some(&COUNT));
    tally.is_clean(log)?;
    Ok(())
}

/// The same while the receiver runs, and full rings make the sender wait.
fn migrating(log: &mut Log) -> Result {
    const COUNT: u64 = 20_000;
    let domain = domain(c"delivery")?;
    let (tx, rx) = domain.mailbox_with::<Message>(room(4))?;
    let tally = tally()?;
    let task = domain.spawn(c"takes", take_all(rx, 2, tally.clone()))?;
    let mut threads = KVec::new();
    for from in 0..2 {
        let tx = tx.clone();
        let thread = Worker::start(None, move || -> Result {
            for position in 0..COUNT {
                if position % 3 == 0 {
                    sys::move_to((position as u32 / 3 + from) % sys::cpus())?;
                }
                tx.post(Message::new(from, position))?;
            }
            Ok(())
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    drop(tx);
    for thread in threads {
        check_eq!(log, thread.join(3 * LONG), Some(Ok(())));
    }
    let next = join(task)??;
    tally.is_clean(log)?;
    check!(log, next.iter().all(|n| *n == COUNT), "{next:?}");
    Ok(())
}

/// Threads of all CPUs that use one sender, without a clone: each keeps its own order.
fn shared_sender(log: &mut Log) -> Result {
    const EACH: u64 = 50_000;
    let domain = domain(c"delivery")?;
    let (tx, rx) = domain.mailbox_with::<Message>(room(64))?;
    let tx = Arc::new(tx, GFP_KERNEL)?;
    let tally = tally()?;
    let task = domain.spawn(c"takes", take_all(rx, 4, tally.clone()))?;
    let mut threads = KVec::new();
    for from in 0..4 {
        let tx = tx.clone();
        let thread = Worker::start(Some(from % sys::cpus()), move || {
            (0..EACH).all(|position| tx.post(Message::new(from, position)).is_ok())
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    drop(tx);
    for thread in threads {
        check_eq!(log, thread.join(3 * LONG), Some(true));
    }
    let next = join(task)??;
    tally.is_clean(log)?;
    check!(log, next.iter().all(|n| *n == EACH), "{next:?}");
    Ok(())
}

/// A thread posts without pause while interrupts of its own CPU post into the same mailbox: they
/// come in the middle of its posts.
fn interrupts_amid_a_post(log: &mut Log) -> Result {
    let domain = domain_on(c"delivery", other(0))?;
    let (tx, rx) = domain.mailbox_with::<Message>(room(256))?;
    let tally = tally()?;
    let task = domain.spawn(c"takes", take_all(rx, 3, tally.clone()))?;
    let stop = Arc::new(AtomicBool::new(false), GFP_KERNEL)?;
    let (poster, s) = (tx.clone(), stop.clone());
    let thread = Worker::start(Some(0), move || {
        let mut position = 0;
        while !s.load(Relaxed) && !sys::should_stop() {
            if poster.try_post(Message::new(0, position)).is_ok() {
                position += 1;
            } else {
                sys::cond_resched();
            }
        }
        position
    })?;
    sys::move_to(other(0))?;
    let mut sent = [0u64; 2];
    for _ in 0..1_000 {
        for (sent, (from, at)) in sent
            .iter_mut()
            .zip([(1, Where::Softirq), (2, Where::HardIrq)])
        {
            let message = Message::new(from, *sent);
            if sys::run_in_on(at, 0, || tx.try_post(message).is_ok()) {
                *sent += 1;
            }
        }
    }
    stop.store(true, Relaxed);
    let posted = thread.join(LONG).ok_or(ETIME)?;
    drop(tx);
    let next = join(task)??;
    tally.is_clean(log)?;
    check_eq!(log, next.as_slice(), [posted, sent[0], sent[1]]);
    check!(
        log,
        sent.iter().all(|n| *n > 0),
        "nothing came from interrupts"
    );
    Ok(())
}

/// Invariant 5: a sender that has sent a lot does not keep others waiting until it is all received.
fn lanes_take_turns(log: &mut Log) -> Result {
    const EACH: u32 = 64;
    let domain = domain(c"delivery")?;
    let (tx, mut rx) = domain.mailbox_with::<u32>(room(EACH as usize))?;
    for cpu in 0..2 {
        sys::move_to(cpu)?;
        let tx = tx.clone();
        for _ in 0..EACH {
            tx.try_post(cpu)?;
        }
    }
    let (mut left, mut last, mut row) = ([EACH; 2], u32::MAX, 0);
    while left != [0, 0] {
        let from = rx.try_recv().ok_or(ENODATA)?;
        row = if from == last { row + 1 } else { 1 };
        last = from;
        check!(
            log,
            row <= 16 || left[1 - from as usize] == 0,
            "{row} of CPU {from} in a row, {left:?} left"
        );
        left[from as usize] -= 1;
    }
    Ok(())
}

/// All that was sent arrives, also when its sender is gone by then; then the end is told.
fn senders_go_first(log: &mut Log) -> Result {
    let domain = domain(c"delivery")?;
    let (tx, rx) = domain.mailbox_with::<Message>(room(32))?;
    let tally = tally()?;
    let held = Held::new(&domain)?;
    let task = domain.spawn(c"takes", take_all(rx, 1, tally.clone()))?;
    sys::move_to(0)?;
    for position in 0..32 {
        tx.try_post(Message::new(0, position))?;
    }
    drop(tx);
    drop(held);
    check_eq!(log, join(task)??.first(), Some(&32));
    Ok(())
}

/// Values that are still in the rings when the receiver goes are dropped, each once; later ones
/// come back.
fn undelivered_are_dropped(log: &mut Log) -> Result {
    let domain = domain(c"delivery")?;
    let (tx, mut rx) = domain.mailbox_with::<Counted>(room(16))?;
    let count = count()?;
    for cpu in 0..sys::cpus() {
        for at in [Where::Softirq, Where::HardIrq] {
            for i in 0..10 {
                let sent = sys::run_in_on(at, cpu, || tx.try_post(Counted::new(&count, i)));
                check!(log, sent.is_ok(), "{at:?} {cpu} {i}");
            }
        }
    }
    let taken = usize::from(rx.try_recv().is_some());
    check_eq!(log, (taken, count.dropped()), (1, 1));
    drop(rx);
    check!(log, count.is_even(), "{count:?}");
    match tx.try_post(Counted::new(&count, 77)) {
        Ok(()) => check!(log, false, "a message was accepted that nobody will take"),
        Err(e) => {
            check_eq!(log, e.kind(), PostErrorKind::Closed);
            check_eq!(log, e.into_inner().value, 77);
        }
    }
    check!(log, eventually(LONG, || count.is_even()), "{count:?}");
    Ok(())
}

/// The receiver goes while threads of all CPUs are in the middle of posts: what they accepted is
/// dropped by then, though the mailbox is still there.
fn receiver_goes_amid_posts(log: &mut Log) -> Result {
    /// Takes its time to be copied.
    struct Large(Counted, [u64; 200]);

    let domain = domain(c"delivery")?;
    for round in 0..150 {
        let (tx, rx) = domain.mailbox_with::<Large>(room(64))?;
        let (tx, count) = (Arc::new(tx, GFP_KERNEL)?, count()?);
        let mut threads = KVec::new();
        for cpu in 0..sys::cpus() {
            let (tx, count) = (tx.clone(), count.clone());
            let thread = Worker::start(Some(cpu), move || loop {
                match tx.try_post(Large(Counted::new(&count, cpu), [7; 200])) {
                    Ok(()) => (),
                    Err(e) if e.kind() == PostErrorKind::Full => sys::cond_resched(),
                    Err(e) => return e.kind() == PostErrorKind::Closed && e.into_inner().1[9] == 7,
                }
            })?;
            threads.push(thread, GFP_KERNEL)?;
        }
        let mut rx = rx;
        let mut taken = 0;
        eventually(LONG, || {
            // Keeps them busy.
            while taken < 300 + round % 50 {
                match rx.try_recv() {
                    Some(large) => taken += u64::from(large.0.value < sys::cpus()),
                    None => return false,
                }
            }
            true
        });
        drop(rx);
        for thread in threads {
            check_eq!(log, thread.join(LONG), Some(true));
        }
        check!(log, count.is_even(), "round {round}: {count:?}");
        drop(tx);
    }
    Ok(())
}
