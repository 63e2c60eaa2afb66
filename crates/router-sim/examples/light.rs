//! Light loads, seed by seed beside the oracle: `cargo run --release -p router-sim --example light [POLICY]`.
//!
//! On a light load a policy may stay with the worker that it met first. The mean hides that: some seeds are good and some bad.
#![allow(clippy::print_stdout, reason = "an example prints")]

use router_core::Registry;
use router_sim::{
    ArrivalProcess, ChatSessions, Contender, LengthDistribution, RequestLengths, Scenario, Workload,
};
use std::time::Duration;

fn sessions(rate: f64, count: usize, turns: u32, added: u32) -> impl Fn(u64) -> Workload {
    let sessions = ChatSessions {
        count,
        turns: LengthDistribution::Fixed(turns),
        added: LengthDistribution::Fixed(added),
        output: LengthDistribution::Uniform(80, 150),
        think: Duration::from_secs(1),
    };
    move |seed| ArrivalProcess::poisson(rate).sessions(sessions, seed)
}

fn independent(rate: f64, count: usize) -> impl Fn(u64) -> Workload {
    let lengths = RequestLengths {
        prompt: LengthDistribution::Uniform(220, 385),
        output: LengthDistribution::Uniform(80, 150),
    };
    move |seed| ArrivalProcess::poisson(rate).requests(count, lengths, seed)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let policy = std::env::args().nth(1).unwrap_or_else(|| "marginal_cost".to_owned());
    let registry = Registry::builtin();
    let contenders = Contender::list(&format!("oracle,{policy}"), &registry)?;
    type Load = Box<dyn Fn(u64) -> Workload>;
    let loads: [(&str, &str, Load); 6] = [
        (
            "20 sessions of 20 turns, 0.05/s",
            "sglang_8b*2,sglang_1.5b*1",
            Box::new(sessions(0.05, 20, 20, 300)),
        ),
        ("40 sessions of 10 turns, 0.1/s", "sglang_8b*2,sglang_1.5b*1", Box::new(sessions(0.1, 40, 10, 300))),
        (
            "10 sessions of 40 turns of 1000, 0.02/s",
            "sglang_8b*2,sglang_1.5b*1",
            Box::new(sessions(0.02, 10, 40, 1000)),
        ),
        ("independent, 1/s", "sglang_8b*2,sglang_1.5b*1", Box::new(independent(1.0, 400))),
        (
            "sessions, one of three 2.5 times as fast",
            "sglang_8b*2,sglang_8b@2.5",
            Box::new(sessions(0.05, 20, 20, 300)),
        ),
        ("sessions, one of eight fast", "sglang_8b*7,sglang_1.5b*1", Box::new(sessions(0.05, 20, 20, 300))),
    ];
    for (name, fleet, load) in &loads {
        let scenario = Scenario::of(fleet.parse()?);
        let means: Vec<Vec<f64>> = contenders
            .iter()
            .map(|c| (1..=10).map(|seed| c.run(&scenario, &load(seed), seed).summary().e2e.mean).collect())
            .collect();
        let ratios: Vec<f64> = means[1].iter().zip(&means[0]).map(|(own, best)| own / best).collect();
        let worst = ratios.iter().fold(0.0_f64, |a, b| a.max(*b));
        let text: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        println!(
            "{name:<42} worst {worst:.2}  mean {:.3}  {}",
            ratios.iter().sum::<f64>() / 10.0,
            text.join(" ")
        );
    }
    Ok(())
}
