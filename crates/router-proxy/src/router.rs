//! The router: a balancer, its workers, and the server in front of them.

use crate::data_plane::{Admission, Budget, Disaggregation, Hedging, RequestIds, Vacancy};
use crate::error::ProxyError;
use crate::security::{Authenticator, Cors, ServerTls, TlsError, WorkerTls, watch_certificate};
use crate::server::{self, Listeners, ServingThreads, Shutdown};
use crate::stats::RouterStats;
use crate::workers::{Dial, Health, MembershipError, Worker, WorkerLoad, Workers};
use parking_lot::Mutex;
use router_config::WorkerKind;
use router_config::{Config, ConfigError, DisaggregationConfig, FleetConfig, RequestLimits, RetryConfig};
use router_core::{Balancer, Policy, PolicyNeeds, RequestFeatures, WorkerId};
use router_telemetry::Clock;
use router_telemetry::TraceIds;
use router_telemetry::{
    BalancerGauges, Buckets, DecisionBroadcast, DecisionStream, Metrics, Recorder, RecorderConfig,
    RecorderError, RetryReason, Telemetry,
};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

/// What every request and task of one router shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) balancer: Mutex<Balancer>,
    pub(crate) needs: PolicyNeeds,
    pub(crate) workers: Workers,
    /// The workers that read prompts, where those above write the answers; absent when each worker does both.
    pub(crate) disaggregation: Option<Disaggregation>,
    pub(crate) limits: RequestLimits,
    pub(crate) admission: Admission,
    pub(crate) authenticator: Authenticator,
    pub(crate) cors: Option<Cors>,
    pub(crate) retry: RetryConfig,
    pub(crate) budget: Budget,
    /// When second copies are sent; never when absent.
    pub(crate) hedging: Option<Hedging>,
    pub(crate) records: Telemetry,
    pub(crate) ids: RequestIds,
    /// Makes the ids of spans, when spans are exported.
    pub(crate) trace_ids: Option<TraceIds>,
    pub(crate) fleet: FleetConfig,
    /// How workers are reached.
    pub(crate) dial: Dial,
    /// Held while a worker joins.
    pub(crate) joining: Mutex<()>,
    pub(crate) tasks: TaskTracker,
    /// The router stops: leaving workers are not waited for.
    pub(crate) stopping: CancellationToken,
}

/// Why a router did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file that an option names cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The threads that serve clients cannot start.
    #[error("cannot start threads: {0}")]
    Threads(std::io::Error),
    /// Recording cannot start.
    #[error(transparent)]
    Record(#[from] RecorderError),
    /// A worker cannot join.
    #[error("{0}")]
    Worker(String),
}

impl From<MembershipError> for StartError {
    fn from(error: MembershipError) -> Self {
        Self::Worker(error.to_string())
    }
}

/// Starts routers.
#[derive(Clone, Copy, Debug)]
pub struct Router;

/// A router that serves. Dropping it stops it at once; [`shutdown`](Self::shutdown) lets requests end.
#[derive(Debug)]
pub struct RunningRouter {
    shared: Arc<Shared>,
    address: SocketAddr,
    admin: Option<SocketAddr>,
    prometheus: Option<SocketAddr>,
    scheme: &'static str,
    grace: Duration,
    stop: CancellationToken,
    kill: CancellationToken,
    servers: TaskTracker,
    threads: Arc<ServingThreads>,
    tls: Option<ServerTls>,
}

impl Router {
    /// Binds the ports and serves on the caller's runtime. It waits for no worker: requests get 503 until one is
    /// healthy.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub async fn start(config: Config) -> Result<RunningRouter, StartError> {
        Self::start_on(ServingThreads::default(), config).await
    }

    /// The same, with clients served by threads of their own. What the router does in the background stays on the
    /// caller's runtime.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub async fn start_on(threads: ServingThreads, config: Config) -> Result<RunningRouter, StartError> {
        let tls = config.security.tls.map(ServerTls::load).transpose();
        let tls = tls.map_err(|e| ConfigError::option("--tls-cert-path, --tls-key-path", e))?;
        let worker_tls = WorkerTls::load(config.requests.worker_tls.clone());
        let option = "--ca-cert-paths, --client-cert-path, --client-key-path";
        let worker_tls = worker_tls.map_err(|e| ConfigError::option(option, e))?;
        let dial = Dial { connect_timeout: config.requests.connect_timeout, tls: Arc::new(worker_tls) };
        let main = bind(config.listen).await?;
        let admin = bind_if(config.security.admin).await?;
        let metrics = bind_if(config.prometheus).await?;
        let seed = config.seed.unwrap_or_else(entropy);
        let admission = Admission::new(config.admission);
        let mut shared =
            Shared::new((config.requests, admission, config.retry, config.fleet, dial), |clock| {
                let mut balancer = Balancer::new(config.policy, seed);
                for (n, shadow) in (1u64..).zip(config.shadows) {
                    balancer.add_shadow(clock.now(), shadow, seed.wrapping_add(n));
                }
                balancer
            });
        if let Some(bounds) = config.duration_buckets {
            let metrics =
                Metrics::with_duration_buckets(shared.records.metrics.policy(), Buckets::new(&bounds));
            shared.records.metrics = Arc::new(metrics);
        }
        shared.authenticator = Authenticator::new(&config.security.credentials, admin.is_some());
        shared.cors = config.security.cors.map(Cors::new);
        let (traces, collector) = (config.traces, config.otlp.as_ref());
        let wanted = RecorderConfig { files: config.record.as_ref(), prefill: None, traces, collector };
        match config.disaggregation {
            Some(split) => shared.disaggregate(split, wanted, seed)?,
            None => shared.record(wanted)?,
        }
        let shared = Arc::new(shared);
        for worker in &config.workers {
            shared.join(worker)?;
        }
        let (stop, kill, servers) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        let address = main.local_addr().unwrap_or(config.listen);
        let of = |listener: &Option<TcpListener>| listener.as_ref().and_then(|l| l.local_addr().ok());
        let running = RunningRouter {
            address,
            admin: of(&admin),
            prometheus: of(&metrics),
            scheme: if tls.is_some() { "https" } else { "http" },
            grace: config.shutdown_grace,
            stop,
            kill,
            servers,
            threads: Arc::new(threads),
            shared,
            tls: tls.clone(),
        };
        if let Some(tls) = tls.clone() {
            running.shared.tasks.spawn(watch_certificate(tls, running.shared.stopping.clone()));
        }
        let listeners = Listeners { main, admin, metrics, tls, timeouts: config.client_timeouts };
        let shutdown = Shutdown { graceful: running.stop.clone(), force: running.kill.clone() };
        server::spawn(&running.shared, listeners, &running.servers, &running.threads, &shutdown);
        Ok(running)
    }
}

impl RunningRouter {
    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the admin routes are, if they have a port of their own.
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Where metrics are served besides the main port.
    pub const fn prometheus_address(&self) -> Option<SocketAddr> {
        self.prometheus
    }

    /// The base URL of the main port.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Reads the certificate and its key again, as the router does by itself every few seconds. Tells whether they are new.
    ///
    /// # Errors
    /// When a file cannot be used; then the certificate stays as it was.
    pub async fn reload_certificate(&self) -> Result<bool, TlsError> {
        match &self.tls {
            Some(tls) => tls.reload().await,
            None => Ok(false),
        }
    }

    /// Requests in flight on all workers; one that is split counts once for each of its legs.
    pub fn in_flight(&self) -> u64 {
        self.shared.pools().map(|pool| pool.balancer.lock().in_flight()).sum()
    }

    /// How many workers get requests now.
    pub fn healthy_workers(&self) -> usize {
        self.shared.pools().map(Shared::healthy).sum()
    }

    /// Whether requests find a worker: where prefill and decode are apart, one of each kind.
    pub fn is_ready(&self) -> bool {
        self.shared.is_ready()
    }

    /// How it stands now.
    pub fn stats(&self) -> RouterStats {
        self.shared.stats()
    }

    /// Every decision from now on, of all balancers; `capacity` of them may wait to be fetched.
    pub fn decisions(&self, capacity: usize) -> DecisionStream {
        self.shared.records.decisions.subscribe(capacity)
    }

    /// Stops accepting, lets running requests end within the grace period, then cuts what is left.
    /// Returns how many requests were cut.
    pub async fn shutdown(self) -> u64 {
        self.stop.cancel();
        self.servers.close();
        info!(in_flight = self.in_flight(), grace_secs = self.grace.as_secs(), "shutting down");
        let ended = tokio::time::timeout(self.grace, self.servers.wait()).await.is_ok();
        let cut = if ended { 0 } else { self.in_flight() };
        self.kill.cancel();
        self.servers.wait().await;
        for pool in self.shared.pools() {
            pool.stop_tasks();
            pool.tasks.wait().await;
        }
        let shared = Arc::clone(&self.shared);
        let threads = Arc::clone(&self.threads);
        // Writing out what is left may take as long as the disk does.
        let close = move || {
            threads.join();
            shared.records.close();
        };
        let _ = tokio::task::spawn_blocking(close).await;
        cut
    }
}

impl Drop for RunningRouter {
    fn drop(&mut self) {
        self.stop.cancel();
        self.kill.cancel();
        self.shared.pools().for_each(Shared::stop_tasks);
        self.shared.records.close();
    }
}

/// A seed that no other start has.
fn entropy() -> u64 {
    // The standard library's hasher is seeded by the operating system.
    RandomState::new().build_hasher().finish()
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Bind { address, source })
}

async fn bind_if(address: Option<SocketAddr>) -> Result<Option<TcpListener>, StartError> {
    match address {
        Some(address) => Ok(Some(bind(address).await?)),
        None => Ok(None),
    }
}

impl Shared {
    fn new(
        (limits, admission, retry, fleet, dial): (RequestLimits, Admission, RetryConfig, FleetConfig, Dial),
        balancer: impl FnOnce(&Clock) -> Balancer,
    ) -> Self {
        let clock = Clock::start();
        let mut balancer = balancer(&clock);
        balancer.set_cap(admission.worker_cap());
        let metrics = Arc::new(Metrics::new(balancer.policy_name()));
        Self {
            needs: balancer.needs(),
            balancer: Mutex::new(balancer),
            workers: Workers::default(),
            disaggregation: None,
            limits,
            budget: Budget::new(retry.budget),
            hedging: retry.hedge.map(Hedging::new),
            retry,
            admission,
            authenticator: Authenticator::default(),
            cors: None,
            records: Telemetry {
                metrics,
                recorder: None,
                decisions: Arc::new(DecisionBroadcast::new(clock)),
            },
            ids: RequestIds::new(),
            trace_ids: None,
            fleet,
            dial,
            joining: Mutex::new(()),
            clock,
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        }
    }

    /// A balancer and workers of its own beside these: one clock, one queue, one page of metrics.
    fn beside(&self, policy: Box<dyn Policy>, seed: u64) -> Self {
        let (limits, admission) = (self.limits.clone(), self.admission.beside());
        let settings = (limits, admission, self.retry.clone(), self.fleet.clone(), self.dial.clone());
        let mut pool = Self::new(settings, |_| Balancer::new(policy, seed));
        pool.clock = self.clock;
        pool.records.metrics = Arc::new(self.records.metrics.for_pool(pool.records.metrics.policy()));
        pool
    }

    /// Lets other workers read the prompts.
    fn disaggregate(
        &mut self,
        split: DisaggregationConfig,
        wanted: RecorderConfig<'_>,
        seed: u64,
    ) -> Result<(), StartError> {
        self.records.metrics = Arc::new(Metrics::clone(&self.records.metrics).with_legs());
        // Another stream of chance than that of the workers that write the answers.
        let mut pool = self.beside(split.policy, !seed);
        let metrics = Arc::clone(&pool.records.metrics);
        self.record(RecorderConfig { prefill: split.record.as_ref().map(|r| (r, &metrics)), ..wanted })?;
        pool.records.recorder = self.records.recorder.clone();
        pool.records.decisions = Arc::clone(&self.records.decisions);
        // The request is read once for both; each pool polls its own workers, and a worker is named for an answer.
        self.needs = self.needs.or(PolicyNeeds { load_reports: false, target_worker: false, ..pool.needs });
        let pool = Arc::new(pool);
        for worker in &split.prefill {
            pool.join(worker)?;
        }
        self.disaggregation = Some(Disaggregation::new(split.protocol, pool, seed));
        Ok(())
    }

    /// Starts a recorder when somebody wants files, traces or spans.
    fn record(&mut self, wanted: RecorderConfig<'_>) -> Result<(), StartError> {
        if wanted.is_needed() {
            self.trace_ids = wanted.collector.map(|_| TraceIds::new());
            let recorder = Recorder::start(wanted, self.clock, &self.records.metrics)?;
            self.records.recorder = Some(Arc::new(recorder));
        }
        Ok(())
    }

    /// The balancer and workers to which a worker of this kind belongs, if there are any.
    pub(crate) fn pool_of(self: &Arc<Self>, kind: WorkerKind) -> Option<&Arc<Self>> {
        match (&self.disaggregation, kind) {
            (None, WorkerKind::Regular) | (Some(_), WorkerKind::Decode) => Some(self),
            (Some(split), WorkerKind::Prefill) => Some(&split.pool),
            (None, _) | (Some(_), WorkerKind::Regular) => None,
        }
    }

    /// All there is of balancers and their workers: one, or two where prefill and decode are apart.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.disaggregation.as_ref().map(|d| &*d.pool))
    }

    fn stop_tasks(&self) {
        self.stopping.cancel();
        self.tasks.close();
        for worker in self.workers.all() {
            worker.gone.cancel();
        }
    }

    /// How many workers get requests now.
    pub(crate) fn healthy(&self) -> usize {
        self.healthy_workers().len()
    }

    /// Whether a worker that is not in `tried` is merely full.
    pub(crate) fn vacancy(&self, features: &RequestFeatures<'_>, tried: &[WorkerId]) -> Vacancy {
        if self.balancer.lock().has_routable(features, tried) { Vacancy::Later } else { Vacancy::Never }
    }

    /// Whether a wait for a worker may help where none can be chosen now: after a `last` attempt whose connection broke,
    /// because a worker may be down without anybody knowing yet, and else when none is well. A request that names its
    /// worker waits for that one, and not at all for one that is not in the fleet.
    pub(crate) fn may_come(&self, features: &RequestFeatures<'_>, last: Option<RetryReason>) -> bool {
        let lost = last == Some(RetryReason::Disconnected);
        let named = self.balancer.lock().target(features);
        let Some(slot) = named else { return lost || self.healthy_workers().is_empty() };
        let worker = self.workers.all().into_iter().find(|w| w.id.slot() == slot);
        worker.is_some_and(|w| lost || w.health() != Health::Healthy)
    }

    /// Whether requests find a worker. Where prefill and decode are apart, neither can do without the other.
    pub(crate) fn is_ready(&self) -> bool {
        self.pools().all(|pool| pool.healthy() > 0)
    }

    /// The error for a request that found nobody.
    pub(crate) fn nobody(&self) -> ProxyError {
        ProxyError::NoWorker { healthy: self.healthy(), total: self.workers.all().len() }
    }

    /// The workers that get requests now.
    pub(crate) fn healthy_workers(&self) -> Vec<Arc<Worker>> {
        self.workers.all().into_iter().filter(|w| w.health() == Health::Healthy).collect()
    }

    /// Everything that is measured at the moment somebody asks.
    pub(crate) fn gauges(&self) -> BalancerGauges {
        let mut figures = Vec::new();
        let (opinion, workers) = {
            let mut balancer = self.balancer.lock();
            balancer.gauges(&mut |name, value| figures.push((name, value)));
            // The policy's opinion is asked as for a request about which nothing is known.
            (
                balancer.peek(self.clock.now(), &RequestFeatures::default()),
                self.loads(&balancer).iter().map(WorkerLoad::gauges).collect(),
            )
        };
        let scores = opinion.map(|o| o.scores).unwrap_or_default();
        let scores = scores
            .into_iter()
            .filter_map(|s| Some((Arc::clone(&self.workers.get(s.worker)?.telemetry), s)))
            .collect();
        let (queued, buffered) = (self.admission.waiting(), self.admission.buffered());
        let policy = Arc::clone(self.records.metrics.policy());
        BalancerGauges { policy, workers, scores, figures, queued, buffered }
    }

    /// All workers with their load.
    pub(crate) fn worker_loads(&self) -> Vec<WorkerLoad> {
        self.loads(&self.balancer.lock())
    }

    /// One worker with its load, unless it left.
    pub(crate) fn worker_load(&self, worker: &Arc<Worker>) -> Option<WorkerLoad> {
        self.load(&self.balancer.lock(), worker)
    }

    fn loads(&self, balancer: &Balancer) -> Vec<WorkerLoad> {
        self.workers.all().iter().filter_map(|worker| self.load(balancer, worker)).collect()
    }

    fn load(&self, balancer: &Balancer, worker: &Arc<Worker>) -> Option<WorkerLoad> {
        WorkerLoad::of(balancer, worker, self.clock.now())
    }
}
