//! One client connection: TLS handshake, then HTTP/1.1 until it closes.

use super::ClientTimeouts;
use super::client_io::ClientIo;
use super::host;
use crate::error::ProxyError;
use crate::proxy::prepare_upgrade;
use crate::response::{RouterBody, TunnelSlot, error_response};
use crate::timer::{DeadlineTimer, HyperTimer};
use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1::{self, Parts};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use router_core::Route;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Largest request head, in bytes; a larger one gets 431. hyper checks the size between two reads, so a head that
/// arrives fast may have up to twice as many bytes.
const MAX_HEAD: usize = 64 << 10;

/// How long a connection that is cut may take to say so.
const FAREWELL: Duration = Duration::from_millis(500);

/// Settings of all connections of one port.
pub(super) struct ConnectionConfig {
    pub(super) timeouts: ClientTimeouts,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) shutdown: Shutdown,
}

impl std::fmt::Debug for ConnectionConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConnectionConfig({:?})", self.timeouts)
    }
}

/// Tokens by which the router stops.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown {
    /// Stops accepting connections and requests; requests in flight go on.
    pub(crate) graceful: CancellationToken,
    /// Closes all connections at once.
    pub(crate) force: CancellationToken,
}

/// Serves one connection. `handler` serves its requests and may use its timer meanwhile.
pub(super) async fn serve<H, F>(stream: TcpStream, config: Arc<ConnectionConfig>, handler: H)
where
    H: Fn(DeadlineTimer, Request<Incoming>) -> F,
    F: Future<Output = Response<RouterBody>>,
{
    // Nagle's algorithm would delay streamed tokens.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot set TCP_NODELAY");
    }
    let Some(acceptor) = &config.tls else { return serve_http(stream, &config, handler).await };
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(config.timeouts.head, acceptor.accept(stream)) => accepted,
        () = config.shutdown.graceful.cancelled() => return,
    };
    match accepted {
        Ok(Ok(stream)) => serve_http(stream, &config, handler).await,
        Ok(Err(error)) => debug!(%error, "TLS handshake failed"),
        Err(_) => debug!("TLS handshake timed out"),
    }
}

/// Serves HTTP/1.1 on a connection, after the TLS handshake if there is one.
async fn serve_http<S, H, F>(
    stream: S,
    ConnectionConfig { timeouts, shutdown, .. }: &ConnectionConfig,
    handler: H,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(DeadlineTimer, Request<Incoming>) -> F,
    F: Future<Output = Response<RouterBody>>,
{
    let alarm = DeadlineTimer::default();
    let timer = HyperTimer(alarm.clone());
    let tunnel = TunnelSlot::default();
    let slot = tunnel.clone();
    let service = service_fn(move |mut request| {
        prepare_upgrade(&mut request, &slot);
        let checked = host::check(request.version(), request.headers());
        let handled = match checked {
            Ok(()) => Ok(handler(alarm.clone(), request)),
            Err(error) => Err((error, Route::of_path(request.uri().path()))),
        };
        // hyper keeps space for the response future in every connection; boxed, it takes none while the client is idle.
        let response = Box::pin(async move {
            match handled {
                Ok(response) => response.await,
                Err((error, route)) => refuse(&error, route),
            }
        });
        async move { Ok::<_, Infallible>(response.await) }
    });
    let mut connection = http1::Builder::new()
        .timer(timer)
        .header_read_timeout(timeouts.head)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(ClientIo::new(stream, timeouts.write, tunnel.clone())), service);
    let result = tokio::select! {
        biased;
        result = &mut connection => result,
        () = shutdown.graceful.cancelled() => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            tokio::select! {
                result = &mut connection => result,
                // Streams end with an error event, if the client takes it.
                () = shutdown.force.cancelled() => match timeout(FAREWELL, &mut connection).await {
                    Ok(result) => result,
                    Err(_) => return,
                },
            }
        }
    };
    match (result, tunnel.take()) {
        (Err(error), _) => debug!(%error, "connection ended early"),
        (Ok(()), Some(tunnel)) => {
            let Parts { io, read_buf, .. } = connection.into_parts();
            // Boxed, so that a connection without a tunnel has no room for one.
            Box::pin(tunnel.run(io.into_inner(), &read_buf, &shutdown.force)).await;
        }
        (Ok(()), None) => {}
    }
}

/// The response to a request that no handler sees. Its body is not read, so the connection ends.
fn refuse(error: &ProxyError, route: Route) -> Response<RouterBody> {
    let mut response = error_response(error, route);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
