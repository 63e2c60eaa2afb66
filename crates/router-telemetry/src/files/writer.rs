//! Writes records to files. It runs on the recorder's thread.

use super::encoder::RowEncoder;
use super::rotating_file::RotatingFile;
use super::row::{CANDIDATE_COLUMNS, Column};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::record::Record;
use crate::worker::WorkerNames;
use router_config::RecordConfig;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Lines that are buffered at most.
const BUFFERED_LINES: u64 = 1000;

/// How long lines are buffered at most.
const FLUSH_INTERVAL: Duration = Duration::from_secs(10);

/// How long nothing is written after an error.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// The record files of one balancer.
#[derive(Debug)]
pub(crate) struct RecordWriter {
    encoder: RowEncoder,
    rows: RotatingFile,
    candidates: Option<RotatingFile>,
    metrics: Arc<Metrics>,
    flushed_at: Instant,
    /// When files are written again after an error. Until then lines are discarded, because the disk is full or broken.
    retry_at: Option<Instant>,
}

impl RecordWriter {
    /// Creates the files.
    pub(crate) fn open(config: &RecordConfig, clock: Clock, metrics: Arc<Metrics>) -> io::Result<Self> {
        let encoder = RowEncoder::new(config, Arc::clone(metrics.policy_names()), clock);
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
            retry_at: None,
        })
    }

    /// The records that follow are of workers that serve `model`.
    pub(crate) fn set_model(&mut self, model: &Arc<str>) {
        self.encoder.set_model(model);
    }

    pub(crate) fn record(&mut self, record: &Record, names: &WorkerNames) {
        match record {
            Record::Decision(d) => {
                self.rows.write_line(|to| self.encoder.encode_decision(d, names, to));
                if let Some(file) = &mut self.candidates {
                    self.encoder
                        .encode_candidates(d, names, |line| file.write_line(|to| to.extend_from_slice(line)));
                }
            }
            Record::Completion(c) => {
                self.rows.write_line(|to| self.encoder.encode_completion(c, names, to));
            }
            _ => return,
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
        let now = Instant::now();
        self.flushed_at = now;
        let is_retry = self.retry_at.is_some();
        if self.retry_at.is_some_and(|at| now < at) {
            let lost = [Some(&mut self.rows), self.candidates.as_mut()].into_iter().flatten();
            self.metrics.records_lost(lost.map(RotatingFile::discard).sum());
            return;
        }
        self.retry_at = None;
        for file in [Some(&mut self.rows), self.candidates.as_mut()].into_iter().flatten() {
            let Err((error, lost)) = file.flush() else { continue };
            self.metrics.records_lost(lost);
            if !is_retry && self.retry_at.is_none() {
                tracing::error!(%error, lost, "records cannot be written; requests are not affected");
            }
            self.retry_at = Some(now + RETRY_INTERVAL);
        }
        if is_retry && self.retry_at.is_none() {
            tracing::info!("records are written again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use router_config::RecordFormat;
    use std::fs;
    use std::path::Path;

    fn lines_in(dir: &Path) -> Vec<usize> {
        let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        files.map(|path| fs::read_to_string(path).unwrap().lines().count()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn broken_disk_is_tried_again_later() {
        let dir = std::env::temp_dir().join(format!("records-broken-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let config = RecordConfig {
            dir: dir.clone(),
            stem: "s".to_owned(),
            format: RecordFormat::Csv,
            max_file_bytes: 1,
            candidates: false,
        };
        let metrics = Arc::new(Metrics::new("p"));
        let mut writer = RecordWriter::open(&config, Clock::start(), Arc::clone(&metrics)).unwrap();
        let write = |writer: &mut RecordWriter| {
            writer.rows.write_line(|to| to.push(b'x'));
            writer.flush();
        };
        fs::remove_dir_all(&dir).unwrap();
        fs::write(&dir, "not a directory").unwrap();
        (0..3).for_each(|_| write(&mut writer));
        fs::remove_file(&dir).unwrap();
        write(&mut writer);
        assert!(!dir.exists(), "nothing is tried before the time");
        tokio::time::advance(RETRY_INTERVAL).await;
        write(&mut writer);
        assert_eq!(lines_in(&dir), [2], "the header and the last line");
        assert!(metrics.render(Vec::new()).contains("sgl_router_records_lost_total 4"));
        fs::remove_dir_all(&dir).unwrap();
    }
}
