//! Autoscalers that follow the router's signal, beside those that follow queues.

use router_core::{Registry, Slo};
use router_sim::{
    ArrivalProcess, AutoscaleExperiment, AutoscaleMetric, AutoscaleResult, AutoscaleRule, Autoscaler,
    Contender, LengthDistribution, RateCurve, RequestLengths, Scenario, TraceSlice, Workload,
    at_equal_misses, read_trace,
};
use std::path::Path;
use std::time::Duration;

const QUEUES: [&str; 5] = ["queue:0.05", "queue:0.25", "queue:0.5", "queue:1", "queue:4"];

/// The results of these rules and of queues with several targets.
fn results(fleet: &str, slo: Slo, season: f64, rules: &[&str], load: &Workload) -> Vec<AutoscaleResult> {
    let registry = Registry::builtin();
    let policy = Contender::parse("least_request", &registry).unwrap();
    let scenario = Scenario::of(fleet.parse().unwrap());
    let rules: Vec<AutoscaleRule> = rules.iter().chain(&QUEUES).map(|rule| rule.parse().unwrap()).collect();
    let mut autoscaler = Autoscaler::new(rules[0]);
    autoscaler.scaling.slo = slo;
    autoscaler.scaling.season = Duration::from_secs_f64(season);
    let experiment = AutoscaleExperiment { scenario: &scenario, autoscaler, policy: &policy, seeds: &[1] };
    experiment.run(&rules, &|_| load.clone(), &mut |_| ())
}

/// At the least, the signal has 15 % fewer worker-hours than the queue, at every share of misses that both reach. Where they share
/// none, the signal misses less than any queue, and costs less than the queue that misses least.
fn assert_signal_is_cheaper(results: &[AutoscaleResult]) {
    let compared = at_equal_misses(results);
    for row in compared.iter().filter(|row| row.metric == AutoscaleMetric::Queue) {
        assert!(row.first_hours < 0.85 * row.hours, "{row:?} {results:#?}");
    }
    let of = |metric| results.iter().filter(move |result| result.rule.metric == metric);
    let by_misses =
        |a: &&AutoscaleResult, b: &&AutoscaleResult| a.miss_share.mean.total_cmp(&b.miss_share.mean);
    let queue = of(AutoscaleMetric::Queue).min_by(by_misses).unwrap();
    let cheaper = of(AutoscaleMetric::Signal).any(|signal| {
        signal.miss_share.mean <= queue.miss_share.mean
            && signal.worker_hours.mean < 0.85 * queue.worker_hours.mean
    });
    assert!(cheaper, "{results:#?}");
}

#[test]
fn signal_is_cheaper_than_a_queue_on_a_bursty_trace() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/traces");
    let Ok(text) = std::fs::read_to_string(folder.join("azure_code_2023.jsonl")) else {
        eprintln!("skipped: no trace in {}", folder.display());
        return;
    };
    let load = read_trace(&text, &TraceSlice::default()).unwrap();
    let slo = Slo { ttft: 4.0, tpot: 0.2 };
    assert_signal_is_cheaper(&results("a100*4", slo, 86_400.0, &["signal:4", "signal:2", "signal"], &load));
}

#[test]
fn signal_is_cheaper_than_a_queue_along_days() {
    let lengths = RequestLengths {
        prompt: LengthDistribution::LogNormal { mean: 500.0, sigma: 1.0, max: 4000 },
        output: LengthDistribution::LogNormal { mean: 150.0, sigma: 0.8, max: 1000 },
    };
    let (day, rate) = (14_400.0, 2.0);
    let curve = RateCurve::Day { secs: day };
    let load =
        ArrivalProcess::poisson(rate).requests((3.0 * day * rate) as usize, lengths, 1).along(&curve, 1);
    let slo = Slo { ttft: 10.0, tpot: 0.7 };
    let results = results("l4*8", slo, day, &["signal:1.2", "signal"], &load);
    assert_signal_is_cheaper(&results);
    let planned = results.iter().find(|result| result.rule.to_string() == "signal:1").unwrap();
    assert!(planned.miss_share.mean < 0.05, "{planned:?}");
}

#[test]
fn same_seed_gives_the_same_fleet() {
    let lengths =
        RequestLengths { prompt: LengthDistribution::Fixed(500), output: LengthDistribution::Fixed(50) };
    let curve: RateCurve = "600=3;1200=0.5".parse().unwrap();
    let load = ArrivalProcess::poisson(3.0).requests(5000, lengths, 1).along(&curve, 1);
    let run = || results("l4*4", Slo { ttft: 10.0, tpot: 0.7 }, 86_400.0, &["signal"], &load);
    let first = run();
    assert_eq!(first, run());
    assert!(first.iter().all(|result| result.miss_share.mean < 1.0 && result.worker_hours.mean > 0.0));
    assert!(first[0].started.mean > 0.0, "the fleet grew");
}
