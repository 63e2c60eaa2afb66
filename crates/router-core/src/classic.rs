//! Adapter that runs policies written against the two classic traits.
//!
//! A classic policy sees a slice of workers and returns an index into it. [`ClassicPolicy`] builds that slice from the
//! events and the candidates, and passes every completion on. [`LoadBalancingPolicyV2`] is an ordinary supertrait with a
//! default method: a policy implements and overrides it like any other, and nothing is ever downcast.

use crate::worker_view::WorkerView;
use crate::{
    Completion, Decision, DecisionContext, Event, LoadReport, Outcome, Policy, PolicyNeeds, Reason,
    RequestId, ScoreTerms, Time, WorkerId,
};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A worker as a classic policy sees it.
#[derive(Clone, PartialEq, Debug)]
pub struct ClassicWorker {
    url: Arc<str>,
    load: usize,
    healthy: bool,
    priority: u32,
    weight: f64,
}

impl ClassicWorker {
    /// The worker behind a view that may be chosen.
    pub fn of(view: &WorkerView<'_>) -> Self {
        Self {
            url: view.info.url.clone(),
            load: view.in_flight as usize,
            healthy: true,
            priority: view.info.priority,
            weight: view.info.weight,
        }
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Requests sent to it by this router and not finished.
    pub const fn load(&self) -> usize {
        self.load
    }

    /// Whether it may be chosen for this request. False also for a worker that failed an earlier attempt of it.
    pub const fn is_healthy(&self) -> bool {
        self.healthy
    }

    /// Higher is preferred; 50 unless configured.
    pub const fn priority(&self) -> u32 {
        self.priority
    }

    /// Relative capacity; 1 unless configured.
    pub const fn weight(&self) -> f64 {
        self.weight
    }
}

/// What is known about one finished request. Absent means unknown.
#[derive(Clone, PartialEq, Debug)]
pub struct RequestMetrics {
    /// The worker's base URL.
    pub worker_url: Arc<str>,
    /// The number that the host gave the request.
    pub request_id: RequestId,
    /// Which attempt of the request, from zero.
    pub attempt: u32,
    /// When the worker took the request in: Unix seconds, the worker's clock.
    pub server_created_time: Option<f64>,
    /// When the worker had the first token: Unix seconds, the worker's clock.
    pub server_first_token_time: Option<f64>,
    /// When the request entered the worker's queue: Unix seconds, the worker's clock.
    pub queue_time_start: Option<f64>,
    /// When the request left the worker's queue: Unix seconds, the worker's clock.
    pub queue_time_end: Option<f64>,
    /// When the attempt ended: Unix seconds, the router's clock.
    pub finish_time: f64,
    /// Seconds from sending to the worker to the last byte, by a monotonic clock.
    pub server_latency: f64,
    /// Seconds from the request's arrival at the router to its last byte. Absent in this core, which sees a
    /// request only when it is dispatched; hosts that build metrics of their own fill it in.
    pub total_latency: Option<f64>,
    /// Seconds from sending to the first byte, as the router saw it.
    pub ttft: Option<f64>,
    /// Prompt tokens, cached ones included.
    pub prompt_tokens: Option<u32>,
    /// Generated tokens.
    pub output_tokens: Option<u32>,
    /// Prompt tokens found in the worker's prefix cache.
    pub cached_tokens: Option<u32>,
    /// Requests waiting at the worker, as reported with the response.
    pub queue_length: Option<u32>,
    /// Requests running at the worker, as reported with the response.
    pub running_requests: Option<u32>,
    /// Whether a complete 2xx response arrived.
    pub success: bool,
    /// HTTP status, absent when there was no response.
    pub status: Option<u16>,
}

impl RequestMetrics {
    fn new(worker_url: Arc<str>, c: &Completion, unix_epoch_offset_secs: f64) -> Self {
        let (finish, timing) = (&c.result, &c.result.timing);
        // Where the worker reports only how long the queue took, the end follows from the start.
        let queue_end = timing.queue_end.or_else(|| Some(timing.queue_start? + timing.queue_time?));
        Self {
            worker_url,
            request_id: c.request,
            attempt: c.attempt,
            server_created_time: timing.created,
            server_first_token_time: timing.first_token,
            queue_time_start: timing.queue_start,
            queue_time_end: queue_end,
            finish_time: unix_epoch_offset_secs + c.finished_at.as_secs_f64(),
            server_latency: c.server_latency(),
            total_latency: c.total_latency(),
            ttft: c.ttft(),
            prompt_tokens: finish.usage.prompt_tokens,
            output_tokens: finish.usage.output_tokens,
            cached_tokens: finish.usage.cached_tokens,
            queue_length: finish.load.and_then(|l| l.waiting),
            running_requests: finish.load.and_then(|l| l.running),
            success: finish.outcome == Outcome::Success,
            status: finish.status,
        }
    }

    /// Prompt and generated tokens together.
    pub fn total_tokens(&self) -> Option<u64> {
        Some(u64::from(self.prompt_tokens?) + u64::from(self.output_tokens?))
    }

    /// Seconds in the worker's queue.
    pub fn queue_time(&self) -> Option<f64> {
        Some(self.queue_time_end? - self.queue_time_start?)
    }

    /// Generated tokens per second of the whole time at the worker.
    pub fn decode_throughput(&self) -> Option<f64> {
        (self.server_latency > 0.0).then_some(f64::from(self.output_tokens?) / self.server_latency)
    }

    /// Seconds per generated token after the first; absent with fewer than two.
    pub fn tpot(&self) -> Option<f64> {
        let after_first = self.output_tokens?.checked_sub(1).filter(|&n| n > 0)?;
        Some((self.server_latency - self.ttft?) / f64::from(after_first))
    }
}

/// The first classic trait.
pub trait LoadBalancingPolicy: Send + Sync + fmt::Debug {
    /// The index of the worker to use; none to leave the choice to the router. All workers of the fleet are shown,
    /// in an order that changes only when workers come or go; those that are not healthy must not be chosen.
    fn select_worker(&self, workers: &[ClassicWorker], request_text: Option<&str>) -> Option<usize>;

    /// One worker for the prefill and one for the decode phase. By default each is chosen on its own.
    fn select_worker_pair(
        &self,
        prefill: &[ClassicWorker],
        decode: &[ClassicWorker],
        request_text: Option<&str>,
    ) -> Option<(usize, usize)> {
        Some((self.select_worker(prefill, request_text)?, self.select_worker(decode, request_text)?))
    }

    /// An attempt ended. `success`: a complete 2xx response arrived.
    // tidy: allowed, the shape of the classic trait is given.
    fn on_request_complete(&self, _worker_url: &str, _success: bool) {}

    /// The loads that workers reported, by URL: tokens where they report those, else requests running and waiting.
    /// Workers that reported nothing are not in it.
    fn update_loads(&self, _loads: &HashMap<String, isize>) {}

    /// Forgets everything learned.
    fn reset(&self) {}

    /// Stable name for configuration, metrics and records.
    fn name(&self) -> &'static str;
}

/// The second classic trait: completions come with everything known about them.
pub trait LoadBalancingPolicyV2: LoadBalancingPolicy {
    /// An attempt ended. By default only its success is passed to the first trait.
    fn on_request_complete_v2(&self, metrics: &RequestMetrics) {
        self.on_request_complete(&metrics.worker_url, metrics.success);
    }
}

#[derive(Debug)]
enum ClassicTrait {
    V1(Box<dyn LoadBalancingPolicy>),
    V2(Box<dyn LoadBalancingPolicyV2>),
}

/// Runs a classic policy as a [`Policy`].
///
/// When it returns nothing, an index that does not exist or a worker that may not be chosen, the least loaded
/// candidate is used and the reason is [`Reason::Fallback`].
#[derive(Debug)]
pub struct ClassicPolicy {
    inner: ClassicTrait,
    unix_epoch_offset_secs: f64,
    /// All workers, in id order, beside their ids.
    ids: Vec<WorkerId>,
    workers: Vec<ClassicWorker>,
    loads: HashMap<String, isize>,
}

impl ClassicPolicy {
    /// Runs a policy of the first trait. `unix_epoch_offset_secs` is the Unix time of [`Time::ZERO`].
    pub fn v1(policy: Box<dyn LoadBalancingPolicy>, unix_epoch_offset_secs: f64) -> Self {
        Self::new(ClassicTrait::V1(policy), unix_epoch_offset_secs)
    }

    /// Runs a policy of the second trait. `unix_epoch_offset_secs` is the Unix time of [`Time::ZERO`].
    pub fn v2(policy: Box<dyn LoadBalancingPolicyV2>, unix_epoch_offset_secs: f64) -> Self {
        Self::new(ClassicTrait::V2(policy), unix_epoch_offset_secs)
    }

    fn new(inner: ClassicTrait, unix_epoch_offset_secs: f64) -> Self {
        Self { inner, unix_epoch_offset_secs, ids: Vec::new(), workers: Vec::new(), loads: HashMap::new() }
    }

    /// Asks for a prefill and a decode worker together, for hosts that split the two. The fleets are views of two
    /// balancers' workers, made by [`ClassicWorker::of`]; an index that does not exist counts as no choice.
    pub fn select_pair(
        &self,
        prefill: &[ClassicWorker],
        decode: &[ClassicWorker],
        request_text: Option<&str>,
    ) -> Option<(usize, usize)> {
        let pair = self.policy().select_worker_pair(prefill, decode, request_text);
        pair.filter(|&(p, d)| p < prefill.len() && d < decode.len())
    }

    /// Makes the policy forget everything it learned.
    pub fn reset(&self) {
        self.policy().reset();
    }

    fn policy(&self) -> &dyn LoadBalancingPolicy {
        match &self.inner {
            ClassicTrait::V1(policy) => policy.as_ref(),
            ClassicTrait::V2(policy) => policy.as_ref(),
        }
    }

    /// Brings the slice that the policy sees up to the candidates of this decision.
    fn refresh(&mut self, cx: &DecisionContext<'_>) {
        for worker in &mut self.workers {
            worker.healthy = false;
        }
        for view in cx.candidates.iter() {
            if let Ok(i) = self.ids.binary_search(&view.id) {
                self.workers[i] = ClassicWorker::of(&view);
            }
        }
    }

    fn joined(&mut self, id: WorkerId, worker: ClassicWorker) {
        let at = self.ids.partition_point(|&other| other < id);
        self.ids.insert(at, id);
        self.workers.insert(at, worker);
    }

    fn left(&mut self, id: WorkerId) {
        if let Ok(i) = self.ids.binary_search(&id) {
            self.ids.remove(i);
            let worker = self.workers.remove(i);
            self.loads.remove(worker.url());
        }
    }

    fn url(&self, id: WorkerId) -> Option<&Arc<str>> {
        self.ids.binary_search(&id).ok().map(|i| &self.workers[i].url)
    }

    fn finished(&self, completion: &Completion) {
        // The URL of a worker that left is not known here any more, and its completion says nothing about the others.
        let Some(url) = self.url(completion.worker) else { return };
        match &self.inner {
            ClassicTrait::V1(policy) => {
                policy.on_request_complete(url, completion.result.outcome == Outcome::Success);
            }
            ClassicTrait::V2(policy) => {
                let metrics = RequestMetrics::new(url.clone(), completion, self.unix_epoch_offset_secs);
                policy.on_request_complete_v2(&metrics);
            }
        }
    }

    fn reported(&mut self, id: WorkerId, report: &LoadReport) {
        let requests = || Some(u64::from(report.running?) + u64::from(report.waiting?));
        let (Some(url), Some(load)) = (self.url(id).cloned(), report.tokens.or_else(requests)) else {
            return;
        };
        let load = isize::try_from(load).unwrap_or(isize::MAX);
        match self.loads.get_mut(url.as_ref()) {
            Some(known) => *known = load,
            None => drop(self.loads.insert(url.as_ref().to_owned(), load)),
        }
        self.policy().update_loads(&self.loads);
    }
}

impl Policy for ClassicPolicy {
    fn name(&self) -> &str {
        self.policy().name()
    }

    fn needs(&self) -> PolicyNeeds {
        PolicyNeeds { text: true, load_reports: true, ..PolicyNeeds::NONE }
    }

    fn decide(&mut self, mut cx: DecisionContext<'_>) -> Decision {
        self.refresh(&cx);
        let chosen = self.policy().select_worker(&self.workers, cx.request.text);
        let id = chosen.and_then(|i| self.ids.get(i)).copied();
        match id.filter(|&id| cx.candidates.contains(id)) {
            Some(id) if cx.candidates.len() == 1 => Decision::plain(id, Reason::OnlyCandidate),
            Some(id) => Decision::plain(id, Reason::Classic),
            None => {
                let in_flight = |w: &WorkerView<'_>| f64::from(w.in_flight);
                cx.lowest(Reason::Fallback, in_flight, |w| ScoreTerms::new([("in_flight", in_flight(w))]))
            }
        }
    }

    fn observe(&mut self, _now: Time, event: &Event<'_>) {
        match event {
            Event::Joined { worker, info } => {
                let (url, priority, weight) = (info.url.clone(), info.priority, info.weight);
                self.joined(*worker, ClassicWorker { url, load: 0, healthy: true, priority, weight });
            }
            Event::Left(worker) => self.left(*worker),
            Event::Finished(completion) => self.finished(completion),
            Event::Load { worker, report } => self.reported(*worker, report),
            _ => (),
        }
    }
}
