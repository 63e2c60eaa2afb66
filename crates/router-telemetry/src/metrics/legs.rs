//! Metrics of split requests (`--pd-disaggregation`) by route; those of workers are counted with each worker.

use crate::prometheus::family::{Buckets, Histograms, family, histograms};
use crate::prometheus::labels::{ErrorLabels, RouteLabel};
use prometheus_client::metrics::{counter::Counter, family::Family};
use prometheus_client::registry::Registry;
use router_core::Route;
use std::time::Duration;

/// Metrics that exist only with `--pd-disaggregation`.
#[derive(Clone, Debug)]
pub(crate) struct LegMetrics {
    requests: Family<RouteLabel, Counter>,
    duration: Histograms<RouteLabel>,
    pub(crate) errors: Family<ErrorLabels, Counter>,
}

impl LegMetrics {
    pub(crate) fn new(r: &mut Registry, durations: &Buckets) -> Self {
        let help = "From request received to response head sent, for split requests";
        let duration: Histograms<RouteLabel> = histograms(r, "pd_request_duration_seconds", help, durations);
        Self {
            requests: family(r, "pd_requests", "Requests split into prefill and decode, by route"),
            duration,
            errors: family(r, "pd_errors", "Requests to be split that got an error response from the router"),
        }
    }

    pub(crate) fn response_started(&self, route: Route, took: Duration) {
        let label = RouteLabel { route: route.as_str() };
        self.requests.get_or_create(&label).inc();
        self.duration.get_or_create(&label).observe(took.as_secs_f64());
    }
}
