//! The lines of the access log: Common Log Format with further fields, or JSON.

use super::entry::AccessRecord;
use crate::clock::Clock;
use crate::files::{CellValue, write_row};
use router_config::{LogFormat, RecordFormat};
use std::io::Write as _;
use std::time::Duration;

/// The members of a JSON line. Unknown ones are left out.
const NAMES: &[&str] = &[
    "time",
    "id",
    "client",
    "method",
    "path",
    "protocol",
    "status",
    "bytes",
    "duration",
    "first_token",
    "worker",
    "attempts",
    "reason",
    "prompt_tokens",
    "cached_tokens",
    "output_tokens",
    "error",
];

/// How lines are written.
#[derive(Debug)]
pub(super) struct LineFormat {
    format: LogFormat,
    clock: Clock,
}

impl LineFormat {
    pub(super) const fn new(format: LogFormat, clock: Clock) -> Self {
        Self { format, clock }
    }

    /// Writes one line with its newline.
    pub(super) fn write(&self, record: &AccessRecord, to: &mut Vec<u8>) {
        match self.format {
            LogFormat::Text => self.write_text(record, to),
            LogFormat::Json => self.write_json(record, to),
        }
        to.push(b'\n');
    }

    fn time(&self, record: &AccessRecord, format: &str) -> String {
        let unix = self.clock.unix(record.request.received_at);
        let secs = i64::try_from(unix.as_secs()).unwrap_or(i64::MAX);
        let nanos = i32::try_from(unix.subsec_nanos()).unwrap_or(0);
        jiff::Timestamp::new(secs, nanos).unwrap_or_default().strftime(format).to_string()
    }

    /// What the Common Log Format has comes first, so that tools that read it can read these lines.
    fn write_text(&self, record: &AccessRecord, to: &mut Vec<u8>) {
        let AccessRecord { request, attempts, status, bytes, duration } = record;
        let time = self.time(record, "%d/%b/%Y:%H:%M:%S +0000");
        // Writing to a Vec cannot fail.
        let _ = write!(to, "{} - - [{time}] \"{} ", request.client, request.method);
        escape(request.path.as_bytes(), to);
        let _ = write!(to, " {:?}\" {status} {bytes}", request.version);
        if let Some(id) = &attempts.request_id {
            to.extend_from_slice(b" id=\"");
            escape(id.as_bytes(), to);
            to.push(b'"');
        }
        let _ = write!(to, " duration={:.6}", duration.as_secs_f64());
        if let Some(time) = attempts.first_token {
            let _ = write!(to, " first_token={:.6}", time.as_secs_f64());
        }
        if let Some(worker) = &attempts.worker {
            let _ = write!(to, " worker=\"{worker}\"");
        }
        let _ = write!(to, " attempts={}", attempts.attempts);
        if let Some(reason) = attempts.reason {
            let _ = write!(to, " reason={}", reason.as_str());
        }
        let usage = &attempts.usage;
        for (name, tokens) in [
            ("prompt_tokens", usage.prompt_tokens),
            ("cached_tokens", usage.cached_tokens),
            ("output_tokens", usage.output_tokens),
        ] {
            if let Some(tokens) = tokens {
                let _ = write!(to, " {name}={tokens}");
            }
        }
        if let Some(error) = attempts.error {
            let _ = write!(to, " error={error}");
        }
    }

    fn write_json(&self, record: &AccessRecord, to: &mut Vec<u8>) {
        let AccessRecord { request, attempts, status, bytes, duration } = record;
        let (client, protocol) = (request.client.to_string(), format!("{:?}", request.version));
        let id = attempts.request_id.as_ref().map(|id| String::from_utf8_lossy(id.as_bytes()));
        let time = self.time(record, "%Y-%m-%dT%H:%M:%S.%3fZ");
        let usage = &attempts.usage;
        let cells = [
            CellValue::Word(&time),
            id.as_deref().map_or(CellValue::Unknown, CellValue::text),
            CellValue::Word(&client),
            CellValue::text(request.method.as_str()),
            CellValue::text(&request.path),
            CellValue::Word(&protocol),
            CellValue::Int((*status).into()),
            CellValue::Int(*bytes),
            CellValue::Seconds(to_micros(*duration)),
            CellValue::seconds(attempts.first_token.map(to_micros)),
            attempts.worker.as_deref().map_or(CellValue::Unknown, CellValue::text),
            CellValue::Int(attempts.attempts.into()),
            attempts.reason.map_or(CellValue::Unknown, |reason| CellValue::Word(reason.as_str())),
            CellValue::int(usage.prompt_tokens),
            CellValue::int(usage.cached_tokens),
            CellValue::int(usage.output_tokens),
            attempts.error.map_or(CellValue::Unknown, CellValue::Word),
        ];
        write_row(RecordFormat::Jsonl, NAMES, &cells, to);
    }
}

const fn to_micros(time: Duration) -> Duration {
    Duration::new(time.as_secs(), time.subsec_micros() * 1000)
}

/// Writes text that a client chose, so that it can end neither its field nor the line.
fn escape(text: &[u8], to: &mut Vec<u8>) {
    for byte in text {
        match byte {
            b'"' | b'\\' => to.extend_from_slice(&[b'\\', *byte]),
            0x20..=0x7E => to.push(*byte),
            _ => {
                let _ = write!(to, "\\x{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::{AccessRequest, AttemptSummary};
    use super::*;
    use http::{HeaderValue, Method, Version};
    use router_core::{Reason, Time};

    fn record() -> AccessRecord {
        AccessRecord {
            request: AccessRequest {
                client: "2001:db8::1".parse().unwrap(),
                method: Method::POST,
                path: "/generate".into(),
                version: Version::HTTP_11,
                received_at: Time::ZERO,
            },
            attempts: AttemptSummary {
                request_id: Some(HeaderValue::from_bytes(b"a\"b \\\xFF").unwrap()),
                attempts: 2,
                ..AttemptSummary::default()
            },
            status: 200,
            bytes: 17,
            duration: Duration::from_nanos(1_500_000_999),
        }
    }

    fn line(format: LogFormat, record: &AccessRecord) -> String {
        let mut line = Vec::new();
        LineFormat::new(format, Clock::start()).write(record, &mut line);
        String::from_utf8(line).unwrap()
    }

    #[tokio::test]
    async fn clients_cannot_forge_lines() {
        let text = line(LogFormat::Text, &record());
        assert!(text.starts_with("2001:db8::1 - - ["), "{text}");
        let rest = text.split_once("+0000] ").unwrap().1;
        assert_eq!(
            rest,
            "\"POST /generate HTTP/1.1\" 200 17 id=\"a\\\"b \\\\\\xFF\" duration=1.500001 attempts=2\n"
        );
        let json: serde_json::Value = serde_json::from_str(&line(LogFormat::Json, &record())).unwrap();
        assert_eq!(json["id"], "a\"b \\\u{FFFD}");
        assert_eq!((&json["worker"], &json["error"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    }

    #[tokio::test]
    async fn known_fields_are_in_both_formats() {
        let mut record = record();
        record.attempts.worker = Some("http://w:1@3".into());
        record.attempts.reason = Some(Reason::ALL[0]);
        record.attempts.first_token = Some(Duration::from_millis(250));
        record.attempts.usage.prompt_tokens = Some(7);
        record.attempts.usage.output_tokens = Some(5);
        record.attempts.error = Some("worker_timeout");
        let reason = Reason::ALL[0].as_str();
        let text = line(LogFormat::Text, &record);
        let expected = format!(
            " first_token=0.250000 worker=\"http://w:1@3\" attempts=2 reason={reason} prompt_tokens=7 \
             output_tokens=5 error=worker_timeout\n"
        );
        assert!(text.ends_with(&expected), "{text}");
        let json: serde_json::Value = serde_json::from_str(&line(LogFormat::Json, &record)).unwrap();
        assert_eq!(json["worker"], "http://w:1@3");
        assert_eq!(json["reason"], reason);
        assert_eq!(json["first_token"], 0.25);
        assert_eq!(json["duration"], 1.5);
        assert_eq!((&json["prompt_tokens"], &json["output_tokens"]), (&7.into(), &5.into()));
        let time = json["time"].as_str().unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok() && time.len() == 24, "{time}");
    }
}
