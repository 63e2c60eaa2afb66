//! Writes records to files. It runs on the recorder's thread.

use super::encoder::RowEncoder;
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

/// Lines that are buffered at most.
const BUFFERED_LINES: u64 = 1000;

/// How long lines are buffered at most.
const FLUSH_INTERVAL: Duration = Duration::from_secs(10);

/// The record files of one balancer.
#[derive(Debug)]
pub(crate) struct RecordWriter {
    encoder: RowEncoder,
    rows: RotatingFile,
    candidates: Option<RotatingFile>,
    metrics: Arc<Metrics>,
    flushed_at: Instant,
    /// An error is logged once, until a write succeeds again.
    failing: bool,
}

impl RecordWriter {
    /// Creates the files.
    pub(crate) fn open(config: &RecordConfig, clock: Clock, metrics: Arc<Metrics>) -> io::Result<Self> {
        let encoder = RowEncoder::new(config, metrics.policy().to_string(), clock);
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

    pub(crate) fn record(&mut self, record: &Record) {
        match record {
            Record::Decision(d) => {
                self.rows.write_line(|to| self.encoder.encode_decision(d, to));
                if let Some(file) = &mut self.candidates {
                    self.encoder
                        .encode_candidates(d, |line| file.write_line(|to| to.extend_from_slice(line)));
                }
            }
            Record::Completion(c) => self.rows.write_line(|to| self.encoder.encode_completion(c, to)),
            Record::FirstByte(_) | Record::ErrorResponse(_) | Record::Sync(_) => return,
        }
        let buffered = self.rows.lines + self.candidates.as_ref().map_or(0, |f| f.lines);
        if buffered >= BUFFERED_LINES {
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
                    self.metrics.records_lost(lost);
                    if !self.failing {
                        tracing::error!(%error, lost, "records cannot be written; requests are not affected");
                    }
                    self.failing = true;
                }
            }
        }
    }
}
