//! Encodes requests to workers.

use super::hop_by_hop::{is_hop_by_hop, named};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use smallvec::SmallVec;
use std::io::IoSlice;

/// A body of at most this many bytes is copied behind the head: one buffer is cheaper to send than two.
const SMALL: usize = 16 << 10;

/// Initial capacity for a head, in bytes; enough for most.
const HEAD: usize = 768;

/// An encoded request, and how much of it has been sent.
#[derive(Clone, Debug)]
pub struct EncodedRequest {
    /// The head, and a small body.
    start: Vec<u8>,
    /// A large body.
    rest: Bytes,
    /// How many bytes of `start` and `rest` together have been sent.
    sent: usize,
    /// What its response may be.
    asks_for: AskedFor,
    /// Whether a worker may get it a second time.
    repeat: Repeat,
}

/// What a request asks for, as far as the reader of the response has to know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AskedFor {
    /// A response, which may have a body.
    Response,
    /// The head alone: the method is HEAD.
    Head,
    /// Another protocol on the same connection, or a response.
    Upgrade,
}

/// Whether a worker may get a request a second time, when the first time may have reached it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Repeat {
    Allowed,
    /// The request has an id that the worker may have seen.
    Forbidden,
}

impl EncodedRequest {
    /// Whether it has been sent completely.
    pub(crate) fn is_sent(&self) -> bool {
        self.sent == self.start.len() + self.rest.len()
    }

    /// Whether no byte has been sent.
    pub(crate) const fn is_untouched(&self) -> bool {
        self.sent == 0
    }

    pub(crate) const fn asks_for(&self) -> AskedFor {
        self.asks_for
    }

    /// Whether it asks for another protocol. Then it needs a connection of its own.
    pub(crate) fn asks_for_upgrade(&self) -> bool {
        self.asks_for == AskedFor::Upgrade
    }

    /// The request from its first byte, to be sent on another connection to the same worker; `None` when the worker may
    /// have seen its id.
    pub(crate) fn repeated(mut self) -> Option<Self> {
        if self.repeat == Repeat::Forbidden && !self.is_untouched() {
            return None;
        }
        self.sent = 0;
        Some(self)
    }

    /// The unsent bytes, in two pieces of which either may be empty.
    pub(crate) fn pieces(&self) -> [IoSlice<'_>; 2] {
        let (start, rest) = match self.start.get(self.sent..) {
            Some(start) => (start, &self.rest[..]),
            None => (&[][..], self.rest.get(self.sent - self.start.len()..).unwrap_or_default()),
        };
        [IoSlice::new(start), IoSlice::new(rest)]
    }

    /// Records that `sent` more bytes have been sent.
    pub(crate) const fn advance(&mut self, sent: usize) {
        self.sent += sent;
    }
}

/// Writes a request head line by line. It adds `content-length` itself.
#[derive(Debug)]
pub struct RequestEncoder {
    bytes: Vec<u8>,
    body: Bytes,
    asks_for: AskedFor,
    repeat: Repeat,
    /// The names of the headers that were set.
    set: SmallVec<[HeaderName; 6]>,
}

impl RequestEncoder {
    /// Starts a request with its request line and `content-length`. `base` is put before the path.
    pub fn new(method: &Method, base: &str, path: &PathAndQuery, body: Bytes) -> Self {
        let room = HEAD + if body.len() <= SMALL { body.len() } else { 0 };
        let mut bytes = Vec::with_capacity(room + base.len() + path.as_str().len());
        for part in [method.as_str(), " ", base, path.as_str(), " HTTP/1.1\r\n"] {
            bytes.extend_from_slice(part.as_bytes());
        }
        // An empty body of these methods needs no `content-length`.
        let has_no_body_by_default =
            matches!(*method, Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS);
        if !body.is_empty() || !has_no_body_by_default {
            bytes.extend_from_slice(b"content-length: ");
            bytes.extend_from_slice(itoa::Buffer::new().format(body.len()).as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        let asks_for = if *method == Method::HEAD { AskedFor::Head } else { AskedFor::Response };
        Self { bytes, body, asks_for, repeat: Repeat::Allowed, set: SmallVec::new() }
    }

    /// The worker must not get the request a second time when the first time may have reached it: it has an id of its
    /// own, and some engines respond wrongly to an id that they have seen.
    pub const fn forbid_repeat(&mut self) {
        self.repeat = Repeat::Forbidden;
    }

    /// Asks for another protocol on the same connection, such as `websocket`.
    pub fn ask_for_upgrade(&mut self, protocol: &HeaderValue) {
        self.asks_for = AskedFor::Upgrade;
        self.line(&header::CONNECTION, &HeaderValue::from_static("upgrade"));
        self.line(&header::UPGRADE, protocol);
    }

    /// Sets a header. [`forward`](Self::forward) skips headers of this name.
    pub fn set(&mut self, name: HeaderName, value: &HeaderValue) {
        self.line(&name, value);
        self.set.push(name);
    }

    fn line(&mut self, name: &HeaderName, value: &HeaderValue) {
        let bytes = &mut self.bytes;
        bytes.reserve(name.as_str().len() + value.len() + 4);
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }

    /// Adds the headers of a client, without hop-by-hop headers, headers that frame the message, and headers that are set
    /// already.
    pub fn forward(&mut self, headers: &HeaderMap) {
        let named = named(headers.get_all(header::CONNECTION));
        for (name, value) in headers {
            let frames = *name == header::CONTENT_LENGTH || *name == header::EXPECT;
            if !frames && !is_hop_by_hop(name) && !named.contains(name) && !self.set.contains(name) {
                self.line(name, value);
            }
        }
    }

    /// Ends the head and returns the request.
    pub fn finish(self) -> EncodedRequest {
        let Self { bytes: mut start, body, asks_for, repeat, .. } = self;
        start.extend_from_slice(b"\r\n");
        let rest = if body.len() <= SMALL {
            start.extend_from_slice(&body);
            Bytes::new()
        } else {
            body
        };
        EncodedRequest { start, rest, sent: 0, asks_for, repeat }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(request: &EncodedRequest) -> String {
        String::from_utf8(request.pieces().iter().flat_map(|piece| piece.to_vec()).collect()).unwrap()
    }

    #[test]
    fn connection_headers_are_dropped() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "router"),
            ("connection", "keep-alive, X-Hop, content-length"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("expect", "100-continue"),
            ("content-length", "99"),
            ("authorization", "Bearer k"),
            ("x-custom", "kept"),
            ("x-other", "theirs"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers.append("x-custom", HeaderValue::from_static("twice"));
        headers.append("connection", HeaderValue::from_static("x-custom-hop"));
        headers.insert("x-custom-hop", HeaderValue::from_static("1"));
        let path = PathAndQuery::from_static("/generate?x=1");
        let mut head = RequestEncoder::new(&Method::POST, "/engine", &path, Bytes::from_static(b"{}"));
        head.set(header::HOST, &HeaderValue::from_static("worker"));
        head.set(HeaderName::from_static("x-other"), &HeaderValue::from_static("ours"));
        head.forward(&headers);
        let request = head.finish();
        assert_eq!(
            text(&request),
            "POST /engine/generate?x=1 HTTP/1.1\r\ncontent-length: 2\r\nhost: worker\r\nx-other: ours\r\n\
             authorization: Bearer k\r\nx-custom: kept\r\nx-custom: twice\r\n\r\n{}"
        );
    }

    #[test]
    fn content_length_is_sent_when_needed() {
        let of = |method, body: &'static str| {
            let path = PathAndQuery::from_static("/");
            text(&RequestEncoder::new(&method, "", &path, Bytes::from_static(body.as_bytes())).finish())
        };
        assert_eq!(of(Method::GET, ""), "GET / HTTP/1.1\r\n\r\n");
        assert_eq!(of(Method::GET, "a"), "GET / HTTP/1.1\r\ncontent-length: 1\r\n\r\na");
        assert_eq!(of(Method::POST, ""), "POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n");
    }

    #[test]
    fn large_body_is_sent_once_without_copy() {
        let body: Vec<u8> = (0..40_000_u32).map(|n| n as u8).collect();
        let path = PathAndQuery::from_static("/");
        let mut request = RequestEncoder::new(&Method::POST, "", &path, body.clone().into()).finish();
        assert!(request.is_untouched() && !request.is_sent());
        let mut wire = Vec::new();
        for step in (1..).map(|n| n * 7) {
            let pieces: Vec<u8> = request.pieces().iter().flat_map(|p| p.to_vec()).take(step).collect();
            if pieces.is_empty() {
                break;
            }
            request.advance(pieces.len());
            wire.extend(pieces);
        }
        assert!(request.is_sent() && wire.ends_with(&body));
        assert_eq!(wire.len(), body.len() + "POST / HTTP/1.1\r\ncontent-length: 40000\r\n\r\n".len());
    }
}
