//! What a server says of itself, and the answers to control calls.

use super::{JSON, decode};
use crate::call::Answer;
use crate::error::TransportError;
use crate::messages::{
    ControlMessage, ControlResponse, DetokenizeResponse, HealthCheckResponse, JsonInfo, ListModelsResponse,
    ModelCard, ModelInfo, TokenizeResponse,
};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

const TEXT: &str = "text/plain; charset=utf-8";

/// The only message of the only call.
pub(super) fn only(messages: &[Vec<Bytes>]) -> Result<Bytes, TransportError> {
    let first = messages.first().and_then(|messages| messages.first());
    first.cloned().ok_or(TransportError::Invalid("the call ended without an answer"))
}

/// Status, content type and body.
pub(super) fn whole(
    answer: &Answer,
    messages: &[Vec<Bytes>],
) -> Result<(StatusCode, &'static str, Bytes), TransportError> {
    let only = || only(messages);
    let ok = |body: Bytes| Ok((StatusCode::OK, JSON, body));
    let done = |success| if success { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    match answer {
        Answer::Health => {
            let HealthCheckResponse { healthy } = decode(only()?)?;
            let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            Ok((status, TEXT, Bytes::new()))
        }
        Answer::Loads => {
            let JsonInfo { json_info } = decode(only()?)?;
            ok([&b"{\"loads\":"[..], &json_info, b"}"].concat().into())
        }
        Answer::ModelInfo => ok(decode::<ModelInfo>(only()?)?.json_info),
        Answer::ServerInfo => ok(decode::<JsonInfo>(only()?)?.json_info),
        Answer::Models(wanted) => Ok(models(&decode(only()?)?, wanted.as_deref())),
        Answer::Tokens { is_list } => ok(tokens(messages, *is_list)?),
        Answer::Text { is_list } => ok(texts(messages, *is_list)?),
        Answer::Aborted => Ok((StatusCode::OK, TEXT, Bytes::new())),
        Answer::Flushed => {
            let ControlResponse { success, message } = decode(only()?)?;
            Ok((done(success), TEXT, format!("{message}\n").into()))
        }
        Answer::Updated => {
            let ControlResponse { success, message } = decode(only()?)?;
            let body = json!({"success": success, "message": message}).to_string();
            Ok((done(success), JSON, body.into()))
        }
        Answer::Message => {
            let ControlMessage { message } = decode(only()?)?;
            ok(json!({"message": message, "status": "ok"}).to_string().into())
        }
        Answer::OpenAiChunks
        | Answer::OpenAiBody
        | Answer::GenerateEvents { .. }
        | Answer::GenerateWhole { .. } => Err(TransportError::Invalid("the answer is not one of this call")),
    }
}

fn models(list: &ListModelsResponse, wanted: Option<&str>) -> (StatusCode, &'static str, Bytes) {
    // The message has no such time; over HTTP the server writes that of its answer, and typed clients want one.
    let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let card = |model: &ModelCard| {
        json!({"id": model.id, "object": "model", "created": created, "owned_by": "sglang", "root": model.root,
            "parent": model.parent, "max_model_len": model.max_model_len})
    };
    let Some(wanted) = wanted else {
        let data: Vec<_> = list.models.iter().map(card).collect();
        return (StatusCode::OK, JSON, json!({"object": "list", "data": data}).to_string().into());
    };
    match list.models.iter().find(|model| model.id == wanted) {
        Some(model) => (StatusCode::OK, JSON, card(model).to_string().into()),
        None => {
            // In the words of SGLang's HTTP server.
            let error = json!({"message": format!("The model '{wanted}' does not exist"),
                "type": "invalid_request_error", "param": "model", "code": "model_not_found"});
            (StatusCode::NOT_FOUND, JSON, json!({ "error": error }).to_string().into())
        }
    }
}

fn tokens(messages: &[Vec<Bytes>], is_list: bool) -> Result<Bytes, TransportError> {
    let answers = messages.iter().flatten().map(|message| decode::<TokenizeResponse>(message.clone()));
    let answers = answers.collect::<Result<Vec<_>, _>>()?;
    let first = answers.first().ok_or(TransportError::Closed)?;
    let max = first.max_model_len;
    let body = if is_list {
        let tokens: Vec<_> = answers.iter().map(|answer| &answer.tokens).collect();
        let counts: Vec<_> = answers.iter().map(|answer| answer.count).collect();
        json!({"tokens": tokens, "count": counts, "max_model_len": max})
    } else {
        json!({"tokens": first.tokens, "count": first.count, "max_model_len": max})
    };
    Ok(body.to_string().into())
}

fn texts(messages: &[Vec<Bytes>], is_list: bool) -> Result<Bytes, TransportError> {
    let answers = messages.iter().flatten().map(|message| decode::<DetokenizeResponse>(message.clone()));
    let mut texts = answers.map(|answer| Ok(answer?.text)).collect::<Result<Vec<_>, TransportError>>()?;
    let text = if is_list { Value::from(texts) } else { Value::from(texts.pop().unwrap_or_default()) };
    Ok(json!({ "text": text }).to_string().into())
}
