//! The rows and columns of a file, whatever they mean.

use super::cell::{self, MalformedValue};
use super::json_lines::JsonLinesReader;
use crate::problem::FileProblems;
use csv::{ByteRecord, Reader};
use std::fs::File;
use std::io::{self, Chain, Cursor, Read};

/// A file whose first part was read already.
pub(crate) type FileSource = Chain<Cursor<Vec<u8>>, File>;

/// How the rows stand in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum RowForm {
    /// After a header, separated by commas.
    Csv,
    /// Each an object on a line.
    JsonLines,
}

/// The index of a column. A column that the file lacks has no index, and its values are unknown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ColumnIndex(Option<usize>);

/// Reads the rows of an open file after its header.
pub(crate) struct RowReader {
    reader: Reader<LastByteReader>,
    form: RowForm,
    record: ByteRecord,
    header: Vec<String>,
    /// Line and number of values of a row with too few, until it is known whether the file continues after it.
    short: Option<(u64, usize)>,
    /// The problems so far.
    pub(crate) problems: FileProblems,
}

impl RowReader {
    /// The rows of a CSV file.
    pub(crate) fn new(source: FileSource, problems: FileProblems) -> Self {
        Self::of_form(RowForm::Csv, Box::new(source), problems)
    }

    /// The rows of JSON lines.
    pub(super) fn of_json_lines(source: JsonLinesReader, problems: FileProblems) -> Self {
        Self::of_form(RowForm::JsonLines, Box::new(source), problems)
    }

    fn of_form(form: RowForm, source: Box<dyn Read>, problems: FileProblems) -> Self {
        let source = LastByteReader { source, last: None };
        let mut builder = csv::ReaderBuilder::new();
        let reader = builder.has_headers(false).flexible(true).buffer_capacity(1 << 18).from_reader(source);
        let mut table =
            Self { reader, form, record: ByteRecord::new(), header: Vec::new(), short: None, problems };
        if let Ok(true) = table.reader.read_byte_record(&mut table.record) {
            table.header = names(&table.record);
        }
        table
    }

    /// The names of all columns, in order.
    pub(crate) fn names(&self) -> &[String] {
        &self.header
    }

    /// The column called `name`.
    pub(crate) fn column(&self, name: &str) -> ColumnIndex {
        ColumnIndex(self.header.iter().position(|known| known == name))
    }

    /// The next row that has a value for every column; other rows are left out and added to the problems.
    pub(crate) fn next(&mut self) -> Option<RowView<'_>> {
        loop {
            let more = match self.reader.read_byte_record(&mut self.record) {
                Ok(more) => more,
                Err(error) => {
                    let line = error.position().map(csv::Position::line);
                    self.problems.add(line, None, || format!("cannot be read from here on: {error}"));
                    return None;
                }
            };
            self.check_row_end(more);
            if !more {
                return None;
            }
            if self.is_complete() {
                break;
            }
        }
        let line = self.line();
        Some(RowView { record: &self.record, header: &self.header, problems: &mut self.problems, line })
    }

    /// The line of the last row in the file. JSON lines have no header.
    fn line(&self) -> u64 {
        match self.form {
            RowForm::Csv => self.record.position().map_or(0, csv::Position::line),
            RowForm::JsonLines => self.record.position().map_or(0, csv::Position::record),
        }
    }

    /// Whether the row has as many values as the header has names.
    fn is_complete(&mut self) -> bool {
        let (got, want) = (self.record.len(), self.header.len());
        let line = self.line();
        if self.form == RowForm::JsonLines && got != want {
            self.problems.add(Some(line), None, || {
                "this line is not a JSON object, or is cut off; it is left out".to_owned()
            });
        } else if got < want {
            self.short = Some((line, got));
        } else if got > want {
            let message = || format!("{got} values where the header has {want}; this row is left out");
            self.problems.add(Some(line), Some(want), message);
        }
        got == want
    }

    /// Reports a row with too few values, or a last row without a line end, once it is known whether the file continues.
    ///
    /// Both writers end each row with a line end, so a file without one at its end was cut off.
    fn check_row_end(&mut self, more: bool) {
        let open = !more && self.reader.get_ref().last.is_some_and(|last| last != b'\n');
        let want = self.header.len();
        match self.short.take() {
            // A blank line at the end is ignored.
            Some((_, 1)) if !more && !open => {}
            Some((line, got)) if open => self.problems.add(Some(line), Some(got - 1), || {
                format!("the file is cut off here, in value {got} of {want}; this row is left out")
            }),
            Some((line, got)) => self.problems.add(Some(line), Some(got), || {
                format!("{got} values where the header has {want}; this row is left out")
            }),
            None if open => {
                let line = self.reader.position().line();
                self.problems.add(Some(line), Some(want.saturating_sub(1)), || {
                    "the last line has no line end, so its last value may be cut off".to_owned()
                });
            }
            None => {}
        }
    }
}

/// The names in a header line.
pub(crate) fn names(record: &ByteRecord) -> Vec<String> {
    let text = |field: &[u8]| String::from_utf8_lossy(field).trim_start_matches('\u{feff}').trim().to_owned();
    record.iter().map(text).collect()
}

/// One row.
pub(crate) struct RowView<'a> {
    record: &'a ByteRecord,
    header: &'a [String],
    problems: &'a mut FileProblems,
    line: u64,
}

impl<'a> RowView<'a> {
    /// The line in the file, from 1.
    pub(crate) const fn line(&self) -> u64 {
        self.line
    }

    /// The text of a column; empty if the file lacks it.
    pub(crate) fn text(&self, column: ColumnIndex) -> &'a [u8] {
        column.0.and_then(|index| self.record.get(index)).unwrap_or_default().trim_ascii()
    }

    /// The number in a column.
    pub(crate) fn number(&mut self, column: ColumnIndex) -> Option<f64> {
        self.parse(column, cell::number, "a number")
    }

    /// The whole number in a column.
    pub(crate) fn count(&mut self, column: ColumnIndex) -> Option<u32> {
        // A float cast saturates, so an absurd number is harmless.
        self.number(column).map(|n| n as u32)
    }

    /// The boolean in a column.
    pub(crate) fn flag(&mut self, column: ColumnIndex) -> Option<bool> {
        self.parse(column, cell::flag, "True or False")
    }

    /// The time in a column, in nanoseconds since the Unix epoch.
    pub(crate) fn unix_nanos(&mut self, column: ColumnIndex) -> Option<u64> {
        self.parse(column, cell::unix_nanos, "a time")
    }

    /// Adds a problem with the value in a column.
    pub(crate) fn add_problem(&mut self, column: ColumnIndex, what: &str) {
        let text = self.text(column);
        let name = column.0.and_then(|index| self.header.get(index)).map_or("", String::as_str);
        self.problems.add(Some(self.line), column.0, || {
            let shown: String = String::from_utf8_lossy(text).chars().take(40).collect();
            format!("{name} is '{shown}': {what}")
        });
    }

    fn parse<T>(
        &mut self,
        column: ColumnIndex,
        parse: fn(&[u8]) -> Result<Option<T>, MalformedValue>,
        wanted: &str,
    ) -> Option<T> {
        parse(self.text(column)).unwrap_or_else(|MalformedValue| {
            self.add_problem(column, &format!("this is not {wanted}, so it counts as unknown"));
            None
        })
    }
}

/// A reader that remembers the last byte read.
struct LastByteReader {
    source: Box<dyn Read>,
    last: Option<u8>,
}

impl Read for LastByteReader {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(to)?;
        if let Some(&last) = to[..n].last() {
            self.last = Some(last);
        }
        Ok(n)
    }
}
