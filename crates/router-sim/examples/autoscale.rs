//! Autoscalers on a load, for the tables of docs/scaling.md: `autoscale LOAD FLEET RULES SEEDS`.
use router_core::Registry;
use router_sim::*;
use std::time::Duration;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [load, fleet, rules, seeds, slo] = &args[..] else { panic!("LOAD FLEET RULES SEEDS TTFT:TPOT") };
    let rules: Vec<AutoscaleRule> = rules.split(',').map(|r| r.parse().unwrap()).collect();
    let seeds: Vec<u64> = (1..=seeds.parse().unwrap()).collect();
    let (ttft, tpot) = slo.split_once(':').unwrap();
    let slo = Slo { ttft: ttft.parse().unwrap(), tpot: tpot.parse().unwrap() };
    let registry = Registry::builtin();
    let policy = Contender::parse("least_request", &registry).unwrap();
    let scenario = Scenario::of(fleet.parse().unwrap());
    let mut autoscaler = Autoscaler::new(rules[0]);
    autoscaler.scaling.slo = slo;
    let parts: Vec<&str> = load.split('|').collect();
    let make = |seed: u64| -> Workload {
        let w = match parts[0] {
            "trace" => {
                let text = std::fs::read_to_string(parts[1]).unwrap();
                read_trace(&text, &TraceSlice { speed: parts[2].parse().unwrap(), ..TraceSlice::default() })
                    .unwrap()
            }
            _ => {
                let lengths =
                    RequestLengths { prompt: parts[3].parse().unwrap(), output: parts[4].parse().unwrap() };
                ArrivalProcess::gamma(parts[1].parse().unwrap(), parts[5].parse().unwrap()).requests(
                    parts[2].parse().unwrap(),
                    lengths,
                    seed,
                )
            }
        };
        match parts.get(6).or(parts.get(3).filter(|_| parts[0] == "trace")) {
            Some(c) => w.along(&c.parse().unwrap(), seed),
            None => w,
        }
    };
    if let Some(RateCurve::Day { secs }) = parts.last().and_then(|c| c.parse().ok()) {
        autoscaler.scaling.season = Duration::from_secs_f64(secs);
    }
    let experiment = AutoscaleExperiment { scenario: &scenario, autoscaler, policy: &policy, seeds: &seeds };
    let results = experiment.run(&rules, &make, &mut |_| ());
    for r in &results {
        println!(
            "{:<14} hours {:8.2} ±{:.2}  miss {:7.4} %  ±{:.4} most {:.0} started {:.0}",
            r.rule.to_string(),
            r.worker_hours.mean,
            r.worker_hours.half_width.unwrap_or(0.0),
            100.0 * r.miss_share.mean,
            100.0 * r.miss_share.half_width.unwrap_or(0.0),
            r.most.mean,
            r.started.mean
        );
    }
    for c in at_equal_misses(&results) {
        println!(
            "  at {:.3} %: {:.2} against {} {:.2}: {:+.1} %",
            100.0 * c.miss_share,
            c.first_hours,
            c.metric.as_str(),
            c.hours,
            100.0 * (c.first_hours / c.hours - 1.0)
        );
    }
}
