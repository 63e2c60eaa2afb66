//! Threads that serve clients, each with a runtime and connections to workers of its own.
//!
//! A request never leaves the thread that its client's connection was given to: nothing is handed from core to core on
//! its way, and nobody has to be woken for it.

use parking_lot::Mutex;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// The threads. Dropping them ends them, and whatever still runs on them, at once.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: Vec<Lane>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

/// One thread.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) runtime: Handle,
    open: Arc<AtomicUsize>,
    end: CancellationToken,
}

/// One connection's place on a lane.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Lanes {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// When the system has no more threads or file descriptors.
    pub fn start(count: NonZeroUsize) -> io::Result<Self> {
        let mut started = Self::default();
        for number in 0..count.get() {
            let (lane, thread) = Lane::start(number)?;
            started.lanes.push(lane);
            started.threads.get_mut().push(thread);
        }
        Ok(started)
    }

    /// The lane with the fewest open connections; none where the caller's own runtime serves.
    pub(super) fn emptiest(&self) -> Option<&Lane> {
        self.lanes.iter().min_by_key(|lane| lane.open.load(Relaxed))
    }

    /// Ends the threads and waits until they are gone.
    pub(crate) fn end(&self) {
        self.lanes.iter().for_each(|lane| lane.end.cancel());
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a serving thread panicked");
            }
        }
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.lanes.iter().for_each(|lane| lane.end.cancel());
    }
}

impl Lane {
    fn start(number: usize) -> io::Result<(Self, thread::JoinHandle<()>)> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let end = CancellationToken::new();
        let (handle, ended) = (runtime.handle().clone(), end.clone());
        let thread = thread::Builder::new()
            .name(format!("serve-{number}"))
            .spawn(move || runtime.block_on(ended.cancelled()))?;
        Ok((Self { runtime: handle, open: Arc::default(), end }, thread))
    }

    /// Takes a place for a connection.
    pub(super) fn place(&self) -> Place {
        self.open.fetch_add(1, Relaxed);
        Place(Arc::clone(&self.open))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
