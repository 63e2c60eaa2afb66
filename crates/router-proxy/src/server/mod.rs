//! The open ports: connections of clients, over plain TCP or TLS, until the router stops.

mod client_io;
mod connection;
mod framing_validator;
mod listener;
mod serving_threads;

use crate::admin;
use crate::data_plane::answer;
use crate::router::Shared;
use crate::security::{Door, ServerTls, Visit};
use connection::{Ends, Rules};
use listener::Listener;
use router_config::ClientTimeouts;
pub use serving_threads::Lanes;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The open ports of one router.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) main: TcpListener,
    pub(crate) admin: Option<TcpListener>,
    pub(crate) metrics: Option<TcpListener>,
    /// For the main and the admin port. Metrics are scraped in the clear.
    pub(crate) tls: Option<ServerTls>,
    pub(crate) timeouts: ClientTimeouts,
}

/// Serves all ports in the background; `tasks` ends when all connections have. The first token stops accepting, the
/// second cuts what still runs.
pub(crate) fn spawn(
    shared: &Arc<Shared>,
    listeners: Listeners,
    (tasks, lanes): (&TaskTracker, &Arc<Lanes>),
    (stop, kill): (CancellationToken, CancellationToken),
) {
    let Listeners { main, admin, metrics, tls, timeouts } = listeners;
    let rules = |tls: Option<ServerTls>| {
        let ends = Ends { stop: stop.clone(), kill: kill.clone() };
        Arc::new(Rules { timeouts, tls: tls.map(|tls| tls.acceptor()), ends })
    };
    for (socket, door) in [(Some(main), Door::Main), (admin, Door::Admin)] {
        let Some(socket) = socket else { continue };
        let shared = Arc::clone(shared);
        let lanes = Arc::clone(lanes);
        let listener = Listener { socket, tasks: tasks.clone(), lanes, rules: rules(tls.clone()) };
        tasks.spawn(listener.run(move |peer, alarm, request| {
            let shared = Arc::clone(&shared);
            async move { answer(shared, (Visit { peer, door }, alarm), request).await }
        }));
    }
    if let Some(socket) = metrics {
        let shared = Arc::clone(shared);
        // Whoever scrapes is served beside those who are in a hurry.
        let lanes = Arc::default();
        let listener = Listener { socket, tasks: tasks.clone(), lanes, rules: rules(None) };
        tasks.spawn(listener.run(move |_, _, request| {
            let shared = Arc::clone(&shared);
            async move { admin::metrics_only(&shared, &request) }
        }));
    }
}
