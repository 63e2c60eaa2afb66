//! The tables of docs/scaling.md: `cargo run --release -p router-sim --example autoscale [NAME]`. A trace that is
//! not there is skipped, with a message.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints a table")]

use router_core::{Registry, Slo};
use router_sim::{
    ArrivalProcess, AutoscaleExperiment, AutoscaleRule, Autoscaler, Contender, LengthDistribution, RateCurve,
    RequestLengths, Scenario, TraceSlice, Workload, at_equal_misses, read_trace,
};
use std::path::Path;
use std::time::Duration;

/// For the trace, and for the synthetic loads. Rules with a fewest number of workers know the load in advance.
const TRACE_RULES: &str = "signal:6,signal:4,signal:3,signal:2,signal:1.5,signal:1.2,signal,signal:0.8,\
    queue:0.05,queue:0.1,queue:0.25,queue:0.5,queue:1,queue:2,queue:4,\
    queue:0.25:4,queue:1:4,queue:0.25:8,queue:1:8,queue:0.25:12,queue:1:12,\
    in-flight:1,in-flight:2,in-flight:4,in-flight:8,in-flight:16,in-flight:24,in-flight:32,\
    fixed:8,fixed:12,fixed:16,fixed:24";
const RULES: &str = "signal:1.5,signal:1.2,signal,signal:0.8,queue:0.1,queue:0.5,queue:2,\
    queue:0.25:8,queue:1:8,queue:0.25:12,in-flight:8,in-flight:16,in-flight:24,fixed:8,fixed:12,fixed:16";

/// A load, and the fleet and SLO for it.
struct Setting {
    name: &'static str,
    fleet: &'static str,
    rules: &'static str,
    slo: Slo,
    load: Box<dyn Fn(u64) -> Option<Workload>>,
    season: f64,
    seeds: u64,
}

/// Requests of an uneven mix: tokens of prompts and outputs on average.
fn mix(prompt: f64, output: f64) -> RequestLengths {
    RequestLengths {
        prompt: LengthDistribution::LogNormal { mean: prompt, sigma: 1.0, max: (8.0 * prompt) as u32 },
        output: LengthDistribution::LogNormal { mean: output, sigma: 0.8, max: (7.0 * output) as u32 },
    }
}

fn synthetic(
    name: &'static str,
    fleet: &'static str,
    arrivals: ArrivalProcess,
    lengths: RequestLengths,
    curve: &str,
    secs: f64,
) -> Setting {
    let n = (arrivals.rate * secs) as usize;
    let curve: RateCurve = curve.parse().unwrap();
    let load = move |seed| Some(arrivals.requests(n, lengths, seed).along(&curve, seed));
    let slo = Slo { ttft: 10.0, tpot: 0.7 };
    Setting { name, fleet, rules: RULES, slo, load: Box::new(load), season: 86_400.0, seeds: 2 }
}

fn settings() -> Vec<Setting> {
    let trace = |_| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/traces");
        let text = std::fs::read_to_string(folder.join("azure_code_2023.jsonl")).ok()?;
        read_trace(&text, &TraceSlice::default()).ok()
    };
    let slo = Slo { ttft: 4.0, tpot: 0.2 };
    let azure = |name, fleet| Setting {
        name,
        fleet,
        rules: TRACE_RULES,
        slo,
        load: Box::new(trace),
        season: 86_400.0,
        seeds: 5,
    };
    let poisson = ArrivalProcess::poisson;
    let (usual, hours) = (mix(500.0, 150.0), 3600.0);
    vec![
        azure("azure", "a100*8"),
        azure("azure-16", "a100*16"),
        synthetic("days", "l4*8", poisson(2.0), usual, "day", 72.0 * hours),
        synthetic("steps", "l4*8", poisson(2.0), usual, "7200=2;14400=0.5;21600=1.5", 8.0 * hours),
        synthetic("bursts", "l4*8", ArrivalProcess::gamma(2.0, 0.05), usual, "0=1", 8.0 * hours),
        synthetic("long-prompts", "l4*8", poisson(0.7), mix(2000.0, 100.0), "day", 48.0 * hours),
        synthetic("two-kinds", "l4*4,a100*2", poisson(4.0), usual, "day", 48.0 * hours),
        synthetic("one-slow", "l4*7,l4@0.4", poisson(2.0), usual, "day", 48.0 * hours),
    ]
}

fn main() {
    let only = std::env::args().nth(1);
    for setting in settings().into_iter().filter(|s| only.as_deref().is_none_or(|name| name == s.name)) {
        run(&setting);
    }
}

fn run(setting: &Setting) {
    let rules: Vec<AutoscaleRule> =
        setting.rules.split(',').map(|rule| rule.trim().parse().unwrap()).collect();
    let seeds: Vec<u64> = (1..=setting.seeds).collect();
    if (setting.load)(1).is_none() {
        return println!("{}: skipped, there is no trace", setting.name);
    }
    let registry = Registry::builtin();
    let policy = Contender::parse("least_request", &registry).unwrap();
    let scenario = Scenario::of(setting.fleet.parse().unwrap());
    let mut autoscaler = Autoscaler::new(rules[0]);
    autoscaler.scaling.slo = setting.slo;
    autoscaler.scaling.horizon = autoscaler.startup + autoscaler.interval;
    autoscaler.scaling.season = Duration::from_secs_f64(setting.season);
    let experiment = AutoscaleExperiment { scenario: &scenario, autoscaler, policy: &policy, seeds: &seeds };
    let results = experiment.run(&rules, &|seed| (setting.load)(seed).unwrap(), &mut |_| ());
    println!("{} on {}, {} seeds", setting.name, setting.fleet, setting.seeds);
    for result in &results {
        println!(
            "{:<16} {:9.2} ± {:<6.2} {:8.3} % ± {:<7.3} most {:<4.0} started {:.0}",
            result.rule.to_string(),
            result.worker_hours.mean,
            result.worker_hours.half_width.unwrap_or(0.0),
            100.0 * result.miss_share.mean,
            100.0 * result.miss_share.half_width.unwrap_or(0.0),
            result.most.mean,
            result.started.mean
        );
    }
    for row in at_equal_misses(&results) {
        let change = 100.0 * (row.first_hours / row.hours - 1.0);
        let (share, other) = (100.0 * row.miss_share, row.metric.as_str());
        println!("  at {share:.3} %: {:.2}, {other} {:.2}: {change:+.1} %", row.first_hours, row.hours);
    }
}
