//! Messages as events of a stream.

use super::decode;
use super::generated::Answered;
use crate::call::{Answer, Generated};
use crate::error::TransportError;
use crate::messages::OpenAiStreamChunk;
use bytes::{BufMut, Bytes, BytesMut};
use smallvec::SmallVec;

const DATA: &[u8] = b"data: ";
const END: &[u8] = b"\n\n";
const DONE: &[u8] = b"data: [DONE]\n\n";

/// Writes messages as events.
#[derive(Debug)]
pub(crate) struct EventWriter {
    kind: EventKind,
    /// The last event was written.
    is_done: bool,
}

#[derive(Debug)]
enum EventKind {
    OpenAi,
    Generate {
        of: Generated,
        /// Which answers of each call have come, by their ids; absent where there is one.
        seen: Option<Vec<SmallVec<[Bytes; 2]>>>,
        /// How many answers the calls before each have.
        offsets: Vec<usize>,
    },
}

impl EventWriter {
    /// The writer for an answer, if it is streamed: the first message of an OpenAI call tells that.
    ///
    /// # Errors
    /// When the first message cannot be decoded.
    pub(crate) fn of(answer: &Answer, first: &Bytes) -> Result<Option<Self>, TransportError> {
        let kind = match answer {
            Answer::OpenAiChunks => {
                let chunk: OpenAiStreamChunk = decode(first.clone())?;
                if chunk.finished {
                    return Ok(None);
                }
                EventKind::OpenAi
            }
            Answer::GenerateEvents { of, choices } => {
                let mut offsets = Vec::new();
                let mut before = 0;
                for choices in choices.iter().flatten() {
                    offsets.push(before);
                    before += choices;
                }
                let seen = choices.as_ref().map(|choices| vec![SmallVec::new(); choices.len()]);
                EventKind::Generate { of: *of, seen, offsets }
            }
            _ => return Ok(None),
        };
        Ok(Some(Self { kind, is_done: false }))
    }

    /// The events of a message of the call at `call`.
    ///
    /// # Errors
    /// When it cannot be decoded.
    pub(crate) fn write(&mut self, call: usize, message: &Bytes) -> Result<Bytes, TransportError> {
        match &mut self.kind {
            EventKind::OpenAi => {
                let chunk: OpenAiStreamChunk = decode(message.clone())?;
                let mut events = BytesMut::with_capacity(chunk.json_chunk.len() + 32);
                if !chunk.json_chunk.is_empty() {
                    events.put_slice(DATA);
                    events.put_slice(&chunk.json_chunk);
                    events.put_slice(END);
                }
                if chunk.finished {
                    events.put_slice(DONE);
                    self.is_done = true;
                }
                Ok(events.freeze())
            }
            EventKind::Generate { of, seen, offsets } => {
                let answered = Answered::read(*of, message)?;
                let index = seen.as_mut().and_then(|seen| seen.get_mut(call)).map(|seen| {
                    let id = answered.id().cloned().unwrap_or_default();
                    let place = seen.iter().position(|known| *known == id).unwrap_or_else(|| {
                        seen.push(id);
                        seen.len() - 1
                    });
                    offsets.get(call).copied().unwrap_or_default() + place
                });
                let mut event = Vec::with_capacity(message.len() + 128);
                event.extend_from_slice(DATA);
                answered.write(&mut event, index);
                event.extend_from_slice(END);
                Ok(event.into())
            }
        }
    }

    /// What is left to write when all calls have ended well.
    ///
    /// # Errors
    /// When an OpenAI call ended without its last chunk: the answer is not complete.
    pub(crate) fn end(&mut self) -> Result<Option<Bytes>, TransportError> {
        if self.is_done {
            return Ok(None);
        }
        self.is_done = true;
        match self.kind {
            EventKind::OpenAi => Err(TransportError::Closed),
            EventKind::Generate { .. } => Ok(Some(Bytes::from_static(DONE))),
        }
    }
}
