//! A strict look at requests before hyper reads them.
//!
//! hyper takes what RFC 9112 allows a server to take: lines that end in a bare LF, two equal lengths, a length beside
//! `transfer-encoding`. Each is harmless here, because what goes on to a worker is framed anew. But each is also read
//! otherwise by some proxy in front of us, and two readers that disagree on where a request ends are the whole of
//! request smuggling. No client needs any of it, so it is refused: a head is spoiled, so that hyper answers 400 and
//! closes, and a chunked body is cut off.
//!
//! The screen follows the framing of each request, because only so does it know where the next head begins. Bodies with
//! a length cost it one subtraction.

/// As much of a line as the screen needs, where the line comes in parts: the longest name it looks for, and a length.
const HELD: usize = 64;

/// A header line is spoiled by a byte that no header may hold.
const SPOIL: u8 = 0;

/// Where in the stream of requests the next byte belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Head(Framing),
    /// So many bytes of a body, or of a chunk and its line end, are to come.
    Body(u64, After),
    ChunkSize,
    Trailer,
    /// hyper is about to close the connection.
    Spoiled,
}

/// What comes after some bytes of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum After {
    Request,
    Chunk,
}

/// What a head has said so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Framing {
    /// The request line is behind us.
    begun: bool,
    length: Option<u64>,
    chunked: bool,
}

/// Something that two readers may read in two ways.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Ambiguous;

/// The screen of one connection.
#[derive(Debug)]
pub(super) struct Screen {
    place: Place,
    /// The beginning of a line whose end has not come.
    held: [u8; HELD],
    /// The whole length of that beginning, of which `held` has at most its own length.
    len: usize,
    /// Its last byte.
    last: u8,
}

impl Default for Screen {
    fn default() -> Self {
        Self { place: Place::Head(Framing::default()), held: [0; HELD], len: 0, last: 0 }
    }
}

impl Screen {
    /// Whether nothing more is to be read.
    pub(super) fn is_spoiled(&self) -> bool {
        self.place == Place::Spoiled
    }

    /// Looks at the next bytes of the connection, and tells how many of them may be read. In a head, the first line that
    /// is not plain is spoiled.
    pub(super) fn pass(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
            match self.place {
                Place::Spoiled => return at,
                Place::Body(left, after) => {
                    let here = left.min(rest.len() as u64);
                    at += usize::try_from(here).unwrap_or(rest.len());
                    self.place = match (left - here, after) {
                        (0, After::Request) => Place::Head(Framing::default()),
                        (0, After::Chunk) => Place::ChunkSize,
                        (left, after) => Place::Body(left, after),
                    };
                }
                Place::Head(_) | Place::ChunkSize | Place::Trailer => {
                    let Some(end) = memchr::memchr(b'\n', rest) else {
                        self.hold(rest);
                        break;
                    };
                    let next = if self.len == 0 {
                        self.place.line(&rest[..end])
                    } else {
                        self.hold(&rest[..end]);
                        self.held_line()
                    };
                    self.len = 0;
                    match (next, self.place) {
                        (Ok(next), _) => self.place = next,
                        (Err(Ambiguous), place) => {
                            self.place = Place::Spoiled;
                            if !matches!(place, Place::Head(_)) {
                                return at;
                            }
                            rest[end] = SPOIL;
                        }
                    }
                    at += end + 1;
                }
            }
        }
        bytes.len()
    }

    /// Keeps the beginning of a line.
    fn hold(&mut self, part: &[u8]) {
        if let Some(room) = self.held.get_mut(self.len..) {
            let taken = part.len().min(room.len());
            room[..taken].copy_from_slice(&part[..taken]);
        }
        self.len += part.len();
        self.last = part.last().copied().unwrap_or(self.last);
    }

    /// Judges the line that came in parts. Of a long one only its beginning and its end are known, and no line that
    /// matters is long.
    fn held_line(&mut self) -> Result<Place, Ambiguous> {
        if let Some(line) = self.held.get(..self.len) {
            return self.place.line(line);
        }
        self.held[HELD - 1] = self.last;
        self.place.line(&self.held)
    }
}

impl Place {
    /// What comes after one line, which is given without its LF.
    fn line(self, line: &[u8]) -> Result<Self, Ambiguous> {
        let line = line.strip_suffix(b"\r").ok_or(Ambiguous)?;
        match self {
            Self::Head(framing) => framing.line(line),
            Self::ChunkSize => chunk(line),
            Self::Trailer if line.is_empty() => Ok(Self::Head(Framing::default())),
            Self::Trailer | Self::Body(..) | Self::Spoiled => Ok(self),
        }
    }
}

impl Framing {
    fn line(mut self, line: &[u8]) -> Result<Place, Ambiguous> {
        if !self.begun {
            // Empty lines before a request are none of it.
            self.begun = !line.is_empty();
            return Ok(Place::Head(self));
        }
        match line.first() {
            None => return Ok(self.end()),
            // A line that goes on with the one before.
            Some(b' ' | b'\t') => return Err(Ambiguous),
            Some(b'c' | b'C') => {
                if let Some(value) = value(line, b"content-length")? {
                    let length = number(value, 10).ok_or(Ambiguous)?;
                    if self.chunked || self.length.replace(length).is_some() {
                        return Err(Ambiguous);
                    }
                }
            }
            Some(b't' | b'T') => {
                if let Some(value) = value(line, b"transfer-encoding")? {
                    let again = std::mem::replace(&mut self.chunked, true);
                    if again || self.length.is_some() || !value.eq_ignore_ascii_case(b"chunked") {
                        return Err(Ambiguous);
                    }
                }
            }
            Some(_) => {}
        }
        Ok(Place::Head(self))
    }

    /// What comes after the head.
    const fn end(self) -> Place {
        match (self.chunked, self.length) {
            (true, _) => Place::ChunkSize,
            (false, None | Some(0)) => Place::Head(Self { begun: false, length: None, chunked: false }),
            (false, Some(length)) => Place::Body(length, After::Request),
        }
    }
}

/// The value of a header line, if its name is `name`. One that is longer than the screen can hold is padded, and nobody
/// pads what frames a message but to mislead.
fn value<'a>(line: &'a [u8], name: &[u8]) -> Result<Option<&'a [u8]>, Ambiguous> {
    let Some((found, rest)) = line.split_at_checked(name.len()) else { return Ok(None) };
    match rest.strip_prefix(b":") {
        Some(value) if found.eq_ignore_ascii_case(name) => {
            if line.len() + 1 < HELD {
                Ok(Some(value.trim_ascii()))
            } else {
                Err(Ambiguous)
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

/// What comes after the line with a chunk's size.
fn chunk(line: &[u8]) -> Result<Place, Ambiguous> {
    let end = memchr::memchr(b';', line).unwrap_or(line.len());
    match number(&line[..end], 16).ok_or(Ambiguous)? {
        0 => Ok(Place::Trailer),
        // The chunk's own line end belongs to it.
        size => Ok(Place::Body(size.checked_add(2).ok_or(Ambiguous)?, After::Chunk)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `stream` passes whole, whatever the parts it comes in.
    fn passes(stream: &str) -> bool {
        let verdict = |part: usize| {
            let mut screen = Screen::default();
            let mut bytes = stream.as_bytes().to_vec();
            let read: usize = bytes.chunks_mut(part).map(|part| screen.pass(part)).sum();
            assert_eq!(bytes == stream.as_bytes() && read == bytes.len(), !screen.is_spoiled());
            !screen.is_spoiled()
        };
        let whole = verdict(usize::MAX);
        for part in [1, 2, 3, 7, 64] {
            assert_eq!(verdict(part), whole, "in parts of {part}: {stream:?}");
        }
        whole
    }

    #[test]
    fn plain_requests_pass_one_after_the_other() {
        let get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let post = "POST / HTTP/1.1\r\nContent-Length: 5\r\nx-long: ".to_owned()
            + &"v".repeat(200)
            + "\r\n\r\na\nb\nc";
        let chunked = "POST / HTTP/1.1\r\ntransfer-Encoding:  chunked \r\n\r\n3\r\na\nb\r\nA;x=y\r\n0123456789\r\n0\r\nx-t: 1\r\n\r\n";
        let empty = "POST / HTTP/1.1\r\ncontent-length: 0\r\ntransfer: x\r\ncontent-type: a\r\n\r\n";
        assert!(passes(&[get, &post, "\r\n", chunked, empty, get].concat()));
    }

    #[test]
    fn no_stream_depends_on_the_parts_it_comes_in() {
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
        let mut spoiled = 0;
        for _ in 0..20_000 {
            let stream: String = (0..=rng.below(14)).map(|_| PIECES[rng.below(PIECES.len())]).collect();
            spoiled += usize::from(!passes(&stream));
        }
        assert!((1000..19_000).contains(&spoiled), "{spoiled}");
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_spoiled() {
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
            assert!(!passes(stream), "{stream:?}");
        }
    }
}
