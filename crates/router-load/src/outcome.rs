//! How one request of a load ended.

use router_protocol::ResponseFacts;
use std::time::Duration;

/// Everything known about one request that was sent. Times count from the start of the load.
#[derive(Debug)]
pub struct RequestOutcome {
    /// Which request of the plan, from 0.
    pub index: usize,
    /// When it arrived: as planned, or when it was sent where nothing was planned.
    pub arrival: Duration,
    /// When the sender got to it. A new connection is made after this moment.
    pub sent: Duration,
    /// How much later than it should have been: after its planned arrival, and after there was room for it.
    /// Unknown where no arrival was planned.
    pub lateness: Option<Duration>,
    /// When the first event of its stream had come; streams only.
    pub first_event: Option<Duration>,
    /// When its last byte had come, or it was given up.
    pub finished: Duration,
    /// HTTP status, if an answer began.
    pub status: Option<u16>,
    /// The worker that answered, by the word of the router in this very answer (`x-sglang-worker`).
    pub worker: Option<String>,
    /// Length of the body in bytes.
    pub bytes: u64,
    /// What the answer says about itself.
    pub facts: ResponseFacts,
    /// Why it is no answer; `None` = it came whole, with a 2xx and without an error in it.
    pub failure: Option<RequestFailure>,
}

impl RequestOutcome {
    /// Whether it came whole, with a 2xx and without an error in it.
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

/// Why a request got no answer.
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
    /// The connection broke, or what came was not HTTP.
    #[error("{}", chain(.0))]
    Broken(#[from] hyper::Error),
    /// It was answered with an error status.
    #[error("HTTP {status}: {message}")]
    Status {
        /// The status.
        status: u16,
        /// What the body says.
        message: Box<str>,
    },
    /// It was answered with 200 and an error in the body or in the stream.
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

/// The error and what caused it: hyper's own messages leave out what happened to the socket.
fn chain(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
