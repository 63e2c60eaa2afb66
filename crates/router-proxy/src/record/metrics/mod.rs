//! Prometheus metrics. Names keep the `sgl_router_` prefix of the routers before us.
//!
//! Handles are looked up once, per route and per worker, so that counting costs a request only atomic additions.
//! Gauges are read off the balancer when somebody asks, so they cannot drift from it.

mod detours;
mod labels;
mod legs;
mod snapshot;
mod worker;

pub(crate) use detours::Waiting;
pub(crate) use snapshot::{Gauges, WorkerGauges};
pub(crate) use worker::WorkerMetrics;

use super::leg::{Leg, is_split};
use super::row::{CompletionRecord, DecisionRecord};
use crate::record::Detour;
use detours::Detours;
use labels::{ErrorLabels, ReasonLabels, RouteLabel};
use legs::LegMetrics;
use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, text::encode};
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::{TypedMetric, counter::Counter, histogram::Histogram};
use prometheus_client::registry::Registry;
use router_core::{Outcome, Reason, Route};
use snapshot::Snapshot;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use worker::WorkerFamilies;

/// Upper bounds in seconds, those that users of SGLang's routers have dashboards for.
const DURATION_BUCKETS: [f64; 20] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 45.0, 60.0, 90.0,
    120.0, 180.0, 240.0,
];

/// Upper bounds in seconds for one decision: 100 ns to 1 ms.
const DECISION_BUCKETS: [f64; 9] = [1e-7, 2.5e-7, 5e-7, 1e-6, 2.5e-6, 5e-6, 1e-5, 1e-4, 1e-3];

/// All metrics of one balancer. Several share one page.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Arc<Mutex<Registry>>,
    policy: Arc<str>,
    routes: Vec<RouteMetrics>,
    reasons: Vec<Counter>,
    reason_counts: Family<ReasonLabels, Counter>,
    /// Where prefill and decode are apart.
    legs: Option<LegMetrics>,
    errors: Family<ErrorLabels, Counter>,
    decision_time: Histogram,
    durations: Bounds,
    rebalances: Counter,
    detours: Detours,
    records: RecordCounts,
    workers: WorkerFamilies,
    snapshot: Snapshot,
}

/// The handles of one route.
#[derive(Clone, Debug)]
struct RouteMetrics {
    requests: Counter,
    duration: Histogram,
    generate_duration: Histogram,
    retries: Counter,
    exhausted: Counter,
}

/// What the recorder did not manage, and the collector behind it.
#[derive(Clone, Debug)]
struct RecordCounts {
    dropped: Counter,
    lost: Counter,
    spans_dropped: Counter,
}

/// Upper bounds of a histogram's buckets, in seconds, ascending.
#[derive(Clone, Debug)]
pub(crate) struct Bounds(Arc<[f64]>);

impl Bounds {
    pub(crate) fn new(bounds: &[f64]) -> Self {
        Self(bounds.into())
    }
}

impl MetricConstructor<Histogram> for Bounds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

impl Metrics {
    pub(crate) fn new(policy: &str) -> Self {
        Self::bounded(policy, Bounds::new(&DURATION_BUCKETS))
    }

    /// With these buckets for the durations of requests, in place of the usual ones.
    pub(crate) fn bounded(policy: &str, durations: Bounds) -> Self {
        let mut registry = Registry::with_prefix("sgl_router");
        let r = &mut registry;
        let policy: Arc<str> = policy.into();
        let reason_counts = family(r, "policy_reasons", "Decisions by reason");
        let decision_time = Histogram::new(DECISION_BUCKETS);
        let help = "Time of one decision, the wait for the balancer included";
        r.register("decision_duration_seconds", help, decision_time.clone());
        Self {
            routes: RouteMetrics::all(r, &durations),
            reasons: reasons_of(&reason_counts, &policy),
            reason_counts,
            legs: None,
            errors: family(r, "request_errors", "Requests that the router answered with an error"),
            rebalances: counter(
                r,
                "load_balancing_events",
                "Decisions that left affinity because loads were uneven",
            ),
            records: RecordCounts {
                dropped: counter(r, "records_dropped", "Records that the recorder was too slow to take"),
                lost: counter(r, "records_lost", "Records that could not be written to their file"),
                spans_dropped: counter(r, "spans_dropped", "Spans that the collector did not take"),
            },
            detours: Detours::new(r),
            workers: WorkerFamilies::new(r, &durations),
            snapshot: Snapshot::new(r),
            decision_time,
            durations,
            policy,
            registry: Arc::new(Mutex::new(registry)),
        }
    }

    /// Adds what is counted where prefill and decode are apart.
    pub(crate) fn with_legs(self) -> Self {
        let legs = LegMetrics::new(&mut self.registry.lock(), &self.durations);
        Self { legs: Some(legs), ..self }
    }

    /// Those of another balancer, on the same page.
    pub(crate) fn beside(&self, policy: &str) -> Self {
        let policy: Arc<str> = policy.into();
        Self { reasons: reasons_of(&self.reason_counts, &policy), policy, ..self.clone() }
    }

    /// The handles of a worker that joins.
    pub(crate) fn worker(&self, url: &Arc<str>) -> WorkerMetrics {
        self.workers.handles(&self.policy, url)
    }

    /// Takes the series of a worker that left away.
    pub(crate) fn forget(&self, url: &Arc<str>) {
        self.workers.forget(&self.policy, url);
        if let Some(legs) = &self.legs {
            legs.forget(url);
        }
    }

    pub(super) fn decided(&self, record: &DecisionRecord) {
        record.worker.metrics.decided();
        let reason = record.decision.reason;
        if let Some(at) = Reason::ALL.iter().position(|r| *r == reason) {
            self.reasons[at].inc();
        }
        if reason == Reason::LoadImbalance {
            self.rebalances.inc();
        }
        self.decision_time.observe(record.took.as_secs_f64());
    }

    pub(super) fn completed(&self, record: &CompletionRecord) {
        record.worker.metrics.completed(record);
        if let Some(legs) = &self.legs {
            legs.completed(record);
        }
        // A prompt that was read is no answer.
        if record.outline.leg == Leg::Prefill {
            return;
        }
        if record.completion.finish.outcome == Outcome::Success {
            let total = record.completion.finished_at.since(record.outline.received_at);
            self.routes[record.outline.route.index()].generate_duration.observe(total.as_secs_f64());
        }
    }

    /// The live policy's name.
    pub(crate) const fn policy(&self) -> &Arc<str> {
        &self.policy
    }

    /// Requests that were answered, on all routes.
    pub(crate) fn requests(&self) -> u64 {
        self.routes.iter().map(|route| route.requests.get()).sum()
    }

    pub(super) fn dropped(&self) {
        self.records.dropped.inc();
    }

    pub(super) fn record_lost(&self, rows: u64) {
        self.records.lost.inc_by(rows);
    }

    pub(super) fn spans_dropped(&self, spans: usize) {
        self.records.spans_dropped.inc_by(spans as u64);
    }

    pub(super) fn detoured(&self, route: Route, detour: Detour) {
        match detour {
            Detour::Lost | Detour::Fault | Detour::Busy => self.routes[route.index()].retries.inc(),
            Detour::Trouble => self.detours.moves.inc(),
            Detour::Hedge => self.detours.hedges.inc(),
        };
    }

    pub(super) fn exhausted(&self, route: Route) {
        self.routes[route.index()].exhausted.inc();
    }

    pub(super) fn over_budget(&self) {
        self.detours.over_budget.inc();
    }

    pub(super) fn backed_off(&self, pause: Duration) {
        self.detours.backoff.observe(pause.as_secs_f64());
    }

    pub(super) fn hedge_won(&self) {
        self.detours.hedge_wins.inc();
    }

    pub(super) fn waiting(&self) -> Waiting {
        self.detours.waiting()
    }

    pub(super) fn refused(&self, route: Route, error_type: &'static str) {
        let labels = ErrorLabels { route: route.as_str(), error_type };
        self.errors.get_or_create(&labels).inc();
        if let Some(legs) = self.legs.as_ref().filter(|_| is_split(route)) {
            legs.errors.get_or_create(&labels).inc();
        }
    }

    pub(super) fn answered(&self, route: Route, took: Duration) {
        if let Some(legs) = self.legs.as_ref().filter(|_| is_split(route)) {
            legs.answered(route, took);
        }
        let route = &self.routes[route.index()];
        route.requests.inc();
        route.duration.observe(took.as_secs_f64());
    }

    /// Everything in Prometheus' text format, with the gauges as they are now.
    pub(crate) fn render(&self, gauges: &[Gauges]) -> String {
        let registry = self.registry.lock();
        self.snapshot.set(gauges);
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

fn reasons_of(counts: &Family<ReasonLabels, Counter>, policy: &Arc<str>) -> Vec<Counter> {
    let reason = |reason: &Reason| {
        let label = ReasonLabels { policy: Arc::clone(policy), reason: reason.as_str() };
        counts.get_or_create_owned(&label)
    };
    Reason::ALL.iter().map(reason).collect()
}

impl RouteMetrics {
    fn all(r: &mut Registry, durations: &Bounds) -> Vec<Self> {
        let requests: Family<RouteLabel, Counter> = family(r, "requests", "Requests that came in, by route");
        let help = "Attempts on another worker after a failed one, by route";
        let retries: Family<RouteLabel, Counter> = family(r, "retries", help);
        let help = "Requests that failed and were allowed no more attempts, by route";
        let exhausted: Family<RouteLabel, Counter> = family(r, "retries_exhausted", help);
        let help = "From request in to answer's head out, by route";
        let duration = histograms(r, "request_duration_seconds", help, durations);
        let help = "From request in to answer's last byte, by route";
        let generate = histograms(r, "generate_duration_seconds", help, durations);
        let route = |route: &Route| {
            let label = RouteLabel { route: route.as_str() };
            Self {
                requests: requests.get_or_create_owned(&label),
                duration: duration.get_or_create_owned(&label),
                generate_duration: generate.get_or_create_owned(&label),
                retries: retries.get_or_create_owned(&label),
                exhausted: exhausted.get_or_create_owned(&label),
            }
        };
        Route::ALL.iter().map(route).collect()
    }
}

/// A metric with labels, registered.
fn family<L, M>(registry: &mut Registry, name: &str, help: &str) -> Family<L, M>
where
    L: Clone + Hash + Eq + EncodeLabelSet + Debug + Send + Sync + 'static,
    M: Default + EncodeMetric + TypedMetric + Debug + Send + Sync + 'static,
{
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

/// A histogram with labels, registered.
fn histograms<L>(r: &mut Registry, name: &str, help: &str, bounds: &Bounds) -> Histograms<L>
where
    L: Clone + Hash + Eq + EncodeLabelSet + Debug + Send + Sync + 'static,
{
    let family = Family::new_with_constructor(bounds.clone());
    r.register(name, help, family.clone());
    family
}

/// Histograms by labels.
type Histograms<L> = Family<L, Histogram, Bounds>;

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}
