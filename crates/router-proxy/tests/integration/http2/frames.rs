//! A client of HTTP/2 that sends any frame, valid or not.

use crate::support::PATIENCE;
use router_proxy::RunningRouter;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const ACK: u8 = 1;

/// Error codes (RFC 9113, section 7).
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// One frame that came.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It has a response with this status; 0 for one that is not in HPACK's static table.
    Status(u16),
    Reset(u32),
    /// The router ended the connection with this code.
    GoAway(u32),
    /// The connection ended without a word.
    Closed,
}

/// The bytes of one frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A setting as the payload of a SETTINGS frame.
pub(crate) fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// Headers in HPACK, each as a literal that is not indexed.
pub(crate) fn literals<N: AsRef<[u8]>, V: AsRef<[u8]>>(headers: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        string(name.as_ref(), &mut block);
        string(value.as_ref(), &mut block);
    }
    block
}

/// A string in HPACK, without Huffman coding.
pub(crate) fn string(text: &[u8], block: &mut Vec<u8>) {
    match text.len().checked_sub(127) {
        None => block.push(text.len() as u8),
        Some(mut rest) => {
            block.push(127);
            while rest >= 128 {
                block.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            block.push(rest as u8);
        }
    }
    block.extend_from_slice(text);
}

/// The pseudo-headers of a request.
pub(crate) fn head(method: &str, path: &str) -> [(&'static str, String); 4] {
    [
        (":method", method.to_owned()),
        (":scheme", "http".to_owned()),
        (":authority", "localhost".to_owned()),
        (":path", path.to_owned()),
    ]
}

/// A HEADERS frame of a whole request without a body.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &literals(&head("GET", path)))
}

/// A HEADERS frame of a request whose body follows.
pub(crate) fn post(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &literals(&head("POST", path)))
}

/// A connection on which frames are written and read as they are.
pub(crate) struct RawConnection {
    pub(crate) reader: OwnedReadHalf,
    pub(crate) writer: OwnedWriteHalf,
    seen: Vec<u8>,
}

impl RawConnection {
    /// A connection that has sent nothing yet.
    pub(crate) async fn silent(router: &RunningRouter) -> Self {
        let socket = TcpStream::connect(router.address()).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let (reader, writer) = socket.into_split();
        Self { reader, writer, seen: Vec::new() }
    }

    /// A connection that has sent the preface and these settings.
    pub(crate) async fn connect(router: &RunningRouter, settings: &[u8]) -> Self {
        let mut connection = Self::silent(router).await;
        connection.send([PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).await;
        connection
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        assert!(self.try_send(bytes).await, "the router closed the connection");
    }

    /// Whether the connection took the bytes.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        timeout(PATIENCE, self.writer.write_all(bytes.as_ref())).await.expect("nothing is read").is_ok()
    }

    /// The next frame; `None` when the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take_frame() {
                return Some(frame);
            }
            let mut chunk = [0; 16 * 1024];
            let read = timeout(PATIENCE, self.reader.read(&mut chunk)).await.expect("no frame came");
            match read {
                Ok(0) | Err(_) => return None,
                Ok(n) => self.seen.extend_from_slice(&chunk[..n]),
            }
        }
    }

    fn take_frame(&mut self) -> Option<Frame> {
        let header: [u8; 9] = self.seen.get(..9)?.try_into().unwrap();
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let payload = self.seen.get(9..9 + length)?.to_vec();
        self.seen.drain(..9 + length);
        let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        Some(Frame { kind: header[3], flags: header[4], stream, payload })
    }

    /// The next frame of this kind; `None` when the connection ends before.
    pub(crate) async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            match self.next().await {
                Some(frame) if frame.kind == kind => return Some(frame),
                Some(_) => {}
                None => return None,
            }
        }
    }

    /// What becomes of the request on a stream.
    pub(crate) async fn fate(&mut self, stream: u32) -> Fate {
        while let Some(frame) = self.next().await {
            let code = |at: usize| u32::from_be_bytes(frame.payload[at..at + 4].try_into().unwrap());
            match frame.kind {
                HEADERS if frame.stream == stream => return Fate::Status(status(&frame.payload)),
                RST_STREAM if frame.stream == stream => return Fate::Reset(code(0)),
                GOAWAY if code(4) != 0 => return Fate::GoAway(code(4)),
                _ => {}
            }
        }
        Fate::Closed
    }

    /// Reads to the end of the connection; the code of the last GOAWAY, if there was one.
    pub(crate) async fn ended(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                code = Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
            }
        }
        code
    }
}

/// The status of a response, from the block of its headers, if it is one of HPACK's static table.
fn status(block: &[u8]) -> u16 {
    match block.first() {
        Some(0x88) => 200,
        Some(0x8C) => 400,
        Some(0x8D) => 404,
        Some(0x8E) => 500,
        _ => 0,
    }
}
