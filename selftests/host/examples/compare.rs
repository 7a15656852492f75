// SPDX-License-Identifier: GPL-2.0

//! The ring beside the best bounded queues of the registry, across two threads on two CPUs: tables,
//! and the same as JSON in the file named by the first argument.
//!
//! The machine is noisy, the queues are close: so each is run for a fraction of a time slice, in turn,
//! in an order that changes from round to round, as does the ordered pair of CPUs. What is shown is
//! the median and the quartiles of each, and how many times as long each other one took as ours *in
//! the same round*: the median of that, and between which values it lies with 95 % confidence.
//!
//! How far apart the CPUs are decides which queue is the better one, and it changes while this runs
//! (see [`distance`]): so it is measured in each round, and there is a table for each distance.
//!
//! All have the same capacity, and one who finds nothing waits by the same policy, of which there
//! are two: `stream` and `stream_eager` differ in how soon it looks again. What each is used by is
//! the call that its documentation has for the purpose; ours has an end for threads that poll,
//! which waits by itself before it looks again too soon, and the others have no such thing.
//! `msgq_plain` is our ring without.

#[path = "../benches/queues/mod.rs"]
mod queues;

use std::time::{Duration, Instant};

use queues::{batch, distance, next_pair, one_thread, pin, round_trip, stream, EAGER, PATIENT};
use queues::{Crossbeam, Msgq, MsgqPlain, Queue, Ringbuf, Rtrb};

type Measure = fn() -> f64;

fn measures<Q: Queue>() -> (&'static str, [Measure; 5]) {
    (
        Q::NAME,
        [
            || stream::<Q>(20_000, PATIENT),
            || stream::<Q>(20_000, EAGER),
            || batch::<Q>(60_000),
            || round_trip::<Q>(500),
            || one_thread::<Q>(20_000),
        ],
    )
}

const FIGURES: [&str; 5] = [
    "stream",
    "stream_eager",
    "batch32",
    "round_trip",
    "one_thread",
];

/// Distances: up to how many ns for a line to go there and back, and their name.
const DISTANCES: [(f64, &str); 3] = [(100.0, "near"), (250.0, "middle"), (f64::MAX, "far")];

/// A table needs that many rounds.
const FEW: usize = 5;

/// What was measured in one round: of each figure, of each queue.
struct Round {
    distance: f64,
    took: Vec<Vec<f64>>,
}

/// The median of `sorted`, and the bounds of its 95 % confidence interval, by rank.
fn confidence(sorted: &[f64]) -> [f64; 3] {
    let middle = sorted.len() / 2;
    let ranks = (0.98 * (sorted.len() as f64).sqrt()).ceil() as usize;
    [
        sorted[middle],
        sorted[middle.saturating_sub(ranks)],
        sorted[(middle + ranks).min(sorted.len() - 1)],
    ]
}

/// What `of` says of each round, sorted.
fn sorted(rounds: &[&Round], of: impl Fn(&Round) -> f64) -> Vec<f64> {
    let mut values: Vec<f64> = rounds.iter().map(|round| of(round)).collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Prints the table of the rounds at one distance; returns its figures as JSON.
fn table(place: &str, rounds: &[&Round], names: &[&str]) -> Vec<String> {
    let [distance, ..] = confidence(&sorted(rounds, |round| round.distance));
    println!(
        "{place}: {distance:.0} ns for a line there and back; ns per value: median [quartiles] of {} rounds",
        rounds.len()
    );
    print!("{:<13}", "");
    for name in names {
        print!("{name:>24}");
    }
    println!("{:>24}", "best of the crates");
    let mut json = vec![format!(
        "\"{place}.distance\": {{\"value\": {distance:.1}, \"rounds\": {}, \"unit\": \"ns\"}}",
        rounds.len()
    )];
    for (figure, title) in FIGURES.iter().enumerate() {
        print!("{title:<13}");
        for (queue, name) in names.iter().enumerate() {
            let took = sorted(rounds, |round| round.took[figure][queue]);
            let at = |part: usize| took[(took.len() - 1) * part / 4];
            let (q1, median, q3) = (at(1), at(2), at(3));
            print!("{:>24}", format!("{median:.2} [{q1:.2}, {q3:.2}]"));
            json.push(format!(
                "\"{place}.{title}.{name}\": {{\"value\": {median:.3}, \"q1\": {q1:.3}, \"q3\": {q3:.3}, \"unit\": \"ns/op\"}}"
            ));
        }
        println!();
        print!("{:<13}{:>24}", "  of msgq's", "");
        // How many times as long as ours, round by round. Ours come first, in two ways.
        let best = |round: &Round| {
            let crates = &round.took[figure][2..];
            crates.iter().copied().fold(f64::MAX, f64::min)
        };
        for (queue, name) in names.iter().chain(&["best"]).enumerate().skip(1) {
            let [ratio, low, high] = confidence(&sorted(rounds, |round| {
                let took = &round.took[figure];
                took.get(queue).copied().unwrap_or_else(|| best(round)) / took[0]
            }));
            print!("{:>24}", format!("x {ratio:.3} ({low:.3}, {high:.3})"));
            json.push(format!(
                "\"{place}.{title}.{name}_ratio\": {{\"value\": {ratio:.4}, \"low\": {low:.4}, \"high\": {high:.4}, \"unit\": \"x\"}}"
            ));
        }
        println!();
    }
    json
}

fn main() {
    pin(0);
    let wanted = std::env::var("ROUNDS").ok().and_then(|s| s.parse().ok());
    let queues = [
        measures::<Msgq>(),
        measures::<MsgqPlain>(),
        measures::<Rtrb>(),
        measures::<Ringbuf>(),
        measures::<Crossbeam>(),
    ];
    let names = queues.map(|(name, _)| name);
    let mut rounds = Vec::new();
    let start = Instant::now();
    for number in 0..wanted.unwrap_or(101) {
        // On a machine whose CPUs are taken, threads that spin for each other crawl.
        if number >= FEW && start.elapsed() > Duration::from_secs(90) {
            break;
        }
        next_pair(number);
        let mut round = Round {
            distance: distance(),
            took: vec![vec![0.0; queues.len()]; FIGURES.len()],
        };
        for (figure, took) in round.took.iter_mut().enumerate() {
            for turn in 0..queues.len() {
                let queue = (turn + number) % queues.len();
                took[queue] = queues[queue].1[figure]();
            }
        }
        rounds.push(round);
    }

    let mut json = Vec::new();
    let mut nearer = 0.0;
    for (up_to, place) in DISTANCES {
        let here: Vec<&Round> = rounds
            .iter()
            .filter(|round| (nearer..up_to).contains(&round.distance))
            .collect();
        nearer = up_to;
        if here.len() >= FEW {
            json.extend(table(place, &here, &names));
        } else if !here.is_empty() {
            println!("{place}: {} rounds only: no table", here.len());
        }
    }
    if let Some(path) = std::env::args().nth(1) {
        let text = format!("{{\"figures\": {{\n  {}\n}}}}\n", json.join(",\n  "));
        std::fs::write(&path, text).unwrap_or_else(|error| {
            eprintln!("compare: cannot write {path}: {error}");
            std::process::exit(1);
        });
    }
}
