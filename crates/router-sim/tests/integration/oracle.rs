//! The oracle is a bound: no policy is better than it by more than noise.
//!
//! The traces are external data; without them their cases are skipped, and the test prints it.

use router_core::Registry;
use router_sim::{
    ArrivalProcess, Contender, Experiment, LengthDistribution, PrefixGroups, RequestLengths, Scenario, Slo,
    SummaryMetric, TraceSlice, Workload, read_trace,
};
use std::path::Path;

const UNEVEN: &str = "sglang_1.5b,sglang_8b*2";
const EVEN: &str = "sglang_8b*4";
const MIXED: &str = "sglang_8b*2,sglang_8b*2@0.5,sglang_8b*4@0.25";
/// The policies that are best in some case.
const RIVALS: &str = "oracle,least_request,cache_aware,power_of_two,marginal_cost";
/// Differences of the means under about 2 % are noise.
const NOISE: f64 = 0.98;

fn assert_bound(what: &str, fleet: &str, load: &dyn Fn(u64) -> Workload) {
    let registry = Registry::builtin();
    let contenders = Contender::list(RIVALS, &registry).unwrap();
    let scenario = Scenario::of(fleet.parse().unwrap());
    let experiment = Experiment { scenario: &scenario, seeds: &[21, 22], slo: Slo::default() };
    let table = experiment.run(&contenders, load, &mut |_| ());
    let mean = SummaryMetric::ALL.iter().position(|m| m.name == "e2e_mean_s").unwrap();
    for row in &table.rows {
        let ratio = row.ratios[mean].unwrap().mean;
        assert!(ratio > NOISE, "{what}: {} has {ratio:.3} of the oracle's mean", row.name);
    }
}

#[test]
fn no_policy_beats_oracle_on_synthetic_loads() {
    let prompt = LengthDistribution::Uniform(220, 385);
    let short = RequestLengths { prompt, output: LengthDistribution::Uniform(190, 320) };
    let wide = RequestLengths {
        prompt,
        output: LengthDistribution::LogNormal { mean: 250.0, sigma: 1.2, max: 4000 },
    };
    let load = |rate, lengths| move |seed| ArrivalProcess::poisson(rate).requests(1500, lengths, seed);
    assert_bound("uneven 27/s", UNEVEN, &load(27.0, short));
    assert_bound("uneven 110/s", UNEVEN, &load(110.0, short));
    assert_bound("even 60/s", EVEN, &load(60.0, short));
    assert_bound("even 130/s", EVEN, &load(130.0, short));
    assert_bound("mixed 40/s", MIXED, &load(40.0, wide));
    assert_bound("chunked 30/s", "rtxpro6000*2,rtx4090*2", &load(30.0, short));
    let groups = PrefixGroups {
        groups: 24,
        shared_tokens: 2432,
        own: LengthDistribution::Uniform(400, 800),
        output: LengthDistribution::Uniform(100, 300),
    };
    assert_bound("groups 12/s", EVEN, &move |seed| ArrivalProcess::poisson(12.0).grouped(1500, groups, seed));
}

#[test]
fn no_policy_beats_oracle_on_traces() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/traces");
    for (name, fleet, speed) in [
        ("azure_code_2023", UNEVEN, 8.0),
        ("azure_code_2023", MIXED, 8.0),
        ("mooncake_conversation", EVEN, 1.5),
        ("mooncake_conversation", MIXED, 1.5),
    ] {
        let Ok(text) = std::fs::read_to_string(folder.join(format!("{name}.jsonl"))) else {
            eprintln!("SKIPPED: the trace {name} is not beside this clone");
            continue;
        };
        let slice = |seed: u64| {
            let from = 1000 * (seed as usize - 21);
            TraceSlice { requests: from..from + 1500, speed, ..TraceSlice::default() }
        };
        assert_bound(&format!("{name} on {fleet}"), fleet, &|seed| read_trace(&text, &slice(seed)).unwrap());
    }
}
