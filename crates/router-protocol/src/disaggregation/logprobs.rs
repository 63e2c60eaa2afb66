//! Copies the logprobs of a prompt from the prefill's response into the decode's.
//!
//! A decode server of SGLang does not compute the prompt, so it leaves `input_token_logprobs` empty where one server alone
//! would fill them in. The values are copied byte by byte.

use std::ops::Range;

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::json::{JsonReader, Parse};
use crate::response::events::{EventData, LinePosition, event_end, event_fields};

/// The members of `meta_info` that only the prefill server knows.
const NAMES: [&str; 3] = ["input_token_logprobs", "input_top_logprobs", "input_token_ids_logprobs"];

/// Longest event that is rewritten, in bytes (64 MiB); a longer one passes unchanged.
const MAX_REWRITTEN_EVENT: usize = 64 << 20;

/// The values of [`NAMES`] in one part of a response, where it has them.
type PartLogprobs = [Option<Bytes>; NAMES.len()];

/// The logprobs of the prompts in a prefill's response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputLogprobs {
    /// By position in the batch.
    parts: Vec<PartLogprobs>,
}

impl InputLogprobs {
    /// Those in a response that was not streamed.
    pub fn from_response(body: &Bytes) -> Self {
        let mut all = Self::default();
        let _ = each_part(body, &mut |place, part| {
            all.take(body, place, &part);
        });
        all
    }

    /// Those in a stream of events.
    pub fn from_stream(body: &Bytes) -> Self {
        let mut all = Self::default();
        let mut at = 0;
        while let Ok(length) = event_end(body.get(at..).unwrap_or_default(), LinePosition::Start) {
            let event = body.slice(at..at + length);
            if let EventData::Line(range) = event_fields(&event).data {
                let data = event.slice(range);
                let _ = each_part(&data, &mut |place, part| all.take(&data, place, &part));
            }
            at += length;
        }
        all
    }

    /// Whether there is nothing to merge.
    pub fn is_empty(&self) -> bool {
        self.parts.iter().flatten().all(Option::is_none)
    }

    fn take(&mut self, from: &Bytes, place: usize, part: &PartSpan) {
        if place >= super::bootstrap::MAX_ROOMS as usize {
            return;
        }
        if self.parts.len() <= place {
            self.parts.resize_with(place + 1, PartLogprobs::default);
        }
        for (kept, found) in self.parts[place].iter_mut().zip(&part.values) {
            if let Some(range) = found
                && !is_empty_value(&from[range.clone()])
            {
                *kept = Some(from.slice(range.clone()));
            }
        }
    }

    /// A decode's response (a whole one, or one event's data) with the values filled in; `None` when nothing is to fill in.
    fn filled(&self, json: &[u8]) -> Option<Bytes> {
        let mut edits: Vec<(Range<usize>, BodyEdit<'_>)> = Vec::new();
        each_part(json, &mut |place, part| {
            let Some(values) = self.parts.get(place) else { return };
            for ((value, found), name) in values.iter().zip(&part.values).zip(NAMES) {
                match (value, found) {
                    (Some(value), Some(range)) if is_empty_value(&json[range.clone()]) => {
                        edits.push((range.clone(), BodyEdit::Value(value)));
                    }
                    (Some(value), None) => {
                        let comma = if part.has_members { "," } else { "" };
                        edits.push((part.start..part.start, BodyEdit::Member(name, value, comma)));
                    }
                    _ => {}
                }
            }
        })
        .ok()?;
        if edits.is_empty() {
            return None;
        }
        edits.sort_by_key(|(range, _)| (range.start, range.end));
        let added: usize = edits.iter().map(|(_, edit)| edit.len()).sum();
        let mut out = BytesMut::with_capacity(json.len() + added);
        let mut at = 0;
        for (range, edit) in edits {
            out.put_slice(&json[at..range.start]);
            edit.write(&mut out);
            at = range.end;
        }
        out.put_slice(&json[at..]);
        Some(out.freeze())
    }
}

enum BodyEdit<'v> {
    /// Replaces an empty value.
    Value(&'v Bytes),
    /// A new member, with what separates it from the next one.
    Member(&'static str, &'v Bytes, &'static str),
}

impl BodyEdit<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Value(value) => value.len(),
            Self::Member(name, value, comma) => name.len() + value.len() + comma.len() + 3,
        }
    }

    fn write(&self, out: &mut BytesMut) {
        match self {
            Self::Value(value) => out.put_slice(value),
            Self::Member(name, value, comma) => {
                out.put_u8(b'"');
                out.put_slice(name.as_bytes());
                out.put_slice(b"\":");
                out.put_slice(value);
                out.put_slice(comma.as_bytes());
            }
        }
    }
}

/// Byte ranges in the `meta_info` of one part.
#[derive(Default)]
struct PartSpan {
    /// Offset after its opening brace.
    start: usize,
    has_members: bool,
    values: [Option<Range<usize>>; NAMES.len()],
}

fn is_empty_value(raw: &[u8]) -> bool {
    raw == b"null" || (raw.starts_with(b"[") && raw[1..raw.len() - 1].iter().all(u8::is_ascii_whitespace))
}

/// Calls `each` with the position in the batch and the `meta_info` of every part of a response.
fn each_part(json: &[u8], each: &mut impl FnMut(usize, PartSpan)) -> Parse<()> {
    let mut r = JsonReader::new(json);
    if r.peek()? != b'[' {
        return part(&mut r, 0, each);
    }
    let mut place = 0;
    r.elements(|r| {
        part(r, place, each)?;
        place += 1;
        Ok(())
    })
}

fn part(r: &mut JsonReader<'_>, place: usize, each: &mut impl FnMut(usize, PartSpan)) -> Parse<()> {
    let mut index = None;
    let mut found = None;
    r.fields(|key, r| {
        match key {
            b"index" => index = r.count()?,
            b"meta_info" if r.peek()? == b'{' => found = Some(meta_info(r)?),
            _ => r.skip()?,
        }
        Ok(())
    })?;
    if let Some(found) = found {
        each(index.map_or(place, |i| i as usize), found);
    }
    Ok(())
}

fn meta_info(r: &mut JsonReader<'_>) -> Parse<PartSpan> {
    let mut place = PartSpan { start: r.offset() + 1, ..PartSpan::default() };
    r.fields(|key, r| {
        place.has_members = true;
        r.peek()?;
        let start = r.offset();
        r.skip()?;
        if let Some(n) = NAMES.iter().position(|name| name.as_bytes() == key) {
            place.values[n] = Some(start..r.offset());
        }
        Ok(())
    })?;
    Ok(place)
}

/// Fills the prompt's logprobs into a decode's response on its way to the client.
///
/// ```
/// use bytes::Bytes;
/// use router_protocol::disaggregation::{InputLogprobs, LogprobsMerger};
/// let prefill = Bytes::from_static(br#"{"meta_info":{"input_token_logprobs":[[null,204,null]]}}"#);
/// let mut merger = LogprobsMerger::for_response(InputLogprobs::from_response(&prefill));
/// assert!(merger.push(br#"{"text":"a","meta_info":{"input_token"#).is_empty());
/// merger.push(br#"_logprobs":[]}}"#);
/// assert_eq!(merger.finish(), r#"{"text":"a","meta_info":{"input_token_logprobs":[[null,204,null]]}}"#);
/// ```
#[derive(Debug)]
pub struct LogprobsMerger {
    logprobs: InputLogprobs,
    form: MergerForm,
    held: BytesMut,
    line: LinePosition,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum MergerForm {
    Whole,
    Events,
}

impl LogprobsMerger {
    /// For a response that is not streamed. It is held back to its end.
    pub fn for_response(logprobs: InputLogprobs) -> Self {
        Self { logprobs, form: MergerForm::Whole, held: BytesMut::new(), line: LinePosition::Start }
    }

    /// For a stream of events. Each event is held back to its own end and no longer.
    pub fn for_stream(logprobs: InputLogprobs) -> Self {
        Self { form: MergerForm::Events, ..Self::for_response(logprobs) }
    }

    /// Takes the next bytes and returns those that may go to the client.
    pub fn push(&mut self, bytes: &[u8]) -> Bytes {
        let mut out = BytesMut::new();
        let mut rest = bytes;
        while self.form == MergerForm::Events {
            match event_end(rest, self.line) {
                Ok(length) => {
                    self.held.put_slice(&rest[..length]);
                    rest = &rest[length..];
                    self.line = LinePosition::Start;
                    let event = self.held.split().freeze();
                    self.event(&event, &mut out);
                }
                Err(line) => {
                    self.line = line;
                    break;
                }
            }
        }
        self.held.put_slice(rest);
        if self.held.len() > MAX_REWRITTEN_EVENT {
            out.put_slice(&self.held.split());
        }
        out.freeze()
    }

    /// Returns what was held back, when the response has ended, complete or not.
    pub fn finish(&mut self) -> Bytes {
        let held = self.held.split().freeze();
        match self.form {
            MergerForm::Whole => self.logprobs.filled(&held).unwrap_or(held),
            MergerForm::Events => held,
        }
    }

    fn event(&self, event: &Bytes, out: &mut BytesMut) {
        if let EventData::Line(range) = event_fields(event).data
            && let Some(data) = self.logprobs.filled(&event[range.clone()])
        {
            out.put_slice(&event[..range.start]);
            out.put_slice(&data);
            out.put_slice(&event[range.end..]);
        } else {
            out.put_slice(event);
        }
    }
}
