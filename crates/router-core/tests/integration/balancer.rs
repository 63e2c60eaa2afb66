//! The balancer's counts against a plain model, for any order of events.

use proptest::prelude::*;
use router_core::policy::Random;
use router_core::{
    AttemptResult, Balancer, ExplainLevel, FleetUpdate, InFlightCap, LengthClass, LoadReport, LoadSource,
    Outcome, Policy, PolicyOptions, Registry, RequestFeatures, RequestId, Ticket, Time, TokenUsage, WorkerId,
    WorkerInfo,
};
use std::collections::BTreeMap;
use std::num::NonZeroU32;

#[derive(Clone, Debug)]
enum Step {
    Join,
    Leave(usize),
    Routable(usize, bool),
    Cap(u32),
    Dispatch { bytes: u64, exclude: Vec<usize> },
    Finish(usize),
    Load { worker: usize, waiting: Option<u32>, tokens: Option<u64> },
}

fn step() -> impl Strategy<Value = Step> {
    let any_worker = 0_usize..8;
    prop_oneof![
        2 => Just(Step::Join),
        1 => any_worker.clone().prop_map(Step::Leave),
        2 => (any_worker.clone(), any::<bool>()).prop_map(|(w, r)| Step::Routable(w, r)),
        1 => (0_u32..5).prop_map(Step::Cap),
        8 => (0_u64..4000, prop::collection::vec(any_worker.clone(), 0..3))
            .prop_map(|(bytes, exclude)| Step::Dispatch { bytes, exclude }),
        8 => (0_usize..64).prop_map(Step::Finish),
        3 => (any_worker, prop::option::of(0_u32..50), prop::option::of(0_u64..100_000))
            .prop_map(|(worker, waiting, tokens)| Step::Load { worker, waiting, tokens }),
    ]
}

/// What the balancer must count for one worker.
#[derive(Clone, Debug, Default)]
struct Model {
    routable: bool,
    in_flight: i64,
    bytes: i64,
    /// Queue length reported, and sent minus finished since.
    waiting: Option<(i64, i64)>,
    /// Tokens reported, and bytes then in flight.
    tokens: Option<(f64, i64)>,
}

#[derive(Default)]
struct Books {
    workers: BTreeMap<WorkerId, Model>,
    /// All workers that ever joined, so that steps also name workers that left.
    ids: Vec<WorkerId>,
    tickets: Vec<(Ticket, u64)>,
    /// Most requests in flight on one worker; no bound at 0.
    cap: u32,
}

impl Books {
    fn id(&self, i: usize) -> Option<WorkerId> {
        self.ids.len().checked_sub(1).map(|last| self.ids[last - i.min(last)])
    }

    fn apply(&mut self, balancer: &mut Balancer, step: &Step) {
        let now = Time::from_nanos(1);
        match step {
            Step::Join => {
                let id = balancer.join(now, WorkerInfo::new("http://w"));
                assert!(!self.ids.contains(&id), "an id came back");
                self.ids.push(id);
                self.workers.insert(id, Model { routable: true, ..Model::default() });
            }
            Step::Leave(i) => {
                let Some(id) = self.id(*i) else { return };
                balancer.apply(now, FleetUpdate::Leave(id));
                self.workers.remove(&id);
            }
            Step::Routable(i, routable) => {
                let Some(id) = self.id(*i) else { return };
                balancer.apply(now, FleetUpdate::Routable(id, *routable));
                self.workers.entry(id).and_modify(|w| w.routable = *routable);
            }
            Step::Cap(cap) => {
                balancer.set_cap(NonZeroU32::new(*cap).map_or(InFlightCap::Unlimited, InFlightCap::Fixed));
                self.cap = *cap;
            }
            Step::Dispatch { bytes, exclude } => self.dispatch(balancer, *bytes, exclude),
            Step::Finish(i) => {
                if self.tickets.is_empty() {
                    return;
                }
                let (ticket, bytes) = self.tickets.swap_remove(i % self.tickets.len());
                self.book(ticket.worker(), -1, -(bytes as i64));
                balancer.finish(now, ticket, AttemptResult::of(Outcome::Success));
            }
            Step::Load { worker, waiting, tokens } => {
                let Some(id) = self.id(*worker) else { return };
                let report = LoadReport {
                    waiting: *waiting,
                    tokens: *tokens,
                    ..LoadReport::empty(now, LoadSource::Poll)
                };
                balancer.apply(now, FleetUpdate::Load(id, report));
                if let Some(w) = self.workers.get_mut(&id) {
                    w.waiting = waiting.map(|n| (i64::from(n), 0)).or(w.waiting);
                    w.tokens = tokens.map(|n| (n as f64, w.bytes)).or(w.tokens);
                }
            }
        }
    }

    fn dispatch(&mut self, balancer: &mut Balancer, bytes: u64, exclude: &[usize]) {
        let exclude: Vec<_> = exclude.iter().filter_map(|&i| self.id(i)).collect();
        let cap = self.cap;
        let open = |w: &Model| w.routable && (cap == 0 || w.in_flight < i64::from(cap));
        let may = |id: &WorkerId, w: &Model| open(w) && !exclude.contains(id);
        let any_allowed = self.workers.iter().any(|(id, w)| may(id, w));
        let in_service = self.workers.iter().any(|(id, w)| w.routable && !exclude.contains(id));
        assert_eq!(balancer.has_routable(&RequestFeatures::default(), &exclude), in_service);
        let request = RequestFeatures { prompt_bytes: bytes, ..RequestFeatures::default() };
        match balancer.dispatch(Time::from_nanos(1), &request, &exclude, ExplainLevel::None) {
            Err(_) => assert!(!any_allowed),
            Ok(routed) => {
                let id = routed.ticket.worker();
                assert!(self.workers.get(&id).is_some_and(|w| may(&id, w)), "{id} may not be chosen");
                self.book(id, 1, bytes as i64);
                self.tickets.push((routed.ticket, bytes));
            }
        }
    }

    fn book(&mut self, id: WorkerId, requests: i64, bytes: i64) {
        if let Some(w) = self.workers.get_mut(&id) {
            w.in_flight += requests;
            w.bytes += bytes;
            w.waiting = w.waiting.map(|(reported, since)| (reported, since + requests));
        }
    }

    fn check(&self, balancer: &Balancer) {
        assert_eq!(balancer.fleet().iter().count(), self.workers.len());
        let routable: Vec<_> = self.workers.iter().filter(|(_, w)| w.routable).map(|(id, _)| *id).collect();
        assert_eq!(balancer.fleet().routable(), routable);
        for (&id, model) in &self.workers {
            let view = balancer.view(id).unwrap();
            assert!(model.in_flight >= 0);
            assert_eq!(
                (i64::from(view.in_flight), view.in_flight_bytes as i64),
                (model.in_flight, model.bytes)
            );
            let waiting = model.waiting.map(|(reported, since)| (reported + since).max(0) as u32);
            assert_eq!(view.estimated_waiting(), waiting);
            let tokens =
                model.tokens.map(|(reported, then)| (reported + (model.bytes - then) as f64 / 4.0).max(0.0));
            assert_eq!(view.fresh_tokens(Time::from_nanos(2), 1.0), tokens);
        }
        let total: i64 = self.workers.values().map(|w| w.in_flight).sum();
        assert_eq!(balancer.in_flight() as i64, total);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn counts_agree_with_a_naive_model(seed: u64, steps in prop::collection::vec(step(), 0..150)) {
        let mut balancer = Balancer::new(Box::new(Random), seed);
        let mut books = Books::default();
        for step in &steps {
            books.apply(&mut balancer, step);
            books.check(&balancer);
        }
        for (ticket, _) in books.tickets.drain(..) {
            balancer.finish(Time::from_nanos(9), ticket, AttemptResult::of(Outcome::Cancelled));
        }
        prop_assert_eq!(balancer.in_flight(), 0);
    }
}

/// A peek at the policy's scores must not change its state.
#[test]
fn peek_changes_no_decision() {
    let run = |peeks: usize| {
        let mut balancer = Balancer::new(Box::new(Random), 5);
        for n in 0..4 {
            balancer.join(Time::ZERO, WorkerInfo::new(&format!("http://w{n}")));
        }
        let mut chosen = Vec::new();
        for n in 1..=50u64 {
            for _ in 0..peeks {
                balancer.peek(Time::ZERO, &RequestFeatures::default()).unwrap();
                balancer.preview(Time::ZERO, &RequestFeatures::default(), &[]).unwrap();
            }
            let routed =
                balancer.dispatch(Time::ZERO, &RequestFeatures::default(), &[], ExplainLevel::None).unwrap();
            assert_eq!(routed.snapshot.seq, 2 * n - 1);
            chosen.push(routed.decision.worker);
            let done = balancer.finish(Time::ZERO, routed.ticket, AttemptResult::of(Outcome::Success));
            assert_eq!(done.seq, 2 * n);
        }
        assert_eq!(balancer.in_flight(), 0);
        chosen
    };
    assert_eq!(run(0), run(3));
}

/// What is asked before a dispatch is what the dispatch does.
#[test]
fn preview_is_the_next_decision_with_the_score_of_every_candidate() {
    for name in ["round_robin", "random", "least_request", "power_of_two", "marginal_cost"] {
        let mut balancer = Balancer::new(policy(name), 5);
        let ids: Vec<_> =
            (0..300).map(|n| balancer.join(Time::ZERO, WorkerInfo::new(&format!("http://w{n}")))).collect();
        let mut tickets = Vec::new();
        for n in 0..20 {
            let request =
                RequestFeatures { id: RequestId(n), prompt_bytes: 400, ..RequestFeatures::default() };
            let told = balancer.preview(Time::ZERO, &request, &ids[..1]).unwrap();
            assert_ne!(told.decision.worker, ids[0], "it may not go there");
            if name == "marginal_cost" || name == "least_request" {
                assert_eq!(told.scores.len(), 299, "{name}");
                continue;
            }
            let routed = balancer.dispatch(Time::ZERO, &request, &ids[..1], ExplainLevel::None).unwrap();
            assert_eq!(routed.decision.worker, told.decision.worker, "{name}");
            tickets.push(routed.ticket);
        }
        for ticket in tickets {
            balancer.finish(Time::ZERO, ticket, AttemptResult::of(Outcome::Success));
        }
        assert_eq!(balancer.in_flight(), 0);
    }
}

/// Fallbacks are asked for after each dispatch: no policy's later choices may depend on that.
#[test]
fn next_best_is_another_worker_and_changes_no_decision() {
    let run = |name: &str, asks: usize| {
        let mut balancer = Balancer::new(policy(name), 5);
        for n in 0..4 {
            balancer.join(Time::ZERO, WorkerInfo::new(&format!("http://w{n}")));
        }
        let mut chosen = Vec::new();
        for n in 1..=50u64 {
            let now = Time::from_nanos(n * 1_000_000_000);
            let request = RequestFeatures { routing_key: Some(n % 7), ..RequestFeatures::default() };
            let routed = balancer.dispatch(now, &request, &[], ExplainLevel::None).unwrap();
            let mut excluded = vec![routed.decision.worker];
            for _ in 0..asks {
                let next = balancer.next_best(now, &request, &excluded).unwrap().worker;
                assert!(!excluded.contains(&next), "{name}: {next:?} of {excluded:?}");
                excluded.push(next);
            }
            chosen.push(routed.decision.worker);
            balancer.finish(now, routed.ticket, AttemptResult::of(Outcome::Success));
        }
        chosen
    };
    for name in ["round_robin", "random", "power_of_two", "manual", "marginal_cost", "marginal_utility"] {
        assert_eq!(run(name, 0), run(name, 3), "{name}");
    }
}

fn policy(name: &str) -> Box<dyn Policy> {
    Registry::builtin().build(name, &PolicyOptions::default()).unwrap()
}

#[test]
fn completion_has_what_was_foreseen_beside_what_came() {
    let prefix: Vec<u64> = (1..=10).collect();
    // 1000 bytes in blocks of 64, and 250 tokens.
    let request = RequestFeatures {
        prefix: &prefix,
        prefix_block_bytes: 64,
        prompt_bytes: 1000,
        prompt_tokens: Some(250),
        stated_output_tokens: Some(40),
        ..RequestFeatures::default()
    };
    for (name, cached, is_forecast) in [
        ("marginal_cost", Some([0, 160]), true),
        ("cache_aware", Some([0, 160]), false),
        ("lmetric", Some([0, 160]), false),
        ("round_robin", None, false),
    ] {
        let mut balancer = Balancer::new(policy(name), 1);
        balancer.join(Time::ZERO, WorkerInfo::new("http://a"));
        let mut send = |at, outcome| {
            let now = Time::from_secs_f64(at);
            let routed = balancer.dispatch(now, &request, &[], ExplainLevel::None).unwrap();
            let usage = TokenUsage {
                prompt_tokens: Some(250),
                output_tokens: Some(40),
                cached_tokens: Some(128),
                ..TokenUsage::default()
            };
            let result = AttemptResult { usage, ..AttemptResult::of(outcome) };
            let done = balancer.finish(Time::from_secs_f64(at + 0.5), routed.ticket, result);
            assert_eq!(done.predicted_cached_tokens, routed.decision.predicted_cached_tokens);
            done
        };
        let [first, second] = [send(0.0, Outcome::Success), send(1.0, Outcome::Success)];
        let predicted = [first, second].map(|done| done.predicted_cached_tokens);
        assert_eq!(predicted, cached.map_or([None; 2], |known| known.map(Some)), "{name}");
        assert_eq!(second.cached_tokens(), cached.map(|known| (known[1], 128)), "{name}");
        let Some(forecast) = second.forecast else {
            assert!(!is_forecast, "{name}");
            continue;
        };
        assert_eq!((forecast.class, forecast.mean.round()), (LengthClass::Stated, 40.0), "{name}");
        assert!((forecast.rank.unwrap() - 0.5).abs() < 0.01, "{forecast:?}");
        let cut = send(2.0, Outcome::Failed);
        assert_eq!(
            (cut.forecast.unwrap().rank, cut.cached_tokens()),
            (None, None),
            "a cut answer has no length"
        );
    }
}
