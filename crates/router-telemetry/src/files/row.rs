//! The columns of the record files, and rows in CSV and JSON lines.

use router_config::RecordFormat;
use std::time::Duration;

macro_rules! columns {
    ($($(#[$doc:meta])* $variant:ident $name:literal)*) => {
        /// A column, in the order of the file.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Column {
            $($(#[$doc])* $variant,)*
        }

        impl Column {
            /// The names of all columns, in the order of the file.
            pub(crate) const NAMES: &'static [&'static str] = &[$($name),*];
        }
    };
}

columns! {
    // These sixteen come first, in this order, because existing readers of these files expect them.
    /// When the decision was made or the attempt ended, UTC.
    Timestamp "timestamp"
    WorkerUrl "worker_url"
    RequestId "request_id"
    ThroughputGradient "throughput_gradient"
    LatencyGradient "latency_gradient"
    /// The chosen worker's score: higher is better. Minus its cost where the policy has no score of its own.
    Score "score"
    /// Requests in flight on the worker from this router, before a decision and after a completion.
    OutstandingRequests "outstanding_requests"
    AvgThroughput "avg_throughput"
    AvgLatency "avg_latency"
    WindowSize "window_size"
    SelectionReason "selection_reason"
    ActualOutputTokens "actual_output_tokens"
    ServerLatency "server_latency"
    QueueTime "queue_time"
    Ttft "ttft"
    DecisionTimeMs "decision_time_ms"
    // Further columns. A new one is added at the end.
    /// `decision` or `completion`.
    Kind "kind"
    /// The number of the event in the order in which the policy received it.
    Seq "seq"
    Attempt "attempt"
    Policy "policy"
    Route "route"
    Stream "stream"
    Batch "batch"
    PromptBytes "prompt_bytes"
    MaxOutputTokens "max_output_tokens"
    Candidates "candidates"
    Cost "cost"
    RunnerUp "runner_up"
    RunnerUpCost "runner_up_cost"
    Margin "margin"
    Ties "ties"
    /// The worker's share of all decisions so far, this one included.
    WorkerShare "worker_share"
    QueueLength "queue_length"
    Running "running"
    PredictedLatency "predicted_latency"
    PredictedTtft "predicted_ttft"
    /// The choices of the shadow policies: `policy=url`, joined by `;`.
    ShadowChoices "shadow_choices"
    Status "status"
    Outcome "outcome"
    Error "error"
    PromptTokens "prompt_tokens"
    CachedTokens "cached_tokens"
    TokensEstimated "tokens_estimated"
    TotalLatency "total_latency"
    ReceivedTime "received_time"
    DispatchTime "dispatch_time"
    FirstByteTime "first_byte_time"
    FinishTime "finish_time"
    ServerE2eLatency "server_e2e_latency"
    /// The class that the forecast of the output's length came from.
    ForecastClass "forecast_class"
    /// The expected length.
    ForecastOutputTokens "forecast_output_tokens"
    /// The rank of the length that came in the forecast, 0 to 1.
    ForecastRank "forecast_rank"
    /// Prompt tokens that the policy predicted in the worker's cache.
    PredictedCachedTokens "predicted_cached_tokens"
    /// The model that the workers of the balancer serve.
    Model "model"
}

/// The columns of the candidates file: a row per candidate of each decision.
pub(crate) const CANDIDATE_COLUMNS: &[&str] =
    &["timestamp", "request_id", "attempt", "seq", "policy", "role", "worker_url", "chosen", "cost", "terms"];

/// The value of one column in one row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CellValue<'a> {
    Unknown,
    Text(&'a str),
    /// A text of the router's own, in which nothing needs quoting or escaping.
    Word(&'a str),
    /// A text of the router's own, and six digits that follow it.
    Timestamp(&'a str, u32),
    Int(u64),
    Float(f64),
    Short(f32),
    Flag(bool),
    /// Seconds, written with all nine decimals.
    Seconds(Duration),
    /// A JSON object, written as it is in JSON and as a text in CSV.
    Json(&'a str),
}

impl<'a> CellValue<'a> {
    pub(crate) const fn text(text: &'a str) -> Self {
        Self::Text(text)
    }

    pub(crate) fn int(value: Option<impl Into<u64>>) -> Self {
        value.map_or(Self::Unknown, |v| Self::Int(v.into()))
    }

    /// A number that is not finite counts as unknown.
    pub(crate) fn float(value: Option<f64>) -> Self {
        value.filter(|v| v.is_finite()).map_or(Self::Unknown, Self::Float)
    }

    /// A number with as many digits as it was computed with.
    pub(crate) fn short(value: Option<f32>) -> Self {
        value.filter(|v| v.is_finite()).map_or(Self::Unknown, Self::Short)
    }

    pub(crate) fn seconds(value: Option<Duration>) -> Self {
        value.map_or(Self::Unknown, Self::Seconds)
    }

    #[inline(always)]
    fn write_csv(&self, to: &mut Vec<u8>) {
        match self {
            Self::Unknown => {}
            Self::Text(text) | Self::Json(text) => write_csv_text(text, to),
            Self::Word(word) => to.extend_from_slice(word.as_bytes()),
            Self::Timestamp(second, micros) => write_timestamp(second, *micros, to),
            plain => plain.write_json(to),
        }
    }

    #[inline(always)]
    fn write_json(&self, to: &mut Vec<u8>) {
        match self {
            Self::Unknown => to.extend_from_slice(b"null"),
            Self::Text(text) => {
                // Writing to a Vec cannot fail.
                let _ = serde_json::to_writer(to, text);
            }
            Self::Word(word) => {
                to.push(b'"');
                to.extend_from_slice(word.as_bytes());
                to.push(b'"');
            }
            Self::Timestamp(second, micros) => {
                to.push(b'"');
                write_timestamp(second, *micros, to);
                to.push(b'"');
            }
            Self::Int(n) => to.extend_from_slice(itoa::Buffer::new().format(*n).as_bytes()),
            Self::Float(x) => to.extend_from_slice(zmij::Buffer::new().format(*x).as_bytes()),
            Self::Short(x) => to.extend_from_slice(zmij::Buffer::new().format(*x).as_bytes()),
            Self::Flag(flag) => to.extend_from_slice(if *flag { b"true" } else { b"false" }),
            Self::Seconds(d) => {
                to.extend_from_slice(itoa::Buffer::new().format(d.as_secs()).as_bytes());
                to.push(b'.');
                digits::<9>(d.subsec_nanos(), to);
            }
            Self::Json(text) => to.extend_from_slice(text.as_bytes()),
        }
    }
}

fn write_timestamp(second: &str, micros: u32, to: &mut Vec<u8>) {
    to.extend_from_slice(second.as_bytes());
    digits::<6>(micros, to);
}

/// Writes exactly `N` decimal digits of `number`, with leading zeros.
fn digits<const N: usize>(mut number: u32, to: &mut Vec<u8>) {
    let mut text = [b'0'; N];
    let mut pairs = text.rchunks_exact_mut(2);
    for pair in pairs.by_ref() {
        pair.copy_from_slice(&DIGIT_PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    if let [first] = pairs.into_remainder() {
        *first = DIGIT_PAIRS[(number % 10) as usize][1];
    }
    to.extend_from_slice(&text);
}

/// The two digits of each number below 100.
const DIGIT_PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut n = 0;
    while n < pairs.len() {
        pairs[n] = [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        n += 1;
    }
    pairs
};

/// Writes a CSV field, quoted if it contains a comma, a quote or a line break. A text that a spreadsheet would take for a
/// formula gets an apostrophe in front: clients choose request ids.
fn write_csv_text(text: &str, to: &mut Vec<u8>) {
    let is_formula = matches!(text.bytes().next(), Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r'));
    if is_formula {
        return write_csv_text(&format!("'{text}"), to);
    }
    if needs_quotes(text.as_bytes()) {
        to.push(b'"');
        to.extend(text.bytes().flat_map(|b| std::iter::repeat_n(b, if b == b'"' { 2 } else { 1 })));
        to.push(b'"');
    } else {
        to.extend_from_slice(text.as_bytes());
    }
}

fn needs_quotes(text: &[u8]) -> bool {
    // Comparisons that do not depend on each other are made on all bytes of a block at once; a match would not be.
    let is_special = |b: &u8| (*b == b',') | (*b == b'"') | (*b == b'\n') | (*b == b'\r');
    let Some(last) = text.last_chunk::<16>() else { return text.iter().any(is_special) };
    // The last block overlaps the one before.
    let is_special_in = |block: &[u8; 16]| block.iter().fold(false, |found, b| found | is_special(b));
    text.as_chunks().0.iter().any(is_special_in) || is_special_in(last)
}

/// Writes one row, column after column in the order of the file. Columns that are left out are unknown.
#[derive(Debug)]
pub(crate) struct RowWriter<'a> {
    format: RecordFormat,
    names: &'static [&'static str],
    to: &'a mut Vec<u8>,
    /// The column that was written last.
    column: usize,
    is_empty: bool,
}

/// As many commas as a row has at most.
const COMMAS: [u8; Column::NAMES.len()] = [b','; Column::NAMES.len()];

impl<'a> RowWriter<'a> {
    /// A row of the main record file.
    pub(crate) const fn new(format: RecordFormat, to: &'a mut Vec<u8>) -> Self {
        Self::with_names(format, Column::NAMES, to)
    }

    const fn with_names(format: RecordFormat, names: &'static [&'static str], to: &'a mut Vec<u8>) -> Self {
        Self { format, names, to, column: 0, is_empty: true }
    }

    /// Writes the value of a column behind those written so far.
    ///
    /// It is inlined with all that writes a value: the caller knows the kind of value, so nothing has to be told apart.
    #[inline(always)]
    pub(crate) fn put(&mut self, column: Column, cell: CellValue<'_>) {
        self.put_at(column as usize, cell);
    }

    #[inline(always)]
    fn put_at(&mut self, column: usize, cell: CellValue<'_>) {
        if matches!(cell, CellValue::Unknown) {
            return;
        }
        debug_assert!(column > self.column || self.is_empty, "columns are written in order");
        match self.format {
            RecordFormat::Csv => {
                self.skip_to(column);
                cell.write_csv(self.to);
            }
            RecordFormat::Jsonl => {
                self.to.extend_from_slice(if self.is_empty { b"{\"" } else { b",\"" });
                self.to.extend_from_slice(self.names[column].as_bytes());
                self.to.extend_from_slice(b"\":");
                cell.write_json(self.to);
            }
        }
        self.column = column;
        self.is_empty = false;
    }

    /// Ends the row, without the newline.
    pub(crate) fn end(mut self) {
        match self.format {
            RecordFormat::Csv => self.skip_to(self.names.len() - 1),
            RecordFormat::Jsonl => self.to.push(b'}'),
        }
    }

    /// Most values are unknown: their commas are written together with that of the next known value.
    fn skip_to(&mut self, column: usize) {
        match column.saturating_sub(self.column) {
            0 => {}
            1 => self.to.push(b','),
            commas => self.to.extend_from_slice(&COMMAS[..commas]),
        }
    }
}

/// Writes one row of a file with other columns, without the newline.
pub(crate) fn write_row(
    format: RecordFormat,
    names: &'static [&'static str],
    cells: &[CellValue<'_>],
    to: &mut Vec<u8>,
) {
    let mut row = RowWriter::with_names(format, names, to);
    for (column, cell) in cells.iter().enumerate() {
        row.put_at(column, *cell);
    }
    row.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_bytes_are_found_anywhere() {
        for len in 1..50 {
            for at in 0..len {
                let mut text = vec![b'x'; len];
                assert!(!needs_quotes(&text));
                text[at] = b',';
                assert!(needs_quotes(&text), "a comma at {at} of {len}");
            }
        }
    }

    #[test]
    fn formulas_are_neutralised() {
        for (text, written) in [
            ("=1+1", "'=1+1"),
            ("@a,b", "\"'@a,b\""),
            ("-2", "'-2"),
            ("\tx", "'\tx"),
            ("gnt-1", "gnt-1"),
            ("", ""),
        ] {
            let mut out = Vec::new();
            write_csv_text(text, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), written);
        }
    }
}
