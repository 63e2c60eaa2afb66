//! Builds what requests share from a checked configuration.

use crate::admission::Admission;
use crate::carried::OpenRoutes;
use crate::large_body::LargeBodyWork;
use crate::live_config::LiveConfig;
use crate::live_settings::LiveSettings;
use crate::models::{GroupFactory, Models, PrefillPlan, WorkersAtStart};
use crate::request_id::RequestIds;
use crate::retry_budget::RetryBudget;
use crate::security::{Authenticator, Cors, Forwarding, TrustedProxies};
use crate::start_error::StartError;
use crate::state::{AppState, PodsStatus};
use crate::viewers::Viewers;
use arc_swap::ArcSwap;
use router_config::{
    AccessLogConfig, Config, DisaggregationConfig, ModelRouting, SecurityConfig, WorkerSpec,
};
use router_telemetry::{
    AccessLog, AccessLogError, Buckets, Clock, DecisionBroadcast, Metrics, RecordedPool, Recorder,
    RecorderConfig, Telemetry, TraceIds,
};
use router_upstream::{ConnectConfig, DirectoryLink, WaitLimit};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::runtime::Handle;

/// Builds the state, with all workers that the configuration names in their pools.
pub(crate) fn state(config: Config, connect: ConnectConfig) -> Result<AppState, StartError> {
    let live_config = LiveConfig::new(&config);
    let seed = config.seed.unwrap_or_else(router_telemetry::random_seed);
    let clock = Clock::start();
    let limit = WaitLimit::new(config.admission.queue_size);
    let telemetry = telemetry(&config, clock)?;
    let (split, prefill) = config.disaggregation.map(split_off).unzip();
    let prefill = prefill.unwrap_or_default();
    let directory = (config.models.routing != ModelRouting::Off).then(DirectoryLink::default);
    let factory = GroupFactory {
        clock,
        fleet: config.fleet,
        connect,
        admission: config.admission,
        scaling: config.scaling,
        limit: Arc::clone(&limit),
        seed,
        policy: config.policy,
        shadows: config.shadows,
        prefill: split,
        telemetry,
        record: config.record,
        directory,
        made: 0,
        changes: 0,
        next_pool: RecordedPool::MAIN,
    };
    let admission = Admission::new(&factory.admission, limit);
    let workers = WorkersAtStart { main: config.workers.len(), prefill: prefill.len() };
    let models = Models::new(config.models, factory, workers)?;
    let main = Arc::clone(&models.first().pool);
    models.join_at_start(&config.workers, &prefill)?;
    let access_log = access_log(config.access_log.as_ref(), clock, &main.telemetry.metrics)?;
    let worker_headers = config.requests.worker_headers.clone();
    let route_lease = config.requests.route_lease;
    let budget = RetryBudget::new(config.retry.budget);
    let settings = LiveSettings::new(models.first().needs(), config.requests, config.retry);
    Ok(AppState {
        clock,
        main,
        config: live_config,
        settings: ArcSwap::from_pointee(settings),
        models,
        discovery: PodsStatus::default(),
        trusted_proxies: TrustedProxies::new(&config.forwarding),
        forwarding: Forwarding::new(config.forwarding.headers, scheme(&config.security)),
        access_log,
        admission,
        authenticator: Authenticator::new(&config.security),
        live: config.security.dashboard.then(|| Viewers::new(Handle::current())),
        cors: config.security.cors.map(|origins| Cors::new(origins, &worker_headers)),
        open_routes: OpenRoutes::new(route_lease),
        budget,
        ids: RequestIds::new(),
        large_bodies: LargeBodyWork::new(),
        trace_ids: config.otlp.is_some().then(TraceIds::new),
        stopping: AtomicBool::new(false),
    })
}

/// What is recorded and counted of requests.
fn telemetry(config: &Config, clock: Clock) -> Result<Telemetry, StartError> {
    let buckets = config.duration_buckets.as_deref().map(Buckets::new);
    let metrics = Metrics::with_options(config.policy.name(), buckets, config.metrics_per_worker);
    let metrics = Arc::new(if config.disaggregation.is_some() { metrics.with_legs() } else { metrics });
    let wanted = RecorderConfig {
        files: config.record.as_ref(),
        traces: config.traces,
        collector: config.otlp.as_ref(),
    };
    let recorder =
        if wanted.is_needed() { Some(Arc::new(Recorder::start(wanted, clock, &metrics)?)) } else { None };
    let decisions = Arc::new(DecisionBroadcast::new(clock));
    Ok(Telemetry { metrics, pool: RecordedPool::MAIN, recorder, decisions, feed: Arc::default() })
}

/// What prefill pools are made of, and the prefill workers at the start.
fn split_off(config: DisaggregationConfig) -> (PrefillPlan, Vec<WorkerSpec>) {
    let DisaggregationConfig { protocol, prefill, policy, record } = config;
    (PrefillPlan { protocol, policy, record }, prefill)
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
