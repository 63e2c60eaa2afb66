//! The recorder: a thread that takes records from a queue and passes them to files, traces and spans.

use crate::clock::Clock;
use crate::files::RecordWriter;
use crate::metrics::Metrics;
use crate::otel::{ExportError, SpanSink};
use crate::queue::BoundedQueue;
use crate::record::Record;
use crate::recorded_pool::RecordedPool;
use crate::traces::TraceStore;
use crate::worker::WorkerNames;
use parking_lot::Mutex;
use router_config::OtlpEndpoint;
use router_config::{RecordConfig, TraceConfig};
use router_core::ExplainLevel;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// The thread polls the queue at this interval. Records do not wake it, because a wake-up costs the sender a system call.
const POLL: Duration = Duration::from_millis(20);

/// The thread's niceness: with all cores busy it gets a tenth of what a serving thread gets, which is enough for it.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Why recording did not start.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// The directory cannot be used.
    #[error("cannot record to {}: {source}", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Spans cannot be exported.
    #[error("cannot export spans to {endpoint}: {source}")]
    Spans {
        /// The collector.
        endpoint: OtlpEndpoint,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The thread cannot be started.
    #[error("cannot start the recorder's thread: {0}")]
    Thread(io::Error),
}

/// What is recorded, and where to.
#[derive(Debug)]
pub struct RecorderConfig<'a> {
    /// Record files; those of each balancer are [added](Recorder::add_pool).
    pub files: Option<&'a RecordConfig>,
    /// Request traces in memory.
    pub traces: Option<TraceConfig>,
    /// The collector that spans are exported to.
    pub collector: Option<&'a OtlpEndpoint>,
}

impl RecorderConfig<'_> {
    /// Whether anything is recorded at all.
    pub const fn is_needed(&self) -> bool {
        self.files.is_some() || self.traces.is_some() || self.collector.is_some()
    }
}

/// Files of balancers that were added, until the thread takes them.
type NewFiles = Mutex<Vec<(RecordedPool, RecordWriter)>>;

/// The handle of the recorder's thread.
#[derive(Debug)]
pub struct Recorder {
    queue: Arc<BoundedQueue<Record>>,
    clock: Clock,
    new_files: Arc<NewFiles>,
    stop: Mutex<Option<SyncSender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The request traces, if they are kept.
    pub traces: Option<Arc<TraceStore>>,
    /// How much of each decision the sinks need explained.
    pub(crate) explain: ExplainLevel,
}

impl Recorder {
    /// Starts the thread.
    ///
    /// # Errors
    /// The directory cannot be written to, or the exporter cannot be built.
    pub fn start(
        config: RecorderConfig<'_>,
        clock: Clock,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, RecorderError> {
        let RecorderConfig { files, traces, collector } = config;
        let traces =
            traces.map(|config| Arc::new(TraceStore::new(config, clock, Arc::clone(metrics.policy_names()))));
        let all = traces.is_some() || files.is_some_and(|f| f.candidates);
        let explain = match (all, files) {
            (true, _) => ExplainLevel::All,
            (false, Some(_)) => ExplainLevel::Chosen,
            // Spans contain the reason and the cost, which every decision carries.
            (false, None) => ExplainLevel::None,
        };
        let spans = match collector {
            Some(endpoint) => {
                Some(SpanSink::start(endpoint, clock, metrics).map_err(|source| match source {
                    ExportError::Thread(source) => RecorderError::Thread(source),
                    ExportError::Exporter(source) => {
                        RecorderError::Spans { endpoint: endpoint.clone(), source: source.into() }
                    }
                })?)
            }
            None => None,
        };
        let new_files = Arc::<NewFiles>::default();
        let queue = Arc::new(BoundedQueue::default());
        let (thread_queue, thread_files) = (Arc::clone(&queue), Arc::clone(&new_files));
        let (stop, stopped) = sync_channel(1);
        let sinks = Sinks { pools: Vec::new(), traces: traces.clone(), spans };
        let thread = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || {
                lower_priority();
                sinks.run(&thread_queue, &thread_files, &stopped);
            })
            .map_err(RecorderError::Thread)?;
        Ok(Self {
            queue,
            clock,
            new_files,
            stop: Mutex::new(Some(stop)),
            thread: Mutex::new(Some(thread)),
            traces,
            explain,
        })
    }

    /// Adds a balancer, whose records go to files of their own where `files` says which: each numbers its decisions separately.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub fn add_pool(
        &self,
        pool: RecordedPool,
        files: Option<&RecordConfig>,
        metrics: &Arc<Metrics>,
    ) -> Result<(), RecorderError> {
        let open = |config: &RecordConfig| {
            RecordWriter::open(config, self.clock, Arc::clone(metrics))
                .map_err(|source| RecorderError::Directory { dir: config.dir.clone(), source })
        };
        if let Some(writer) = files.map(open).transpose()? {
            self.new_files.lock().push((pool, writer));
        }
        Ok(())
    }

    /// Queues a record, or drops and counts it if the queue is full.
    pub(crate) fn enqueue(&self, record: Record, metrics: &Metrics) {
        if self.queue.push(record).is_err() {
            metrics.record_dropped();
        }
    }

    /// Queues what later records cannot be read without, also when the queue is full.
    pub(crate) fn enqueue_change(&self, change: Record) {
        self.queue.push_always(change);
    }

    /// Waits until all records queued so far have been processed.
    pub async fn sync(&self) {
        let (done, processed) = tokio::sync::oneshot::channel();
        if self.queue.push(Record::Sync(Some(done))).is_ok() {
            // An error means that the thread has ended; then there is nothing to wait for.
            let _ = processed.await;
        }
    }

    /// Writes all queued records and ends the thread.
    pub fn close(&self) {
        self.stop.lock().take();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the recorder's thread panicked; records it had not written are lost");
        }
    }
}

/// Lets the threads that serve requests go first. The queue bridges what the recorder has to wait for.
#[cfg(target_os = "linux")]
fn lower_priority() {
    // On Linux this is the priority of the calling thread alone. Lowering it needs no right; where it fails, it stays.
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

/// Elsewhere it would be the priority of the whole process.
#[cfg(not(target_os = "linux"))]
const fn lower_priority() {}

/// The destinations of records, owned by the thread.
#[derive(Debug)]
struct Sinks {
    /// By number.
    pools: Vec<PoolSink>,
    traces: Option<Arc<TraceStore>>,
    spans: Option<SpanSink>,
}

/// The files of one balancer, and its workers.
#[derive(Debug, Default)]
struct PoolSink {
    writer: Option<RecordWriter>,
    names: WorkerNames,
}

/// The place of a balancer's records.
fn pool_sink(pools: &mut Vec<PoolSink>, pool: RecordedPool) -> &mut PoolSink {
    let index = pool.index();
    if pools.len() <= index {
        pools.resize_with(index + 1, PoolSink::default);
    }
    &mut pools[index]
}

impl Sinks {
    fn run(mut self, queue: &BoundedQueue<Record>, new_files: &NewFiles, stopped: &Receiver<()>) {
        loop {
            // The receive is the pause between two polls; it ends at once when `close` drops the sender.
            let stop = stopped.recv_timeout(POLL) != Err(RecvTimeoutError::Timeout);
            while let Some(mut records) = queue.take() {
                // After the records were taken: the files of a balancer are there before its first record.
                for (pool, writer) in std::mem::take(&mut *new_files.lock()) {
                    pool_sink(&mut self.pools, pool).writer = Some(writer);
                }
                // In place: a record is large.
                records.iter_mut().for_each(|record| self.record(record));
                queue.recycle(records);
            }
            for pool in &mut self.pools {
                pool.names.forget_unused();
                let Some(writer) = &mut pool.writer else { continue };
                if stop { writer.flush() } else { writer.flush_if_due() }
            }
            if let Some(spans) = &mut self.spans {
                spans.flush_if_due();
            }
            if stop {
                break;
            }
        }
        if let Some(spans) = self.spans {
            spans.close();
        }
    }

    fn record(&mut self, record: &mut Record) {
        let pool = pool_sink(&mut self.pools, record.pool());
        match record {
            Record::Model(_, model) => {
                if let Some(writer) = &mut pool.writer {
                    writer.set_model(model);
                }
                return;
            }
            Record::Joined(_, worker) => return pool.names.join(worker),
            Record::Left(_, id) => return pool.names.leave(*id),
            _ => {}
        }
        let names = &pool.names;
        if let Some(writer) = &mut pool.writer {
            writer.record(record, names);
        }
        if let Some(traces) = &self.traces {
            traces.record(record, names);
        }
        if let Some(spans) = &mut self.spans {
            spans.record(record, names);
        }
        if let Record::Sync(done) = record
            && let Some(done) = done.take()
        {
            // An error means that the caller of `sync` was cancelled.
            let _ = done.send(());
        }
    }
}
