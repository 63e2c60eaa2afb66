//! What is learned from a response while it passes.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header, response};
use router_core::Route;
use router_protocol::{ResponseFacts, StreamObserver};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Larger responses that are not streams are passed on without a look at their token counts, in bytes.
const MAX_OBSERVED: usize = 8 << 20;

/// Most bytes that all observers hold together. A response beyond that is passed on unobserved.
const MAX_HELD: usize = 64 << 20;

/// An observer that holds no more than this is not counted, in bytes.
const SMALL: usize = 16 << 10;

/// Bytes that the observers of this process hold, as far as they are counted.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// The bytes that one observer holds. Dropping it releases them.
#[derive(Debug, Default)]
pub(crate) struct ObservedBytes(usize);

impl ObservedBytes {
    /// The observer has grown to `size` bytes; false where all of them together hold too much.
    fn grow_to(&mut self, size: usize) -> bool {
        if size <= SMALL || size <= self.0 {
            return true;
        }
        let more = size - self.0;
        self.0 = size;
        HELD.fetch_add(more, Relaxed).saturating_add(more) <= MAX_HELD
    }
}

impl Drop for ObservedBytes {
    fn drop(&mut self) {
        if self.0 > 0 {
            HELD.fetch_sub(self.0, Relaxed);
        }
    }
}

/// What is learned from the bytes that pass.
#[derive(Debug)]
pub(crate) enum ResponseObserver {
    /// Nothing: an error response, or a route whose responses say nothing about the worker.
    Nothing,
    /// A whole JSON response.
    Whole {
        /// Its first piece. The usual response comes in one, and is never copied.
        first: Bytes,
        /// The other pieces, joined: kept apart, tiny pieces would take many times their length.
        rest: BytesMut,
        held: ObservedBytes,
    },
    /// A stream of events.
    Stream(StreamObserver, ObservedBytes),
}

impl ResponseObserver {
    /// The observer for a response with this head to a request of this route.
    pub(crate) fn new(parts: &response::Parts, route: Route) -> Self {
        if !parts.status.is_success() || !route.runs_the_model() {
            return Self::Nothing;
        }
        if is_event_stream(&parts.headers) {
            Self::Stream(StreamObserver::new(route), ObservedBytes::default())
        } else if has_media_type(&parts.headers, b"application/json") {
            Self::Whole { first: Bytes::new(), rest: BytesMut::new(), held: ObservedBytes::default() }
        } else {
            Self::Nothing
        }
    }

    /// Whether what passes is a stream of events.
    pub(super) const fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(..))
    }

    /// Events of a stream that have come; none where no stream is observed.
    pub(super) fn events(&self) -> u32 {
        if let Self::Stream(stream, _) = self { stream.events() } else { 0 }
    }

    pub(super) fn push(&mut self, data: &Bytes) {
        match self {
            Self::Nothing => {}
            Self::Stream(stream, held) => {
                stream.push(data);
                if !held.grow_to(stream.held_bytes()) {
                    *self = Self::Nothing;
                }
            }
            Self::Whole { first, .. } if first.is_empty() => first.clone_from(data),
            Self::Whole { first, rest, held } => {
                let len = first.len() + rest.len() + data.len();
                if len > MAX_OBSERVED
                    || !held.grow_to(first.len() + rest.capacity().max(rest.len() + data.len()))
                {
                    *self = Self::Nothing;
                } else {
                    rest.extend_from_slice(data);
                }
            }
        }
    }

    pub(super) fn facts(self) -> Option<ResponseFacts> {
        match self {
            Self::Nothing => None,
            Self::Stream(stream, _) => Some(stream.finish()),
            Self::Whole { first, rest, .. } if rest.is_empty() => {
                Some(router_protocol::read_response(&first))
            }
            Self::Whole { first, rest, .. } => {
                Some(router_protocol::read_response(&[&first[..], &rest[..]].concat()))
            }
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
