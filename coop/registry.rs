// SPDX-License-Identifier: GPL-2.0

//! All domains: their files in debugfs, and their end when the module that owns them goes.

use crate::executor::Executor;
use crate::sys::module::{GoingModule, ModuleId, OnGoing};
use crate::sys::thread::Kthread;
use crate::sys::work::StaticQueue;
use core::pin::Pin;
use kernel::bindings::task_struct;
use kernel::debugfs::{Dir, File};
use kernel::prelude::*;
use kernel::sync::{global_lock, Arc};
use kernel::workqueue::{impl_has_work, new_work, Work, WorkItem};

/// A domain, from when it starts until it has ended.
struct Running {
    id: u64,
    owner: ModuleId,
    executor: Arc<Executor>,
    /// Taken by the one who ends it.
    home: Option<Kthread<Executor>>,
    /// Taken by the same, later.
    files: Option<Files>,
}

/// What debugfs shows of a domain. Files before their directory: fields are dropped in order.
struct Files {
    _stats: Pin<KBox<File<Arc<Executor>>>>,
    _dir: Dir,
}

/// Bytes that the registry takes for a domain.
pub(crate) const ENTRY_BYTES: usize =
    core::mem::size_of::<Running>() + core::mem::size_of::<Ending>();

struct All {
    running: KVec<Running>,
    next_id: u64,
    root: Option<Dir>,
}

global_lock! {
    // SAFETY: Initialised in the module's initialiser, before first use.
    unsafe(uninit) static ALL: Mutex<All> = All {
        running: KVec::new(),
        next_id: 0,
        root: None,
    };
}

/// Ends domains for those who cannot wait for it.
static LATER: StaticQueue = StaticQueue::new();

/// The end of a domain, as a work item. It is there before it is needed: where that is, under a raw
/// lock or in an interrupt, PREEMPT_RT allows no allocation.
#[pin_data]
struct Ending {
    id: u64,
    #[pin]
    work: Work<Ending>,
}

impl_has_work! {
    impl HasWork<Self> for Ending { self.work }
}

impl WorkItem for Ending {
    type Pointer = Pin<KBox<Ending>>;

    fn run(this: Pin<KBox<Ending>>) {
        remove(Entry(this));
    }
}

/// Stands for a running domain, until it is [removed](remove).
pub(crate) struct Entry(Pin<KBox<Ending>>);

/// Called once, when this module is loaded.
pub(crate) fn init() -> Result {
    // SAFETY: Called exactly once.
    unsafe { ALL.init() };
    LATER.create(c"coop_domain")?;
    ALL.lock().root = Some(Dir::new(c"coop_domain"));
    Ok(())
}

/// Called once, when this module is unloaded: nobody uses it any more.
pub(crate) fn exit() {
    LATER.destroy();
    ALL.lock().root = None;
}

/// Thread `task`, the current one, is about to die: has the `Bh` domain that it runs end; whether
/// there is one. Does not sleep: if the registry is being changed at the moment, none is found.
pub(crate) fn bh_runner_dies(task: *mut task_struct) -> bool {
    let Some(all) = ALL.try_lock() else {
        return false;
    };
    let mut its = all.running.iter().map(|r| &r.executor);
    let Some(executor) = its.find(|executor| executor.bh && executor.is_runner(task)) else {
        return false;
    };
    // SAFETY: The current thread, which dies once; the target was set before the domain got here.
    unsafe { executor.exit.add_to(task) };
    true
}

/// Starts a domain. `EEXIST` if its name is taken.
pub(crate) fn add(
    owner: ModuleId,
    executor: Arc<Executor>,
    home: Kthread<Executor>,
) -> Result<Entry> {
    let mut all = ALL.lock();
    if all
        .running
        .iter()
        .any(|r| r.executor.name().to_bytes() == executor.name().to_bytes())
    {
        return Err(EEXIST);
    }
    all.running.reserve(1, GFP_KERNEL)?;
    let dir = all.root.as_ref().ok_or(ENODEV)?.subdir(executor.name());
    let stats = KBox::pin_init(
        dir.read_callback_file(c"stats", executor.clone(), &|executor, f| {
            kernel::fmt::Display::fmt(executor.stats(), f)
        }),
        GFP_KERNEL,
    )?;
    let id = all.next_id;
    let ending = KBox::pin_init(
        pin_init!(Ending { id, work <- new_work!("coop_ending") }),
        GFP_KERNEL,
    )?;
    executor.spin.starting();
    home.start();
    all.next_id = id.wrapping_add(1);
    all.running.push(
        Running {
            id,
            owner,
            executor,
            home: Some(home),
            files: Some(Files {
                _stats: stats,
                _dir: dir,
            }),
        },
        GFP_KERNEL,
    )?;
    Ok(Entry(ending))
}

/// Ends the first domain for which `choose` holds; `false` if there is none.
fn end(choose: impl Fn(&Running) -> bool) -> bool {
    let (id, executor, home) = {
        let mut all = ALL.lock();
        let mut found = all.running.iter_mut().filter(|r| choose(r));
        let Some((running, home)) = found.find_map(|r| r.home.take().map(|home| (r, home))) else {
            return false;
        };
        (running.id, running.executor.clone(), home)
    };
    // The lock is not held meanwhile: a destructor may end another domain.
    executor.baton.will_lock();
    executor.stop();
    // A thread that had no time to begin never does.
    drop(home);
    executor.wait_for_end();
    // Without the lock: who reads a file is waited for.
    let files = {
        let mut all = ALL.lock();
        let mut its = all.running.iter_mut().filter(|r| r.id == id);
        its.next().and_then(|r| r.files.take())
    };
    drop(files);
    // Only now is the name free again.
    let ended = {
        let mut all = ALL.lock();
        let index = all.running.iter().position(|r| r.id == id);
        index.and_then(|index| all.running.remove(index).ok())
    };
    drop(ended);
    executor.gone.complete_all();
    true
}

/// Ends a domain. Task context, sleeps.
pub(crate) fn remove(entry: Entry) {
    end(|r| r.id == entry.0.id);
}

/// Ends a domain soon, by a work item. Any context but NMI.
pub(crate) fn remove_later(entry: Entry) {
    LATER.enqueue(entry.0);
}

/// Ends what a module leaves behind, before its code goes.
pub(crate) struct Reaper;

impl OnGoing for Reaper {
    fn module_going(module: &GoingModule) {
        while end(|r| r.owner == module.id()) {
            pr_warn!("a module goes without having dropped its domain, which ends now\n");
        }
        // Those that somebody else is ending.
        loop {
            let ending = {
                let all = ALL.lock();
                let mut its = all.running.iter().filter(|r| r.owner == module.id());
                its.next().map(|r| r.executor.clone())
            };
            let Some(executor) = ending else {
                break;
            };
            executor.gone.wait_for_completion();
        }
        // Its coroutines in domains of others.
        let mut next = 0;
        loop {
            let found = {
                let all = ALL.lock();
                let later = all.running.iter().filter(|r| r.id >= next);
                later
                    .min_by_key(|r| r.id)
                    .map(|r| (r.id, r.executor.clone()))
            };
            let Some((id, executor)) = found else {
                break;
            };
            executor.purge(module);
            next = id.wrapping_add(1);
        }
    }
}
