//! The listening ports: client connections over plain TCP or TLS, until the router stops.

mod client_io;
mod connection;
mod connection_config;
mod framing_validator;
mod host;
mod http2;
mod listener;
mod serving_threads;

pub(crate) use connection_config::Shutdown;
pub use serving_threads::ServingThreads;

use crate::admin;
use crate::proxy::handle_request;
use crate::security::{ListenerKind, Peer, ServerTls};
use crate::state::AppState;
use connection_config::ConnectionConfig;
use listener::Listener;
use router_config::{ClientTimeouts, Http2Config};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// The bound ports of one router.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) main: TcpListener,
    pub(crate) admin: Option<TcpListener>,
    pub(crate) metrics: Option<TcpListener>,
    /// For the main and the admin port. The metrics port is always plain HTTP.
    pub(crate) tls: Option<ServerTls>,
    pub(crate) timeouts: ClientTimeouts,
    /// HTTP/2, for all ports; absent where only HTTP/1.1 is served.
    pub(crate) http2: Option<Http2Config>,
}

/// Serves all ports in the background. `tasks` tracks the listeners and every connection.
pub(crate) fn spawn(
    state: &Arc<AppState>,
    listeners: Listeners,
    tasks: &TaskTracker,
    threads: &Arc<ServingThreads>,
    shutdown: &Shutdown,
) {
    let Listeners { main, admin, metrics, tls, timeouts, http2 } = listeners;
    let config = |tls: Option<ServerTls>| {
        let tls = tls.map(|tls| tls.acceptor());
        Arc::new(ConnectionConfig { timeouts, http2, tls, shutdown: shutdown.clone() })
    };
    for (socket, kind) in [(Some(main), ListenerKind::Main), (admin, ListenerKind::Admin)] {
        let Some(socket) = socket else { continue };
        let state = Arc::clone(state);
        let threads = Arc::clone(threads);
        let listener = Listener { socket, tasks: tasks.clone(), threads, config: config(tls.clone()) };
        tasks.spawn(listener.run(move |address, timer, request| {
            let state = Arc::clone(&state);
            let peer = Peer { address, listener: kind };
            async move { handle_request(state, peer, timer, request).await }
        }));
    }
    if let Some(socket) = metrics {
        let state = Arc::clone(state);
        // Scrapes run on the caller's runtime, so that they do not delay requests on the serving threads.
        let threads = Arc::default();
        let listener = Listener { socket, tasks: tasks.clone(), threads, config: config(None) };
        tasks.spawn(listener.run(move |_, _, request| {
            let state = Arc::clone(&state);
            async move { admin::metrics_only(&state, &request) }
        }));
    }
}
