//! Workers of one kind, with the balancer that chooses among them.

use crate::candidate::Candidate;
use crate::capacity_queue::{Availability, CapacityQueue};
use crate::connect::ConnectConfig;
use crate::fleet_log::FleetLog;
use crate::fleet_weights::FleetWeights;
use crate::health::HealthState;
use crate::load::WorkerLoad;
use crate::pool_model::PoolModel;
use crate::shared_needs::SharedNeeds;
use crate::stored_objects::StoredObjects;
use crate::table::CandidateTable;
use crate::wait_queue::{WaitOrder, WaitQueue};
use crate::worker::Worker;
use parking_lot::Mutex;
use router_config::FleetConfig;
use router_core::{Balancer, CandidateScore, RequestFeatures, ScalingSignals, WaitingRequests, WorkerId};
use router_telemetry::{BalancerGauges, Clock, RetryReason, Telemetry, WorkerTelemetry};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The most candidates whose load is read while the balancer is locked: it takes a microsecond or two.
const LOADS_PER_LOCK: usize = 64;

/// Workers of one kind, with the balancer that chooses among them and the tasks that watch them.
///
/// A router has one, or two where prefill and decode are apart.
#[derive(Debug)]
pub struct WorkerPool {
    /// The clock of the router.
    pub clock: Clock,
    /// Chooses among the candidates; the only place where requests in flight are counted.
    pub balancer: Mutex<Balancer>,
    /// The request features that the policies of this balancer need.
    pub needs: SharedNeeds,
    /// The candidates that the balancer chooses among.
    pub candidates: Arc<CandidateTable>,
    /// The model that its workers serve.
    pub model: PoolModel,
    /// Where decisions and completions are reported.
    pub telemetry: Telemetry,
    /// Which worker holds a stored response or a conversation.
    pub stored: StoredObjects,
    /// Requests that wait because every worker is at its cap.
    pub capacity: CapacityQueue,
    /// Requests that wait because no worker is in service.
    pub unavailable: WaitQueue,
    /// How workers are checked, polled and drained.
    pub(crate) fleet: FleetConfig,
    /// How workers are connected to.
    pub(crate) connect: ConnectConfig,
    /// Held while the set of candidates changes.
    pub(crate) joining: Mutex<()>,
    /// The weight updates of the router's fleet, which all its pools share.
    pub weights: Arc<FleetWeights>,
    /// Before the ids of its candidates.
    id_prefix: String,
    /// What its workers do, in metrics.
    pub side: &'static str,
    /// What happens to workers, in the log.
    pub(crate) log: Arc<FleetLog>,
    /// From when the timers of all workers count.
    pub(crate) started_at: Instant,
    /// All background tasks.
    pub tasks: TaskTracker,
    /// Cancelled when the router stops: draining workers are not waited for.
    pub stopping: CancellationToken,
}

/// The parts of a new pool.
#[derive(Debug)]
pub struct PoolConfig {
    /// The clock of the router.
    pub clock: Clock,
    /// The model that its workers serve.
    pub model: PoolModel,
    /// Where decisions and completions are reported.
    pub telemetry: Telemetry,
    /// How workers are checked, polled and drained.
    pub fleet: FleetConfig,
    /// How workers are connected to.
    pub connect: ConnectConfig,
    /// Where requests wait while every worker is at its cap.
    pub capacity: CapacityQueue,
    /// The weight updates of the router's fleet.
    pub weights: Arc<FleetWeights>,
    /// Before the ids of its candidates, so that no other pool of the router has the same.
    pub id_prefix: String,
    /// What its workers do, in metrics: `main`, or `prefill` where prefill and decode are apart.
    pub side: &'static str,
    /// How many workers are configured, and join at the start.
    pub workers_at_start: usize,
}

impl WorkerPool {
    /// A pool without workers.
    pub fn new(balancer: Balancer, config: PoolConfig) -> Self {
        let PoolConfig {
            clock,
            model,
            telemetry,
            fleet,
            connect,
            capacity,
            weights,
            id_prefix,
            side,
            workers_at_start,
        } = config;
        let candidates = Arc::<CandidateTable>::default();
        let (tasks, stopping) = (TaskTracker::new(), CancellationToken::new());
        let log = FleetLog::new(workers_at_start, Arc::clone(&candidates), tasks.clone(), stopping.clone());
        Self {
            clock,
            model,
            needs: SharedNeeds::new(balancer.needs(), fleet.load_polls),
            balancer: Mutex::new(balancer),
            candidates,
            telemetry,
            stored: StoredObjects::default(),
            capacity,
            unavailable: WaitQueue::new(WaitOrder::EachInTurn),
            fleet,
            connect,
            joining: Mutex::new(()),
            weights,
            id_prefix,
            side,
            log: Arc::new(log),
            started_at: Instant::now(),
            tasks,
            stopping,
        }
    }

    /// The id of a candidate among those of all pools.
    pub fn public_id(&self, candidate: &Candidate) -> String {
        format!("{}{}", self.id_prefix, candidate.id)
    }

    /// Whether the candidate is one of this pool.
    pub fn has(&self, candidate: &Arc<Candidate>) -> bool {
        self.candidates.get(candidate.id).is_some_and(|own| Arc::ptr_eq(&own, candidate))
    }

    /// Whether the worker is one of this pool, rather than one of the same server in another.
    pub fn has_worker(&self, worker: &Arc<Worker>) -> bool {
        self.candidates.of(worker).iter().any(|candidate| Arc::ptr_eq(&candidate.worker, worker))
    }

    /// Ends the background tasks.
    pub fn stop_tasks(&self) {
        self.stopping.cancel();
        self.tasks.close();
        for candidate in self.candidates.all() {
            candidate.worker.removed.cancel();
        }
    }

    /// How many candidates get requests now.
    pub fn healthy(&self) -> usize {
        self.healthy_candidates().len()
    }

    /// The candidates that get requests now.
    pub fn healthy_candidates(&self) -> Vec<Arc<Candidate>> {
        let in_service =
            |c: &Arc<Candidate>| c.health() == HealthState::Healthy && !self.excludes_weights_of(&c.worker);
        self.candidates.all().into_iter().filter(in_service).collect()
    }

    /// Whether a worker gets no requests because it missed a weight update.
    pub fn excludes_weights_of(&self, worker: &Worker) -> bool {
        !self.fleet.allow_outdated_weights && worker.has_outdated_weights()
    }

    /// Time limit of a control call to one worker.
    pub const fn control_timeout(&self) -> Duration {
        self.fleet.control_timeout
    }

    /// Whether a candidate that is not in `excluded` is merely at its cap.
    pub fn availability(&self, features: &RequestFeatures<'_>, excluded: &[WorkerId]) -> Availability {
        if self.balancer.lock().has_routable(features, excluded) {
            Availability::AtCapacity
        } else {
            Availability::Unavailable
        }
    }

    /// Whether waiting may help where no candidate can be chosen now: when none is healthy, or when the `last` attempt
    /// was lost with its connection, because a worker may be down before a health check finds it. A request that names its
    /// worker waits for that worker, and not at all when that worker is not in the fleet.
    pub fn may_become_available(&self, features: &RequestFeatures<'_>, last: Option<RetryReason>) -> bool {
        let disconnected = last == Some(RetryReason::Disconnected);
        let target = self.balancer.lock().target(features);
        let Some(slot) = target else { return disconnected || self.healthy_candidates().is_empty() };
        let candidate = self.candidates.all().into_iter().find(|c| c.id.slot() == slot);
        candidate.is_some_and(|c| disconnected || c.health() != HealthState::Healthy)
    }

    /// Whether a worker has requests in flight, from this router.
    pub(crate) fn has_requests(&self, worker: &Arc<Worker>) -> bool {
        let ranks = self.candidates.of(worker);
        let balancer = self.balancer.lock();
        ranks.iter().any(|rank| balancer.view(rank.id).is_some_and(|w| w.in_flight > 0))
    }

    /// The gauges of this pool now. The router adds waiting requests and held bytes.
    pub fn gauges(&self) -> BalancerGauges {
        let mut figures = Vec::new();
        self.balancer.lock().gauges(&mut |name, value| figures.push((name, value)));
        let loads = self.worker_loads();
        // The balancer is not locked any more: a gauge asks for the health, which is locked before the balancer, never after it.
        let workers: Vec<_> = loads.iter().map(WorkerLoad::gauges).collect();
        let count = |state| loads.iter().filter(|load| load.worker.health() == state).count();
        let states = HealthState::IN_FLEET.map(|state| (state.as_str(), count(state))).to_vec();
        let scores = if self.telemetry.metrics.needs_scores() { self.scores() } else { Vec::new() };
        let policy = self.telemetry.metrics.policy();
        let waiting = self.capacity.waiting() + self.unavailable.waiting();
        let model = self.model.name();
        BalancerGauges {
            policy,
            model,
            waiting,
            workers,
            states,
            scores,
            figures,
            ..BalancerGauges::default()
        }
    }

    /// The figures from which this pool is scaled, where the router lets so many requests wait.
    pub fn scaling(&self, waiting: WaitingRequests) -> ScalingSignals {
        self.balancer.lock().scaling(self.clock.now(), waiting)
    }

    /// The policy's score of each candidate, for a request without any features.
    fn scores(&self) -> Vec<(Arc<WorkerTelemetry>, CandidateScore)> {
        let opinion = self.balancer.lock().peek(self.clock.now(), &RequestFeatures::default());
        let telemetry = |id| Some(Arc::clone(&self.candidates.get(id)?.telemetry));
        let scores = opinion.map(|o| o.scores).unwrap_or_default();
        scores.into_iter().filter_map(|s| Some((telemetry(s.worker)?, s))).collect()
    }

    /// All candidates with their load. Requests can be routed in between, because thousands of them take their time: figures
    /// of candidates that stand far apart are some microseconds apart.
    pub fn worker_loads(&self) -> Vec<WorkerLoad> {
        let of = |few: &[Arc<Candidate>]| {
            let balancer = self.balancer.lock();
            let now = self.clock.now();
            few.iter().filter_map(|c| WorkerLoad::of(&balancer, c, now)).collect::<Vec<_>>()
        };
        self.candidates.all().chunks(LOADS_PER_LOCK).flat_map(of).collect()
    }

    /// One candidate with its load, unless it left.
    pub fn worker_load(&self, candidate: &Arc<Candidate>) -> Option<WorkerLoad> {
        WorkerLoad::of(&self.balancer.lock(), candidate, self.clock.now())
    }
}
