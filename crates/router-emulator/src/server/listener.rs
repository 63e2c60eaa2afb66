//! The accept loop. It owns the connections, so that a fault can reset or close each, or write garbage to it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::serve;
use crate::faults::{ConnectionFault, FaultSwitch, ListenState};
use crate::state::ServerState;

/// Pause after a failed accept or bind, so that a lasting error does not spin.
const RETRY: Duration = Duration::from_millis(20);
/// Bytes that are not HTTP.
pub(crate) const GARBAGE: &[u8] = b"\x16\x03\x01 this is not HTTP \xff\xfe\r\n\r\n";

/// A connection that has been accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) server: Arc<ServerState>,
    pub(crate) stream: TcpStream,
    pub(crate) listen: watch::Receiver<ListenState>,
    /// How often the server had crashed before it listened for this connection.
    pub(crate) crashes: u64,
    /// The server stops.
    pub(crate) stop: CancellationToken,
}

/// Accepts connections until `stop` and gives each to `serve`, then ends those that are open.
pub(crate) async fn run<Fut>(
    server: Arc<ServerState>,
    listener: TcpListener,
    addr: SocketAddr,
    stop: CancellationToken,
    serve: fn(Accepted) -> Fut,
) where
    Fut: Future<Output = ()> + Send + 'static,
{
    let connections = TaskTracker::new();
    let mut listen = server.listening().subscribe();
    let mut listener = Some(listener);
    loop {
        let ListenState { open, crashes } = *listen.borrow_and_update();
        if !open {
            listener = None;
        } else if listener.is_none() {
            listener = rebind(addr).await;
        }
        tokio::select! {
            () = stop.cancelled() => break,
            _ = listen.changed() => {}
            accepted = accept(listener.as_ref()), if open => {
                if let Some(stream) = accepted {
                    // Without this, small events wait for the client's delayed acknowledgement.
                    let _ = stream.set_nodelay(true);
                    let (server, listen, stop) = (server.clone(), listen.clone(), stop.clone());
                    connections.spawn(serve(Accepted { server, stream, listen, crashes, stop }));
                }
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn accept(listener: Option<&TcpListener>) -> Option<TcpStream> {
    let accepted = match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => Err(io::ErrorKind::NotConnected.into()),
    };
    match accepted {
        Ok(stream) => Some(stream),
        Err(_) => {
            tokio::time::sleep(RETRY).await;
            None
        }
    }
}

async fn rebind(addr: SocketAddr) -> Option<TcpListener> {
    match TcpListener::bind(addr).await {
        Ok(listener) => Some(listener),
        Err(e) => {
            tracing::debug!(%addr, "cannot listen again yet: {e}");
            None
        }
    }
}

/// Serves one connection of HTTP/1.1 until it, the server or a fault ends it.
pub(crate) async fn http1(accepted: Accepted) {
    let Accepted { server, stream, mut listen, crashes, stop } = accepted;
    let switch = FaultSwitch::default();
    let keep_alive = server.config().keep_alive;
    let service = {
        let switch = switch.clone();
        service_fn(move |request| serve(server.clone(), switch.clone(), request))
    };
    let mut conn = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(keep_alive)
        .serve_connection(TokioIo::new(stream), service);
    let mut closing = pin!(switch.closing());
    let mut is_closing = false;
    let connection_fault = loop {
        tokio::select! {
            _ = &mut conn => break switch.get(),
            _ = listen.wait_for(|listen| listen.crashes > crashes) => break Some(ConnectionFault::Reset),
            () = stop.cancelled() => break Some(ConnectionFault::Close),
            () = &mut closing, if !is_closing => {
                is_closing = true;
                Pin::new(&mut conn).graceful_shutdown();
            }
        }
    };
    let Some(connection_fault) = connection_fault else { return };
    let mut stream = conn.into_parts().io.into_inner();
    match connection_fault {
        // Dropping a socket with zero linger sends RST.
        ConnectionFault::Reset => {
            let _ = stream.set_zero_linger();
        }
        ConnectionFault::Garbage => {
            let _ = stream.write_all(GARBAGE).await;
        }
        ConnectionFault::Close => {}
    }
}
