//! One growing file of whole lines, followed by the next when it is full.

use router_config::RecordConfig;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

/// Lines on their way to a file.
#[derive(Debug)]
pub(crate) struct RotatingFile {
    dir: PathBuf,
    /// The name up to the time stamp.
    stem: String,
    extension: &'static str,
    header: Vec<u8>,
    max_bytes: u64,
    open: Option<Open>,
    buffer: Vec<u8>,
    /// Lines in `buffer`.
    pub(crate) lines: u64,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Whole lines reach up to here.
    len: u64,
}

impl RotatingFile {
    /// A file that is made when its first lines are flushed.
    ///
    /// # Errors
    /// When the directory cannot be made or written to.
    pub(crate) fn new(config: &RecordConfig, kind: &str, header: Option<String>) -> io::Result<Self> {
        fs::create_dir_all(&config.dir)?;
        let mut file = Self {
            dir: config.dir.clone(),
            stem: format!("{}_{kind}", config.stem),
            extension: config.format.extension(),
            header: header.map(String::into_bytes).unwrap_or_default(),
            max_bytes: config.max_file_bytes,
            open: None,
            buffer: Vec::new(),
            lines: 0,
        };
        // Made at once, so that a directory that cannot be written to is known before the first request.
        file.open = Some(file.create()?);
        Ok(file)
    }

    /// Adds one line, without its end.
    pub(crate) fn line(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.buffer);
        self.buffer.push(b'\n');
        self.lines += 1;
    }

    /// Writes all lines out; the number of lines that were lost if that failed.
    ///
    /// A failed write leaves only whole lines in the file.
    pub(crate) fn flush(&mut self) -> Result<(), (io::Error, u64)> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let result = self.write_out();
        let lost = std::mem::take(&mut self.lines);
        self.buffer.clear();
        result.map_err(|e| (e, lost))
    }

    fn write_out(&mut self) -> io::Result<()> {
        let mut open = match self.open.take() {
            // A file that was moved or deleted under us is followed by a new one.
            Some(open) if open.len < self.max_bytes && open.still_named() => open,
            _ => self.create()?,
        };
        if let Err(error) = open.file.write_all(&self.buffer) {
            // Best effort on a failing disk: cut off what may be half a line.
            let _ = open.file.set_len(open.len);
            let _ = open.file.seek(SeekFrom::Start(open.len));
            self.open = Some(open);
            return Err(error);
        }
        open.len += self.buffer.len() as u64;
        self.open = Some(open);
        Ok(())
    }

    fn create(&self) -> io::Result<Open> {
        fs::create_dir_all(&self.dir)?;
        let now = jiff::Timestamp::now().strftime("%Y%m%d_%H%M%S").to_string();
        let mut number = 1;
        loop {
            let suffix = if number == 1 { String::new() } else { format!("_{number}") };
            let path = self.dir.join(format!("{}_{now}{suffix}.{}", self.stem, self.extension));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(mut file) => {
                    file.write_all(&self.header)?;
                    tracing::info!(path = %path.display(), "recording");
                    return Ok(Open { file, len: self.header.len() as u64 });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && number < 1000 => number += 1,
                Err(e) => return Err(e),
            }
        }
    }
}

impl Open {
    /// Whether the file still has a name on disk.
    fn still_named(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        self.file.metadata().is_ok_and(|m| m.nlink() > 0)
    }
}
