//! One client connection: TLS handshake, then HTTP/1.1 or HTTP/2 until it closes.

use super::client_io::{ClientIo, Protocols};
use super::connection_config::{ConnectionConfig, FAREWELL, MAX_HEAD};
use super::host;
use super::http2;
use crate::error::ProxyError;
use crate::proxy::prepare_upgrade;
use crate::response::{RouterBody, TunnelSlot, error_response};
use crate::security::HTTP_2;
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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

/// Serves one connection. `handler` serves its requests and may use its timer meanwhile.
pub(super) async fn serve<H, F>(stream: TcpStream, config: Arc<ConnectionConfig>, handler: H)
where
    H: Fn(DeadlineTimer, Request<Incoming>) -> F,
    F: Future<Output = Response<RouterBody>> + Send + 'static,
{
    // Nagle's algorithm would delay streamed tokens.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot set TCP_NODELAY");
    }
    let Some(acceptor) = &config.tls else {
        let protocols = if config.http2.is_some() { Protocols::Both } else { Protocols::Http1 };
        return serve_http1(stream, protocols, &config, handler).await;
    };
    let accepted = tokio::select! {
        accepted = timeout(config.timeouts.head, acceptor.accept(stream)) => accepted,
        () = config.shutdown.graceful.cancelled() => return,
    };
    match accepted {
        Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(HTTP_2) => {
            let io = ClientIo::new(stream, config.timeouts.write, Protocols::Http2, TunnelSlot::default());
            Box::pin(http2::serve(io, &config, handler)).await;
        }
        Ok(Ok(stream)) => serve_http1(stream, Protocols::Http1, &config, handler).await,
        Ok(Err(error)) => debug!(%error, "TLS handshake failed"),
        Err(_) => debug!("TLS handshake timed out"),
    }
}

/// Serves HTTP/1.1 on a connection, after the TLS handshake if there is one; HTTP/2, if the connection begins with it and may.
async fn serve_http1<S, H, F>(stream: S, protocols: Protocols, config: &ConnectionConfig, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(DeadlineTimer, Request<Incoming>) -> F,
    F: Future<Output = Response<RouterBody>> + Send + 'static,
{
    let ConnectionConfig { timeouts, shutdown, .. } = config;
    let alarm = DeadlineTimer::default();
    let timer = HyperTimer(alarm.clone());
    let tunnel = TunnelSlot::default();
    let service = service_fn(|mut request| {
        prepare_upgrade(&mut request, &tunnel);
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
    let io = ClientIo::new(stream, timeouts.write, protocols, tunnel.clone());
    let mut connection = http1::Builder::new()
        .timer(timer)
        .header_read_timeout(timeouts.head)
        .max_buf_size(MAX_HEAD as usize)
        .serve_connection(TokioIo::new(io), service);
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
    let Parts { io, read_buf, .. } = connection.into_parts();
    let io = io.into_inner();
    // What follows is boxed, so that a connection that stays HTTP/1.1 has no room for it.
    match (result, tunnel.take()) {
        _ if io.is_http2() => Box::pin(http2::serve(io, config, handler)).await,
        (Err(error), _) => debug!(%error, "connection ended early"),
        (Ok(()), Some(tunnel)) => Box::pin(tunnel.run(io, &read_buf, &shutdown.force)).await,
        (Ok(()), None) => {}
    }
}

/// The response to a request that no handler sees. Its body is not read, so the connection ends.
fn refuse(error: &ProxyError, route: Route) -> Response<RouterBody> {
    let mut response = error_response(error, route);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
