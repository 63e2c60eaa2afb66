//! Metadata of a request at the proxy: `google.protobuf.Struct`, and a map of them by namespace.

use std::collections::HashMap;

/// `envoy.config.core.v3.Metadata`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Metadata {
    /// By namespace.
    #[prost(map = "string, message", tag = "1")]
    pub(crate) filter_metadata: HashMap<String, Struct>,
}

/// `google.protobuf.Struct`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Struct {
    #[prost(map = "string, message", tag = "1")]
    pub(crate) fields: HashMap<String, Value>,
}

/// `google.protobuf.Value`. Kinds that no key here has are skipped.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Value {
    #[prost(oneof = "Kind", tags = "3, 5, 6")]
    pub(crate) kind: Option<Kind>,
}

/// The kind of a [`Value`].
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Kind {
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(message, tag = "5")]
    Struct(Struct),
    #[prost(message, tag = "6")]
    List(ListValue),
}

/// `google.protobuf.ListValue`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ListValue {
    #[prost(message, repeated, tag = "1")]
    pub(crate) values: Vec<Value>,
}

impl Struct {
    /// A struct with one field.
    pub(crate) fn of(name: &str, kind: Kind) -> Self {
        Self { fields: HashMap::from([(name.to_owned(), Value { kind: Some(kind) })]) }
    }

    /// The text of a field; `None` where it is absent or of another kind.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.text()
    }
}

impl Value {
    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self.kind.as_ref()? {
            Kind::Text(text) => Some(text),
            Kind::Struct(_) | Kind::List(_) => None,
        }
    }
}

impl Metadata {
    /// A key in a namespace.
    pub(crate) fn get(&self, namespace: &str, key: &str) -> Option<&Value> {
        self.filter_metadata.get(namespace)?.fields.get(key)
    }
}
