// SPDX-License-Identifier: GPL-2.0

//! Domains that run with bottom halves off, by whoever sends to them: who runs them, that only one
//! does, and that nothing is lost between those who leave work and those who find it. Invariants 1,
//! 2, 3, 5 and 6.

use crate::harness::*;
use crate::sys::{self, eventually, Where, Worker};
use coop_domain::prelude::*;
use core::sync::atomic::{AtomicUsize, Ordering::*};
use kernel::prelude::*;
use kernel::sync::Arc;

pub(crate) const TESTS: &[Test] = &[
    ("bh.the_sender_runs_the_receiver", sender_runs),
    ("bh.who_runs_it_where", who_runs),
    ("bh.not_inside_another_domain", nested),
    ("bh.the_caller_runs_it", caller_runs),
    ("bh.an_answer_that_comes_later", later),
    ("bh.a_dedicated_one_is_not_run_by_others", dedicated),
    ("bh.others_work_is_left_to_the_home_thread", budget),
    ("bh.a_busy_runner_looks_again", looks_again),
    ("bh.the_home_thread_waits_for_the_runner", home_waits),
    ("bh.a_preempted_runner", preempted),
    ("bh.what_would_sleep_is_refused", refused),
    ("bh.a_receiver_goes_before_its_senders", receiver_goes),
    ("bh.who_enters_where", enters),
];

/// A domain of this level.
pub(crate) fn bh_domain(name: &CStr) -> Result<Domain> {
    Domain::builder(name, crate::owner())
        .level(Level::Bh)
        .build()
}

/// A coroutine that notes who runs it for each message, and how many there were.
#[derive(Default)]
pub(crate) struct Seen {
    by: AtomicUsize,
    count: AtomicUsize,
}

impl Seen {
    fn count(&self) -> usize {
        self.count.load(Acquire)
    }

    fn by(&self) -> usize {
        self.by.load(Acquire)
    }

    /// Waits until there were so many; whether there were.
    fn reaches(&self, count: usize) -> bool {
        eventually(LONG, || self.count() >= count)
    }
}

/// Such a coroutine, and how to reach it.
fn watcher(domain: &Domain) -> Result<(Sender<u32>, Arc<Seen>)> {
    let (tx, mut rx) = domain.mailbox_with::<u32>(room(1024))?;
    let seen = Arc::new(Seen::default(), GFP_KERNEL)?;
    let s = seen.clone();
    let watch = async move {
        loop {
            // The sender outlives the domain, in these tests.
            if rx.recv().await.is_some() {
                s.by.store(sys::me(), Relaxed);
                s.count.fetch_add(1, Release);
            } else {
                forever().await;
            }
        }
    };
    domain.spawn(c"watch", watch)?.detach();
    settle(domain)?;
    Ok((tx, seen))
}

/// Who sends to an idle domain runs it before the post returns: no thread is woken.
fn sender_runs(log: &mut Log) -> Result {
    let domain = bh_domain(c"bh")?;
    let (tx, seen) = watcher(&domain)?;
    let read = || {
        let s = domain.stats();
        (s.sleeps.get(), s.unproductive.get(), s.hand_overs.get())
    };
    let before = read();
    for i in 1..1000 {
        check!(log, tx.try_post(0).is_ok());
        check_eq!(log, seen.count(), i);
        check_eq!(log, seen.by(), sys::me());
    }
    // The same with a batch, and with a post that may wait.
    check_eq!(log, tx.post_batch(&mut (0..10)), Ok(10));
    check_eq!(log, seen.count(), 1009);
    check!(log, tx.post(0).is_ok());
    check_eq!(log, seen.count(), 1010);
    check_eq!(log, seen.by(), sys::me());
    sys::sleep_ms(10);
    check_eq!(log, read(), before);
    Ok(())
}

/// From where: threads and softirqs that hold no spinlock and have interrupts on run the domain;
/// what others send is run by the home thread.
fn who_runs(log: &mut Log) -> Result {
    let domain = bh_domain(c"bh")?;
    let (tx, seen) = watcher(&domain)?;
    let home = run(&domain, async { sys::me() })?;
    let (mut expected, mut by_softirqs) = (0, 0);
    let here = sys::cpu();
    sys::move_to(here)?;
    for _ in 0..50 {
        for at in sys::ANY {
            settle(&domain)?;
            let by = sys::run_in_on(at, other(here), || {
                let before = seen.count();
                let sent = tx.try_post(0).is_ok();
                // The home thread may be quick, on another CPU.
                (sent && seen.count() > before).then(|| seen.by())
            });
            expected += 1;
            check!(log, seen.reaches(expected), "{at:?}");
            match at {
                Where::Task | Where::BhOff => check_eq!(log, (at, by), (at, Some(sys::me()))),
                // It depends on whom it has interrupted.
                Where::Softirq => by_softirqs += u32::from(by.is_some_and(|by| by != home)),
                // On PREEMPT_RT not to be told from a lock.
                Where::Rcu if sys::IS_RT => (),
                Where::Rcu => check_eq!(log, (at, by), (at, Some(sys::me()))),
                _ => check_eq!(log, (at, seen.by()), (at, home)),
            }
        }
    }
    log.line(core::format_args!("{by_softirqs} of 50 by softirqs"));
    check!(log, by_softirqs > 0 || sys::IS_RT || sys::cpus() < 2);
    Ok(())
}

/// A coroutine of another domain, of either level, leaves what it sends to the home thread.
fn nested(log: &mut Log) -> Result {
    let target = bh_domain(c"bh")?;
    let (tx, seen) = watcher(&target)?;
    let home = run(&target, async { sys::me() })?;
    let mut expected = 0;
    for level in [Level::Process, Level::Bh] {
        let other = Domain::builder(c"bh-other", crate::owner())
            .level(level)
            .build()?;
        let (caller, mut requests) = other.call_mailbox::<(), bool>()?;
        let (tx, s) = (tx.clone(), seen.clone());
        let server = async move {
            loop {
                let Some(request) = requests.recv().await else {
                    return forever().await;
                };
                let before = s.count();
                let _ = tx.try_post(0);
                let run = s.count() != before && s.by() != home;
                let _ = request.into_parts().1.send(run);
            }
        };
        other.spawn(c"server", server)?.detach();
        settle(&other)?;
        for _ in 0..100 {
            settle(&target)?;
            // Run by us, inline, and then the post in there.
            check_eq!(log, caller.call(()), Ok(false));
            expected += 1;
            check!(log, seen.reaches(expected));
            check_eq!(log, seen.by(), home);
        }
        check_eq!(log, other.stats().inline_calls.get(), 100);
    }
    Ok(())
}

type Who = (Caller<u32, usize>, Receiver<Request<u32, usize>>);

/// A server that answers who it is that runs it.
fn who(domain: &Domain) -> Result<Caller<u32, usize>> {
    let (caller, mut requests): Who = domain.call_mailbox()?;
    let server = async move {
        loop {
            let Some(request) = requests.recv().await else {
                return forever().await;
            };
            let _ = request.into_parts().1.send(sys::me());
        }
    };
    domain.spawn(c"who", server)?.detach();
    settle(domain)?;
    Ok(caller)
}

/// So with a call whose answer comes at once.
fn caller_runs(log: &mut Log) -> Result {
    let domain = bh_domain(c"bh")?;
    let caller = who(&domain)?;
    let sleeps = domain.stats().sleeps.get();
    for i in 0..500 {
        check_eq!(log, caller.call(i), Ok(sys::me()));
        check_eq!(log, caller.call_timeout(i, 1000), Ok(sys::me()));
        check_eq!(log, caller.call_uninterruptible(i), Ok(sys::me()));
    }
    check_eq!(log, domain.stats().inline_calls.get(), 1500);
    check_eq!(log, domain.stats().sleeps.get(), sleeps);
    let home = run(&domain, async { sys::me() })?;
    // The home thread does, if it is asked to.
    settle(&domain)?;
    check!(log, home != sys::me());
    check!(log, caller.call_by_home(0).is_ok());
    // Where one may not wait, the call is refused.
    for at in sys::ATOMIC {
        check_eq!(log, sys::run_in(at, || caller.call(1)), Err(EAGAIN));
    }
    Ok(())
}

/// The caller runs the coroutine as far as it goes, and sleeps until the answer comes.
fn later(log: &mut Log) -> Result {
    let domain = bh_domain(c"bh")?;
    let (caller, mut requests): Who = domain.call_mailbox()?;
    let (go, begun) = (signal()?, Arc::new(Seen::default(), GFP_KERNEL)?);
    let (g, b) = (go.clone(), begun.clone());
    let server = async move {
        loop {
            let Some(request) = requests.recv().await else {
                return forever().await;
            };
            b.by.store(sys::me(), Relaxed);
            b.count.fetch_add(1, Release);
            g.wait().await;
            let _ = request.into_parts().1.send(sys::me());
        }
    };
    domain.spawn(c"later", server)?.detach();
    for (n, at) in sys::ANY.into_iter().cycle().take(45).enumerate() {
        // The home thread has answered the one before, and may be about to leave yet.
        settle(&domain)?;
        let c = caller.clone();
        let thread = Worker::start(None, move || (c.call(0).is_ok(), sys::me()))?;
        check!(log, begun.reaches(n + 1));
        check!(log, thread.sleeps());
        sys::run_in(at, || go.signal());
        let Some((done, thread)) = thread.join(LONG) else {
            return Err(ETIME);
        };
        check!(log, done);
        check_eq!(log, begun.by(), thread);
    }
    check_eq!(log, caller.call_timeout(0, 20), Err(ETIMEDOUT));
    go.signal();
    Ok(())
}

/// Nobody but the home thread runs a dedicated domain, not even those who send to it.
fn dedicated(log: &mut Log) -> Result {
    let domain = Domain::builder(c"bh", crate::owner())
        .level(Level::Bh)
        .dedicated()
        .build()?;
    let (tx, seen) = watcher(&domain)?;
    let caller = who(&domain)?;
    let home = run(&domain, async { sys::me() })?;
    for i in 1..200 {
        check!(log, tx.try_post(0).is_ok());
        check!(log, seen.reaches(i));
        check_eq!(log, seen.by(), home);
        check_eq!(log, caller.call(0), Ok(home));
    }
    Ok(())
}

/// A coroutine that goes on and on: the sender runs it a while, and the home thread the rest.
fn budget(log: &mut Log) -> Result {
    const ROUNDS: usize = 500;
    let domain = bh_domain(c"bh")?;
    let home = run(&domain, async { sys::me() })?;
    let (tx, mut rx) = domain.mailbox::<u32>()?;
    let seen = Arc::new([0, 0].map(AtomicUsize::new), GFP_KERNEL)?;
    let s = seen.clone();
    let server = async move {
        while rx.recv().await.is_some() {
            for _ in 0..ROUNDS {
                let [at_home, elsewhere] = &*s;
                let by = if sys::me() == home {
                    at_home
                } else {
                    elsewhere
                };
                by.fetch_add(1, Relaxed);
                yield_now().await;
            }
        }
        forever().await;
    };
    domain.spawn(c"server", server)?.detach();
    for i in 1..20 {
        settle(&domain)?;
        check!(log, tx.try_post(0).is_ok());
        let load = || seen.each_ref().map(|n| n.load(Relaxed));
        check!(
            log,
            eventually(LONG, || load().iter().sum::<usize>() == i * ROUNDS)
        );
        let [_, elsewhere] = load();
        check!(log, elsewhere >= i && elsewhere <= 16 * i, "{elsewhere}");
    }
    Ok(())
}

/// Enters `cell` on this CPU, and while inside has `post` called by a thread of another one;
/// whether that went well, and how many messages were received before leaving.
fn post_meanwhile<F>(
    cell: &DomainCell<u32>,
    seen: &Seen,
    post: F,
    linger_us: u32,
) -> Result<(bool, usize)>
where
    F: FnOnce() -> bool + Send + 'static,
{
    let here = sys::cpu();
    sys::move_to(here)?;
    let (started, sent) = (flag()?, flag()?);
    let (s, is_sent) = (started.clone(), sent.clone());
    let thread = Worker::start(Some(other(here)), move || {
        while !s.is_set() {
            core::hint::spin_loop();
        }
        let ok = post();
        sent.set();
        ok
    })?;
    let entered = sys::run_in(Where::BhOff, || {
        let inside = |n: &mut u32| {
            started.set();
            // It does not wait for us.
            while !is_sent.is_set() {
                core::hint::spin_loop();
            }
            sys::busy(linger_us);
            *n += 1;
            seen.count()
        };
        cell.enter(inside).map_err(|_| EBUSY)
    })?;
    Ok((thread.join(LONG) == Some(true), entered))
}

/// A sender that finds the domain being run leaves its message there, and goes; the runner, on its
/// way out, finds it. The home thread sleeps through it.
fn looks_again(log: &mut Log) -> Result {
    if sys::cpus() < 2 {
        return Ok(());
    }
    let domain = bh_domain(c"bh")?;
    let (tx, seen) = watcher(&domain)?;
    let cell = domain.cell(0);
    let sleeps = domain.stats().sleeps.get();
    for i in 0..200 {
        let tx = tx.clone();
        let found = post_meanwhile(&cell, &seen, move || tx.try_post(0).is_ok(), 0)?;
        check_eq!(log, found, (true, i));
        check_eq!(log, seen.count(), i + 1);
        check_eq!(log, seen.by(), sys::me());
    }
    check_eq!(log, domain.stats().sleeps.get(), sleeps);
    Ok(())
}

/// The home thread, woken for what somebody sent who may not run the domain, sleeps until the runner
/// is done.
fn home_waits(log: &mut Log) -> Result {
    if sys::cpus() < 2 {
        return Ok(());
    }
    let domain = bh_domain(c"bh")?;
    let (tx, seen) = watcher(&domain)?;
    let home = run(&domain, async { sys::me() })?;
    let cell = domain.cell(0);
    let mut waited = false;
    for i in 0..100 {
        settle(&domain)?;
        let contended = domain.stats().contended.get();
        let tx = tx.clone();
        let post = move || sys::run_in(Where::IrqOff, || tx.try_post(0).is_ok());
        // Long enough for it to wake up.
        let found = post_meanwhile(&cell, &seen, post, 1000)?;
        check_eq!(log, found, (true, i));
        check!(log, seen.reaches(i + 1));
        check_eq!(log, seen.by(), home);
        waited |= domain.stats().contended.get() > contended;
    }
    check!(log, waited);
    Ok(())
}

/// A runner that is preempted by those who want the domain, senders of real-time priority and a home
/// thread of real-time priority, all on its own CPU. (Where it cannot be preempted, as bottom halves
/// are off for a CPU, this is easy.)
fn preempted(log: &mut Log) -> Result {
    let cpu = sys::cpu();
    let domain = Domain::builder(c"bh", crate::owner())
        .level(Level::Bh)
        .cpu(cpu)
        .policy(Policy::Fifo)
        .build()?;
    let (tx, seen) = watcher(&domain)?;
    let cell = Arc::new(domain.cell(0u32), GFP_KERNEL)?;
    let (stop, begun) = (flag()?, flag()?);
    let (c, s, b) = (cell.clone(), stop.clone(), begun.clone());
    let slow = Worker::start(Some(cpu), move || {
        sys::become_nice();
        let mut entered = 0u32;
        while !s.is_set() {
            let done = sys::run_in(Where::BhOff, || {
                c.enter(|n| {
                    sys::busy(300);
                    *n += 1;
                })
                .is_ok()
            });
            entered += u32::from(done);
            if done {
                b.set();
            }
            sys::cond_resched();
        }
        entered
    })?;
    check!(log, begun.wait());
    let t = tx.clone();
    let urgent = Worker::start(Some(cpu), move || {
        sys::become_fifo();
        let mut sent = 0;
        for i in 0..1000 {
            let at = if i % 2 == 0 {
                Where::Task
            } else {
                Where::HardIrq
            };
            sent += usize::from(sys::run_in(at, || t.try_post(0).is_ok()));
            if i % 8 == 0 {
                sys::sleep_ms(1);
            }
        }
        sent
    })?;
    let sent = urgent.join(3 * LONG);
    check!(log, sent.is_some_and(|sent| sent == 1000), "{sent:?}");
    check!(log, seen.reaches(1000));
    stop.set();
    let entered = slow.join(LONG).ok_or(ETIME)?;
    check!(log, entered > 0);
    check_eq!(log, seen.count(), 1000);
    let (n, at) = (run(&domain, async move { cell.with(|n| *n) })?, entered);
    check_eq!(log, n, Ok(at));
    Ok(())
}

/// What would sleep is refused to a coroutine of such a domain, whoever runs it.
fn refused(log: &mut Log) -> Result {
    let domain = bh_domain(c"bh")?;
    let other = self::domain(c"bh-other")?;
    let (tx, rx) = other.mailbox::<u32>()?;
    let caller = who(&domain)?;
    let (ask, mut requests) = domain.call_mailbox::<(), [Option<Error>; 4]>()?;
    let handle = domain.handle();
    let server = async move {
        loop {
            let Some(request) = requests.recv().await else {
                return forever().await;
            };
            let errors = [
                caller.call(1).err(),
                tx.post(1).err().map(Error::from),
                self::domain(c"bh-inside").err(),
                handle.spawn(c"child", async {}).err(),
            ];
            let _ = request.into_parts().1.send(errors);
        }
    };
    domain.spawn(c"server", server)?.detach();
    settle(&domain)?;
    let expected = Ok([Some(EAGAIN), Some(EAGAIN), Some(EAGAIN), None]);
    // By us, and by the home thread.
    check_eq!(log, ask.call(()), expected);
    check_eq!(log, ask.call_by_home(()), expected);
    drop(rx);
    Ok(())
}

/// A coroutine that ends, and with it the receiver, while there are senders and callers: what they
/// have sent is dropped, and pending calls fail, though nobody could wait for them in there.
fn receiver_goes(log: &mut Log) -> Result {
    let count = count()?;
    let domain = bh_domain(c"bh")?;
    for round in 0..40 {
        let (tx, mut rx) = domain.mailbox::<Counted>()?;
        let (caller, requests) = domain.call_mailbox::<u32, u32>()?;
        let takes = async move {
            // One, and no more; those that were sent with it are left.
            let _ = rx.recv().await;
            drop(requests);
        };
        domain.spawn(c"takes", takes)?.detach();
        settle(&domain)?;
        let c = caller.clone();
        let waits = Worker::start(None, move || c.call(1))?;
        check!(log, waits.sleeps());
        if round % 2 == 0 {
            // Run by us, and by the home thread.
            check!(log, tx.try_post(Counted::new(&count, 0)).is_ok());
        } else {
            let mut three = (0..3).map(|i| Counted::new(&count, i));
            let sent = sys::run_in(Where::IrqOff, || tx.post_batch(&mut three));
            check_eq!(log, sent, Ok(3));
        }
        check_eq!(log, waits.join(LONG), Some(Err(ECANCELED)));
        check!(log, eventually(LONG, || tx.is_closed()));
        check_eq!(log, caller.call(1), Err(ECANCELED));
        check!(log, eventually(LONG, || count.is_even()), "{count:?}");
    }
    check_eq!(log, count.made(), 20 + 60);
    Ok(())
}

/// Who has bottom halves or interrupts off may enter, but in hard interrupts. What is woken inside is
/// run on the way out, or, with interrupts off, by the home thread.
fn enters(log: &mut Log) -> Result {
    let domain = bh_domain(c"bh")?;
    let (tx, seen) = watcher(&domain)?;
    let home = run(&domain, async { sys::me() })?;
    let cell = domain.cell(0u32);
    let mut expected = 0;
    for _ in 0..20 {
        for at in sys::ANY {
            settle(&domain)?;
            let entered = sys::run_in(at, || {
                let inside = |n: &mut u32| {
                    *n += 1;
                    tx.try_post(0).is_ok()
                };
                cell.enter(inside).ok()
            });
            let off = matches!(at, Where::BhOff | Where::IrqOff | Where::Softirq);
            check_eq!(log, (at, entered), (at, off.then_some(true)));
            if off {
                expected += 1;
                check!(log, seen.reaches(expected), "{at:?}");
            }
            if at == Where::IrqOff {
                check_eq!(log, seen.by(), home);
            }
        }
    }
    check_eq!(log, cell.into_inner() as usize, expected);
    Ok(())
}
