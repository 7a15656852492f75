// SPDX-License-Identifier: GPL-2.0

//! Criterion benchmarks of the ring against published ones: ns per value in one thread, one at a
//! time and in batches across two threads, and for a round trip.

#[path = "queues/mod.rs"]
mod queues;

use criterion::{criterion_group, criterion_main, Criterion};
use queues::measure::{batch, one_thread, round_trip, stream, EAGER, PATIENT};
use queues::{Crossbeam, Msgq, MsgqPlain, Queue, Ringbuf, Rtrb};
use std::time::Duration;

type Measure = fn(u64) -> f64;

fn queue<Q: Queue>(c: &mut Criterion) {
    let measures: [(&str, Measure, u64); 4] = [
        ("one_thread", one_thread::<Q>, 1_000),
        ("stream", |count| stream::<Q>(count, PATIENT), 20_000),
        ("batch32", |count| batch::<Q>(count, EAGER), 50_000),
        ("round_trip", round_trip::<Q>, 1_000),
    ];
    for (name, measure, least) in measures {
        c.benchmark_group(name).bench_function(Q::NAME, |b| {
            b.iter_custom(|count| {
                // Few values would measure the start of two threads.
                let per_value = measure(count.max(least));
                Duration::from_nanos((per_value * count as f64) as u64)
            })
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = queue::<Msgq>, queue::<MsgqPlain>, queue::<Rtrb>, queue::<Ringbuf>, queue::<Crossbeam>
}
criterion_main!(benches);
