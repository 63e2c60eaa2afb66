//! Accepts connections on one port.

use super::connection::serve;
use super::connection_config::ConnectionConfig;
use super::serving_threads::ServingThreads;
use crate::response::RouterBody;
use crate::timer::DeadlineTimer;
use http::{Request, Response};
use hyper::body::Incoming;
use std::future::Future;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

/// Pause after a failed accept; the usual cause is a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Without a failed accept for this long, connections are accepted again. At the limit of open files single ones are
/// accepted between the failures, whenever a file is closed.
const RECOVERED_AFTER: Duration = Duration::from_secs(5);

/// Whether connections are accepted, for one log line each time that changes.
#[derive(Default, Debug)]
struct AcceptHealth {
    /// When accepting last failed; absent while connections are accepted.
    failed_at: Option<Instant>,
}

impl AcceptHealth {
    /// An accept failed. Returns whether that is news.
    fn failed(&mut self) -> bool {
        self.failed_at.replace(Instant::now()).is_none()
    }

    /// A connection was accepted. Returns whether connections are accepted again.
    fn accepted(&mut self) -> bool {
        let is_over = self.failed_at.is_some_and(|failed| failed.elapsed() >= RECOVERED_AFTER);
        if is_over {
            self.failed_at = None;
        }
        is_over
    }
}

/// Whether an accept failed because of the one connection, not of the listener.
const fn is_of_client(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted)
}

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
        H: Fn(IpAddr, DeadlineTimer, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<RouterBody>> + Send + 'static,
    {
        let config = &self.config;
        let mut health = AcceptHealth::default();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = config.shutdown.graceful.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    if health.accepted() {
                        info!("connections are accepted again");
                    }
                    let (handler, peer) = (handler.clone(), peer.ip());
                    let config = Arc::clone(config);
                    self.spawn(stream, move |stream| serve(stream, config, move |a, r| handler(peer, a, r)));
                }
                // The client was gone before it was accepted; the next one may be there already.
                Err(error) if is_of_client(error.kind()) => {
                    debug!(%error, "a client left before it was accepted")
                }
                Err(error) => {
                    if health.failed() {
                        warn!(%error, "cannot accept connections; raise the limit of open files if it is too low");
                    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_change_is_news_once() {
        let mut health = AcceptHealth::default();
        assert!(!health.accepted(), "it never failed");
        assert!(health.failed());
        for _ in 0..100 {
            assert!(
                !health.failed() && !health.accepted(),
                "single accepts between failures are no recovery"
            );
            tokio::time::advance(ACCEPT_PAUSE).await;
        }
        tokio::time::advance(RECOVERED_AFTER).await;
        assert!(health.accepted() && !health.accepted());
        assert!(health.failed(), "the next shortage is news");
    }
}
