//! Where the lines of the access log go: a file that can be opened again, or standard output.

use super::entry::AccessRecord;
use super::line::LineFormat;
use crate::metrics::Metrics;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Bytes of lines that are written at once.
const BUFFER: usize = 64 << 10;

/// How long nothing is written after an error.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Writes the lines. It runs on the access log's thread.
#[derive(Debug)]
pub(super) struct LineWriter {
    /// The file's path; absent for standard output.
    path: Option<PathBuf>,
    /// The open file; absent for standard output.
    file: Option<File>,
    format: LineFormat,
    metrics: Arc<Metrics>,
    buffer: Vec<u8>,
    /// Lines in `buffer`.
    lines: u64,
    /// The last write ended within a line.
    is_torn: bool,
    /// When lines are written again after an error. Until then they are lost, because the disk is full or nobody reads.
    retry_at: Option<Instant>,
}

impl LineWriter {
    /// Opens the file at `path`, or standard output.
    pub(super) fn open(path: Option<PathBuf>, format: LineFormat, metrics: Arc<Metrics>) -> io::Result<Self> {
        let file = path.as_deref().map(append).transpose()?;
        let buffer = Vec::with_capacity(BUFFER);
        Ok(Self { path, file, format, metrics, buffer, lines: 0, is_torn: false, retry_at: None })
    }

    /// Opens the file again. One that cannot be opened leaves the old one in use.
    pub(super) fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match append(path) {
            Ok(file) => {
                (self.file, self.is_torn, self.retry_at) = (Some(file), false, None);
                tracing::info!(path = %path.display(), "the access log is opened again");
            }
            Err(error) => {
                tracing::error!(%error, path = %path.display(), "the access log cannot be opened again");
            }
        }
    }

    pub(super) fn write(&mut self, record: &AccessRecord) {
        self.format.write(record, &mut self.buffer);
        self.lines += 1;
        if self.buffer.len() >= BUFFER {
            self.flush();
        }
    }

    /// Writes out all lines.
    pub(super) fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let (now, lines) = (Instant::now(), std::mem::take(&mut self.lines));
        let is_retry = self.retry_at.is_some();
        if self.retry_at.is_some_and(|at| now < at) {
            self.metrics.access_lines_lost(lines);
            self.buffer.clear();
            return;
        }
        match self.write_out() {
            Ok(()) if is_retry => {
                self.retry_at = None;
                tracing::info!("the access log is written again");
            }
            Ok(()) => {}
            Err(error) => {
                self.metrics.access_lines_lost(lines);
                self.retry_at = Some(now + RETRY_INTERVAL);
                if !is_retry {
                    tracing::error!(%error, "the access log cannot be written; requests are not affected");
                }
            }
        }
        self.buffer.clear();
    }

    fn write_out(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.is_torn, true) {
            self.buffer.insert(0, b'\n');
        }
        match &mut self.file {
            Some(file) => file.write_all(&self.buffer)?,
            None => {
                let mut out = io::stdout().lock();
                out.write_all(&self.buffer)?;
                out.flush()?;
            }
        }
        self.is_torn = false;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}
