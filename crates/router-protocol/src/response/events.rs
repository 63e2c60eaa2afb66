//! The grammar of server-sent events: where one ends, and what its lines say.
//!
//! Lines end in `\n` or `\r\n`. A lone `\r`, which the standard also allows, is not taken for a line end: no engine
//! sends it, and at the end of a chunk it looks like half a `\r\n`.

use std::ops::Range;

use memchr::memchr;

/// Where in a line the bytes seen so far end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum LinePosition {
    /// At its start.
    #[default]
    Start,
    /// After a `\r` that stands first in it.
    Return,
    /// Inside it.
    Inside,
}

/// The length up to and including the blank line that ends the event, or where in a line the bytes end without one.
/// A blank line at the start ends an event without content.
pub(crate) fn event_end(bytes: &[u8], mut line: LinePosition) -> Result<usize, LinePosition> {
    let mut at = 0;
    loop {
        match (line, bytes.get(at)) {
            (LinePosition::Inside, _) => match memchr(b'\n', bytes.get(at..).unwrap_or_default()) {
                Some(i) => {
                    at += i + 1;
                    line = LinePosition::Start;
                }
                None => return Err(LinePosition::Inside),
            },
            (_, None) => return Err(line),
            (_, Some(b'\n')) => return Ok(at + 1),
            (LinePosition::Start, Some(b'\r')) => {
                at += 1;
                line = LinePosition::Return;
            }
            _ => line = LinePosition::Inside,
        }
    }
}

/// The fields of one event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct EventFields<'e> {
    /// The `event:` field.
    pub(crate) name: Option<&'e [u8]>,
    pub(crate) data: EventData,
}

/// The `data:` field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum EventData {
    /// There is none: a comment, a blank line.
    Absent,
    /// One line, where it stands in the event.
    Line(Range<usize>),
    /// Several lines, joined by `\n` as the standard says.
    Joined(Vec<u8>),
}

/// Reads the fields of an event. The usual event, a single `data:` line, costs one search and no copy.
pub(crate) fn event_fields(event: &[u8]) -> EventFields<'_> {
    if let Some(b"data:") = event.get(..5)
        && memchr(b'\n', event).is_some_and(|end| end + 2 >= event.len())
    {
        return EventFields { name: None, data: EventData::Line(value_range(event, 0, 5)) };
    }
    fields_by_line(event)
}

fn fields_by_line(event: &[u8]) -> EventFields<'_> {
    let mut name = None;
    let mut data = EventData::Absent;
    let mut start = 0;
    while start < event.len() {
        let rest = event.get(start..).unwrap_or_default();
        let length = memchr(b'\n', rest).map_or(rest.len(), |i| i + 1);
        let line = rest.get(..length).unwrap_or_default();
        if line.starts_with(b"data:") {
            let range = value_range(event.get(..start + length).unwrap_or_default(), start, 5);
            data = join(event, data, range);
        } else if line.starts_with(b"event:") {
            name = line.get(value_range(line, 0, 6));
        }
        start += length;
    }
    EventFields { name, data }
}

/// The value of the field that starts at `line`, whose name and colon take `prefix` bytes: one leading space and the
/// line ends do not belong to it.
fn value_range(bytes: &[u8], line: usize, prefix: usize) -> Range<usize> {
    let mut start = line + prefix;
    if bytes.get(start) == Some(&b' ') {
        start += 1;
    }
    let mut end = bytes.len();
    while end > start && matches!(bytes.get(end - 1), Some(b'\n' | b'\r')) {
        end -= 1;
    }
    start..end.max(start)
}

fn join(event: &[u8], data: EventData, more: Range<usize>) -> EventData {
    let bytes = |range: Range<usize>| event.get(range).unwrap_or_default();
    let mut joined = match data {
        EventData::Absent => return EventData::Line(more),
        EventData::Line(first) => bytes(first).to_vec(),
        EventData::Joined(joined) => joined,
    };
    joined.push(b'\n');
    joined.extend_from_slice(bytes(more));
    EventData::Joined(joined)
}
