// SPDX-License-Identifier: GPL-2.0

//! The ring beside the best bounded queues of the registry, across two threads on two CPUs: a
//! table, and the same as JSON in the file named by the first argument.
//!
//! The machine is noisy, the queues are close: so each is run for a fraction of a time slice, in turn,
//! in an order that changes from round to round, as does the ordered pair of CPUs. What is shown is
//! the median and the quartiles of each, and how many times as long each other one took as ours *in
//! the same round*: the median of that, and between which values it lies with 95 % confidence. (A
//! virtual machine's CPUs may be far from each other at one time and close at another: then the
//! quartiles are far apart, and only the latter says something.)
//!
//! `stream` and `stream_eager` differ in how soon one who finds nothing looks again.

#[path = "../benches/queues/mod.rs"]
mod queues;

use std::time::{Duration, Instant};

use queues::{batch, next_pair, one_thread, pin, round_trip, stream, EAGER, PATIENT};
use queues::{Crossbeam, Msgq, Queue, Ringbuf, Rtrb};

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

fn main() {
    pin(0);
    let rounds = std::env::var("ROUNDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(101);
    let queues = [
        measures::<Msgq>(),
        measures::<Rtrb>(),
        measures::<Ringbuf>(),
        measures::<Crossbeam>(),
    ];
    let mut samples = vec![vec![Vec::<f64>::new(); queues.len()]; FIGURES.len()];
    let start = Instant::now();
    let mut done = 0;
    for round in 0..rounds {
        // On a machine whose CPUs are taken, threads that spin for each other crawl.
        if round >= 5 && start.elapsed() > Duration::from_secs(90) {
            break;
        }
        done += 1;
        next_pair(round);
        for (figure, of_queues) in samples.iter_mut().enumerate() {
            for turn in 0..queues.len() {
                let queue = (turn + round) % queues.len();
                of_queues[queue].push(queues[queue].1[figure]());
            }
        }
    }

    // How many times as long as ours, round by round.
    let ratios: Vec<Vec<Vec<f64>>> = samples
        .iter()
        .map(|of_queues| {
            let ratios = of_queues[1..].iter().map(|others| {
                let mut ratios: Vec<f64> = others
                    .iter()
                    .zip(&of_queues[0])
                    .map(|(other, ours)| other / ours)
                    .collect();
                ratios.sort_by(f64::total_cmp);
                ratios
            });
            ratios.collect()
        })
        .collect();

    println!("ns per value (median of {done} runs, quartiles in brackets)");
    print!("{:<12}", "");
    for (name, _) in &queues {
        print!("{name:>24}");
    }
    println!();
    let mut json = Vec::new();
    for (index, (figure, of_queues)) in FIGURES.iter().zip(&mut samples).enumerate() {
        print!("{figure:<12}");
        for (of_queue, (name, _)) in of_queues.iter_mut().zip(&queues) {
            of_queue.sort_by(f64::total_cmp);
            let at = |part: usize| of_queue[(of_queue.len() - 1) * part / 4];
            print!(
                "{:>24}",
                format!("{:.2} [{:.2}, {:.2}]", at(2), at(1), at(3))
            );
            json.push(format!(
                "\"{figure}.{name}\": {{\"value\": {:.3}, \"q1\": {:.3}, \"q3\": {:.3}, \"unit\": \"ns/op\"}}",
                at(2), at(1), at(3)
            ));
        }
        println!();
        print!("{:<12}{:>24}", "  of msgq's", "");
        for (paired, (name, _)) in ratios[index].iter().zip(&queues[1..]) {
            let [ratio, low, high] = confidence(paired);
            print!("{:>24}", format!("x {ratio:.3} ({low:.3}, {high:.3})"));
            json.push(format!(
                "\"{figure}.{name}_ratio\": {{\"value\": {ratio:.4}, \"low\": {low:.4}, \"high\": {high:.4}, \"unit\": \"x\"}}",
            ));
        }
        println!();
    }
    if let Some(path) = std::env::args().nth(1) {
        let text = format!("{{\"figures\": {{\n  {}\n}}}}\n", json.join(",\n  "));
        std::fs::write(&path, text).unwrap_or_else(|error| {
            eprintln!("compare: cannot write {path}: {error}");
            std::process::exit(1);
        });
    }
}
