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
//! | `DEADLINE_EXCEEDED`, and `CANCELLED` with the details "Timeout expired" | 504 |
//! | `INTERNAL` | 400 where the details are about the request, else 500 |
//! | `UNKNOWN`, `DATA_LOSS` | 500 |
//!
//! SGLang ends a call with `INTERNAL` for every exception, those included that HTTP answers with 400: a body that is no JSON, a
//! parameter out of range, a prompt that is too long. As 500 such a request would be tried on every worker, and would count against
//! each of them. So the details decide: what reads like a complaint about the request is 400.
//!
//! SGLang's server is built on tonic, which ends a call whose `grpc-timeout` has passed with `CANCELLED` and "Timeout expired".

use http::StatusCode;
use tonic::{Code, Status};

/// What the details of `INTERNAL` have where they are about the request: the messages of Python's `json`, of pydantic, of the decoder of
/// messages, and of the checks that SGLang makes of parameters and prompts.
const ABOUT_THE_REQUEST: [&str; 18] = [
    "expecting ",
    "unterminated string",
    "extra data",
    "invalid",
    "validation error",
    "failed to decode protobuf",
    "must be",
    "should be",
    "must not",
    "cannot be",
    "longer than",
    "out of range",
    "exceed",
    "required",
    "unsupported",
    "not supported",
    "does not support",
    "unexpected keyword",
];

/// The details of `CANCELLED` where a server of tonic ends a call because its time is over.
const TIMEOUT_EXPIRED: &str = "Timeout expired";

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
        Code::Cancelled if status.message() == TIMEOUT_EXPIRED => StatusCode::GATEWAY_TIMEOUT,
        Code::Unavailable | Code::Cancelled | Code::Aborted => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Internal if is_about_the_request(status.message()) => StatusCode::BAD_REQUEST,
        Code::Internal | Code::Unknown | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn is_about_the_request(details: &str) -> bool {
    let details = details.to_ascii_lowercase();
    ABOUT_THE_REQUEST.iter().any(|complaint| details.contains(complaint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_of_internal_tell_whose_fault_it_is() {
        let of = |details: &str| http_status(&Status::internal(details)).as_u16();
        for details in [
            "Expecting value: line 1 column 10 (char 9)",
            "1 validation error for ChatCompletionRequest\nmessages\n  Input should be a valid list",
            "temperature must be a non-negative finite number, got -1.0.",
            "The input (5001 tokens) is longer than the model's context length (2048 tokens).",
            "routed_dp_rank=3 out of range [0, 1)",
            "failed to decode Protobuf message: TextGenerateRequest.text: invalid varint",
            "max_new_tokens must be at least 0, got -3.",
        ] {
            assert_eq!(of(details), 400, "{details}");
        }
        for details in ["", "CUDA error: device-side assert triggered", "CUDA out of memory.", "list index 3"]
        {
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
        let expired = Status::from_error(Box::new(tonic::TimeoutExpired(())));
        assert_eq!(
            (expired.code(), http_status(&expired).as_u16()),
            (Code::Cancelled, 504),
            "as tonic says it"
        );
    }
}
