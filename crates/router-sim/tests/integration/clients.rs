//! What forecasts by class gain on loads of several clients.

use router_core::Registry;
use router_sim::{ArrivalProcess, ClientMix, Contender, Experiment, Scenario, Slo, SummaryMetric, Workload};

/// Three clients whose prompts and limits are alike, so that only their names tell their lengths.
const ALIKE: &str = "chat:share=0.5,input-len=200..600,output-len=lognormal:200:1.2:1024,max-tokens=1024;\
    extraction:share=0.35,input-len=200..600,output-len=5..30,max-tokens=1024;\
    agents:share=0.15,input-len=200..600,output-len=300..900,max-tokens=1024";

/// Mean seconds of `marginal_cost` as a share of those of `least_request`.
fn ratio(load: &dyn Fn(u64) -> Workload) -> f64 {
    let scenario = Scenario::of("sglang_8b@0.75,sglang_8b*2@0.3".parse().unwrap());
    let experiment = Experiment { scenario: &scenario, seeds: &[1, 2], slo: Slo::default() };
    let registry = Registry::builtin();
    let contenders = Contender::list("least_request,marginal_cost", &registry).unwrap();
    let table = experiment.run(&contenders, load, &mut |_| ());
    let mean = SummaryMetric::ALL.iter().position(|metric| metric.name == "e2e_mean_s").unwrap();
    table.rows[1].ratios[mean].unwrap().mean
}

#[test]
fn named_clients_are_foreseen_better() {
    let mix: ClientMix = ALIKE.parse().unwrap();
    let named = |seed| ArrivalProcess::poisson(30.0).clients(3000, &mix, seed);
    let nameless = |seed| {
        let mut load = named(seed);
        load.requests.iter_mut().for_each(|request| request.client = None);
        load
    };
    let (with, without) = (ratio(&named), ratio(&nameless));
    assert!(with < 0.95 * without, "{with} with names, {without} without");
}
