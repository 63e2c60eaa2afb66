//! The accept loop: own connections, so that each can be reset, closed or answered with garbage.

use std::io;
use std::net::SocketAddr;
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

use crate::faults::{Fate, Switch};
use crate::server::{Server, serve};

/// Pause after a failed accept or bind, so that a lasting error does not spin.
const RETRY: Duration = Duration::from_millis(20);
/// Not an HTTP answer by any reading.
const GARBAGE: &[u8] = b"\x16\x03\x01 this is not HTTP \xff\xfe\r\n\r\n";

/// Whether the server takes connections, and how often it has crashed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Door {
    open: bool,
    crashes: u64,
}

/// The switch between the fault route and the accept loop.
#[derive(Debug)]
pub(crate) struct Listening(watch::Sender<Door>);

impl Default for Listening {
    fn default() -> Self {
        Self(watch::Sender::new(Door { open: true, crashes: 0 }))
    }
}

impl Listening {
    pub(crate) fn open(&self) {
        self.0.send_modify(|door| door.open = true);
    }

    pub(crate) fn close(&self) {
        self.0.send_modify(|door| door.open = false);
    }

    pub(crate) fn crash(&self) {
        self.0.send_modify(|door| *door = Door { open: false, crashes: door.crashes + 1 });
    }
}

/// Accepts connections until `stop`, then ends those that are open.
pub(crate) async fn run(
    server: Arc<Server>,
    listener: TcpListener,
    addr: SocketAddr,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let mut door = server.listening().0.subscribe();
    let mut listener = Some(listener);
    loop {
        let open = door.borrow_and_update().open;
        if !open {
            listener = None;
        } else if listener.is_none() {
            listener = rebind(addr).await;
        }
        tokio::select! {
            () = stop.cancelled() => break,
            _ = door.changed() => {}
            accepted = accept(listener.as_ref()), if open => {
                if let Some(stream) = accepted {
                    let (server, stop) = (server.clone(), stop.clone());
                    connections.spawn(connection(server, stream, door.clone(), stop));
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

/// Serves one connection until it, the server or a fault ends it.
async fn connection(
    server: Arc<Server>,
    stream: TcpStream,
    mut door: watch::Receiver<Door>,
    stop: CancellationToken,
) {
    // Without this, small events wait for the client's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let crashes = door.borrow().crashes;
    let switch = Switch::default();
    let keep_alive = server.config().keep_alive;
    let service = {
        let switch = switch.clone();
        service_fn(move |request| serve(server.clone(), switch.clone(), request))
    };
    let mut conn = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(keep_alive)
        .serve_connection(TokioIo::new(stream), service);
    let fate = tokio::select! {
        _ = &mut conn => switch.get(),
        _ = door.wait_for(|door| door.crashes > crashes) => Some(Fate::Reset),
        () = stop.cancelled() => Some(Fate::Close),
    };
    let Some(fate) = fate else { return };
    let mut stream = conn.into_parts().io.into_inner();
    match fate {
        // Dropping a socket with zero linger sends RST.
        Fate::Reset => {
            let _ = stream.set_zero_linger();
        }
        Fate::Garbage => {
            let _ = stream.write_all(GARBAGE).await;
        }
        Fate::Close => {}
    }
}
