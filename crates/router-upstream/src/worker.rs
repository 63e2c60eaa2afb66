//! The program at a worker's address: one health, one breaker and one set of connections, however many candidates of the
//! balancer it is.

use crate::connect::ConnectConfig;
use crate::connection_pool::ConnectionPool;
use crate::health::{Breaker, HealthState, ProbeGate, WorkerHealth};
use crate::http1::RequestEncoder;
use crate::profile::Profile;
use crate::target::Target;
use crate::tls::TlsError;
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, header};
use parking_lot::Mutex;
use router_config::HealthConfig;
use router_config::WorkerUrl;
use router_telemetry::BreakerState;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// One program at one address.
#[derive(Debug)]
pub struct Worker {
    pub url: WorkerUrl,
    pub target: Target,
    /// The host and port as the value of `host`.
    pub host: HeaderValue,
    pub pool: ConnectionPool,
    /// What it is and what it should get, as told by people and by itself.
    pub profile: ArcSwap<Profile>,
    /// How its health is checked; never when absent.
    pub health_config: Option<HealthConfig>,
    pub(crate) health_state: Mutex<WorkerHealth>,
    pub(crate) gate: ProbeGate,
    /// Goes up with everything that comes from it, by ones or a little less.
    pub(crate) activity: AtomicU64,
    /// Rung when it turns out to be in trouble: whoever waits for its answer may go elsewhere.
    pub evicted: Notify,
    /// Wakes the health check before its time.
    pub(crate) recheck: Notify,
    /// Ends the worker's tasks.
    pub removed: CancellationToken,
}

impl Worker {
    /// One that has not been checked.
    pub fn new(parts: NewWorker) -> Result<Self, InvalidWorker> {
        let NewWorker { url, profile, health, breaker, connect } = parts;
        let target = Target::new(&url)?;
        Ok(Self {
            pool: ConnectionPool::new(connect.to(&target)?),
            host: HeaderValue::from_str(target.authority().as_str())?,
            url,
            target,
            profile: ArcSwap::from_pointee(profile),
            health_config: health,
            health_state: Mutex::new(WorkerHealth::new(breaker.map(Breaker::new))),
            gate: ProbeGate::default(),
            activity: AtomicU64::new(0),
            evicted: Notify::new(),
            recheck: Notify::new(),
            removed: CancellationToken::new(),
        })
    }

    /// A request to it, with what it has from the router, whoever asks: its address, and its own key if it has one.
    pub fn request(&self, method: &Method, path: &PathAndQuery, body: Bytes) -> RequestEncoder {
        let mut head = self.target.request(method, path, body);
        head.set(header::HOST, &self.host);
        if let Some(own) = &self.profile.load().authorization {
            head.set(header::AUTHORIZATION, own);
        }
        head
    }

    /// What the router believes of it now.
    pub fn health(&self) -> HealthState {
        self.health_state.lock().health()
    }

    /// What its circuit breaker lets through now.
    pub fn breaker_state(&self) -> BreakerState {
        self.health_state.lock().breaker_state()
    }

    /// Notes that something came from it. Two at the same moment may count as one, which is all the same here.
    pub fn record_activity(&self) {
        self.activity.store(self.activity.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Asks for a health check now.
    pub fn request_recheck(&self) {
        self.recheck.notify_one();
    }
}

/// What a process is known by when it joins.
#[derive(Debug)]
pub struct NewWorker {
    pub url: WorkerUrl,
    pub profile: Profile,
    pub health: Option<HealthConfig>,
    pub breaker: Option<router_config::BreakerConfig>,
    pub connect: ConnectConfig,
}

/// A URL that no request could be addressed to; a checked [`WorkerUrl`] never is one.
#[derive(Debug, thiserror::Error)]
pub enum InvalidWorker {
    /// It is no URI.
    #[error(transparent)]
    Uri(#[from] http::uri::InvalidUri),
    /// It does not fit into a header.
    #[error(transparent)]
    Header(#[from] http::header::InvalidHeaderValue),
    /// TLS cannot be spoken with it.
    #[error(transparent)]
    Tls(#[from] TlsError),
}
