//! A router from its start to its shutdown.

use crate::admin::{TrackingDisabled, WorkersError, embedded};
use crate::assembly;
use crate::config_change::{self, DryRun};
#[cfg(feature = "kubernetes")]
use crate::discovered_workers;
use crate::routing::RoutingService;
use crate::security::{AlpnProtocols, ServerTls, watch_certificate};
use crate::server::{self, Listeners, ServingThreads, Shutdown};
use crate::start_error::StartError;
use crate::state::AppState;
use crate::stats::RouterStats;
use router_config::{ChangeError, Config, ConfigError, LogLevel, RequestLimits, SourcedOptions, WorkerSpec};
use router_telemetry::DecisionStream;
use router_upstream::ConnectConfig;
use router_upstream::tls::{TlsError, WorkerTls};
use serde_json::Value;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

/// How often the time limits of open routes are looked at.
const EXPIRY_CHECK: Duration = Duration::from_secs(1);

/// Starts routers.
#[derive(Clone, Copy, Debug)]
pub struct Router;

/// A router that serves. Dropping it stops it at once; [`shutdown`](Self::shutdown) lets requests end.
#[derive(Debug)]
pub struct RunningRouter {
    state: Arc<AppState>,
    address: SocketAddr,
    admin: Option<SocketAddr>,
    prometheus: Option<SocketAddr>,
    scheme: &'static str,
    delay: Duration,
    grace: Duration,
    stop: CancellationToken,
    kill: CancellationToken,
    servers: TaskTracker,
    threads: Arc<ServingThreads>,
    tls: Option<ServerTls>,
}

/// What a further server needs that runs with a router and stops with it.
#[derive(Clone, Debug)]
pub struct Hosting {
    /// The threads that serve connections.
    pub threads: Arc<ServingThreads>,
    /// Tracks listeners and connections. A shutdown waits for them.
    pub tasks: TaskTracker,
    /// Cancelled when no new connections and requests are to be taken any more.
    pub graceful: CancellationToken,
    /// Cancelled when what still runs is to be cut.
    pub force: CancellationToken,
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
    pub async fn start_on(threads: ServingThreads, mut config: Config) -> Result<RunningRouter, StartError> {
        let protocols = if config.http2.is_some() { AlpnProtocols::Http2 } else { AlpnProtocols::Http1 };
        let load = |files| ServerTls::load(files, protocols);
        let tls = config.security.tls.clone().map(load).transpose();
        let tls = tls.map_err(|e| ConfigError::option("--tls-cert-path, --tls-key-path", e))?;
        let connect = connect_config(&config.requests)?;
        let discovery = config.discovery.take();
        #[cfg(not(feature = "kubernetes"))]
        if discovery.is_some() {
            let problem = "this build has no Kubernetes discovery; build it with the feature `kubernetes`";
            return Err(ConfigError::option("--service-discovery", problem).into());
        }
        let main = bind(config.listen).await?;
        let admin = bind_if(config.security.admin).await?;
        let metrics = bind_if(config.prometheus).await?;
        let (listen, timeouts, http2) = (config.listen, config.client_timeouts, config.http2);
        let scheme = assembly::scheme(&config.security);
        let (delay, grace) = (config.shutdown_delay, config.shutdown_grace);
        let address = main.local_addr().unwrap_or(listen);
        config.fleet.own_address.port = address.port();
        let state = Arc::new(assembly::state(config, connect)?);
        let (stop, kill, servers) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        let of = |listener: &Option<TcpListener>| listener.as_ref().and_then(|l| l.local_addr().ok());
        let running = RunningRouter {
            address,
            admin: of(&admin),
            prometheus: of(&metrics),
            scheme,
            delay,
            grace,
            stop,
            kill,
            servers,
            threads: Arc::new(threads),
            state,
            tls: tls.clone(),
        };
        if let Some(tls) = tls.clone() {
            running.state.main.tasks.spawn(watch_certificate(tls, running.state.main.stopping.clone()));
        }
        running.state.main.tasks.spawn(end_expired_routes(Arc::clone(&running.state)));
        let listeners = Listeners { main, admin, metrics, tls, timeouts, http2 };
        let shutdown = Shutdown { graceful: running.stop.clone(), force: running.kill.clone() };
        #[cfg(feature = "kubernetes")]
        if let Some(discovery) = discovery {
            discovered_workers::start(&running.state, discovery);
        }
        server::spawn(&running.state, listeners, &running.servers, &running.threads, &shutdown);
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

    /// Whether clients are served over TLS.
    pub const fn serves_tls(&self) -> bool {
        self.tls.is_some()
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

    /// Answers which worker a request should go to, for those that carry it themselves.
    pub fn routing(&self) -> RoutingService {
        RoutingService::new(Arc::clone(&self.state))
    }

    /// What a further server needs that runs with this router and stops with it.
    pub fn hosting(&self) -> Hosting {
        Hosting {
            threads: Arc::clone(&self.threads),
            tasks: self.servers.clone(),
            graceful: self.stop.clone(),
            force: self.kill.clone(),
        }
    }

    /// Opens the file of the access log again, as a program that rotates logs asks for. Tells whether there is one.
    pub fn reopen_access_log(&self) -> bool {
        self.state.access_log.as_ref().inspect(|log| log.reopen()).is_some()
    }

    /// Every option with its value, where that is from, and whether it can change now, in the form of `GET /v1/config`.
    pub fn config(&self) -> Value {
        self.state.config.describe()
    }

    /// Changes options by a JSON merge patch, and returns what `PATCH /v1/config` does. Takes effect as a whole or not at all. To be
    /// called within the runtime on which the router was started.
    ///
    /// # Errors
    /// When an option is unknown or needs a restart, or a value is invalid; the message names it.
    pub fn patch_config(&self, patch: &Value, dry_run: DryRun) -> Result<Value, ChangeError> {
        config_change::patch(&self.state, patch, dry_run)
    }

    /// Makes the changes that the options have now, compared with those that the router was started with or that were given here
    /// last. What was changed otherwise stays. To be called within the runtime on which the router was started.
    ///
    /// # Errors
    /// As [`patch_config`](Self::patch_config); then the next call compares with the same options as this one.
    pub fn reload_config(&self, options: SourcedOptions) -> Result<Value, ChangeError> {
        config_change::reload(&self.state, options)
    }

    /// Lets the option `log_level` change while the router runs, by this function. Without it, that needs a restart.
    pub fn log_level_changes_by(&self, set: impl Fn(LogLevel) + Send + Sync + 'static) {
        self.state.config.log_level_changes_by(Box::new(set));
    }

    /// Requests in flight on all workers; one that is split counts once for each of its legs.
    pub fn in_flight(&self) -> u64 {
        self.state.pools().map(|pool| pool.balancer.lock().in_flight()).sum()
    }

    /// How many workers get requests now.
    pub fn healthy_workers(&self) -> usize {
        self.state.pools().map(|pool| pool.healthy()).sum()
    }

    /// Whether requests find a worker: where prefill and decode are apart, one of each kind.
    pub fn is_ready(&self) -> bool {
        self.state.is_ready()
    }

    /// How it stands now.
    pub fn stats(&self) -> RouterStats {
        self.state.stats()
    }

    /// Every decision from now on, of all balancers; `capacity` of them may wait to be fetched.
    pub fn decisions(&self, capacity: usize) -> DecisionStream {
        self.state.main.telemetry.decisions.subscribe(capacity)
    }

    /// All workers, in the form of `GET /workers`.
    pub fn workers(&self) -> Value {
        embedded::workers(&self.state)
    }

    /// Adds a worker, and returns what `POST /workers` does. To be called within the runtime on which the router was started.
    ///
    /// # Errors
    /// When the specification is invalid, or the worker is in the fleet already.
    pub fn add_worker(&self, spec: &WorkerSpec) -> Result<Value, WorkersError> {
        embedded::add_worker(&self.state, spec)
    }

    /// Begins to drain the worker of this id or URL, and returns what `DELETE /workers/{id}` does. To be called within the
    /// runtime on which the router was started.
    ///
    /// # Errors
    /// When there is no such worker.
    pub fn remove_worker(&self, worker: &str) -> Result<Value, WorkersError> {
        embedded::remove_worker(&self.state, worker)
    }

    /// The trace of a request, in the form of `GET /v1/traces/{request_id}`; `None` when there is none.
    ///
    /// # Errors
    /// When requests are not tracked.
    pub async fn trace(&self, request_id: &str) -> Result<Option<Value>, TrackingDisabled> {
        embedded::trace(&self.state, request_id).await
    }

    /// Says that it is not ready and serves on for the delay, so that load balancers send new requests elsewhere. Then stops
    /// accepting, lets running requests end within the grace period, and cuts what is left. Returns how many were cut.
    pub async fn shutdown(self) -> u64 {
        self.shutdown_unless(std::future::pending()).await
    }

    /// As [`shutdown`](Self::shutdown), but the delay and the grace period end with `hurry`. A stream that is cut ends with an
    /// error event, and everything that is recorded of it is written.
    pub async fn shutdown_unless(self, hurry: impl Future<Output = ()>) -> u64 {
        let mut hurry = std::pin::pin!(hurry);
        self.state.stopping.store(true, Relaxed);
        let mut is_hurried = false;
        if !self.delay.is_zero() {
            info!(delay_secs = self.delay.as_secs_f64(), "not ready any more, still serving");
            tokio::select! {
                () = tokio::time::sleep(self.delay) => {}
                () = hurry.as_mut() => is_hurried = true,
            }
        }
        self.stop.cancel();
        self.state.end_streams();
        self.servers.close();
        info!(in_flight = self.in_flight(), grace_secs = self.grace.as_secs(), "shutting down");
        let ended = tokio::select! {
            ended = tokio::time::timeout(self.grace, self.servers.wait()) => ended.is_ok(),
            () = hurry, if !is_hurried => false,
            () = std::future::ready(()), if is_hurried => false,
        };
        let cut = if ended { 0 } else { self.in_flight() };
        self.state.pools().for_each(|pool| pool.stopping.cancel());
        self.state.open_routes.end_all();
        self.kill.cancel();
        self.servers.wait().await;
        for pool in self.state.pools() {
            pool.stop_tasks();
            pool.tasks.wait().await;
        }
        let state = Arc::clone(&self.state);
        let threads = Arc::clone(&self.threads);
        // Writing out what is left may take as long as the disk does.
        let close = move || {
            threads.join();
            state.close_logs();
        };
        let _ = tokio::task::spawn_blocking(close).await;
        cut
    }
}

impl Drop for RunningRouter {
    fn drop(&mut self) {
        self.stop.cancel();
        self.kill.cancel();
        self.state.end_streams();
        self.state.pools().for_each(|pool| pool.stop_tasks());
        self.state.open_routes.end_all();
        self.state.close_logs();
    }
}

/// Ends the open routes whose time is over, until the router stops.
async fn end_expired_routes(state: Arc<AppState>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EXPIRY_CHECK) => state.open_routes.end_expired(),
            () = state.main.stopping.cancelled() => return,
        }
    }
}

fn connect_config(limits: &RequestLimits) -> Result<ConnectConfig, ConfigError> {
    let tls = WorkerTls::load(limits.worker_tls.clone());
    let option = "--ca-cert-paths, --client-cert-path, --client-key-path";
    let tls = Arc::new(tls.map_err(|e| ConfigError::option(option, e))?);
    Ok(ConnectConfig { connect_timeout: limits.connect_timeout, tls })
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
