//! Opens connections to workers: TCP, and TLS for https URLs.

use crate::coalesced_write::write_coalesced;
use crate::connect_error::ConnectError;
use crate::happy_eyeballs::connect_first;
use crate::target::WorkerTarget;
use crate::tls::{TlsError, WorkerTls};
use rustls::pki_types::ServerName;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How workers are connected to; the same for all workers.
#[derive(Clone, Debug)]
pub struct ConnectConfig {
    /// Limit for establishing a connection, TLS included.
    pub connect_timeout: Duration,
    /// For workers with https URLs.
    pub tls: Arc<WorkerTls>,
}

impl ConnectConfig {
    /// The connector for one worker.
    pub(crate) fn to(&self, target: &WorkerTarget) -> Result<Connector, TlsError> {
        let host = target.authority().host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = target.port();
        Ok(Connector {
            socket: host.parse().ok().map(|ip| SocketAddr::new(ip, port)),
            tls: if target.is_secure() { Some(self.tls.connector(&host, target.protocol())?) } else { None },
            host,
            port,
            connect_timeout: self.connect_timeout,
        })
    }
}

/// Opens connections to one worker.
pub(crate) struct Connector {
    host: String,
    port: u16,
    /// Set where the host is an address, so that no name is looked up.
    socket: Option<SocketAddr>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    connect_timeout: Duration,
}

impl fmt::Display for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connector({self})")
    }
}

impl Connector {
    /// A new connection, to the first address of the worker that answers.
    ///
    /// # Errors
    /// When there is none within the connect timeout, TLS included.
    pub(crate) async fn dial(&self) -> Result<WorkerStream, ConnectError> {
        let deadline = Instant::now() + self.connect_timeout;
        let stream = match self.socket {
            Some(address) => self.connect_tcp(&[address], deadline).await?,
            None => self.connect_tcp(&self.resolve(deadline).await?, deadline).await?,
        };
        let Some((connector, name)) = &self.tls else { return Ok(WorkerStream::Plain(stream)) };
        match timeout_at(deadline, connector.connect(name.clone(), stream)).await {
            Ok(Ok(stream)) => Ok(WorkerStream::Tls(Box::new(stream))),
            Ok(Err(error)) => Err(ConnectError::of_handshake(error)),
            Err(_) => Err(ConnectError::HandshakeTimeout(self.connect_timeout)),
        }
    }

    /// The addresses of the worker's name, in the system's order.
    async fn resolve(&self, deadline: Instant) -> Result<Vec<SocketAddr>, ConnectError> {
        let fail = |error: io::Error| ConnectError::Resolve { name: self.host.clone(), error };
        let found = timeout_at(deadline, lookup_host((self.host.as_str(), self.port))).await;
        let found: Vec<_> = found.map_err(|_| fail(io::ErrorKind::TimedOut.into()))?.map_err(fail)?.collect();
        if found.is_empty() { Err(fail(io::Error::other("it has no address"))) } else { Ok(found) }
    }

    async fn connect_tcp(
        &self,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) -> Result<TcpStream, ConnectError> {
        let stream = connect_first(addresses, deadline, |address| async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        });
        let timeout = self.connect_timeout;
        stream.await.map_err(|tried| ConnectError::NoAddress { tried, timeout })
    }
}

/// A connection to a worker.
#[derive(Debug)]
pub enum WorkerStream {
    /// TCP without TLS.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for WorkerStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for WorkerStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => write_coalesced(Pin::new(stream), cx, slices),
            Self::Tls(stream) => write_coalesced(Pin::new(stream), cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
