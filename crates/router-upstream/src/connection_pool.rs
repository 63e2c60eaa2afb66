//! Connections to one worker, driven by the task that uses them.
//!
//! Most pooled clients drive each connection in a task of its own and pass every response frame from task to task. Here
//! the task that serves the client also drives the worker's connection: fewer wake-ups per request and per streamed
//! event, and dropping a response closes its connection at once.

use crate::connect::{Connector, WorkerStream};
use crate::connect_error::ConnectError;
use crate::http1::{self, EncodedRequest, ResponseError, SendError};
use crate::recheck::Recheck;
use http::response::Parts;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use thread_local::ThreadLocal;
use tokio::time::Instant;

/// Shorter than the 5 s after which SGLang and vLLM close idle connections: a request sent at that moment fails.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// An HTTP/1.1 connection to a worker.
pub(crate) type Http1Connection = http1::Connection<WorkerStream>;

/// Why an exchange with a worker failed.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection: the worker has not seen the request.
    #[error("cannot connect to {host}: {source}")]
    Connect {
        /// Host and port of the worker.
        host: String,
        /// The reason.
        source: Arc<ConnectError>,
    },
    /// The connection was open, but no response arrived.
    #[error(transparent)]
    Response(#[from] ResponseError),
    /// A connection that was kept open after an earlier request ended without a byte of a response, and this request must
    /// not be repeated. That is no fault: servers close idle connections when they like.
    #[error("a kept connection ended: {0}")]
    Stale(#[source] ResponseError),
}

/// The idle HTTP/1.1 connections of one worker. Each thread has its own list: a connection wakes the thread that opened
/// it, and a request on another thread would need a wake-up across cores.
#[derive(Debug)]
pub(crate) struct ConnectionPool {
    address: Connector,
    idle: ThreadLocal<Mutex<Vec<(Instant, Http1Connection)>>>,
    /// Told when a kept connection ended before its time.
    recheck: Arc<Recheck>,
}

impl ConnectionPool {
    pub(crate) fn new(address: Connector, recheck: Arc<Recheck>) -> Self {
        Self { address, idle: ThreadLocal::new(), recheck }
    }

    /// Sends a request and waits for the response head. The caller reads the body from the returned connection, and passes
    /// it to [`release`](Self::release) after the last byte.
    ///
    /// A request that got no byte of a response on a kept connection goes once more, on a new one: the worker may have
    /// closed the idle connection at the same moment (RFC 9112, section 9.3.1). No client notices, whatever the method is,
    /// because every request may be retried before its first byte. The exception is a request with an id that the worker
    /// may have seen.
    ///
    /// # Errors
    /// When the worker cannot be reached or does not respond.
    pub(crate) async fn send(
        &self,
        request: EncodedRequest,
    ) -> Result<(Parts, Http1Connection), UpstreamError> {
        let kept = if request.asks_for_upgrade() { None } else { self.take() };
        let request = match kept {
            None => request,
            Some(mut idle) => match idle.send(request).await {
                Ok(parts) => return Ok((parts, idle)),
                Err(SendError { error, unanswered: None }) => return Err(error.into()),
                Err(SendError { error, unanswered: Some(request) }) => {
                    self.recheck.suspect_replacement();
                    request.repeated().ok_or(UpstreamError::Stale(error))?
                }
            },
        };
        let mut connection = Box::pin(self.connect()).await?;
        let parts = connection.send(request).await.map_err(|failed| failed.error)?;
        Ok((parts, connection))
    }

    /// Returns a connection whose response was read to the end to the pool; one that cannot be reused is closed.
    pub(crate) fn release(&self, connection: Http1Connection) {
        if connection.is_reusable() {
            self.idle.get_or_default().lock().push((Instant::now(), connection));
        }
    }

    /// The most recently used idle connection that is still open.
    fn take(&self) -> Option<Http1Connection> {
        let idle = self.idle.get()?;
        loop {
            let (since, mut connection) = idle.lock().pop()?;
            if since.elapsed() > IDLE_TIMEOUT {
                // All others have been idle for longer.
                let old = std::mem::take(&mut *idle.lock());
                drop(old);
                return None;
            }
            if connection.is_open() {
                return Some(connection);
            }
            self.recheck.suspect_replacement();
        }
    }

    /// Closes connections that have been idle for too long.
    pub(crate) fn evict_idle(&self) {
        for idle in &self.idle {
            let mut idle = idle.lock();
            let old = idle.iter().take_while(|(since, _)| since.elapsed() > IDLE_TIMEOUT).count();
            let old: Vec<_> = idle.drain(..old).collect();
            drop(idle);
            drop(old);
        }
    }

    async fn connect(&self) -> Result<Http1Connection, UpstreamError> {
        let wire = self.address.dial().await.map_err(|source| UpstreamError::Connect {
            host: self.address.to_string(),
            source: Arc::new(source),
        })?;
        Ok(Http1Connection::new(wire))
    }
}
