//! Accepts connections.

use super::connection::{Rules, serve};
use crate::data_plane::RouterBody;
use http::{Request, Response};
use hyper::body::Incoming;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use tracing::warn;

/// After a failed accept (most likely: out of file descriptors), so long until the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// One port.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    /// The connections; the router waits for them when it stops.
    pub(super) tasks: TaskTracker,
    pub(super) rules: Rules,
}

impl Listener {
    /// Accepts until the router stops. `handler` answers each request, and knows who asks.
    pub(super) async fn run<H, F>(self, handler: H)
    where
        H: Fn(IpAddr, Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<RouterBody>> + Send + 'static,
    {
        let rules = Arc::new(self.rules);
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = rules.ends.stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let (handler, peer) = (handler.clone(), peer.ip());
                    self.tasks.spawn(serve(stream, Arc::clone(&rules), move |r| handler(peer, r)));
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}
