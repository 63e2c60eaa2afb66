//! The workers as the proxy knows them: address, health, load.

mod abort;
mod breaker;
mod busy;
mod candidacy;
mod dial;
mod discovery;
mod fetch;
mod health;
mod load;
mod load_monitor;
mod membership;
mod pool;
mod process;
mod profile;
mod standing;
mod target;

pub(crate) use abort::{abort, abort_as};
pub(crate) use breaker::Verdict;
pub(crate) use candidacy::{End, Seat};
pub(crate) use dial::Dial;
pub(crate) use fetch::{FetchError, fetch, fetch_with, root_cause};
pub(crate) use health::watch;
pub(crate) use load::WorkerLoad;
pub(crate) use load_monitor::poll;
pub(crate) use membership::MembershipError;
pub(crate) use pool::{Connection, ExchangeError, Pool};
pub(crate) use process::{Parts, Process};
pub(crate) use profile::Profile;
pub(crate) use standing::Health;
use standing::Standing;
pub(crate) use target::Target;

use crate::security::TlsError;
use arc_swap::ArcSwap;
use http::HeaderValue;
use router_config::WorkerUrl;
use router_core::WorkerId;
use router_telemetry::{WorkerDirectory, WorkerMetrics, WorkerTelemetry};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use tokio::sync::Notify;

/// One candidate of the balancer: a worker, or one data-parallel rank of it.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    /// Which rank it is; absent where the worker is one candidate as a whole.
    pub(crate) rank: Option<u32>,
    /// Its names and metrics.
    pub(crate) telemetry: Arc<WorkerTelemetry>,
    /// The name as the value of `x-sglang-worker`.
    pub(crate) header: HeaderValue,
    /// Until when it is spared because it said that it has no room, in nanoseconds of the router's clock.
    busy_until: AtomicU64,
    /// It is no longer one of its process's ranks, and leaves when its requests have ended.
    dismissed: AtomicBool,
    process: Arc<Process>,
}

/// In all but what it has to do, a rank is its process: what is true of the one is true of the other.
impl Deref for Worker {
    type Target = Arc<Process>;

    fn deref(&self) -> &Arc<Process> {
        &self.process
    }
}

impl Worker {
    /// The candidate `id` of a process, under the name of `tag`.
    pub(crate) fn new(id: WorkerId, process: Arc<Process>, tag: Tag, metrics: WorkerMetrics) -> Self {
        let Tag { rank, name, header } = tag;
        let (busy_until, dismissed) = (AtomicU64::new(0), AtomicBool::new(false));
        let telemetry = Arc::new(WorkerTelemetry { id, url: process.url.shared(), name, metrics });
        Self { id, rank, telemetry, header, busy_until, dismissed, process }
    }

    /// What the router believes of it now.
    pub(crate) fn health(&self) -> Health {
        if self.is_dismissed() { Health::Draining } else { self.process.health() }
    }

    /// Whether it leaves while its process stays.
    fn is_dismissed(&self) -> bool {
        self.dismissed.load(Relaxed)
    }
}

/// What a candidate is called.
#[derive(Clone, Debug)]
pub(crate) struct Tag {
    rank: Option<u32>,
    name: Arc<str>,
    header: HeaderValue,
}

impl Tag {
    /// Of the worker at `url` as a whole, or of one rank of it.
    pub(crate) fn of(url: &WorkerUrl, rank: Option<u32>) -> Result<Self, InvalidWorker> {
        let name = rank.map_or_else(|| url.shared(), |rank| format!("{url}@{rank}").into());
        Ok(Self { rank, header: HeaderValue::from_str(&name)?, name })
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

/// The workers by slot, and beside them what records need of each.
#[derive(Clone, Debug, Default)]
struct Table {
    workers: Vec<Option<Arc<Worker>>>,
    directory: WorkerDirectory,
}

impl Table {
    fn new(workers: Vec<Option<Arc<Worker>>>) -> Self {
        let telemetry = |worker: &Option<Arc<Worker>>| worker.as_ref().map(|w| Arc::clone(&w.telemetry));
        Self { directory: Arc::new(workers.iter().map(telemetry).collect()), workers }
    }
}

/// All workers, by slot. Reading takes no lock.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    table: ArcSwap<Table>,
    /// Rung when a worker becomes one that may be chosen.
    pub(crate) arrivals: Notify,
    /// The latest moment until which some worker is spared, in nanoseconds of the router's clock.
    busy_until: AtomicU64,
}

impl Workers {
    /// Adds a worker, replacing whoever held its slot.
    pub(crate) fn insert(&self, worker: &Arc<Worker>) {
        self.table.rcu(|old| {
            let mut table = old.workers.clone();
            let slot = worker.id.slot();
            if table.len() <= slot {
                table.resize(slot + 1, None);
            }
            table[slot] = Some(Arc::clone(worker));
            Table::new(table)
        });
    }

    /// Takes a worker out; an heir in its slot is left alone.
    pub(crate) fn remove(&self, id: WorkerId) {
        self.table.rcu(|old| {
            let mut table = old.workers.clone();
            if let Some(entry) = table.get_mut(id.slot())
                && entry.as_ref().is_some_and(|w| w.id == id)
            {
                *entry = None;
            }
            Table::new(table)
        });
    }

    /// The worker `id`, unless it left.
    pub(crate) fn get(&self, id: WorkerId) -> Option<Arc<Worker>> {
        self.table.load().workers.get(id.slot())?.as_ref().filter(|w| w.id == id).map(Arc::clone)
    }

    /// What records need of all workers there are now.
    pub(crate) fn directory(&self) -> WorkerDirectory {
        Arc::clone(&self.table.load().directory)
    }

    /// All workers, by slot.
    pub(crate) fn all(&self) -> Vec<Arc<Worker>> {
        self.table.load().workers.iter().flatten().map(Arc::clone).collect()
    }

    /// The candidates of one process, by slot.
    pub(crate) fn of(&self, process: &Arc<Process>) -> Vec<Arc<Worker>> {
        let table = self.table.load();
        table.workers.iter().flatten().filter(|w| Arc::ptr_eq(&w.process, process)).map(Arc::clone).collect()
    }

    /// Every process once, however many ranks it has.
    pub(crate) fn processes(&self) -> Vec<Arc<Process>> {
        let mut processes: Vec<Arc<Process>> = Vec::new();
        for worker in self.table.load().workers.iter().flatten() {
            if !processes.iter().any(|known| Arc::ptr_eq(known, &worker.process)) {
                processes.push(Arc::clone(&worker.process));
            }
        }
        processes
    }
}
