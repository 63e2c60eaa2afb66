//! Connections to one worker, driven by the task that uses them.
//!
//! A pooled client of the usual kind drives each connection in a task of its own and hands every piece of every
//! answer from task to task. Here the task that serves the client drives the worker's connection, too: fewer wake-ups
//! per request and per streamed event, and a dropped answer closes its connection at once.

use super::dial::{Address, Wire};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use thread_local::ThreadLocal;
use tokio::time::Instant;

/// SGLang and vLLM close an idle connection after 5 s; one that is reused at that moment fails. Ours go first.
const IDLE: Duration = Duration::from_secs(4);

/// Why an exchange with a worker failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// No connection: the worker has not seen the request.
    #[error("cannot connect to {host}: {source}")]
    Connect { host: String, source: std::io::Error },
    /// The connection broke.
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

type Driver = http1::Connection<TokioIo<Wire>, Full<Bytes>>;

/// Why a request was not answered, with the request itself if not a byte of it was sent.
type Unsent = hyper::client::conn::TrySendError<Request<Full<Bytes>>>;

/// One connection, idle or at work for one request.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None` once the connection has ended.
    driver: Option<Pin<Box<Driver>>>,
}

impl Connection {
    /// Lets the connection do what it can now. It must be called by whoever waits for its answer.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            // An error surfaces where the answer is awaited, with more to say about it.
            && driver.as_mut().poll(cx).is_ready()
        {
            self.driver = None;
        }
    }

    /// Whether it can take a request now, as far as can be known without a wait.
    fn usable(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.drive(&mut cx);
        self.driver.is_some() && matches!(self.sender.poll_ready(&mut cx), Poll::Ready(Ok(())))
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Unsent> {
        let mut response = pin!(self.sender.try_send_request(request));
        let driver = &mut self.driver;
        poll_fn(|cx| {
            if let Some(running) = driver
                && running.as_mut().poll(cx).is_ready()
            {
                *driver = None;
            }
            response.as_mut().poll(cx)
        })
        .await
    }
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

    /// Sends one request and waits for the head of its answer. The connection comes along: its owner drives it while
    /// the body comes, and gives it [`back`](Self::put) after the last byte.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Connection), ExchangeError> {
        let request = match self.take() {
            None => request,
            Some(mut idle) => match idle.send(request).await {
                Ok(response) => return Ok((response, idle)),
                // The worker closed the idle connection in this very moment, which is nobody's fault.
                Err(mut unsent) => match unsent.take_message() {
                    Some(request) => request,
                    None => return Err(unsent.into_error().into()),
                },
            },
        };
        self.send_anew(request).await
    }

    /// The same on a connection of its own.
    pub(crate) async fn send_anew(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Connection), ExchangeError> {
        let mut connection = Box::pin(self.connect()).await?;
        let response = connection.send(request).await.map_err(Unsent::into_error)?;
        Ok((response, connection))
    }

    /// Takes back a connection whose answer has been read to its end; one that cannot be used again is closed.
    pub(crate) fn put(&self, mut connection: Connection) {
        if connection.usable() {
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
            if connection.usable() {
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
        let (mut sender, driver) = http1::handshake(TokioIo::new(wire)).await?;
        let mut driver = Box::pin(driver);
        // A new connection says that it can take a request when it is driven for the first time.
        poll_fn(|cx| {
            if let Poll::Ready(Err(error)) = driver.as_mut().poll(cx) {
                return Poll::Ready(Err(error));
            }
            sender.poll_ready(cx)
        })
        .await?;
        Ok(Connection { sender, driver: Some(driver) })
    }
}
