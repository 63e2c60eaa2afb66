//! How a prompt gets from the server that read it to the one that writes the answer.
//!
//! A prefill server listens on its bootstrap port. Who comes there names a key, waits until the prompt under that key
//! has been read, and is told that it is his. A real engine moves keys and values then; here there are none to move.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What is said when a prompt changes hands.
const ACK: &[u8] = b"yours\n";

/// Longest key.
const MAX_KEY: u64 = 256;

/// Prompts that have been read and not fetched.
#[derive(Debug, Default)]
pub(crate) struct KvHandover {
    ready: Mutex<HashMap<String, Option<oneshot::Sender<()>>>>,
    arrived: Notify,
}

/// A prompt that waits to be fetched. Dropped before, it is withdrawn.
#[derive(Debug)]
pub(crate) struct KvOffer {
    handover: Arc<KvHandover>,
    key: String,
    fetched: oneshot::Receiver<()>,
}

impl KvOffer {
    /// Waits until somebody has it.
    pub(crate) async fn fetched(mut self) {
        // The sender is kept until then.
        let _ = (&mut self.fetched).await;
    }
}

impl Drop for KvOffer {
    fn drop(&mut self) {
        self.handover.ready.lock().remove(&self.key);
    }
}

impl KvHandover {
    /// Lets a prompt be fetched under `key`, as long as the offer is held.
    pub(crate) fn offer(self: &Arc<Self>, key: String) -> KvOffer {
        let (tell, fetched) = oneshot::channel();
        self.ready.lock().insert(key.clone(), Some(tell));
        self.arrived.notify_waiters();
        KvOffer { handover: Arc::clone(self), key, fetched }
    }

    /// Lets a prompt be fetched under `key`, whenever that is.
    pub(crate) fn keep(&self, key: String) {
        self.ready.lock().insert(key, None);
        self.arrived.notify_waiters();
    }

    async fn claim(&self, key: &str) {
        loop {
            let mut arrived = std::pin::pin!(self.arrived.notified());
            arrived.as_mut().enable();
            if let Some(tell) = self.ready.lock().remove(key) {
                // Whoever waited for it may have gone meanwhile.
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
            // He says nothing more, so this is his end.
            _ = read.read(&mut more) => Ok(()),
        }
    }
}

/// Hands prompts over until `stop`.
pub(crate) async fn run(handover: Arc<KvHandover>, listener: TcpListener, stop: CancellationToken) {
    let visitors = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let Ok((stream, _)) = accepted else { continue };
        let (handover, stop) = (Arc::clone(&handover), stop.clone());
        visitors.spawn(async move {
            tokio::select! {
                // A visitor who leaves early has changed his mind.
                _ = handover.serve(stream) => {}
                () = stop.cancelled() => {}
            }
        });
    }
    visitors.close();
    visitors.wait().await;
}

/// Fetches the prompt `key` from a prefill server.
pub(crate) async fn fetch(host: &str, port: u16, key: &str) -> io::Result<()> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut stream = TcpStream::connect((host, port)).await?;
    stream.write_all(format!("{key}\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_KEY).read_to_end(&mut answer).await?;
    if answer == ACK { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
