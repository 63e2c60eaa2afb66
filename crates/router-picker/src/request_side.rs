//! From the head of a client's request to the endpoints that may serve it.

use crate::answers::{BodyEnd, Side, metadata, refusal};
use crate::destination::{DESTINATION, LB_NAMESPACE, subset};
use crate::messages::metadata::Metadata;
use crate::messages::processing::{BodySendMode, HeaderMutation, HttpBody, HttpHeaders, ProcessingResponse};
use crate::picker_state::PickerState;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use router_proxy::{
    BodyBuffer, DescribedRequest, RouteBody, RouteError, RouteRequest, RoutedRequest, RoutingService,
};
use std::collections::VecDeque;
use std::sync::Arc;

/// Keys of clients: one that the router accepts is not for workers.
const KEYS: [HeaderName; 2] = [header::AUTHORIZATION, HeaderName::from_static("x-api-key")];

/// The client's request on its way to a worker.
#[derive(Debug)]
pub(crate) struct RequestSide {
    state: Arc<PickerState>,
    step: Step,
    routed: Option<Routed>,
    is_refused: bool,
}

/// A request that has a worker, and the endpoints that were named to the gateway with the URLs of their workers.
#[derive(Debug)]
pub(crate) struct Routed {
    pub(crate) request: RoutedRequest,
    pub(crate) endpoints: Vec<(String, Arc<str>)>,
}

/// How far the request has come.
#[derive(Debug)]
enum Step {
    /// Nothing has come.
    Start,
    /// The head has come, and the body is being collected.
    Collecting(Box<Collecting>),
    /// It has a worker, or was refused.
    Decided,
}

#[derive(Debug)]
struct Collecting {
    head: Parts,
    /// Headers that workers do not get.
    removed: Vec<String>,
    subset: Option<Vec<String>>,
    body: BodyBuffer,
}

impl RequestSide {
    pub(crate) const fn new(state: Arc<PickerState>) -> Self {
        Self { state, step: Step::Start, routed: None, is_refused: false }
    }

    /// The request with its worker, once.
    pub(crate) const fn take_routed(&mut self) -> Option<Routed> {
        self.routed.take()
    }

    /// Whether the client gets a response of the router.
    pub(crate) const fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// The head has come. It goes on when the endpoints are known: at once where no body is sent here.
    pub(crate) async fn headers(
        &mut self,
        message: HttpHeaders,
        metadata: Option<&Metadata>,
        mode: BodySendMode,
        out: &mut VecDeque<ProcessingResponse>,
    ) {
        let is_whole = message.end_of_stream;
        let collecting = match self.read_head(message, metadata) {
            Ok(collecting) => collecting,
            Err(error) => return self.refuse(&error, out),
        };
        match mode {
            _ if is_whole => {
                let body = RouteBody::Whole(Bytes::new());
                if let Some(mutation) = self.decide(collecting, body, out).await {
                    self.answer(Side::Request.headers(Some(mutation)), out);
                }
            }
            // The head cannot change any more once the body comes.
            BodySendMode::None | BodySendMode::Streamed | BodySendMode::BufferedPartial => {
                let body = RouteBody::Described(described(&collecting.head));
                if let Some(mutation) = self.decide(collecting, body, out).await {
                    self.answer(Side::Request.headers(Some(mutation)), out);
                }
            }
            BodySendMode::Buffered => {
                self.step = Step::Collecting(collecting);
                out.push_back(Side::Request.headers(None));
            }
            BodySendMode::FullDuplexStreamed => self.step = Step::Collecting(collecting),
        }
    }

    /// A chunk of the body has come.
    pub(crate) async fn body(
        &mut self,
        message: HttpBody,
        mode: BodySendMode,
        out: &mut VecDeque<ProcessingResponse>,
    ) {
        let HttpBody { body, end_of_stream } = message;
        let mut collecting = match std::mem::replace(&mut self.step, Step::Decided) {
            Step::Collecting(collecting) => collecting,
            Step::Start | Step::Decided => return pass_on(Side::Request, body, end_of_stream, mode, out),
        };
        if let Err(error) = collecting.body.push(body) {
            return self.refuse(&error, out);
        }
        if end_of_stream || mode == BodySendMode::Buffered {
            self.send_whole(collecting, BodyEnd::of(end_of_stream), mode, out).await;
        } else {
            self.step = Step::Collecting(collecting);
        }
    }

    /// The trailers have come, and with them the end of the body.
    pub(crate) async fn trailers(&mut self, mode: BodySendMode, out: &mut VecDeque<ProcessingResponse>) {
        if let Step::Collecting(collecting) = std::mem::replace(&mut self.step, Step::Decided) {
            self.send_whole(collecting, BodyEnd::Later, mode, out).await;
        }
        if !self.is_refused {
            out.push_back(Side::Request.trailers());
        }
    }

    /// The body is whole: the head goes on with the endpoints, and then the body.
    async fn send_whole(
        &mut self,
        mut collecting: Box<Collecting>,
        end: BodyEnd,
        mode: BodySendMode,
        out: &mut VecDeque<ProcessingResponse>,
    ) {
        let buffer = std::mem::replace(&mut collecting.body, self.state.routing.body_buffer());
        let body = buffer.finish();
        let whole = RouteBody::Whole(body.clone());
        let Some(mutation) = self.decide(collecting, whole, out).await else { return };
        if mode == BodySendMode::FullDuplexStreamed {
            self.answer(Side::Request.headers(Some(mutation)), out);
            Side::Request.streamed_body(body, end, |chunk| out.push_back(chunk));
        } else {
            self.answer(Side::Request.same_body(Some(mutation)), out);
        }
    }

    /// Sends an answer with the endpoints as metadata.
    fn answer(&self, mut answer: ProcessingResponse, out: &mut VecDeque<ProcessingResponse>) {
        if let Some(routed) = &self.routed {
            answer.dynamic_metadata = Some(metadata(LB_NAMESPACE, DESTINATION, &routed.destination()));
        }
        out.push_back(answer);
    }

    fn refuse(&mut self, error: &RouteError, out: &mut VecDeque<ProcessingResponse>) {
        self.is_refused = true;
        self.step = Step::Decided;
        out.push_back(refusal(error));
    }

    /// Chooses the endpoints; how the head changes by that. `None` where the request was refused.
    async fn decide(
        &mut self,
        collecting: Box<Collecting>,
        body: RouteBody,
        out: &mut VecDeque<ProcessingResponse>,
    ) -> Option<HeaderMutation> {
        self.step = Step::Decided;
        let Collecting { head, removed, subset, .. } = *collecting;
        let fallbacks = self.state.fallbacks;
        let request = RouteRequest { head, body, subset, fallbacks };
        let routed = match self.state.routing.route(request).await {
            Ok(request) => self.name_endpoints(request).await,
            Err(error) => Err(error),
        };
        let routed = match routed {
            Ok(routed) => routed,
            Err(error) => {
                self.refuse(&error, out);
                return None;
            }
        };
        let mut mutation = HeaderMutation { remove_headers: removed, ..HeaderMutation::default() };
        mutation.set(DESTINATION, routed.destination());
        for (name, value) in routed.request.headers() {
            mutation.set(name.as_str(), Bytes::copy_from_slice(value.as_bytes()));
        }
        self.routed = Some(routed);
        Some(mutation)
    }

    /// The endpoints of a request's workers. One whose name cannot be looked up is left out.
    async fn name_endpoints(&self, request: RoutedRequest) -> Result<Routed, RouteError> {
        let workers = request.worker().into_iter().chain(request.fallbacks());
        let mut endpoints = Vec::new();
        for worker in workers {
            match self.state.endpoints.of(&worker).await {
                Ok(endpoint) => endpoints.push((endpoint.to_string(), worker.url)),
                Err(error) => {
                    tracing::warn!(worker = %worker.url, %error, "the worker's name cannot be looked up, so gateways cannot reach it");
                }
            }
        }
        if endpoints.is_empty() {
            return Err(self.state.routing.unreachable(request));
        }
        Ok(Routed { request, endpoints })
    }

    fn read_head(
        &self,
        message: HttpHeaders,
        metadata: Option<&Metadata>,
    ) -> Result<Box<Collecting>, RouteError> {
        let head = head(message);
        let given = KEYS.map(|key| head.headers.contains_key(key));
        let routing: &RoutingService = &self.state.routing;
        let head = routing.authorize(head)?;
        let removed = KEYS
            .iter()
            .zip(given)
            .filter(|(key, given)| *given && !head.headers.contains_key(*key))
            .map(|(key, _)| key.to_string())
            .collect();
        let (subset, body) = (subset(metadata), routing.body_buffer());
        Ok(Box::new(Collecting { head, removed, subset, body }))
    }
}

impl Routed {
    /// The endpoints as the protocol names them.
    fn destination(&self) -> String {
        self.endpoints.iter().map(|(endpoint, _)| endpoint.as_str()).collect::<Vec<_>>().join(",")
    }
}

/// A chunk goes on as it came.
pub(crate) fn pass_on(
    side: Side,
    body: Bytes,
    end_of_stream: bool,
    mode: BodySendMode,
    out: &mut VecDeque<ProcessingResponse>,
) {
    if mode == BodySendMode::FullDuplexStreamed {
        side.streamed_body(body, BodyEnd::of(end_of_stream), |chunk| out.push_back(chunk));
    } else {
        out.push_back(side.same_body(None));
    }
}

/// What the head says of a body that is not sent here.
fn described(head: &Parts) -> DescribedRequest {
    let length =
        head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    DescribedRequest { prompt_bytes: length, ..DescribedRequest::default() }
}

/// The head of a request. What is no valid header is left out: the gateway has its own rules for those.
fn head(message: HttpHeaders) -> Parts {
    let (mut head, ()) = Request::new(()).into_parts();
    for (key, value) in message.into_pairs() {
        match key.as_str() {
            ":method" => head.method = Method::from_bytes(&value).unwrap_or_default(),
            ":path" => head.uri = Uri::from_maybe_shared(value).unwrap_or_default(),
            name => {
                if let (Ok(name), Ok(value)) =
                    (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_maybe_shared(value))
                {
                    head.headers.append(name, value);
                }
            }
        }
    }
    head
}
