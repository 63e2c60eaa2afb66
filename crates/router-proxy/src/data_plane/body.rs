//! Bodies: the client's, read once and bounded; the router's answer, ready-made or relayed.

use super::disaggregation::{Bond, Paired};
use super::relay::{Relay, RelayError};
use crate::error::ProxyError;
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// The body of an answer to a client.
#[derive(Debug)]
pub struct RouterBody(Inner);

#[derive(Debug)]
enum Inner {
    Full(Bytes),
    Relay(Box<Relay>),
    Paired(Box<Paired>),
}

impl RouterBody {
    /// A body of the router's own.
    pub const fn full(bytes: Bytes) -> Self {
        Self(Inner::Full(bytes))
    }

    /// A worker's body, passed on as it comes.
    pub(super) fn relay(relay: Relay) -> Self {
        Self(Inner::Relay(Box::new(relay)))
    }

    /// The same, with what the other leg of a split request still has to do with it.
    pub(super) fn paired(self, bond: Bond) -> Self {
        match self.0 {
            Inner::Full(bytes) => Self::full(bond.conclude(bytes)),
            Inner::Relay(relay) => Self(Inner::Paired(Box::new(Paired::new(relay, bond)))),
            paired @ Inner::Paired(_) => Self(paired),
        }
    }
}

impl Body for RouterBody {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        match &mut self.0 {
            Inner::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Inner::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Inner::Relay(relay) => relay.poll_frame(cx),
            Inner::Paired(paired) => paired.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Full(bytes) => bytes.is_empty(),
            Inner::Relay(relay) => relay.is_end_stream(),
            Inner::Paired(paired) => paired.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Relay(relay) => relay.size_hint(),
            Inner::Paired(paired) => paired.size_hint(),
        }
    }
}

/// What is read of a refused body, in bytes and in time.
const LINGER_BYTES: usize = 64 << 20;
const LINGER_TIME: Duration = Duration::from_secs(5);

/// Reads on a while and throws away: closing on a client that still sends would take our answer from its hands.
fn linger(mut body: Incoming) {
    tokio::spawn(async move {
        let mut seen = 0;
        let discard = async {
            while let Some(Ok(frame)) = body.frame().await {
                seen += frame.data_ref().map_or(0, Bytes::len);
                if seen > LINGER_BYTES {
                    return;
                }
            }
        };
        // The end of the time is as good an end as any.
        let _ = tokio::time::timeout(LINGER_TIME, discard).await;
    });
}

/// Reads the client's whole body, at most `limit` bytes of it.
pub(super) async fn read(mut body: Incoming, limit: usize) -> Result<Bytes, ProxyError> {
    let hint = body.size_hint();
    if hint.lower() > limit as u64 {
        linger(body);
        return Err(ProxyError::TooLarge { limit });
    }
    let mut whole = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| ProxyError::ClientBody(e.into()))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + joined.len() + data.len() > limit {
            linger(body);
            return Err(ProxyError::TooLarge { limit });
        }
        if whole.is_empty() && joined.is_empty() {
            // The usual small body comes in one piece, and is never copied.
            whole = data;
            continue;
        }
        if joined.is_empty() {
            // The announced length saves growing step by step, but is not trusted with more than a megabyte.
            let announced = usize::try_from(hint.lower()).unwrap_or(0).min(1 << 20);
            joined.reserve(announced.max(whole.len() + data.len()));
            joined.extend_from_slice(&whole);
            whole = Bytes::new();
        }
        joined.extend_from_slice(&data);
    }
    Ok(if joined.is_empty() { whole } else { joined.freeze() })
}
