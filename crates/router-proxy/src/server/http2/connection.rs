//! One HTTP/2 connection, from its preface to its end.

use super::request_head;
use super::response_body::{StreamBody, StreamProgress};
use super::streams::{NewStreams, OpenStreams, StreamEnd};
use crate::response::{RouterBody, error_response};
use crate::server::client_io::ClientIo;
use crate::server::connection_config::{ConnectionConfig, FAREWELL, MAX_HEAD};
use crate::server::host;
use crate::timer::{DeadlineTimer, HyperTimer, LazyTimer};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2::{Builder, Connection};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use router_config::Http2Config;
use router_core::Route;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tracing::debug;

/// Bytes of request bodies that may be on their way, on one stream and on one connection. The router reads bodies as they come,
/// so this bounds speed, not size: 1 MiB is enough for 80 Mbit/s over 100 ms.
const RECEIVE_WINDOW: u32 = 1 << 20;

/// Bytes of a response that one stream holds for its client.
const SEND_BUFFER: usize = 64 << 10;

/// After so long without a frame the client is asked whether it is still there, and it may take so long to answer. Without that
/// the end of a machine or of its network is noticed only by what is sent to it.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a client may take to close an idle connection when it is told to.
const LAST_CALL: Duration = Duration::from_secs(5);

/// How many more requests of one connection may be cancelled than are answered: then it takes no new ones, and at twice as many
/// it is closed. A cancelled request costs its client one frame, and a worker its connection (CVE-2023-44487). One that hedges
/// cancels as many as it takes answers of.
const MAX_CANCELLED: u32 = 500;

/// Serves HTTP/2 on a connection that begins with its preface.
pub(in crate::server) async fn serve<S, H, F>(io: ClientIo<S>, config: &ConnectionConfig, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(DeadlineTimer, Request<Incoming>) -> F,
    F: Future<Output = Response<RouterBody>> + Send + 'static,
{
    let ConnectionConfig { timeouts, http2: Some(http2), shutdown, .. } = config else { return };
    let new = NewStreams::new(timeouts.write);
    let announced = new.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let progress = StreamProgress::default();
        announced.announce(progress.clone());
        let checked = request_head::prepare(&mut request)
            .and_then(|()| host::check(request.version(), request.headers()));
        // Requests of one connection wait at the same time, so each has a timer of its own.
        let handled = match checked {
            Ok(()) => Ok(handler(DeadlineTimer::default(), request)),
            Err(error) => Err(error_response(&error, Route::of_path(request.uri().path()))),
        };
        async move {
            let response = match handled {
                Ok(response) => response.await,
                Err(refusal) => refusal,
            };
            Ok::<_, Infallible>(response.map(|body| StreamBody::new(body, progress)))
        }
    });
    let connection = builder(new.clone(), *http2).serve_connection(TokioIo::new(io), service);
    let mut driver = Driver {
        connection: Box::pin(connection),
        streams: OpenStreams::new(new),
        cancelled: 0,
        idle: IdleConnection::new(timeouts.head),
    };
    let result = tokio::select! {
        biased;
        result = driver.run() => result,
        () = shutdown.graceful.cancelled() => {
            driver.connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = driver.run() => result,
                () = shutdown.force.cancelled() => {
                    // Streams end with an error event, if the client takes it.
                    driver.streams.wake_all();
                    timeout(FAREWELL, driver.run()).await.unwrap_or(Ok(()))
                }
            }
        }
    };
    if let Err(error) = result {
        debug!(%error, "HTTP/2 connection ended early");
    }
}

fn builder(streams: NewStreams, config: Http2Config) -> Builder<NewStreams> {
    let mut builder = Builder::new(streams);
    builder
        .timer(HyperTimer(DeadlineTimer::default()))
        .max_concurrent_streams(config.max_concurrent_streams.get())
        .max_header_list_size(MAX_HEAD)
        .initial_stream_window_size(RECEIVE_WINDOW)
        .initial_connection_window_size(RECEIVE_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// A connection with its streams.
struct Driver<T, S>
where
    S: HttpService<Incoming>,
{
    connection: Pin<Box<Connection<T, S, NewStreams>>>,
    streams: OpenStreams,
    /// How many more requests were cancelled than answered.
    cancelled: u32,
    idle: IdleConnection,
}

impl<T, S, F> Driver<T, S>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: HttpService<Incoming, ResBody = StreamBody, Future = F, Error = Infallible>,
    F: Future<Output = Result<Response<StreamBody>, Infallible>> + Send + 'static,
{
    /// Runs until the connection ends. What its streams hold is given back when `self` is dropped.
    async fn run(&mut self) -> hyper::Result<()> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        loop {
            // The streams first: their time limits hold however many frames the client sends.
            while let Poll::Ready(end) = self.streams.poll_end(cx) {
                if self.count(end) > 2 * MAX_CANCELLED {
                    debug!("the client cancels too many requests");
                    return Poll::Ready(Ok(()));
                }
            }
            if let Poll::Ready(result) = self.connection.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            if !self.streams.take_new() {
                break;
            }
        }
        match self.idle.poll(self.streams.is_empty(), cx) {
            Idleness::Allowed => Poll::Pending,
            Idleness::Ending => {
                self.connection.as_mut().graceful_shutdown();
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Idleness::Over => Poll::Ready(Ok(())),
        }
    }

    /// Counts the end of a stream. Returns how many more have been cancelled than answered.
    fn count(&mut self, end: StreamEnd) -> u32 {
        match end {
            StreamEnd::Responded => self.cancelled = self.cancelled.saturating_sub(1),
            StreamEnd::Cancelled => {
                self.cancelled += 1;
                if self.cancelled == MAX_CANCELLED {
                    self.connection.as_mut().graceful_shutdown();
                }
            }
        }
        self.cancelled
    }
}

/// Ends a connection that has no request for too long: first it is told so, and soon after it is closed.
struct IdleConnection {
    limit: Duration,
    /// When the present wait ends; absent while there are requests.
    ends: Option<Instant>,
    is_ending: bool,
    timer: LazyTimer,
}

/// What becomes of a connection without requests.
enum Idleness {
    /// It may go on.
    Allowed,
    /// The client is told to open no more streams.
    Ending,
    /// It is closed.
    Over,
}

impl IdleConnection {
    fn new(limit: Duration) -> Self {
        Self { limit, ends: None, is_ending: false, timer: LazyTimer::default() }
    }

    fn poll(&mut self, is_idle: bool, cx: &mut Context<'_>) -> Idleness {
        if !is_idle {
            self.ends = None;
            return Idleness::Allowed;
        }
        let limit = if self.is_ending { LAST_CALL } else { self.limit };
        let ends = *self.ends.get_or_insert_with(|| Instant::now() + limit);
        if self.timer.poll(ends, cx).is_pending() {
            return Idleness::Allowed;
        }
        if std::mem::replace(&mut self.is_ending, true) {
            return Idleness::Over;
        }
        self.ends = None;
        Idleness::Ending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::TunnelSlot;
    use crate::server::client_io::Protocols;
    use crate::server::connection_config::Shutdown;
    use bytes::Bytes;
    use router_config::ClientTimeouts;
    use std::num::NonZeroU32;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio_util::sync::CancellationToken;

    const IDLE: Duration = Duration::from_secs(75);
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    /// A client's end of a connection whose requests are answered after `pause`.
    fn connection(pause: Duration) -> DuplexStream {
        let (client, server) = duplex(1 << 20);
        let timeouts = ClientTimeouts { head: IDLE, write: Duration::from_secs(300) };
        let shutdown = Shutdown { graceful: CancellationToken::new(), force: CancellationToken::new() };
        let http2 = Some(Http2Config { max_concurrent_streams: NonZeroU32::MIN });
        let config = ConnectionConfig { timeouts, http2, tls: None, shutdown };
        let io = ClientIo::new(server, timeouts.write, Protocols::Http2, TunnelSlot::default());
        tokio::spawn(async move {
            let handler = move |_, _| async move {
                tokio::time::sleep(pause).await;
                Response::new(RouterBody::full(Bytes::from_static(b"late")))
            };
            serve(io, &config, handler).await;
        });
        client
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connection_ends_and_busy_one_stays() {
        let begin = Instant::now();
        let pause = 4 * IDLE;
        let (mut sender, connection) = h2::client::handshake(connection(pause)).await.unwrap();
        let ended = tokio::spawn(async move { (connection.await, Instant::now()) });
        let request = Request::get("http://a/").body(()).unwrap();
        let (response, _) = sender.send_request(request, true).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
        assert_eq!(begin.elapsed(), pause, "it is no idle connection meanwhile");
        let (end, at) = ended.await.unwrap();
        end.unwrap();
        assert_eq!(at - begin, pause + IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn silent_peer_is_asked_and_given_up() {
        let begin = Instant::now();
        let mut client = connection(4 * IDLE);
        // A request that takes long, so that the connection is not idle; then the client's machine is gone.
        let head = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a";
        client.write_all(&[PREFACE, head].concat()).await.unwrap();
        let mut seen = Vec::new();
        client.read_to_end(&mut seen).await.unwrap();
        let ping = seen.windows(5).filter(|bytes| *bytes == b"\0\0\x08\x06\0").count();
        assert_eq!(ping, 1);
        assert_eq!(begin.elapsed(), PING_INTERVAL + PING_TIMEOUT);
    }
}
