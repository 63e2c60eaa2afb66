//! Target `http1_connection`: the HTTP/1.1 client of `router-upstream` on any bytes that a worker may answer with. What it
//! makes of them does not depend on how they are cut into reads.

use bytes::Bytes;
use http::Method;
use http::uri::PathAndQuery;
use router_core::Rng;
use router_upstream::{Connection, RequestEncoder};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A wire on which a response is already waiting, then its end: no read or write is ever pending.
struct ReadyWire<'w> {
    rest: &'w [u8],
    /// The length of each read is drawn from it; without it, a read takes all that fits.
    rng: Option<Rng>,
}

impl AsyncRead for ReadyWire<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let most = self.rng.as_mut().map_or(usize::MAX, |rng| 1 + rng.below(40));
        let (now, later) = self.rest.split_at(self.rest.len().min(most).min(buffer.remaining()));
        buffer.put_slice(now);
        self.rest = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ReadyWire<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Lets a worker answer requests with the bytes after the first one, which seeds the length of the reads.
///
/// # Panics
/// When the client panics, or the outcome depends on the length of the reads.
pub fn run(input: &[u8]) {
    let Some((&seed, wire)) = input.split_first() else { return };
    run_seeded(seed, wire);
}

/// As [`run`], with the seed apart.
///
/// # Panics
/// As [`run`].
pub fn run_seeded(seed: u8, wire: &[u8]) {
    let rng = Rng::seeded(u64::from(seed));
    let at_once = outcome(ReadyWire { rest: wire, rng: None });
    let in_pieces = outcome(ReadyWire { rest: wire, rng: Some(rng) });
    assert_eq!(at_once, in_pieces, "the length of reads does not matter");
}

/// What the client sees: the status and the body, or why there is none. Whether the connection is reused afterwards is left
/// out, because that depends on how much of what follows was read.
fn outcome(wire: ReadyWire<'_>) -> Result<(u16, Vec<u8>), String> {
    let polled = pin!(exchange(wire)).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(outcome) = polled else { panic!("nothing is pending on this wire") };
    outcome
}

async fn exchange(wire: ReadyWire<'_>) -> Result<(u16, Vec<u8>), String> {
    let mut connection = Connection::new(wire);
    let path = PathAndQuery::from_static("/generate");
    let request = RequestEncoder::new(&Method::POST, "", &path, Bytes::from_static(b"{}")).finish();
    let parts = connection.send(request).await.map_err(|failed| failed.error.to_string())?;
    let mut body = Vec::new();
    while let Some(frame) = connection.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        body.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
    }
    Ok((parts.status.as_u16(), body))
}
