//! One JSON object of a response: a whole body, one element of a batch, or the data of one stream event.

use std::borrow::Cow;

use router_core::TokenUsage;

use super::error::EngineError;
use super::finish::FinishState;
use super::meta_info::MetaInfo;
use super::usage::read_usage;
use crate::json::{JsonReader, Parse};

/// The longest id of a stored response, in bytes. Those of SGLang and vLLM have 37.
const MAX_STORED_ID: usize = 256;

/// What one object says.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct ResponseObject {
    pub(super) meta: Option<MetaInfo>,
    pub(super) usage: Option<TokenUsage>,
    pub(super) error: Option<Box<EngineError>>,
    /// `index` of the batch element, in a `/generate` stream.
    pub(super) index: Option<u32>,
    pub(super) choices: ChoicesSummary,
    /// The id by which the engine keeps a response of `/v1/responses`.
    pub(super) stored_id: Option<Box<str>>,
    /// Whether `type` says that this is the last event of a `/v1/responses` or `/v1/messages` stream.
    pub(super) closes: bool,
}

/// The elements of `choices`, counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct ChoicesSummary {
    /// How many; `None` when there is no list.
    pub(super) count: Option<u32>,
    /// How many have ended.
    pub(super) ended: u32,
    /// How many were aborted.
    pub(super) aborted: u32,
    /// Whether any carries generated text, reasoning or a tool call.
    pub(super) content: bool,
}

/// Members of an error body that is not under `error`. Which of them form an error is known at the end of the object.
#[derive(Default)]
struct FlatError<'b> {
    object_is_error: bool,
    detail: Option<Cow<'b, str>>,
    error: EngineError,
}

impl ResponseObject {
    /// Consumes a value into a new object, in place, because it is large. Any other value leaves it empty.
    pub(super) fn read_into(&mut self, r: &mut JsonReader<'_>) -> Parse<()> {
        let mut flat = FlatError::default();
        r.fields(|key, r| self.member(key, r, &mut flat))?;
        self.settle_error(flat);
        Ok(())
    }

    /// Reads all of `bytes` as one object.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut r = JsonReader::new(bytes);
        if r.peek() != Ok(b'{') {
            return None;
        }
        let mut object = Self::default();
        object.read_into(&mut r).ok()?;
        r.at_end().then_some(object)
    }

    fn member<'b>(&mut self, key: &[u8], r: &mut JsonReader<'b>, flat: &mut FlatError<'b>) -> Parse<()> {
        match key {
            b"meta_info" => MetaInfo::read(r, &mut self.meta)?,
            b"usage" => self.usage = read_usage(r)?.or(self.usage),
            b"choices" => self.choices = ChoicesSummary::read(r)?,
            b"index" => self.index = r.count()?,
            b"id" => self.read_stored_id(r)?,
            b"error" => self.error = EngineError::read(r)?,
            b"object" => flat.object_is_error = r.raw()? == br#""error""#,
            b"type" if r.peek()? == b'"' => self.event_type(r, flat)?,
            b"message" if r.peek()? == b'{' => self.nested(r)?,
            b"message" => flat.error.read_message(r)?,
            b"code" => flat.error.status = EngineError::read_status(r)?,
            b"detail" => flat.detail = r.text()?,
            b"response" => self.nested(r)?,
            _ => r.skip()?,
        }
        Ok(())
    }

    /// Reads `type`: the last events of `/v1/responses` and `/v1/messages` are known by it, and in an error body it is
    /// the kind of the error.
    fn event_type<'b>(&mut self, r: &mut JsonReader<'b>, flat: &mut FlatError<'b>) -> Parse<()> {
        let (name, _) = r.string()?;
        self.closes = matches!(
            name,
            b"response.completed" | b"response.incomplete" | b"response.failed" | b"message_stop"
        );
        flat.error.kind = std::str::from_utf8(name).ok().filter(|n| !n.is_empty()).map(Into::into);
        Ok(())
    }

    /// Reads `response` of a `/v1/responses` event or `message` of a `/v1/messages` event, which hold the token counts
    /// and the error.
    fn nested(&mut self, r: &mut JsonReader<'_>) -> Parse<()> {
        r.fields(|key, r| {
            match key {
                b"usage" => self.usage = read_usage(r)?.or(self.usage),
                b"error" => self.error = EngineError::read(r)?,
                b"id" => self.read_stored_id(r)?,
                _ => r.skip()?,
            }
            Ok(())
        })
    }

    /// Reads the id of an object; ids of stored responses begin with `resp_`.
    fn read_stored_id(&mut self, r: &mut JsonReader<'_>) -> Parse<()> {
        let raw = r.raw()?;
        let id = raw.strip_prefix(b"\"").and_then(|raw| raw.strip_suffix(b"\""));
        if let Some(id) = id.filter(|id| id.starts_with(b"resp_") && id.len() <= MAX_STORED_ID) {
            self.stored_id = std::str::from_utf8(id).ok().map(Into::into);
        }
        Ok(())
    }

    /// Older versions of SGLang send flat errors (`{"object":"error","message":..}`), FastAPI itself sends `detail`.
    fn settle_error(&mut self, flat: FlatError<'_>) {
        if self.error.is_some() {
            return;
        }
        if flat.object_is_error {
            self.error = Some(Box::new(flat.error));
        } else if let Some(detail) = flat.detail
            && self.meta.is_none()
            && self.usage.is_none()
            && self.choices.count.is_none()
        {
            self.error = Some(Box::new(EngineError::with_message(&detail)));
        }
    }

    /// Whether it says that the response, or this part of it, has ended.
    pub(super) fn is_final(&self) -> bool {
        let meta_ended = self.meta.as_ref().is_some_and(|m| m.finish != FinishState::Unfinished);
        let choices_ended = match self.choices.count {
            Some(0) => self.usage.is_some(),
            Some(n) => self.choices.ended == n,
            None => false,
        };
        self.closes || meta_ended || choices_ended
    }

    /// Whether it says that the request was aborted.
    pub(super) fn is_aborted(&self) -> bool {
        let meta_aborted = self.meta.as_ref().is_some_and(|m| matches!(m.finish, FinishState::Aborted(_)));
        meta_aborted || self.choices.aborted > 0
    }

    /// Takes the error out of it: the one under `error`, else the one that the engine aborted with.
    pub(super) fn take_error(&mut self) -> Option<EngineError> {
        if let Some(error) = self.error.take() {
            return Some(*error);
        }
        match self.meta.as_mut().map(|m| std::mem::take(&mut m.finish)) {
            Some(FinishState::Aborted(error)) => error.map(|e| *e),
            _ => None,
        }
    }

    /// Token counts of `meta_info`, else those of `usage`.
    pub(super) fn token_usage(&self) -> Option<TokenUsage> {
        self.meta.as_ref().map(|m| m.usage).or(self.usage)
    }
}

impl ChoicesSummary {
    fn read(r: &mut JsonReader<'_>) -> Parse<Self> {
        let mut choices = Self::default();
        if r.peek()? != b'[' {
            r.skip()?;
            return Ok(choices);
        }
        let mut count = 0u32;
        r.elements(|r| {
            count = count.saturating_add(1);
            choices.read_choice(r)
        })?;
        choices.count = Some(count);
        Ok(choices)
    }

    fn read_choice(&mut self, r: &mut JsonReader<'_>) -> Parse<()> {
        r.fields(|key, r| {
            match key {
                b"finish_reason" => match FinishState::read(r)? {
                    FinishState::Unfinished => {}
                    FinishState::Finished => self.ended = self.ended.saturating_add(1),
                    FinishState::Aborted(_) => {
                        self.ended = self.ended.saturating_add(1);
                        self.aborted = self.aborted.saturating_add(1);
                    }
                },
                b"delta" | b"message" => self.read_message(r)?,
                b"text" => self.content |= is_not_empty(r)?,
                _ => r.skip()?,
            }
            Ok(())
        })
    }

    fn read_message(&mut self, r: &mut JsonReader<'_>) -> Parse<()> {
        r.fields(|key, r| {
            match key {
                b"content" | b"reasoning_content" | b"reasoning" | b"tool_calls" | b"refusal" => {
                    self.content |= is_not_empty(r)?;
                }
                _ => r.skip()?,
            }
            Ok(())
        })
    }
}

fn is_not_empty(r: &mut JsonReader<'_>) -> Parse<bool> {
    let raw = r.raw()?;
    Ok(!matches!(raw, b"null" | b"\"\"" | b"[]" | b"{}"))
}
