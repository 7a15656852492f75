// SPDX-License-Identifier: GPL-2.0

//! Every ordering, fence and mistake that the sources or the models themselves give a name is one
//! that a model must find weakened; and every name in a model is one of the sources.

#![cfg(not(loom))]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

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
        ] {
            named.extend(quoted(&text, function));
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
    let missed: Vec<_> = named.difference(&found).collect();
    assert!(missed.is_empty(), "no model must find {missed:?}");
    let gone: Vec<_> = found.difference(&named).collect();
    assert!(gone.is_empty(), "no source names {gone:?}");
}
