//! The row of one worker, and what has changed of it.

use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// Why a worker is in its state.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Cause {
    /// A word that stands for the reason, such as `connection_refused`.
    pub reason: String,
    /// The reason in words.
    pub message: String,
    /// Since when.
    pub since: Option<f64>,
}

/// The last attempt that a worker failed, or its last failed check.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Fault {
    /// When.
    pub at: f64,
    /// A word that stands for the reason: the router's error code, the outcome, or the reason of a failed check.
    pub reason: String,
    /// The HTTP status of the worker's response; `None` when there was none.
    pub status: Option<u16>,
}

/// A member that is present, whether or not it is `null`.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// Makes a row and the struct of what has changed of it: the same members, each of them absent while it is as it was.
macro_rules! row {
    (
        $(#[$row_doc:meta])* row $row:ident; $(#[$change_doc:meta])* change $change:ident;
        $($(#[$doc:meta])* $field:ident: $type:ty,)*
    ) => {
        $(#[$row_doc])*
        #[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $row {
            /// The worker's id, as in `/workers/{id}`.
            pub id: String,
            $($(#[$doc])* pub $field: $type,)*
        }

        $(#[$change_doc])*
        #[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
        pub struct $change {
            /// The worker's id.
            pub id: String,
            $(
                $(#[$doc])*
                #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
                pub $field: Option<$type>,
            )*
        }

        impl $row {
            /// What has changed until `later`; `None` if nothing has.
            pub fn change_to(&self, later: &Self) -> Option<$change> {
                if self == later {
                    return None;
                }
                Some($change {
                    id: later.id.clone(),
                    $($field: (self.$field != later.$field).then(|| later.$field.clone()),)*
                })
            }

            /// Takes over what has changed.
            pub fn apply(&mut self, change: $change) {
                $(if let Some(value) = change.$field {
                    self.$field = value;
                })*
            }
        }
    };
}

row! {
    /// One worker. Rates and quantiles are those of the last minute, or of the time since somebody began to watch if that is
    /// shorter ([`RouterState::window_secs`](crate::RouterState::window_secs)).
    row WorkerRow;
    /// What has changed of one worker.
    change WorkerChange;
    /// Its name in records and labels: the base URL, or `URL@RANK` for one data-parallel rank.
    name: String,
    /// The model of its pool; `None` until a worker has told it.
    model: Option<String>,
    /// What it does: `regular`, `prefill` or `decode`.
    kind: String,
    /// Where it is: its label `zone` or `topology.kubernetes.io/zone`.
    zone: Option<String>,
    /// The labels that the operator gave it.
    labels: BTreeMap<String, String>,
    /// `pending`, `healthy`, `unhealthy`, `not_ready`, `draining` (no new requests, and some in flight) or `drained` (none left).
    state: String,
    /// Why it is unhealthy, not ready or has failed a check.
    cause: Option<Cause>,
    /// When it joined, or began to drain.
    since: Option<f64>,
    /// Its circuit breaker: `closed`, `open` or `half_open`; `None` where breakers are off.
    breaker: Option<String>,
    /// Requests in flight on it, from this router.
    in_flight: u32,
    /// The most that it may have; `None` for no limit.
    cap: Option<u32>,
    /// Requests that wait on it, by its last report and what was sent since.
    waiting: Option<u32>,
    /// By how much that has grown in the last ten seconds.
    waiting_growth: Option<i64>,
    /// Whether it gets requests only when no other worker can take them, because of the load that it reports.
    is_overloaded: bool,
    /// Whether it missed a weight update and has not caught up.
    has_outdated_weights: bool,
    /// Relative capacity.
    weight: f64,
    /// Of workers at equal cost the one with the higher priority is taken.
    priority: u32,
    /// Its share of all decisions, 0 to 1.
    share: Option<f64>,
    /// Decisions for it per second.
    requests_per_sec: Option<f64>,
    /// Share of its attempts that it failed, 0 to 1.
    failure_share: Option<f64>,
    /// Time to the first byte of a stream, median, in seconds.
    ttft_p50: Option<f64>,
    /// The 99th percentile of that.
    ttft_p99: Option<f64>,
    /// Tokens that it generated per second, in all.
    tokens_per_sec: Option<f64>,
    /// Share of prompt tokens that were in its cache, 0 to 1.
    cached_share: Option<f64>,
    /// Tokens per second of one stream, median.
    stream_speed: Option<f64>,
    /// That, over the median of the fleet's workers of the same model: 0.5 is half as fast.
    relative_speed: Option<f64>,
    /// The median time to the first byte, over the median of those workers: 2 is twice as long.
    relative_ttft: Option<f64>,
    /// Responses that its speed is taken from.
    responses: u32,
    /// First bytes that `ttft_p50` and `ttft_p99` are taken from.
    first_bytes: u32,
    /// How many times as long as the others it takes, as the policy predicts for the same request; `None` where it predicts nothing.
    predicted_slowness: Option<f64>,
    /// Whether it is much slower than its peers ([`WorkerRow::slowness`]).
    is_slow: bool,
    /// Mean relative error of what the policy predicted of its responses, where the policy tells it.
    forecast_error: Option<f64>,
    /// Its last failure since somebody began to watch.
    last_fault: Option<Fault>,
}
