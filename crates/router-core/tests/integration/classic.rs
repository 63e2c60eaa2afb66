//! Policies written against the classic traits, as their authors would write them.

use parking_lot::Mutex;
use router_core::{
    AttemptResult, Balancer, ClassicPolicy, ClassicWorker, ExplainLevel, FleetUpdate, LoadBalancingPolicy,
    LoadBalancingPolicyV2, LoadReport, LoadSource, Outcome, Reason, RequestFeatures, RequestId,
    RequestMetrics, ServerTiming, Time, TokenUsage, WorkerInfo,
};
use std::collections::HashMap;
use std::sync::Arc;

/// What a policy received, for the test to look at.
#[derive(Debug, Default)]
struct Heard {
    completions: Vec<(String, bool)>,
    metrics: Vec<RequestMetrics>,
    loads: HashMap<String, isize>,
    texts: Vec<Option<String>>,
    resets: u32,
}

/// Wants the worker whose port the prompt names; records what it receives.
#[derive(Debug, Default, Clone)]
struct Wish(Arc<Mutex<Heard>>);

impl LoadBalancingPolicy for Wish {
    fn select_worker(&self, workers: &[ClassicWorker], text: Option<&str>) -> Option<usize> {
        self.0.lock().texts.push(text.map(str::to_owned));
        match text? {
            "none" => None,
            "beyond" => Some(workers.len()),
            port => workers.iter().position(|w| w.url().ends_with(port)),
        }
    }
    fn on_request_complete(&self, worker_url: &str, success: bool) {
        self.0.lock().completions.push((worker_url.to_owned(), success));
    }
    fn update_loads(&self, loads: &HashMap<String, isize>) {
        self.0.lock().loads.clone_from(loads);
    }
    fn reset(&self) {
        self.0.lock().resets += 1;
    }
    fn name(&self) -> &'static str {
        "wish"
    }
}

/// Leaves everything of V2 at its default.
impl LoadBalancingPolicyV2 for Wish {}

/// Overrides the second trait's method.
#[derive(Debug, Default, Clone)]
struct Learner(Wish);

impl LoadBalancingPolicy for Learner {
    fn select_worker(&self, workers: &[ClassicWorker], text: Option<&str>) -> Option<usize> {
        self.0.select_worker(workers, text)
    }
    fn select_worker_pair(
        &self,
        prefill: &[ClassicWorker],
        decode: &[ClassicWorker],
        _text: Option<&str>,
    ) -> Option<(usize, usize)> {
        Some((prefill.len() - 1, decode.len()))
    }
    fn on_request_complete(&self, worker_url: &str, success: bool) {
        self.0.on_request_complete(worker_url, success);
    }
    fn name(&self) -> &'static str {
        "learner"
    }
}

impl LoadBalancingPolicyV2 for Learner {
    fn on_request_complete_v2(&self, metrics: &RequestMetrics) {
        self.0.0.lock().metrics.push(metrics.clone());
    }
}

fn balancer(classic: ClassicPolicy) -> (Balancer, Vec<router_core::WorkerId>) {
    let mut balancer = Balancer::new(Box::new(classic), 1);
    let ids =
        (0..3).map(|i| balancer.join(Time::ZERO, WorkerInfo::new(&format!("http://w:3000{i}")))).collect();
    (balancer, ids)
}

fn send(balancer: &mut Balancer, text: &str) -> router_core::Dispatched {
    let request =
        RequestFeatures { id: RequestId(7), attempt: 1, text: Some(text), ..RequestFeatures::default() };
    balancer.dispatch(Time::from_secs_f64(2.0), &request, &[], ExplainLevel::None).unwrap()
}

#[test]
fn first_trait_gets_text_and_success() {
    let wish = Wish::default();
    let (mut balancer, ids) = balancer(ClassicPolicy::v1(Box::new(wish.clone()), 0.0));
    assert!(balancer.needs().text);
    assert_eq!(balancer.policy_name(), "wish");
    for (text, outcome) in [("30002", Outcome::Success), ("30000", Outcome::Failed)] {
        let routed = send(&mut balancer, text);
        assert_eq!(routed.decision.reason, Reason::Classic);
        balancer.finish(Time::from_secs_f64(3.0), routed.ticket, AttemptResult::of(outcome));
    }
    let heard = wish.0.lock();
    let wanted = [("http://w:30002".to_owned(), true), ("http://w:30000".to_owned(), false)];
    assert_eq!(heard.completions, wanted);
    assert_eq!(heard.texts[0].as_deref(), Some("30002"));
    drop(heard);
    assert_eq!(ids.len(), 3);
}

#[test]
fn second_trait_forwards_success_by_default() {
    let wish = Wish::default();
    let (mut balancer, _) = balancer(ClassicPolicy::v2(Box::new(wish.clone()), 0.0));
    let routed = send(&mut balancer, "30001");
    balancer.finish(Time::from_secs_f64(3.0), routed.ticket, AttemptResult::of(Outcome::Success));
    assert_eq!(wish.0.lock().completions, [("http://w:30001".to_owned(), true)]);
}

#[test]
fn override_gets_all_metrics() {
    let learner = Learner::default();
    let (mut balancer, _) = balancer(ClassicPolicy::v2(Box::new(learner.clone()), 1.7e9));
    let routed = send(&mut balancer, "30001");
    let finish = AttemptResult {
        status: Some(200),
        first_byte_at: Some(Time::from_secs_f64(2.5)),
        usage: TokenUsage { prompt_tokens: Some(9), output_tokens: Some(31), ..TokenUsage::default() },
        timing: ServerTiming { queue_start: Some(100.0), queue_end: Some(100.25), ..ServerTiming::default() },
        load: Some(LoadReport { waiting: Some(4), ..LoadReport::empty(Time::ZERO, LoadSource::Piggyback) }),
        ..AttemptResult::of(Outcome::Success)
    };
    balancer.finish(Time::from_secs_f64(4.0), routed.ticket, finish);
    let heard = learner.0.0.lock();
    assert!(heard.completions.is_empty(), "the override replaces the default");
    let m = &heard.metrics[0];
    assert_eq!((m.worker_url.as_ref(), m.request_id, m.attempt), ("http://w:30001", RequestId(7), 1));
    assert_eq!((m.finish_time, m.server_latency, m.ttft), (1.7e9 + 4.0, 2.0, Some(0.5)));
    assert_eq!((m.queue_time(), m.decode_throughput(), m.tpot()), (Some(0.25), Some(15.5), Some(0.05)));
    assert_eq!((m.total_tokens(), m.cached_tokens, m.queue_length), (Some(40), None, Some(4)));
    assert_eq!((m.success, m.status, m.total_latency), (true, Some(200), None));
}

#[test]
fn invalid_choices_fall_back_to_least_loaded() {
    let (mut balancer, ids) = balancer(ClassicPolicy::v1(Box::new(Wish::default()), 0.0));
    balancer.apply(Time::ZERO, FleetUpdate::Routable(ids[1], false));
    let first = send(&mut balancer, "30000");
    for text in ["none", "beyond", "30001"] {
        let routed = send(&mut balancer, text);
        assert_eq!((routed.decision.worker, routed.decision.reason), (ids[2], Reason::Fallback), "{text}");
        balancer.finish(Time::from_secs_f64(3.0), routed.ticket, AttemptResult::of(Outcome::Success));
    }
    balancer.finish(Time::from_secs_f64(3.0), first.ticket, AttemptResult::of(Outcome::Success));
}

/// Prefers the lowest `load()` among the healthy, as most classic policies do.
#[derive(Debug)]
struct LeastLoad;

impl LoadBalancingPolicy for LeastLoad {
    fn select_worker(&self, workers: &[ClassicWorker], _text: Option<&str>) -> Option<usize> {
        let healthy = workers.iter().enumerate().filter(|(_, w)| w.is_healthy());
        healthy.min_by_key(|(_, w)| w.load()).map(|(i, _)| i)
    }
    fn name(&self) -> &'static str {
        "least_load"
    }
}

#[test]
fn classic_policy_sees_loads_and_health() {
    let (mut balancer, ids) = balancer(ClassicPolicy::v1(Box::new(LeastLoad), 0.0));
    let mut held = Vec::new();
    for slot in [0, 1, 2, 0, 1] {
        let routed = send(&mut balancer, "");
        assert_eq!(routed.decision.worker.slot(), slot);
        held.push(routed.ticket);
    }
    balancer.apply(Time::ZERO, FleetUpdate::Leave(ids[2]));
    assert_eq!(send(&mut balancer, "").ticket.worker(), ids[0]);
    let successor = balancer.join(Time::ZERO, WorkerInfo::new("http://w:30009"));
    assert_eq!(send(&mut balancer, "").ticket.worker(), successor, "the successor starts at zero");
}

#[test]
fn loads_are_passed_by_url() {
    let wish = Wish::default();
    let (mut balancer, ids) = balancer(ClassicPolicy::v1(Box::new(wish.clone()), 0.0));
    let empty = LoadReport::empty(Time::ZERO, LoadSource::Poll);
    let tokens = LoadReport { tokens: Some(900), waiting: Some(1), running: Some(1), ..empty };
    let counts = LoadReport { waiting: Some(2), running: Some(3), ..empty };
    for (id, report) in ids.iter().zip([tokens, counts, empty]) {
        balancer.apply(Time::ZERO, FleetUpdate::Load(*id, report));
    }
    let wanted = HashMap::from([("http://w:30000".to_owned(), 900), ("http://w:30001".to_owned(), 5)]);
    assert_eq!(wish.0.lock().loads, wanted);
}

#[test]
fn pairs_and_resets_reach_the_policy() {
    let workers = |n: u16| -> Vec<ClassicWorker> {
        let mut balancer = Balancer::new(Box::new(router_core::policy::Random), 1);
        for i in 0..n {
            balancer.join(Time::ZERO, WorkerInfo::new(&format!("http://p:{i}")));
        }
        balancer.fleet().iter().map(|w| ClassicWorker::of(&w)).collect()
    };
    let (prefill, decode) = (workers(3), workers(2));
    let wish = Wish::default();
    let by_default = ClassicPolicy::v1(Box::new(wish.clone()), 0.0);
    assert_eq!(by_default.select_pair(&prefill, &decode, Some(":1")), Some((1, 1)));
    assert_eq!(by_default.select_pair(&prefill, &decode, Some(":2")), None, "no such decode worker");
    let overridden = ClassicPolicy::v2(Box::new(Learner::default()), 0.0);
    assert_eq!(overridden.select_pair(&prefill, &decode, None), None, "an index that does not exist");
    by_default.reset();
    assert_eq!(wish.0.lock().resets, 1);
}
