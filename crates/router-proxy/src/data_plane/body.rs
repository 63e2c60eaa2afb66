//! Bodies: the client's, read once and bounded; the router's answer, ready-made or relayed.

use super::admission::{Permit, Share};
use super::disaggregation::{Bond, Paired};
use super::relay::{Relay, RelayError};
use crate::error::ProxyError;
use crate::router::Shared;
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// The body of an answer to a client.
#[derive(Debug)]
pub(crate) struct RouterBody {
    inner: Inner,
    /// Given back when the body has ended, or is dropped.
    _permit: Option<Permit>,
}

#[derive(Debug)]
enum Inner {
    Full(Bytes),
    Relay(Box<Relay>),
    Paired(Box<Paired>),
}

impl RouterBody {
    /// A body of the router's own.
    pub(crate) const fn full(bytes: Bytes) -> Self {
        Self { inner: Inner::Full(bytes), _permit: None }
    }

    /// A worker's body, passed on as it comes.
    pub(super) fn relay(relay: Relay) -> Self {
        Self { inner: Inner::Relay(Box::new(relay)), _permit: None }
    }

    /// The same, holding `permit` until it ends.
    pub(super) fn holding(self, permit: Option<Permit>) -> Self {
        Self { _permit: permit, ..self }
    }

    /// The same, with what the other leg of a split request still has to do with it.
    pub(super) fn paired(self, bond: Bond) -> Self {
        let inner = match self.inner {
            Inner::Full(bytes) => Inner::Full(bond.conclude(bytes)),
            Inner::Relay(relay) => Inner::Paired(Box::new(Paired::new(relay, bond))),
            paired @ Inner::Paired(_) => paired,
        };
        Self { inner, ..self }
    }
}

impl Body for RouterBody {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        match &mut self.inner {
            Inner::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Inner::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Inner::Relay(relay) => relay.poll_frame(cx),
            Inner::Paired(paired) => paired.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Full(bytes) => bytes.is_empty(),
            Inner::Relay(relay) => relay.is_end_stream(),
            Inner::Paired(paired) => paired.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
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
pub(super) fn linger(mut body: Incoming) {
    if body.is_end_stream() {
        return;
    }
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

/// Reads the client's whole body, within the bounds that the router has for one body and for all.
pub(super) async fn read(shared: &Shared, mut body: Incoming) -> Result<Bytes, ProxyError> {
    let (limit, size) = (shared.limits.max_body, body.size_hint().lower());
    let hopeless = if size > limit as u64 {
        Some(ProxyError::TooLarge { limit })
    } else {
        shared.admission.bodies.refuses(size).then_some(ProxyError::NoMemory)
    };
    let read = match hopeless {
        Some(error) => Err(error),
        None if body.is_end_stream() => return Ok(Bytes::new()),
        None => {
            // The announced length saves growing step by step, but is not trusted with more than a megabyte.
            let announced = usize::try_from(size).unwrap_or(0).min(1 << 20);
            let share = shared.admission.bodies.share();
            let patience = Patience::new(shared.limits.body_timeout, shared.limits.timeout);
            Reading { limit, announced, share, whole: Bytes::new(), joined: BytesMut::new() }
                .run(&mut body, patience)
                .await
        }
    };
    if read.as_ref().is_err_and(|e| matches!(e, ProxyError::TooLarge { .. } | ProxyError::NoMemory)) {
        linger(body);
    }
    read
}

/// A body on its way in.
struct Reading {
    limit: usize,
    announced: usize,
    share: Share,
    /// The first piece. The usual small body comes in one, and is never copied.
    whole: Bytes,
    /// All pieces, once there are several.
    joined: BytesMut,
}

impl Reading {
    /// Takes every piece in.
    async fn run(mut self, body: &mut Incoming, mut patience: Patience) -> Result<Bytes, ProxyError> {
        while let Some(frame) = poll_fn(|cx| patience.next(body, cx)).await? {
            if let Ok(data) = frame.into_data() {
                self.take(data)?;
            }
        }
        let body = if self.joined.is_empty() { self.whole } else { self.joined.freeze() };
        Ok(self.share.keep(body))
    }

    fn take(&mut self, data: Bytes) -> Result<(), ProxyError> {
        let size = self.whole.len() + self.joined.len() + data.len();
        if size > self.limit {
            return Err(ProxyError::TooLarge { limit: self.limit });
        }
        self.share.grow(size)?;
        if self.whole.is_empty() && self.joined.is_empty() {
            self.whole = data;
            return Ok(());
        }
        if self.joined.is_empty() {
            self.joined.reserve(self.announced.max(size));
            self.joined.extend_from_slice(&self.whole);
            self.whole = Bytes::new();
        }
        self.joined.extend_from_slice(&data);
        Ok(())
    }
}

/// How long the client may send nothing of its body, and how long the whole of it may take.
struct Patience {
    limit: Duration,
    total: Duration,
    /// Set when the client makes us wait for the first time.
    deadline: Option<Instant>,
    /// Whether the present wait was looked at before.
    again: bool,
    /// Runs while the client makes us wait.
    silence: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    const fn new(limit: Duration, total: Duration) -> Self {
        Self { limit, total, deadline: None, again: false, silence: None }
    }

    /// When the wait that begins now is over.
    fn end(&mut self) -> Instant {
        let now = Instant::now();
        let deadline = *self.deadline.get_or_insert(now + self.total);
        deadline.min(now + self.limit)
    }

    /// The next piece of the body.
    fn next(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame<Bytes>>, ProxyError>> {
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) {
            self.again = false;
            return Poll::Ready(frame.transpose().map_err(|e| ProxyError::ClientBody(e.into())));
        }
        if !self.again {
            // hyper hands a body that came with its head over only when it is asked for it, and then at the next look:
            // a timer for that would be set and dropped with every request.
            self.again = true;
            let end = self.silence.is_some().then(|| self.end());
            if let (Some(silence), Some(end)) = (&mut self.silence, end) {
                silence.as_mut().reset(end);
            }
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let end = self.end();
        let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        ready!(silence.as_mut().poll(cx));
        let late = self.deadline.is_some_and(|deadline| deadline <= Instant::now());
        Poll::Ready(Err(ProxyError::ClientTimeout(if late { self.total } else { self.limit })))
    }
}
