//! A connection that has left HTTP: bytes go between a client and a worker, both ways, until either of them ends it.
//!
//! What a WebSocket carries is not looked at. Its end is that of the connections below, which are closed together.

use crate::admission::Permit;
use crate::lease::Lease;
use crate::timer::{IdleTimeout, TimedOut};
use bytes::BytesMut;
use futures_util::future::{Either, select};
use parking_lot::Mutex;
use router_core::{AttemptResult, Outcome};
use router_telemetry::AccessEntry;
use router_upstream::WorkerStream;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Status of the response with which a connection leaves HTTP.
const SWITCHED: u16 = 101;

/// Bytes that are read at once, in each direction.
const BUFFER: usize = 16 << 10;

/// When one side has ended, the other one may take this long to do the same.
const LINGER: Duration = Duration::from_secs(5);

/// A tunnel may be open for ever, as long as something moves. Longer than any process runs.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The worker's end of a tunnel, with all that is held as long as it is open.
#[derive(Debug)]
pub(crate) struct Tunnel {
    worker: WorkerStream,
    /// What the worker sent behind its response.
    early: BytesMut,
    lease: Lease,
    /// How long nothing may come from either side.
    idle: Duration,
    permit: Option<Permit>,
    entry: Option<Box<AccessEntry>>,
}

/// How a tunnel ended.
enum TunnelEnd {
    /// The client closed its connection, and then the worker.
    ClosedByClient,
    /// The worker closed its connection.
    ClosedByWorker,
    /// The worker's connection broke.
    Worker(io::Error),
    /// The client's connection broke.
    Client(io::Error),
    /// Nothing came from either side for too long.
    Idle,
    /// The router stops.
    Stopped,
}

impl TunnelEnd {
    /// Why a connection broke, if one did.
    const fn cause(&self) -> Option<&io::Error> {
        match self {
            Self::Worker(error) | Self::Client(error) => Some(error),
            Self::ClosedByClient | Self::ClosedByWorker | Self::Idle | Self::Stopped => None,
        }
    }

    /// What it says about the worker, and its code in records. How long a tunnel was open is up to its two ends; a policy that
    /// took it for the time of a response would be misled.
    const fn outcome(&self) -> (Outcome, Option<&'static str>) {
        match self {
            Self::ClosedByClient | Self::ClosedByWorker => (Outcome::Cancelled, None),
            Self::Worker(_) => (Outcome::Failed, Some("worker_cut_answer")),
            Self::Client(_) => (Outcome::Cancelled, Some("client_disconnected")),
            Self::Idle => (Outcome::Cancelled, Some("websocket_idle")),
            Self::Stopped => (Outcome::Cancelled, Some("router_stopped")),
        }
    }
}

impl Tunnel {
    /// A tunnel to the worker of `lease`, which has sent `early` behind its response. It ends when nothing moves for `idle`.
    pub(crate) const fn new(worker: WorkerStream, early: BytesMut, lease: Lease, idle: Duration) -> Self {
        Self { worker, early, lease, idle, permit: None, entry: None }
    }

    /// Passes bytes on between the worker and `client`, which has sent `early` already, until one of them ends, nothing moves
    /// for too long, or `cut` is cancelled. Then both connections are closed.
    pub(crate) async fn run<S: AsyncRead + AsyncWrite>(
        self,
        client: S,
        early: &[u8],
        cut: &CancellationToken,
    ) {
        let Self { worker, early: from_worker, mut lease, idle, permit, mut entry } = self;
        let silence = Mutex::new(IdleTimeout::new(Instant::now() + NEVER, idle));
        let moved = || silence.lock().record_activity();
        let (mut client_read, mut client_write) = split(client);
        let (mut worker_read, mut worker_write) = split(worker);
        let candidate = Arc::clone(&lease.candidate);
        let end = {
            let up = pump(&mut client_read, &mut worker_write, early, |_| moved());
            let down = pump(&mut worker_read, &mut client_write, &from_worker, |count| {
                moved();
                candidate.worker.record_activity();
                lease.on_first_byte();
                if let Some(entry) = &mut entry {
                    entry.count_bytes(count as u64);
                }
            });
            let relayed = relay(up, down);
            tokio::select! {
                biased;
                end = relayed => end,
                () = cut.cancelled() => TunnelEnd::Stopped,
                TimedOut::Idle(_) | TimedOut::Deadline = poll_fn(|cx| silence.lock().poll(cx)) => TunnelEnd::Idle,
            }
        };
        if let Some(error) = end.cause() {
            tracing::debug!(%error, request_id = %lease.info.request_id, "a WebSocket broke");
        }
        let (outcome, error) = end.outcome();
        if let Some(error) = error {
            lease.set_error(error);
        }
        let result = AttemptResult { status: Some(SWITCHED), ..AttemptResult::of(outcome) };
        drop((worker_read, worker_write));
        lease.finish(lease.now(), result);
        drop((entry, permit));
        if matches!(end, TunnelEnd::ClosedByWorker) {
            tokio::select! {
                // Either way there is nothing more to do for the client.
                _ = timeout(LINGER, discard(&mut client_read)) => {}
                () = cut.cancelled() => {}
            }
        }
    }
}

/// Which connection of one direction broke, and how.
enum PumpError {
    Read(io::Error),
    Write(io::Error),
}

/// Runs both directions until the worker has ended, or the client has and the worker had time to do the same.
async fn relay(
    up: impl Future<Output = Result<(), PumpError>>,
    down: impl Future<Output = Result<(), PumpError>>,
) -> TunnelEnd {
    let (up, down) = (pin!(up), pin!(down));
    match select(up, down).await {
        Either::Left((Ok(()), down)) => match timeout(LINGER, down).await {
            Ok(Err(PumpError::Read(error))) => TunnelEnd::Worker(error),
            Ok(Err(PumpError::Write(error))) => TunnelEnd::Client(error),
            Ok(Ok(())) | Err(_) => TunnelEnd::ClosedByClient,
        },
        Either::Right((Ok(()), _)) => TunnelEnd::ClosedByWorker,
        Either::Left((Err(PumpError::Read(error)), _)) | Either::Right((Err(PumpError::Write(error)), _)) => {
            TunnelEnd::Client(error)
        }
        Either::Left((Err(PumpError::Write(error)), _)) | Either::Right((Err(PumpError::Read(error)), _)) => {
            TunnelEnd::Worker(error)
        }
    }
}

/// Lingering close: reads on for a while and discards. Closing with unread data makes the kernel send RST, which can take the
/// worker's last words from the client.
async fn discard(from: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = BytesMut::with_capacity(BUFFER);
    while from.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
        buffer.clear();
    }
}

/// Passes on `early` and then all that `from` sends, and ends `to` with it. `on_data` is told of each piece's length.
async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    early: &[u8],
    mut on_data: impl FnMut(usize),
) -> Result<(), PumpError> {
    let mut buffer = BytesMut::with_capacity(BUFFER.max(early.len()));
    buffer.extend_from_slice(early);
    loop {
        if !buffer.is_empty() {
            on_data(buffer.len());
            to.write_all(&buffer).await.map_err(PumpError::Write)?;
            to.flush().await.map_err(PumpError::Write)?;
            buffer.clear();
        }
        if from.read_buf(&mut buffer).await.map_err(PumpError::Read)? == 0 {
            return to.shutdown().await.map_err(PumpError::Write);
        }
    }
}

/// Where a request that asks for another protocol leaves its tunnel. The client's connection runs it, once the response
/// has been sent.
#[derive(Clone, Default, Debug)]
pub(crate) struct TunnelSlot(Arc<SlotState>);

#[derive(Default, Debug)]
struct SlotState {
    /// From now on the connection is not HTTP.
    is_open: AtomicBool,
    tunnel: Mutex<Option<Box<Tunnel>>>,
}

impl TunnelSlot {
    /// Whether what the client sends is no longer HTTP.
    pub(crate) fn is_open(&self) -> bool {
        self.0.is_open.load(Relaxed)
    }

    /// Leaves a tunnel. Bytes of the client that come from now on are for the worker.
    pub(crate) fn open(&self, tunnel: Tunnel) {
        *self.0.tunnel.lock() = Some(Box::new(tunnel));
        self.0.is_open.store(true, Relaxed);
    }

    /// The tunnel, if there is one.
    pub(crate) fn take(&self) -> Option<Box<Tunnel>> {
        self.0.tunnel.lock().take()
    }

    /// The tunnel holds `permit` until it ends.
    pub(crate) fn hold(&self, permit: Option<Permit>) {
        if let Some(tunnel) = self.0.tunnel.lock().as_mut() {
            tunnel.permit = permit;
        }
    }

    /// The line of the request in the access log ends with the tunnel.
    pub(crate) fn log(&self, entry: Box<AccessEntry>) {
        if let Some(tunnel) = self.0.tunnel.lock().as_mut() {
            tunnel.entry = Some(entry);
        }
    }
}
