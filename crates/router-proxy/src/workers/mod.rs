//! The workers as the proxy knows them: address, health, load.

mod abort;
mod breaker;
mod busy;
mod candidacy;
mod dial;
mod discovery;
mod fetch;
mod health;
mod load_monitor;
mod membership;
mod pool;
mod profile;
mod standing;
mod url;

pub(crate) use abort::{abort, abort_as};
pub use breaker::BreakerConfig;
pub(crate) use breaker::{BreakerState, Verdict};
pub(crate) use candidacy::{End, Seat};
pub use dial::Dial;
pub(crate) use fetch::{FetchError, fetch, fetch_with, root_cause};
pub(crate) use health::watch;
pub(crate) use load_monitor::poll;
pub(crate) use membership::MembershipError;
pub(crate) use pool::{Connection, ExchangeError, Pool};
pub use profile::{Engine, WorkerKind, WorkerSpec, WorkerSpecError};
pub(crate) use profile::{Profile, WorkerUpdate};
pub(crate) use standing::Health;
use standing::Standing;
pub(crate) use url::Target;
pub use url::{WorkerUrl, WorkerUrlError};

use crate::config::HealthConfig;
use crate::record::WorkerMetrics;
use crate::security::TlsError;
use arc_swap::ArcSwap;
use breaker::Breaker;
use candidacy::Gate;
use http::HeaderValue;
use parking_lot::Mutex;
use router_core::WorkerId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// One worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) url: WorkerUrl,
    pub(crate) target: Target,
    /// The URL as the value of `x-sglang-worker`.
    pub(crate) header: HeaderValue,
    /// The host and port as the value of `host`.
    pub(crate) host: HeaderValue,
    pub(crate) pool: Pool,
    pub(crate) metrics: WorkerMetrics,
    /// What it is and what it should get, as told by people and by itself.
    pub(crate) profile: ArcSwap<Profile>,
    /// How its health is checked; never when absent.
    pub(crate) health_config: Option<HealthConfig>,
    standing: Mutex<Standing>,
    gate: Gate,
    /// Until when it is spared because it said that it has no room, in nanoseconds of the router's clock.
    busy_until: AtomicU64,
    /// Goes up with everything that comes from it, by ones or a little less.
    pulse: AtomicU64,
    /// Rung when it turns out to be in trouble: whoever waits for its answer may go elsewhere.
    pub(crate) trouble: Notify,
    /// Wakes the health check before its time.
    recheck: Notify,
    /// Ends the worker's tasks.
    pub(crate) gone: CancellationToken,
}

impl Worker {
    /// A worker that has not been checked.
    pub(crate) fn new(id: WorkerId, parts: Parts) -> Result<Self, InvalidWorker> {
        let Parts { url, profile, health, breaker, metrics, dial } = parts;
        let target = url.target()?;
        Ok(Self {
            pool: Pool::new(dial.to(&target)?),
            id,
            header: HeaderValue::from_str(url.as_str())?,
            host: HeaderValue::from_str(target.authority().as_str())?,
            url,
            target,
            metrics,
            profile: ArcSwap::from_pointee(profile),
            health_config: health,
            standing: Mutex::new(Standing::new(breaker.map(Breaker::new))),
            gate: Gate::default(),
            busy_until: AtomicU64::new(0),
            pulse: AtomicU64::new(0),
            trouble: Notify::new(),
            recheck: Notify::new(),
            gone: CancellationToken::new(),
        })
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

/// What a worker is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) url: WorkerUrl,
    pub(crate) profile: Profile,
    pub(crate) health: Option<HealthConfig>,
    pub(crate) breaker: Option<BreakerConfig>,
    pub(crate) metrics: WorkerMetrics,
    pub(crate) dial: Dial,
}

/// A URL that no request could be addressed to; a checked [`WorkerUrl`] never is one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidWorker {
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

/// All workers, by slot. Reading takes no lock.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    table: ArcSwap<Vec<Option<Arc<Worker>>>>,
    /// Rung when a worker becomes one that may be chosen.
    pub(crate) arrivals: Notify,
    /// The latest moment until which some worker is spared, in nanoseconds of the router's clock.
    busy_until: AtomicU64,
}

impl Workers {
    /// Adds a worker, replacing whoever held its slot.
    pub(crate) fn insert(&self, worker: &Arc<Worker>) {
        self.table.rcu(|old| {
            let mut table = Vec::clone(old);
            let slot = worker.id.slot();
            if table.len() <= slot {
                table.resize(slot + 1, None);
            }
            table[slot] = Some(Arc::clone(worker));
            table
        });
    }

    /// Takes a worker out; an heir in its slot is left alone.
    pub(crate) fn remove(&self, id: WorkerId) {
        self.table.rcu(|old| {
            let mut table = Vec::clone(old);
            if let Some(entry) = table.get_mut(id.slot())
                && entry.as_ref().is_some_and(|w| w.id == id)
            {
                *entry = None;
            }
            table
        });
    }

    /// The worker `id`, unless it left.
    pub(crate) fn get(&self, id: WorkerId) -> Option<Arc<Worker>> {
        self.table.load().get(id.slot())?.as_ref().filter(|w| w.id == id).map(Arc::clone)
    }

    /// The whole table as it is now.
    pub(crate) fn snapshot(&self) -> Arc<Vec<Option<Arc<Worker>>>> {
        self.table.load_full()
    }

    /// All workers, by slot.
    pub(crate) fn all(&self) -> Vec<Arc<Worker>> {
        self.table.load().iter().flatten().map(Arc::clone).collect()
    }
}
