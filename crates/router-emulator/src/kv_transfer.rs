//! KV cache transfer from a prefill server to a decode server.
//!
//! A prefill server listens on its bootstrap port. A decode server connects and sends a key, and gets an
//! acknowledgement once the prompt of that key has been prefilled. A real engine moves keys and values then; here
//! there are none to move.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Acknowledges a transfer.
const ACK: &[u8] = b"yours\n";

/// Longest key.
const MAX_KEY: u64 = 256;

/// Prefilled prompts that have not been fetched.
#[derive(Debug, Default)]
pub(crate) struct KvHandover {
    ready: Mutex<HashMap<String, Option<oneshot::Sender<()>>>>,
    arrived: Notify,
}

/// A prompt that can be fetched until this is dropped.
#[derive(Debug)]
pub(crate) struct KvOffer {
    handover: Arc<KvHandover>,
    key: String,
    fetched: oneshot::Receiver<()>,
}

impl KvOffer {
    /// Waits until it has been fetched.
    pub(crate) async fn fetched(mut self) {
        // The sender lives until then.
        let _ = (&mut self.fetched).await;
    }
}

impl Drop for KvOffer {
    fn drop(&mut self) {
        self.handover.ready.lock().remove(&self.key);
    }
}

impl KvHandover {
    /// Lets a prompt be fetched under `key` until the offer is dropped.
    pub(crate) fn offer(self: &Arc<Self>, key: String) -> KvOffer {
        let (tell, fetched) = oneshot::channel();
        self.ready.lock().insert(key.clone(), Some(tell));
        self.arrived.notify_waiters();
        KvOffer { handover: Arc::clone(self), key, fetched }
    }

    /// Lets a prompt be fetched under `key` at any later time.
    pub(crate) fn keep(&self, key: String) {
        self.ready.lock().insert(key, None);
        self.arrived.notify_waiters();
    }

    async fn claim(&self, key: &str) {
        loop {
            let mut arrived = std::pin::pin!(self.arrived.notified());
            arrived.as_mut().enable();
            if let Some(tell) = self.ready.lock().remove(key) {
                // The offer may have been dropped meanwhile.
                let _ = tell.map(|tell| tell.send(()));
                return;
            }
            arrived.await;
        }
    }

    async fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read).take(MAX_KEY);
        let mut key = String::new();
        read.read_line(&mut key).await?;
        let mut more = [0];
        tokio::select! {
            () = self.claim(key.trim()) => write.write_all(ACK).await,
            // The client sends nothing after the key, so this is EOF.
            _ = read.read(&mut more) => Ok(()),
        }
    }
}

/// Serves transfers until `stop`.
pub(crate) async fn run(handover: Arc<KvHandover>, listener: TcpListener, stop: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let Ok((stream, _)) = accepted else { continue };
        let (handover, stop) = (Arc::clone(&handover), stop.clone());
        connections.spawn(async move {
            tokio::select! {
                // An error means that the client disconnected early.
                _ = handover.serve(stream) => {}
                () = stop.cancelled() => {}
            }
        });
    }
    connections.close();
    connections.wait().await;
}

/// Fetches the prompt `key` from a prefill server.
pub(crate) async fn fetch(host: &str, port: u16, key: &str) -> io::Result<()> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut stream = TcpStream::connect((host, port)).await?;
    stream.write_all(format!("{key}\n").as_bytes()).await?;
    let mut ack = Vec::new();
    stream.take(MAX_KEY).read_to_end(&mut ack).await?;
    if ack == ACK { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
