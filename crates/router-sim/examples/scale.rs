//! Times one million requests over a thousand servers: `cargo run --release -p router-sim --example scale [POLICY]`.
#![allow(clippy::print_stdout, reason = "an example prints")]

use router_core::{PolicyOptions, Registry};
use router_sim::{ArrivalProcess, LengthDistribution, RequestLengths, Scenario, simulate};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let policy = std::env::args().nth(1).unwrap_or_else(|| "power_of_two".to_owned());
    let registry = Registry::builtin();
    registry.build(&policy, &PolicyOptions::new())?;
    let lengths = RequestLengths {
        prompt: LengthDistribution::LogNormal { mean: 300.0, sigma: 0.8, max: 8000 },
        output: LengthDistribution::LogNormal { mean: 250.0, sigma: 0.8, max: 4000 },
    };
    let load = ArrivalProcess::poisson(9000.0).requests(1_000_000, lengths, 1);
    let scenario = Scenario::of("sglang_8b*500,sglang_1.5b*250,rtxpro6000*250".parse()?);
    let make = || -> Box<dyn router_core::Policy> {
        registry
            .build(&policy, &PolicyOptions::new())
            .unwrap_or_else(|_| Box::new(router_core::policy::Random))
    };
    let started = Instant::now();
    let summary = simulate(&scenario, &load, &make, 1).summary();
    println!(
        "{policy}: {} requests over 1000 servers in {:.1} s of real time; E2E mean {:.3} s, p99 {:.3} s",
        summary.completed,
        started.elapsed().as_secs_f64(),
        summary.e2e.mean,
        summary.e2e.p99
    );
    Ok(())
}
