//! Laws of every simulation: it repeats bit for bit, no request is lost, and every router learns every event once.

use router_core::{Decision, DecisionContext, Event, Policy, PolicyOptions, Registry, Time, policy::Random};
use router_sim::{
    ArrivalProcess, ChatSessions, Contender, Experiment, IncidentKind, LengthDistribution, LoadReporting,
    PrefixGroups, RequestLengths, Scenario, SimulatedFleet, SimulatedRequest, Slo, SummaryMetric, Workload,
    simulate,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Random choice that counts the events it observes.
#[derive(Debug)]
struct CountingPolicy(Random, Arc<[AtomicI64; 3]>);

impl Policy for CountingPolicy {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn decide(&mut self, cx: DecisionContext<'_>) -> Decision {
        self.0.decide(cx)
    }
    fn observe(&mut self, _now: Time, event: &Event<'_>) {
        let counter = match event {
            Event::Dispatched { .. } => 0,
            Event::FirstToken { .. } => 1,
            Event::Finished(_) => 2,
            _ => return,
        };
        self.1[counter].fetch_add(1, Ordering::Relaxed);
    }
}

fn lengths() -> RequestLengths {
    RequestLengths {
        prompt: LengthDistribution::Uniform(10, 600),
        output: LengthDistribution::LogNormal { mean: 120.0, sigma: 1.0, max: 2000 },
    }
}

fn eventful() -> Scenario {
    let fleet: SimulatedFleet = "sglang_8b*2,sglang_1.5b,rtx4090".parse().unwrap();
    let mut scenario = Scenario::of(fleet);
    scenario.routers = 3;
    scenario.reports = LoadReporting { on_responses: true, poll: Some(Duration::from_millis(700)) };
    let late = Duration::from_millis(300);
    scenario
        .with(1.0, IncidentKind::Slow { server: 0, factor: 4.0 })
        .with(2.0, IncidentKind::DelayCompletions(late))
        .with(2.5, IncidentKind::DelayReports(late))
        .with(4.0, IncidentKind::Die { server: 2 })
        .with(4.0, IncidentKind::Die { server: 2 })
        .with(6.0, IncidentKind::Join(router_engine::EngineProfile::named("sglang_8b").unwrap()))
        .with(8.0, IncidentKind::DelayCompletions(Duration::ZERO))
        .with(9.0, IncidentKind::Slow { server: 0, factor: 1.0 })
}

#[test]
fn each_request_is_reported_exactly_once() {
    let counts: Arc<[AtomicI64; 3]> = Arc::default();
    let load = ArrivalProcess::gamma(40.0, 0.5).requests(600, lengths(), 3).streamed(0.5);
    let make = || Box::new(CountingPolicy(Random, counts.clone())) as Box<dyn Policy>;
    let outcome = simulate(&eventful(), &load, &make, 5);
    let summary = outcome.summary();
    assert_eq!((summary.completed, summary.failed), (600, 0));
    let sent: u32 = outcome.records.iter().flatten().map(|r| r.attempts).sum();
    assert!(sent > 600, "the server that died had requests in it");
    assert_eq!(summary.share.len(), 5);
    assert!(summary.share[4] > 0.0, "the server that joined was used");
    let [dispatched, first_tokens, finished] = [0, 1, 2].map(|i| counts[i].load(Ordering::Relaxed));
    assert_eq!((dispatched, finished), (i64::from(sent), i64::from(sent)));
    // Half the requests are streams. A few completions overtook their first token when the delay ended.
    assert!((270..=330).contains(&first_tokens), "{first_tokens}");
    for (record, request) in outcome.records.iter().flatten().zip(&load.requests) {
        assert_eq!(record.output_tokens, request.output_tokens);
        assert!(record.ttft().unwrap() > 0.0 && record.ttft() <= record.e2e());
    }
}

#[test]
fn runs_repeat_and_follow_their_seed() {
    let load = ArrivalProcess::poisson(30.0).requests(300, lengths(), 3);
    let registry = Registry::builtin();
    for name in registry.specs().map(|spec| spec.name.as_str()).chain(["oracle"]) {
        let contender = Contender::parse(name, &registry).unwrap();
        let run = |seed| contender.run(&eventful(), &load, seed);
        assert_eq!(run(1), run(1), "{name}");
        // The seed changes the policies' random choices and the router of each request. Neither matters to these two:
        // the oracle sees all engines, and passthrough sends everything to the first worker.
        assert!(["oracle", "passthrough"].contains(&name) || run(1) != run(2), "{name}");
    }
}

#[test]
fn dead_fleet_fails_later_requests() {
    let scenario = Scenario::of("t4".parse().unwrap()).with(5.0, IncidentKind::Die { server: 0 });
    let load = ArrivalProcess::poisson(2.0).requests(50, lengths(), 3);
    let summary = simulate(&scenario, &load, &|| Box::new(Random), 1).summary();
    assert_eq!(summary.completed + summary.failed, 50);
    assert!(summary.failed > 30);
}

#[test]
fn next_turn_finds_its_prefix() {
    let sessions = ChatSessions {
        count: 20,
        turns: LengthDistribution::Fixed(4),
        added: LengthDistribution::Uniform(200, 400),
        output: LengthDistribution::Fixed(64),
        think: Duration::from_secs(2),
    };
    let load = ArrivalProcess::poisson(1.0).sessions(sessions, 8);
    let outcome = simulate(&Scenario::of("sglang_8b".parse().unwrap()), &load, &|| Box::new(Random), 1);
    let records: Vec<_> = outcome.records.iter().map(|r| r.unwrap()).collect();
    assert_eq!(records.len(), 80);
    for turns in records.chunks(4) {
        assert!(turns.windows(2).all(|w| w[1].arrived_at > w[0].finished_at.unwrap()));
        assert!(turns[3].cached_tokens > 600, "{turns:?}");
    }
}

#[test]
fn cache_affinity_beats_rotation_on_prefix_hits() {
    let groups = PrefixGroups {
        groups: 24,
        shared_tokens: 2400,
        own: LengthDistribution::Fixed(600),
        output: LengthDistribution::Fixed(60),
    };
    let load = ArrivalProcess::poisson(10.0).grouped(400, groups, 2);
    let scenario = Scenario::of("sglang_8b*4".parse().unwrap());
    let hits = |name: &str| {
        let make = || Registry::builtin().build(name, &PolicyOptions::new()).unwrap();
        simulate(&scenario, &load, &make, 1).summary().prefix_hits
    };
    assert!(hits("cache_aware") > hits("round_robin") + 0.05);
}

#[test]
fn oversized_request_is_rejected_alone() {
    let mut load = ArrivalProcess::poisson(5.0).requests(10, lengths(), 2);
    load.requests.push(SimulatedRequest::at(Time::ZERO, 50_000, 10));
    let summary =
        simulate(&Scenario::of("rtx4090".parse().unwrap()), &load, &|| Box::new(Random), 1).summary();
    assert_eq!((summary.completed, summary.failed), (10, 1));
}

#[test]
fn ratios_are_to_the_first_row() {
    let scenario = Scenario::of("sglang_8b,t4".parse().unwrap());
    let contenders = ["round_robin", "power_of_two"].map(|name| {
        Contender::new(name, move || Registry::builtin().build(name, &PolicyOptions::new()).unwrap())
    });
    let experiment = Experiment { scenario: &scenario, seeds: &[1, 2, 3], slo: Slo::default() };
    let mut done_counts = Vec::new();
    let load = |seed| -> Workload { ArrivalProcess::poisson(10.0).requests(150, lengths(), seed) };
    let table = experiment.run(&contenders, &load, &mut |done| done_counts.push(done));
    assert_eq!(done_counts, [1, 2, 3, 4, 5, 6]);
    assert_eq!(table.rows[0].ratios[0].unwrap().mean, 1.0);
    let mean = SummaryMetric::ALL.iter().position(|m| m.name == "e2e_mean_s").unwrap();
    assert!(table.rows[1].ratios[mean].unwrap().mean < 1.0, "counting beats rotation on unequal servers");
    assert!(table.rows[1].estimates[mean].half_width.is_some());
}
