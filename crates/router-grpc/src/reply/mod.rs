//! What the messages of an answer say, as HTTP.

mod events;
mod generated;
mod info;

pub(crate) use events::EventWriter;

use crate::call::Answer;
use crate::error::TransportError;
use crate::messages::{OpenAiResponse, OpenAiStreamChunk};
use bytes::Bytes;
use http::StatusCode;
use prost::Message;

const JSON: &str = "application/json";

/// Decodes a message.
///
/// # Errors
/// When the bytes are no such message.
pub(crate) fn decode<M: Message + Default>(message: impl bytes::Buf) -> Result<M, TransportError> {
    M::decode(message).map_err(|_| TransportError::Invalid("a message cannot be decoded"))
}

/// The status that a message states; 0 is that of a success.
fn openai_status(code: i32) -> StatusCode {
    match u16::try_from(code) {
        Ok(0) => StatusCode::OK,
        Ok(code) => StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_GATEWAY),
        Err(_) => StatusCode::BAD_GATEWAY,
    }
}

/// Status, content type and body of an answer that is not streamed. `messages` are those of each call.
///
/// # Errors
/// When they are not what the call answers.
pub(crate) fn whole(
    answer: &Answer,
    messages: &[Vec<Bytes>],
) -> Result<(StatusCode, &'static str, Bytes), TransportError> {
    match answer {
        Answer::OpenAiBody => {
            let response: OpenAiResponse = decode(info::only(messages)?)?;
            Ok((openai_status(response.status_code), JSON, response.json_body))
        }
        Answer::GenerateWhole { is_list, of } => {
            Ok((StatusCode::OK, JSON, generated::whole(*of, *is_list, messages)?))
        }
        Answer::OpenAiChunks => {
            let chunk: OpenAiStreamChunk = decode(info::only(messages)?)?;
            Ok((openai_status(chunk.status_code), JSON, chunk.json_chunk))
        }
        Answer::GenerateEvents { .. } => Err(TransportError::Closed),
        other => info::whole(other, messages),
    }
}
