//! Decodes response bodies (RFC 9112, section 6): frames, trailers and the end.

use super::error::ResponseError;
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};

/// Longest line with the size and the extensions of a chunk, in bytes.
const MAX_LINE: usize = 4 << 10;

/// Longest trailer section, in bytes.
const MAX_TRAILERS: usize = 16 << 10;
/// Most lines of a trailer section.
const MAX_TRAILER_LINES: usize = 64;

/// The framing of a body, and how much of it has been decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BodyDecoder {
    /// The body has ended.
    Over,
    /// `content-length`: this many bytes are left.
    Length(u64),
    /// `transfer-encoding: chunked`.
    Chunked(ChunkState),
    /// The body ends when the connection closes.
    UntilClose,
}

/// The next element of a chunked body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ChunkState {
    /// The line with the size of a chunk.
    Size,
    /// Data: this many bytes are left.
    Data(u64),
    /// The line end after the data.
    DataEnd,
    /// The trailer section after the last chunk.
    Trailers,
}

/// The result of one decoding step.
#[derive(Debug)]
pub(crate) enum DecodedPiece {
    /// The next frame.
    Frame(Frame<Bytes>),
    /// The body has ended.
    End,
    /// More bytes are needed.
    Needed,
}

impl BodyDecoder {
    /// Decodes the next piece of the body and removes its bytes from `read`.
    pub(crate) fn next(&mut self, read: &mut BytesMut) -> Result<DecodedPiece, ResponseError> {
        let data = match self {
            Self::Over => return Ok(DecodedPiece::End),
            Self::UntilClose if read.is_empty() => return Ok(DecodedPiece::Needed),
            Self::UntilClose => read.split().freeze(),
            Self::Length(left) => {
                let data = take(left, read);
                if *left == 0 {
                    *self = Self::Over;
                }
                data
            }
            Self::Chunked(chunk) => {
                let trailers = chunk.advance(read)?;
                if *chunk == ChunkState::Trailers && trailers.is_some() {
                    *self = Self::Over;
                    let trailers = trailers.filter(|trailers| !trailers.is_empty());
                    return Ok(
                        trailers.map_or(DecodedPiece::End, |t| DecodedPiece::Frame(Frame::trailers(t)))
                    );
                }
                let ChunkState::Data(left) = chunk else { return Ok(DecodedPiece::Needed) };
                let data = take(left, read);
                if *left == 0 {
                    *chunk = ChunkState::DataEnd;
                    self.look_ahead(read);
                }
                data
            }
        };
        Ok(if data.is_empty() { DecodedPiece::Needed } else { DecodedPiece::Frame(Frame::data(data)) })
    }

    /// Detects an end of the body that was read together with its last data, so that no further call is needed for it.
    fn look_ahead(&mut self, read: &mut BytesMut) {
        const LAST: &[u8] = b"\r\n0\r\n\r\n";
        if read.starts_with(LAST) {
            read.advance(LAST.len());
            *self = Self::Over;
        }
    }

    /// The worker closed the connection: the end of some bodies, an error for others.
    pub(crate) fn close(&mut self) -> Result<(), ResponseError> {
        match self {
            Self::Over => Ok(()),
            Self::UntilClose => {
                *self = Self::Over;
                Ok(())
            }
            Self::Length(_) | Self::Chunked(_) => Err(ResponseError::Closed),
        }
    }

    /// How many bytes are left.
    pub(crate) fn size_hint(self) -> SizeHint {
        match self {
            Self::Over => SizeHint::with_exact(0),
            Self::Length(left) => SizeHint::with_exact(left),
            Self::Chunked(_) | Self::UntilClose => SizeHint::default(),
        }
    }
}

impl ChunkState {
    /// Advances to the next data, or to the trailers, which are returned once they are complete.
    fn advance(&mut self, read: &mut BytesMut) -> Result<Option<HeaderMap>, ResponseError> {
        loop {
            match self {
                Self::Data(_) => return Ok(None),
                Self::DataEnd => {
                    if read.len() < 2 {
                        return Ok(None);
                    }
                    if !read.starts_with(b"\r\n") {
                        return Err(ResponseError::Invalid("a chunk is longer than it says"));
                    }
                    read.advance(2);
                    *self = Self::Size;
                }
                Self::Size => match size(read)? {
                    None => return Ok(None),
                    Some((0, line)) => {
                        read.advance(line);
                        *self = Self::Trailers;
                    }
                    Some((size, line)) => {
                        read.advance(line);
                        *self = Self::Data(size);
                    }
                },
                Self::Trailers => return trailers(read),
            }
        }
    }
}

/// Takes what was read, at most `left` bytes.
fn take(left: &mut u64, read: &mut BytesMut) -> Bytes {
    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
    *left -= here as u64;
    if here == read.len() { read.split().freeze() } else { read.split_to(here).freeze() }
}

/// The size of the next chunk and the length of its line; `None` while the line is incomplete.
fn size(read: &[u8]) -> Result<Option<(u64, usize)>, ResponseError> {
    const NONE: ResponseError = ResponseError::Invalid("a chunk has no size");
    let Some(end) = memchr::memchr(b'\n', read) else {
        return if read.len() > MAX_LINE { Err(NONE) } else { Ok(None) };
    };
    let line = read[..end].strip_suffix(b"\r").filter(|line| line.len() < MAX_LINE).ok_or(NONE)?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    if !matches!(rest.first(), None | Some(b';' | b' ' | b'\t')) {
        return Err(NONE);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| NONE)?;
    Ok(Some((u64::from_str_radix(digits, 16).map_err(|_| NONE)?, end + 1)))
}

/// The trailers; `None` while they are incomplete.
fn trailers(read: &mut BytesMut) -> Result<Option<HeaderMap>, ResponseError> {
    const BAD: ResponseError = ResponseError::Invalid("unreadable trailers");
    let mut lines = [httparse::EMPTY_HEADER; MAX_TRAILER_LINES];
    let Ok(status) = httparse::parse_headers(read, &mut lines) else { return Err(BAD) };
    let httparse::Status::Complete((len, lines)) = status else {
        return if read.len() > MAX_TRAILERS { Err(BAD) } else { Ok(None) };
    };
    if len > MAX_TRAILERS {
        return Err(BAD);
    }
    let mut trailers = HeaderMap::new();
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| BAD)?;
        trailers.append(name, HeaderValue::from_bytes(line.value).map_err(|_| BAD)?);
    }
    read.advance(len);
    Ok(Some(trailers))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes a body that arrives in pieces of `step` bytes: data, trailers, and the bytes left over.
    fn decoded(
        mut framing: BodyDecoder,
        wire: &[u8],
        step: usize,
    ) -> Result<(Vec<u8>, HeaderMap, Vec<u8>), ResponseError> {
        let (mut read, mut data, mut trailers) = (BytesMut::new(), Vec::new(), HeaderMap::new());
        let mut pieces = wire.chunks(step);
        loop {
            match framing.next(&mut read)? {
                DecodedPiece::Frame(frame) => match frame.into_data() {
                    Ok(more) => data.extend_from_slice(&more),
                    Err(frame) => trailers = frame.into_trailers().unwrap(),
                },
                DecodedPiece::End => {
                    read.extend_from_slice(&pieces.collect::<Vec<_>>().concat());
                    return Ok((data, trailers, read.to_vec()));
                }
                DecodedPiece::Needed => match pieces.next() {
                    Some(piece) => read.extend_from_slice(piece),
                    None => framing.close()?,
                },
            }
        }
    }

    const CHUNKED: BodyDecoder = BodyDecoder::Chunked(ChunkState::Size);

    #[test]
    fn body_is_independent_of_read_sizes() {
        let wire = b"5;ext=1\r\nhello\r\n00C \r\n, my \r\nworld\r\n0\r\nX-Sum: 7\r\nx-sum: 8\r\n\r\nHTTP";
        for step in 1..wire.len() {
            let (data, trailers, left) = decoded(CHUNKED, wire, step).unwrap();
            assert_eq!((&data[..], &left[..]), (&b"hello, my \r\nworld"[..], &b"HTTP"[..]), "{step}");
            assert_eq!(trailers.get_all("x-sum").iter().collect::<Vec<_>>(), ["7", "8"]);
        }
        for step in 1..8 {
            let (data, _, left) = decoded(CHUNKED, b"1\r\na\r\n0\r\n\r\n", step).unwrap();
            assert_eq!((&data[..], left.len()), (&b"a"[..], 0));
            let (data, _, left) = decoded(BodyDecoder::Length(3), b"abcd", step).unwrap();
            assert_eq!((&data[..], &left[..]), (&b"abc"[..], &b"d"[..]));
            assert_eq!(decoded(BodyDecoder::UntilClose, b"abcd", step).unwrap().0, b"abcd");
        }
    }

    #[test]
    fn end_is_known_with_last_data() {
        let mut framing = CHUNKED;
        let mut read = BytesMut::from(&b"1\r\na\r\n0\r\n\r\n"[..]);
        assert!(matches!(framing.next(&mut read), Ok(DecodedPiece::Frame(_))));
        assert_eq!((framing, read.len()), (BodyDecoder::Over, 0));
    }

    #[test]
    fn truncated_or_malformed_body_is_refused() {
        for cut in [
            &b""[..],
            b"5",
            b"5\r\n",
            b"5\r\nhel",
            b"5\r\nhello",
            b"5\r\nhello\r\n",
            b"0\r\n",
            b"0\r\nX: 1\r\n",
        ] {
            assert!(matches!(decoded(CHUNKED, cut, 3), Err(ResponseError::Closed)), "{cut:?}");
        }
        assert!(matches!(decoded(BodyDecoder::Length(3), b"ab", 3), Err(ResponseError::Closed)));
        let long = [b'1'; MAX_LINE + 1];
        for bad in [
            &b"\r\n"[..],
            b"5\nhello\r\n0\r\n\r\n",
            b"x\r\n",
            b"-1\r\n",
            b"+5\r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"11111111111111111\r\n",
            b"5\r\nhello!\r\n",
            b"0\r\nno colon\r\n\r\n",
            &long,
        ] {
            for step in [1, 100_000] {
                assert!(matches!(decoded(CHUNKED, bad, step), Err(ResponseError::Invalid(_))), "{bad:?}");
            }
        }
    }
}
