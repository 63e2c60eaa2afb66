//! What the requests of one router share.

use crate::admission::Admission;
use crate::carried::OpenRoutes;
use crate::error::ProxyError;
use crate::large_body::LargeBodyWork;
use crate::live_config::LiveConfig;
use crate::live_settings::LiveSettings;
use crate::models::Models;
use crate::request_id::RequestIds;
use crate::retry_budget::RetryBudget;
use crate::security::{Authenticator, Cors, Forwarding, TrustedProxies};
use crate::stats::RouterStats;
use crate::viewers::Viewers;
use arc_swap::{ArcSwap, Guard};
use router_core::WaitingRequests;
use router_telemetry::{AccessLog, BalancerGauges, Clock, ScaleGauges, TraceIds};
use router_upstream::WorkerPool;
use smallvec::SmallVec;
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
    /// The workers, in a group for each model.
    pub(crate) models: Arc<Models>,
    /// The first pool of the first model. What the router as a whole reports and runs in the background is this pool's.
    pub(crate) main: Arc<WorkerPool>,
    /// How well the pods of Kubernetes are known.
    pub(crate) discovery: PodsStatus,
    /// The configuration, which may change.
    pub(crate) config: LiveConfig,
    /// What requests read and what may change.
    pub(crate) settings: ArcSwap<LiveSettings>,
    pub(crate) admission: Admission,
    pub(crate) authenticator: Authenticator,
    pub(crate) cors: Option<Cors>,
    pub(crate) trusted_proxies: TrustedProxies,
    /// Tells workers of clients, where that is configured.
    pub(crate) forwarding: Option<Forwarding>,
    /// The access log, if there is one.
    pub(crate) access_log: Option<Arc<AccessLog>>,
    pub(crate) budget: RetryBudget,
    pub(crate) ids: RequestIds,
    /// Requests that callers of the decision service carry.
    pub(crate) open_routes: OpenRoutes,
    /// Works on large bodies.
    pub(crate) large_bodies: LargeBodyWork,
    /// Makes the ids of spans, when spans are exported.
    pub(crate) trace_ids: Option<TraceIds>,
    /// Those who watch the router; `None` where that is switched off.
    pub(crate) live: Option<Arc<Viewers>>,
    /// Whether the router was asked to stop.
    pub(crate) stopping: AtomicBool,
}

impl AppState {
    /// What requests read, as it is now.
    pub(crate) fn live(&self) -> Guard<Arc<LiveSettings>> {
        self.settings.load()
    }

    /// All pools: one for each model, or two where prefill and decode are apart.
    pub(crate) fn pools(&self) -> impl Iterator<Item = Arc<WorkerPool>> + use<> {
        let groups = self.models.groups();
        groups.into_iter().flat_map(|group| group.pools().cloned().collect::<SmallVec<[_; 2]>>())
    }

    /// Whether requests for some model find a worker, and will as long as the router runs.
    pub(crate) fn is_ready(&self) -> bool {
        !self.stopping.load(Relaxed) && self.models.groups().iter().any(|group| group.is_ready())
    }

    /// Ends the streams of those who watch the router, which would go on for ever.
    pub(crate) fn end_streams(&self) {
        if let Some(viewers) = &self.live {
            viewers.close();
        }
    }

    /// Writes out everything that is recorded of requests, and ends recording.
    pub(crate) fn close_logs(&self) {
        self.main.telemetry.close();
        if let Some(log) = &self.access_log {
            log.close();
        }
    }

    /// Everything that is measured when metrics are scraped, a part for each pool.
    pub(crate) fn gauges(&self) -> Vec<BalancerGauges> {
        let mut gauges: Vec<_> = self.pools().map(|pool| pool.gauges()).collect();
        for (gauges, scale) in gauges.iter_mut().zip(self.scale()) {
            gauges.scale = Some(scale);
        }
        // Requests wait, and their bodies are held, before a pool is chosen; the first part carries that.
        if let Some(first) = gauges.first_mut() {
            (first.queued, first.buffered) = (self.admission.waiting(), self.admission.buffered());
            first.discovery = self.discovery_gauges();
        }
        gauges
    }

    /// How well the workers to be discovered are known; `None` without discovery.
    pub(crate) fn discovery_gauges(&self) -> Option<router_telemetry::DiscoveryGauges> {
        gauges_of(&self.discovery)
    }

    /// The figures from which each pool is scaled. A request that waits in the router will need each of them.
    pub(crate) fn scale(&self) -> Vec<ScaleGauges> {
        let (count, queue_age) = self.admission.queue();
        // Of what model they are is not known before they are admitted.
        let count = if self.models.groups().len() == 1 { count as u64 } else { 0 };
        let of = |pool: Arc<WorkerPool>| ScaleGauges {
            pool: pool.side,
            model: pool.model.name(),
            signals: pool.scaling(WaitingRequests { count }),
            queue_age,
        };
        self.pools().map(of).collect()
    }

    /// A request was refused although workers could serve it if there were more.
    pub(crate) fn refused(&self) {
        if self.models.groups().len() == 1 {
            self.pools().for_each(|pool| pool.balancer.lock().refused(self.clock.now()));
        }
    }

    /// The statistics for the program that embeds the router.
    pub(crate) fn stats(&self) -> RouterStats {
        let loads = self.pools().flat_map(|pool| pool.worker_loads()).collect::<Vec<_>>();
        RouterStats::new(&self.main.telemetry.metrics, self.admission.waiting() as u64, &loads)
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
