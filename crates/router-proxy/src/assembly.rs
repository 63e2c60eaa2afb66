//! Builds what requests share from a checked configuration.

use crate::admission::Admission;
use crate::hedge_delay::HedgeDelay;
use crate::large_body::LargeBodyWork;
use crate::prefill_pool::PrefillPool;
use crate::request_id::RequestIds;
use crate::retry_budget::RetryBudget;
use crate::security::{Authenticator, Cors, Forwarding, TrustedProxies};
use crate::start_error::StartError;
use crate::state::{AppState, PodsStatus};
use router_config::{
    AccessLogConfig, AdmissionConfig, Config, DisaggregationConfig, FleetConfig, SecurityConfig,
};
use router_core::{Balancer, PolicyNeeds};
use router_telemetry::{
    AccessLog, AccessLogError, Buckets, Clock, DecisionBroadcast, Metrics, RecordedPool, Recorder,
    RecorderConfig, Telemetry, TraceIds,
};
use router_upstream::{CapacityQueue, ConnectConfig, FleetWeights, PoolConfig, WaitLimit, WorkerPool};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What the pools of one router have in common.
struct PoolTemplate<'a> {
    clock: Clock,
    fleet: &'a FleetConfig,
    connect: &'a ConnectConfig,
    admission: &'a AdmissionConfig,
    limit: &'a Arc<WaitLimit>,
    weights: Arc<FleetWeights>,
}

/// Builds the state, with all workers that the configuration names in their pools.
pub(crate) fn state(config: Config, connect: ConnectConfig) -> Result<AppState, StartError> {
    let seed = config.seed.unwrap_or_else(router_telemetry::random_seed);
    let clock = Clock::start();
    let limit = WaitLimit::new(config.admission.queue_size);
    let template = PoolTemplate {
        clock,
        fleet: &config.fleet,
        connect: &connect,
        admission: &config.admission,
        limit: &limit,
        weights: Arc::default(),
    };
    let mut balancer = Balancer::new(config.policy, seed);
    for (n, shadow) in (1u64..).zip(config.shadows) {
        balancer.add_shadow(clock.now(), shadow, seed.wrapping_add(n));
    }
    let buckets = config.duration_buckets.as_deref().map(Buckets::new);
    let metrics = Metrics::with_options(balancer.policy_name(), buckets, config.metrics_per_worker);
    let metrics = if config.disaggregation.is_some() { metrics.with_legs() } else { metrics };
    let metrics = Arc::new(metrics);
    let split = config.disaggregation.map(|split| PrefillPlan::new(split, &metrics));
    let (traces, collector) = (config.traces, config.otlp.as_ref());
    let prefill = split.as_ref().and_then(|s| Some((s.config.record.as_ref()?, &s.metrics)));
    let wanted = RecorderConfig { files: config.record.as_ref(), prefill, traces, collector };
    let recorder =
        if wanted.is_needed() { Some(Arc::new(Recorder::start(wanted, clock, &metrics)?)) } else { None };
    let decisions = Arc::new(DecisionBroadcast::new(clock));
    let telemetry = Telemetry { metrics, pool: RecordedPool::Main, recorder, decisions };
    let mut needs = balancer.needs();
    let pool = template.pool(balancer, telemetry.clone(), config.workers.len());
    let disaggregation = match split {
        Some(split) => {
            let (prefill, prefill_needs) = split.build(&template, &telemetry, seed)?;
            // The request is scanned once for both; each pool polls its own workers, and a client that names a worker
            // means one that decodes.
            needs = needs.or(PolicyNeeds { load_reports: false, target_worker: false, ..prefill_needs });
            Some(prefill)
        }
        None => None,
    };
    pool.join_all(&config.workers)?;
    let access_log = access_log(config.access_log.as_ref(), clock, &pool.telemetry.metrics)?;
    Ok(AppState {
        clock,
        pool,
        disaggregation,
        discovery: PodsStatus::default(),
        needs,
        trusted_proxies: TrustedProxies::new(&config.forwarding),
        forwarding: Forwarding::new(config.forwarding.headers, scheme(&config.security)),
        access_log,
        admission: Admission::new(&config.admission, limit),
        authenticator: Authenticator::new(&config.security),
        cors: config.security.cors.map(|origins| Cors::new(origins, &config.requests.worker_headers)),
        limits: config.requests,
        budget: RetryBudget::new(config.retry.budget),
        hedging: config.retry.hedge.map(HedgeDelay::new),
        retry: config.retry,
        ids: RequestIds::new(),
        large_bodies: LargeBodyWork::new(),
        trace_ids: collector.map(|_| TraceIds::new()),
        stopping: AtomicBool::new(false),
    })
}

fn access_log(
    config: Option<&AccessLogConfig>,
    clock: Clock,
    metrics: &Arc<Metrics>,
) -> Result<Option<Arc<AccessLog>>, AccessLogError> {
    config.map(|config| AccessLog::start(config, clock, metrics).map(Arc::new)).transpose()
}

/// The protocol that clients speak with the router.
pub(crate) const fn scheme(security: &SecurityConfig) -> &'static str {
    if security.tls.is_some() { "https" } else { "http" }
}

impl PoolTemplate<'_> {
    /// A pool without workers.
    fn pool(&self, mut balancer: Balancer, telemetry: Telemetry, workers_at_start: usize) -> Arc<WorkerPool> {
        let cap = self.admission.worker_max_in_flight;
        balancer.set_cap(cap);
        balancer.set_overload_bounds(self.admission.overload);
        balancer.set_batch_window(self.admission.batch_window);
        let limit = Arc::clone(self.limit);
        let capacity = CapacityQueue::new(cap, limit, self.admission.queue_timeout);
        let (fleet, connect) = (self.fleet.clone(), self.connect.clone());
        Arc::new(WorkerPool::new(
            balancer,
            PoolConfig {
                clock: self.clock,
                telemetry,
                fleet,
                connect,
                capacity,
                weights: Arc::clone(&self.weights),
                workers_at_start,
            },
        ))
    }
}

/// The second pool of a router where prefill and decode are apart.
struct PrefillPlan {
    config: DisaggregationConfig,
    metrics: Arc<Metrics>,
}

impl PrefillPlan {
    fn new(config: DisaggregationConfig, metrics: &Metrics) -> Self {
        let metrics = Arc::new(metrics.for_pool(config.policy.name()));
        Self { config, metrics }
    }

    fn build(
        self,
        template: &PoolTemplate<'_>,
        main: &Telemetry,
        seed: u64,
    ) -> Result<(PrefillPool, PolicyNeeds), StartError> {
        // The complement is another stream of random numbers than that of the first pool.
        let balancer = Balancer::new(self.config.policy, !seed);
        let needs = balancer.needs();
        let telemetry = Telemetry { metrics: self.metrics, pool: RecordedPool::Prefill, ..main.clone() };
        let pool = template.pool(balancer, telemetry, self.config.prefill.len());
        pool.join_all(&self.config.prefill)?;
        Ok((PrefillPool::new(self.config.protocol, pool, seed), needs))
    }
}
