// SPDX-License-Identifier: GPL-2.0

//! Domains with bottom halves off, wanted by everybody at once: millions of posts from threads,
//! softirqs and hard interrupts, calls, and those who enter. Invariants 1, 2, 3 and 6.

use crate::bh::bh_domain;
use crate::delivery::{send_from, Message};
use crate::harness::*;
use crate::sys::{self, eventually, Where, Worker};
use coop_domain::prelude::*;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};
use kernel::prelude::*;
use kernel::sync::Arc;

pub(crate) const TESTS: &[Test] = &[
    ("bh_load.three_million_from_all_contexts", millions),
    ("bh_load.one_at_a_time_for_long", ping_pong),
    ("bh_load.ends_amid_all_of_it", ends),
];

/// Several words that are changed one after the other: who sees some of them changed and others not
/// was not alone.
#[derive(Default)]
struct Words {
    words: [u64; 8],
    torn: u64,
}

impl Words {
    fn bump(&mut self) {
        let first = self.words[0];
        for word in &mut self.words {
            if *word != first {
                self.torn += 1;
            }
            *word = core::hint::black_box(first + 1);
        }
    }
}

/// What the receiver saw: the next position of each sender, and what was wrong.
#[derive(Default)]
struct Taken {
    next: [AtomicU64; 32],
    total: AtomicU64,
    wrong: AtomicU64,
}

fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed) + n, Relaxed);
}

/// Takes messages, and changes the words for each.
async fn take_all(mut rx: Receiver<Message>, taken: Arc<Taken>, words: Arc<DomainCell<Words>>) {
    loop {
        let Some(message) = rx.recv().await else {
            // The receiver is to go with the domain.
            return forever().await;
        };
        let ok = match taken.next.get(message.from as usize) {
            Some(next) if next.load(Relaxed) == message.position => {
                add(next, 1);
                message.is_whole()
            }
            _ => false,
        };
        if !ok || words.with(Words::bump).is_err() {
            add(&taken.wrong, 1);
        }
        add(&taken.total, 1);
    }
}

/// Enters from a thread and from softirqs of a CPU, some times; how often that went well.
fn enter_from(cpu: u32, words: &DomainCell<Words>) -> u64 {
    let mut entered = 0;
    for (at, cpu) in [(Where::BhOff, sys::cpu()), (Where::Softirq, cpu)] {
        sys::run_in_on(at, cpu, || {
            for _ in 0..64 {
                entered += u64::from(words.enter(Words::bump).is_ok());
            }
        });
    }
    sys::cond_resched();
    entered
}

/// All at once: three senders for each CPU, one of each kind; a thread of each that calls, and one
/// that enters.
fn millions(log: &mut Log) -> Result {
    const TOTAL: u64 = 3_000_000;
    let domain = bh_domain(c"bh")?;
    let senders = (3 * sys::cpus()).min(32);
    let each = TOTAL.div_ceil(u64::from(senders));
    let (tx, rx) = domain.mailbox_with::<Message>(room(1024))?;
    let words = Arc::new(domain.cell(Words::default()), GFP_KERNEL)?;
    let taken = Arc::new(Taken::default(), GFP_KERNEL)?;
    domain
        .spawn(c"takes", take_all(rx, taken.clone(), words.clone()))?
        .detach();
    let (caller, mut requests) = domain.call_mailbox::<u64, u64>()?;
    let w = words.clone();
    let server = async move {
        loop {
            let Some(request) = requests.recv().await else {
                return forever().await;
            };
            let (n, reply) = request.into_parts();
            let _ = w.with(Words::bump);
            let _ = reply.send(n + 1);
        }
    };
    domain.spawn(c"server", server)?.detach();

    let (stop, mut threads) = (flag()?, KVec::new());
    for from in 0..senders {
        let (at, cpu, home) = origin(from);
        let tx = tx.clone();
        let thread = Worker::start(Some(home), move || send_from(at, cpu, from, each, &tx))?;
        threads.push(thread, GFP_KERNEL)?;
    }
    let mut others = KVec::new();
    for cpu in 0..sys::cpus() {
        let (w, s) = (words.clone(), stop.clone());
        // Each at least once: they may not have been run until the others are done.
        let enters = Worker::start(Some(cpu), move || {
            let mut n = 0;
            while !s.is_set() || n == 0 && !sys::should_stop() {
                n += enter_from(other(cpu), &w);
            }
            Ok(n)
        })?;
        let (c, s) = (caller.clone(), stop.clone());
        let calls = Worker::start(Some(cpu), move || -> Result<u64> {
            let mut n = 0;
            while !s.is_set() || n == 0 {
                if c.call(n)? != n + 1 {
                    return Err(EINVAL);
                }
                n += 1;
                sys::cond_resched();
            }
            Ok(n)
        })?;
        others.push(enters, GFP_KERNEL)?;
        others.push(calls, GFP_KERNEL)?;
    }
    for thread in threads {
        check_eq!(log, thread.join(20 * LONG), Some(true));
    }
    let total = each * u64::from(senders);
    check!(
        log,
        eventually(LONG, || taken.total.load(Relaxed) == total),
        "{} of {total}",
        taken.total.load(Relaxed)
    );
    // Nobody but those who enter is in the callers' way any more.
    let inline = || domain.stats().inline_calls.get() > 0;
    check!(log, eventually(LONG, inline), "no caller runs the domain");
    stop.set();
    let mut changes = total;
    for thread in others {
        let n = thread.join(LONG).ok_or(ETIME)??;
        check!(log, n > 0);
        changes += n;
    }
    check_eq!(log, taken.wrong.load(Relaxed), 0);
    let next = taken.next.iter().take(senders as usize);
    check!(log, next.clone().all(|n| n.load(Relaxed) == each));
    let found = run(&domain, async move {
        words.with(|w| (w.torn, w.words[0], w.words[7]))
    })?;
    check_eq!(log, found, Ok((0, changes, changes)));
    Ok(())
}

/// Each message is sent only when the one before has come, from two CPUs in turn, against those who
/// enter: a wake-up that is lost is not made good by the next one.
fn ping_pong(log: &mut Log) -> Result {
    const EACH: usize = 60_000;
    let domain = bh_domain(c"bh")?;
    let (tx, mut rx) = domain.mailbox_with::<()>(room(16))?;
    let seen = Arc::new(AtomicUsize::new(0), GFP_KERNEL)?;
    let s = seen.clone();
    let taker = async move {
        while rx.recv().await.is_some() {
            s.fetch_add(1, Release);
        }
        forever().await;
    };
    domain.spawn(c"taker", taker)?.detach();
    let cell = Arc::new(domain.cell(Words::default()), GFP_KERNEL)?;
    let stop = flag()?;
    let (c, s, begun) = (cell.clone(), stop.clone(), flag()?);
    let b = begun.clone();
    let cpu = sys::cpu();
    let enters = Worker::start(Some(other(cpu)), move || {
        let mut n = 0u64;
        while !s.is_set() && !sys::should_stop() {
            sys::run_in(Where::BhOff, || {
                for _ in 0..32 {
                    n += u64::from(c.enter(Words::bump).is_ok());
                }
            });
            if n > 0 {
                b.set();
            }
            sys::cond_resched();
        }
        n
    })?;
    sys::move_to(cpu)?;
    check!(log, begun.wait());
    for i in 1..=EACH {
        // What the home thread is to run, now and then.
        let at = if i % 64 == 0 {
            Where::IrqOff
        } else {
            Where::Task
        };
        check!(log, sys::run_in(at, || tx.try_post(()).is_ok()));
        let mut looks = 0u32;
        while seen.load(Acquire) < i {
            looks += 1;
            if looks > 1000 {
                check!(
                    log,
                    eventually(LONG, || seen.load(Acquire) >= i),
                    "message {i} was forgotten"
                );
            }
            core::hint::spin_loop();
        }
        if i % 16 == 0 {
            sys::cond_resched();
        }
    }
    stop.set();
    check!(log, enters.join(LONG).is_some());
    check_eq!(log, seen.load(Acquire), EACH);
    Ok(())
}

/// A domain that goes while all of that is under way: whoever is running it, and whatever is left
/// for whom.
fn ends(log: &mut Log) -> Result {
    const ROUNDS: usize = 40;
    let count = count()?;
    for round in 0..ROUNDS {
        let domain = bh_domain(c"bh")?;
        let (tx, mut rx) = domain.mailbox_with::<Counted>(room(16))?;
        let cell = Arc::new(domain.cell(Words::default()), GFP_KERNEL)?;
        let (caller, mut requests) = domain.call_mailbox::<u32, u32>()?;
        let taker = async move { while rx.recv().await.is_some() {} };
        domain.spawn(c"taker", taker)?.detach();
        let server = async move {
            while let Some(request) = requests.recv().await {
                let (n, reply) = request.into_parts();
                let _ = reply.send(n);
            }
        };
        domain.spawn(c"server", server)?.detach();

        let stop = flag()?;
        let mut threads = KVec::new();
        for from in 0..3 * sys::cpus() {
            let (at, cpu, home) = origin(from);
            let (tx, count) = (tx.clone(), count.clone());
            let thread = Worker::start(Some(home), move || loop {
                let kind = sys::run_in_on(at, cpu, || {
                    let mut sent = Ok(());
                    for i in 0..32 {
                        sent = tx.try_post(Counted::new(&count, i)).map_err(|e| e.kind());
                    }
                    sent
                });
                if kind == Err(PostErrorKind::Closed) {
                    return true;
                }
                sys::cond_resched();
            })?;
            threads.push(thread, GFP_KERNEL)?;
        }
        for cpu in 0..sys::cpus() {
            let (c, s) = (cell.clone(), stop.clone());
            let thread = Worker::start(Some(cpu), move || {
                while !s.is_set() && !sys::should_stop() {
                    enter_from(other(cpu), &c);
                }
                true
            })?;
            threads.push(thread, GFP_KERNEL)?;
            let c = caller.clone();
            let thread = Worker::start(Some(cpu), move || {
                until_error(16, |i| Ok(c.call(i)? == i)) == ECANCELED
            })?;
            threads.push(thread, GFP_KERNEL)?;
        }
        sys::sleep_ms(1 + round as u32 % 16);
        drop(domain);
        // No more of it: who enters finds it gone.
        check!(
            log,
            sys::run_in(Where::BhOff, || cell.enter(|_| ()).is_err())
        );
        stop.set();
        for thread in threads {
            check_eq!(log, thread.join(LONG), Some(true));
        }
        drop(tx);
        check!(log, count.is_even(), "{count:?}");
    }
    check!(log, count.made() > 0);
    Ok(())
}
