//! The figures from which a pool is scaled, each with the reason why it is not known.

use super::forecaster::RateForecast;
use std::fmt;

/// Why a figure is not known.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScaleUnknown {
    /// Arrivals have not been watched for long enough.
    TooSoon {
        /// Seconds that it takes.
        secs: u32,
    },
    /// Too few responses told their times and token counts.
    FewResponses {
        /// Observations so far: two of a stream, one of another response.
        seen: u32,
        /// Observations that it takes.
        needed: u32,
    },
    /// No worker may be chosen.
    NoWorker,
}

impl fmt::Display for ScaleUnknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSoon { secs } => write!(f, "arrivals have been watched for less than {secs} s"),
            Self::FewResponses { seen, needed } => {
                write!(f, "{seen} of the {needed} observations of response times that are needed")
            }
            Self::NoWorker => f.write_str("no worker may be chosen"),
        }
    }
}

/// What one worker can take.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct WorkerCapability {
    /// Seconds of a usual worker's time that a usual request takes: its uncached prompt and what its tokens add to decode steps.
    pub work_secs: f64,
    /// The highest load, in seconds of work per second, at which the SLO was kept, or is expected to be.
    pub load_limit: f64,
    /// Responses from which the limit is known; the fewer, the more it is that of the model.
    pub limit_responses: f64,
    /// Requests per second at that load.
    pub requests_per_sec: f64,
    /// Whether a usual request would miss the SLO even on an idle worker.
    pub is_slo_out_of_reach: bool,
}

/// How many workers the pool needs, and for what.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct WorkersNeeded {
    /// All together: to be rounded up.
    pub workers: f64,
    /// For the present arrival rate.
    pub for_rate: f64,
    /// For the forecast rate.
    pub for_forecast: f64,
    /// For the mean rate of this time with the bursts that came within the last hour; absent until enough requests came.
    pub for_bursts: Option<f64>,
    /// For the requests that wait.
    pub for_backlog: f64,
}

/// The figures of one pool at one time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ScalingSignals {
    /// Requests per second that arrive.
    pub arrival_rate: Result<f64, ScaleUnknown>,
    /// What will arrive when a worker that is started now is ready.
    pub forecast: Result<RateForecast, ScaleUnknown>,
    /// Requests beyond those that are served in time: those that the host lets wait, and those on workers that are more than
    /// the arrival rate explains.
    pub backlog: Result<f64, ScaleUnknown>,
    /// What a worker of this pool can take.
    pub capability: Result<WorkerCapability, ScaleUnknown>,
    /// Demand over what the routable workers can take within the SLO: 1 is full, above it the SLO is missed.
    pub saturation: Result<f64, ScaleUnknown>,
    /// Workers that are needed, as many as are like the present ones.
    pub workers_needed: Result<WorkersNeeded, ScaleUnknown>,
    /// Workers that may be chosen at present.
    pub workers: u32,
}
