//! How long the balancer's lock is held, and what that means for threads that want it: `cargo bench -p router-bench --bench lock
//! [-- POLICY...]`.
//!
//! A request takes the lock twice: to be dispatched and to be finished. The bench times each, in a warm fleet; lets two threads
//! take turns at it with the rest of a request's work between; and extends that to 64 threads by mean value analysis of a closed
//! queueing network (Reiser and Lavenberg, "Mean-Value Analysis of Closed Multichain Queuing Networks", 1980): one lock, and threads
//! that come back to it after the rest of their work.
#![allow(missing_docs, clippy::print_stdout, reason = "a bench prints")]

use parking_lot::Mutex;
use router_bench::decision_world::{DecisionWorld, WarmFleet, built_in};
use router_core::PolicyOptions;
use std::thread;
use std::time::{Duration, Instant};

const POLICIES: [&str; 5] =
    ["round_robin", "least_request", "cache_aware", "marginal_utility", "marginal_cost"];
const FLEETS: [WarmFleet; 4] = [
    WarmFleet { workers: 4, in_flight: 8, turns: 60 },
    WarmFleet { workers: 64, in_flight: 4, turns: 60 },
    WarmFleet { workers: 1024, in_flight: 4, turns: 20 },
    WarmFleet { workers: 10_000, in_flight: 2, turns: 2 },
];
const TURNS: usize = 20_000;
/// What a thread does for a request beside the two times that it holds the lock.
const REST: Duration = Duration::from_micros(18);
const THREADS_MODELLED: u32 = 64;

/// Times in ascending order.
struct Times(Vec<Duration>);

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    fn at(&self, share: f64) -> f64 {
        let place = ((self.0.len() as f64 * share) as usize).min(self.0.len().saturating_sub(1));
        self.0.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    }

    fn mean(&self) -> f64 {
        self.0.iter().sum::<Duration>().as_secs_f64() * 1e6 / self.0.len().max(1) as f64
    }
}

/// How long the lock is held to dispatch a request, and how long to finish one.
fn holds(world: &mut DecisionWorld) -> [Times; 2] {
    let mut times = [const { Vec::new() }; 2];
    for _ in 0..TURNS {
        for (step, times) in [DecisionWorld::dispatch, DecisionWorld::finish].into_iter().zip(&mut times) {
            let began = Instant::now();
            step(world);
            times.push(began.elapsed());
        }
    }
    times.map(Times::of)
}

/// How long two threads wait for the lock.
fn waits_of_two(world: DecisionWorld) -> Times {
    let world = Mutex::new(world);
    let work = || {
        let mut waits = Vec::with_capacity(2 * TURNS);
        for _ in 0..TURNS {
            for step in [DecisionWorld::dispatch, DecisionWorld::finish] {
                let began = Instant::now();
                while began.elapsed() < REST / 2 {
                    std::hint::spin_loop();
                }
                let wanted = Instant::now();
                let mut world = world.lock();
                waits.push(wanted.elapsed());
                step(&mut world);
            }
        }
        waits
    };
    let waits = thread::scope(|scope| {
        let other = scope.spawn(work);
        let mut waits = work();
        waits.extend(other.join().unwrap_or_default());
        waits
    });
    Times::of(waits)
}

/// Mean wait for the lock, in microseconds, with so many threads that each hold it for `hold` and do `rest` in between.
fn modelled_wait(threads: u32, hold: f64, rest: f64) -> f64 {
    let (mut queue, mut response) = (0.0, hold);
    for n in 1..=threads {
        response = hold * (1.0 + queue);
        queue = f64::from(n) * response / (rest + response);
    }
    response - hold
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    println!(
        "| policy | workers | lock held to dispatch, us: p50 | p99 | to finish: p50 | p99 | mean of both | 2 threads wait, us: mean | p99 | 64 threads wait, us (model) |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for policy in POLICIES.into_iter().filter(|p| wanted.is_empty() || wanted.iter().any(|w| w == p)) {
        for fleet in FLEETS {
            let mut world = DecisionWorld::warm(built_in(policy, &PolicyOptions::new()), fleet);
            let [dispatch, finish] = holds(&mut world);
            let held = (dispatch.mean() + finish.mean()) / 2.0;
            let waits = waits_of_two(world);
            println!(
                "| `{policy}` | {} | {:.2} | {:.2} | {:.2} | {:.2} | {held:.2} | {:.2} | {:.2} | {:.1} |",
                fleet.workers,
                dispatch.at(0.5),
                dispatch.at(0.99),
                finish.at(0.5),
                finish.at(0.99),
                waits.mean(),
                waits.at(0.99),
                modelled_wait(THREADS_MODELLED, held, REST.as_secs_f64() * 1e6 / 2.0),
            );
        }
    }
}
