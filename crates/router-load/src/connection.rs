//! Connections to the target. Each is driven by the task that uses it: without a switch between tasks one core sends
//! more, and times are taken where the bytes arrive.

use crate::outcome::RequestFailure;
use crate::target::LoadTarget;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// uvicorn closes an idle connection after 5 s, and a reuse at that moment fails. This closes them earlier.
const MAX_IDLE: Duration = Duration::from_secs(4);

/// One connection, idle or in use by one request.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: ConnectionDriver,
}

type HyperConnection = http1::Connection<TokioIo<TcpStream>, Full<Bytes>>;

/// The half that reads and writes; `None` once the connection has ended.
#[derive(Debug)]
struct ConnectionDriver(Option<Pin<Box<HyperConnection>>>);

impl ConnectionDriver {
    fn poll(&mut self, cx: &mut Context<'_>) {
        // An error is returned where the response is awaited, with its cause.
        if let Some(running) = &mut self.0
            && running.as_mut().poll(cx).is_ready()
        {
            self.0 = None;
        }
    }

    /// Awaits `work` while driving the connection.
    async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| {
            self.poll(cx);
            work.as_mut().poll(cx)
        })
        .await
    }
}

impl Connection {
    async fn open(target: &LoadTarget) -> Result<Self, RequestFailure> {
        let fail = |source| RequestFailure::Connect { host: target.host.clone(), source };
        let stream = TcpStream::connect(&*target.addresses).await.map_err(fail)?;
        stream.set_nodelay(true).map_err(fail)?;
        let (mut sender, running) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = ConnectionDriver(Some(Box::pin(running)));
        // A new connection becomes ready when it is first driven.
        driver.during(sender.ready()).await?;
        Ok(Self { sender, driver })
    }

    /// Whether it can take a request now, without waiting.
    fn usable(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.driver.poll(&mut cx);
        self.driver.0.is_some() && matches!(self.sender.poll_ready(&mut cx), Poll::Ready(Ok(())))
    }

    /// The next frame of the response body.
    pub(crate) async fn frame(&mut self, body: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
        self.driver.during(body.frame()).await
    }
}

/// The connections to one target, without a limit: an open loop opens as many as it needs.
#[derive(Debug)]
pub(crate) struct ConnectionPool {
    target: LoadTarget,
    idle: Mutex<VecDeque<(Instant, Connection)>>,
}

impl ConnectionPool {
    pub(crate) fn new(target: LoadTarget) -> Self {
        Self { target, idle: Mutex::default() }
    }

    pub(crate) const fn target(&self) -> &LoadTarget {
        &self.target
    }

    /// Sends one request and waits for the response head. Returns the connection too, to read the body.
    pub(crate) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Connection), RequestFailure> {
        while let Some(mut connection) = self.take() {
            let sending = connection.sender.try_send_request(request);
            match connection.driver.during(sending).await {
                Ok(response) => return Ok((response, connection)),
                // The server closed it, and no byte of the request was sent: try the next connection.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        let mut connection = Connection::open(&self.target).await?;
        let sending = connection.sender.send_request(request);
        let response = connection.driver.during(sending).await?;
        Ok((response, connection))
    }

    /// Returns a connection whose response was read to the end; one that cannot be reused is closed.
    pub(crate) fn put(&self, mut connection: Connection) {
        if connection.usable() {
            self.idle.lock().push_back((Instant::now(), connection));
        }
    }

    /// The most recently used open connection. Closes those that were idle too long.
    fn take(&self) -> Option<Connection> {
        loop {
            let (stale, last) = {
                let mut idle = self.idle.lock();
                let old = idle.iter().take_while(|(since, _)| since.elapsed() > MAX_IDLE).count();
                let stale: Vec<_> = idle.drain(..old).collect();
                (stale, idle.pop_back())
            };
            // Closing a socket is a system call, which need not be made under the lock.
            drop(stale);
            let (_, mut connection) = last?;
            if connection.usable() {
                return Some(connection);
            }
        }
    }
}
