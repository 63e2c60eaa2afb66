//! Observes a streamed response as it passes: counts events, keeps the last one, and parses only where it must.
//!
//! Chunks may be cut anywhere. An event that lies whole in one chunk is not copied; the observer holds a reference to
//! the chunk of the last event, and so keeps at most one chunk alive.
//!
//! The events of `/v1/messages` (`message_start`, `content_block_delta`, ...) spread the counts over several events.

use bytes::Bytes;
use std::collections::BTreeMap;

use router_core::{Route, TokenUsage};

use super::error::EngineError;
use super::events::{EventData, LinePosition, event_end, event_fields};
use super::facts::{ResponseFacts, ResponseSum};
use super::meta_info::ResponseForm;
use super::object::ResponseObject;

/// Longest event that is parsed, in bytes (8 MiB). Longer ones are counted only.
pub const MAX_EVENT_BYTES: usize = 8 << 20;

/// An event that is longer than this may grow to the longest without another copy.
const LONG_EVENT_BYTES: usize = 1 << 20;

/// Most parts of a batch stream that are kept apart. With more parts, token counts are unknown.
const MAX_PARTS: usize = 4096;

/// How many leading events are parsed to find the first one with content. There is at most one per choice
/// (`"role":"assistant"`), and few requests ask for more choices than this.
const MAX_LEADING: u32 = 16;

/// Observes one streamed response.
///
/// Token counts come from the engine where it gives them (`meta_info`, `usage`). Where it does not, `output_tokens`
/// is the number of events from the first one with content (text, reasoning, tool call) to the last, less the last
/// one if that only says why it ended, and `usage.estimated` is set. That is exact for one token per event and one
/// choice; it is too low where an engine sends several tokens at once, and too high by up to one for each further
/// choice (`n`) of a request.
///
/// ```
/// use router_core::Route;
/// use bytes::Bytes;
/// use router_protocol::StreamObserver;
/// let mut observer = StreamObserver::new(Route::Generate);
/// observer.push(&Bytes::from_static(b"data: {\"text\":\"a\",\"meta_info\":{\"completion"));
/// observer.push(&Bytes::from_static(b"_tokens\":1}}\n\ndata: [DONE]\n\n"));
/// let facts = observer.finish();
/// assert_eq!((facts.complete, facts.events, facts.usage.output_tokens), (true, 1, Some(1)));
/// ```
#[derive(Debug)]
pub struct StreamObserver {
    partial: PartialEvent,
    state: StreamState,
    last: Option<Bytes>,
}

/// The bytes of an event whose end has not come yet.
#[derive(Debug, Default)]
struct PartialEvent {
    bytes: Vec<u8>,
    line: LinePosition,
    oversized: bool,
}

impl PartialEvent {
    fn is_open(&self) -> bool {
        self.oversized || !self.bytes.is_empty()
    }

    fn add(&mut self, bytes: &[u8]) {
        if self.oversized || self.bytes.len() + bytes.len() > MAX_EVENT_BYTES {
            self.oversized = true;
            self.bytes = Vec::new();
        } else {
            if self.bytes.len() + bytes.len() > self.bytes.capacity() && self.bytes.len() >= LONG_EVENT_BYTES
            {
                // Memory that is not written to is not taken, and each step of growth would leave the one before behind.
                self.bytes.reserve_exact(MAX_EVENT_BYTES - self.bytes.len());
            }
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// How many bytes it holds, of which the system has given no more than that.
    fn held_bytes(&self) -> usize {
        self.bytes.capacity().min(2 * self.bytes.len())
    }
}

impl StreamObserver {
    /// An observer for a response of `route`.
    pub fn new(route: Route) -> Self {
        Self { partial: PartialEvent::default(), state: StreamState::new(route), last: None }
    }

    /// Observes the next bytes of the body.
    pub fn push(&mut self, chunk: &Bytes) {
        let mut at = 0;
        if self.partial.is_open() {
            match event_end(chunk, self.partial.line) {
                Ok(length) => {
                    self.partial.add(&chunk[..length]);
                    self.end_partial();
                    at = length;
                }
                Err(line) => {
                    self.partial.add(chunk);
                    self.partial.line = line;
                    return;
                }
            }
        }
        let mut last = LastEvent::Unchanged;
        loop {
            match event_end(&chunk[at..], LinePosition::Start) {
                Ok(length) => {
                    match self.state.event(&chunk[at..at + length]) {
                        LastEvent::Unchanged => {}
                        LastEvent::At(r) => last = LastEvent::At(at + r.start..at + r.end),
                        joined => last = joined,
                    }
                    at += length;
                }
                Err(line) => {
                    self.partial.line = line;
                    self.partial.add(&chunk[at..]);
                    break;
                }
            }
        }
        self.set_last(last, chunk);
    }

    /// Data events seen so far, `[DONE]` excluded.
    pub fn events(&self) -> u32 {
        self.state.events
    }

    /// How many bytes it holds: an event whose end has not come, the last event, and the parts of a batch.
    pub fn held_bytes(&self) -> usize {
        let parts = match &self.state.batch {
            BatchState::Parts { parts, .. } => parts.len(),
            BatchState::Unknown | BatchState::Single => 0,
        };
        let last = self.last.as_ref().map_or(0, Bytes::len);
        self.partial.held_bytes() + last + parts * size_of::<ResponseObject>()
    }

    /// The body has ended, well or not.
    pub fn finish(mut self) -> ResponseFacts {
        // Some servers leave out the blank line after the last event, which then has no content anyway.
        let trailing = self.partial.bytes.trim_ascii_end();
        if matches!(trailing, b"data: [DONE]" | b"data:[DONE]") {
            self.state.done = true;
        }
        self.state.facts(self.last.as_deref())
    }

    fn end_partial(&mut self) {
        let partial = std::mem::take(&mut self.partial);
        if partial.oversized {
            self.state.oversized();
            self.last = None;
            return;
        }
        let event = Bytes::from(partial.bytes);
        let last = self.state.event(&event);
        self.set_last(last, &event);
    }

    fn set_last(&mut self, last: LastEvent, of: &Bytes) {
        match last {
            LastEvent::Unchanged => {}
            LastEvent::At(range) => self.last = Some(of.slice(range)),
            LastEvent::Joined(bytes) => self.last = Some(bytes),
        }
    }
}

/// Which event is the last one with data after an event has been read.
enum LastEvent {
    /// Still the one before this.
    Unchanged,
    /// This one, with its data at this place.
    At(std::ops::Range<usize>),
    /// This one, with its data joined from several lines.
    Joined(Bytes),
}

/// What is known from the events so far.
#[derive(Debug)]
struct StreamState {
    route: Route,
    events: u32,
    /// Events from the first one with content on.
    content: u32,
    /// Events before the first one with content.
    leading: u32,
    /// Whether `[DONE]` came.
    done: bool,
    error: Option<EngineError>,
    /// Counts that came before the last event, in streams that spread them over several (`/v1/messages`).
    usage: TokenUsage,
    batch: BatchState,
}

/// Whether a `/generate` stream carries one response or several, each with its `index`.
#[derive(Debug)]
enum BatchState {
    /// No event yet.
    Unknown,
    Single,
    Parts {
        /// The last event of each part, by index.
        parts: BTreeMap<u32, ResponseObject>,
        /// Whether a part had to be left out.
        overflow: bool,
    },
}

impl StreamState {
    fn new(route: Route) -> Self {
        Self {
            route,
            events: 0,
            content: 0,
            leading: 0,
            done: false,
            error: None,
            usage: TokenUsage::default(),
            batch: if route == Route::Generate { BatchState::Unknown } else { BatchState::Single },
        }
    }

    fn event(&mut self, event: &[u8]) -> LastEvent {
        let fields = event_fields(event);
        match fields.data {
            EventData::Absent => LastEvent::Unchanged,
            EventData::Line(range) => {
                let data = event.get(range.clone()).unwrap_or_default();
                if self.data(data, fields.name) { LastEvent::At(range) } else { LastEvent::Unchanged }
            }
            EventData::Joined(data) => {
                if self.data(&data, fields.name) {
                    LastEvent::Joined(Bytes::from(data))
                } else {
                    LastEvent::Unchanged
                }
            }
        }
    }

    /// Reads one event's data; whether it becomes the last event.
    fn data(&mut self, data: &[u8], name: Option<&[u8]>) -> bool {
        if data.is_empty() {
            return false;
        }
        if data.trim_ascii() == b"[DONE]" {
            self.done = true;
            return false;
        }
        self.events = self.events.saturating_add(1);
        let suspect = data.starts_with(b"{\"error\"") || name == Some(b"error");
        if suspect && self.is_error(data) {
            return false;
        }
        self.count_content(data, name);
        if self.route == Route::Generate {
            return self.is_single(data);
        }
        true
    }

    fn is_error(&mut self, data: &[u8]) -> bool {
        let error = ResponseObject::parse(data).and_then(|object| object.error);
        let found = error.is_some();
        if self.error.is_none() {
            self.error = error.map(|e| *e);
        }
        found
    }

    fn count_content(&mut self, data: &[u8], name: Option<&[u8]>) {
        match (self.route, name) {
            (Route::Generate, _) => {}
            (_, Some(name)) => {
                let is_content = name.ends_with(b".delta") || name == b"content_block_delta";
                self.content = self.content.saturating_add(u32::from(is_content));
                if matches!(name, b"message_start" | b"message_delta") {
                    self.add_counts(data);
                }
            }
            (_, None) if self.content > 0 || self.leading >= MAX_LEADING => {
                self.content = self.content.saturating_add(1);
            }
            (_, None) => {
                self.leading += 1;
                let is_content = ResponseObject::parse(data).is_none_or(|object| object.choices.content);
                self.content = u32::from(is_content);
            }
        }
    }

    fn add_counts(&mut self, data: &[u8]) {
        if let Some(new) = ResponseObject::parse(data).and_then(|object| object.usage) {
            self.usage = or_usage(&new, &self.usage);
        }
    }

    /// Whether this event of a `/generate` stream belongs to a single response. The event of one of several is parsed at
    /// once, so that only its facts are kept.
    fn is_single(&mut self, data: &[u8]) -> bool {
        if matches!(self.batch, BatchState::Unknown) {
            let indexed = ResponseObject::parse(data).is_some_and(|object| object.index.is_some());
            self.batch = if indexed {
                BatchState::Parts { parts: BTreeMap::new(), overflow: false }
            } else {
                BatchState::Single
            };
        }
        let BatchState::Parts { parts, overflow } = &mut self.batch else { return true };
        let Some(object) = ResponseObject::parse(data) else { return false };
        let index = object.index.unwrap_or(0);
        if parts.len() >= MAX_PARTS && !parts.contains_key(&index) {
            *overflow = true;
            return false;
        }
        parts.insert(index, object);
        false
    }

    fn oversized(&mut self) {
        self.events = self.events.saturating_add(1);
        self.content = self.content.saturating_add(u32::from(self.content > 0));
    }

    fn facts(self, last: Option<&[u8]>) -> ResponseFacts {
        let mut sum = ResponseSum::new(ResponseForm::Streamed);
        let mut is_final = false;
        let mut ends_without_content = false;
        match self.batch {
            BatchState::Parts { parts, overflow } => {
                is_final = !overflow && parts.values().all(ResponseObject::is_final);
                parts.into_values().for_each(|mut object| sum.add(&mut object));
                if overflow {
                    sum.facts.usage = TokenUsage::default();
                }
            }
            _ => {
                if let Some(mut object) = last.and_then(ResponseObject::parse) {
                    is_final = object.is_final();
                    ends_without_content = object.choices.count.is_some() && !object.choices.content;
                    sum.add(&mut object);
                }
            }
        }
        let mut facts = sum.facts;
        facts.usage = or_usage(&facts.usage, &self.usage);
        let tokens = self.content.saturating_sub(u32::from(ends_without_content));
        if facts.usage.output_tokens.is_none() && tokens > 0 {
            facts.usage.output_tokens = Some(tokens);
            facts.usage.estimated = true;
        }
        facts.error = self.error.or(facts.error);
        facts.complete = self.done || is_final;
        facts.events = self.events;
        facts
    }
}

/// The counts of the first, and where it has none those of the second.
fn or_usage(first: &TokenUsage, second: &TokenUsage) -> TokenUsage {
    TokenUsage {
        prompt_tokens: first.prompt_tokens.or(second.prompt_tokens),
        output_tokens: first.output_tokens.or(second.output_tokens),
        cached_tokens: first.cached_tokens.or(second.cached_tokens),
        estimated: first.estimated || second.estimated,
    }
}
