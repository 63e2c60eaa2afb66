//! Accepts connections on one port.

use super::connection::{ConnectionConfig, serve};
use super::serving_threads::ServingThreads;
use crate::response::RouterBody;
use crate::timer::DeadlineTimer;
use http::{Request, Response};
use hyper::body::Incoming;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// Pause after a failed accept; the usual cause is a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// One listening port.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    /// Tracks the connections; the router waits for them when it stops.
    pub(super) tasks: TaskTracker,
    /// Threads that serve the connections.
    pub(super) threads: Arc<ServingThreads>,
    pub(super) config: Arc<ConnectionConfig>,
}

impl Listener {
    /// Accepts until the router stops. `handler` serves each request and gets the address of its client.
    pub(super) async fn run<H, F>(self, handler: H)
    where
        H: Fn(IpAddr, DeadlineTimer, Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<RouterBody>> + Send + 'static,
    {
        let config = &self.config;
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = config.shutdown.graceful.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let (handler, peer) = (handler.clone(), peer.ip());
                    let config = Arc::clone(config);
                    self.spawn(stream, move |stream| serve(stream, config, move |a, r| handler(peer, a, r)));
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves a connection on the thread with the fewest connections.
    fn spawn<F>(&self, stream: TcpStream, serve: impl FnOnce(TcpStream) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(thread) = self.threads.least_loaded() else {
            self.tasks.spawn(serve(stream));
            return;
        };
        let (guard, stream) = (thread.guard_connection(), stream.into_std());
        let task = async move {
            match stream.and_then(TcpStream::from_std) {
                Ok(stream) => serve(stream).await,
                Err(error) => debug!(%error, "cannot move the connection to its serving thread"),
            }
            drop(guard);
        };
        self.tasks.spawn_on(task, &thread.runtime);
    }
}
