//! Gauges, set when metrics are rendered.

use crate::breaker_state::BreakerState;
use crate::prometheus::family::family;
use crate::prometheus::labels::{FigureLabels, PolicyWorkerLabels, TermLabels, WorkerLabel};
use crate::worker::WorkerTelemetry;
use prometheus_client::metrics::{family::Family, gauge::Gauge};
use prometheus_client::registry::Registry;
use router_core::CandidateScore;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// A gauge of floating-point numbers.
type FloatGauge = Gauge<f64, AtomicU64>;

/// The gauges of one balancer and its policy at one moment.
#[derive(Debug, Default)]
pub struct BalancerGauges {
    /// The policy's name.
    pub policy: Arc<str>,
    /// One entry per worker.
    pub workers: Vec<WorkerGauges>,
    /// The policy's score of each worker, where it compares scores.
    pub scores: Vec<(Arc<WorkerTelemetry>, CandidateScore)>,
    /// Figures about the policy as a whole.
    pub figures: Vec<(&'static str, f64)>,
    /// Requests that wait in the router for admission.
    pub queued: usize,
    /// Bytes of larger request bodies that are held in memory.
    pub buffered: usize,
}

/// The gauges of one worker at one moment.
#[derive(Clone, Debug)]
pub struct WorkerGauges {
    /// The worker.
    pub worker: Arc<WorkerTelemetry>,
    /// Whether it can be chosen.
    pub is_healthy: bool,
    /// The state of its circuit breaker.
    pub breaker: BreakerState,
    /// Requests in flight on it, from this router.
    pub in_flight: u32,
    /// Requests waiting on it, by its last load report and what was sent and finished since.
    pub waiting: Option<u32>,
    /// The age of its last load report.
    pub report_age: Option<Duration>,
    /// Whether it missed a weight update.
    pub has_outdated_weights: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct GaugeFamilies {
    running: Family<WorkerLabel, Gauge>,
    health: Family<WorkerLabel, Gauge>,
    breaker: Family<WorkerLabel, Gauge>,
    load: Family<WorkerLabel, Gauge>,
    report_age: Family<WorkerLabel, FloatGauge>,
    outdated_weights: Family<WorkerLabel, Gauge>,
    score: Family<PolicyWorkerLabels, FloatGauge>,
    term: Family<TermLabels, FloatGauge>,
    figure: Family<FigureLabels, FloatGauge>,
    active_workers: Gauge,
    max_load: Gauge,
    min_load: Gauge,
    queued: Gauge,
    buffered: Gauge,
}

impl GaugeFamilies {
    pub(crate) fn new(r: &mut Registry) -> Self {
        let load = "Requests waiting on a worker, by its last report and what was sent and finished since";
        let score = "The policy's current score of a worker: minus its cost, higher is better";
        Self {
            running: family(r, "running_requests", "Requests in flight on a worker, from this router"),
            health: family(r, "worker_health", "1 if the worker can be chosen, else 0"),
            breaker: family(r, "worker_cb_state", "Circuit breaker: 0 closed, 1 open, 2 half-open"),
            load: family(r, "worker_load", load),
            report_age: family(r, "load_report_age_seconds", "Age of a worker's last load report"),
            outdated_weights: family(
                r,
                "worker_outdated_weights",
                "1 if the worker missed a weight update and has not caught up, else 0",
            ),
            score: family(r, "policy_score", score),
            term: family(r, "policy_term", "The terms of that score, by name; see the policy's page"),
            figure: family(r, "policy_figure", "Figures about the policy as a whole; see its page"),
            active_workers: gauge(r, "active_workers", "Workers that can be chosen"),
            max_load: gauge(r, "max_load", "Most requests in flight on one worker"),
            min_load: gauge(r, "min_load", "Fewest requests in flight on one worker"),
            queued: gauge(r, "queued_requests", "Requests that wait in the router for admission"),
            buffered: gauge(r, "buffered_body_bytes", "Bytes of larger request bodies held in memory"),
        }
    }

    /// Sets all gauges, for all balancers. Unknown values and workers that left have no sample.
    pub(crate) fn set(&self, all: &[BalancerGauges]) {
        self.running.clear();
        self.health.clear();
        self.breaker.clear();
        self.load.clear();
        self.report_age.clear();
        self.outdated_weights.clear();
        let workers = || all.iter().flat_map(|gauges| &gauges.workers);
        for w in workers() {
            let label = WorkerLabel { worker: Arc::clone(&w.worker.name) };
            self.running.get_or_create(&label).set(w.in_flight.into());
            self.health.get_or_create(&label).set(w.is_healthy.into());
            self.breaker.get_or_create(&label).set(w.breaker.number().into());
            self.outdated_weights.get_or_create(&label).set(w.has_outdated_weights.into());
            if let Some(waiting) = w.waiting {
                self.load.get_or_create(&label).set(waiting.into());
            }
            if let Some(age) = w.report_age {
                self.report_age.get_or_create(&label).set(age.as_secs_f64());
            }
        }
        let in_flight = workers().map(|w| i64::from(w.in_flight));
        self.max_load.set(in_flight.clone().max().unwrap_or(0));
        self.min_load.set(in_flight.min().unwrap_or(0));
        let active = workers().filter(|w| w.is_healthy).count();
        self.active_workers.set(i64::try_from(active).unwrap_or(i64::MAX));
        // The main balancer comes first; all requests are admitted there.
        let (queued, buffered) = all.first().map_or((0, 0), |main| (main.queued, main.buffered));
        self.queued.set(i64::try_from(queued).unwrap_or(i64::MAX));
        self.buffered.set(i64::try_from(buffered).unwrap_or(i64::MAX));
        self.score.clear();
        self.term.clear();
        self.figure.clear();
        all.iter().for_each(|gauges| self.set_policy(gauges));
    }

    fn set_policy(&self, gauges: &BalancerGauges) {
        let policy = &gauges.policy;
        for (worker, score) in &gauges.scores {
            let (policy, worker) = (|| Arc::clone(policy), Arc::clone(&worker.name));
            let label = PolicyWorkerLabels { policy: policy(), worker: Arc::clone(&worker) };
            self.score.get_or_create(&label).set(-score.cost);
            for term in score.terms.as_slice() {
                let label = TermLabels { policy: policy(), worker: Arc::clone(&worker), term: term.name };
                self.term.get_or_create(&label).set(term.value);
            }
        }
        for (figure, value) in &gauges.figures {
            self.figure.get_or_create(&FigureLabels { policy: Arc::clone(policy), figure }).set(*value);
        }
    }
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}
