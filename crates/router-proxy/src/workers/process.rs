//! The program at a worker's address: one health, one breaker and one set of connections, however many candidates of the
//! balancer it is.

use super::breaker::Breaker;
use super::candidacy::Gate;
use super::{Dial, Health, InvalidWorker, Pool, Profile, Standing, Target};
use crate::http1::RequestHead;
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
pub(crate) struct Process {
    pub(crate) url: WorkerUrl,
    pub(crate) target: Target,
    /// The host and port as the value of `host`.
    pub(crate) host: HeaderValue,
    pub(crate) pool: Pool,
    /// What it is and what it should get, as told by people and by itself.
    pub(crate) profile: ArcSwap<Profile>,
    /// How its health is checked; never when absent.
    pub(crate) health_config: Option<HealthConfig>,
    pub(super) standing: Mutex<Standing>,
    pub(super) gate: Gate,
    /// Goes up with everything that comes from it, by ones or a little less.
    pub(super) pulse: AtomicU64,
    /// Rung when it turns out to be in trouble: whoever waits for its answer may go elsewhere.
    pub(crate) trouble: Notify,
    /// Wakes the health check before its time.
    pub(super) recheck: Notify,
    /// Ends the worker's tasks.
    pub(crate) gone: CancellationToken,
}

impl Process {
    /// One that has not been checked.
    pub(crate) fn new(parts: Parts) -> Result<Self, InvalidWorker> {
        let Parts { url, profile, health, breaker, dial } = parts;
        let target = Target::new(&url)?;
        Ok(Self {
            pool: Pool::new(dial.to(&target)?),
            host: HeaderValue::from_str(target.authority().as_str())?,
            url,
            target,
            profile: ArcSwap::from_pointee(profile),
            health_config: health,
            standing: Mutex::new(Standing::new(breaker.map(Breaker::new))),
            gate: Gate::default(),
            pulse: AtomicU64::new(0),
            trouble: Notify::new(),
            recheck: Notify::new(),
            gone: CancellationToken::new(),
        })
    }

    /// A request to it, with what it has from the router, whoever asks: its address, and its own key if it has one.
    pub(crate) fn request(&self, method: &Method, path: &PathAndQuery, body: Bytes) -> RequestHead {
        let mut head = self.target.request(method, path, body);
        head.set(header::HOST, &self.host);
        if let Some(own) = &self.profile.load().authorization {
            head.set(header::AUTHORIZATION, own);
        }
        head
    }

    /// What the router believes of it now.
    pub(crate) fn health(&self) -> Health {
        self.standing.lock().health()
    }

    /// What its circuit breaker lets through now.
    pub(crate) fn breaker_state(&self) -> BreakerState {
        self.standing.lock().breaker_state()
    }

    /// Notes that something came from it. Two at the same moment may count as one, which is all the same here.
    pub(crate) fn heard(&self) {
        self.pulse.store(self.pulse.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Asks for a health check now.
    pub(crate) fn doubt(&self) {
        self.recheck.notify_one();
    }
}

/// What a process is known by when it joins.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) url: WorkerUrl,
    pub(crate) profile: Profile,
    pub(crate) health: Option<HealthConfig>,
    pub(crate) breaker: Option<router_config::BreakerConfig>,
    pub(crate) dial: Dial,
}
