//! The laws that hold for every policy.

use crate::common::{Make, Strict, World, classic_policies, every_policy, history};
use router_core::{
    AttemptResult, CandidateScore, Decision, DecisionContext, Event, ExplainLevel, FleetUpdate, Outcome,
    Policy, PolicyOptions, PolicySpec, Reason, Registry, RequestFeatures, Rng, Time, TokenUsage, WorkerInfo,
    policy::Random,
};
use std::time::Duration;

const STEPS: usize = 1500;

fn all() -> Vec<Make> {
    every_policy().into_iter().chain(classic_policies()).collect()
}

fn run(make: &Make, seed: u64, explain: ExplainLevel) -> World {
    let mut world = World::new(Box::new(Strict(make.1())), seed);
    world.run(&history(seed, STEPS), explain);
    world
}

#[test]
fn choice_is_a_candidate_with_true_reason() {
    for make in all() {
        for seed in 0..6 {
            for made in run(&make, seed, ExplainLevel::All).made {
                let decision = made.decision;
                assert!(made.candidates.contains(&decision.worker), "{}: {made:?}", make.0);
                let alone = decision.reason == Reason::OnlyCandidate;
                assert_eq!(alone, made.candidates.len() == 1, "{}: {made:?}", make.0);
            }
        }
    }
}

#[test]
fn costs_are_finite_and_the_lowest_wins() {
    let compares = [
        Reason::LowestCost,
        Reason::LoadBased,
        Reason::GradientBased,
        Reason::NewWorker,
        Reason::ShortestQueue,
        Reason::PrefixAffinity,
        Reason::LoadImbalance,
    ];
    for make in every_policy() {
        for seed in 0..6 {
            for made in run(&make, seed, ExplainLevel::All).made {
                for score in &made.scores {
                    assert!(score.cost.is_finite(), "{}: {score:?}", make.0);
                    assert!(made.candidates.contains(&score.worker), "{}: {score:?}", make.0);
                    assert!(
                        score.terms.as_slice().iter().all(|t| t.value.is_finite()),
                        "{}: {score:?}",
                        make.0
                    );
                }
                if !compares.contains(&made.decision.reason) {
                    continue;
                }
                let chosen = made.scores.iter().find(|s| s.worker == made.decision.worker).unwrap();
                assert_eq!(Some(chosen.cost), made.decision.cost, "{}", make.0);
                assert!(made.scores.iter().all(|s| s.cost >= chosen.cost), "{}: {made:?}", make.0);
                assert!(made.decision.margin().is_none_or(|m| m >= 0.0), "{}: {made:?}", make.0);
            }
        }
    }
}

#[test]
fn same_seed_gives_same_decisions() {
    for make in all() {
        for seed in 0..4 {
            let first = run(&make, seed, ExplainLevel::None).decisions();
            assert!(first.len() > STEPS / 4, "{}: the history is too thin", make.0);
            assert_eq!(first, run(&make, seed, ExplainLevel::None).decisions(), "{}", make.0);
            assert_eq!(first, run(&make, seed, ExplainLevel::All).decisions(), "{}", make.0);
        }
    }
}

#[test]
fn explain_levels_agree_on_the_choice() {
    for make in all() {
        for seed in 0..4 {
            let (alone, among) =
                (run(&make, seed, ExplainLevel::Chosen), run(&make, seed, ExplainLevel::All));
            let explained = among.made.iter().filter(|made| made.chosen.is_some()).count();
            assert_eq!(explained > 0, among.made.iter().any(|made| !made.scores.is_empty()), "{}", make.0);
            for (alone, among) in alone.made.iter().zip(&among.made) {
                assert_eq!(alone.decision, among.decision, "{}", make.0);
                assert_eq!(alone.chosen, among.chosen, "{}: {among:?}", make.0);
                assert!(alone.scores.is_empty(), "{}", make.0);
            }
        }
    }
}

#[test]
fn shadow_changes_nothing_and_stays_true() {
    for make in all() {
        let seed = 11;
        let alone = run(&make, seed, ExplainLevel::None).decisions();
        let mut world = World::new(make.1(), seed);
        // A policy with the same seed, and another one that would have chosen otherwise.
        world.balancer.add_shadow(Time::ZERO, make.1(), seed);
        world.balancer.add_shadow(Time::ZERO, Box::new(Random), 99);
        world.run(&history(seed, STEPS), ExplainLevel::None);
        assert_eq!(alone, world.decisions(), "{}: a shadow changed a decision", make.0);
        let twin: Vec<_> = world.made.iter().map(|m| m.shadows[0]).collect();
        assert_eq!(alone, twin, "{}: decide() changed what only observe() may", make.0);
    }
}

/// Asks the policy from a certain request on, with the same random numbers for the same request.
#[derive(Debug)]
struct AskedFrom(u64, Box<dyn Policy>);

impl Policy for AskedFrom {
    fn name(&self) -> &str {
        self.1.name()
    }
    fn decide(&mut self, cx: DecisionContext<'_>) -> Decision {
        *cx.rng = Rng::seeded(cx.request.id.0);
        if cx.request.id.0 < self.0 {
            return Decision::plain(cx.candidates.first(), Reason::Fallback);
        }
        self.1.decide(cx)
    }
    fn observe(&mut self, now: Time, event: &Event<'_>) {
        self.1.observe(now, event);
    }
}

#[test]
fn shadow_learns_from_events_alone() {
    const FROM: u64 = 250;
    for make in all() {
        let mut world = World::new(Box::new(Random), 29);
        for from in [0, FROM] {
            world.balancer.add_shadow(Time::ZERO, Box::new(AskedFrom(from, make.1())), 1);
        }
        world.run(&history(29, STEPS), ExplainLevel::None);
        let late = &world.made[FROM as usize..];
        assert!(late.len() > 100, "{}: the history is too thin", make.0);
        for made in late {
            assert_eq!(made.shadows[0], made.shadows[1], "{}: having been asked made a difference", make.0);
        }
    }
}

#[test]
fn late_shadow_is_never_obeyed() {
    for make in all() {
        let mut world = World::new(Box::new(Random), 5);
        let steps = history(5, STEPS);
        world.run(&steps[..STEPS / 2], ExplainLevel::None);
        world.balancer.add_shadow(world.now, Box::new(Strict(make.1())), 5);
        world.run(&steps[STEPS / 2..], ExplainLevel::None);
        let last = world.made.last().unwrap();
        assert!(last.candidates.contains(&last.shadows[0].worker), "{}", make.0);
        let mut alone = World::new(Box::new(Random), 5);
        alone.run(&steps, ExplainLevel::None);
        assert_eq!(alone.decisions(), world.decisions(), "{}", make.0);
    }
}

#[test]
fn in_flight_ends_at_zero() {
    for make in all() {
        let mut world = run(&make, 3, ExplainLevel::None);
        assert_eq!(world.balancer.in_flight(), on_present_workers(&world), "{}", make.0);
        world.finish_all();
        assert_eq!(world.balancer.in_flight(), 0, "{}", make.0);
        assert!(world.balancer.fleet().iter().all(|w| w.in_flight_bytes == 0), "{}", make.0);
    }
}

fn on_present_workers(world: &World) -> u64 {
    let present = |t: &&router_core::Ticket| world.balancer.view(t.worker()).is_some();
    world.tickets.iter().filter(present).count() as u64
}

/// Sends one request that every worker could take and gives every candidate's score.
fn ask(world: &mut World) -> Vec<CandidateScore> {
    let prefix = crate::common::chain(1, 8);
    let request = RequestFeatures {
        prefix: &prefix,
        prefix_block_bytes: 64,
        prompt_bytes: 512,
        ..RequestFeatures::default()
    };
    let routed = world.balancer.dispatch(world.now, &request, &[], ExplainLevel::All).unwrap();
    world.balancer.finish(world.now, routed.ticket, AttemptResult::of(Outcome::Cancelled));
    routed.scores
}

#[test]
fn late_responses_do_not_touch_the_successor() {
    for make in every_policy() {
        let seed = 17;
        let mut old = run(&make, seed, ExplainLevel::None);
        let mut successors = Vec::new();
        for id in std::mem::take(&mut old.ids) {
            old.balancer.apply(old.now, FleetUpdate::Leave(id));
        }
        for i in 0..4 {
            successors.push(old.balancer.join(old.now, WorkerInfo::new(&format!("http://next-{i}"))));
        }
        assert!(old.tickets.len() > 3, "there must be late responses");
        for ticket in old.tickets.drain(..) {
            let usage = TokenUsage { output_tokens: Some(100), ..TokenUsage::default() };
            old.balancer.finish(
                old.now,
                ticket,
                AttemptResult { usage, ..AttemptResult::of(Outcome::Success) },
            );
        }
        assert_eq!(old.balancer.in_flight(), 0, "{}", make.0);

        let mut fresh = World::new(make.1(), seed);
        for i in 0..4 {
            // At the same time: how long a worker has been silent since it joined may count.
            fresh.balancer.join(old.now, WorkerInfo::new(&format!("http://next-{i}")));
        }
        fresh.now = old.now;
        // power_of_two scores only the two it drew, so the scores are compared without worker and order.
        let bare =
            |scores: Vec<CandidateScore>| scores.into_iter().map(|s| (s.cost, s.terms)).collect::<Vec<_>>();
        assert_eq!(bare(ask(&mut old)), bare(ask(&mut fresh)), "{}", make.0);
    }
}

#[test]
fn equal_workers_get_equal_shares() {
    for make in every_policy() {
        // These two are made for unequal shares.
        if make.0.contains("probabilities") || make.0.contains("passthrough") {
            continue;
        }
        let mut world = World::new(make.1(), 23);
        for i in 0..4 {
            world.balancer.join(Time::ZERO, WorkerInfo::new(&format!("http://worker-{i}")));
        }
        let mut shares = [0_u32; 4];
        for i in 0..2000 {
            world.now = world.now + Duration::from_millis(1);
            // A prompt that no worker holds, because affinity may cause unequal shares.
            let prefix = crate::common::chain(1000 + i, 4);
            let request = RequestFeatures {
                prefix: &prefix,
                prefix_block_bytes: 64,
                prompt_bytes: 256,
                ..RequestFeatures::default()
            };
            let routed = world.balancer.dispatch(world.now, &request, &[], ExplainLevel::None).unwrap();
            shares[routed.decision.worker.slot()] += 1;
            world.balancer.finish(world.now, routed.ticket, AttemptResult::of(Outcome::Cancelled));
        }
        assert!(shares.iter().all(|s| (400..600).contains(s)), "{}: {shares:?}", make.0);
    }
}

#[test]
fn user_policy_is_registered_by_name() {
    let mut registry = Registry::builtin();
    let spec = PolicySpec::new("coin", "my own");
    registry.register(spec.clone(), |_| Ok(Box::new(Random))).unwrap();
    assert!(registry.build("coin", &PolicyOptions::new()).is_ok());
    let twice = registry.register(spec, |_| Ok(Box::new(Random))).unwrap_err();
    assert_eq!(twice.to_string(), "a policy called `coin` is already registered");
    let bad = registry.register(PolicySpec::new("My Coin", ""), |_| Ok(Box::new(Random))).unwrap_err();
    assert_eq!(bad.to_string(), "`My Coin` is no name for a policy: lower-case letters, digits and `_` only");
}
