//! What policies miss in large fleets, where they compare a few of the workers and not all:
//! `cargo run --release -p router-sim --example shortlist [REQUESTS]`.
//!
//! Each load runs twice on 1,024 servers: decided among a shortlist, and among all. In the first run every decision is made once
//! more among all, in the same state; the regret is what the choice costs more by the policy's own cost, as a share of the
//! lowest cost.
#![allow(clippy::print_stdout, reason = "an example prints")]

use router_core::policy::Random;
use router_core::{Decision, DecisionContext, Event, Policy, PolicyNeeds, PolicyOptions, Registry, Time};
use router_sim::{
    ArrivalProcess, ChatSessions, LengthDistribution, PrefixGroups, RequestLengths, Scenario,
    SimulationSummary, Workload, simulate,
};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

const POLICIES: [&str; 8] = [
    "least_request",
    "cache_aware",
    "lmetric",
    "shortest_queue",
    "least_load",
    "prequal",
    "marginal_utility",
    "marginal_cost",
];

const MIXED: &str = "sglang_8b*512,sglang_1.5b*256,rtxpro6000*256";
const FEW_FAST: &str = "rtxpro6000*1014,sglang_1.5b*10";

/// How the decision is made that counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Compared {
    Shortlist,
    All,
}

/// A policy whose decisions are made twice.
#[derive(Debug)]
struct Examined {
    policy: Box<dyn Policy>,
    compared: Compared,
    regrets: Sender<f64>,
}

impl Policy for Examined {
    fn name(&self) -> &str {
        self.policy.name()
    }

    fn needs(&self) -> PolicyNeeds {
        self.policy.needs()
    }

    fn decide(&mut self, mut cx: DecisionContext<'_>) -> Decision {
        if self.compared == Compared::All {
            return self.policy.decide(cx.compare_all());
        }
        let decision = self.policy.decide(cx.reborrow());
        let best = self.policy.decide(cx.compare_all());
        if let (Some(cost), Some(lowest)) = (decision.cost, best.cost)
            && lowest.abs() > 0.0
        {
            // An error means that nobody wants to know.
            let _ = self.regrets.send(((cost - lowest) / lowest.abs()).max(0.0));
        }
        decision
    }

    fn observe(&mut self, now: Time, event: &Event<'_>) {
        self.policy.observe(now, event);
    }
}

fn loads(requests: usize) -> Vec<(&'static str, &'static str, Workload)> {
    let lengths = RequestLengths {
        prompt: LengthDistribution::LogNormal { mean: 300.0, sigma: 0.8, max: 8000 },
        output: LengthDistribution::LogNormal { mean: 250.0, sigma: 0.8, max: 4000 },
    };
    let long = RequestLengths {
        prompt: LengthDistribution::LogNormal { mean: 3000.0, sigma: 1.5, max: 60_000 },
        output: LengthDistribution::LogNormal { mean: 150.0, sigma: 0.8, max: 2000 },
    };
    let documents = PrefixGroups {
        groups: 300,
        shared_tokens: 4000,
        own: LengthDistribution::Uniform(50, 500),
        output: LengthDistribution::Uniform(50, 300),
    };
    let chat = ChatSessions {
        count: requests / 6,
        turns: LengthDistribution::Uniform(2, 10),
        added: LengthDistribution::Uniform(50, 400),
        output: LengthDistribution::Uniform(50, 300),
        think: Duration::from_secs(5),
    };
    vec![
        ("light load", MIXED, ArrivalProcess::poisson(1500.0).requests(requests, lengths, 1)),
        ("heavy load", MIXED, ArrivalProcess::poisson(9000.0).requests(requests, lengths, 1)),
        (
            "10 fast servers of 1,024",
            FEW_FAST,
            ArrivalProcess::poisson(1500.0).requests(requests, lengths, 1),
        ),
        ("long prompts among short", MIXED, ArrivalProcess::poisson(1200.0).requests(requests, long, 1)),
        ("300 documents", MIXED, ArrivalProcess::poisson(2500.0).grouped(requests, documents, 1)),
        ("chat sessions", MIXED, ArrivalProcess::poisson(400.0).sessions(chat, 1)),
    ]
}

fn run(
    policy: &str,
    fleet: &str,
    load: &Workload,
    compared: Compared,
) -> Result<(SimulationSummary, Vec<f64>), Box<dyn std::error::Error>> {
    let registry = Registry::builtin();
    registry.build(policy, &PolicyOptions::new())?;
    let (regrets, found) = channel();
    let scenario = Scenario::of(fleet.parse()?);
    let make = || -> Box<dyn Policy> {
        let policy = registry.build(policy, &PolicyOptions::new()).unwrap_or_else(|_| Box::new(Random));
        Box::new(Examined { policy, compared, regrets: regrets.clone() })
    };
    let summary = simulate(&scenario, load, &make, 1).summary();
    Ok((summary, found.try_iter().collect()))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let requests = std::env::args().nth(1).map_or(Ok(40_000), |n| n.parse())?;
    let only = std::env::args().nth(2);
    println!(
        "| load | policy | regret, mean | p99 | mean latency, shortlist / all | p99 latency, shortlist / all |"
    );
    println!("|---|---|---:|---:|---:|---:|");
    for (name, fleet, load) in loads(requests) {
        for policy in POLICIES.iter().filter(|policy| only.as_deref().is_none_or(|only| only == **policy)) {
            let (short, mut regrets) = run(policy, fleet, &load, Compared::Shortlist)?;
            let (all, _) = run(policy, fleet, &load, Compared::All)?;
            regrets.sort_unstable_by(f64::total_cmp);
            let mean = regrets.iter().sum::<f64>() / regrets.len().max(1) as f64;
            let p99 = regrets.get(regrets.len() * 99 / 100).copied().unwrap_or(0.0);
            println!(
                "| {name} | `{policy}` | {:.1} % | {:.1} % | {:.3} | {:.3} |",
                100.0 * mean.abs(),
                100.0 * p99,
                short.e2e.mean / all.e2e.mean,
                short.e2e.p99 / all.e2e.p99,
            );
        }
    }
    Ok(())
}
