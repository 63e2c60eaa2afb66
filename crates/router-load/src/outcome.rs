//! How one request of a load ended.

use router_protocol::ResponseFacts;
use std::time::Duration;

/// Everything known about one request that was sent. Times count from the start of the load.
#[derive(Debug)]
pub struct RequestOutcome {
    /// Which request of the plan, from 0.
    pub index: usize,
    /// Planned arrival, or the time of sending where none was planned.
    pub arrival: Duration,
    /// When the sender started it. A new connection is opened after this.
    pub sent: Duration,
    /// How much later than it should have been: after its planned arrival, and after there was room for it.
    /// Unknown where no arrival was planned.
    pub lateness: Option<Duration>,
    /// When the first event had arrived; streams only.
    pub first_event: Option<Duration>,
    /// When the last byte had arrived, or the request was given up.
    pub finished: Duration,
    /// HTTP status, if a response began.
    pub status: Option<u16>,
    /// The worker that responded, from the router's header `x-sglang-worker`.
    pub worker: Option<String>,
    /// Length of the body in bytes.
    pub bytes: u64,
    /// What the response reports.
    pub facts: ResponseFacts,
    /// Why it failed; `None` = a complete 2xx response without an error in it.
    pub failure: Option<RequestFailure>,
}

impl RequestOutcome {
    /// Whether it is a complete 2xx response without an error in it.
    pub const fn is_ok(&self) -> bool {
        self.failure.is_none()
    }

    /// From arrival to the last byte.
    pub fn latency(&self) -> Duration {
        self.finished.saturating_sub(self.arrival)
    }

    /// From arrival to the first event; streams only.
    pub fn ttft(&self) -> Option<Duration> {
        self.first_event.map(|at| at.saturating_sub(self.arrival))
    }

    /// Time per generated token after the first; streams of at least two tokens only.
    pub fn tpot(&self) -> Option<Duration> {
        let further = self.facts.usage.output_tokens?.checked_sub(1).filter(|n| *n > 0)?;
        Some(self.finished.saturating_sub(self.first_event?) / further)
    }
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestFailure {
    /// No connection.
    #[error("cannot connect to {host}: {source}")]
    Connect {
        /// Host and port.
        host: String,
        /// Why.
        source: std::io::Error,
    },
    /// The connection broke, or the response is not HTTP.
    #[error("{}", chain(.0))]
    Broken(#[from] hyper::Error),
    /// The response has an error status.
    #[error("HTTP {status}: {message}")]
    Status {
        /// The status.
        status: u16,
        /// The message of the body.
        message: Box<str>,
    },
    /// The response has status 200 and an error in the body or the stream.
    #[error("the engine failed: {0}")]
    Engine(Box<str>),
    /// The engine aborted it.
    #[error("the engine aborted the response")]
    Aborted,
    /// The stream ended without a last event.
    #[error("the stream ended before its last event")]
    Cut,
    /// The body is not JSON.
    #[error("the response is not JSON")]
    NotJson,
    /// It took too long.
    #[error("no complete response within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// The load was stopped.
    #[error("interrupted before the response ended")]
    Interrupted,
}

impl RequestFailure {
    /// The kind, for counts: a closed, short list.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::Broken(_) => "broken",
            Self::Status { status: 400..=499, .. } => "http_4xx",
            Self::Status { .. } => "http_5xx",
            Self::Engine(_) => "engine",
            Self::Aborted => "aborted",
            Self::Cut => "cut",
            Self::NotJson => "not_json",
            Self::Timeout(_) => "timeout",
            Self::Interrupted => "interrupted",
        }
    }
}

/// The error with its sources: hyper's message alone does not name the socket error.
fn chain(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
