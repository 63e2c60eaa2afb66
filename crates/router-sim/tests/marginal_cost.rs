//! What `marginal_cost` must do on engines; its unit tests pin the rest.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use router_core::{Params, Registry};
use router_sim::{
    Arrivals, Contender, Experiment, Fleet, Lengths, Measure, Outcome, Scenario, Slo, Spread, Table, What,
    Workload, simulate,
};

const UNEVEN: &str = "sglang_1.5b,sglang_8b*2";
const MIXED: &str = "sglang_8b*2,sglang_8b*2@0.5,sglang_8b*4@0.25";

fn short(rate: f64) -> impl Fn(u64) -> Workload {
    let lengths = Lengths { prompt: Spread::Uniform(220, 385), output: Spread::Uniform(190, 320) };
    move |seed| Arrivals::poisson(rate).requests(2500, lengths, seed)
}

fn wide(rate: f64) -> impl Fn(u64) -> Workload {
    let output = Spread::LogNormal { mean: 250.0, sigma: 1.2, max: 4000 };
    let lengths = Lengths { prompt: Spread::Uniform(220, 385), output };
    move |seed| Arrivals::poisson(rate).requests(2500, lengths, seed)
}

fn scenario(fleet: &str) -> Scenario {
    Scenario::of(fleet.parse::<Fleet>().unwrap())
}

fn knobs(json: &str) -> Params {
    serde_json::from_str(json).unwrap()
}

/// Three seeds of `name` against the others, with ratios to the first.
fn table(
    scenario: &Scenario,
    names: &[(&'static str, &'static str)],
    load: &dyn Fn(u64) -> Workload,
) -> Table {
    let contenders: Vec<_> = names
        .iter()
        .map(|&(name, json)| {
            Contender::new(name, move || Registry::builtin().build(name, &knobs(json)).unwrap())
        })
        .collect();
    Experiment { scenario, seeds: &[11, 12, 13], slo: Slo::default() }.run(&contenders, load, &mut |_| ())
}

/// Of the second contender's mean latency and its p99 to those of the first.
fn ratios(table: &Table) -> (f64, f64) {
    let of = |name: &str| Measure::ALL.iter().position(|m| m.name == name).unwrap();
    let ratio = |i: usize| table.rows[1].ratios[i].unwrap().mean;
    (ratio(of("e2e_mean_s")), ratio(of("e2e_p99_s")))
}

#[test]
fn it_beats_counting_and_rotation_on_unequal_servers() {
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
fn it_loses_nothing_on_equal_servers() {
    for rate in [60.0, 130.0] {
        let names = [("least_request", "{}"), ("marginal_cost", "{}")];
        let equal = ratios(&table(&scenario("sglang_8b*4"), &names, &short(rate)));
        assert!(equal.0 <= 1.02 && equal.1 <= 1.02, "{rate}: {equal:?}");
    }
}

#[test]
fn the_classic_rule_loses_as_it_always_did() {
    let names = [("round_robin", "{}"), ("marginal_utility", "{}")];
    let classic = ratios(&table(&scenario(UNEVEN), &names, &short(27.0)));
    assert!(classic.0 >= 1.0, "{classic:?}");
}

#[test]
fn without_regard_for_others_the_fast_server_drowns() {
    let names = [("marginal_cost", "{}"), ("marginal_cost", r#"{"externality_weight":0.0}"#)];
    let selfish = ratios(&table(&scenario(UNEVEN), &names, &short(110.0)));
    assert!(selfish.0 >= 1.2, "{selfish:?}");
}

#[test]
fn late_news_and_blind_routers_do_not_upset_it() {
    let names = [("least_request", "{}"), ("marginal_cost", "{}")];
    let late = scenario(UNEVEN).with(0.0, What::DelayCompletions(std::time::Duration::from_millis(500)));
    let late = ratios(&table(&late, &names, &short(27.0)));
    let mut blind = scenario(UNEVEN);
    blind.routers = 4;
    let blind = ratios(&table(&blind, &names, &short(27.0)));
    assert!(late.0 <= 1.05 && blind.0 <= 1.05, "{late:?} {blind:?}");
}

/// The share that the first server got of the requests that came from `from` seconds on, `n` of them.
fn share(outcome: &Outcome, from: f64, n: usize) -> f64 {
    let came = outcome.records.iter().flatten().filter(|r| r.arrived_at.as_secs_f64() >= from).take(n);
    came.filter(|r| r.server == 0).count() as f64 / n as f64
}

#[test]
fn a_server_that_recovers_gets_its_share_back() {
    let make = || Registry::builtin().build("marginal_cost", &Params::new()).unwrap();
    let load = short(27.0)(5);
    let steady = simulate(&scenario(UNEVEN), &load, &make, 1);
    let slow = scenario(UNEVEN)
        .with(20.0, What::Slow { server: 0, factor: 10.0 })
        .with(80.0, What::Slow { server: 0, factor: 1.0 });
    let slowed = simulate(&slow, &load, &make, 1);
    assert!(share(&slowed, 30.0, 1000) < 0.5 * share(&steady, 30.0, 1000), "it is spared while it is slow");
    // 200 requests after it recovered the next 200 are dealt out.
    let again = 80.0 + 200.0 / 27.0;
    let (after, before) = (share(&slowed, again, 200), share(&steady, again, 200));
    assert!(after > 0.8 * before, "{after} of {before}");
}
