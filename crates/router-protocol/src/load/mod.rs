//! What the load endpoints of the engines say, in one shape ([`WorkerLoad`]).
//!
//! A body that says nothing about load is an error, never zeros: an endpoint that changed its shape must not make its
//! worker look idle. To read another endpoint, add a variant of [`LoadEndpoint`], its place in
//! [`ALL`](LoadEndpoint::ALL), its path, and a file with its reader.

mod figures;
mod get_load;
mod metrics_text;
mod orca;
mod v1_loads;
mod vllm_load;

pub use figures::{LoadFigures, RankLoad, WorkerLoad};
pub use orca::parse_orca;

use crate::json::{JsonReader, Parse};

/// Where load is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LoadEndpoint {
    /// `/v1/loads` of SGLang from 0.5.8 on. The only one with every figure.
    V1Loads,
    /// `/get_load` of SGLang, gone in 0.5.23: one number of tokens, or a list with an entry per data-parallel rank.
    GetLoad,
    /// `/metrics` of SGLang (with `--enable-metrics`; it lags) and of vLLM (up to date).
    Metrics,
    /// `/load` of vLLM: requests in flight, waiting or running, zero unless `--enable-server-load-tracking`.
    VllmLoad,
}

impl LoadEndpoint {
    /// Every endpoint, in the order in which a worker is asked until one states its load. An endpoint that says more
    /// comes before one that says less. `/get_load` has fewer figures than `/metrics` but comes before it, because
    /// SGLang's metrics lag.
    pub const ALL: [Self; 4] = [Self::V1Loads, Self::GetLoad, Self::Metrics, Self::VllmLoad];

    /// The path to ask, with the query that keeps the response small.
    pub const fn path(self) -> &'static str {
        match self {
            Self::V1Loads => "/v1/loads?include=core",
            Self::GetLoad => "/get_load",
            Self::Metrics => "/metrics",
            Self::VllmLoad => "/load",
        }
    }
}

/// Why a body is no load report.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadParseError {
    /// It is not JSON.
    #[error("the body is not JSON")]
    NotJson,
    /// It is not text.
    #[error("the body is not UTF-8 text")]
    NotText,
    /// It is well formed, but nothing in it is a load figure we know.
    #[error("the body of {0} states no load")]
    NoLoad(&'static str),
}

/// Reads the body of a load endpoint (status 200).
///
/// # Errors
/// When the body is malformed or says nothing about load.
///
/// ```
/// use router_protocol::{LoadEndpoint, parse_load};
/// let body = br#"{"loads":[{"dp_rank":0,"num_waiting_reqs":3},{"dp_rank":1,"num_waiting_reqs":4}]}"#;
/// let load = parse_load(LoadEndpoint::V1Loads, body)?;
/// assert_eq!((load.total.waiting, load.rank(1).unwrap().waiting), (Some(7), Some(4)));
/// # Ok::<(), router_protocol::LoadParseError>(())
/// ```
pub fn parse_load(endpoint: LoadEndpoint, body: &[u8]) -> Result<WorkerLoad, LoadParseError> {
    let load = match endpoint {
        LoadEndpoint::V1Loads => read_json(body, v1_loads::read_v1_loads)?,
        LoadEndpoint::GetLoad => read_json(body, get_load::read_get_load)?,
        LoadEndpoint::Metrics => {
            metrics_text::read_metrics(std::str::from_utf8(body).map_err(|_| LoadParseError::NotText)?)
        }
        LoadEndpoint::VllmLoad => read_json(body, vllm_load::read_vllm_load)?,
    };
    if load.total.states_load() { Ok(load) } else { Err(LoadParseError::NoLoad(endpoint.path())) }
}

fn read_json(
    body: &[u8],
    read: fn(&mut JsonReader<'_>) -> Parse<WorkerLoad>,
) -> Result<WorkerLoad, LoadParseError> {
    let mut r = JsonReader::new(body);
    let load = read(&mut r).map_err(|_| LoadParseError::NotJson)?;
    if r.at_end() { Ok(load) } else { Err(LoadParseError::NotJson) }
}
