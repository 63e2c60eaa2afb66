//! JSON lines as the CSV file that the same recorder would have written.

use super::rows::FileSource;
use csv::{ByteRecord, QuoteStyle, Writer, WriterBuilder};
use serde_json::{Map, Value};
use std::io::{self, BufRead as _, BufReader, Read};

/// The longest line that is read, in bytes. A row has about a thousand.
const MAX_LINE: u64 = 1 << 20;

/// The names of the members of an object; `None` when the line is not an object.
pub(super) fn member_names(line: &[u8]) -> Option<Vec<String>> {
    let members: Map<String, Value> = serde_json::from_slice(line).ok()?;
    Some(members.into_iter().map(|(name, _)| name).collect())
}

/// Reads JSON lines, and gives a header and a record for each line. A line that is not an object becomes a record of one
/// value.
pub(super) struct JsonLinesReader {
    lines: BufReader<FileSource>,
    header: Vec<String>,
    line: Vec<u8>,
    /// What was not taken yet.
    ready: io::Cursor<Vec<u8>>,
}

impl JsonLinesReader {
    /// A reader of lines whose members are called `header`.
    pub(super) fn new(source: FileSource, header: Vec<String>) -> Self {
        let ready = io::Cursor::new(record(header.iter().map(String::as_bytes)));
        Self { lines: BufReader::new(source), header, line: Vec::new(), ready }
    }

    /// The record of the next line; `None` at the end of the file.
    fn next_record(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.line.clear();
        if (&mut self.lines).take(MAX_LINE).read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        let Ok(members) = serde_json::from_slice::<Map<String, Value>>(&self.line) else {
            return Ok(Some(record([&b"?"[..]].into_iter())));
        };
        let value = |name: &String| match members.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let values: Vec<String> = self.header.iter().map(value).collect();
        Ok(Some(record(values.iter().map(String::as_bytes))))
    }
}

/// One record of a CSV file, with its line end.
fn record<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut writer: Writer<Vec<u8>> =
        WriterBuilder::new().quote_style(QuoteStyle::Necessary).from_writer(Vec::new());
    // Writing to a Vec cannot fail.
    let _ = writer.write_byte_record(&ByteRecord::from_iter(values));
    writer.into_inner().unwrap_or_default()
}

impl Read for JsonLinesReader {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            let taken = self.ready.read(to)?;
            if taken > 0 || to.is_empty() {
                return Ok(taken);
            }
            match self.next_record()? {
                Some(record) => self.ready = io::Cursor::new(record),
                None => return Ok(0),
            }
        }
    }
}
