//! Random but repeatable histories of a fleet, to run every policy through.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "each test binary uses its own part")]

use router_core::{
    AttemptResult, Balancer, CandidateScore, ClassicPolicy, ClassicWorker, Decision, Event, ExplainLevel,
    FleetUpdate, LoadBalancingPolicy, LoadBalancingPolicyV2, LoadReport, LoadSource, Outcome, Policy,
    PolicyOptions, Registry, RequestFeatures, RequestId, Rng, Ticket, Time, TokenUsage, WorkerCapacity,
    WorkerId, WorkerInfo,
};
use std::time::Duration;

/// Bytes per block of the prompts below.
pub const BLOCK_BYTES: u32 = 64;

/// A classic policy that always wants the worker with the longest URL, healthy or not.
#[derive(Debug)]
pub struct LongestUrl;

impl LoadBalancingPolicy for LongestUrl {
    fn select_worker(&self, workers: &[ClassicWorker], _text: Option<&str>) -> Option<usize> {
        (0..workers.len()).max_by_key(|&i| workers[i].url().len())
    }
    fn name(&self) -> &'static str {
        "longest_url"
    }
}

impl LoadBalancingPolicyV2 for LongestUrl {}

/// Options written as JSON.
pub fn params(json: &str) -> PolicyOptions {
    serde_json::from_str(json).unwrap()
}

/// How to make one policy, under a label for messages.
pub type Make = (String, Box<dyn Fn() -> Box<dyn Policy>>);

/// Every registered policy with its defaults, and some with options that reach their other branches.
pub fn every_policy() -> Vec<Make> {
    let names: Vec<String> = Registry::builtin().specs().map(|s| s.name.clone()).collect();
    // A small index keeps the many policies of these tests cheap to build.
    let small = r#"{"max_tree_size":65536}"#;
    let mut all: Vec<Make> = names
        .iter()
        .map(|name| {
            configured(
                name,
                match name.as_str() {
                    "cache_aware" | "marginal_cost" | "lmetric" => small,
                    "manual" => r#"{"max_keys":64}"#,
                    _ => "{}",
                },
            )
        })
        .collect();
    all.push(configured(
        "cache_aware",
        r#"{"max_tree_size":4096,"balance_abs_threshold":1,"eviction_interval_secs":1}"#,
    ));
    all.push(configured("shortest_queue", r#"{"enable_fallback":false,"max_report_age_secs":0.5}"#));
    all.push(configured(
        "marginal_utility",
        r#"{"normalize":true,"min_history_for_trend":2,"window_size":4}"#,
    ));
    all.push(configured(
        "least_request",
        r#"{"choice_count":3,"speed_weighted":true,"active_request_bias":2}"#,
    ));
    all.push(configured("peak_ewma", r#"{"choice_count":0,"per_token":true,"tau_secs":1}"#));
    all.push(configured("prequal", r#"{"rif_quantile":0.5,"max_age_secs":1}"#));
    all.push(configured("lmetric", r#"{"speed_weighted":true,"max_tree_size":4096}"#));
    all.push(configured("prefix_hash", r#"{"balance_abs_threshold":1,"prefix_token_count":1}"#));
    all.push(configured("manual", r#"{"assignment_mode":"min_load","max_keys":2,"max_idle_secs":1}"#));
    all.push(configured("manual", r#"{"assignment_mode":"min_group","max_keys":8}"#));
    all.push(configured("bucket", r#"{"bucket_adjust_interval_secs":1,"balance_rel_threshold":9}"#));
    all.push(configured("fixed_probability", r#"{"probabilities":[0.5,0.25,0.0,0.25]}"#));
    all
}

fn configured(name: &str, json: &'static str) -> Make {
    let name = name.to_owned();
    let build = {
        let name = name.clone();
        move || Registry::builtin().build(&name, &params(json)).unwrap()
    };
    (format!("{name} {json}"), Box::new(build))
}

/// The classic adapters, which follow every law but the one on ties.
pub fn classic_policies() -> Vec<Make> {
    vec![
        (
            "classic v1".to_owned(),
            Box::new(|| Box::new(ClassicPolicy::v1(Box::new(LongestUrl), 0.0)) as Box<dyn Policy>),
        ),
        (
            "classic v2".to_owned(),
            Box::new(|| Box::new(ClassicPolicy::v2(Box::new(LongestUrl), 0.0)) as Box<dyn Policy>),
        ),
    ]
}

/// One step of a history. It does not depend on what a policy decides.
#[derive(Clone, Debug)]
pub enum Step {
    Join(WorkerInfo),
    Leave(usize),
    Routable(usize, bool),
    Load(usize, LoadReport),
    Capacity(usize, WorkerCapacity),
    Dispatch { conversation: u64, blocks: usize, exclude: Option<usize> },
    Finish(usize, AttemptResult),
    Wait(Duration),
}

/// What one dispatch of a history did.
#[derive(Clone, PartialEq, Debug)]
pub struct Made {
    pub decision: Decision,
    pub chosen: Option<CandidateScore>,
    pub scores: Vec<CandidateScore>,
    pub shadows: Vec<Decision>,
    pub candidates: Vec<WorkerId>,
}

/// A history of `n` steps, determined by `seed`.
pub fn history(seed: u64, n: usize) -> Vec<Step> {
    let mut rng = Rng::seeded(seed);
    let mut steps: Vec<Step> = (0..4).map(|i| Step::Join(info(i, &mut rng))).collect();
    for i in 0..n {
        let pick = rng.below(64);
        let step = match rng.below(100) {
            0..2 => Step::Join(info(4 + i, &mut rng)),
            2..4 => Step::Leave(pick),
            4..8 => Step::Routable(pick, rng.below(3) > 0),
            8..10 => Step::Capacity(pick, capacity(&mut rng)),
            10..18 => Step::Load(pick, report(&mut rng)),
            18..55 => Step::Dispatch {
                conversation: rng.below(6) as u64,
                blocks: rng.below(9),
                exclude: (rng.below(8) == 0).then_some(pick),
            },
            55..90 => Step::Finish(pick, finish(&mut rng)),
            _ => Step::Wait(Duration::from_millis(rng.below(900) as u64)),
        };
        steps.push(step);
    }
    steps
}

fn info(i: usize, rng: &mut Rng) -> WorkerInfo {
    WorkerInfo {
        weight: rng.below(4) as f64,
        max_running_requests: (rng.below(2) == 0).then_some(8),
        ..WorkerInfo::new(&format!("http://10.0.0.{i}:30000"))
    }
}

fn capacity(rng: &mut Rng) -> WorkerCapacity {
    let WorkerInfo { weight, priority, max_running_requests, max_total_tokens, .. } = info(0, rng);
    WorkerCapacity { weight, priority, max_running_requests, max_total_tokens }
}

fn report(rng: &mut Rng) -> LoadReport {
    let mut some = |n: usize| (rng.below(3) > 0).then(|| rng.below(n) as u32);
    LoadReport {
        waiting: some(9),
        running: some(30),
        tokens: some(90_000).map(u64::from),
        ..LoadReport::empty(Time::ZERO, LoadSource::Poll)
    }
}

fn finish(rng: &mut Rng) -> AttemptResult {
    let outcomes = [Outcome::Success, Outcome::Success, Outcome::Failed, Outcome::Cancelled, Outcome::Busy];
    let output_tokens = (rng.below(8) > 0).then(|| rng.below(400) as u32);
    AttemptResult {
        usage: TokenUsage { output_tokens, ..TokenUsage::default() },
        load: (rng.below(4) == 0).then(|| report(rng)),
        ..AttemptResult::of(outcomes[rng.below(outcomes.len())])
    }
}

/// The block hashes of a conversation, the same for every length.
pub fn chain(conversation: u64, blocks: usize) -> Vec<u64> {
    let mut rng = Rng::seeded(conversation);
    (0..blocks).map(|_| rng.next_u64()).collect()
}

/// A balancer that goes through a history.
#[derive(Debug)]
pub struct World {
    pub balancer: Balancer,
    pub now: Time,
    pub ids: Vec<WorkerId>,
    pub tickets: Vec<Ticket>,
    pub made: Vec<Made>,
    sent: u64,
}

impl World {
    pub fn new(policy: Box<dyn Policy>, seed: u64) -> Self {
        let balancer = Balancer::new(policy, seed);
        Self { balancer, now: Time::ZERO, ids: Vec::new(), tickets: Vec::new(), made: Vec::new(), sent: 0 }
    }

    pub fn run(&mut self, steps: &[Step], explain: ExplainLevel) {
        for step in steps {
            self.step(step, explain);
        }
    }

    fn step(&mut self, step: &Step, explain: ExplainLevel) {
        self.now = self.now + Duration::from_micros(700);
        let worker = |i: usize| self.ids.get(i % self.ids.len().max(1)).copied();
        match step {
            Step::Join(info) => self.ids.push(self.balancer.join(self.now, info.clone())),
            Step::Leave(i) if self.ids.len() > 1 => {
                let id = self.ids.remove(i % self.ids.len());
                self.balancer.apply(self.now, FleetUpdate::Leave(id));
            }
            Step::Routable(i, routable) => {
                worker(*i)
                    .into_iter()
                    .for_each(|id| self.balancer.apply(self.now, FleetUpdate::Routable(id, *routable)));
            }
            Step::Load(i, report) => {
                let report = LoadReport { at: self.now, ..*report };
                worker(*i)
                    .into_iter()
                    .for_each(|id| self.balancer.apply(self.now, FleetUpdate::Load(id, report)));
            }
            Step::Capacity(i, capacity) => {
                let change = |id| self.balancer.apply(self.now, FleetUpdate::Capacity(id, *capacity));
                worker(*i).into_iter().for_each(change);
            }
            Step::Dispatch { conversation, blocks, exclude } => {
                let exclude: Vec<_> = exclude.and_then(worker).into_iter().collect();
                self.dispatch(&chain(*conversation, *blocks), &exclude, explain);
            }
            Step::Finish(i, finish) if !self.tickets.is_empty() => {
                let ticket = self.tickets.swap_remove(i % self.tickets.len());
                let load = finish.load.map(|l| LoadReport { at: self.now, ..l });
                self.balancer.finish(self.now, ticket, AttemptResult { load, ..*finish });
            }
            Step::Wait(d) => self.now = self.now + *d,
            Step::Leave(_) | Step::Finish(..) => {}
        }
    }

    fn dispatch(&mut self, prefix: &[u64], exclude: &[WorkerId], explain: ExplainLevel) {
        self.sent += 1;
        let request = RequestFeatures {
            id: RequestId(self.sent),
            prefix,
            prefix_block_bytes: BLOCK_BYTES,
            prompt_bytes: u64::from(BLOCK_BYTES) * prefix.len() as u64 + 20,
            text: Some("hello"),
            // Half of the conversations have a routing key.
            routing_key: prefix.first().copied().filter(|key| key % 2 == 0),
            ..RequestFeatures::default()
        };
        let routable = self.balancer.fleet().routable().iter().copied();
        let candidates: Vec<_> = routable.filter(|id| !exclude.contains(id)).collect();
        match self.balancer.dispatch(self.now, &request, exclude, explain) {
            Ok(routed) => {
                let shadows = routed.shadows.iter().map(|s| s.decision).collect();
                self.made.push(Made {
                    decision: routed.decision,
                    chosen: routed.chosen,
                    scores: routed.scores,
                    shadows,
                    candidates,
                });
                self.tickets.push(routed.ticket);
            }
            Err(_) => assert!(candidates.is_empty(), "there was a worker to choose"),
        }
    }

    pub fn finish_all(&mut self) {
        for ticket in self.tickets.drain(..) {
            self.balancer.finish(self.now, ticket, AttemptResult::of(Outcome::Cancelled));
        }
    }

    pub fn decisions(&self) -> Vec<Decision> {
        self.made.iter().map(|m| m.decision).collect()
    }
}

/// Fails when the policy itself chooses a worker that is no candidate, which the balancer would correct.
#[derive(Debug)]
pub struct Strict(pub Box<dyn Policy>);

impl Policy for Strict {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn needs(&self) -> router_core::PolicyNeeds {
        self.0.needs()
    }
    fn decide(&mut self, cx: router_core::DecisionContext<'_>) -> Decision {
        let candidates = cx.candidates;
        let decision = self.0.decide(cx);
        assert!(candidates.contains(decision.worker), "{} is no candidate", decision.worker);
        decision
    }
    fn observe(&mut self, now: Time, event: &Event<'_>) {
        self.0.observe(now, event);
    }
}
