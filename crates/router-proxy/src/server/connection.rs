//! One connection of a client, for as long as it lasts.

use super::ClientTimeouts;
use super::client_io::ClientIo;
use crate::alarm::{Alarm, HeadTimer};
use crate::data_plane::RouterBody;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// A request head that is larger, in bytes, ends with 431. hyper looks at the size between two reads, so a head that
/// comes fast may have up to twice as many.
const MAX_HEAD: usize = 64 << 10;

/// What holds for every connection of one port.
pub(super) struct Rules {
    pub(super) timeouts: ClientTimeouts,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) ends: Ends,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rules({:?})", self.timeouts)
    }
}

/// How connections end when the router does.
#[derive(Debug)]
pub(super) struct Ends {
    /// No new requests.
    pub(super) stop: CancellationToken,
    /// Nothing at all.
    pub(super) kill: CancellationToken,
}

/// Serves one connection; `handler` answers its requests, and may set its alarm while it does.
pub(super) async fn serve<H, F>(stream: TcpStream, rules: Arc<Rules>, handler: H)
where
    H: Fn(Alarm, Request<Incoming>) -> F,
    F: Future<Output = Response<RouterBody>>,
{
    // A token that waits for Nagle's algorithm is a late token.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot set TCP_NODELAY");
    }
    let Some(acceptor) = &rules.tls else { return speak(stream, &rules, handler).await };
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(rules.timeouts.head, acceptor.accept(stream)) => accepted,
        () = rules.ends.stop.cancelled() => return,
    };
    match accepted {
        Ok(Ok(stream)) => speak(stream, &rules, handler).await,
        Ok(Err(error)) => debug!(%error, "no TLS handshake"),
        Err(_) => debug!("no TLS handshake in time"),
    }
}

/// Speaks HTTP on a connection.
async fn speak<S, H, F>(stream: S, Rules { timeouts, ends, .. }: &Rules, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Alarm, Request<Incoming>) -> F,
    F: Future<Output = Response<RouterBody>>,
{
    let alarm = Alarm::default();
    let timer = HeadTimer(alarm.clone());
    let service = service_fn(move |request| {
        // hyper keeps room for the answer's future in every connection; boxed, it takes none while the client is idle.
        let answer = Box::pin(handler(alarm.clone(), request));
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(timer)
        .header_read_timeout(timeouts.head)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(ClientIo::new(stream, timeouts.write)), service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        biased;
        result = connection.as_mut() => result,
        () = ends.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection.as_mut() => result,
                () = ends.kill.cancelled() => return,
            }
        }
    };
    if let Err(error) = result {
        debug!(%error, "connection ended early");
    }
}
