// SPDX-License-Identifier: GPL-2.0

//! Every ordering, fence and mistake that the sources or the models themselves give a name is one
//! that a model must find weakened; and every name in a model is one of the sources. Of an `AcqRel`
//! it is each half by itself (`name/acquire`, `name/release`). What is stronger than `Relaxed` has a
//! name.

#![cfg(not(loom))]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Halves that no model needs. They stay in the sources: a read-modify-write of x86 has both, and
/// who adds a step beside one of these need not think of it.
const SPARE: [&str; 15] = [
    // What is true of an idle coroutine its next runner acquires.
    "task.idle/acquire",
    // Of two who meet in these, the one that comes second has all the work.
    "task.finish/acquire",
    "task.leave/release",
    // Who takes, acquires; who goes idle, publishes.
    "queue.take/release",
    "queue.claim/release",
    "queue.close/release",
    "queue.go_idle/acquire",
    // What the home thread is to see, the baton publishes.
    "queue.kick/acquire",
    "queue.kick/release",
    // What a sender leaves, the queue publishes.
    "bh.note/release",
    "bh.unlock/acquire",
    // The interrupt looks what is due before the runner changes that: no model has a load come late.
    "alone.take/release",
    "alone.put/acquire",
    // The waiter that is taken out is the caller's own.
    "reply.wait/acquire",
    "reply.abandon/acquire",
];

/// Orderings without a name: hints, which nobody rests on.
const HINTS: [&str; 6] = [
    // `Lines::len`, which anyone may ask.
    "let head = memory.count(self.consumer.head.load(Ordering::Acquire));",
    "let tail = memory.count(self.producer.tail.load(Ordering::Acquire));",
    // `WakeQueue::is_idle` and `is_closed`; the kernel's own barriers come before sleep.
    "self.head.load(Ordering::Acquire) == IDLE",
    "self.head.load(Ordering::Acquire) == CLOSED",
    // `ReplyCell::is_abandoned` and `is_pending`: to be told by `complete`, too.
    "self.word.load(Ordering::Acquire) == ABANDONED",
    "self.word.load(Ordering::Acquire)",
];

/// What stands in quotes right after `before`, in all of `text`.
fn quoted<'a>(text: &'a str, before: &str) -> impl Iterator<Item = String> + 'a {
    let mut names = Vec::new();
    for (at, _) in text.match_indices(before) {
        let rest = text[at + before.len()..].trim_start();
        if let Some((name, _)) = rest.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
            names.push(name.to_owned());
        }
    }
    names.into_iter()
}

fn files(folder: &Path, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = String> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the sources") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".rs") && wanted(&name) {
            texts.push(fs::read_to_string(&path).expect("a source file"));
        }
    }
    texts.into_iter()
}

#[test]
fn every_named_ordering_has_a_model_that_finds_it_weakened() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let top = here.join("../..");
    let mut named = BTreeSet::new();
    let mut halves = BTreeSet::new();
    // `atomic.rs` defines the functions, and has an example.
    let sources = files(&top, |name| name == "msgq.rs")
        .chain(files(&top.join("msgq"), |_| true))
        .chain(files(&top.join("coop"), |name| name != "atomic.rs"))
        .chain(files(&here.join("src"), |name| name == "model.rs"));
    for text in sources {
        for function in [
            " named(",
            "(named(",
            " named_fence(",
            "::named_fence(",
            " mistake(",
            "!mistake(",
        ] {
            named.extend(quoted(&text, function));
        }
        for name in quoted(&text, "named(") {
            if text.contains(&format!("\"{name}\", Ordering::AcqRel")) {
                halves.insert(name);
            }
        }
    }
    let mut found = BTreeSet::new();
    for text in files(&here.join("tests"), |name| name.starts_with("loom_")) {
        // Steps of files that need the kernel, written down once more.
        named.extend(quoted(&text, "mistake("));
        for line in text.lines() {
            // A line of `model!`: `test: "mistake",`.
            if let Some((test, _)) = line.split_once(": \"") {
                if test.trim().chars().all(|c| c.is_alphanumeric() || c == '_') {
                    found.extend(quoted(line, ":"));
                }
            }
        }
    }
    assert!(named.len() > 10, "{named:?}");
    let both = |name: &String| [format!("{name}/acquire"), format!("{name}/release")];
    let mut wanted: BTreeSet<String> = named.difference(&halves).cloned().collect();
    wanted.extend(halves.iter().flat_map(both));
    for spare in SPARE {
        assert!(wanted.remove(spare), "no source names {spare}");
        assert!(!found.contains(spare), "a model must find {spare}");
    }
    let missed: Vec<_> = wanted.difference(&found).collect();
    assert!(missed.is_empty(), "no model must find {missed:?}");
    // The whole of an ordering may be left out, too.
    named.extend(wanted);
    let gone: Vec<_> = found.difference(&named).collect();
    assert!(gone.is_empty(), "no source names {gone:?}");
}

#[test]
fn every_ordering_has_a_name() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let modelled = [
        "reply_state.rs",
        "task_state.rs",
        "wait_cell.rs",
        "wake_queue.rs",
    ];
    let sources = files(&top.join("msgq"), |_| true)
        .chain(files(&top.join("coop"), |name| modelled.contains(&name)));
    let mut seen = 0;
    for text in sources {
        for line in text.lines().map(|line| line.trim().trim_end_matches(',')) {
            let strong = ["Acquire", "Release", "AcqRel", "SeqCst"]
                .iter()
                .any(|order| line.contains(&format!("Ordering::{order}")));
            if strong && !line.starts_with("//") && !HINTS.contains(&line) {
                seen += 1;
                assert!(
                    line.contains("named(") || line.contains("named_fence("),
                    "{line}"
                );
            }
        }
    }
    assert!(seen > 20, "{seen}");
}
