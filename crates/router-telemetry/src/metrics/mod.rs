//! Prometheus metrics. Names have the prefix `sgl_router_`, as those of SGLang's router.
//!
//! A request costs only atomic additions, in what it holds already: the handles of its route and the counters of its
//! worker. What is summed over workers is added up when metrics are rendered, and gauges are read from the balancer then.
//!
//! Labelled series appear once they have counted something, so that a page grows with what happens and not with what might.
//! Counters of the router and the fleet as a whole are there from the start.

mod counters;
mod forecasts;
mod legs;
mod models;
mod retries;
mod scale;
mod snapshot;

pub use retries::WaitingGuard;
pub use scale::ScaleGauges;
pub use snapshot::{BalancerGauges, DiscoveryGauges, WorkerGauges};

use crate::control_outcome::ControlOutcome;
use crate::leg::Leg;
use crate::policy_names::PolicyNames;
use crate::process;
use crate::prometheus::family::{Buckets, DURATION_BUCKETS, Histograms, counter, family, histograms};
use crate::prometheus::labels::{ControlLabels, ErrorLabels, ReasonLabels, RouteLabel, StatusLabels};
use crate::prometheus::to_text_format;
use crate::record::{CompletionRecord, DecisionRecord};
use crate::retry_reason::RetryReason;
use crate::worker::{TimeBuckets, WorkerList, WorkerMetrics, WorkerSums};
use arc_swap::{ArcSwap, ArcSwapOption};
use forecasts::ForecastMetrics;
use legs::LegMetrics;
use models::{ModelCounters, ModelMetrics};
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::{counter::Counter, histogram::Histogram};
use prometheus_client::registry::Registry;
use retries::RetryMetrics;
use router_config::MetricsPerWorker;
use router_core::{Outcome, PolicyNumber, Reason, Route};
use snapshot::Snapshot;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Upper bounds in seconds for one decision: 100 ns to 1 ms.
const DECISION_BUCKETS: [f64; 9] = [1e-7, 2.5e-7, 5e-7, 1e-6, 2.5e-6, 5e-6, 1e-5, 1e-4, 1e-3];

/// All metrics of one balancer. Several balancers share one registry.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    /// The metrics of the process.
    process: Arc<Registry>,
    names: Arc<PolicyNames>,
    /// The first live policy of this balancer, by which its workers are told from those of others.
    first_policy: Arc<str>,
    live: Arc<ArcSwap<LivePolicy>>,
    routes: Vec<RouteMetrics>,
    reason_counts: Family<ReasonLabels, Counter>,
    models: ModelMetrics,
    /// The counters of this balancer's model, once it is known.
    model: Arc<ArcSwapOption<ModelCounters>>,
    /// Metrics of split requests, with `--pd-disaggregation`.
    legs: Option<LegMetrics>,
    errors: Family<ErrorLabels, Counter>,
    responses: Family<StatusLabels, Counter>,
    decision_time: Histogram,
    durations: Buckets,
    rebalances: Counter,
    retry_metrics: RetryMetrics,
    forecasts: ForecastMetrics,
    records: RecordCounts,
    control_calls: Family<ControlLabels, Counter>,
    workers: Arc<WorkerList>,
}

/// The live policy, and its decisions by reason.
#[derive(Debug)]
struct LivePolicy {
    number: PolicyNumber,
    name: Arc<str>,
    /// By reason, created when a decision first has it.
    reasons: [OnceLock<Counter>; Reason::ALL.len()],
}

impl LivePolicy {
    fn new(names: &PolicyNames, name: &str) -> Self {
        Self { number: names.number(name), name: name.into(), reasons: Default::default() }
    }
}

/// The metrics of one route.
#[derive(Clone, Debug)]
struct RouteMetrics {
    requests: Counter,
    /// Those with status 200, which most have: the other statuses are looked up.
    ok_responses: OnceLock<Counter>,
    durations: RouteHistogram,
    generate_durations: RouteHistogram,
    retries: Counter,
    exhausted: Counter,
}

/// The histogram of one route, which exists once the route is used.
#[derive(Clone, Debug)]
struct RouteHistogram {
    family: Histograms<RouteLabel>,
    histogram: OnceLock<Histogram>,
}

/// Counters of records and spans that were lost.
#[derive(Clone, Debug)]
struct RecordCounts {
    dropped: Counter,
    lost: Counter,
    spans_dropped: Counter,
    access_lines_lost: Counter,
}

impl Metrics {
    /// Metrics of a balancer with this policy.
    pub fn new(policy: &str) -> Self {
        Self::with_options(policy, None, MetricsPerWorker::Auto)
    }

    /// Metrics with these buckets for the durations of requests, in place of the default ones, and series for each worker where
    /// `per_worker` says so.
    pub fn with_options(policy: &str, durations: Option<Buckets>, per_worker: MetricsPerWorker) -> Self {
        let durations = durations.unwrap_or_else(|| Buckets::new(&DURATION_BUCKETS));
        let mut registry = Registry::with_prefix("sgl_router");
        let r = &mut registry;
        process::register_build_info(r);
        let names = Arc::<PolicyNames>::default();
        let live = Arc::new(ArcSwap::from_pointee(LivePolicy::new(&names, policy)));
        let reason_counts = family(r, "policy_reasons", "Decisions by reason");
        let decision_time = Histogram::new(DECISION_BUCKETS);
        let help = "Time of one decision, including the wait for the balancer's lock";
        r.register("decision_duration_seconds", help, decision_time.clone());
        Self {
            routes: RouteMetrics::all(r, &durations),
            reason_counts,
            models: ModelMetrics::new(r),
            model: Arc::default(),
            legs: None,
            errors: family(
                r,
                "request_errors",
                "Requests that no worker could serve, and those that were rejected",
            ),
            responses: family(r, "responses", "Responses to clients, by route and HTTP status"),
            rebalances: counter(
                r,
                "load_balancing_events",
                "Decisions that left affinity because loads were uneven",
            ),
            records: RecordCounts {
                dropped: counter(r, "records_dropped", "Records dropped because the recorder fell behind"),
                lost: counter(r, "records_lost", "Records that could not be written to their file"),
                spans_dropped: counter(r, "spans_dropped", "Spans that could not be exported"),
                access_lines_lost: counter(
                    r,
                    "access_log_lines_lost",
                    "Lines of the access log that were not written",
                ),
            },
            retry_metrics: RetryMetrics::new(r),
            forecasts: ForecastMetrics::new(r),
            control_calls: family(
                r,
                "control_calls",
                "Control calls to workers, such as weight updates: one for each worker, by call and outcome",
            ),
            workers: Arc::new(WorkerList::new(per_worker, TimeBuckets::new(&durations), Arc::clone(&names))),
            decision_time,
            durations,
            first_policy: policy.into(),
            live,
            names,
            registry: Arc::new(Mutex::new(registry)),
            process: Arc::new(process::registry()),
        }
    }

    /// Adds the metrics of split requests.
    pub fn with_legs(self) -> Self {
        let legs = LegMetrics::new(&mut self.registry.lock(), &self.durations);
        Self { legs: Some(legs), ..self }
    }

    /// The metrics of another balancer, in the same registry.
    pub fn for_pool(&self, policy: &str) -> Self {
        let live = Arc::new(ArcSwap::from_pointee(LivePolicy::new(&self.names, policy)));
        Self { first_policy: policy.into(), live, model: Arc::default(), ..self.clone() }
    }

    /// The workers of this balancer serve `model`.
    pub fn set_model(&self, model: &Arc<str>) {
        self.model.store(Some(Arc::new(self.models.of(model))));
    }

    /// The metrics of a worker that joins. One that has the name of another, which drains, goes on with its counts.
    pub fn worker(&self, name: &Arc<str>) -> Arc<WorkerMetrics> {
        self.workers.join(&self.first_policy, self.live.load().number, name)
    }

    /// A worker left: with the last one of its name its series end. The fleet's counters keep what it counted.
    pub fn remove_worker(&self, name: &Arc<str>) {
        self.workers.leave(&self.first_policy, name);
    }

    /// Whether scores of workers are exported now. They take a decision over all workers, while no request can be routed.
    pub fn needs_scores(&self) -> bool {
        self.workers.is_per_worker() && self.workers.len() <= MetricsPerWorker::AUTO_LIMIT
    }

    pub(crate) fn decided(&self, record: &DecisionRecord) {
        let reason = record.decision.reason;
        if let Some(at) = Reason::ALL.iter().position(|r| *r == reason) {
            let counter = |name: &Arc<str>| {
                let labels = ReasonLabels { policy: Arc::clone(name), reason: reason.as_str() };
                self.reason_counts.get_or_create_owned(&labels)
            };
            let (live, decided) = (self.live.load(), record.info.policy);
            if live.number == decided {
                live.reasons[at].get_or_init(|| counter(&live.name)).inc();
            } else {
                counter(&self.names.name(decided)).inc();
            }
        }
        if reason == Reason::LoadImbalance {
            self.rebalances.inc();
        }
        self.decision_time.observe(record.took.as_secs_f64());
    }

    pub(crate) fn completed(&self, record: &CompletionRecord) {
        self.forecasts.completed(record);
        if let Some(model) = &*self.model.load() {
            model.completed(record);
        }
        // The response of a prefill leg is not the request's.
        if record.info.leg == Leg::Prefill {
            return;
        }
        if record.completion.result.outcome == Outcome::Success {
            let total = record.info.total_latency(&record.completion).as_secs_f64();
            self.routes[record.info.route.index()].generate_durations.observe(record.info.route, total);
        }
    }

    /// A worker has answered a control call, or failed to.
    pub fn control_call_ended(&self, call: &'static str, outcome: ControlOutcome) {
        self.control_calls.get_or_create(&ControlLabels { call, outcome: outcome.as_str() }).inc();
    }

    /// The live policy's name.
    pub fn policy(&self) -> Arc<str> {
        Arc::clone(&self.live.load().name)
    }

    /// Another policy is live from now on. Returns its number, which records of its decisions carry.
    pub fn set_policy(&self, name: &str) -> PolicyNumber {
        let live = LivePolicy::new(&self.names, name);
        let number = live.number;
        self.live.store(Arc::new(live));
        number
    }

    /// The number of the live policy.
    pub fn policy_number(&self) -> PolicyNumber {
        self.live.load().number
    }

    /// The names of all policies that were live in this router.
    pub const fn policy_names(&self) -> &Arc<PolicyNames> {
        &self.names
    }

    /// Requests that got a response, on all routes.
    pub fn requests(&self) -> u64 {
        self.routes.iter().map(|route| route.requests.get()).sum()
    }

    /// Records that were dropped because the recorder fell behind.
    pub fn records_dropped(&self) -> u64 {
        self.records.dropped.get()
    }

    pub(crate) fn record_dropped(&self) {
        self.records.dropped.inc();
    }

    pub(crate) fn records_lost(&self, rows: u64) {
        self.records.lost.inc_by(rows);
    }

    pub(crate) fn spans_dropped(&self, spans: usize) {
        self.records.spans_dropped.inc_by(spans as u64);
    }

    pub(crate) fn access_lines_lost(&self, lines: u64) {
        self.records.access_lines_lost.inc_by(lines);
    }

    pub(crate) fn retried(&self, route: Route, reason: RetryReason) {
        match reason {
            RetryReason::Disconnected | RetryReason::Failed | RetryReason::Overloaded => {
                self.routes[route.index()].retries.inc()
            }
            RetryReason::WorkerUnhealthy => self.retry_metrics.moves.inc(),
            RetryReason::Hedge => self.retry_metrics.hedges.inc(),
        };
    }

    pub(crate) fn retries_exhausted(&self, route: Route) {
        self.routes[route.index()].exhausted.inc();
    }

    pub(crate) fn retry_budget_exhausted(&self) {
        self.retry_metrics.over_budget.inc();
    }

    pub(crate) fn retry_delayed(&self, pause: Duration) {
        self.retry_metrics.backoff.observe(pause.as_secs_f64());
    }

    pub(crate) fn hedge_won(&self) {
        self.retry_metrics.hedge_wins.inc();
    }

    pub(crate) fn waiting_for_worker(&self) -> WaitingGuard {
        self.retry_metrics.waiting_for_worker()
    }

    pub(crate) fn error_response(&self, route: Route, error_type: &'static str) {
        let labels = ErrorLabels { route: route.as_str(), error_type };
        self.errors.get_or_create(&labels).inc();
        if let Some(legs) = self.legs.as_ref().filter(|_| route.is_split()) {
            legs.errors.get_or_create(&labels).inc();
        }
    }

    pub(crate) fn response_started(&self, route: Route, status: u16, took: Duration) {
        if let Some(legs) = self.legs.as_ref().filter(|_| route.is_split()) {
            legs.response_started(route, took);
        }
        let counter = || self.responses.get_or_create_owned(&StatusLabels { route: route.as_str(), status });
        let metrics = &self.routes[route.index()];
        if status == 200 {
            metrics.ok_responses.get_or_init(counter).inc()
        } else {
            counter().inc()
        };
        metrics.requests.inc();
        metrics.durations.observe(route, took.as_secs_f64());
    }

    /// All metrics in Prometheus' text format 0.0.4, with these gauges.
    pub fn render_text_format(&self, gauges: Vec<BalancerGauges>) -> String {
        to_text_format(&self.render(gauges))
    }

    /// All metrics as OpenMetrics text, with these gauges.
    pub fn render(&self, balancers: Vec<BalancerGauges>) -> String {
        let gauges = Snapshot { balancers, is_per_worker: self.workers.is_per_worker() };
        let page = FleetPage { sums: self.workers.sums(), gauges, has_legs: self.legs.is_some() };
        let mut fleet = Registry::with_prefix("sgl_router");
        fleet.register_collector(Box::new(page));
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode_registry(&mut text, &self.registry.lock());
        let _ = encode_registry(&mut text, &fleet);
        let _ = encode_registry(&mut text, &self.process);
        let _ = encode_eof(&mut text);
        text
    }
}

/// What is read from the workers for one page.
#[derive(Debug)]
struct FleetPage {
    sums: WorkerSums,
    gauges: Snapshot,
    has_legs: bool,
}

impl Collector for FleetPage {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.gauges.encode(&mut encoder)?;
        counters::encode(&self.sums, self.has_legs, &mut encoder)
    }
}

impl RouteHistogram {
    const fn new(family: Histograms<RouteLabel>) -> Self {
        Self { family, histogram: OnceLock::new() }
    }

    fn observe(&self, route: Route, seconds: f64) {
        let create = || self.family.get_or_create_owned(&RouteLabel { route: route.as_str() });
        self.histogram.get_or_init(create).observe(seconds);
    }
}

impl RouteMetrics {
    fn all(r: &mut Registry, durations: &Buckets) -> Vec<Self> {
        let requests: Family<RouteLabel, Counter> = family(r, "requests", "Requests received, by route");
        let help = "Further attempts after a failed one, by route";
        let retries: Family<RouteLabel, Counter> = family(r, "retries", help);
        let help = "Requests that failed with no attempts left, by route";
        let exhausted: Family<RouteLabel, Counter> = family(r, "retries_exhausted", help);
        let help = "From request received to response head sent, by route";
        let duration = histograms(r, "request_duration_seconds", help, durations);
        let help = "From request received to last byte of the response, by route";
        let generate = histograms(r, "generate_duration_seconds", help, durations);
        let route = |route: &Route| {
            let label = RouteLabel { route: route.as_str() };
            Self {
                requests: requests.get_or_create_owned(&label),
                ok_responses: OnceLock::new(),
                durations: RouteHistogram::new(duration.clone()),
                generate_durations: RouteHistogram::new(generate.clone()),
                retries: retries.get_or_create_owned(&label),
                exhausted: exhausted.get_or_create_owned(&label),
            }
        };
        Route::ALL.iter().map(route).collect()
    }
}
