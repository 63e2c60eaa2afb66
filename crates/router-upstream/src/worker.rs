//! One server: its health, its circuit breaker and its connections, shared by all its candidates.

use crate::arrival::Arrival;
use crate::connect::ConnectConfig;
use crate::health::{CircuitBreaker, HealthState, ProbeGate, Readiness, WorkerHealth};
use crate::invalid_worker::InvalidWorker;
use crate::load_poll_pace::LoadPollPace;
use crate::profile::WorkerProfile;
use crate::recheck::Recheck;
use crate::target::{WorkerProtocol, WorkerTarget};
use crate::transport::WorkerTransport;
use crate::weight_update::MissedUpdate;
use crate::worker_request::RequestBuilder;
use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, header};
use parking_lot::Mutex;
use router_config::{ConnectionMode, Engine, HealthConfig, WorkerSpec, WorkerUrl};
use router_core::{Time, WorkerId};
use router_telemetry::BreakerState;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// One server at one address.
#[derive(Debug)]
pub struct Worker {
    /// The URL by which it was added.
    pub url: WorkerUrl,
    /// The address and the base path of requests to it.
    pub target: WorkerTarget,
    /// The host and port as the value of `host`.
    pub host: HeaderValue,
    /// How requests get to it.
    pub transport: WorkerTransport,
    /// Its configuration and what it reports about itself.
    pub profile: ArcSwap<WorkerProfile>,
    /// How its health is checked; `None` switches checks off.
    pub health_config: ArcSwapOption<HealthConfig>,
    /// Notified when `health_config` has changed.
    pub(crate) health_config_changed: Notify,
    /// When it joined, or began to drain, in nanoseconds of the pool's clock.
    membership_changed_at: AtomicU64,
    /// Its candidates, by slot.
    pub(crate) candidate_ids: Mutex<Vec<WorkerId>>,
    /// How soon its load is polled again.
    pub(crate) load_polls: LoadPollPace,
    pub(crate) health_state: Mutex<WorkerHealth>,
    pub(crate) gate: ProbeGate,
    /// The weight update that it missed and has not made up for.
    pub(crate) missed_update: Mutex<Option<MissedUpdate>>,
    /// How many weight updates it has accepted.
    pub(crate) accepted_updates: AtomicU64,
    /// Counts what was received from it; two events at once may count as one.
    pub(crate) activity: AtomicU64,
    /// Whether the gRPC port beside its HTTP port is used.
    pub(crate) uses_grpc_port: bool,
    /// It was asked once what models it serves, whether it answered or not.
    pub(crate) has_told_models: AtomicBool,
    /// As it was added, with later changes.
    pub(crate) spec: Mutex<WorkerSpec>,
    /// Whose it is, where a discovery added it.
    pub owner: Option<Arc<str>>,
    /// It tells its state by itself, and says that it is healthy.
    pub(crate) is_watched: AtomicBool,
    /// Notified when it becomes unhealthy or its breaker opens, so that requests that wait for it can be retried.
    pub evicted: Notify,
    /// Starts a health check before its interval has passed.
    pub(crate) recheck: Arc<Recheck>,
    /// Cancelled when the worker is removed; ends its tasks.
    pub removed: CancellationToken,
}

impl Worker {
    /// A worker that has not been checked yet.
    pub(crate) fn new(parts: NewWorker) -> Result<Self, InvalidWorker> {
        let NewWorker { url, spec, profile, health, breaker, connect, uses_grpc_port, owner, joined_at } =
            parts;
        let target = WorkerTarget::new(&url)?;
        if target.protocol() == WorkerProtocol::Grpc && profile.engine() == Some(Engine::Vllm) {
            return Err(InvalidWorker::GrpcOfVllm);
        }
        #[cfg(not(feature = "grpc"))]
        if target.protocol() == WorkerProtocol::Grpc {
            return Err(InvalidWorker::WithoutGrpc);
        }
        let recheck = Arc::<Recheck>::default();
        Ok(Self {
            transport: WorkerTransport::new(&target, connect, Arc::clone(&recheck))?,
            host: HeaderValue::from_str(target.authority().as_str())?,
            url,
            target,
            profile: ArcSwap::from_pointee(profile),
            health_config: ArcSwapOption::from_pointee(health),
            health_config_changed: Notify::new(),
            membership_changed_at: AtomicU64::new(joined_at.as_nanos()),
            candidate_ids: Mutex::default(),
            load_polls: LoadPollPace::default(),
            health_state: Mutex::new(WorkerHealth::new(breaker.map(CircuitBreaker::new))),
            gate: ProbeGate::default(),
            missed_update: Mutex::new(None),
            accepted_updates: AtomicU64::new(0),
            activity: AtomicU64::new(0),
            uses_grpc_port,
            has_told_models: AtomicBool::new(false),
            spec: Mutex::new(spec),
            owner,
            is_watched: AtomicBool::new(false),
            evicted: Notify::new(),
            recheck,
            removed: CancellationToken::new(),
        })
    }

    /// A request to it, with the headers that every request gets: `host`, and `authorization` if the worker has a key.
    pub fn request(&self, method: &Method, path: &PathAndQuery, body: Bytes) -> RequestBuilder {
        let mut head = self.transport.request(&self.target, method, path, body);
        head.set(header::HOST, &self.host);
        if let Some(own) = &self.profile.load().authorization {
            head.set(header::AUTHORIZATION, own);
        }
        head
    }

    /// Sends the model's requests to the gRPC service at this port of its host from now on, if that is wanted.
    pub(crate) fn use_grpc_port(&self, port: Option<u16>) {
        if !self.uses_grpc_port || self.target.protocol() == WorkerProtocol::Grpc {
            return;
        }
        #[cfg(feature = "grpc")]
        match self.transport.set_grpc_port(&self.target, port) {
            Ok(()) => tracing::debug!(worker = %self.url, port, "the gRPC port of the worker"),
            Err(error) => {
                tracing::warn!(worker = %self.url, port, %error, "the worker's gRPC port cannot be used")
            }
        }
        #[cfg(not(feature = "grpc"))]
        tracing::warn!(worker = %self.url, port, "this build has no gRPC, so the worker's gRPC port is not used");
    }

    /// Whether it is reached by gRPC alone.
    pub fn is_grpc_only(&self) -> bool {
        self.target.protocol() == WorkerProtocol::Grpc
    }

    /// How it is reached now: [`ConnectionMode::GrpcPort`] once it has said which port that is.
    pub fn connection_mode(&self) -> ConnectionMode {
        if self.is_grpc_only() {
            return ConnectionMode::Grpc;
        }
        #[cfg(feature = "grpc")]
        if self.transport.has_grpc() {
            return ConnectionMode::GrpcPort;
        }
        ConnectionMode::Http
    }

    /// Its health state now.
    pub fn health(&self) -> HealthState {
        self.health_state.lock().health()
    }

    /// The state by checks and connections alone, whether it is ready or not.
    pub(crate) fn checked_health(&self) -> HealthState {
        self.health_state.lock().checked_health()
    }

    /// The state of its circuit breaker.
    pub fn breaker_state(&self) -> BreakerState {
        self.health_state.lock().breaker_state()
    }

    /// The description by which it could be added again.
    pub fn spec(&self) -> WorkerSpec {
        self.spec.lock().clone()
    }

    /// What it is, as labels of a metric; empty where unknown.
    pub(crate) fn info(&self) -> Vec<(&'static str, String)> {
        let profile = self.profile.load();
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        vec![
            ("model", text(profile.model())),
            ("engine", text(profile.engine().map(Engine::as_str))),
            ("version", text(profile.reported.version.as_deref())),
        ]
    }

    /// As what it joins another pool: with the same owner, and as ready as it is.
    pub fn arrival(&self) -> Arrival {
        let problem = self.readiness_problem();
        let readiness = problem.map_or(Readiness::Ready, |problem| Readiness::NotReady(problem.reason));
        Arrival { readiness, owner: self.owner.clone() }
    }

    /// Whether it has said what models it serves, or failed to.
    pub fn has_told_models(&self) -> bool {
        self.has_told_models.load(Relaxed)
    }

    /// Whether it has older weights than the fleet.
    pub fn has_outdated_weights(&self) -> bool {
        self.missed_update.lock().is_some()
    }

    /// When it joined or, if it is draining, began to.
    pub fn membership_changed_at(&self) -> Time {
        Time::from_nanos(self.membership_changed_at.load(Relaxed))
    }

    pub(crate) fn set_membership_changed_at(&self, time: Time) {
        self.membership_changed_at.store(time.as_nanos(), Relaxed);
    }

    /// Records that something was received from it. Concurrent calls may count once, which is accurate enough.
    pub fn record_activity(&self) {
        self.activity.store(self.activity.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Asks the worker soon what it is: it may serve other names than before.
    pub fn ask_again(&self) {
        self.recheck.suspect_replacement();
    }

    /// Starts a health check now.
    pub fn request_recheck(&self) {
        self.recheck.request();
    }
}

/// The parts of a new worker.
#[derive(Debug)]
pub(crate) struct NewWorker {
    pub(crate) url: WorkerUrl,
    pub(crate) spec: WorkerSpec,
    pub(crate) profile: WorkerProfile,
    pub(crate) health: Option<HealthConfig>,
    pub(crate) breaker: Option<router_config::BreakerConfig>,
    pub(crate) connect: ConnectConfig,
    pub(crate) uses_grpc_port: bool,
    pub(crate) owner: Option<Arc<str>>,
    pub(crate) joined_at: Time,
}
