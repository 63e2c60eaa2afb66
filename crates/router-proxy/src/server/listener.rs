//! Accepts connections.

use super::connection::{Rules, serve};
use super::serving_threads::Lanes;
use crate::alarm::Alarm;
use crate::data_plane::RouterBody;
use http::{Request, Response};
use hyper::body::Incoming;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// After a failed accept (most likely: out of file descriptors), so long until the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// One port.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    /// The connections; the router waits for them when it stops.
    pub(super) tasks: TaskTracker,
    /// Where they are served.
    pub(super) lanes: Arc<Lanes>,
    pub(super) rules: Arc<Rules>,
}

impl Listener {
    /// Accepts until the router stops. `handler` answers each request, and knows who asks.
    pub(super) async fn run<H, F>(self, handler: H)
    where
        H: Fn(IpAddr, Alarm, Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<RouterBody>> + Send + 'static,
    {
        let rules = &self.rules;
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = rules.ends.stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let (handler, peer) = (handler.clone(), peer.ip());
                    let rules = Arc::clone(rules);
                    self.spawn(stream, move |stream| serve(stream, rules, move |a, r| handler(peer, a, r)));
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves a connection on the emptiest lane.
    fn spawn<F>(&self, stream: TcpStream, serve: impl FnOnce(TcpStream) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(lane) = self.lanes.emptiest() else {
            self.tasks.spawn(serve(stream));
            return;
        };
        let (place, stream) = (lane.place(), stream.into_std());
        let task = async move {
            match stream.and_then(TcpStream::from_std) {
                Ok(stream) => serve(stream).await,
                Err(error) => debug!(%error, "connection lost on its way to its thread"),
            }
            drop(place);
        };
        self.tasks.spawn_on(task, &lane.runtime);
    }
}
