//! Connections to one worker, driven by the task that uses them.
//!
//! A pooled client of the usual kind drives each connection in a task of its own and hands every piece of every
//! answer from task to task. Here the task that serves the client drives the worker's connection, too: fewer wake-ups
//! per request and per streamed event, and a dropped answer closes its connection at once.

use crate::connect::{Connector, WorkerStream};
use crate::http1::{self, EncodedRequest, ResponseError};
use http::response::Parts;
use parking_lot::Mutex;
use std::time::Duration;
use thread_local::ThreadLocal;
use tokio::time::Instant;

/// SGLang and vLLM close an idle connection after 5 s; one that is reused at that moment fails. Ours go first.
const IDLE: Duration = Duration::from_secs(4);

/// A connection to a worker.
pub type Connection = http1::Connection<WorkerStream>;

/// Why an exchange with a worker failed.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection: the worker has not seen the request.
    #[error("cannot connect to {host}: {source}")]
    Connect { host: String, source: std::io::Error },
    /// There was one, and no answer on it.
    #[error(transparent)]
    Response(#[from] ResponseError),
}

/// The idle connections of one worker. Each thread has its own: a connection wakes the thread that opened it, and a
/// request that waits on another one would have to be woken across cores.
#[derive(Debug)]
pub struct ConnectionPool {
    address: Connector,
    idle: ThreadLocal<Mutex<Vec<(Instant, Connection)>>>,
}

impl ConnectionPool {
    pub fn new(address: Connector) -> Self {
        Self { address, idle: ThreadLocal::new() }
    }

    /// Sends one request and waits for the head of its answer. The connection comes along: its owner reads the body from
    /// it, and gives it [`back`](Self::put) after the last byte.
    pub async fn send(&self, request: EncodedRequest) -> Result<(Parts, Connection), UpstreamError> {
        let request = match self.take() {
            None => request,
            Some(mut idle) => match idle.send(request).await {
                Ok(parts) => return Ok((parts, idle)),
                // The worker closed the idle connection in this very moment, which is nobody's fault.
                Err(unanswered) => unanswered.unsent.ok_or(unanswered.error)?,
            },
        };
        self.send_on_new(request).await
    }

    /// The same on a connection of its own.
    pub async fn send_on_new(&self, request: EncodedRequest) -> Result<(Parts, Connection), UpstreamError> {
        let mut connection = Box::pin(self.connect()).await?;
        let parts = connection.send(request).await.map_err(|unanswered| unanswered.error)?;
        Ok((parts, connection))
    }

    /// Takes back a connection whose answer has been read to its end; one that cannot be used again is closed.
    pub fn release(&self, connection: Connection) {
        if connection.is_reusable() {
            self.idle.get_or_default().lock().push((Instant::now(), connection));
        }
    }

    /// The most recently used idle connection that is still open.
    fn take(&self) -> Option<Connection> {
        let idle = self.idle.get()?;
        loop {
            let (since, mut connection) = idle.lock().pop()?;
            if since.elapsed() > IDLE {
                // All others have been idle for longer.
                let old = std::mem::take(&mut *idle.lock());
                drop(old);
                return None;
            }
            if connection.is_open() {
                return Some(connection);
            }
        }
    }

    /// Closes connections that have been idle for too long.
    pub fn evict_idle(&self) {
        for idle in &self.idle {
            let mut idle = idle.lock();
            let old = idle.iter().take_while(|(since, _)| since.elapsed() > IDLE).count();
            let old: Vec<_> = idle.drain(..old).collect();
            drop(idle);
            drop(old);
        }
    }

    async fn connect(&self) -> Result<Connection, UpstreamError> {
        let wire = self.address.dial().await;
        let wire =
            wire.map_err(|source| UpstreamError::Connect { host: self.address.to_string(), source })?;
        Ok(Connection::new(wire))
    }
}
