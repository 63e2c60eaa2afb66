//! What the status of a call means as the status of an HTTP response.
//!
//! | gRPC | HTTP |
//! |---|---|
//! | `OK` | what the message says, else 200 |
//! | `INVALID_ARGUMENT`, `FAILED_PRECONDITION` | 400 |
//! | `OUT_OF_RANGE` | 413 for a message over a size limit, else 400 |
//! | `UNAUTHENTICATED` | 401 |
//! | `PERMISSION_DENIED` | 403 |
//! | `NOT_FOUND` | 404 |
//! | `ALREADY_EXISTS` | 409 |
//! | `RESOURCE_EXHAUSTED` | 429 |
//! | `UNIMPLEMENTED` | 501 |
//! | `UNAVAILABLE`, `CANCELLED`, `ABORTED` | 503 |
//! | `DEADLINE_EXCEEDED` | 504 |
//! | `INTERNAL` | 400, or 500 where the details name a fault of the server |
//! | `UNKNOWN`, `DATA_LOSS` | 500 |
//!
//! SGLang ends a call with `INTERNAL` for every exception, and nearly all of them are what HTTP answers with 400: a body that is no
//! JSON, a parameter out of range, a prompt that is too long. As 500 such a request would be tried on every worker, and would count
//! against each of them.

use http::StatusCode;
use tonic::{Code, Status};

/// What in the details of `INTERNAL` names a fault of the server.
const SERVER_FAULTS: [&str; 8] = [
    "cuda",
    "nccl",
    "out of memory",
    "timed out",
    "timeout",
    "traceback",
    "not initialized",
    "shutting down",
];

/// The status of the HTTP response for a call that ended like this before its first message.
pub(crate) fn http_status(status: &Status) -> StatusCode {
    match status.code() {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition => StatusCode::BAD_REQUEST,
        Code::OutOfRange if status.message().contains("too large") => StatusCode::PAYLOAD_TOO_LARGE,
        Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable | Code::Cancelled | Code::Aborted => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Internal if !is_fault_of_server(status.message()) => StatusCode::BAD_REQUEST,
        Code::Internal | Code::Unknown | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Whether the details of `INTERNAL` name a fault of the server; it says nothing when it does not know.
fn is_fault_of_server(details: &str) -> bool {
    let details = details.to_ascii_lowercase();
    details.trim().is_empty() || SERVER_FAULTS.iter().any(|fault| details.contains(fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_is_the_clients_fault_unless_it_names_one_of_the_server() {
        let of = |details: &str| http_status(&Status::internal(details)).as_u16();
        for details in [
            "Expecting value: line 1 column 10 (char 9)",
            "1 validation error for ChatCompletionRequest\nmessages\n  Input should be a valid list",
            "temperature must be a non-negative finite number, got -1.0.",
            "The input (5001 tokens) is longer than the model's context length (2048 tokens).",
            "routed_dp_rank=3 out of range [0, 1)",
        ] {
            assert_eq!(of(details), 400, "{details}");
        }
        for details in ["", "CUDA error: device-side assert triggered", "CUDA out of memory."] {
            assert_eq!(of(details), 500, "{details}");
        }
    }

    #[test]
    fn every_code_has_a_status() {
        let of = |code| http_status(&Status::new(code, "why")).as_u16();
        let all = [
            (Code::Ok, 200),
            (Code::Cancelled, 503),
            (Code::Unknown, 500),
            (Code::InvalidArgument, 400),
            (Code::DeadlineExceeded, 504),
            (Code::NotFound, 404),
            (Code::AlreadyExists, 409),
            (Code::PermissionDenied, 403),
            (Code::ResourceExhausted, 429),
            (Code::FailedPrecondition, 400),
            (Code::Aborted, 503),
            (Code::OutOfRange, 400),
            (Code::Unimplemented, 501),
            (Code::DataLoss, 500),
            (Code::Unavailable, 503),
            (Code::Unauthenticated, 401),
        ];
        for (code, status) in all {
            assert_eq!(of(code), status, "{code:?}");
        }
        let large = "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes";
        assert_eq!(http_status(&Status::out_of_range(large)).as_u16(), 413);
    }
}
