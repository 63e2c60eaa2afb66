//! What `marginal_cost` does with workers that it knows nothing of.

use router_core::Registry;
use router_core::Time;
use router_core::policy::{MarginalCost, MarginalCostConfig};
use router_sim::{
    ArrivalProcess, ChatSessions, Contender, LengthDistribution, RequestStart, Scenario, SimulatedFleet,
    SimulatedRequest, Workload, simulate,
};
use std::time::Duration;

/// How many of a burst of 200 streams each server of a fleet gets, after `before` short requests one after the other.
fn shares_of_a_burst(fleet: &str, before: usize, prompt: u32) -> Vec<usize> {
    let mut requests: Vec<_> = (0..before)
        .map(|i| {
            let mut request = SimulatedRequest::at(Time::ZERO, 40, 30);
            if i > 0 {
                request.start = RequestStart::After { request: i - 1, think: Duration::from_millis(5) };
            }
            request
        })
        .collect();
    requests.extend((0..200).map(|_| SimulatedRequest::at(Time::from_secs_f64(3600.0), prompt, 120)));
    let fleet: SimulatedFleet = fleet.parse().unwrap();
    let mut shares = vec![0; fleet.servers.len()];
    let policy = || -> Box<dyn router_core::Policy> {
        Box::new(MarginalCost::new(MarginalCostConfig::default()).unwrap())
    };
    let run = simulate(&Scenario::of(fleet), &Workload::new(requests), &policy, 1);
    for record in run.records.iter().flatten().filter(|r| r.arrived_at.as_secs_f64() >= 3600.0) {
        shares[record.server as usize] += 1;
    }
    shares
}

#[test]
fn burst_does_not_fall_on_the_one_known_worker() {
    for fleet in ["sglang_1.5b*4", "sglang_8b*4", "sglang_8b*4@0.1", "h200*4", "sglang_1.5b*4@20"] {
        for (before, prompt) in [(1, 40), (15, 40), (40, 40), (400, 40), (15, 900)] {
            let shares = shares_of_a_burst(fleet, before, prompt);
            assert_eq!(shares.iter().sum::<usize>(), 200);
            let most = shares.iter().max().unwrap();
            assert!(*most <= 65, "{fleet} after {before}, prompts of {prompt} tokens: {shares:?}");
        }
    }
}

#[test]
fn light_load_finds_the_fast_worker_in_every_seed() {
    let registry = Registry::builtin();
    let contenders = Contender::list("oracle,marginal_cost", &registry).unwrap();
    for (fleet, rate, turns, added) in [
        ("sglang_8b*2,sglang_1.5b*1", 0.05, 20, 300),
        ("sglang_8b*2,sglang_1.5b*1", 0.02, 40, 1000),
        ("sglang_8b*2,sglang_8b@2.5", 0.05, 20, 300),
        ("sglang_8b*7,sglang_1.5b*1", 0.05, 20, 300),
    ] {
        let sessions = ChatSessions {
            count: 400 / turns as usize,
            turns: LengthDistribution::Fixed(turns),
            added: LengthDistribution::Fixed(added),
            output: LengthDistribution::Uniform(80, 150),
            think: Duration::from_secs(1),
        };
        let scenario = Scenario::of(fleet.parse().unwrap());
        for seed in 1..=10 {
            let load = ArrivalProcess::poisson(rate).sessions(sessions, seed);
            let [best, own] = [0, 1].map(|i| contenders[i].run(&scenario, &load, seed).summary().e2e.mean);
            assert!(own <= 1.10 * best, "{fleet}, {turns} turns, seed {seed}: {:.3}", own / best);
        }
    }
}
