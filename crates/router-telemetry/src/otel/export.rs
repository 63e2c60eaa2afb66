//! Sends batches of spans to a collector, on a thread of its own, and gives up rather than wait.

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

/// Batches that wait for the collector; with full batches these are 32,768 spans, at most about 40 MB.
const QUEUE: usize = 64;

/// A collector that takes longer for one batch has lost it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is left at shutdown may take this long.
const FLUSH: Duration = Duration::from_secs(5);

/// Why spans cannot be exported at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    #[error(transparent)]
    Thread(#[from] io::Error),
    #[error(transparent)]
    Exporter(#[from] ExporterBuildError),
}

/// The end that takes batches.
#[derive(Debug)]
pub(crate) struct Export {
    batches: Sender<Vec<SpanData>>,
    closing: CancellationToken,
    thread: JoinHandle<()>,
    metrics: Arc<Metrics>,
}

impl Export {
    /// Starts the thread. Nothing is dialled before there is something to send.
    pub(crate) fn start(endpoint: &OtlpEndpoint, metrics: &Arc<Metrics>) -> Result<Self, ExportError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let exporter = {
            let _inside = runtime.enter();
            exporter(endpoint)
        };
        let exporter = match exporter {
            Ok(exporter) => exporter,
            Err(error) => {
                // Dropping a runtime inside of another one panics.
                runtime.shutdown_background();
                return Err(error.into());
            }
        };
        let (batches, incoming) = channel(QUEUE);
        let closing = CancellationToken::new();
        let collector = Collector {
            endpoint: endpoint.clone(),
            exporter,
            incoming,
            metrics: Arc::clone(metrics),
            unsent: 0,
            failing: false,
        };
        let token = closing.clone();
        let thread = std::thread::Builder::new()
            .name("span-export".to_owned())
            .spawn(move || collector.run(&runtime, &token))?;
        Ok(Self { batches, closing, thread, metrics: Arc::clone(metrics) })
    }

    /// Hands a batch over, or drops and counts it when the collector is too far behind.
    pub(crate) fn send(&self, batch: Vec<SpanData>) {
        if let Err(error) = self.batches.try_send(batch) {
            self.metrics.spans_dropped(error.into_inner().len());
        }
    }

    /// Sends what is left, within bounds.
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
        OtlpEndpoint::Grpc(url) => builder.with_tonic().with_endpoint(url).with_timeout(TIMEOUT).build(),
        OtlpEndpoint::Http(url) => {
            let http = builder.with_http().with_protocol(Protocol::HttpBinary);
            http.with_endpoint(url).with_timeout(TIMEOUT).build()
        }
    }?;
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    exporter
        .set_resource(&Resource::builder().with_service_name("sgl-router").with_attribute(version).build());
    Ok(exporter)
}

/// The thread's end.
#[derive(Debug)]
struct Collector {
    endpoint: OtlpEndpoint,
    exporter: SpanExporter,
    incoming: Receiver<Vec<SpanData>>,
    metrics: Arc<Metrics>,
    /// Spans of the batch that is on its way.
    unsent: usize,
    /// A fault is logged once, until a batch arrives again.
    failing: bool,
}

impl Collector {
    fn run(mut self, runtime: &Runtime, closing: &CancellationToken) {
        runtime.block_on(async {
            let too_late = async {
                closing.cancelled().await;
                tokio::time::sleep(FLUSH).await;
            };
            tokio::select! {
                () = self.send_all() => {}
                () = too_late => {}
            }
        });
        self.metrics.spans_dropped(self.unsent);
        while let Ok(batch) = self.incoming.try_recv() {
            self.metrics.spans_dropped(batch.len());
        }
    }

    async fn send_all(&mut self) {
        while let Some(batch) = self.incoming.recv().await {
            self.unsent = batch.len();
            let result = self.exporter.export(batch).await;
            let spans = std::mem::take(&mut self.unsent);
            match result {
                Ok(()) if self.failing => {
                    tracing::info!(endpoint = %self.endpoint, "spans are exported again");
                    self.failing = false;
                }
                Ok(()) => {}
                Err(error) => {
                    self.metrics.spans_dropped(spans);
                    if !self.failing {
                        tracing::warn!(endpoint = %self.endpoint, %error, "spans cannot be exported; they are dropped");
                    }
                    self.failing = true;
                }
            }
        }
    }
}
