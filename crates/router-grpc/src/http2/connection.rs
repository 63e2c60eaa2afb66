//! One HTTP/2 connection to a worker.

use crate::error::TransportError;
use bytes::Bytes;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, SendStream};
use http::Request;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};

/// Bytes of one response that are received before somebody reads them.
const STREAM_WINDOW: u32 = 256 << 10;
/// Bytes of all responses together: so many that a client that reads slowly does not hold up those of others.
const CONNECTION_WINDOW: u32 = 1 << 30;
/// Bytes of headers and trailers.
const MAX_HEADERS: u32 = 256 << 10;
/// How long nothing comes before the other side is asked whether it is there, while a call is open.
const PING_AFTER: Duration = Duration::from_secs(10);
/// How long its answer may take.
const PONG_WITHIN: Duration = Duration::from_secs(10);

/// A connection that carries any number of calls at once. A task of its own drives it.
#[derive(Clone, Debug)]
pub(crate) struct H2Connection {
    /// Not cloned for each call: a clone takes the lock of the whole connection twice.
    sender: Arc<Mutex<SendRequest<Bytes>>>,
    state: Arc<ConnectionState>,
}

#[derive(Debug, Default)]
struct ConnectionState {
    /// Calls that are open.
    active: AtomicUsize,
    has_ended: AtomicBool,
}

/// An open call; it counts until it is dropped.
#[derive(Debug)]
pub(crate) struct ActiveStream(Arc<ConnectionState>);

impl Drop for ActiveStream {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Relaxed);
    }
}

impl H2Connection {
    /// Opens HTTP/2 on `wire`, and spawns the task that drives it once the other side has said how many calls it takes at once: the calls
    /// of a burst would else wait in a connection that is full.
    ///
    /// # Errors
    /// When the other side does not speak HTTP/2, or does not answer.
    pub(crate) async fn open<S>(wire: S) -> Result<Self, TransportError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADERS)
            .enable_push(false)
            .handshake(wire);
        let (sender, mut connection) = handshake.await.map_err(|error| not_begun(error.into()))?;
        let state = Arc::<ConnectionState>::default();
        let mut pings = connection.ping_pong();
        if let Some(pings) = &mut pings {
            tokio::select! {
                ended = &mut connection => {
                    return Err(not_begun(ended.map_or_else(TransportError::from, |()| TransportError::Closed)));
                }
                // Its settings come before its answer.
                answered = timeout(PONG_WITHIN, pings.ping(Ping::opaque())) => {
                    let answered = answered.map_err(|_| TransportError::Broken(io::ErrorKind::TimedOut.into()))?;
                    answered.map_err(|error| not_begun(error.into()))?;
                }
            }
        }
        let driven = Arc::clone(&state);
        tokio::spawn(async move {
            drive(connection, pings, &driven).await;
            driven.has_ended.store(true, Relaxed);
        });
        Ok(Self { sender: Arc::new(Mutex::new(sender)), state })
    }

    /// Whether it has ended, and every call on it with it.
    pub(crate) fn has_ended(&self) -> bool {
        self.state.has_ended.load(Relaxed)
    }

    /// Whether the other side takes one more call now.
    pub(crate) fn has_room(&self) -> bool {
        self.state.active.load(Relaxed) < self.sender.lock().current_max_send_streams()
    }

    /// Begins a call.
    ///
    /// # Errors
    /// When the connection has ended, or takes no calls any more.
    pub(crate) fn send(
        &self,
        request: Request<()>,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let mut sender = self.sender.lock();
        match sender.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(ready) => ready.and_then(|()| sender.send_request(request, false)),
            // An earlier call waits for the other side to take it. A clone queues this one behind it.
            Poll::Pending => sender.clone().send_request(request, false),
        }
    }

    /// Whether no call is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.state.active.load(Relaxed) == 0
    }

    /// Counts one more call.
    pub(crate) fn activate(&self) -> ActiveStream {
        self.state.active.fetch_add(1, Relaxed);
        ActiveStream(Arc::clone(&self.state))
    }
}

/// Drives a connection to its end. A connection on which calls are open and whose other side does not answer a ping is
/// dropped, which ends the calls: a peer that went away without a word would else be waited for until a time limit.
async fn drive<S>(mut connection: Connection<S, Bytes>, mut pings: Option<PingPong>, state: &ConnectionState)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut next = Instant::now() + PING_AFTER;
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a gRPC connection broke");
                }
                return;
            }
            () = sleep_until(next) => {}
        }
        next = Instant::now() + PING_AFTER;
        let Some(pings) = pings.as_mut().filter(|_| state.active.load(Relaxed) > 0) else { continue };
        tokio::select! {
            _ = &mut connection => return,
            answered = timeout(PONG_WITHIN, pings.ping(Ping::opaque())) => {
                if !matches!(answered, Ok(Ok(_))) {
                    tracing::debug!("a gRPC connection does not answer a ping");
                    return;
                }
            }
        }
    }
}

/// What it means that a connection ended before the other side said anything in HTTP/2.
fn not_begun(error: TransportError) -> TransportError {
    let closed = |kind| {
        TransportError::Broken(io::Error::new(
            kind,
            "the worker closed the connection before it spoke HTTP/2; is this the port of its HTTP server?",
        ))
    };
    match error {
        TransportError::Closed => closed(io::ErrorKind::Other),
        // A server that refuses what it does not understand may close before it has read it all.
        TransportError::Broken(cause) if cause.kind() == io::ErrorKind::ConnectionReset => {
            closed(io::ErrorKind::ConnectionReset)
        }
        error => error,
    }
}
