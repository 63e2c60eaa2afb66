//! Sends batches of spans to a collector from a thread of its own; batches that the collector is too slow for are dropped.

use crate::metrics::Metrics;
use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use router_config::OtlpEndpoint;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;

/// Batches that may be queued: 32,768 spans if all are full, at most about 40 MB.
const MAX_BATCHES: usize = 64;

/// A batch is lost if its export takes longer.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time to export the remaining batches at shutdown.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the export cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    #[error(transparent)]
    Thread(#[from] io::Error),
    #[error(transparent)]
    Exporter(#[from] ExporterBuildError),
}

/// The handle of the export thread.
#[derive(Debug)]
pub(crate) struct ExportHandle {
    batches: Sender<Vec<SpanData>>,
    closing: CancellationToken,
    thread: JoinHandle<()>,
    metrics: Arc<Metrics>,
}

impl ExportHandle {
    /// Starts the thread. It connects when the first batch is sent.
    pub(crate) fn start(endpoint: &OtlpEndpoint, metrics: &Arc<Metrics>) -> Result<Self, ExportError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let exporter = {
            let _inside = runtime.enter();
            exporter(endpoint)
        };
        let exporter = match exporter {
            Ok(exporter) => exporter,
            Err(error) => {
                // Dropping a runtime inside another one panics.
                runtime.shutdown_background();
                return Err(error.into());
            }
        };
        let (sender, batches) = channel(MAX_BATCHES);
        let closing = CancellationToken::new();
        let task = ExportTask {
            endpoint: endpoint.clone(),
            exporter,
            batches,
            metrics: Arc::clone(metrics),
            sending: 0,
            failing: false,
        };
        let token = closing.clone();
        let thread = std::thread::Builder::new()
            .name("span-export".to_owned())
            .spawn(move || task.run(&runtime, &token))?;
        Ok(Self { batches: sender, closing, thread, metrics: Arc::clone(metrics) })
    }

    /// Queues a batch, or drops and counts it if the queue is full.
    pub(crate) fn send(&self, batch: Vec<SpanData>) {
        if let Err(error) = self.batches.try_send(batch) {
            self.metrics.spans_dropped(error.into_inner().len());
        }
    }

    /// Exports the queued batches, within the flush timeout, and ends the thread.
    pub(crate) fn close(self) {
        drop(self.batches);
        self.closing.cancel();
        if self.thread.join().is_err() {
            tracing::error!("the span exporter's thread panicked; the spans it held are lost");
        }
    }
}

fn exporter(endpoint: &OtlpEndpoint) -> Result<SpanExporter, ExporterBuildError> {
    let builder = SpanExporter::builder();
    let mut exporter = match endpoint {
        OtlpEndpoint::Grpc(url) => {
            builder.with_tonic().with_endpoint(url).with_timeout(EXPORT_TIMEOUT).build()
        }
        OtlpEndpoint::Http(url) => {
            let http = builder.with_http().with_protocol(Protocol::HttpBinary);
            http.with_endpoint(url).with_timeout(EXPORT_TIMEOUT).build()
        }
    }?;
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    exporter
        .set_resource(&Resource::builder().with_service_name("sgl-router").with_attribute(version).build());
    Ok(exporter)
}

/// The state of the export thread.
#[derive(Debug)]
struct ExportTask {
    endpoint: OtlpEndpoint,
    exporter: SpanExporter,
    batches: Receiver<Vec<SpanData>>,
    metrics: Arc<Metrics>,
    /// Spans in the batch that is being sent.
    sending: usize,
    /// An error is logged once, until an export succeeds again.
    failing: bool,
}

impl ExportTask {
    fn run(mut self, runtime: &Runtime, closing: &CancellationToken) {
        runtime.block_on(async {
            let too_late = async {
                closing.cancelled().await;
                tokio::time::sleep(FLUSH_TIMEOUT).await;
            };
            tokio::select! {
                () = self.send_all() => {}
                () = too_late => {}
            }
        });
        self.metrics.spans_dropped(self.sending);
        while let Ok(batch) = self.batches.try_recv() {
            self.metrics.spans_dropped(batch.len());
        }
    }

    async fn send_all(&mut self) {
        while let Some(batch) = self.batches.recv().await {
            self.sending = batch.len();
            let result = self.exporter.export(batch).await;
            let spans = std::mem::take(&mut self.sending);
            match result {
                Ok(()) if self.failing => {
                    tracing::info!(endpoint = %self.endpoint, "span export works again");
                    self.failing = false;
                }
                Ok(()) => {}
                Err(error) => {
                    self.metrics.spans_dropped(spans);
                    if !self.failing {
                        tracing::warn!(endpoint = %self.endpoint, %error, "span export failed; spans are dropped");
                    }
                    self.failing = true;
                }
            }
        }
    }
}
