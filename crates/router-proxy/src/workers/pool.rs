//! Connections to one worker, driven by the task that uses them.
//!
//! A pooled client of the usual kind drives each connection in a task of its own and hands every piece of every
//! answer from task to task. Here the task that serves the client drives the worker's connection, too: fewer wake-ups
//! per request and per streamed event, and a dropped answer closes its connection at once.

use super::dial::{Address, Wire};
use crate::http1::{self, AnswerError, Outgoing};
use http::response::Parts;
use parking_lot::Mutex;
use std::time::Duration;
use thread_local::ThreadLocal;
use tokio::time::Instant;

/// SGLang and vLLM close an idle connection after 5 s; one that is reused at that moment fails. Ours go first.
const IDLE: Duration = Duration::from_secs(4);

/// A connection to a worker.
pub(crate) type Connection = http1::Connection<Wire>;

/// Why an exchange with a worker failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// No connection: the worker has not seen the request.
    #[error("cannot connect to {host}: {source}")]
    Connect { host: String, source: std::io::Error },
    /// There was one, and no answer on it.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

/// The idle connections of one worker. Each thread has its own: a connection wakes the thread that opened it, and a
/// request that waits on another one would have to be woken across cores.
#[derive(Debug)]
pub(crate) struct Pool {
    address: Address,
    idle: ThreadLocal<Mutex<Vec<(Instant, Connection)>>>,
}

impl Pool {
    pub(crate) fn new(address: Address) -> Self {
        Self { address, idle: ThreadLocal::new() }
    }

    /// Sends one request and waits for the head of its answer. The connection comes along: its owner reads the body from
    /// it, and gives it [`back`](Self::put) after the last byte.
    pub(crate) async fn send(&self, request: Outgoing) -> Result<(Parts, Connection), ExchangeError> {
        let request = match self.take() {
            None => request,
            Some(mut idle) => match idle.send(request).await {
                Ok(parts) => return Ok((parts, idle)),
                // The worker closed the idle connection in this very moment, which is nobody's fault.
                Err(unanswered) => unanswered.unsent.ok_or(unanswered.error)?,
            },
        };
        self.send_anew(request).await
    }

    /// The same on a connection of its own.
    pub(crate) async fn send_anew(&self, request: Outgoing) -> Result<(Parts, Connection), ExchangeError> {
        let mut connection = Box::pin(self.connect()).await?;
        let parts = connection.send(request).await.map_err(|unanswered| unanswered.error)?;
        Ok((parts, connection))
    }

    /// Takes back a connection whose answer has been read to its end; one that cannot be used again is closed.
    pub(crate) fn put(&self, connection: Connection) {
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
    pub(crate) fn sweep(&self) {
        for idle in &self.idle {
            let mut idle = idle.lock();
            let old = idle.iter().take_while(|(since, _)| since.elapsed() > IDLE).count();
            let old: Vec<_> = idle.drain(..old).collect();
            drop(idle);
            drop(old);
        }
    }

    async fn connect(&self) -> Result<Connection, ExchangeError> {
        let wire = self.address.dial().await;
        let wire =
            wire.map_err(|source| ExchangeError::Connect { host: self.address.to_string(), source })?;
        Ok(Connection::new(wire))
    }
}
