//! Export to OpenTelemetry: records of a request as spans.
//!
//! Spans are built from records on the recorder's thread. If the collector is not available, spans are lost and requests
//! are not affected.

mod export;
mod generational_map;
mod span_builder;

pub(crate) use export::ExportError;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::record::Record;
use crate::worker::WorkerNames;
use export::ExportHandle;
use opentelemetry_sdk::trace::SpanData;
use router_config::OtlpEndpoint;
use span_builder::SpanBuilder;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Spans of one batch at most.
const BATCH: usize = 512;

/// How long the first span of a batch waits at most.
const INTERVAL: Duration = Duration::from_secs(1);

/// Collects spans into batches and exports them.
#[derive(Debug)]
pub(crate) struct SpanSink {
    builder: SpanBuilder,
    batch: Vec<SpanData>,
    sent_at: Instant,
    export: ExportHandle,
}

impl SpanSink {
    /// Starts the export.
    pub(crate) fn start(
        endpoint: &OtlpEndpoint,
        clock: Clock,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, ExportError> {
        let export = ExportHandle::start(endpoint, metrics)?;
        let builder = SpanBuilder::new(clock, Arc::clone(metrics.policy_names()));
        Ok(Self { builder, batch: Vec::new(), sent_at: Instant::now(), export })
    }

    pub(crate) fn record(&mut self, record: &Record, names: &WorkerNames) {
        self.builder.add(record, names, &mut self.batch);
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }

    pub(crate) fn flush_if_due(&mut self) {
        if self.sent_at.elapsed() >= INTERVAL {
            self.flush();
        }
    }

    /// Exports the remaining spans, within the flush timeout.
    pub(crate) fn close(mut self) {
        self.flush();
        self.export.close();
    }

    fn flush(&mut self) {
        self.sent_at = Instant::now();
        if !self.batch.is_empty() {
            self.export.send(std::mem::take(&mut self.batch));
        }
    }
}
