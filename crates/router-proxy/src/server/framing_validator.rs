//! Strict validation of HTTP/1.1 framing before hyper parses it, against request smuggling.
//!
//! hyper accepts what RFC 9112 allows a server to accept: lines that end in a bare LF, two equal `content-length`
//! headers, `content-length` beside `transfer-encoding`. None is dangerous to the router itself, because it frames the
//! request to the worker again. But a proxy in front of the router may read the same bytes in another way, and request
//! smuggling needs two parsers that disagree on where a request ends. No client needs such requests, so they are
//! rejected: a byte of the head is made invalid, so that hyper responds 400 and closes; a chunked body is cut off.
//!
//! The validator follows the framing of every request, because it has to know where the next head begins. A body with a
//! `content-length` costs one subtraction per read.

/// Bytes kept of a line that arrives in parts: enough for the longest header name that matters, and a length.
const LINE_BUFFER: usize = 64;

/// Written over a line end of the head, so that hyper rejects the head.
const INVALID_BYTE: u8 = 0;

/// What the next byte of the stream is part of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ParseState {
    Head(HeadFraming),
    /// This many bytes of a body, or of a chunk with its line end, are still to come.
    Body(u64, AfterBody),
    ChunkSize,
    Trailer,
    /// Ambiguous framing was found; hyper is about to close the connection.
    Rejected,
}

/// What follows a body or a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AfterBody {
    Request,
    Chunk,
}

/// What the head says about the body so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct HeadFraming {
    /// The request line has been read.
    begun: bool,
    length: Option<u64>,
    chunked: bool,
}

/// Framing that two parsers may understand differently.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct AmbiguousFraming;

/// Validates the requests of one connection.
#[derive(Debug)]
pub(super) struct FramingValidator {
    state: ParseState,
    /// The start of a line whose end has not arrived.
    line_start: [u8; LINE_BUFFER],
    /// Bytes of that line so far; may be more than `line_start` holds.
    line_len: usize,
    /// The last byte of that line so far.
    last_byte: u8,
}

impl Default for FramingValidator {
    fn default() -> Self {
        Self {
            state: ParseState::Head(HeadFraming::default()),
            line_start: [0; LINE_BUFFER],
            line_len: 0,
            last_byte: 0,
        }
    }
}

impl FramingValidator {
    /// Whether ambiguous framing was found, so that nothing more may be read.
    pub(super) fn is_rejected(&self) -> bool {
        self.state == ParseState::Rejected
    }

    /// Validates the next bytes of the connection and returns how many of them may be read. The first ambiguous line of a
    /// head is made invalid in place.
    pub(super) fn check(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
            match self.state {
                ParseState::Rejected => return at,
                ParseState::Body(left, after) => {
                    let here = left.min(rest.len() as u64);
                    at += usize::try_from(here).unwrap_or(rest.len());
                    self.state = match (left - here, after) {
                        (0, AfterBody::Request) => ParseState::Head(HeadFraming::default()),
                        (0, AfterBody::Chunk) => ParseState::ChunkSize,
                        (left, after) => ParseState::Body(left, after),
                    };
                }
                ParseState::Head(_) | ParseState::ChunkSize | ParseState::Trailer => {
                    let Some(end) = memchr::memchr(b'\n', rest) else {
                        self.buffer(rest);
                        break;
                    };
                    let next = if self.line_len == 0 {
                        self.state.line(&rest[..end])
                    } else {
                        self.buffer(&rest[..end]);
                        self.buffered_line()
                    };
                    self.line_len = 0;
                    match (next, self.state) {
                        (Ok(next), _) => self.state = next,
                        (Err(AmbiguousFraming), state) => {
                            self.state = ParseState::Rejected;
                            if !matches!(state, ParseState::Head(_)) {
                                return at;
                            }
                            rest[end] = INVALID_BYTE;
                        }
                    }
                    at += end + 1;
                }
            }
        }
        bytes.len()
    }

    /// Keeps the start of a line that has not ended yet.
    fn buffer(&mut self, part: &[u8]) {
        if let Some(room) = self.line_start.get_mut(self.line_len..) {
            let taken = part.len().min(room.len());
            room[..taken].copy_from_slice(&part[..taken]);
        }
        self.line_len += part.len();
        self.last_byte = part.last().copied().unwrap_or(self.last_byte);
    }

    /// Parses a line that arrived in parts. Of a longer line than `line_start` only the start and the last byte are known;
    /// that is enough, because a long line that matters is rejected anyway.
    fn buffered_line(&mut self) -> Result<ParseState, AmbiguousFraming> {
        if let Some(line) = self.line_start.get(..self.line_len) {
            return self.state.line(line);
        }
        self.line_start[LINE_BUFFER - 1] = self.last_byte;
        self.state.line(&self.line_start)
    }
}

impl ParseState {
    /// The state after one line, given without its LF.
    fn line(self, line: &[u8]) -> Result<Self, AmbiguousFraming> {
        let line = line.strip_suffix(b"\r").ok_or(AmbiguousFraming)?;
        match self {
            Self::Head(framing) => framing.line(line),
            Self::ChunkSize => chunk(line),
            Self::Trailer if line.is_empty() => Ok(Self::Head(HeadFraming::default())),
            Self::Trailer | Self::Body(..) | Self::Rejected => Ok(self),
        }
    }
}

impl HeadFraming {
    fn line(mut self, line: &[u8]) -> Result<ParseState, AmbiguousFraming> {
        if !self.begun {
            // Empty lines before a request line are allowed.
            self.begun = !line.is_empty();
            return Ok(ParseState::Head(self));
        }
        match line.first() {
            None => return Ok(self.end()),
            // Obsolete line folding.
            Some(b' ' | b'\t') => return Err(AmbiguousFraming),
            Some(b'c' | b'C') => {
                if let Some(value) = value(line, b"content-length")? {
                    let length = number(value, 10).ok_or(AmbiguousFraming)?;
                    if self.chunked || self.length.replace(length).is_some() {
                        return Err(AmbiguousFraming);
                    }
                }
            }
            Some(b't' | b'T') => {
                if let Some(value) = value(line, b"transfer-encoding")? {
                    let again = std::mem::replace(&mut self.chunked, true);
                    if again || self.length.is_some() || !value.eq_ignore_ascii_case(b"chunked") {
                        return Err(AmbiguousFraming);
                    }
                }
            }
            Some(_) => {}
        }
        Ok(ParseState::Head(self))
    }

    /// The state after the head.
    const fn end(self) -> ParseState {
        match (self.chunked, self.length) {
            (true, _) => ParseState::ChunkSize,
            (false, None | Some(0)) => ParseState::Head(Self { begun: false, length: None, chunked: false }),
            (false, Some(length)) => ParseState::Body(length, AfterBody::Request),
        }
    }
}

/// The value of a header line, if its name is `name`. A line that does not fit the line buffer is rejected: honest
/// clients do not pad these headers.
fn value<'a>(line: &'a [u8], name: &[u8]) -> Result<Option<&'a [u8]>, AmbiguousFraming> {
    let Some((found, rest)) = line.split_at_checked(name.len()) else { return Ok(None) };
    match rest.strip_prefix(b":") {
        Some(value) if found.eq_ignore_ascii_case(name) => {
            if line.len() + 1 < LINE_BUFFER {
                Ok(Some(value.trim_ascii()))
            } else {
                Err(AmbiguousFraming)
            }
        }
        _ => Ok(None),
    }
}

/// A number without sign or spaces.
fn number(digits: &[u8], radix: u32) -> Option<u64> {
    let plain = digits.first().is_some_and(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| plain)?;
    u64::from_str_radix(text, radix).ok()
}

/// The state after a chunk-size line.
fn chunk(line: &[u8]) -> Result<ParseState, AmbiguousFraming> {
    let end = memchr::memchr(b';', line).unwrap_or(line.len());
    match number(&line[..end], 16).ok_or(AmbiguousFraming)? {
        0 => Ok(ParseState::Trailer),
        // Two more bytes for the line end of the chunk.
        size => Ok(ParseState::Body(size.checked_add(2).ok_or(AmbiguousFraming)?, AfterBody::Chunk)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the whole `stream` is accepted, and the same however it is split into reads.
    fn accepts(stream: &str) -> bool {
        let verdict = |part: usize| {
            let mut validator = FramingValidator::default();
            let mut bytes = stream.as_bytes().to_vec();
            let read: usize = bytes.chunks_mut(part).map(|part| validator.check(part)).sum();
            assert_eq!(bytes == stream.as_bytes() && read == bytes.len(), !validator.is_rejected());
            !validator.is_rejected()
        };
        let whole = verdict(usize::MAX);
        for part in [1, 2, 3, 7, 64] {
            assert_eq!(verdict(part), whole, "in reads of {part} bytes: {stream:?}");
        }
        whole
    }

    #[test]
    fn pipelined_plain_requests_are_accepted() {
        let get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let post = "POST / HTTP/1.1\r\nContent-Length: 5\r\nx-long: ".to_owned()
            + &"v".repeat(200)
            + "\r\n\r\na\nb\nc";
        let chunked = "POST / HTTP/1.1\r\ntransfer-Encoding:  chunked \r\n\r\n3\r\na\nb\r\nA;x=y\r\n0123456789\r\n0\r\nx-t: 1\r\n\r\n";
        let empty = "POST / HTTP/1.1\r\ncontent-length: 0\r\ntransfer: x\r\ncontent-type: a\r\n\r\n";
        assert!(accepts(&[get, &post, "\r\n", chunked, empty, get].concat()));
    }

    #[test]
    fn verdict_does_not_depend_on_reads() {
        const PIECES: [&str; 20] = [
            "GET / HTTP/1.1\r\n",
            "POST /",
            "content-length",
            "transfer-encoding",
            ":",
            " ",
            "\t",
            "chunked",
            "0",
            "5",
            "ff",
            ";x",
            "\r\n",
            "\r\n\r\n",
            "\n",
            "\r",
            "hello",
            "x-a: 1\r\n",
            "\0",
            "x-long-name-that-is-longer-than-what-is-held-of-a-line-in-parts: 1\r\n",
        ];
        let mut rng = router_core::Rng::seeded(7);
        let mut rejected = 0;
        for _ in 0..20_000 {
            let stream: String = (0..=rng.below(14)).map(|_| PIECES[rng.below(PIECES.len())]).collect();
            rejected += usize::from(!accepts(&stream));
        }
        assert!((1000..19_000).contains(&rejected), "{rejected}");
    }

    #[test]
    fn ambiguous_framing_is_rejected() {
        for stream in [
            "GET / HTTP/1.1\n\n",
            "GET / HTTP/1.1\r\nhost: a\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\n\n",
            "GET / HTTP/1.1\r\nhost: a\r\n folded\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 1, 1\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: +1\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 0x1\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length:\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 000000000000000000000000000000000000000000000005\r\n\r\nhello",
            "POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: xchunked\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\nx\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0x1\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n 1\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabcGET / HTTP/1.1\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nGET / HTTP/1.1\n",
        ] {
            assert!(!accepts(stream), "{stream:?}");
        }
    }
}
