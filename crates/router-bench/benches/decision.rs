//! Nanoseconds per dispatch and finish, for every policy, with a warm state.
//!
//! `cargo bench -p router-bench --bench decision`. Each iteration dispatches one request with a prefix of 40 blocks,
//! finishes the oldest in flight, and thereby runs everything a live request makes the core do. Up to
//! 1,024 workers 4 requests are in flight per worker, all windows are full up to 64 workers, and a load report comes with every eighth response.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use router_bench::decision_world::{DecisionWorld, WarmFleet, built_in};
use router_core::{PolicyOptions, Registry};
use std::time::Duration;

/// Large fleets are warmed up for a shorter time, because a policy may look at every worker for every request.
const FLEETS: [WarmFleet; 4] = [
    WarmFleet { workers: 8, in_flight: 4, turns: 60 },
    WarmFleet { workers: 64, in_flight: 4, turns: 60 },
    WarmFleet { workers: 1024, in_flight: 4, turns: 20 },
    WarmFleet { workers: 10_000, in_flight: 2, turns: 2 },
];

fn decision(c: &mut Criterion) {
    let registry = Registry::builtin();
    let mut group = c.benchmark_group("dispatch_and_finish");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(1000));
    for spec in registry.specs() {
        for fleet in FLEETS {
            // Made by the first iteration, so that a filter on the command line saves the rest.
            let mut world = None;
            group.bench_function(BenchmarkId::new(&spec.name, fleet.workers), |b| {
                let world = world.get_or_insert_with(|| {
                    let policy = built_in(&spec.name, &PolicyOptions::new());
                    DecisionWorld::warm(policy, fleet)
                });
                b.iter(|| world.turn());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, decision);
criterion_main!(benches);
