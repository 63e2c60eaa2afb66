//! Metrics of split requests (`--pd-disaggregation`).

use crate::leg::Leg;
use crate::prometheus::family::{Buckets, Histograms, family, histograms};
use crate::prometheus::labels::{ErrorLabels, RouteLabel, WorkerLabel};
use crate::record::CompletionRecord;
use prometheus_client::metrics::{counter::Counter, family::Family};
use prometheus_client::registry::Registry;
use router_core::{Outcome, Route};
use std::sync::Arc;
use std::time::Duration;

/// Metrics that exist only with `--pd-disaggregation`.
#[derive(Clone, Debug)]
pub(crate) struct LegMetrics {
    requests: Family<RouteLabel, Counter>,
    duration: Histograms<RouteLabel>,
    pub(crate) errors: Family<ErrorLabels, Counter>,
    prefill: LegCounters,
    decode: LegCounters,
    stream_errors: Family<WorkerLabel, Counter>,
}

/// The counters of one leg.
#[derive(Clone, Debug)]
struct LegCounters {
    requests: Family<WorkerLabel, Counter>,
    errors: Family<WorkerLabel, Counter>,
}

impl LegMetrics {
    pub(crate) fn new(r: &mut Registry, durations: &Buckets) -> Self {
        let help = "From request received to response head sent, for split requests";
        let duration: Histograms<RouteLabel> = histograms(r, "pd_request_duration_seconds", help, durations);
        let help = "Streams that failed after a part was sent to the client, by decode worker";
        Self {
            requests: family(r, "pd_requests", "Requests split into prefill and decode, by route"),
            duration,
            errors: family(r, "pd_errors", "Requests to be split that got an error response from the router"),
            prefill: LegCounters {
                requests: family(r, "pd_prefill_requests", "Prefill legs that ended, by worker"),
                errors: family(
                    r,
                    "pd_prefill_errors",
                    "Prefill legs that failed or were rejected as overloaded, by worker",
                ),
            },
            decode: LegCounters {
                requests: family(r, "pd_decode_requests", "Decode legs that ended, by worker"),
                errors: family(
                    r,
                    "pd_decode_errors",
                    "Decode legs that failed or were rejected as overloaded, by worker",
                ),
            },
            stream_errors: family(r, "pd_stream_errors", help),
        }
    }

    pub(crate) fn response_started(&self, route: Route, took: Duration) {
        let label = RouteLabel { route: route.as_str() };
        self.requests.get_or_create(&label).inc();
        self.duration.get_or_create(&label).observe(took.as_secs_f64());
    }

    pub(crate) fn completed(&self, record: &CompletionRecord) {
        let leg = match record.info.leg {
            Leg::Whole => return,
            Leg::Prefill => &self.prefill,
            Leg::Decode => &self.decode,
        };
        let label = WorkerLabel { worker: Arc::clone(&record.worker.name) };
        leg.requests.get_or_create(&label).inc();
        let finish = &record.completion.result;
        if matches!(finish.outcome, Outcome::Failed | Outcome::Busy) {
            leg.errors.get_or_create(&label).inc();
            if record.forwarded && record.info.stream && record.error.is_some() {
                self.stream_errors.get_or_create(&label).inc();
            }
        }
    }

    /// Removes the series of a worker.
    pub(crate) fn remove_worker(&self, url: &Arc<str>) {
        let label = WorkerLabel { worker: Arc::clone(url) };
        for leg in [&self.prefill, &self.decode] {
            leg.requests.remove(&label);
            leg.errors.remove(&label);
        }
        self.stream_errors.remove(&label);
    }
}
