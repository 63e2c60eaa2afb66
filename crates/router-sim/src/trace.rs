//! Recorded traces: one JSON object per line with `arrival_s`, `input_tokens`, `output_tokens` and optionally `hash_ids`
//! of the prompt's blocks, `client` (a name or a number), `max_tokens` and `stream`.

use crate::workload::{SimulatedRequest, Workload, WorkloadClient, chain};
use router_core::Time;
use serde::Deserialize;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

/// Why a trace could not be read.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// A line is not a request.
    #[error("line {line}: {source}")]
    Line {
        /// The line number, from 1.
        line: usize,
        /// Why it is not a request.
        source: serde_json::Error,
    },
    /// The slice selects no request.
    #[error("the slice contains no request")]
    Empty,
    /// The speed is not a positive number.
    #[error("the speed must be a positive number, not {0}")]
    Speed(f64),
}

/// The part of a trace to replay, and how fast.
#[derive(Clone, PartialEq, Debug)]
pub struct TraceSlice {
    /// The requests, counted from 0. Default: all.
    pub requests: Range<usize>,
    /// Replay speed relative to the recording. Default 1.
    pub speed: f64,
    /// Tokens per entry of `hash_ids`. Default 512, as in the Mooncake traces.
    pub block_tokens: u32,
}

impl Default for TraceSlice {
    fn default() -> Self {
        Self { requests: 0..usize::MAX, speed: 1.0, block_tokens: 512 }
    }
}

#[derive(Deserialize)]
struct RecordedLine {
    arrival_s: f64,
    input_tokens: u32,
    output_tokens: u32,
    #[serde(default)]
    hash_ids: Vec<u64>,
    client: Option<TraceClient>,
    max_tokens: Option<u32>,
    stream: Option<bool>,
}

/// A client as a trace names it.
#[derive(Deserialize, PartialEq, Eq, Hash)]
#[serde(untagged, expecting = "a client is a text or a whole number")]
enum TraceClient {
    Number(u64),
    Name(String),
}

impl fmt::Display for TraceClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// The clients of a trace, each with the key of its requests.
#[derive(Default)]
struct TraceClients {
    keys: HashMap<TraceClient, u64>,
    /// In the order of their first requests.
    named: Vec<WorkloadClient>,
}

impl TraceClients {
    fn key(&mut self, client: TraceClient) -> u64 {
        let Self { keys, named } = self;
        *keys.entry(client).or_insert_with_key(|client| {
            let client = WorkloadClient::named(&client.to_string());
            let key = client.key;
            if named.iter().all(|known| known.key != key) {
                named.push(client);
            }
            key
        })
    }
}

/// Parses a slice of a trace. Its first request arrives at time zero.
///
/// # Errors
/// A line that is not a request, an empty slice, or a speed that is not positive.
pub fn read_trace(text: &str, slice: &TraceSlice) -> Result<Workload, TraceError> {
    if !(slice.speed.is_finite() && slice.speed > 0.0) {
        return Err(TraceError::Speed(slice.speed));
    }
    let wanted = slice.requests.clone();
    let mut requests = Vec::new();
    let mut clients = TraceClients::default();
    let mut origin = None;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    for (number, line) in lines.skip(wanted.start).take(wanted.len()) {
        let line: RecordedLine =
            serde_json::from_str(line).map_err(|source| TraceError::Line { line: number + 1, source })?;
        let origin = *origin.get_or_insert(line.arrival_s);
        let at = Time::from_secs_f64((line.arrival_s - origin) / slice.speed);
        let request = SimulatedRequest::at(at, line.input_tokens, line.output_tokens.max(1));
        requests.push(SimulatedRequest {
            prefix: prefix(&line, slice.block_tokens),
            max_output_tokens: line.max_tokens,
            stream: line.stream.unwrap_or(request.stream),
            client: line.client.map(|client| clients.key(client)),
            ..request
        });
    }
    if requests.is_empty() {
        return Err(TraceError::Empty);
    }
    Ok(Workload { block_tokens: slice.block_tokens, clients: clients.named, ..Workload::new(requests) })
}

/// The chained hashes of the full blocks. The last entry of `hash_ids` may be a partial block, which no cache keeps.
fn prefix(line: &RecordedLine, block_tokens: u32) -> Box<[u64]> {
    let full = (line.input_tokens / block_tokens.max(1)) as usize;
    let ids = line.hash_ids.iter().take(full);
    ids.scan(0, |hash, &id| {
        *hash = chain(*hash, id);
        Some(*hash)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RequestStart;

    const TRACE: &str = r#"{"arrival_s":2.0,"input_tokens":1024,"output_tokens":5,"hash_ids":[7,8]}
{"arrival_s":3.0,"input_tokens":1100,"output_tokens":0,"hash_ids":[7,8,9]}
{"arrival_s":5.0,"input_tokens":40,"output_tokens":6}"#;

    #[test]
    fn slice_starts_at_zero_at_its_speed() {
        let load =
            read_trace(TRACE, &TraceSlice { requests: 1..3, speed: 2.0, ..TraceSlice::default() }).unwrap();
        let starts: Vec<_> = load.requests.iter().map(|r| r.start).collect();
        assert_eq!(starts, [RequestStart::At(Time::ZERO), RequestStart::At(Time::from_secs_f64(1.0))]);
    }

    #[test]
    fn only_full_blocks_have_hashes() {
        let load = read_trace(TRACE, &TraceSlice::default()).unwrap();
        assert_eq!(load.requests[0].prefix, load.requests[1].prefix);
        assert_eq!(load.requests[0].prefix.len(), 2);
    }

    #[test]
    fn clients_limits_and_streams_are_read() {
        let line = |rest: &str| format!(r#"{{"arrival_s":1,"input_tokens":9,"output_tokens":2{rest}}}"#);
        let lines = [
            line(r#","client":14,"max_tokens":64,"stream":false"#),
            line(r#","client":"chat""#),
            line(r#","client":"14""#),
            line(""),
        ];
        let load = read_trace(&lines.join("\n"), &TraceSlice::default()).unwrap();
        let names: Vec<_> = load.clients.iter().map(|client| client.name.as_str()).collect();
        assert_eq!(names, ["14", "chat"]);
        let [numbered, chat] = [load.clients[0].key, load.clients[1].key].map(Some);
        let seen: Vec<_> = load.requests.iter().map(|r| (r.client, r.max_output_tokens, r.stream)).collect();
        let expected =
            [(numbered, Some(64), false), (chat, None, true), (numbered, None, true), (None, None, true)];
        assert_eq!(seen, expected);
        let error = read_trace(&line(r#","client":true"#), &TraceSlice::default()).unwrap_err().to_string();
        assert!(error.starts_with("line 1: a client is a text or a whole number"), "{error}");
    }

    #[test]
    fn invalid_traces_are_rejected() {
        let error = read_trace("{}", &TraceSlice::default()).unwrap_err().to_string();
        assert!(error.starts_with("line 1: missing field `arrival_s`"), "{error}");
        assert!(read_trace(TRACE, &TraceSlice { requests: 9..10, ..TraceSlice::default() }).is_err());
        assert!(read_trace(TRACE, &TraceSlice { speed: 0.0, ..TraceSlice::default() }).is_err());
    }
}
