//! Policies that take the place of others while requests run.

use crate::common::{BLOCK_BYTES, Step, World, chain, every_policy, history};
use router_core::{
    AttemptResult, Balancer, Decision, DecisionContext, Event, ExplainLevel, LineupError, NextPolicy,
    Outcome, Policy, PolicyLineup, PolicyNumber, PreparedPolicy, Reason, RequestFeatures, RequestId, Rng,
    Time, WorkerInfo, policy::Random,
};
use std::collections::BTreeSet;
use std::time::Duration;

const STEPS: usize = 1500;

fn prepared(balancer: &Balancer, policy: Box<dyn Policy>) -> NextPolicy {
    NextPolicy::New(PreparedPolicy::new(policy, 7, balancer.history().as_ref()))
}

fn lineup(live: NextPolicy, shadows: Vec<NextPolicy>) -> PolicyLineup {
    PolicyLineup { live, number: PolicyNumber(1), shadows }
}

/// The steps without load reports: of these a newcomer is told the last alone.
fn without_reports(steps: Vec<Step>) -> Vec<Step> {
    let without = |step| match step {
        Step::Load(..) => Step::Wait(Duration::ZERO),
        Step::Finish(at, result) => Step::Finish(at, AttemptResult { load: None, ..result }),
        step => step,
    };
    steps.into_iter().map(without).collect()
}

#[test]
fn newcomer_knows_what_one_that_always_ran_knows() {
    for (label, make) in every_policy() {
        let mut world = World::new(Box::new(Random), 3);
        world.balancer.keep_history(PolicyNumber(0));
        world.balancer.add_shadow(Time::ZERO, make(), 7);
        world.run(&without_reports(history(3, STEPS)), ExplainLevel::None);
        let newcomer = prepared(&world.balancer, make());
        // Some more happens until it is there.
        world.run(&without_reports(history(4, 60))[4..], ExplainLevel::None);
        let next = lineup(NextPolicy::Live, vec![NextPolicy::Shadow(0), newcomer]);
        world.balancer.set_policies(world.now, next).unwrap();
        let mut compared = 0;
        for n in 0..40 {
            let prefix = chain(n % 6, 1 + n as usize % 8);
            let request = RequestFeatures {
                id: RequestId(100_000 + n),
                prefix: &prefix,
                prefix_block_bytes: BLOCK_BYTES,
                prompt_bytes: u64::from(BLOCK_BYTES) * prefix.len() as u64,
                ..RequestFeatures::default()
            };
            let Ok(routed) = world.balancer.dispatch(world.now, &request, &[], ExplainLevel::All) else {
                continue;
            };
            let [always, newcomer] = &routed.shadows[..] else { panic!("two shadows") };
            // What is drawn at random differs, and with it which candidates have a score.
            if always.scores.len() == routed.snapshot.candidates as usize {
                assert_eq!(always.scores, newcomer.scores, "{label}, request {n}");
                compared += 1;
            }
            world.tickets.push(routed.ticket);
        }
        assert!(compared > 0 || compares_little(&label), "{label} was not compared");
        world.finish_all();
        assert_eq!(world.balancer.in_flight(), 0, "{label}");
    }
}

/// Policies that compare no scores, those of a few workers drawn at random, or reports, of which there are none here.
fn compares_little(label: &str) -> bool {
    let none = ["random", "round_robin", "power_of_two", "passthrough", "fixed_probability", "prequal"];
    let some = ["peak_ewma", "least_request", "shortest_queue", "least_load"];
    none.iter().chain(&some).any(|name| label.starts_with(name))
}

#[test]
fn changes_under_load_lose_no_count() {
    for seed in 0..4 {
        let mut world = World::new(Box::new(Random), seed);
        world.balancer.keep_history(PolicyNumber(0));
        let mut rng = Rng::seeded(seed);
        let policies = every_policy();
        for round in 0..40 {
            let steps = history(seed * 100 + round, 50);
            world.run(if round == 0 { &steps } else { &steps[4..] }, ExplainLevel::Chosen);
            let present: BTreeSet<_> = world.balancer.fleet().iter().map(|w| w.id).collect();
            let on_present = world.tickets.iter().filter(|ticket| present.contains(&ticket.worker())).count();
            assert_eq!(world.balancer.in_flight(), on_present as u64, "seed {seed}, round {round}");
            let mut any = || prepared(&world.balancer, (policies[rng.below(policies.len())].1)());
            let next = match round % 3 {
                0 => lineup(any(), vec![NextPolicy::Live, any()]),
                1 => lineup(NextPolicy::Shadow(1), vec![any()]),
                _ => lineup(NextPolicy::Shadow(0), Vec::new()),
            };
            let next = PolicyLineup { number: PolicyNumber(round as u32 + 1), ..next };
            world.balancer.set_policies(world.now, next).unwrap();
        }
        world.finish_all();
        assert_eq!(world.balancer.in_flight(), 0);
    }
}

/// Knows what runs, from its events alone.
#[derive(Debug, Default)]
struct WhatRuns {
    requests: BTreeSet<RequestId>,
    first_tokens: BTreeSet<RequestId>,
    workers: usize,
}

impl Policy for WhatRuns {
    fn name(&self) -> &'static str {
        "what_runs"
    }
    fn decide(&mut self, cx: DecisionContext<'_>) -> Decision {
        Decision::plain(cx.candidates.first(), Reason::Classic)
    }
    fn observe(&mut self, _: Time, event: &Event<'_>) {
        match event {
            Event::Joined { .. } => self.workers += 1,
            Event::Left(_) => self.workers -= 1,
            Event::Dispatched { request, .. } => assert!(self.requests.insert(request.id)),
            Event::FirstToken { request, .. } => drop(self.first_tokens.insert(*request)),
            Event::Finished(completion) => {
                self.requests.remove(&completion.request);
            }
            _ => {}
        }
    }
    fn gauges(&self, report: &mut dyn FnMut(&'static str, f64)) {
        let begun = self.requests.intersection(&self.first_tokens).count();
        report("running", self.requests.len() as f64);
        report("begun", begun as f64);
        report("workers", self.workers as f64);
    }
}

fn gauges(balancer: &Balancer) -> Vec<f64> {
    let mut values = Vec::new();
    balancer.gauges(&mut |_, value| values.push(value));
    values
}

#[test]
fn long_requests_are_known_however_many_came_since() {
    let mut balancer = Balancer::new(Box::new(Random), 1);
    balancer.keep_history(PolicyNumber(0));
    let workers = [0, 1, 2].map(|n| balancer.join(Time::ZERO, WorkerInfo::new(&format!("http://w{n}"))));
    let mut now = Time::ZERO;
    let mut send = |balancer: &mut Balancer, id| {
        now = now + Duration::from_millis(1);
        let request = RequestFeatures { id: RequestId(id), stream: true, ..RequestFeatures::default() };
        (now, balancer.dispatch(now, &request, &[], ExplainLevel::None).unwrap().ticket)
    };
    let mut long: Vec<_> = (0..9).map(|id| send(&mut balancer, id).1).collect();
    balancer.first_token(Time::ZERO, &mut long[4]);
    for id in 100..20_000 {
        let (now, ticket) = send(&mut balancer, id);
        balancer.finish(now, ticket, AttemptResult::of(Outcome::Success));
    }
    let end = send(&mut balancer, 30_000).0;
    for ticket in long.drain(..3) {
        balancer.finish(end, ticket, AttemptResult::of(Outcome::Success));
    }
    balancer.apply(end, router_core::FleetUpdate::Leave(workers[2]));
    let next = prepared(&balancer, Box::<WhatRuns>::default());
    balancer.set_policies(end, lineup(next, Vec::new())).unwrap();
    assert_eq!(gauges(&balancer), [7.0, 1.0, 2.0], "six long ones and the last, one of them begun");
    for ticket in long {
        balancer.finish(end, ticket, AttemptResult::of(Outcome::Success));
    }
    assert_eq!(gauges(&balancer)[0], 1.0);
}

#[test]
fn refused_lineup_changes_nothing() {
    let mut balancer = Balancer::new(Box::new(Random), 1);
    balancer.keep_history(PolicyNumber(0));
    balancer.join(Time::ZERO, WorkerInfo::new("http://w"));
    let late = prepared(&balancer, Box::<WhatRuns>::default());
    for id in 0..5000 {
        let request = RequestFeatures { id: RequestId(id), ..RequestFeatures::default() };
        let ticket = balancer.dispatch(Time::ZERO, &request, &[], ExplainLevel::None).unwrap().ticket;
        balancer.finish(Time::ZERO, ticket, AttemptResult::of(Outcome::Success));
    }
    let mut set = |live, shadows| balancer.set_policies(Time::ZERO, lineup(live, shadows));
    assert_eq!(set(late, Vec::new()), Err(LineupError::Outdated));
    assert_eq!(set(NextPolicy::Shadow(0), Vec::new()), Err(LineupError::NotThere));
    assert_eq!(set(NextPolicy::Live, vec![NextPolicy::Live]), Err(LineupError::NotThere));
    assert_eq!(balancer.policy_name(), "random");
}
