//! What `marginal_cost` must achieve on simulated engines; its unit tests cover the rest.

use router_core::{BatchWindow, PolicyOptions, Registry};
use router_sim::{
    ArrivalProcess, ComparisonTable, Contender, Experiment, IncidentKind, LengthDistribution, LoadReporting,
    PrefixGroups, RequestLengths, RequestStart, Scenario, SimulatedFleet, SimulationOutcome, Slo,
    SummaryMetric, TraceSlice, Workload, read_trace, simulate,
};
use std::path::Path;
use std::time::Duration;

const UNEVEN: &str = "sglang_1.5b,sglang_8b*2";
const MIXED: &str = "sglang_8b*2,sglang_8b*2@0.5,sglang_8b*4@0.25";

fn short(rate: f64) -> impl Fn(u64) -> Workload {
    let lengths = RequestLengths {
        prompt: LengthDistribution::Uniform(220, 385),
        output: LengthDistribution::Uniform(190, 320),
    };
    move |seed| ArrivalProcess::poisson(rate).requests(2500, lengths, seed)
}

fn wide(rate: f64) -> impl Fn(u64) -> Workload {
    let output = LengthDistribution::LogNormal { mean: 250.0, sigma: 1.2, max: 4000 };
    let lengths = RequestLengths { prompt: LengthDistribution::Uniform(220, 385), output };
    move |seed| ArrivalProcess::poisson(rate).requests(2500, lengths, seed)
}

fn scenario(fleet: &str) -> Scenario {
    Scenario::of(fleet.parse::<SimulatedFleet>().unwrap())
}

fn options(json: &str) -> PolicyOptions {
    serde_json::from_str(json).unwrap()
}

/// Runs the named policies with three seeds; ratios are to the first.
fn table(
    scenario: &Scenario,
    names: &[(&'static str, &'static str)],
    load: &dyn Fn(u64) -> Workload,
) -> ComparisonTable {
    let contenders: Vec<_> = names
        .iter()
        .map(|&(name, json)| {
            Contender::new(name, move || Registry::builtin().build(name, &options(json)).unwrap())
        })
        .collect();
    Experiment { scenario, seeds: &[11, 12, 13], slo: Slo::default() }.run(&contenders, load, &mut |_| ())
}

/// The ratio of one metric of the second contender to the first.
fn ratio(table: &ComparisonTable, measure: &str) -> f64 {
    let at = SummaryMetric::ALL.iter().position(|m| m.name == measure).unwrap();
    table.rows[1].ratios[at].unwrap().mean
}

/// The ratios of mean latency and its p99 of the second contender to the first.
fn ratios(table: &ComparisonTable) -> (f64, f64) {
    (ratio(table, "e2e_mean_s"), ratio(table, "e2e_p99_s"))
}

#[test]
fn beats_simple_policies_on_unequal_servers() {
    let load = short(27.0);
    let rotation =
        ratios(&table(&scenario(UNEVEN), &[("round_robin", "{}"), ("marginal_cost", "{}")], &load));
    let counting =
        ratios(&table(&scenario(UNEVEN), &[("least_request", "{}"), ("marginal_cost", "{}")], &load));
    assert!(rotation.0 <= 0.70 && counting.0 <= 0.85, "{rotation:?} {counting:?}");
    assert!(rotation.1 <= 0.70 && counting.1 <= 0.75, "{rotation:?} {counting:?}");
    let mixed =
        ratios(&table(&scenario(MIXED), &[("least_request", "{}"), ("marginal_cost", "{}")], &wide(40.0)));
    assert!(mixed.0 <= 0.75 && mixed.1 <= 0.75, "{mixed:?}");
}

#[test]
fn lengths_that_requests_name_are_used() {
    let names = [("least_request", "{}"), ("marginal_cost", "{}")];
    let load = wide(40.0);
    let (mean, p99) = ratios(&table(&scenario(MIXED), &names, &|seed| load(seed).naming_lengths()));
    assert!(mean <= 0.63 && p99 <= 0.56, "{mean} {p99}");
    // Where few requests run at once, those with a long response wait for a fast server, which takes them less time.
    let mut few = scenario(MIXED);
    few.fleet.servers.iter_mut().for_each(|server| server.limits.max_running = 8);
    let short = |seed: u64| {
        let output = LengthDistribution::LogNormal { mean: 100.0, sigma: 1.2, max: 1000 };
        let lengths = RequestLengths { prompt: LengthDistribution::Uniform(150, 250), output };
        ArrivalProcess::poisson(32.0).requests(2500, lengths, seed).naming_lengths()
    };
    let (mean, p99) = ratios(&table(&few, &names, &short));
    assert!(mean <= 0.78 && p99 <= 0.55, "{mean} {p99}");
}

#[test]
fn first_tokens_stay_early_at_high_load() {
    let names = [("least_request", "{}"), ("marginal_cost", "{}")];
    let table = table(&scenario("sglang_8b@2.5,sglang_8b*2"), &names, &short(146.0));
    let ((mean, p99), ttft) = (ratios(&table), ratio(&table, "ttft_p99_s"));
    assert!(mean <= 0.90 && p99 <= 0.68 && ttft <= 1.05, "{mean} {p99} {ttft}");
}

#[test]
fn no_queue_while_another_has_room() {
    let names = [("least_request", "{}"), ("marginal_cost", "{}")];
    let mut full = scenario("sglang_8b@2.5,sglang_8b*2");
    full.fleet.servers.iter_mut().for_each(|server| server.limits.max_running = 16);
    let table = table(&full, &names, &short(27.0));
    let ttft = ratio(&table, "ttft_p99_s");
    assert!(ratios(&table).0 <= 0.92 && ttft <= 0.7, "{:?} {ttft}", ratios(&table));
}

#[test]
fn shared_prefixes_are_kept_together_without_crowding() {
    let groups = |rate: f64| {
        let groups = PrefixGroups {
            groups: 24,
            shared_tokens: 2432,
            own: LengthDistribution::Uniform(400, 800),
            output: LengthDistribution::Uniform(100, 300),
        };
        move |seed| ArrivalProcess::poisson(rate).grouped(2500, groups, seed)
    };
    let names = [("cache_aware", "{}"), ("marginal_cost", "{}")];
    let ample = ratios(&table(&scenario("sglang_8b*4"), &names, &groups(40.0)));
    assert!(ample.0 <= 0.98 && ample.1 <= 0.95, "{ample:?}");
    let mut scarce = scenario("sglang_8b*4");
    scarce.fleet.servers.iter_mut().for_each(|server| server.limits.kv_tokens = 40_000);
    let scarce = ratios(&table(&scarce, &names, &groups(24.0)));
    assert!(scarce.0 <= 1.0 && scarce.1 <= 0.97, "{scarce:?}");
}

#[test]
fn known_slo_is_met_more_often() {
    let slo = Slo { ttft: 0.1, tpot: 0.015 };
    let knows = r#"{"slo_ttft_secs":0.1,"slo_tpot_secs":0.015}"#;
    let good = |json: &'static str| {
        let make = || Registry::builtin().build("marginal_cost", &options(json)).unwrap();
        let met = |seed: u64| {
            let outcome = simulate(&scenario(MIXED), &wide(80.0)(seed), &make, seed);
            let records = outcome.records.iter().flatten();
            records
                .filter(|r| r.ttft() <= Some(slo.ttft) && r.tpot().is_none_or(|tpot| tpot <= slo.tpot))
                .count()
        };
        (11..14).map(met).sum::<usize>()
    };
    let (with, without) = (good(knows), good("{}"));
    assert!(with as f64 >= 1.03 * without as f64, "{with} and {without}");
}

#[test]
fn load_reports_do_not_mislead() {
    let mut polled = scenario(UNEVEN);
    polled.reports = LoadReporting { on_responses: true, poll: Some(Duration::from_secs(1)) };
    let names = [("least_request", "{}"), ("marginal_cost", "{}")];
    let polled = ratios(&table(&polled, &names, &short(27.0)));
    assert!(polled.0 <= 0.80 && polled.1 <= 0.80, "{polled:?}");
}

/// A slice of a recorded trace for each seed, at `rate` requests per second; absent if there is no such file.
fn trace(name: &str, rate: f64) -> Option<impl Fn(u64) -> Workload> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/traces");
    let text = std::fs::read_to_string(folder.join(format!("{name}.jsonl"))).ok()?;
    Some(move |seed: u64| {
        let from = 500 * (seed as usize - 11);
        let slice = TraceSlice { requests: from..from + 3000, ..TraceSlice::default() };
        let starts = read_trace(&text, &slice).unwrap().requests.into_iter().filter_map(|r| match r.start {
            RequestStart::At(at) => Some(at.as_secs_f64()),
            RequestStart::After { .. } => None,
        });
        let speed = rate * starts.fold(0.0, f64::max) / 3000.0;
        read_trace(&text, &TraceSlice { speed, ..slice }).unwrap()
    })
}

#[test]
fn beats_least_request_and_rotation_on_traces() {
    for (name, rate) in [("mooncake_conversation", 6.0), ("azure_code_2023", 20.0)] {
        let Some(load) = trace(name, rate) else {
            eprintln!("SKIPPED: the trace {name} is not beside this clone");
            continue;
        };
        let to = |rule| table(&scenario(MIXED), &[(rule, "{}"), ("marginal_cost", "{}")], &load);
        let (counting, rotation) = (ratios(&to("least_request")), ratios(&to("round_robin")));
        assert!(counting.0 <= 0.70 && rotation.0 <= 0.40, "{name}: {counting:?} {rotation:?}");
    }
}

#[test]
fn loses_nothing_on_equal_servers() {
    for rate in [60.0, 130.0] {
        let names = [("least_request", "{}"), ("marginal_cost", "{}")];
        let equal = ratios(&table(&scenario("sglang_8b*4"), &names, &short(rate)));
        assert!(equal.0 <= 1.02 && equal.1 <= 1.02, "{rate}: {equal:?}");
    }
}

/// The p99 of the time to first token of the requests that arrived at `from` seconds or later.
fn late_first_tokens(name: &str, scenario: &Scenario, from: f64) -> f64 {
    let make = || Registry::builtin().build(name, &PolicyOptions::new()).unwrap();
    let lengths = RequestLengths {
        prompt: LengthDistribution::Uniform(220, 385),
        output: LengthDistribution::Uniform(190, 320),
    };
    let load = ArrivalProcess::poisson(130.0).requests(6000, lengths, 14).streamed(0.5);
    let outcome = simulate(scenario, &load, &make, 1);
    let came = outcome.records.iter().flatten().filter(|r| r.arrived_at.as_secs_f64() >= from);
    let mut all: Vec<f64> = came.filter_map(|r| r.ttft()).collect();
    all.sort_unstable_by(f64::total_cmp);
    all[all.len() * 99 / 100]
}

#[test]
fn learns_chunked_prefill() {
    let even = scenario("sglang_8b*4:chunked=2048");
    let [counting, costing] =
        ["least_request", "marginal_cost"].map(|name| late_first_tokens(name, &even, 20.0));
    assert!(costing <= 1.05 * counting, "{costing} and {counting}");
    let names = [("least_request", "{}"), ("marginal_cost", "{}")];
    let chunked = "sglang_8b*2:chunked=2048,sglang_8b*2@0.5:chunked=2048,sglang_8b*4@0.25:chunked=2048";
    let mixed = table(&scenario(chunked), &names, &wide(80.0));
    let ((mean, p99), ttft) = (ratios(&mixed), ratio(&mixed, "ttft_p99_s"));
    assert!(mean <= 0.75 && p99 <= 0.75 && ttft <= 0.8, "{mean} {p99} {ttft}");
}

#[test]
fn classic_policy_loses_to_rotation() {
    let names = [("round_robin", "{}"), ("marginal_utility", "{}")];
    let classic = ratios(&table(&scenario(UNEVEN), &names, &short(27.0)));
    assert!(classic.0 >= 1.0, "{classic:?}");
}

#[test]
fn without_externality_fast_server_overloads() {
    let names = [("marginal_cost", "{}"), ("marginal_cost", r#"{"externality_weight":0.0}"#)];
    let selfish = ratios(&table(&scenario(UNEVEN), &names, &short(110.0)));
    assert!(selfish.0 >= 1.2, "{selfish:?}");
}

#[test]
fn tolerates_late_completions_and_several_routers() {
    let names = [("least_request", "{}"), ("marginal_cost", "{}")];
    let late = scenario(UNEVEN).with(0.0, IncidentKind::DelayCompletions(Duration::from_millis(500)));
    let late = ratios(&table(&late, &names, &short(27.0)));
    let mut blind = scenario(UNEVEN);
    blind.routers = 4;
    let blind = ratios(&table(&blind, &names, &short(27.0)));
    assert!(late.0 <= 1.05 && blind.0 <= 1.05, "{late:?} {blind:?}");
}

/// The first server's share of the first `n` requests that arrived at `from` seconds or later.
fn share(outcome: &SimulationOutcome, from: f64, n: usize) -> f64 {
    let came = outcome.records.iter().flatten().filter(|r| r.arrived_at.as_secs_f64() >= from).take(n);
    came.filter(|r| r.server == 0).count() as f64 / n as f64
}

#[test]
fn recovered_server_gets_its_share_back() {
    let make = || Registry::builtin().build("marginal_cost", &PolicyOptions::new()).unwrap();
    let load = short(27.0)(5);
    let steady = simulate(&scenario(UNEVEN), &load, &make, 1);
    let slow = scenario(UNEVEN)
        .with(20.0, IncidentKind::Slow { server: 0, factor: 10.0 })
        .with(80.0, IncidentKind::Slow { server: 0, factor: 1.0 });
    let slowed = simulate(&slow, &load, &make, 1);
    assert!(
        share(&slowed, 30.0, 1000) < 0.5 * share(&steady, 30.0, 1000),
        "a slow server gets fewer requests"
    );
    // Counts 200 requests, beginning 200 requests after the recovery.
    let again = 80.0 + 200.0 / 27.0;
    let (after, before) = (share(&slowed, again, 200), share(&steady, again, 200));
    assert!(after > 0.8 * before, "{after} of {before}");
}

#[test]
fn batch_window_saves_time_near_saturation() {
    let lengths = RequestLengths {
        prompt: LengthDistribution::Uniform(220, 385),
        output: LengthDistribution::Uniform(100, 400),
    };
    let load = |seed| ArrivalProcess::poisson(56.0).requests(2500, lengths, seed);
    let figures = |window_ms| {
        let window = BatchWindow::new(Duration::from_millis(window_ms));
        let scenario = Scenario { batch_window: window, ..scenario("sglang_8b@0.75,sglang_8b*2@0.3") };
        let table = table(&scenario, &[("marginal_cost", "{}")], &load);
        ["e2e_mean_s", "e2e_p99_s", "ttft_p99_s"].map(|name| {
            let at = SummaryMetric::ALL.iter().position(|metric| metric.name == name).unwrap();
            table.rows[0].estimates[at].mean
        })
    };
    let ([mean, p99, ttft], [mean_at_once, p99_at_once, ttft_at_once]) = (figures(100), figures(0));
    assert!(mean < 0.9 * mean_at_once && p99 < 0.9 * p99_at_once, "{mean} {p99}");
    assert!(ttft < ttft_at_once + 0.2, "{ttft} {ttft_at_once}");
}
