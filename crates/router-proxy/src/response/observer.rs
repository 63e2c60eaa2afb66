//! What is learned from a response while it passes.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header, response};
use router_core::Route;
use router_protocol::{ResponseFacts, StreamObserver};
use smallvec::SmallVec;

/// Larger responses that are not streams are passed on without a look at their token counts, in bytes.
const MAX_OBSERVED: usize = 8 << 20;

/// What is learned from the bytes that pass.
#[derive(Debug)]
pub(crate) enum ResponseObserver {
    /// Nothing: an error response, or a route whose responses say nothing about the worker.
    Nothing,
    /// A whole JSON response.
    Whole {
        /// Its pieces so far.
        chunks: SmallVec<[Bytes; 2]>,
        /// Their length in bytes.
        len: usize,
    },
    /// A stream of events.
    Stream(StreamObserver),
}

impl ResponseObserver {
    /// The observer for a response with this head to a request of this route.
    pub(crate) fn new(parts: &response::Parts, route: Route) -> Self {
        if !parts.status.is_success() || !route.runs_the_model() {
            return Self::Nothing;
        }
        if is_event_stream(&parts.headers) {
            Self::Stream(StreamObserver::new(route))
        } else if has_media_type(&parts.headers, b"application/json") {
            Self::Whole { chunks: SmallVec::new(), len: 0 }
        } else {
            Self::Nothing
        }
    }

    /// Whether what passes is a stream of events.
    pub(super) const fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    pub(super) fn push(&mut self, data: &Bytes) {
        match self {
            Self::Nothing => {}
            Self::Stream(stream) => stream.push(data),
            Self::Whole { chunks, len } => {
                *len += data.len();
                if *len > MAX_OBSERVED {
                    *self = Self::Nothing;
                } else {
                    chunks.push(data.clone());
                }
            }
        }
    }

    pub(super) fn facts(self) -> Option<ResponseFacts> {
        match self {
            Self::Nothing => None,
            Self::Stream(stream) => Some(stream.finish()),
            Self::Whole { chunks, len } => Some(match chunks.as_slice() {
                [one] => router_protocol::read_response(one),
                many => {
                    let mut joined = BytesMut::with_capacity(len);
                    many.iter().for_each(|c| joined.extend_from_slice(c));
                    router_protocol::read_response(&joined)
                }
            }),
        }
    }
}

/// Whether a response with these headers is a stream of events.
pub(crate) fn is_event_stream(headers: &HeaderMap) -> bool {
    has_media_type(headers, b"text/event-stream")
}

fn has_media_type(headers: &HeaderMap, media_type: &[u8]) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(media_type))
}
