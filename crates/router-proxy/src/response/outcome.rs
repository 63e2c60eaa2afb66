//! What a worker's response says about the worker. It is judged once, here, for retries, breakers, metrics and records.

use super::observer::is_event_stream;
use crate::error::is_overloaded;
use bytes::Bytes;
use http::StatusCode;
use http::response::Parts;
use router_core::{Outcome, Route};
use router_protocol::{EngineError, ResponseFacts, StreamObserver, read_response};

/// How much of a response's body has come with its first frame.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FirstFrame<'a> {
    /// Nothing yet: the client's response begins without it.
    Late,
    /// The response has no body.
    Absent,
    /// The whole body.
    Whole(&'a Bytes),
    /// The beginning of the body.
    Beginning(&'a Bytes),
}

/// The outcome as far as the head and the first frame of the body tell. An engine may respond 200 before it knows that it
/// has no room or fails: then the stream is empty (SGLang 0.4.10), or its first event is an error (0.5.23, vLLM).
pub(crate) fn first_outcome(parts: &Parts, first: FirstFrame<'_>, route: Route) -> Outcome {
    let is_stream = is_event_stream(&parts.headers);
    let data = match first {
        _ if !parts.status.is_success() => return of_status(parts.status),
        FirstFrame::Late => return Outcome::Success,
        FirstFrame::Absent if is_stream => return Outcome::Busy,
        FirstFrame::Beginning(data) | FirstFrame::Whole(data) if is_stream => data,
        FirstFrame::Whole(data) if route.runs_the_model() => data,
        _ => return Outcome::Success,
    };
    // Few responses contain either word, so that hardly any is parsed twice.
    if ![&b"\"error\""[..], b"\"abort\""].iter().any(|word| memchr::memmem::find(data, word).is_some()) {
        return Outcome::Success;
    }
    let facts = if is_stream {
        let mut observer = StreamObserver::new(route);
        observer.push(data);
        observer.finish()
    } else {
        read_response(data)
    };
    of_error(facts.error.as_ref())
}

/// Whether the first frame of a stream says nothing yet about its worker, so that the next one has to be waited for: SGLang
/// begins a message that it cannot serve with a `message_start` without input tokens, and then sends the error.
pub(crate) fn is_undecided(parts: &Parts, data: &Bytes, route: Route) -> bool {
    let has = |word: &[u8]| memchr::memmem::find(data, word).is_some();
    route == Route::Messages
        && parts.status.is_success()
        && is_event_stream(&parts.headers)
        && data.starts_with(b"event: message_start")
        && has(b"\"input_tokens\":0,")
        && !has(b"\nevent: ")
}

/// The outcome of a response that arrived whole. `facts` are those of its body, where it was observed.
pub(crate) fn final_outcome(status: StatusCode, facts: Option<&ResponseFacts>, is_stream: bool) -> Outcome {
    if !status.is_success() {
        return of_status(status);
    }
    if is_stream && facts.is_some_and(|facts| facts.events == 0 && !facts.complete) {
        return Outcome::Busy;
    }
    of_error(facts.and_then(|facts| facts.error.as_ref()))
}

/// The outcome of a 2xx response that carries this error.
fn of_error(error: Option<&EngineError>) -> Outcome {
    error.map_or(Outcome::Success, |error| {
        of_status(StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
    })
}

/// The outcome of a response with this status.
pub(crate) fn of_status(status: StatusCode) -> Outcome {
    match status {
        _ if is_overloaded(status) => Outcome::Busy,
        // Another worker would not implement it either.
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => Outcome::Rejected,
        _ if status.is_client_error() => Outcome::Rejected,
        _ if status.is_server_error() => Outcome::Failed,
        _ => Outcome::Success,
    }
}
