//! Recorded files: rows of CSV or JSON lines, in files that are rotated by size.

mod encoder;
mod rotating_file;
mod row;
mod writer;

pub(crate) use row::{CellValue, write_row};
pub(crate) use writer::RecordWriter;
