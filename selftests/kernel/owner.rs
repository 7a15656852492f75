// SPDX-License-Identifier: GPL-2.0

//! What a module leaves behind, on purpose: the steps of `owner.sh` and `debugfs.sh`, which see to
//! what becomes of it. Invariant 6: no code of a module runs after its unload.

use crate::harness::*;
use crate::stats::is_longest;
use crate::sys::{self, Worker};
use coop_domain::prelude::*;
use kernel::prelude::*;
use kernel::sync::{global_lock, Arc};

pub(crate) const TESTS: &[Test] = &[
    ("owner.forget_a_domain", forget),
    ("owner.hold", hold),
    ("owner.release", release),
    ("owner.drop_inside_and_go", drop_inside_and_go),
    ("owner.keep_waker", keep_waker),
    ("owner.keep_stats", keep_stats),
    ("owner.hang", hang),
    ("owner.lodge", lodge),
    ("owner.lodge_works", lodge_works),
];

/// What is kept until it is released, or the module goes: a domain, and threads that go after it.
struct Kept(Domain, KVec<Worker<()>>);

global_lock! {
    // SAFETY: Initialised in the module's initialiser, before first use.
    unsafe(uninit) static KEPT: Mutex<KVec<Kept>> = KVec::new();
}

global_lock! {
    // SAFETY: Initialised in the module's initialiser, before first use.
    unsafe(uninit) static LODGE: Mutex<Option<KBox<Domain>>> = None;
}

/// # Safety
///
/// Called once, before any other function here.
pub(crate) unsafe fn init() {
    // SAFETY: Per the function's contract.
    unsafe { KEPT.init() }
    // SAFETY: As above.
    unsafe { LODGE.init() }
}

/// Called when the module goes.
pub(crate) fn exit() {
    let kept = core::mem::take(&mut *KEPT.lock());
    for Kept(domain, threads) in kept {
        drop(domain);
        drop(threads);
    }
    sys::set_lodge(core::ptr::null_mut());
    let lodge = LODGE.lock().take();
    drop(lodge);
}

fn keep(kept: Kept) -> Result {
    Ok(KEPT.lock().push(kept, GFP_KERNEL)?)
}

/// A domain at work, with destructors of this module, that nobody drops.
fn forget(_log: &mut Log) -> Result {
    let domain = domain(c"forgotten")?;
    let (tx, mut rx) = domain.mailbox::<Counted>()?;
    let count = count()?;
    let value = Counted::new(&count, 1);
    let taker = async move {
        let _value = value;
        while rx.recv().await.is_some() {}
    };
    domain.spawn(c"taker", taker)?.detach();
    let busy = async {
        let _says = on_drop(|| pr_info!("forgotten coroutine is dropped\n"));
        loop {
            yield_now().await;
        }
    };
    domain.spawn(c"busy", busy)?.detach();
    tx.post(Counted::new(&count, 2))?;
    core::mem::forget((domain, tx));
    Ok(())
}

/// A domain that keeps this module loaded.
fn hold(_log: &mut Log) -> Result {
    let domain = Domain::builder(c"held", crate::owner())
        .hold_owner()
        .build()?;
    domain.spawn(c"waits", forever())?.detach();
    keep(Kept(domain, KVec::new()))
}

/// Drops what is kept.
fn release(_log: &mut Log) -> Result {
    exit();
    Ok(())
}

/// A domain that one of its coroutines drops, with slow destructors: they still run when the
/// module goes, which has to wait for them.
fn drop_inside_and_go(log: &mut Log) -> Result {
    let domain = domain(c"going")?;
    let handle = domain.handle();
    for _ in 0..4 {
        let slow = async {
            let _slow = on_drop(|| sys::sleep_ms(30));
            forever().await;
        };
        handle.spawn(c"slow", slow)?.detach();
    }
    let gone = flag()?;
    let g = gone.clone();
    let ends_it = async move {
        drop(domain);
        g.set();
        forever().await;
    };
    handle.spawn(c"ends it", ends_it)?.detach();
    check!(log, gone.wait());
    Ok(())
}

/// A coroutine of this module in a domain of its own leaves a waker with a thread that wakes it
/// while the module goes.
fn keep_waker(_log: &mut Log) -> Result {
    let domain = domain(c"waker")?;
    let nest = nest()?;
    domain
        .spawn(c"nested", Nested(nest.clone(), usize::MAX))?
        .detach();
    let waker = nest.wait_for_waker()?;
    let mut threads = KVec::new();
    for cpu in 0..sys::cpus() {
        let waker = waker.clone();
        let thread = Worker::start(Some(cpu), move || {
            while !sys::should_stop() {
                waker.wake_by_ref();
                sys::cond_resched();
            }
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    keep(Kept(domain, threads))
}

/// A domain with a known history, for the files in debugfs.
fn keep_stats(log: &mut Log) -> Result {
    let domain = domain_on(c"seen", 0)?;
    let (tx, mut rx) = domain.mailbox_with::<u32>(room(16))?;
    let taker = async move { while rx.recv().await.is_some() {} };
    domain.spawn(c"quick one", taker)?.detach();
    let held = Held::new(&domain)?;
    sys::move_to(0)?;
    for i in 0..11 {
        tx.try_post(i)?;
    }
    drop(held);
    run(&domain, yield_now())?;
    domain.spawn(c"waits", forever())?.detach();
    // Longer than what any of the others, which are short, was kept waiting for in its poll.
    for ms in [30, 200, 1_000, 5_000] {
        let slow = async move {
            yield_now().await;
            sys::busy(ms * 1_000);
        };
        let slow = domain.spawn(c"slow one", slow)?;
        check!(log, ends(&slow));
        settle(&domain)?;
        if is_longest(&domain, "slow one")?.0 {
            break;
        }
    }
    keep(Kept(domain, KVec::new()))
}

/// Calls what never answers, on the thread that wrote to the file: `kill -9` ends it.
fn hang(_log: &mut Log) -> Result {
    let domain = domain(c"hang")?;
    let (caller, mut requests) = domain.call_mailbox::<u32, u32>()?;
    let kept = Arc::new(kernel::sync::atomic::Atomic::new(0u32), GFP_KERNEL)?;
    let server = async move {
        let _request = requests.recv().await;
        let _kept = kept;
        forever().await;
    };
    domain.spawn(c"server", server)?.detach();
    pr_info!("hang: calling\n");
    let answer = caller.call(1);
    pr_info!("hang: the call ended with {answer:?}\n");
    answer.map(drop)
}

/// A domain for coroutines of another module, `coop_cycle.ko`.
fn lodge(_log: &mut Log) -> Result {
    let mut domain = KBox::new(domain(c"lodge")?, GFP_KERNEL)?;
    // Valid until `exit`, and the other module uses it while it begins only.
    sys::set_lodge((&raw mut *domain).cast());
    *LODGE.lock() = Some(domain);
    Ok(())
}

/// The domain is none the worse for its lodgers, and they are gone: with their mailbox, too, which
/// whoever makes one looks at.
fn lodge_works(log: &mut Log) -> Result {
    let lodge = LODGE.lock();
    let domain: &Domain = lodge.as_ref().ok_or(ENOENT)?;
    check_eq!(log, run(domain, async { 5 })?, 5);
    drop(domain.mailbox::<u32>()?);
    settle(domain)?;
    let (spawned, finished) = (domain.stats().spawned.get(), domain.stats().finished.get());
    check_eq!(log, spawned, finished);
    Ok(())
}
