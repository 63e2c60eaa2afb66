//! Watching a streamed answer go by: counts events, remembers the last one, and reads only what it must.
//!
//! Chunks may be cut anywhere. An event that lies whole in one chunk is not copied; the watch holds a reference to
//! the chunk of the last event, and so keeps at most one chunk alive.

use bytes::Bytes;
use router_core::{Route, Usage};

use crate::response::events::{Data, Line, event_end, parts};
use crate::response::meta_info::Delivery;
use crate::response::object::Answer;
use crate::response::{EngineError, ResponseFacts, Sum};

/// Events longer than this are counted and not read: what they say stays unknown. 8 MiB.
pub const MAX_EVENT_BYTES: usize = 8 << 20;

/// Most parts of a batch stream that are told apart. Beyond it, token counts are unknown.
const MAX_PARTS: usize = 4096;

/// How many leading events are looked into for the first one with content. They are one per answer at most
/// (`"role":"assistant"`), and few ask for more answers than this.
const MAX_LEADING: u32 = 16;

/// Follows one streamed answer.
///
/// Token counts come from the engine where it gives them (`meta_info`, `usage`). Where it does not, `output_tokens`
/// is the number of events from the first one with content (text, reasoning, tool call) to the last, less the last
/// one if that only says why it ended, and `usage.estimated` is set. That is exact for one token per event and one
/// answer; it is too low where an engine sends several tokens at once, and too high by up to one for each further
/// answer (`n`) of a request.
///
/// ```
/// use router_core::Route;
/// use bytes::Bytes;
/// use router_protocol::StreamObserver;
/// let mut watch = StreamObserver::new(Route::Generate);
/// watch.push(&Bytes::from_static(b"data: {\"text\":\"a\",\"meta_info\":{\"completion"));
/// watch.push(&Bytes::from_static(b"_tokens\":1}}\n\ndata: [DONE]\n\n"));
/// let facts = watch.finish();
/// assert_eq!((facts.complete, facts.events, facts.usage.output_tokens), (true, 1, Some(1)));
/// ```
#[derive(Debug)]
pub struct StreamObserver {
    frame: Frame,
    seen: Seen,
    last: Option<Bytes>,
}

/// The bytes of an event whose end has not come yet.
#[derive(Debug, Default)]
struct Frame {
    partial: Vec<u8>,
    line: Line,
    oversized: bool,
}

impl Frame {
    fn is_open(&self) -> bool {
        self.oversized || !self.partial.is_empty()
    }

    fn add(&mut self, bytes: &[u8]) {
        if self.oversized || self.partial.len() + bytes.len() > MAX_EVENT_BYTES {
            self.oversized = true;
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(bytes);
        }
    }
}

impl StreamObserver {
    /// A watch for an answer to `route`.
    pub fn new(route: Route) -> Self {
        Self { frame: Frame::default(), seen: Seen::new(route), last: None }
    }

    /// Takes note of the next bytes of the body.
    pub fn push(&mut self, chunk: &Bytes) {
        let mut at = 0;
        if self.frame.is_open() {
            match event_end(chunk, self.frame.line) {
                Ok(length) => {
                    self.frame.add(&chunk[..length]);
                    self.close_frame();
                    at = length;
                }
                Err(line) => {
                    self.frame.add(chunk);
                    self.frame.line = line;
                    return;
                }
            }
        }
        let mut last = Keep::Before;
        loop {
            match event_end(&chunk[at..], Line::Start) {
                Ok(length) => {
                    match self.seen.event(&chunk[at..at + length]) {
                        Keep::Before => {}
                        Keep::Range(r) => last = Keep::Range(at + r.start..at + r.end),
                        keep => last = keep,
                    }
                    at += length;
                }
                Err(line) => {
                    self.frame.line = line;
                    self.frame.add(&chunk[at..]);
                    break;
                }
            }
        }
        self.keep(last, chunk);
    }

    /// Data events seen so far, `[DONE]` excluded.
    pub fn events(&self) -> u32 {
        self.seen.events
    }

    /// The body has ended, well or not.
    pub fn finish(mut self) -> ResponseFacts {
        // Some servers leave out the blank line after the last event, which then has no content anyway.
        let trailing = self.frame.partial.trim_ascii_end();
        if matches!(trailing, b"data: [DONE]" | b"data:[DONE]") {
            self.seen.done = true;
        }
        self.seen.facts(self.last.as_deref())
    }

    fn close_frame(&mut self) {
        let frame = std::mem::take(&mut self.frame);
        if frame.oversized {
            self.seen.oversized();
            self.last = None;
            return;
        }
        let event = Bytes::from(frame.partial);
        let keep = self.seen.event(&event);
        self.keep(keep, &event);
    }

    fn keep(&mut self, keep: Keep, of: &Bytes) {
        match keep {
            Keep::Before => {}
            Keep::Range(range) => self.last = Some(of.slice(range)),
            Keep::Owned(bytes) => self.last = Some(bytes),
        }
    }
}

/// Which event to remember.
enum Keep {
    /// The one before this.
    Before,
    /// This one, whose data stands there.
    Range(std::ops::Range<usize>),
    /// This one, put together from several lines.
    Owned(Bytes),
}

/// What the events so far have shown.
#[derive(Debug)]
struct Seen {
    route: Route,
    events: u32,
    content: u32,
    leading: u32,
    done: bool,
    error: Option<EngineError>,
    /// Counts that came before the last event, in streams that spread them over several (`/v1/messages`).
    usage: Usage,
    batch: Batch,
}

/// Whether a `/generate` stream carries one answer or several, told apart by `index`.
#[derive(Debug)]
enum Batch {
    Unknown,
    No,
    Parts {
        /// The last event of each part, by index.
        parts: Vec<Option<Answer>>,
        /// Whether a part had to be left out.
        overflow: bool,
    },
}

impl Seen {
    fn new(route: Route) -> Self {
        Self {
            route,
            events: 0,
            content: 0,
            leading: 0,
            done: false,
            error: None,
            usage: Usage::default(),
            batch: if route == Route::Generate { Batch::Unknown } else { Batch::No },
        }
    }

    fn event(&mut self, event: &[u8]) -> Keep {
        let parts = parts(event);
        match parts.data {
            Data::Absent => Keep::Before,
            Data::Line(range) => {
                let data = event.get(range.clone()).unwrap_or_default();
                if self.data(data, parts.name) { Keep::Range(range) } else { Keep::Before }
            }
            Data::Joined(data) => {
                if self.data(&data, parts.name) {
                    Keep::Owned(Bytes::from(data))
                } else {
                    Keep::Before
                }
            }
        }
    }

    /// Takes note of one event's data; whether to remember it as the last.
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
        let error = Answer::parse(data).and_then(|a| a.error);
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
                let is_content = Answer::parse(data).is_none_or(|a| a.choices.content);
                self.content = u32::from(is_content);
            }
        }
    }

    fn add_counts(&mut self, data: &[u8]) {
        if let Some(new) = Answer::parse(data).and_then(|a| a.usage) {
            self.usage = or(&new, &self.usage);
        }
    }

    /// Whether this event of a `/generate` stream is one of a single answer. One part of several is read at once,
    /// so that no more than its facts must be kept.
    fn is_single(&mut self, data: &[u8]) -> bool {
        if matches!(self.batch, Batch::Unknown) {
            let indexed = Answer::parse(data).is_some_and(|a| a.index.is_some());
            self.batch =
                if indexed { Batch::Parts { parts: Vec::new(), overflow: false } } else { Batch::No };
        }
        let Batch::Parts { parts, overflow } = &mut self.batch else { return true };
        let Some(answer) = Answer::parse(data) else { return false };
        let index = answer.index.and_then(|i| usize::try_from(i).ok()).unwrap_or(0);
        if index >= MAX_PARTS {
            *overflow = true;
            return false;
        }
        if parts.len() <= index {
            parts.resize_with(index + 1, || None);
        }
        parts[index] = Some(answer);
        false
    }

    fn oversized(&mut self) {
        self.events = self.events.saturating_add(1);
        self.content = self.content.saturating_add(u32::from(self.content > 0));
    }

    fn facts(self, last: Option<&[u8]>) -> ResponseFacts {
        let mut sum = Sum::new(Delivery::Streamed);
        let mut is_final = false;
        let mut idle_end = false;
        match self.batch {
            Batch::Parts { parts, overflow } => {
                is_final = !overflow && parts.iter().flatten().all(Answer::is_final);
                parts.into_iter().flatten().for_each(|mut answer| sum.add(&mut answer));
                if overflow {
                    sum.facts.usage = Usage::default();
                }
            }
            _ => {
                if let Some(mut answer) = last.and_then(Answer::parse) {
                    is_final = answer.is_final();
                    idle_end = answer.choices.count.is_some() && !answer.choices.content;
                    sum.add(&mut answer);
                }
            }
        }
        let mut facts = sum.facts;
        facts.usage = or(&facts.usage, &self.usage);
        let tokens = self.content.saturating_sub(u32::from(idle_end));
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

/// What the first says, and where it is silent the second.
fn or(first: &Usage, second: &Usage) -> Usage {
    Usage {
        prompt_tokens: first.prompt_tokens.or(second.prompt_tokens),
        output_tokens: first.output_tokens.or(second.output_tokens),
        cached_tokens: first.cached_tokens.or(second.cached_tokens),
        estimated: first.estimated || second.estimated,
    }
}
