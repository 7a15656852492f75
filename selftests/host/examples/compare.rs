// SPDX-License-Identifier: GPL-2.0

//! The ring beside the best bounded queues of the registry, across two threads on two CPUs: tables,
//! and the same as JSON in the file named by the first argument. The second one is for how many
//! seconds to measure.
//!
//! The machine is noisy, the queues are close: so each is run in bursts shorter than a time slice,
//! by real-time threads where that is permitted, all of them in turn, in an order that changes from
//! round to round, as does the ordered pair of CPUs; and what is compared is what ran in the same
//! round.
//!
//! How far apart the CPUs are decides which queue is the better one, and it changes from hour to
//! hour (see [`distance`]): so it is measured before and after each round, and there is a table for
//! each distance.
//!
//! All have the same capacity and carry the same values by the calls that their documentation has
//! for the purpose. One who finds nothing waits by one of two policies, eager or patient, and each
//! queue is taken at its better one. Ours has an end for threads that poll, which waits by itself
//! before it looks again too soon, and the others have no such thing; `msgq_plain` is our ring
//! without.

#[path = "../benches/queues/mod.rs"]
mod queues;

use std::time::{Duration, Instant};

use queues::measure::{batch, distance, is_real_time, next_pair, one_thread, pin, round_trip};
use queues::measure::{stream, EAGER, PATIENT};
use queues::{Crossbeam, Msgq, MsgqPlain, Queue, Ringbuf, Rtrb};

type Measure = fn() -> f64;

fn measures<Q: Queue>() -> (&'static str, [Measure; 6]) {
    (
        Q::NAME,
        [
            || stream::<Q>(20_000, EAGER),
            || stream::<Q>(20_000, PATIENT),
            || batch::<Q>(60_000, EAGER),
            || batch::<Q>(60_000, PATIENT),
            || round_trip::<Q>(500),
            || one_thread::<Q>(20_000),
        ],
    )
}

/// What is measured, in that order.
const ROWS: [&str; 6] = [
    "stream eager",
    "stream patient",
    "batch32 eager",
    "batch32 patient",
    "round_trip",
    "one_thread",
];

/// Figures: each the better one of some rows.
const FIGURES: [(&str, &[usize]); 4] = [
    ("stream", &[0, 1]),
    ("batch32", &[2, 3]),
    ("round_trip", &[4]),
    ("one_thread", &[5]),
];

/// Queues, of which ours come first.
const QUEUES: usize = 5;
const OURS: usize = 2;

/// Distances that belong together: up to how many ns for a line to go there and back.
const DISTANCES: [f64; 4] = [90.0, 200.0, 420.0, f64::MAX];

/// A table needs that many rounds.
const FEW: usize = 8;

/// What was measured in one round: in each row, of each queue.
struct Round {
    distance: f64,
    took: Vec<[f64; QUEUES]>,
}

/// The value that is greater than `part` of all.
fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part).round() as usize]
}

fn median(rounds: &[&Round], of: impl Fn(&Round) -> f64) -> f64 {
    quantile(rounds.iter().map(|round| of(round)).collect(), 0.5)
}

/// The row of `rows` that the queue is best at.
fn better(rounds: &[&Round], queue: usize, rows: &[usize]) -> usize {
    let took = |row: usize| median(rounds, |round| round.took[row][queue]);
    let best = rows.iter().min_by(|a, b| took(**a).total_cmp(&took(**b)));
    *best.expect("a row")
}

/// How many times as long as `ours` the best one of the crates takes, each at its better policy:
/// the median of the ratios within a round; and which one that is.
fn against_best(rounds: &[&Round], ours: usize, rows: &[usize]) -> (f64, usize) {
    let row = better(rounds, ours, rows);
    (OURS..QUEUES)
        .map(|queue| {
            let theirs = better(rounds, queue, rows);
            let ratio = median(rounds, |r| r.took[theirs][queue] / r.took[row][ours]);
            (ratio, queue)
        })
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .expect("a crate")
}

/// Between which values that ratio lies with 95 % confidence: by the bootstrap (Efron 1979), which
/// is to say that it is computed anew of rounds drawn from these at random.
fn confidence(rounds: &[&Round], ours: usize, rows: &[usize]) -> [f64; 2] {
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    let mut draw = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        rounds[(seed % rounds.len() as u64) as usize]
    };
    let ratios: Vec<f64> = (0..1000)
        .map(|_| {
            let drawn: Vec<&Round> = rounds.iter().map(|_| draw()).collect();
            against_best(&drawn, ours, rows).0
        })
        .collect();
    [0.025, 0.975].map(|part| quantile(ratios.clone(), part))
}

/// Prints the table of the rounds at one distance; returns its figures as JSON.
fn table(rounds: &[&Round], names: &[&str]) -> Vec<String> {
    let distance = |part| quantile(rounds.iter().map(|round| round.distance).collect(), part);
    let place = format!("{:.0}ns", distance(0.5));
    println!(
        "\n{place} for a line there and back [{:.0}, {:.0}]; ns per value: median [quartiles] of {} rounds",
        distance(0.25),
        distance(0.75),
        rounds.len()
    );
    let mut json = vec![format!(
        "\"{place}\": {{\"value\": {:.1}, \"rounds\": {}, \"unit\": \"ns\"}}",
        distance(0.5),
        rounds.len()
    )];
    print!("{:<16}", "");
    names.iter().for_each(|name| print!("{name:>24}"));
    println!();
    for (row, title) in ROWS.iter().enumerate() {
        print!("{title:<16}");
        for (queue, name) in names.iter().enumerate() {
            let [q1, value, q3] = [0.25, 0.5, 0.75]
                .map(|part| quantile(rounds.iter().map(|r| r.took[row][queue]).collect(), part));
            print!("{:>24}", format!("{value:.2} [{q1:.2}, {q3:.2}]"));
            let title = title.replace(' ', ".");
            json.push(format!(
                "\"{place}.{title}.{name}\": {{\"value\": {value:.3}, \"q1\": {q1:.3}, \"q3\": {q3:.3}, \"unit\": \"ns/op\"}}"
            ));
        }
        println!();
    }
    for (ours, name) in names.iter().enumerate().take(OURS) {
        for (figure, rows) in FIGURES {
            let (ratio, best) = against_best(rounds, ours, rows);
            let [low, high] = confidence(rounds, ours, rows);
            let verdict = match () {
                () if low >= 1.0 => "faster than",
                () if high < 1.0 => "SLOWER than",
                () => "even with",
            };
            println!(
                "  {name:<10} {figure:<10} x {ratio:.3} ({low:.3}, {high:.3})  {verdict} the best crate, {}",
                names[best]
            );
            json.push(format!(
                "\"{place}.{figure}.{name}_ratio\": {{\"value\": {ratio:.4}, \"low\": {low:.4}, \"high\": {high:.4}, \"of\": \"{}\", \"unit\": \"x\"}}",
                names[best]
            ));
        }
    }
    json
}

fn main() {
    pin(0);
    let seconds = std::env::args().nth(2).and_then(|s| s.parse().ok());
    let time = Duration::from_secs(seconds.unwrap_or(30));
    let queues: [_; QUEUES] = [
        measures::<Msgq>(),
        measures::<MsgqPlain>(),
        measures::<Rtrb>(),
        measures::<Ringbuf>(),
        measures::<Crossbeam>(),
    ];
    let names = queues.map(|(name, _)| name);
    let mut rounds = Vec::new();
    let (mut number, mut moved) = (0, 0);
    let start = Instant::now();
    while start.elapsed() < time {
        let begin = Instant::now();
        next_pair(number);
        let before = distance();
        let mut took = vec![[0.0; QUEUES]; ROWS.len()];
        for (row, took) in took.iter_mut().enumerate() {
            for turn in 0..QUEUES {
                let queue = (turn + number) % QUEUES;
                took[queue] = queues[queue].1[row]();
            }
        }
        let after = distance();
        number += 1;
        if before.max(after) < 1.3 * before.min(after) {
            let distance = (before + after) / 2.0;
            rounds.push(Round { distance, took });
        } else {
            moved += 1;
        }
        // Others want these CPUs, too.
        std::thread::sleep(begin.elapsed().min(Duration::from_millis(100)) / 2);
    }

    println!(
        "{} rounds in {:.0} s, by {} threads; {moved} more left out, in which the distance changed",
        rounds.len(),
        start.elapsed().as_secs_f64(),
        ["ordinary", "real-time"][usize::from(is_real_time())],
    );
    let mut json = Vec::new();
    let mut nearer = 0.0;
    for up_to in DISTANCES {
        let here: Vec<&Round> = rounds
            .iter()
            .filter(|round| (nearer..up_to).contains(&round.distance))
            .collect();
        nearer = up_to;
        match here.as_slice() {
            [] => {}
            here if here.len() < FEW => {
                println!("\n{:.0}ns: {} rounds only", here[0].distance, here.len())
            }
            here => json.extend(table(here, &names)),
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
