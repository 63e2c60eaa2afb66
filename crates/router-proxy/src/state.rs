//! What the requests of one router share.

use crate::admission::Admission;
use crate::error::ProxyError;
use crate::hedge_delay::HedgeDelay;
use crate::large_body::LargeBodyWork;
use crate::prefill_pool::PrefillPool;
use crate::request_id::RequestIds;
use crate::retry_budget::RetryBudget;
use crate::security::{Authenticator, Cors, Forwarding, TrustedProxies};
use crate::stats::RouterStats;
use router_config::{RequestLimits, RetryConfig, WorkerKind};
use router_core::PolicyNeeds;
use router_telemetry::{AccessLog, BalancerGauges, Clock, TraceIds};
use router_upstream::WorkerPool;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// How well the pods of Kubernetes are known.
#[cfg(feature = "kubernetes")]
pub(crate) type PodsStatus = Arc<router_kubernetes::DiscoveryStatus>;
/// Nothing is known of pods in this build.
#[cfg(not(feature = "kubernetes"))]
pub(crate) type PodsStatus = ();

/// What the requests of one router share.
#[derive(Debug)]
pub(crate) struct AppState {
    pub(crate) clock: Clock,
    /// The workers that serve requests; where prefill and decode are apart, those that decode.
    pub(crate) pool: Arc<WorkerPool>,
    /// The workers that prefill; absent where each worker does both.
    pub(crate) disaggregation: Option<PrefillPool>,
    /// How well the pods of Kubernetes are known.
    pub(crate) discovery: PodsStatus,
    /// What the policies of all pools want to know of a request.
    pub(crate) needs: PolicyNeeds,
    pub(crate) limits: RequestLimits,
    pub(crate) admission: Admission,
    pub(crate) authenticator: Authenticator,
    pub(crate) cors: Option<Cors>,
    pub(crate) trusted_proxies: TrustedProxies,
    /// Tells workers of clients, where that is configured.
    pub(crate) forwarding: Option<Forwarding>,
    /// The access log, if there is one.
    pub(crate) access_log: Option<Arc<AccessLog>>,
    pub(crate) retry: RetryConfig,
    pub(crate) budget: RetryBudget,
    /// When hedges are sent; never when absent.
    pub(crate) hedging: Option<HedgeDelay>,
    pub(crate) ids: RequestIds,
    /// Works on large bodies.
    pub(crate) large_bodies: LargeBodyWork,
    /// Makes the ids of spans, when spans are exported.
    pub(crate) trace_ids: Option<TraceIds>,
    /// Whether the router was asked to stop.
    pub(crate) stopping: AtomicBool,
}

impl AppState {
    /// The pool to which a worker of this kind belongs, if there is one.
    pub(crate) fn pool_of(&self, kind: WorkerKind) -> Option<&Arc<WorkerPool>> {
        match (&self.disaggregation, kind) {
            (None, WorkerKind::Regular) | (Some(_), WorkerKind::Decode) => Some(&self.pool),
            (Some(split), WorkerKind::Prefill) => Some(&split.pool),
            (None, _) | (Some(_), WorkerKind::Regular) => None,
        }
    }

    /// All pools: one, or two where prefill and decode are apart.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &Arc<WorkerPool>> {
        std::iter::once(&self.pool).chain(self.disaggregation.as_ref().map(|d| &d.pool))
    }

    /// Whether requests find a worker, and will as long as the router runs. Where prefill and decode are apart, neither can
    /// do without the other.
    pub(crate) fn is_ready(&self) -> bool {
        !self.stopping.load(Relaxed) && self.pools().all(|pool| pool.healthy() > 0)
    }

    /// Writes out everything that is recorded of requests, and ends recording.
    pub(crate) fn close_logs(&self) {
        self.pool.telemetry.close();
        if let Some(log) = &self.access_log {
            log.close();
        }
    }

    /// Everything that is measured when metrics are scraped, a part for each pool.
    pub(crate) fn gauges(&self) -> Vec<BalancerGauges> {
        let mut gauges: Vec<_> = self.pools().map(|pool| pool.gauges()).collect();
        // Requests wait, and their bodies are held, before a pool is chosen; the first part carries that.
        if let Some(first) = gauges.first_mut() {
            (first.queued, first.buffered) = (self.admission.waiting(), self.admission.buffered());
            first.discovery = gauges_of(&self.discovery);
        }
        gauges
    }

    /// The statistics for the program that embeds the router.
    pub(crate) fn stats(&self) -> RouterStats {
        let loads = self.pools().flat_map(|pool| pool.worker_loads()).collect::<Vec<_>>();
        RouterStats::new(&self.pool.telemetry.metrics, self.admission.waiting() as u64, &loads)
    }
}

/// How well the pods of Kubernetes are known; `None` without discovery.
#[cfg(feature = "kubernetes")]
fn gauges_of(status: &PodsStatus) -> Option<router_telemetry::DiscoveryGauges> {
    let figures = status.figures()?;
    Some(router_telemetry::DiscoveryGauges {
        is_current: figures.is_current,
        age: figures.age,
        lists: figures.lists,
        events: figures.events,
        failures: figures.failures,
    })
}

/// This build has no discovery.
#[cfg(not(feature = "kubernetes"))]
const fn gauges_of(_: &PodsStatus) -> Option<router_telemetry::DiscoveryGauges> {
    None
}

impl ProxyError {
    /// The error for a request that found no worker in `pool`.
    pub(crate) fn no_worker(pool: &WorkerPool) -> Self {
        Self::NoWorker { healthy: pool.healthy(), total: pool.candidates.all().len() }
    }
}
