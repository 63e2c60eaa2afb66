//! Accepts connections and serves them until the router stops.

use crate::admin;
use crate::data_plane::{RouterBody, answer};
use crate::router::Shared;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// A client that sends no whole request head for this long is closed; an idle keep-alive connection ends so, too.
/// nginx's keep-alive default: clients of a router are used to it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// After a failed accept (most likely: out of file descriptors), so long until the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The open ports of one router.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) main: TcpListener,
    pub(crate) metrics: Option<TcpListener>,
}

/// Stops accepting, and cuts what still runs.
type Ends = (CancellationToken, CancellationToken);

/// Serves both ports in the background; `tasks` ends when all connections have.
pub(crate) fn spawn(shared: &Arc<Shared>, listeners: Listeners, tasks: &TaskTracker, ends: Ends) {
    let shared_main = Arc::clone(shared);
    let main = accept(listeners.main, tasks.clone(), ends.clone(), move |request| {
        let shared = Arc::clone(&shared_main);
        async move { answer(shared, request).await }
    });
    tasks.spawn(main);
    if let Some(listener) = listeners.metrics {
        let shared = Arc::clone(shared);
        tasks.spawn(accept(listener, tasks.clone(), ends, move |request| {
            let shared = Arc::clone(&shared);
            async move { admin::metrics_only(&shared, &request) }
        }));
    }
}

async fn accept<H, F>(listener: TcpListener, tasks: TaskTracker, (stop, kill): Ends, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<RouterBody>> + Send + 'static,
{
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                tasks.spawn(serve(stream, (stop.clone(), kill.clone()), handler.clone()));
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve<H, F>(stream: TcpStream, (stop, kill): Ends, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<RouterBody>> + Send + 'static,
{
    // A token that waits for Nagle's algorithm is a late token.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot set TCP_NODELAY");
    }
    let service = service_fn(move |request| {
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection.as_mut() => result,
                () = kill.cancelled() => return,
            }
        }
    };
    if let Err(error) = result {
        debug!(%error, "connection ended early");
    }
}
