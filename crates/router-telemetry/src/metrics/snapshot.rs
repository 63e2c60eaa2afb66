//! Gauges: what is read from the balancers and the workers when metrics are rendered.
//!
//! Unknown values and workers that left have no sample.

use super::scale::{SCALE_GAUGES, ScaleGauges};
use crate::breaker_state::BreakerState;
use crate::worker::WorkerTelemetry;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet};
use prometheus_client::metrics::MetricType;
use router_core::CandidateScore;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The gauges of one balancer and its policy at one moment.
#[derive(Debug, Default)]
pub struct BalancerGauges {
    /// The policy's name.
    pub policy: Arc<str>,
    /// The model that the workers serve, once it is known.
    pub model: Option<Arc<str>>,
    /// Requests that wait for a worker of this balancer.
    pub waiting: usize,
    /// One entry per worker.
    pub workers: Vec<WorkerGauges>,
    /// How many workers are in each state of health, by its name.
    pub states: Vec<(&'static str, usize)>,
    /// The policy's score of each worker, where it compares scores.
    pub scores: Vec<(Arc<WorkerTelemetry>, CandidateScore)>,
    /// Figures about the policy as a whole.
    pub figures: Vec<(&'static str, f64)>,
    /// What the pool is scaled by.
    pub scale: Option<ScaleGauges>,
    /// Requests that wait in the router for admission.
    pub queued: usize,
    /// Bytes of larger request bodies that are held in memory.
    pub buffered: usize,
    /// Discovery of workers; `None` without it.
    pub discovery: Option<DiscoveryGauges>,
}

/// How well the router knows the workers that it is to discover.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiscoveryGauges {
    /// Whether the source of the workers is watched now.
    pub is_current: bool,
    /// The time since the source told something last; `None` until it has.
    pub age: Option<Duration>,
    /// How often everything was listed.
    pub lists: u64,
    /// Changes that were told.
    pub events: u64,
    /// Requests to the source that failed.
    pub failures: u64,
}

/// The gauges of one worker at one moment.
#[derive(Clone, Debug)]
pub struct WorkerGauges {
    /// The worker.
    pub worker: Arc<WorkerTelemetry>,
    /// What it is: labels and their values, empty where unknown.
    pub info: Vec<(&'static str, String)>,
    /// Whether it can be chosen.
    pub is_healthy: bool,
    /// The state of its circuit breaker.
    pub breaker: BreakerState,
    /// Requests in flight on it, from this router.
    pub in_flight: u32,
    /// Requests waiting on it, by its last load report and what was sent and finished since.
    pub waiting: Option<u32>,
    /// Whether it gets no requests while another worker can take them, because of the load that it reports.
    pub is_overloaded: bool,
    /// The age of its last load report.
    pub report_age: Option<Duration>,
    /// Whether it missed a weight update.
    pub has_outdated_weights: bool,
}

/// All gauges of a router at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The main balancer comes first; all requests are admitted there.
    pub(crate) balancers: Vec<BalancerGauges>,
    /// Whether each worker has series of its own.
    pub(crate) is_per_worker: bool,
}

/// A sample's labels and its value.
type Sample<'a, V> = (Vec<(&'static str, &'a str)>, V);

impl Snapshot {
    /// Writes all gauges.
    pub(crate) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_fleet(encoder)?;
        self.encode_models(encoder)?;
        self.encode_scale(encoder)?;
        self.encode_policies(encoder)?;
        if self.is_per_worker { self.encode_workers(encoder) } else { Ok(()) }
    }

    fn workers(&self) -> impl Iterator<Item = &WorkerGauges> {
        self.balancers.iter().flat_map(|balancer| &balancer.workers)
    }

    fn encode_fleet(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let in_flight = || self.workers().map(|w| i64::from(w.in_flight));
        let count = |keep: fn(&WorkerGauges) -> bool| number(self.workers().filter(|w| keep(w)).count());
        let admitted =
            |of: fn(&BalancerGauges) -> usize| self.balancers.first().map_or(0, |main| number(of(main)));
        let waiting = self.workers().filter_map(|w| w.waiting).map(i64::from).sum();
        for (name, help, value) in [
            (
                "metrics_per_worker",
                "1 if metrics have series for each worker, else 0",
                self.is_per_worker.into(),
            ),
            ("active_workers", "Workers that can be chosen", count(|w| w.is_healthy)),
            ("max_load", "Most requests in flight on one worker", in_flight().max().unwrap_or(0)),
            ("min_load", "Fewest requests in flight on one worker", in_flight().min().unwrap_or(0)),
            (
                "fleet_running_requests",
                "Requests in flight on all workers, from this router",
                in_flight().sum(),
            ),
            ("fleet_load", "Requests waiting on all workers whose load is known", waiting),
            (
                "fleet_overloaded",
                "Workers that get no requests while another one can take them, because of the load that they report",
                count(|w| w.is_overloaded),
            ),
            (
                "fleet_outdated_weights",
                "Workers that missed a weight update and have not caught up",
                count(|w| w.has_outdated_weights),
            ),
            (
                "queued_requests",
                "Requests that wait in the router for admission",
                admitted(|main| main.queued),
            ),
            (
                "buffered_body_bytes",
                "Bytes of larger request bodies held in memory",
                admitted(|main| main.buffered),
            ),
        ] {
            encode_gauges(encoder, [name, help], [(Vec::new(), value)])?;
        }
        self.encode_discovery(encoder)?;
        self.encode_states(encoder)
    }

    /// Nothing without discovery.
    fn encode_discovery(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(discovery) = self.balancers.first().and_then(|main| main.discovery) else { return Ok(()) };
        let help = "1 while the source of workers is watched, 0 while it cannot be reached";
        let is_current = [(Vec::new(), i64::from(discovery.is_current))];
        encode_gauges(encoder, ["discovery_up", help], is_current)?;
        let age = discovery.age.map(|age| (Vec::new(), age.as_secs_f64()));
        let help = "Time since the source of workers told something last";
        encode_gauges(encoder, ["discovery_age_seconds", help], age)?;
        for (name, help, value) in [
            ("discovery_lists", "How often all workers were listed", discovery.lists),
            ("discovery_events", "Changes of workers that were watched", discovery.events),
            ("discovery_failures", "Requests to the source of workers that failed", discovery.failures),
        ] {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            metric.encode_counter::<NoLabelSet, u64, f64>(&value, None)?;
        }
        Ok(())
    }

    /// How many workers are in each state, and how old the oldest load report is.
    fn encode_states(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut states: Vec<(&str, usize)> = Vec::new();
        for (state, workers) in self.balancers.iter().flat_map(|balancer| &balancer.states) {
            match states.iter_mut().find(|(name, _)| name == state) {
                Some((_, sum)) => *sum += workers,
                None => states.push((state, *workers)),
            }
        }
        let states = states.iter().map(|(state, workers)| (vec![("state", *state)], number(*workers)));
        encode_gauges(encoder, ["fleet_workers", "Workers by state of health"], states)?;
        let breakers = BreakerState::ALL.map(|state| {
            let workers = self.workers().filter(|w| w.breaker == state).count();
            (vec![("state", state.as_str())], number(workers))
        });
        encode_gauges(encoder, ["fleet_breakers", "Workers by state of their circuit breaker"], breakers)?;
        let ages = self.workers().filter_map(|w| Some((w.report_age?, w.in_flight > 0)));
        let of_busy = ages.map(|(age, is_busy)| if is_busy { age } else { Duration::ZERO });
        let oldest = of_busy.max().map(|age| (Vec::new(), age.as_secs_f64()));
        let help =
            "Age of the oldest last load report of a worker with requests in flight, 0 while there is none";
        encode_gauges(encoder, ["fleet_load_report_age_seconds", help], oldest)
    }

    /// The balancers by model, where it is known.
    fn encode_models(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let known = || self.balancers.iter().filter_map(|b| Some((&**b.model.as_ref()?, b)));
        let states = known().flat_map(|(model, balancer)| {
            let sample = move |(state, count): &(&'static str, usize)| {
                (vec![("model", model), ("state", *state)], number(*count))
            };
            balancer.states.iter().map(sample)
        });
        encode_gauges(encoder, ["model_workers", "Workers of a model by state of health"], states)?;
        let in_flight = |b: &BalancerGauges| b.workers.iter().map(|w| i64::from(w.in_flight)).sum::<i64>();
        let running = known().map(|(model, balancer)| (vec![("model", model)], in_flight(balancer)));
        let help = "Requests in flight on the workers of a model, from this router";
        encode_gauges(encoder, ["model_running_requests", help], running)?;
        let waiting = known().map(|(model, balancer)| (vec![("model", model)], number(balancer.waiting)));
        let help = "Requests that wait in the router for a worker of a model";
        encode_gauges(encoder, ["model_waiting_requests", help], waiting)
    }

    fn encode_scale(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in SCALE_GAUGES {
            let pools = self.balancers.iter().filter_map(|balancer| balancer.scale.as_ref());
            let samples = pools.filter_map(|pool| Some((scale_labels(pool), value(pool)?)));
            encode_gauges(encoder, [name, help], samples)?;
        }
        Ok(())
    }

    fn encode_workers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let gauges = |of: fn(&WorkerGauges) -> Option<i64>| {
            self.workers().filter_map(move |w| Some((vec![("worker", &*w.worker.name)], of(w)?)))
        };
        let load = "Requests waiting on a worker, by its last report and what was sent and finished since";
        let running = "Requests in flight on a worker, from this router";
        let overloaded = "1 if the worker gets no requests while another one can take them, because of the load that it reports, else 0";
        let outdated = "1 if the worker missed a weight update and has not caught up, else 0";
        encode_gauges(encoder, ["running_requests", running], gauges(|w| Some(w.in_flight.into())))?;
        encode_gauges(
            encoder,
            ["worker_health", "1 if the worker can be chosen, else 0"],
            gauges(|w| Some(w.is_healthy.into())),
        )?;
        encode_gauges(
            encoder,
            ["worker_cb_state", "Circuit breaker: 0 closed, 1 open, 2 half-open"],
            gauges(|w| Some(w.breaker.number().into())),
        )?;
        encode_gauges(encoder, ["worker_load", load], gauges(|w| w.waiting.map(i64::from)))?;
        encode_gauges(encoder, ["worker_overloaded", overloaded], gauges(|w| Some(w.is_overloaded.into())))?;
        encode_gauges(
            encoder,
            ["worker_outdated_weights", outdated],
            gauges(|w| Some(w.has_outdated_weights.into())),
        )?;
        let infos = self.workers().map(|w| {
            let known = w.info.iter().map(|(label, value)| (*label, value.as_str()));
            (std::iter::once(("worker", &*w.worker.name)).chain(known).collect::<Vec<_>>(), 1)
        });
        encode_gauges(encoder, ["worker_info", "1; the labels tell what the worker is"], infos)?;
        let ages = self
            .workers()
            .filter_map(|w| Some((vec![("worker", &*w.worker.name)], w.report_age?.as_secs_f64())));
        encode_gauges(encoder, ["load_report_age_seconds", "Age of a worker's last load report"], ages)
    }

    /// Scores are there only when workers have series of their own.
    fn encode_policies(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let scores = || self.balancers.iter().flat_map(scores_of);
        let help = "The policy's current score of a worker: minus its cost, higher is better";
        let costs = scores().map(|(labels, score)| (labels, -score.cost));
        encode_gauges(encoder, ["policy_score", help], costs)?;
        let terms = scores().flat_map(|(labels, score)| {
            score.terms.as_slice().iter().map(move |term| {
                let mut labels = labels.clone();
                labels.push(("term", term.name));
                (labels, term.value)
            })
        });
        let help = "The terms of that score, by name; see the policy's page";
        encode_gauges(encoder, ["policy_term", help], terms)?;
        let figures = self.balancers.iter().flat_map(|balancer| {
            let policy = &*balancer.policy;
            balancer
                .figures
                .iter()
                .map(move |(name, value)| (vec![("policy", policy), ("figure", *name)], *value))
        });
        let help = "Figures about the policy as a whole; see its page";
        encode_gauges(encoder, ["policy_figure", help], figures)
    }
}

/// The pool, and its model where that is known.
fn scale_labels(of: &ScaleGauges) -> Vec<(&'static str, &str)> {
    let model = of.model.as_deref().map(|model| ("model", model));
    std::iter::once(("pool", of.pool)).chain(model).collect()
}

/// The scores of one policy, with their labels.
fn scores_of(balancer: &BalancerGauges) -> impl Iterator<Item = Sample<'_, &CandidateScore>> {
    let policy = &*balancer.policy;
    balancer
        .scores
        .iter()
        .map(move |(worker, score)| (vec![("policy", policy), ("worker", &*worker.name)], score))
}

/// Writes a family of gauges, unless it has no sample.
fn encode_gauges<'a, V: EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder<'_>,
    [name, help]: [&str; 2],
    samples: impl IntoIterator<Item = Sample<'a, V>>,
) -> fmt::Result {
    let mut samples = samples.into_iter().peekable();
    if samples.peek().is_none() {
        return Ok(());
    }
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in samples {
        if labels.is_empty() {
            family.encode_gauge(&value)?;
        } else {
            family.encode_family(&labels.as_slice())?.encode_gauge(&value)?;
        }
    }
    Ok(())
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
