//! Threads that serve clients, each with its own runtime and its own connections to workers.
//!
//! A request is served on the thread that its client's connection was assigned to, so that no wake-up of another core
//! is on its path.

use parking_lot::Mutex;
use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The threads that serve clients. Dropping it stops them, and what still runs on them, at once.
#[derive(Debug, Default)]
pub struct ServingThreads {
    threads: Vec<ServingThread>,
    join_handles: Mutex<Vec<thread::JoinHandle<()>>>,
}

/// One thread with a current-thread runtime.
#[derive(Debug)]
pub(super) struct ServingThread {
    pub(super) runtime: Handle,
    connections: Arc<AtomicUsize>,
    stop: CancellationToken,
}

/// Counts one connection of a thread for as long as it lives.
#[derive(Debug)]
pub(super) struct ConnectionGuard(Arc<AtomicUsize>);

impl ServingThreads {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// When the system has no more threads or file descriptors.
    pub fn start(count: NonZeroUsize) -> io::Result<Self> {
        let mut started = Self::default();
        for number in 0..count.get() {
            let (thread, join_handle) = ServingThread::start(number)?;
            started.threads.push(thread);
            started.join_handles.get_mut().push(join_handle);
        }
        Ok(started)
    }

    /// The thread with the fewest open connections; `None` when the caller's own runtime serves.
    pub(super) fn least_loaded(&self) -> Option<&ServingThread> {
        self.threads.iter().min_by_key(|thread| thread.connections.load(Relaxed))
    }

    /// Serves one connection, tracked by `tasks`: on the thread that has the fewest, or on the caller's runtime where there are no
    /// threads.
    pub fn spawn_connection(&self, tasks: &TaskTracker, serve: impl Future<Output = ()> + Send + 'static) {
        match self.least_loaded() {
            Some(thread) => {
                let guard = thread.guard_connection();
                let serve = async move {
                    serve.await;
                    drop(guard);
                };
                tasks.spawn_on(serve, &thread.runtime);
            }
            None => {
                tasks.spawn(serve);
            }
        }
    }

    /// Stops the threads and waits until they have ended.
    pub(crate) fn join(&self) {
        self.threads.iter().for_each(|thread| thread.stop.cancel());
        for handle in self.join_handles.lock().drain(..) {
            if handle.join().is_err() {
                tracing::error!("a serving thread panicked");
            }
        }
    }
}

impl Drop for ServingThreads {
    fn drop(&mut self) {
        self.threads.iter().for_each(|thread| thread.stop.cancel());
    }
}

impl ServingThread {
    fn start(number: usize) -> io::Result<(Self, thread::JoinHandle<()>)> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let (handle, stopped) = (runtime.handle().clone(), stop.clone());
        let thread = thread::Builder::new()
            .name(format!("serve-{number}"))
            .spawn(move || runtime.block_on(stopped.cancelled()))?;
        Ok((Self { runtime: handle, connections: Arc::default(), stop }, thread))
    }

    /// Counts a new connection.
    pub(super) fn guard_connection(&self) -> ConnectionGuard {
        self.connections.fetch_add(1, Relaxed);
        ConnectionGuard(Arc::clone(&self.connections))
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
