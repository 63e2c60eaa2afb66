//! One JSON object of an answer: a whole answer, one element of a batch, or the data of one stream event.

use std::borrow::Cow;

use router_core::Usage;

use crate::json::{Parse, Reader};
use crate::response::EngineError;
use crate::response::meta_info::{Ending, MetaInfo};
use crate::response::usage::read_usage;

/// What one object says.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) meta: Option<MetaInfo>,
    pub(crate) usage: Option<Usage>,
    pub(crate) error: Option<Box<EngineError>>,
    /// `index` of the batch element, in a `/generate` stream.
    pub(crate) index: Option<u32>,
    pub(crate) choices: Choices,
    /// Whether `type` says that this is the last event of a `/v1/responses` or `/v1/messages` stream.
    pub(crate) closes: bool,
}

/// What `choices` says, all of them together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Choices {
    /// How many; `None` when there is no list.
    pub(crate) count: Option<u32>,
    /// How many say that they ended.
    pub(crate) ended: u32,
    /// How many were aborted.
    pub(crate) aborted: u32,
    /// Whether any carries generated text, reasoning or a tool call.
    pub(crate) content: bool,
}

/// Members that matter only together.
#[derive(Default)]
struct Loose<'b> {
    object_is_error: bool,
    detail: Option<Cow<'b, str>>,
    flat: EngineError,
}

impl Answer {
    /// Consumes a value; anything but an object says nothing.
    pub(crate) fn read(r: &mut Reader<'_>) -> Parse<Self> {
        let mut answer = Self::default();
        answer.read_into(r)?;
        Ok(answer)
    }

    /// As [`read`](Self::read), into a fresh one that is already where it shall be.
    pub(crate) fn read_into(&mut self, r: &mut Reader<'_>) -> Parse<()> {
        let mut loose = Loose::default();
        r.fields(|key, r| self.member(key, r, &mut loose))?;
        self.settle_error(loose);
        Ok(())
    }

    /// Reads all of `bytes` as one object.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut r = Reader::new(bytes);
        if r.peek() != Ok(b'{') {
            return None;
        }
        let answer = Self::read(&mut r).ok()?;
        r.at_end().then_some(answer)
    }

    fn member<'b>(&mut self, key: &[u8], r: &mut Reader<'b>, loose: &mut Loose<'b>) -> Parse<()> {
        match key {
            b"meta_info" => MetaInfo::read(r, &mut self.meta)?,
            b"usage" => self.usage = read_usage(r)?.or(self.usage),
            b"choices" => self.choices = Choices::read(r)?,
            b"index" => self.index = r.count()?,
            b"error" => self.error = EngineError::read(r)?,
            b"object" => loose.object_is_error = r.raw()? == br#""error""#,
            b"type" if r.peek()? == b'"' => self.event_type(r, loose)?,
            b"message" if r.peek()? == b'{' => self.nested(r)?,
            b"message" => loose.flat.set_message(r)?,
            b"code" => loose.flat.status = EngineError::status_of(r)?,
            b"detail" => loose.detail = r.text()?,
            b"response" => self.nested(r)?,
            _ => r.skip()?,
        }
        Ok(())
    }

    /// The last events of `/v1/responses` and `/v1/messages` name themselves; `type` of an error body is its kind.
    fn event_type<'b>(&mut self, r: &mut Reader<'b>, loose: &mut Loose<'b>) -> Parse<()> {
        let (name, _) = r.string()?;
        self.closes = matches!(
            name,
            b"response.completed" | b"response.incomplete" | b"response.failed" | b"message_stop"
        );
        loose.flat.kind = std::str::from_utf8(name).ok().filter(|n| !n.is_empty()).map(Into::into);
        Ok(())
    }

    /// `response` of a `/v1/responses` event and `message` of a `/v1/messages` event hold the answer itself.
    fn nested(&mut self, r: &mut Reader<'_>) -> Parse<()> {
        r.fields(|key, r| {
            match key {
                b"usage" => self.usage = read_usage(r)?.or(self.usage),
                b"error" => self.error = EngineError::read(r)?,
                _ => r.skip()?,
            }
            Ok(())
        })
    }

    /// SGLang's older error bodies are flat (`{"object":"error","message":..}`), FastAPI's own say `detail`.
    fn settle_error(&mut self, loose: Loose<'_>) {
        if self.error.is_some() {
            return;
        }
        if loose.object_is_error {
            self.error = Some(Box::new(loose.flat));
        } else if let Some(detail) = loose.detail
            && self.meta.is_none()
            && self.usage.is_none()
            && self.choices.count.is_none()
        {
            self.error = Some(Box::new(EngineError::saying(&detail)));
        }
    }

    /// Whether the answer (or this part of it) has ended, as far as it says.
    pub(crate) fn is_final(&self) -> bool {
        let meta_ended = self.meta.as_ref().is_some_and(|m| m.ending != Ending::Open);
        let choices_ended = match self.choices.count {
            Some(0) => self.usage.is_some(),
            Some(n) => self.choices.ended == n,
            None => false,
        };
        self.closes || meta_ended || choices_ended
    }

    /// Whether it was aborted.
    pub(crate) fn is_aborted(&self) -> bool {
        let meta_aborted = self.meta.as_ref().is_some_and(|m| matches!(m.ending, Ending::Aborted(_)));
        meta_aborted || self.choices.aborted > 0
    }

    /// The error, wherever it stands.
    pub(crate) fn take_error(&mut self) -> Option<EngineError> {
        if let Some(error) = self.error.take() {
            return Some(*error);
        }
        match self.meta.as_mut().map(|m| std::mem::take(&mut m.ending)) {
            Some(Ending::Aborted(error)) => error.map(|e| *e),
            _ => None,
        }
    }

    /// Token counts: `meta_info` first, then `usage`.
    pub(crate) fn token_usage(&self) -> Option<Usage> {
        self.meta.as_ref().map(|m| m.usage).or(self.usage)
    }
}

impl Choices {
    fn read(r: &mut Reader<'_>) -> Parse<Self> {
        let mut all = Self::default();
        if r.peek()? != b'[' {
            r.skip()?;
            return Ok(all);
        }
        let mut count = 0u32;
        r.elements(|r| {
            count = count.saturating_add(1);
            all.choice(r)
        })?;
        all.count = Some(count);
        Ok(all)
    }

    fn choice(&mut self, r: &mut Reader<'_>) -> Parse<()> {
        r.fields(|key, r| {
            match key {
                b"finish_reason" => match Ending::read(r)? {
                    Ending::Open => {}
                    Ending::Done => self.ended = self.ended.saturating_add(1),
                    Ending::Aborted(_) => {
                        self.ended = self.ended.saturating_add(1);
                        self.aborted = self.aborted.saturating_add(1);
                    }
                },
                b"delta" | b"message" => self.delta(r)?,
                b"text" => self.content |= says_something(r)?,
                _ => r.skip()?,
            }
            Ok(())
        })
    }

    fn delta(&mut self, r: &mut Reader<'_>) -> Parse<()> {
        r.fields(|key, r| {
            match key {
                b"content" | b"reasoning_content" | b"reasoning" | b"tool_calls" | b"refusal" => {
                    self.content |= says_something(r)?;
                }
                _ => r.skip()?,
            }
            Ok(())
        })
    }
}

fn says_something(r: &mut Reader<'_>) -> Parse<bool> {
    let raw = r.raw()?;
    Ok(!matches!(raw, b"null" | b"\"\"" | b"[]" | b"{}"))
}
