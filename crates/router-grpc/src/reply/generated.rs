//! Texts and token ids with their `meta_info`.

use super::decode;
use crate::call::Generated;
use crate::error::TransportError;
use crate::messages::{GenerateResponse, MetaInfoEntry, TextGenerateResponse};
use bytes::Bytes;
use serde_json::value::RawValue;

/// One answer, of either call.
pub(super) struct Answered {
    /// `"text":...` or `"output_ids":...`.
    content: Vec<u8>,
    meta_info: Vec<MetaInfoEntry>,
}

impl Answered {
    /// Decodes a message.
    pub(super) fn read(of: Generated, message: &Bytes) -> Result<Self, TransportError> {
        let failed = |_| TransportError::Invalid("a text cannot be written");
        let mut content = Vec::with_capacity(message.len() + 16);
        let meta_info = match of {
            Generated::Text => {
                let answer: TextGenerateResponse = decode(message.clone())?;
                content.extend_from_slice(b"\"text\":");
                serde_json::to_writer(&mut content, &answer.text).map_err(failed)?;
                answer.meta_info
            }
            Generated::TokenIds => {
                let answer: GenerateResponse = decode(message.clone())?;
                content.extend_from_slice(b"\"output_ids\":");
                serde_json::to_writer(&mut content, &answer.output_ids).map_err(failed)?;
                answer.meta_info
            }
        };
        Ok(Self { content, meta_info })
    }

    /// The id of the request, by which the answers of one call can be told apart.
    pub(super) fn id(&self) -> Option<&Bytes> {
        self.meta_info.iter().find(|entry| entry.key == "id").map(|entry| &entry.value)
    }

    /// Appends it as `/generate` writes it.
    pub(super) fn write(&self, json: &mut Vec<u8>, index: Option<usize>) {
        json.push(b'{');
        json.extend_from_slice(&self.content);
        json.extend_from_slice(b",\"meta_info\":{");
        for (place, MetaInfoEntry { key, value }) in self.meta_info.iter().enumerate() {
            if place > 0 {
                json.push(b',');
            }
            write_text(json, key);
            json.push(b':');
            // A value that is no JSON would make the whole answer unreadable.
            match serde_json::from_slice::<&RawValue>(value) {
                Ok(value) => json.extend_from_slice(value.get().as_bytes()),
                Err(_) => write_text(json, &String::from_utf8_lossy(value)),
            }
        }
        json.push(b'}');
        if let Some(index) = index {
            json.extend_from_slice(b",\"index\":");
            json.extend_from_slice(index.to_string().as_bytes());
        }
        json.push(b'}');
    }
}

fn write_text(json: &mut Vec<u8>, text: &str) {
    // Writing text to memory that grows cannot fail.
    let _ = serde_json::to_writer(json, text);
}

/// The answers as one body: a list, or the only one.
pub(super) fn whole(of: Generated, is_list: bool, messages: &[Vec<Bytes>]) -> Result<Bytes, TransportError> {
    let mut json = Vec::new();
    if is_list {
        json.push(b'[');
    }
    for message in messages.iter().flatten() {
        if json.len() > 1 {
            json.push(b',');
        }
        Answered::read(of, message)?.write(&mut json, None);
        if !is_list {
            break;
        }
    }
    if is_list {
        json.push(b']');
    }
    Ok(json.into())
}
