//! Messages to the gateway.

use crate::messages::metadata::{Kind, Struct};
use crate::messages::processing::{
    Answer, BodyMutation, CommonAnswer, CommonResponse, HeaderMutation, HttpStatus, ImmediateResponse,
    ProcessingResponse, StreamedBody, TrailersAnswer,
};
use bytes::Bytes;
use router_proxy::RouteError;

/// Longest chunk of a body that is sent back, in bytes: gateways need not take more than 64 KiB.
const MAX_CHUNK: usize = 60 << 10;

impl From<Answer> for ProcessingResponse {
    fn from(answer: Answer) -> Self {
        Self { answer: Some(answer), dynamic_metadata: None }
    }
}

/// Which body a chunk is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Request,
    Response,
}

impl Side {
    fn body(self, response: CommonResponse) -> ProcessingResponse {
        let answer = CommonAnswer { response: Some(response) };
        match self {
            Self::Request => Answer::RequestBody(answer),
            Self::Response => Answer::ResponseBody(answer),
        }
        .into()
    }

    /// The head goes on, changed in this way.
    pub(crate) fn headers(self, header_mutation: Option<HeaderMutation>) -> ProcessingResponse {
        let response = CommonResponse {
            header_mutation,
            // The gateway's routes may match on the endpoint.
            clear_route_cache: self == Self::Request,
            ..CommonResponse::default()
        };
        let answer = CommonAnswer { response: Some(response) };
        match self {
            Self::Request => Answer::RequestHeaders(answer),
            Self::Response => Answer::ResponseHeaders(answer),
        }
        .into()
    }

    /// The trailers go on as they are.
    pub(crate) fn trailers(self) -> ProcessingResponse {
        match self {
            Self::Request => Answer::RequestTrailers(TrailersAnswer {}),
            Self::Response => Answer::ResponseTrailers(TrailersAnswer {}),
        }
        .into()
    }

    /// The chunk that was sent goes on as it is; the head of the request may change in this way.
    pub(crate) fn same_body(self, header_mutation: Option<HeaderMutation>) -> ProcessingResponse {
        let clear_route_cache = header_mutation.is_some();
        self.body(CommonResponse { header_mutation, clear_route_cache, ..CommonResponse::default() })
    }

    /// Sends a body on in full duplex mode. With `end_of_stream` it ends with its last chunk.
    pub(crate) fn streamed_body(
        self,
        mut body: Bytes,
        end: BodyEnd,
        mut send: impl FnMut(ProcessingResponse),
    ) {
        loop {
            let chunk = body.split_to(body.len().min(MAX_CHUNK));
            let is_last = body.is_empty();
            let streamed = StreamedBody { body: chunk, end_of_stream: is_last && end == BodyEnd::Here };
            let body_mutation = Some(BodyMutation { streamed: Some(streamed) });
            send(self.body(CommonResponse { body_mutation, ..CommonResponse::default() }));
            if is_last {
                return;
            }
        }
    }
}

/// Whether a body ends with what is sent of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BodyEnd {
    Here,
    Later,
}

impl BodyEnd {
    /// As a message says.
    pub(crate) const fn of(end_of_stream: bool) -> Self {
        if end_of_stream { Self::Here } else { Self::Later }
    }
}

/// The client gets what a client of the router would get.
pub(crate) fn refusal(error: &RouteError) -> ProcessingResponse {
    let (head, body) = error.response().into_parts();
    let mut headers = HeaderMutation::default();
    for (name, value) in &head.headers {
        headers.set(name.as_str(), Bytes::copy_from_slice(value.as_bytes()));
    }
    Answer::Immediate(ImmediateResponse {
        status: Some(HttpStatus { code: head.status.as_u16().into() }),
        headers: Some(headers),
        body,
        details: error.code().to_owned(),
    })
    .into()
}

/// Metadata of one namespace with one text.
pub(crate) fn metadata(namespace: &str, key: &str, text: &str) -> Struct {
    Struct::of(namespace, Kind::Struct(Struct::of(key, Kind::Text(text.to_owned()))))
}
