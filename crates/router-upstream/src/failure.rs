//! What is wrong with a worker: from the error of an exchange to a reason and a sentence that says what to do.

use crate::client::ClientError;
use crate::connect_error::ConnectError;
use crate::connection_pool::UpstreamError;
use crate::health::WorkerFailure;
use crate::http1::{CollectError, ResponseError};
use crate::target::{WorkerProtocol, WorkerTarget};
use http::StatusCode;
use http::uri::PathAndQuery;
use router_telemetry::FailureReason;

impl WorkerFailure {
    /// The failure of a check of `target` that got no response.
    pub(crate) fn of_check(error: &ClientError, target: &WorkerTarget) -> Self {
        let mut failure = Self::from(error);
        if failure.reason == FailureReason::Disconnected && !target.is_secure() {
            let secure = if target.protocol() == WorkerProtocol::Grpc { "grpcs" } else { "https" };
            failure.message.push_str(&format!(" (a port that expects {secure}:// does this, too)"));
        }
        failure
    }

    /// The failure of a check of `target` that got an error status.
    pub(crate) fn of_status(status: StatusCode, target: &WorkerTarget, path: &PathAndQuery) -> Self {
        let base = target.base();
        let hint = if status == StatusCode::NOT_FOUND && !base.is_empty() {
            format!(": the path {base} of the worker's URL is put before the path of every request")
        } else {
            String::new()
        };
        let message = format!("{base}{path} responded with status {}{hint}", status.as_u16());
        Self { reason: FailureReason::Status, message }
    }
}

impl From<&ClientError> for WorkerFailure {
    fn from(error: &ClientError) -> Self {
        let reason = match error {
            ClientError::Timeout(_) => FailureReason::Timeout,
            ClientError::Connection(error) => return Self::from(error),
            ClientError::Response(CollectError::Response(error)) => of_response(error),
            ClientError::Response(CollectError::TooLarge(_)) => FailureReason::InvalidResponse,
        };
        Self { reason, message: error.to_string() }
    }
}

impl From<&UpstreamError> for WorkerFailure {
    fn from(error: &UpstreamError) -> Self {
        let reason = match error {
            UpstreamError::Connect { source, .. } => of_connect(source),
            UpstreamError::Response(error) | UpstreamError::Stale(error) => of_response(error),
        };
        Self { reason, message: crate::client::root_cause(error) }
    }
}

fn of_connect(error: &ConnectError) -> FailureReason {
    match error {
        ConnectError::Resolve { .. } => FailureReason::Dns,
        ConnectError::Certificate(_) => FailureReason::Certificate,
        ConnectError::Handshake { .. } | ConnectError::HandshakeTimeout(_) => FailureReason::Tls,
        ConnectError::NoAddress { .. } if error.is_refused() => FailureReason::ConnectionRefused,
        ConnectError::NoAddress { .. } if error.is_timeout() => FailureReason::ConnectTimeout,
        ConnectError::NoAddress { .. } => FailureReason::Unreachable,
    }
}

const fn of_response(error: &ResponseError) -> FailureReason {
    match error {
        ResponseError::Closed | ResponseError::Broken(_) => FailureReason::Disconnected,
        ResponseError::Invalid(_) | ResponseError::NotGrpc(_) => FailureReason::InvalidResponse,
    }
}
