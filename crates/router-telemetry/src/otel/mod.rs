//! Export to OpenTelemetry: what was recorded of a request, as spans.
//!
//! It takes records on the recorder's thread, as the files and the traces in memory do; the data plane only makes the
//! ids. It is no second source of truth and no log: a collector that is away costs spans, never a request.

mod export;
mod recent_map;
mod spans;

pub(crate) use export::ExportError;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::record::Record;
use export::Export;
use opentelemetry_sdk::trace::SpanData;
use router_config::OtlpEndpoint;
use spans::Spans;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Spans that travel together at most ...
const BATCH: usize = 512;

/// ... and for how long the first of them waits at most.
const INTERVAL: Duration = Duration::from_secs(1);

/// The export of one router.
#[derive(Debug)]
pub(crate) struct SpanSink {
    spans: Spans,
    batch: Vec<SpanData>,
    sent_at: Instant,
    export: Export,
}

impl SpanSink {
    /// Starts the export.
    pub(crate) fn start(
        endpoint: &OtlpEndpoint,
        clock: Clock,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, ExportError> {
        let export = Export::start(endpoint, metrics)?;
        let spans = Spans::new(clock, metrics.policy());
        Ok(Self { spans, batch: Vec::new(), sent_at: Instant::now(), export })
    }

    pub(crate) fn take(&mut self, record: &Record) {
        self.spans.take(record, &mut self.batch);
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }

    pub(crate) fn flush_if_due(&mut self) {
        if self.sent_at.elapsed() >= INTERVAL {
            self.flush();
        }
    }

    /// Sends what is left, and waits for it within bounds.
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
