//! The access log: one line for each request, written when its response has ended.
//!
//! It has a queue and a thread of its own, so that a slow reader of standard output delays neither requests nor the record
//! files. A line that finds the queue full is dropped and counted.

mod entry;
mod line;
mod writer;

pub use entry::{AccessEntry, AccessRequest, AttemptNotes};

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::queue::BoundedQueue;
use entry::{AccessRecord, LineQueue};
use line::LineFormat;
use parking_lot::Mutex;
use router_config::AccessLogConfig;
use router_core::Rng;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;
use writer::LineWriter;

/// The thread polls the queue at this interval. Lines do not wake it, because a wake-up costs the sender a system call.
const POLL: Duration = Duration::from_millis(20);

/// How long the router waits at its end for lines that are not written. Standard output may be a pipe that nobody reads.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why the access log cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum AccessLogError {
    /// The file cannot be opened.
    #[error("--access-log: cannot write to {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The thread cannot be started.
    #[error("cannot start the thread of the access log: {0}")]
    Thread(io::Error),
}

/// The access log of one router.
#[derive(Debug)]
pub struct AccessLog {
    lines: Arc<LineQueue>,
    /// Share of the requests that get a line.
    sample: f64,
    seed: u64,
    /// Requests so far.
    count: AtomicU64,
    /// The file is to be opened again.
    reopen: Arc<AtomicBool>,
    thread: Mutex<Option<LogThread>>,
}

/// How the thread is told to end, and tells that it has.
#[derive(Debug)]
struct LogThread {
    stop: SyncSender<()>,
    ended: Receiver<()>,
}

impl AccessLog {
    /// Opens the file and starts the thread. Lines that are lost are counted in `metrics`.
    ///
    /// # Errors
    /// The file cannot be opened, or the thread cannot start.
    pub fn start(
        config: &AccessLogConfig,
        clock: Clock,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, AccessLogError> {
        let format = LineFormat::new(config.format, clock);
        let writer =
            LineWriter::open(config.path.clone(), format, Arc::clone(metrics)).map_err(|source| {
                AccessLogError::File { path: config.path.clone().unwrap_or_default(), source }
            })?;
        let lines =
            Arc::new(LineQueue { waiting: BoundedQueue::default(), metrics: Arc::clone(metrics), clock });
        let reopen = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = sync_channel(1);
        let (end, ended) = sync_channel(1);
        let (thread_lines, thread_reopen) = (Arc::clone(&lines), Arc::clone(&reopen));
        let run = move || {
            run(writer, &thread_lines.waiting, &thread_reopen, &stopped);
            // An error means that nobody waits for the end any more.
            let _ = end.try_send(());
        };
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(run)
            .map_err(AccessLogError::Thread)?;
        Ok(Self {
            lines,
            sample: config.sample,
            seed: crate::trace_context::random_seed(),
            count: AtomicU64::new(0),
            reopen,
            thread: Mutex::new(Some(LogThread { stop, ended })),
        })
    }

    /// Whether the next request gets a line.
    pub fn is_sampled(&self) -> bool {
        let number = self.count.fetch_add(1, Relaxed);
        self.sample >= 1.0 || Rng::seeded(self.seed.wrapping_add(number)).unit_f64() < self.sample
    }

    /// A line for a request that came in now. It is written when the entry is dropped.
    pub fn begin(&self, request: AccessRequest) -> AccessEntry {
        AccessEntry::new(Arc::clone(&self.lines), request)
    }

    /// Opens the file again, after it was renamed by a program that rotates logs.
    pub fn reopen(&self) {
        self.reopen.store(true, Relaxed);
    }

    /// Writes all lines that wait, within 2 s, and ends the thread.
    pub fn close(&self) {
        let Some(LogThread { stop, ended }) = self.thread.lock().take() else { return };
        drop(stop);
        if ended.recv_timeout(FAREWELL) == Err(RecvTimeoutError::Timeout) {
            tracing::error!("the access log could not be written in time; its last lines are lost");
        }
    }
}

fn run(
    mut writer: LineWriter,
    queue: &BoundedQueue<AccessRecord>,
    reopen: &AtomicBool,
    stopped: &Receiver<()>,
) {
    loop {
        // The receive is the pause between two polls; it ends at once when `close` drops the sender.
        let stop = stopped.recv_timeout(POLL) != Err(RecvTimeoutError::Timeout);
        if reopen.swap(false, Relaxed) {
            writer.reopen();
        }
        while let Some(records) = queue.take() {
            records.iter().for_each(|record| writer.write(record));
            queue.recycle(records);
        }
        writer.flush();
        if stop {
            return;
        }
    }
}
