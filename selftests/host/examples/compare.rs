// SPDX-License-Identifier: GPL-2.0

//! The ring beside the best bounded queues of the registry, across two threads on two CPUs: a
//! table, and the same as JSON in the file named by the first argument.
//!
//! The machine is noisy, the queues are close: so each is run for a fraction of a time slice, in turn,
//! in an order that changes from round to round, and what is shown is the median and the
//! quartiles. A run in which a thread lost its CPU is an outlier that the median does not see.

#[path = "../benches/queues/mod.rs"]
mod queues;

use std::time::{Duration, Instant};

use queues::{batch, one_thread, pin, round_trip, stream, Crossbeam, Msgq, Queue, Ringbuf, Rtrb};

type Measure = fn() -> f64;

fn measures<Q: Queue>() -> (&'static str, [Measure; 4]) {
    (
        Q::NAME,
        [
            || stream::<Q>(20_000),
            || batch::<Q>(60_000),
            || round_trip::<Q>(500),
            || one_thread::<Q>(20_000),
        ],
    )
}

const FIGURES: [&str; 4] = ["stream", "batch32", "round_trip", "one_thread"];

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
        for (figure, of_queues) in samples.iter_mut().enumerate() {
            for turn in 0..queues.len() {
                let queue = (turn + round) % queues.len();
                of_queues[queue].push(queues[queue].1[figure]());
            }
        }
    }

    println!("ns per value (median of {done} runs, quartiles in brackets)");
    print!("{:<12}", "");
    for (name, _) in &queues {
        print!("{name:>24}");
    }
    println!();
    let mut json = Vec::new();
    for (figure, of_queues) in FIGURES.iter().zip(&mut samples) {
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
        let median = |of_queue: &Vec<f64>| of_queue[(of_queue.len() - 1) / 2];
        let best = of_queues[1..].iter().map(median).fold(f64::MAX, f64::min);
        println!(
            "   {:.2} times the best other",
            best / median(&of_queues[0])
        );
    }
    if let Some(path) = std::env::args().nth(1) {
        let text = format!("{{\"figures\": {{\n  {}\n}}}}\n", json.join(",\n  "));
        std::fs::write(&path, text).unwrap_or_else(|error| {
            eprintln!("compare: cannot write {path}: {error}");
            std::process::exit(1);
        });
    }
}
