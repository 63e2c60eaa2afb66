//! A file of whole lines that is followed by a new one when it is full.

use router_config::RecordConfig;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

/// The current file and the lines that are not written yet.
#[derive(Debug)]
pub(crate) struct RotatingFile {
    dir: PathBuf,
    /// The name up to the time stamp.
    stem: String,
    extension: &'static str,
    header: Vec<u8>,
    max_bytes: u64,
    open: Option<OpenFile>,
    buffer: Vec<u8>,
    /// Lines in `buffer`.
    pub(crate) lines: u64,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    /// Length in bytes, up to the end of the last whole line.
    len: u64,
}

impl RotatingFile {
    /// Creates the first file.
    ///
    /// # Errors
    /// The directory cannot be created or written to.
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
        // Created now, so that a directory that cannot be written to is found before the first request.
        file.open = Some(file.create()?);
        Ok(file)
    }

    /// Adds one line; `write` writes it without the newline.
    pub(crate) fn write_line(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.buffer);
        self.buffer.push(b'\n');
        self.lines += 1;
    }

    /// Writes all buffered lines to the file. A failed write leaves only whole lines in it.
    ///
    /// # Errors
    /// The error of the write, and the number of lines that are lost.
    pub(crate) fn flush(&mut self) -> Result<(), (io::Error, u64)> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let result = self.write_out();
        let lines = self.discard();
        result.map_err(|error| (error, lines))
    }

    /// Drops all buffered lines; how many.
    pub(crate) fn discard(&mut self) -> u64 {
        self.buffer.clear();
        std::mem::take(&mut self.lines)
    }

    fn write_out(&mut self) -> io::Result<()> {
        let mut open = match self.open.take() {
            // A file that was deleted meanwhile is followed by a new one.
            Some(open) if open.len < self.max_bytes && open.exists() => open,
            _ => self.create()?,
        };
        if let Err(error) = open.file.write_all(&self.buffer) {
            // Cut off a line that may be incomplete; if that fails too, the disk is broken.
            let _ = open.file.set_len(open.len);
            let _ = open.file.seek(SeekFrom::Start(open.len));
            self.open = Some(open);
            return Err(error);
        }
        open.len += self.buffer.len() as u64;
        self.open = Some(open);
        Ok(())
    }

    fn create(&self) -> io::Result<OpenFile> {
        fs::create_dir_all(&self.dir)?;
        let now = jiff::Timestamp::now().strftime("%Y%m%d_%H%M%S").to_string();
        let mut number = 1;
        loop {
            let suffix = if number == 1 { String::new() } else { format!("_{number}") };
            let path = self.dir.join(format!("{}_{now}{suffix}.{}", self.stem, self.extension));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(mut file) => {
                    if let Err(error) = file.write_all(&self.header) {
                        // A full disk must not fill with empty files; the error counts, whether this works or not.
                        let _ = fs::remove_file(&path);
                        return Err(error);
                    }
                    tracing::info!(path = %path.display(), "recording");
                    return Ok(OpenFile { file, len: self.header.len() as u64 });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && number < 1000 => number += 1,
                Err(e) => return Err(e),
            }
        }
    }
}

impl OpenFile {
    /// Whether the file still has a name on disk.
    fn exists(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        self.file.metadata().is_ok_and(|m| m.nlink() > 0)
    }
}
