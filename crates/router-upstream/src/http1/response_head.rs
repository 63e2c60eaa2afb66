//! Parses response heads.

use super::body_decoder::{BodyDecoder, ChunkState};
use super::error::ResponseError;
use super::hop_by_hop::{is_hop_by_hop, named};
use super::request_encoder::AskedFor;
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, header};
use hyper::ext::ReasonPhrase;
use smallvec::SmallVec;
use std::mem::MaybeUninit;

/// Most header lines of a response head.
const MAX_LINES: usize = 128;

/// Extra capacity for the headers that the router adds to a response.
const OWN_HEADERS: usize = 2;

/// A parsed response head.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    /// Status and headers, without hop-by-hop headers.
    pub(crate) parts: Parts,
    pub(crate) framing: BodyDecoder,
    /// The worker keep_alive the connection open after the response.
    pub(crate) keep_alive: bool,
}

/// The length of the head at the start of `bytes`, its empty line included; `None` while it is incomplete. The first
/// `seen` bytes have been searched before.
pub(crate) fn end(bytes: &[u8], seen: &mut usize) -> Option<usize> {
    while let Some(at) = memchr::memchr(b'\n', bytes.get(*seen..)?) {
        let next = *seen + at + 1;
        match bytes.get(next..) {
            Some([b'\n', ..]) => return Some(next + 1),
            Some([b'\r', b'\n', ..]) => return Some(next + 2),
            // The bytes after the line end have not arrived yet.
            Some([] | [b'\r']) | None => return None,
            Some(_) => *seen = next,
        }
    }
    *seen = bytes.len();
    None
}

/// Whether a response head may begin with `bytes`.
pub(crate) fn is_plausible(bytes: &[u8]) -> bool {
    let start = b"HTTP/1.";
    let len = bytes.len().min(start.len());
    bytes[..len] == start[..len]
}

/// What a response speaks that [is no HTTP/1](is_plausible).
pub(crate) fn protocol(bytes: &[u8]) -> &'static str {
    match bytes {
        // An alert or a handshake record of TLS 1.x.
        [0x15 | 0x16, 0x03, ..] => "the port speaks TLS: https:// instead of http://?",
        // The first frame of a server (SETTINGS), which gRPC servers send at once.
        [0x00, 0x00, _, 0x04, ..] => "the port speaks HTTP/2, as gRPC does",
        _ => "the response does not begin with HTTP/1",
    }
}

/// Parses a complete head of a response to a request that asked for this; `None` for an interim response (status 1xx).
pub(crate) fn parse(bytes: &Bytes, asked_for: AskedFor) -> Result<Option<ResponseHead>, ResponseError> {
    let mut lines = [const { MaybeUninit::uninit() }; MAX_LINES];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut lines,
    );
    match parsed {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(ResponseError::Invalid("too many headers")),
        Ok(httparse::Status::Partial) | Err(_) => return Err(ResponseError::Invalid("unreadable head")),
    }
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(ResponseError::Invalid("no status"))?;
    match status {
        StatusCode::SWITCHING_PROTOCOLS if asked_for == AskedFor::Upgrade => {}
        StatusCode::SWITCHING_PROTOCOLS => {
            return Err(ResponseError::Invalid("it switches the protocol without a request to"));
        }
        status if status.is_informational() => return Ok(None),
        _ => {}
    }
    let version = if response.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut parts = Response::new(()).into_parts().0;
    // The version is that of the connection to the worker. To the client the response goes as the router speaks: HTTP/1.1.
    parts.status = status;
    if let Some(reason) = response.reason.filter(|reason| Some(*reason) != status.canonical_reason())
        && let Ok(reason) = ReasonPhrase::try_from(bytes.slice_ref(reason.as_bytes()))
    {
        parts.extensions.insert(reason);
    }
    let mut message = FramingHeaders::of(version);
    parts.headers = HeaderMap::with_capacity(response.headers.len() + OWN_HEADERS);
    for line in response.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(line.value));
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(ResponseError::Invalid("unreadable header"));
        };
        message.notice(&name, &value)?;
        if !is_hop_by_hop(&name) {
            parts.headers.append(name, value);
        }
    }
    Ok(Some(message.conclude(parts, asked_for)))
}

/// The headers that frame the message.
#[derive(Debug)]
struct FramingHeaders {
    length: Option<u64>,
    /// Whether the last transfer encoding is `chunked`; `None` without one.
    encoding: Option<bool>,
    keep_alive: bool,
    version: Version,
    /// The values of its `connection` headers.
    connection: SmallVec<[HeaderValue; 1]>,
}

impl FramingHeaders {
    fn of(version: Version) -> Self {
        let keep_alive = version == Version::HTTP_11;
        Self { length: None, encoding: None, keep_alive, version, connection: SmallVec::new() }
    }

    fn notice(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), ResponseError> {
        if *name == header::CONTENT_LENGTH {
            let length = length(value).ok_or(ResponseError::Invalid("content-length is no number"))?;
            if self.length.replace(length).is_some_and(|before| before != length) {
                return Err(ResponseError::Invalid("two different lengths"));
            }
        } else if *name == header::TRANSFER_ENCODING {
            if self.version == Version::HTTP_10 {
                return Err(ResponseError::Invalid("HTTP/1.0 has no transfer-encoding"));
            }
            let last = value.as_bytes().rsplit(|byte| *byte == b',').next().unwrap_or_default();
            self.encoding = Some(last.trim_ascii().eq_ignore_ascii_case(b"chunked"));
        } else if *name == header::CONNECTION {
            for token in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if token.eq_ignore_ascii_case(b"close") {
                    self.keep_alive = false;
                } else if token.eq_ignore_ascii_case(b"keep-alive") && self.version == Version::HTTP_10 {
                    self.keep_alive = true;
                }
            }
            self.connection.push(value.clone());
        }
        Ok(())
    }

    fn conclude(self, mut parts: Parts, asked_for: AskedFor) -> ResponseHead {
        for name in named(&self.connection) {
            parts.headers.remove(name);
        }
        let is_switched = parts.status == StatusCode::SWITCHING_PROTOCOLS;
        let has_no_body = is_switched
            || asked_for == AskedFor::Head
            || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let mut keep_alive = self.keep_alive && !is_switched;
        let framing = match (self.encoding, self.length) {
            _ if has_no_body => BodyDecoder::Over,
            (Some(chunked), length) => {
                // Parsers may disagree on where such a response ends, so the connection is not reused.
                keep_alive &= length.is_none() && chunked;
                parts.headers.remove(header::CONTENT_LENGTH);
                if chunked { BodyDecoder::Chunked(ChunkState::Size) } else { BodyDecoder::UntilClose }
            }
            (None, Some(0)) => BodyDecoder::Over,
            (None, Some(length)) => BodyDecoder::Length(length),
            (None, None) => {
                keep_alive = false;
                BodyDecoder::UntilClose
            }
        };
        ResponseHead { parts, framing, keep_alive }
    }
}

/// A `content-length`, which may be repeated with the same value.
fn length(value: &HeaderValue) -> Option<u64> {
    let mut numbers = value.as_bytes().split(|byte| *byte == b',').map(|text| {
        let text = std::str::from_utf8(text.trim_ascii()).ok()?;
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok())?
    });
    let first = numbers.next()??;
    numbers.all(|other| other == Some(first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &'static str) -> Result<Option<ResponseHead>, ResponseError> {
        parse(&Bytes::from_static(text.as_bytes()), AskedFor::Response)
    }

    fn framing(text: &'static str) -> (BodyDecoder, bool) {
        let head = head(text).unwrap().unwrap();
        (head.framing, head.keep_alive)
    }

    #[test]
    fn head_end_is_independent_of_reads() {
        for text in ["HTTP/1.1 200 OK\r\nA: b\r\n\r\nrest", "HTTP/1.1 200 OK\nA: b\n\nrest"] {
            let whole = text.find("rest");
            for step in 1..text.len() {
                let (mut seen, mut found) = (0, None);
                for here in (step..text.len() + step).step_by(step) {
                    found = end(&text.as_bytes()[..here.min(text.len())], &mut seen);
                    if found.is_some() {
                        break;
                    }
                }
                assert_eq!(found, whole, "{step}");
            }
        }
    }

    #[test]
    fn other_protocols_are_refused_at_first_bytes() {
        assert!(is_plausible(b"") && is_plausible(b"HTT") && is_plausible(b"HTTP/1.0 200"));
        assert!(!is_plausible(b"220 smtp") && !is_plausible(b"HTTP/2") && !is_plausible(b"\r\n"));
    }

    #[test]
    fn headers_determine_body_framing() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", (BodyDecoder::Length(3), true)),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\nContent-Length: 3\r\n\r\n",
                (BodyDecoder::Length(3), true),
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", (BodyDecoder::Over, true)),
            ("HTTP/1.1 200 OK\r\n\r\n", (BodyDecoder::UntilClose, false)),
            ("HTTP/1.1 204 No Content\r\n\r\n", (BodyDecoder::Over, true)),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", (BodyDecoder::Over, true)),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n",
                (BodyDecoder::Chunked(ChunkState::Size), true),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                (BodyDecoder::Chunked(ChunkState::Size), true),
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", (BodyDecoder::UntilClose, false)),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
                (BodyDecoder::Chunked(ChunkState::Size), false),
            ),
            (
                "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 3\r\n\r\n",
                (BodyDecoder::Length(3), false),
            ),
            ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", (BodyDecoder::Length(3), false)),
            (
                "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 3\r\n\r\n",
                (BodyDecoder::Length(3), true),
            ),
        ] {
            assert_eq!(framing(text), expected, "{text}");
        }
        let asked = Bytes::from_static(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
        assert_eq!(parse(&asked, AskedFor::Head).unwrap().unwrap().framing, BodyDecoder::Over);
        let switched = Bytes::from_static(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n");
        let switched = parse(&switched, AskedFor::Upgrade).unwrap().unwrap();
        assert_eq!((switched.framing, switched.keep_alive), (BodyDecoder::Over, false));
        assert!(head("HTTP/1.1 100 Continue\r\n\r\n").unwrap().is_none());
        assert!(head("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n").unwrap().is_none());
    }

    #[test]
    fn ambiguous_heads_are_refused() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3, 4\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
        ] {
            assert!(matches!(head(text), Err(ResponseError::Invalid(_))), "{text}");
        }
    }

    #[test]
    fn connection_headers_go_reason_stays() {
        let text = "HTTP/1.1 200 Fine\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\n\
                    X-Kept: a\r\nX-Kept: b\r\nContent-Length: 3\r\n\r\n";
        let parts = head(text).unwrap().unwrap().parts;
        let mut names: Vec<_> =
            parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        names.sort_unstable();
        assert_eq!(names, [("content-length", &b"3"[..]), ("x-kept", b"a"), ("x-kept", b"b")]);
        assert_eq!(parts.extensions.get::<ReasonPhrase>().unwrap().as_bytes(), b"Fine");
        let plain = head("HTTP/1.1 200 OK\r\n\r\n").unwrap().unwrap().parts;
        assert!(plain.extensions.get::<ReasonPhrase>().is_none());
    }
}
