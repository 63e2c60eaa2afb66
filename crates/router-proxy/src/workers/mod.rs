//! The workers as the proxy knows them: address, health, load.

mod dial;
mod fetch;
mod health;
mod load_monitor;
mod membership;
mod pool;
mod url;

pub use dial::Dial;
pub(crate) use fetch::{fetch, fetch_with, root_cause};
pub(crate) use health::watch;
pub(crate) use load_monitor::poll;
pub(crate) use membership::{Membership, MembershipError};
pub(crate) use pool::{Connection, ExchangeError, Pool};
pub(crate) use url::Target;
pub use url::{WorkerUrl, WorkerUrlError};

use crate::record::WorkerMetrics;
use crate::security::TlsError;
use arc_swap::ArcSwap;
use http::HeaderValue;
use parking_lot::Mutex;
use router_core::WorkerId;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What the router believes of a worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Health {
    /// Not checked yet: gets no requests.
    Pending,
    /// Gets requests.
    Healthy,
    /// Failed its checks or cannot be reached: gets no requests.
    Unhealthy,
    /// Leaves: gets no new requests, its running ones end.
    Draining,
}

impl Health {
    /// The name of the state in answers and logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
        }
    }
}

/// A state and the checks in a row that may change it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) health: Health,
    failures: u32,
    successes: u32,
}

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
    standing: Mutex<Standing>,
    /// Wakes the health check before its time.
    recheck: Notify,
    /// Ends the worker's tasks.
    pub(crate) gone: CancellationToken,
}

impl Worker {
    /// A worker that has not been checked.
    pub(crate) fn new(
        id: WorkerId,
        url: WorkerUrl,
        metrics: WorkerMetrics,
        dial: &Dial,
    ) -> Result<Self, InvalidWorker> {
        let target = url.target()?;
        Ok(Self {
            pool: Pool::new(dial.to(&target)?),
            id,
            header: HeaderValue::from_str(url.as_str())?,
            host: HeaderValue::from_str(target.authority().as_str())?,
            url,
            target,
            metrics,
            standing: Mutex::new(Standing { health: Health::Pending, failures: 0, successes: 0 }),
            recheck: Notify::new(),
            gone: CancellationToken::new(),
        })
    }

    /// What the router believes of it now.
    pub(crate) fn health(&self) -> Health {
        self.standing.lock().health
    }
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
