//! Options of policies: `NAME=VALUE` on the command line, a table in TOML (`[policy_options] window_size = 40`).

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeMap;

/// The value of an option: JSON if it parses as JSON (numbers, true, maps), otherwise a string.
pub(crate) fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

/// Parses an option of the command line.
pub(crate) fn key_value(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    if name.is_empty() {
        Err("the NAME before '=' is empty")
    } else {
        Ok((name.to_owned(), value.to_owned()))
    }
}

pub(crate) fn serialize<S: Serializer>(options: &[(String, String)], to: S) -> Result<S::Ok, S::Error> {
    let map: BTreeMap<_, Value> = options.iter().map(|(k, v)| (k, value(v))).collect();
    map.serialize(to)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, String)>, D::Error> {
    let map = BTreeMap::<String, Value>::deserialize(from)?;
    let text = |v: Value| match v {
        Value::String(s) => s,
        other => other.to_string(),
    };
    Ok(map.into_iter().map(|(k, v)| (k, text(v))).collect())
}
