//! JSON objects of clients that may have members that this version does not know.

use router_core::similar_name;
use serde::de::value::Error as NoFields;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

/// A value, and a warning for each member of its JSON that was ignored.
#[derive(Clone, PartialEq, Debug)]
pub struct KnownFields<T> {
    /// The value.
    pub value: T,
    /// One line for each unknown member, which it names.
    pub warnings: Vec<String>,
}

/// Why a JSON object is not read. The message names the member.
#[derive(Debug, thiserror::Error)]
pub enum KnownFieldsError {
    /// The text is not a JSON object.
    #[error(transparent)]
    Json(serde_json::Error),
    /// The value of a member is invalid.
    #[error("{member}: {source}")]
    Member {
        /// The member.
        member: String,
        /// What is wrong with its value.
        source: serde_json::Error,
    },
}

impl<T: DeserializeOwned> KnownFields<T> {
    /// Reads a JSON object whose unknown members are ignored with a warning: other routers have more of them, and a client
    /// that works with those should work here.
    ///
    /// # Errors
    /// When the text is not a JSON object, or a member has an invalid value.
    pub fn read(json: &[u8]) -> Result<Self, KnownFieldsError> {
        let mut object: Map<String, Value> = serde_json::from_slice(json).map_err(KnownFieldsError::Json)?;
        let known = field_names::<T>();
        let unknown: Vec<_> = object.keys().filter(|name| !known.contains(&name.as_str())).cloned().collect();
        let warn = |name: String| {
            object.remove(&name);
            let hint = similar_name(&name, known.iter().copied());
            let hint = hint.map_or(String::new(), |known| format!("; did you mean '{known}'?"));
            format!("'{name}' is unknown and was ignored{hint}")
        };
        let warnings = unknown.into_iter().map(warn).collect();
        let value = serde_json::from_value(Value::Object(object.clone()))
            .map_err(|error| wrong_member::<T>(object, error))?;
        Ok(Self { value, warnings })
    }
}

/// serde does not say which member is wrong, so each is tried alone.
fn wrong_member<T: DeserializeOwned>(
    object: Map<String, Value>,
    error: serde_json::Error,
) -> KnownFieldsError {
    let wrong = object.into_iter().find_map(|(member, value)| {
        let alone = Map::from_iter([(member.clone(), value)]);
        let source = serde_json::from_value::<T>(Value::Object(alone)).err()?;
        Some(KnownFieldsError::Member { member, source })
    });
    wrong.unwrap_or(KnownFieldsError::Json(error))
}

/// The names of the fields of a struct, in the order of their declaration; none for other types.
pub(crate) fn field_names<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // Always an error: there is nothing to deserialize from.
    let _ = T::deserialize(FieldNames(&mut names));
    names
}

/// Deserializes nothing, and notes which fields were asked for.
struct FieldNames<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = NoFields;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, NoFields> {
        Err(NoFields::custom("nothing"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NoFields> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker_spec::WorkerSpec;

    #[test]
    fn unknown_members_are_warned_of() {
        let json = br#"{"url":"http://a:1","wieght":2,"kv_role":"both","priority":7}"#;
        let read = KnownFields::<WorkerSpec>::read(json).unwrap();
        assert_eq!((read.value.url.as_str(), read.value.weight, read.value.priority), ("http://a:1", 1.0, 7));
        let expected = [
            "'kv_role' is unknown and was ignored",
            "'wieght' is unknown and was ignored; did you mean 'weight'?",
        ];
        assert_eq!(read.warnings, expected);
    }

    #[test]
    fn wrong_member_is_named() {
        for (json, part) in [
            (&br#"{"url":"http://a:1","priority":"high"}"#[..], "priority: "),
            (br#"{"labels":{"rack":3}}"#, "labels: "),
            (b"{", "line 1"),
            (b"[]", "line 1"),
        ] {
            let text = KnownFields::<WorkerSpec>::read(json).unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
        }
    }
}
