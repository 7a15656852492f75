// SPDX-License-Identifier: GPL-2.0

//! Tests of the runtime, as seen by its users.
//!
//! Loading runs nothing. `coop_test/tests` in debugfs lists the tests; the name of one written to
//! `coop_test/run` runs it, on the writing thread: an error if it fails. `coop_test/log` says why.
//! The scripts in `selftests/` do this.

#[path = "abort.rs"]
mod abort;
#[path = "answers.rs"]
mod answers;
#[path = "atomicity.rs"]
mod atomicity;
#[path = "batch.rs"]
mod batch;
#[path = "bh.rs"]
mod bh;
#[path = "bh_load.rs"]
mod bh_load;
#[path = "builder.rs"]
mod builder;
#[path = "calls.rs"]
mod calls;
#[path = "checkers.rs"]
mod checkers;
#[path = "contexts.rs"]
mod contexts;
#[path = "delivery.rs"]
mod delivery;
#[path = "fault.rs"]
mod fault;
#[path = "group.rs"]
mod group;
#[path = "harness.rs"]
mod harness;
#[path = "hotplug.rs"]
mod hotplug;
#[path = "inline.rs"]
mod inline;
#[path = "inline_ends.rs"]
mod inline_ends;
#[path = "irq.rs"]
mod irq;
#[path = "leaks.rs"]
mod leaks;
#[path = "levels.rs"]
mod levels;
#[path = "owner.rs"]
mod owner;
#[path = "priority.rs"]
mod priority;
#[path = "room.rs"]
mod room;
#[path = "sched.rs"]
mod sched;
#[path = "select.rs"]
mod select;
#[path = "select_outside.rs"]
mod select_outside;
#[path = "share.rs"]
mod share;
#[path = "spin.rs"]
mod spin;
#[path = "stats.rs"]
mod stats;
#[path = "sync.rs"]
mod sync;
#[path = "sync_cancel.rs"]
mod sync_cancel;
#[path = "sync_outside.rs"]
mod sync_outside;
#[path = "sys.rs"]
mod sys;
#[path = "teardown.rs"]
mod teardown;
#[path = "time.rs"]
mod time;
#[path = "time_ends.rs"]
mod time_ends;

use harness::{Log, Test};
use kernel::debugfs::{Dir, File};
use kernel::module::this_module;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};
use kernel::uaccess::UserSliceReader;

module! {
    type: CoopTest,
    name: "coop_test",
    authors: ["The coop_domain authors"],
    description: "Tests of coop_domain",
    license: "GPL",
}

/// This module, which owns the domains of the tests.
fn owner() -> &'static ThisModule {
    this_module::<CoopTest>()
}

static GROUPS: &[&[Test]] = &[
    sched::TESTS,
    priority::TESTS,
    levels::TESTS,
    share::TESTS,
    group::TESTS,
    atomicity::TESTS,
    delivery::TESTS,
    room::TESTS,
    calls::TESTS,
    answers::TESTS,
    checkers::TESTS,
    inline::TESTS,
    inline_ends::TESTS,
    bh::TESTS,
    bh_load::TESTS,
    batch::TESTS,
    spin::TESTS,
    abort::TESTS,
    teardown::TESTS,
    contexts::TESTS,
    builder::TESTS,
    irq::TESTS,
    stats::TESTS,
    sync::TESTS,
    sync_cancel::TESTS,
    sync_outside::TESTS,
    time::TESTS,
    time_ends::TESTS,
    select::TESTS,
    select_outside::TESTS,
    leaks::TESTS,
    // Not to be run with the others: these leave something behind, on purpose.
    owner::TESTS,
    hotplug::TESTS,
    fault::TESTS,
];

fn all() -> impl Iterator<Item = &'static Test> {
    GROUPS.iter().copied().flatten()
}

/// What the last test said; one test at a time.
#[pin_data]
struct Runner {
    #[pin]
    log: Mutex<Log>,
}

impl Runner {
    fn run(&self, reader: &mut UserSliceReader) -> Result {
        let mut name = [0u8; 64];
        let length = reader.len().min(name.len());
        let name = name.get_mut(..length).ok_or(EINVAL)?;
        reader.read_slice(name)?;
        let name = core::str::from_utf8(name).map_err(|_| EINVAL)?.trim();
        let (_, test) = all().find(|(n, _)| *n == name).ok_or(ENOENT)?;
        let mut log = self.log.lock();
        *log = Log::new();
        let result = test(&mut log);
        sys::move_anywhere();
        if let Err(e) = result {
            log.line(core::format_args!("failed: {e:?}"));
        }
        result
    }
}

struct CoopTest {
    _files: Files,
}

/// Files before their directory: fields are dropped in order.
struct Files {
    _tests: Pin<KBox<File<()>>>,
    _log: Pin<KBox<File<Arc<Runner>>>>,
    _run: Pin<KBox<File<Arc<Runner>>>>,
    _dir: Dir,
}

impl Files {
    fn new() -> Result<Self> {
        let runner = Arc::pin_init(
            pin_init!(Runner { log <- new_mutex!(Log::new()) }),
            GFP_KERNEL,
        )?;
        let dir = Dir::new(c"coop_test");
        let tests = KBox::pin_init(
            dir.read_callback_file(c"tests", (), &|(), f| {
                for (name, _) in all() {
                    f.write_str(name)?;
                    f.write_str("\n")?;
                }
                Ok(())
            }),
            GFP_KERNEL,
        )?;
        let log = KBox::pin_init(
            dir.read_callback_file(c"log", runner.clone(), &|runner, f| {
                f.write_str(runner.log.lock().text())
            }),
            GFP_KERNEL,
        )?;
        let run = KBox::pin_init(
            dir.write_callback_file(c"run", runner, &|runner: &Arc<Runner>, reader| {
                runner.run(reader)
            }),
            GFP_KERNEL,
        )?;
        Ok(Files {
            _tests: tests,
            _log: log,
            _run: run,
            _dir: dir,
        })
    }
}

impl kernel::Module for CoopTest {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        // SAFETY: Called once, before anybody can run a test.
        unsafe { owner::init() };
        // SAFETY: As above.
        unsafe { hotplug::init() };
        Ok(CoopTest {
            _files: Files::new()?,
        })
    }
}

impl Drop for CoopTest {
    fn drop(&mut self) {
        owner::exit();
        hotplug::exit();
    }
}
