//! Recognises the kind of a file by its first line, and explains what it is if it is neither kind.

use super::column_table;
use super::json_lines::{JsonLinesReader, member_names};
use super::rows::{FileSource, RowReader, names};
use super::simulated;
use crate::problem::{FileProblem, FileProblems};
use crate::run::FileKind;
use crate::simulation::SimulationReport;
use csv::ByteRecord;
use std::fs::File;
use std::io::{Cursor, Read as _};
use std::path::Path;

/// How many bytes are read to recognise a file; a header is far shorter.
const PROBE_BYTES: u64 = 64 * 1024;

/// The longest result of a simulation that is read.
const MAX_SIMULATION_BYTES: u64 = 64 << 20;

/// The client's columns, in their order.
const CLIENT: [&str; 31] = [
    "PREFILL_THROUGHPUT",
    "DECODE_THROUGHPUT",
    "AVG_LATENCY",
    "req_id",
    "success",
    "error",
    "host",
    "has_generated_text",
    "input_length",
    "expected_output_length",
    "actual_prompt_tokens",
    "actual_output_tokens",
    "actual_total_tokens",
    "output_tokens_from_trace",
    "decode_length",
    "arrival_time",
    "router_send_time",
    "server_created_time",
    "queue_time_start",
    "queue_time_end",
    "server_first_token_time",
    "finish_time",
    "server_latency",
    "total_latency",
    "ttft",
    "prefill_token_throughput",
    "decode_token_throughput",
    "queue_time_in_router",
    "queue_time_in_server",
    "tokenize_time",
    "pure_queue_time",
];

/// The recorder's fixed columns, in their order.
const RECORDER: [&str; 16] = [
    "timestamp",
    "worker_url",
    "request_id",
    "throughput_gradient",
    "latency_gradient",
    "score",
    "outstanding_requests",
    "avg_throughput",
    "avg_latency",
    "window_size",
    "selection_reason",
    "actual_output_tokens",
    "server_latency",
    "queue_time",
    "ttft",
    "decision_time_ms",
];

/// Columns that every client's file has, and a recorder's may have.
const RECORDER_TOO: [&str; 3] = ["error", "total_latency", "finish_time"];

/// Columns without which a row is useless: the worker, whether it succeeded, and when.
const CLIENT_NEEDS: [&str; 4] = ["success", "host", "arrival_time", "finish_time"];
const RECORDER_NEEDS: [&str; 3] = ["timestamp", "worker_url", "selection_reason"];

/// Whether this column is in every file of one kind.
pub(crate) fn is_fixed(name: &str) -> bool {
    CLIENT.contains(&name) || RECORDER.contains(&name)
}

/// An open file, by what it has.
pub(super) enum OpenedFile {
    /// Requests, or decisions and completions.
    Rows(FileKind, RowReader),
    /// The candidates of decisions.
    Candidates(RowReader),
    /// The results of a simulation.
    Simulation(Box<SimulationReport>),
}

/// Opens a file of requests or of decisions and recognises its kind.
///
/// # Errors
/// It cannot be read, or is another kind of file; the message says which, where that is known.
pub(crate) fn open(path: &Path) -> Result<(FileKind, RowReader), Box<FileProblem>> {
    match open_any(path)? {
        OpenedFile::Rows(kind, table) => Ok((kind, table)),
        OpenedFile::Candidates(_) => Err(candidates_alone(path)),
        OpenedFile::Simulation(_) => {
            let message = "this is the result of a simulation, which has no rows".to_owned();
            Err(Box::new(FileProblems::new(&path.display().to_string()).at(Some(1), None, message)))
        }
    }
}

/// The problem of a file of candidates where decisions are needed.
pub(super) fn candidates_alone(path: &Path) -> Box<FileProblem> {
    let message = "this is the recorder's file of candidates; pass its file of decisions instead".to_owned();
    Box::new(FileProblems::new(&path.display().to_string()).at(Some(1), Some(0), message))
}

/// Opens a file and recognises what it has.
///
/// # Errors
/// It cannot be read, or is another kind of file; the message says which, where that is known.
pub(super) fn open_any(path: &Path) -> Result<OpenedFile, Box<FileProblem>> {
    let mut problems = FileProblems::new(&path.display().to_string());
    let whole = |problems: &FileProblems, message: String| Box::new(problems.at(None, None, message));
    let unreadable = |error: std::io::Error| whole(&problems, format!("cannot be read: {error}"));
    if path.is_dir() {
        return Err(whole(&problems, "is a folder; name the files in it".to_owned()));
    }
    let mut file = File::open(path).map_err(unreadable)?;
    let mut start = Vec::new();
    file.try_clone().and_then(|file| file.take(PROBE_BYTES).read_to_end(&mut start)).map_err(unreadable)?;
    let members = member_names(first_line(&start)).map(all_columns);
    if start.starts_with(b"{") && members.as_ref().is_none_or(|names| names.iter().any(|n| n == "policies")) {
        let mut text = start.clone();
        (&mut file).take(MAX_SIMULATION_BYTES).read_to_end(&mut text).map_err(unreadable)?;
        if let Some(simulation) = simulated::simulation(&text) {
            return Ok(OpenedFile::Simulation(Box::new(simulation)));
        }
    }
    let header = members.clone().unwrap_or_else(|| split(first_line(&start), b','));
    let kind = match &members {
        _ if are_candidates(&header) => None,
        Some(header) => Some(kind_of_header(header, &start, &mut problems)?),
        None => Some(kind_of(&start, &mut problems)?),
    };
    let source: FileSource = Cursor::new(start).chain(file);
    let table = match members {
        Some(header) => RowReader::of_json_lines(JsonLinesReader::new(source, header), problems),
        None => RowReader::new(source, problems),
    };
    Ok(match kind {
        Some(kind) => OpenedFile::Rows(kind, table),
        None => OpenedFile::Candidates(table),
    })
}

/// Whether these are the columns of the recorder's file of candidates: a row per candidate.
fn are_candidates(header: &[String]) -> bool {
    ["chosen", "terms", "worker_url"].iter().all(|name| header.iter().any(|h| h == name))
}

/// The columns of JSON lines whose first has these `members`: what is unknown in a row is left out of it.
fn all_columns(members: Vec<String>) -> Vec<String> {
    let (fixed, more) = match best_match(&members) {
        Some(FileKind::Recorder) => (&RECORDER[..], &RECORDER_TOO[..]),
        Some(FileKind::Client) => (&CLIENT[..], &[][..]),
        None => return members,
    };
    let known = fixed.iter().chain(more).chain(column_table::optional_columns());
    let known = known.map(|name| (*name).to_owned());
    let mut columns: Vec<String> = known.collect();
    columns.extend(members.into_iter().filter(|name| !columns.contains(name)).collect::<Vec<_>>());
    columns
}

fn first_line(start: &[u8]) -> &[u8] {
    start.split(|&b| b == b'\n').next().unwrap_or_default()
}

/// Recognises the kind by the first line.
fn kind_of(start: &[u8], problems: &mut FileProblems) -> Result<FileKind, Box<FileProblem>> {
    if start.iter().all(u8::is_ascii_whitespace) {
        return Err(Box::new(problems.at(Some(1), Some(0), "the file is empty".to_owned())));
    }
    kind_of_header(&split(first_line(start), b','), start, problems)
}

/// Recognises the kind by the names of the columns.
fn kind_of_header(
    header: &[String],
    start: &[u8],
    problems: &mut FileProblems,
) -> Result<FileKind, Box<FileProblem>> {
    let fail =
        |problems: &FileProblems, column, message| Err(Box::new(problems.at(Some(1), column, message)));
    let (kind, fixed, needs) = match best_match(header) {
        Some(FileKind::Client) => (FileKind::Client, &CLIENT[..], &CLIENT_NEEDS[..]),
        Some(FileKind::Recorder) => (FileKind::Recorder, &RECORDER[..], &RECORDER_NEEDS[..]),
        None => return fail(problems, Some(0), explain_unknown(first_line(start))),
    };
    let missing: Vec<&str> = fixed.iter().copied().filter(|name| !header.iter().any(|h| h == name)).collect();
    let column = fixed.iter().position(|name| missing.first() == Some(name));
    if let Some(needed) = missing.iter().find(|name| needs.contains(name)) {
        let column = fixed.iter().position(|name| name == needed);
        let cut = if start.contains(&b'\n') { "" } else { "; the file ends in its first line" };
        return fail(problems, column, format!("{} missing{cut}", list(&missing)));
    }
    if !missing.is_empty() {
        problems.add(Some(1), column, || format!("{} missing; what needs them is left out", list(&missing)));
    }
    Ok(kind)
}

/// The kind that shares more column names with the header, and at least three.
fn best_match(header: &[String]) -> Option<FileKind> {
    let shared = |fixed: &[&str]| fixed.iter().filter(|name| header.iter().any(|h| h == *name)).count();
    let (client, recorder) = (shared(&CLIENT), shared(&RECORDER));
    let best = if client > recorder { (client, FileKind::Client) } else { (recorder, FileKind::Recorder) };
    // The recorder's file of candidates starts with the same columns, but has a row per candidate.
    (best.0 >= 3 && !are_candidates(header)).then_some(best.1)
}

/// Explains a file whose first line is not a known header.
fn explain_unknown(first: &[u8]) -> String {
    for (separator, name) in [(b';', "';'"), (b'\t', "tabs"), (b'|', "'|'")] {
        if best_match(&split(first, separator)).is_some() {
            return format!("values are separated by {name}; expected a comma");
        }
    }
    if first.starts_with(b"{") {
        return "this is JSON, but not the JSON lines of a run or the result of a simulation".to_owned();
    }
    if first.contains(&0) || std::str::from_utf8(first).is_err() {
        return "this is not a CSV file: its first line is not UTF-8 text".to_owned();
    }
    let shown: String = String::from_utf8_lossy(first).trim().chars().take(60).collect();
    format!("'{shown}' is not the header of a client's or a recorder's file")
}

fn split(line: &[u8], separator: u8) -> Vec<String> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).delimiter(separator).from_reader(line);
    let mut record = ByteRecord::new();
    match reader.read_byte_record(&mut record) {
        Ok(true) => names(&record),
        _ => Vec::new(),
    }
}

/// "the column a is", "the columns a, b are"; a long list is shortened.
fn list(names: &[&str]) -> String {
    match names {
        [one] => format!("the column {one} is"),
        few if few.len() <= 6 => format!("the columns {} are", few.join(", ")),
        many => format!("the columns {} and {} more are", many[..5].join(", "), many.len() - 5),
    }
}
