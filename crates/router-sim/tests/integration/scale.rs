//! A large fleet, small enough for every test run; the example `scale` runs a million requests.

use router_core::{PolicyOptions, Registry};
use router_sim::{ArrivalProcess, LengthDistribution, RequestLengths, Scenario, simulate};

#[test]
fn thousand_servers_complete_all_requests() {
    let lengths = RequestLengths {
        prompt: LengthDistribution::Uniform(50, 500),
        output: LengthDistribution::Uniform(10, 400),
    };
    let load = ArrivalProcess::poisson(9000.0).requests(20_000, lengths, 1);
    let scenario = Scenario::of("sglang_8b*1000".parse().unwrap());
    let make = || Registry::builtin().build("power_of_two", &PolicyOptions::new()).unwrap();
    let summary = simulate(&scenario, &load, &make, 1).summary();
    assert_eq!(summary.completed, 20_000);
    assert!(summary.share.iter().all(|share| *share > 0.0));
}
