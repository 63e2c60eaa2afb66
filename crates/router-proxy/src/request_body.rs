//! Reads a request's body: whole, once, and within the limits for one body and for all.

use crate::admission::BodyReservation;
use crate::error::ProxyError;
use crate::state::AppState;
use crate::timer::LazyTimer;
use bytes::{Bytes, BytesMut};
use http::Version;
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// How many times what came of a body is reserved at most for the rest of its announced length.
const ANNOUNCED_FACTOR: usize = 8;

/// How much of a rejected body is read and discarded, in bytes and in time.
const LINGER_BYTES: usize = 64 << 20;
const LINGER_TIME: Duration = Duration::from_secs(5);

/// Lingering close: reads on for a while and discards. Closing with unread data makes the kernel send RST, which can
/// take the response from the client.
/// On HTTP/2 the stream alone is closed, by a frame that leaves the response as it is.
pub(crate) fn lingering_close(mut body: Incoming, version: Version) {
    if body.is_end_stream() || version == Version::HTTP_2 {
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
        // A timeout just ends the discarding.
        let _ = tokio::time::timeout(LINGER_TIME, discard).await;
    });
}

/// Reads the client's whole body, within the bounds that the router has for one body and for all.
pub(crate) async fn read(
    state: &AppState,
    mut body: Incoming,
    version: Version,
) -> Result<Bytes, ProxyError> {
    let (limit, size) = (state.live().limits.max_body, body.size_hint().lower());
    let rejected = if size > limit as u64 {
        Some(ProxyError::TooLarge { limit })
    } else {
        state.admission.bodies.is_over(size).then_some(ProxyError::NoMemory)
    };
    let read = match rejected {
        Some(error) => Err(error),
        None if body.is_end_stream() => return Ok(Bytes::new()),
        None => {
            let announced = usize::try_from(size).unwrap_or(0);
            let timeout = BodyReadTimeout::new(state.live().limits.body_timeout, state.live().limits.timeout);
            BodyCollector { announced, ..BodyCollector::new(state) }.run(&mut body, timeout).await
        }
    };
    if read.as_ref().is_err_and(|e| matches!(e, ProxyError::TooLarge { .. } | ProxyError::NoMemory)) {
        lingering_close(body, version);
    }
    read
}

/// Collects the pieces of one body.
#[derive(Debug)]
pub(crate) struct BodyCollector {
    limit: usize,
    /// The length that the head states; 0 where it states none.
    announced: usize,
    reservation: BodyReservation,
    /// The first piece. The usual small body comes in one, and is never copied.
    whole: Bytes,
    /// All pieces, once there are several.
    joined: BytesMut,
}

impl BodyCollector {
    /// A collector for a body whose length is not known.
    pub(crate) fn new(state: &AppState) -> Self {
        Self {
            limit: state.live().limits.max_body,
            announced: 0,
            reservation: state.admission.bodies.reservation(),
            whole: Bytes::new(),
            joined: BytesMut::new(),
        }
    }

    /// Reads the body to its end.
    async fn run(mut self, body: &mut Incoming, mut timeout: BodyReadTimeout) -> Result<Bytes, ProxyError> {
        while let Some(frame) = poll_fn(|cx| timeout.poll_next(body, cx)).await? {
            if let Ok(data) = frame.into_data() {
                self.take(data)?;
            }
        }
        Ok(self.finish())
    }

    /// The whole body.
    pub(crate) fn finish(self) -> Bytes {
        let body = if self.joined.is_empty() { self.whole } else { self.joined.freeze() };
        self.reservation.attach(body)
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// When the body is larger than allowed, or there is no room for it.
    pub(crate) fn take(&mut self, data: Bytes) -> Result<(), ProxyError> {
        let size = self.whole.len() + self.joined.len() + data.len();
        if size > self.limit {
            return Err(ProxyError::TooLarge { limit: self.limit });
        }
        if self.whole.is_empty() && self.joined.is_empty() {
            self.reservation.reserve(size)?;
            self.whole = data;
            return Ok(());
        }
        // Memory follows what came, not what was announced: a client may announce much and send nothing. Of an announced length
        // more is reserved at once, because each reservation moves what came before.
        let room = if size <= self.joined.capacity() {
            self.joined.capacity()
        } else if self.announced >= size {
            self.announced.min(ANNOUNCED_FACTOR * size)
        } else {
            2 * size
        };
        self.reservation.reserve(room)?;
        self.joined.reserve(room - self.joined.len());
        self.joined.extend_from_slice(&std::mem::take(&mut self.whole));
        self.joined.extend_from_slice(&data);
        Ok(())
    }
}

/// How long the client may send nothing of its body, and how long the whole of it may take.
struct BodyReadTimeout {
    idle: Duration,
    total: Duration,
    /// Set when the client makes the router wait for the first time.
    deadline: Option<Instant>,
    /// When the present wait ends; absent while there is none.
    wait_ends: Option<Instant>,
    timer: LazyTimer,
}

impl BodyReadTimeout {
    fn new(idle: Duration, total: Duration) -> Self {
        Self { idle, total, deadline: None, wait_ends: None, timer: LazyTimer::default() }
    }

    /// The next piece of the body.
    fn poll_next(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame<Bytes>>, ProxyError>> {
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) {
            self.wait_ends = None;
            return Poll::Ready(frame.transpose().map_err(|e| ProxyError::ClientBody(e.into())));
        }
        let Some(wait_ends) = self.wait_ends else {
            // hyper hands over a body that came with its head only when it is polled again: a timer for that would be
            // set and dropped with every request, so the first poll that finds nothing sets none.
            let now = Instant::now();
            let deadline = *self.deadline.get_or_insert(now + self.total);
            self.wait_ends = Some(deadline.min(now + self.idle));
            cx.waker().wake_by_ref();
            return Poll::Pending;
        };
        ready!(self.timer.poll(wait_ends, cx));
        let is_late = self.deadline.is_some_and(|deadline| deadline <= Instant::now());
        Poll::Ready(Err(ProxyError::ClientTimeout(if is_late { self.total } else { self.idle })))
    }
}
