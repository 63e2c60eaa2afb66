//! The way from the data plane to the recorder's thread.

use crate::clock::Clock;
use crate::files::Writer;
use crate::leg::Leg;
use crate::metrics::Metrics;
use crate::otel::{ExportError, SpanSink};
use crate::queue::RecordQueue;
use crate::record::Record;
use crate::traces::TraceStore;
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

/// The thread looks for records this often. It is not woken by them: waking costs the data plane a system call.
const POLL: Duration = Duration::from_millis(20);

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
    /// No thread.
    #[error("cannot start the recorder's thread: {0}")]
    Thread(io::Error),
}

/// What is recorded, and where to.
#[derive(Debug)]
pub struct RecorderConfig<'a> {
    /// Record files.
    pub files: Option<&'a RecordConfig>,
    /// Record files of the prefill workers, apart from the others because their balancer numbers its decisions
    /// separately, and the metrics of that balancer.
    pub prefill: Option<(&'a RecordConfig, &'a Arc<Metrics>)>,
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

/// The data plane's end.
#[derive(Debug)]
pub struct Recorder {
    records: Arc<RecordQueue>,
    stop: Mutex<Option<SyncSender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The request traces, if they are kept.
    pub traces: Option<Arc<TraceStore>>,
    /// What decisions have to carry for the sinks that there are.
    pub(crate) explain: ExplainLevel,
}

impl Recorder {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the directory cannot be written to, or the collector's address is of no use.
    pub fn start(
        wanted: RecorderConfig<'_>,
        clock: Clock,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, RecorderError> {
        let RecorderConfig { files, prefill, traces, collector } = wanted;
        let traces = traces.map(|config| Arc::new(TraceStore::new(config, clock)));
        let open = |config: &RecordConfig, metrics: &Arc<Metrics>| {
            Writer::open(config, clock, Arc::clone(metrics))
                .map_err(|source| RecorderError::Directory { dir: config.dir.clone(), source })
        };
        let writer = files.map(|config| open(config, metrics)).transpose()?;
        let prefill = prefill.map(|(config, metrics)| open(config, metrics)).transpose()?;
        let all = traces.is_some() || files.is_some_and(|f| f.candidates);
        let explain = match (all, files) {
            (true, _) => ExplainLevel::All,
            (false, Some(_)) => ExplainLevel::Chosen,
            // Spans tell why a worker was chosen and nothing about its terms.
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
        let records = Arc::new(RecordQueue::default());
        let incoming = Arc::clone(&records);
        let (stop, stopped) = sync_channel(1);
        let sinks = Sinks { writer, prefill, traces: traces.clone(), spans };
        let thread = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || sinks.run(&incoming, &stopped))
            .map_err(RecorderError::Thread)?;
        Ok(Self { records, stop: Mutex::new(Some(stop)), thread: Mutex::new(Some(thread)), traces, explain })
    }

    /// Hands a record over, or drops and counts it when the thread is too far behind.
    pub(crate) fn pass(&self, record: Record, metrics: &Metrics) {
        if self.records.push(record).is_err() {
            metrics.dropped();
        }
    }

    /// Waits until everything passed so far has been taken in.
    pub async fn sync(&self) {
        let (done, taken_in) = tokio::sync::oneshot::channel();
        if self.records.push(Record::Sync(Some(done))).is_ok() {
            // An error means that the thread is gone; then there is nothing to wait for.
            let _ = taken_in.await;
        }
    }

    /// Writes out what is left and ends the thread.
    pub fn close(&self) {
        self.stop.lock().take();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the recorder's thread panicked; what it had not written is lost");
        }
    }
}

/// The thread's end.
#[derive(Debug)]
struct Sinks {
    writer: Option<Writer>,
    prefill: Option<Writer>,
    traces: Option<Arc<TraceStore>>,
    spans: Option<SpanSink>,
}

impl Sinks {
    fn run(mut self, incoming: &RecordQueue, stopped: &Receiver<()>) {
        loop {
            // The end of the stop channel is the call to stop; until then it serves as the pause.
            let stop = stopped.recv_timeout(POLL) != Err(RecvTimeoutError::Timeout);
            while let Some(mut batch) = incoming.take() {
                batch.iter_mut().for_each(|record| self.take(record));
                incoming.give_back(batch);
            }
            for writer in self.writer.iter_mut().chain(&mut self.prefill) {
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

    fn take(&mut self, record: &mut Record) {
        let writer = if record.leg() == Leg::Prefill { &mut self.prefill } else { &mut self.writer };
        if let Some(writer) = writer {
            writer.take(record);
        }
        if let Some(traces) = &self.traces {
            traces.take(record);
        }
        if let Some(spans) = &mut self.spans {
            spans.take(record);
        }
        if let Record::Sync(done) = record
            && let Some(done) = done.take()
        {
            // Whoever asked may have left.
            let _ = done.send(());
        }
    }
}
