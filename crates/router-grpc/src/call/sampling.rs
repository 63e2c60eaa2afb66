//! `sampling_params` of `/generate`.

use super::one_or_many::OneOrMany;
use super::refusal::Refusal;
use crate::messages::SamplingParams;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Members that have no field, and the value at which leaving them out changes nothing.
const DEFAULTS: [(&str, Value); 4] = [
    ("skip_special_tokens", Value::Bool(true)),
    ("spaces_between_special_tokens", Value::Bool(true)),
    ("no_stop_trim", Value::Bool(false)),
    ("stream_interval", Value::Null),
];

/// The members that have a field.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Members {
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<i32>,
    min_p: Option<f32>,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    repetition_penalty: Option<f32>,
    max_new_tokens: Option<i32>,
    min_new_tokens: Option<i32>,
    stop: Option<OneOrMany<String>>,
    stop_token_ids: Option<Vec<i32>>,
    ignore_eos: Option<bool>,
    n: Option<i32>,
    json_schema: Option<String>,
    regex: Option<String>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// The message for the object of JSON; `null` says nothing.
///
/// # Errors
/// When a member has another type, or has no field and would change the answer.
pub(super) fn read(value: Value) -> Result<SamplingParams, Refusal> {
    if value.is_null() {
        return Ok(SamplingParams::default());
    }
    let members: Members = serde_json::from_value(value)
        .map_err(|error| Refusal::Malformed(format!("sampling_params: {error}")))?;
    for (name, value) in &members.others {
        let is_default = DEFAULTS.iter().any(|(known, default)| known == name && value == default);
        if !value.is_null() && !is_default {
            return Err(Refusal::Member(format!("sampling_params.{name}")));
        }
    }
    Ok(SamplingParams {
        temperature: members.temperature,
        top_p: members.top_p,
        top_k: members.top_k,
        min_p: members.min_p,
        frequency_penalty: members.frequency_penalty,
        presence_penalty: members.presence_penalty,
        repetition_penalty: members.repetition_penalty,
        max_new_tokens: members.max_new_tokens,
        min_new_tokens: members.min_new_tokens,
        stop: members.stop.map_or_else(Vec::new, OneOrMany::into_list),
        stop_token_ids: members.stop_token_ids.unwrap_or_default(),
        ignore_eos: members.ignore_eos,
        n: members.n,
        json_schema: members.json_schema,
        regex: members.regex,
    })
}
