//! Turns records into lines of files. It runs on the recorder's own thread.

use super::encoder::Encoder;
use super::rotating_file::RotatingFile;
use super::row::{CANDIDATE_COLUMNS, Column};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::record::Record;
use router_config::RecordConfig;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Lines that are held back at most ...
const BUFFERED_LINES: u64 = 1000;

/// ... and for how long at most (spec.md section 5).
const FLUSH_INTERVAL: Duration = Duration::from_secs(10);

/// The recording of one router.
#[derive(Debug)]
pub(crate) struct Writer {
    encoder: Encoder,
    rows: RotatingFile,
    candidates: Option<RotatingFile>,
    metrics: Arc<Metrics>,
    flushed_at: Instant,
    /// A fault is logged once, until a write succeeds again.
    failing: bool,
}

impl Writer {
    /// Makes the files.
    pub(crate) fn open(config: &RecordConfig, clock: Clock, metrics: Arc<Metrics>) -> io::Result<Self> {
        let encoder = Encoder::new(config, metrics.policy().to_string(), clock);
        let candidates = if config.candidates {
            Some(RotatingFile::new(config, "candidates", encoder.header(CANDIDATE_COLUMNS))?)
        } else {
            None
        };
        Ok(Self {
            rows: RotatingFile::new(config, "metrics", encoder.header(Column::NAMES))?,
            candidates,
            encoder,
            metrics,
            flushed_at: Instant::now(),
            failing: false,
        })
    }

    pub(crate) fn take(&mut self, record: &Record) {
        match record {
            Record::Decision(d) => {
                self.rows.line(|to| self.encoder.decision(d, to));
                if let Some(file) = &mut self.candidates {
                    self.encoder.candidates(d, |line| file.line(|to| to.extend_from_slice(line)));
                }
            }
            Record::Completion(c) => self.rows.line(|to| self.encoder.completion(c, to)),
            Record::Started(_) | Record::ErrorResponse(_) | Record::Sync(_) => return,
        }
        let held = self.rows.lines + self.candidates.as_ref().map_or(0, |f| f.lines);
        if held >= BUFFERED_LINES {
            self.flush();
        }
    }

    pub(crate) fn flush_if_due(&mut self) {
        if self.flushed_at.elapsed() >= FLUSH_INTERVAL {
            self.flush();
        }
    }

    pub(crate) fn flush(&mut self) {
        self.flushed_at = Instant::now();
        let files = [Some(&mut self.rows), self.candidates.as_mut()];
        for file in files.into_iter().flatten() {
            match file.flush() {
                Ok(()) => self.failing = false,
                Err((error, lost)) => {
                    self.metrics.record_lost(lost);
                    if !self.failing {
                        tracing::error!(%error, lost, "records cannot be written; routing goes on");
                    }
                    self.failing = true;
                }
            }
        }
    }
}
