//! Gauges from which a fleet is scaled.

use router_core::ScalingSignals;
use std::sync::Arc;
use std::time::Duration;

/// The figures for scaling of one pool. Unknown ones have no sample.
#[derive(Clone, PartialEq, Debug)]
pub struct ScaleGauges {
    /// Which pool: `main`, or `prefill` where prefill and decode are apart.
    pub pool: &'static str,
    /// The model that its workers serve, once it is known.
    pub model: Option<Arc<str>>,
    /// The figures.
    pub signals: ScalingSignals,
    /// For how long the oldest request has waited in the router; zero when none waits.
    pub queue_age: Duration,
}

/// A gauge: its name, its help, and its value where it is known.
type ScaleGauge = (&'static str, &'static str, fn(&ScaleGauges) -> Option<f64>);

/// All of them.
pub(super) const SCALE_GAUGES: [ScaleGauge; 6] = [
    (
        "scale_saturation",
        "Demand on a pool over what its workers can take within the SLO: 1 is full, above it the SLO is missed",
        |gauges| gauges.signals.saturation.ok(),
    ),
    (
        "scale_workers_needed",
        "Workers that a pool needs for its arrival rate, the forecast of it and its backlog, within the SLO; to be rounded up",
        |gauges| Some(gauges.signals.workers_needed.ok()?.workers),
    ),
    (
        "scale_worker_capacity",
        "Requests per second that one worker of a pool can take within the SLO",
        |gauges| Some(gauges.signals.capability.ok()?.requests_per_sec),
    ),
    ("scale_arrival_rate", "Requests per second that arrive for a pool", |gauges| {
        gauges.signals.arrival_rate.ok()
    }),
    (
        "scale_arrival_rate_forecast",
        "Requests per second that are expected to arrive for a pool after --scale-horizon-secs",
        |gauges| Some(gauges.signals.forecast.ok()?.rate),
    ),
    (
        "scale_queue_age_seconds",
        "For how long the oldest request has waited in the router for admission or for a worker, 0 while none waits",
        |gauges| Some(gauges.queue_age.as_secs_f64()),
    ),
];
