//! `envoy.service.ext_proc.v3`: what an external processor is told of a request, and what it answers.

use super::metadata::{Metadata, Struct};
use bytes::Bytes;
use std::collections::HashMap;

/// The service.
pub(crate) const EXTERNAL_PROCESSOR: &str = "envoy.service.ext_proc.v3.ExternalProcessor";

/// What the proxy sends.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ProcessingRequest {
    #[prost(oneof = "Part", tags = "2, 3, 4, 5, 6, 7")]
    pub(crate) part: Option<Part>,
    /// The metadata that the proxy forwards.
    #[prost(message, optional, tag = "8")]
    pub(crate) metadata: Option<Metadata>,
    /// The attributes that the proxy is configured to send.
    #[prost(map = "string, message", tag = "9")]
    pub(crate) attributes: HashMap<String, Struct>,
    /// Nothing is to be answered.
    #[prost(bool, tag = "10")]
    pub(crate) observability_mode: bool,
    /// In the first message only.
    #[prost(message, optional, tag = "11")]
    pub(crate) protocol: Option<ProtocolConfiguration>,
}

/// How bodies are sent.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct ProtocolConfiguration {
    #[prost(enumeration = "BodySendMode", tag = "1")]
    pub(crate) request_body_mode: i32,
    #[prost(enumeration = "BodySendMode", tag = "2")]
    pub(crate) response_body_mode: i32,
}

/// How a body is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum BodySendMode {
    None = 0,
    Streamed = 1,
    Buffered = 2,
    BufferedPartial = 3,
    FullDuplexStreamed = 4,
}

/// A part of a request or of its response.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Part {
    #[prost(message, tag = "2")]
    RequestHeaders(HttpHeaders),
    #[prost(message, tag = "3")]
    ResponseHeaders(HttpHeaders),
    #[prost(message, tag = "4")]
    RequestBody(HttpBody),
    #[prost(message, tag = "5")]
    ResponseBody(HttpBody),
    #[prost(message, tag = "6")]
    RequestTrailers(HttpTrailers),
    #[prost(message, tag = "7")]
    ResponseTrailers(HttpTrailers),
}

/// A head.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct HttpHeaders {
    #[prost(message, optional, tag = "1")]
    pub(crate) headers: Option<HeaderMap>,
    /// There is no body.
    #[prost(bool, tag = "3")]
    pub(crate) end_of_stream: bool,
}

impl HttpHeaders {
    /// The names and values.
    pub(crate) fn into_pairs(self) -> impl Iterator<Item = (String, Bytes)> {
        let headers = self.headers.unwrap_or_default().headers.into_iter();
        headers.map(|HeaderValue { key, value, raw_value }| {
            (key, if raw_value.is_empty() { Bytes::from(value) } else { raw_value })
        })
    }
}

/// A chunk of a body.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct HttpBody {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) body: Bytes,
    #[prost(bool, tag = "2")]
    pub(crate) end_of_stream: bool,
}

/// Trailers, of which nothing is read.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct HttpTrailers {}

/// `envoy.config.core.v3.HeaderMap`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct HeaderMap {
    #[prost(message, repeated, tag = "1")]
    pub(crate) headers: Vec<HeaderValue>,
}

/// `envoy.config.core.v3.HeaderValue`. Its value is in one of the two fields.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct HeaderValue {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) raw_value: Bytes,
}

/// What the external processor answers.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ProcessingResponse {
    #[prost(oneof = "Answer", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub(crate) answer: Option<Answer>,
    /// Set as metadata of the request, by namespace.
    #[prost(message, optional, tag = "8")]
    pub(crate) dynamic_metadata: Option<Struct>,
}

/// The answer to the part of the same name.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Answer {
    #[prost(message, tag = "1")]
    RequestHeaders(CommonAnswer),
    #[prost(message, tag = "2")]
    ResponseHeaders(CommonAnswer),
    #[prost(message, tag = "3")]
    RequestBody(CommonAnswer),
    #[prost(message, tag = "4")]
    ResponseBody(CommonAnswer),
    #[prost(message, tag = "5")]
    RequestTrailers(TrailersAnswer),
    #[prost(message, tag = "6")]
    ResponseTrailers(TrailersAnswer),
    /// The client gets this, and the request goes no further.
    #[prost(message, tag = "7")]
    Immediate(ImmediateResponse),
}

/// `HeadersResponse` and `BodyResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct CommonAnswer {
    #[prost(message, optional, tag = "1")]
    pub(crate) response: Option<CommonResponse>,
}

/// What is changed.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct CommonResponse {
    #[prost(message, optional, tag = "2")]
    pub(crate) header_mutation: Option<HeaderMutation>,
    #[prost(message, optional, tag = "3")]
    pub(crate) body_mutation: Option<BodyMutation>,
    /// The route is chosen anew, by the new headers.
    #[prost(bool, tag = "5")]
    pub(crate) clear_route_cache: bool,
}

/// `TrailersResponse`: they stay as they are.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct TrailersAnswer {}

/// A response of the external processor itself.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ImmediateResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) status: Option<HttpStatus>,
    #[prost(message, optional, tag = "2")]
    pub(crate) headers: Option<HeaderMutation>,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) body: Bytes,
    /// For the proxy's access log.
    #[prost(string, tag = "5")]
    pub(crate) details: String,
}

/// `envoy.type.v3.HttpStatus`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct HttpStatus {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
}

/// Headers that are set and removed.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct HeaderMutation {
    #[prost(message, repeated, tag = "1")]
    pub(crate) set_headers: Vec<HeaderValueOption>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) remove_headers: Vec<String>,
}

/// A header that is set.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct HeaderValueOption {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<HeaderValue>,
    #[prost(enumeration = "AppendAction", tag = "3")]
    pub(crate) append_action: i32,
}

/// What becomes of a header of the same name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum AppendAction {
    Append = 0,
    AddIfAbsent = 1,
    Overwrite = 2,
}

/// What becomes of a body.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct BodyMutation {
    /// A chunk in place of those that were sent, in full duplex mode.
    #[prost(message, optional, tag = "3")]
    pub(crate) streamed: Option<StreamedBody>,
}

/// A chunk of a body on its way on.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct StreamedBody {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) body: Bytes,
    #[prost(bool, tag = "2")]
    pub(crate) end_of_stream: bool,
}

impl HeaderMutation {
    /// Sets a header, in place of one of the same name.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Bytes>) {
        let header = HeaderValue { key: name.to_owned(), value: String::new(), raw_value: value.into() };
        let action = AppendAction::Overwrite as i32;
        self.set_headers.push(HeaderValueOption { header: Some(header), append_action: action });
    }
}
