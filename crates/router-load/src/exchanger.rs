//! Sends requests, and reads and measures their responses.

use crate::client::{self, ClientName};
use crate::connection::ConnectionPool;
use crate::outcome::{RequestFailure, RequestOutcome};
use crate::plan::PlannedRequest;
use crate::request_format::RequestFormat;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use router_core::Route;
use router_protocol::{ResponseFacts, StreamObserver};
use std::time::{Duration, Instant};

/// The router's header for the worker that responded.
const WORKER: HeaderName = HeaderName::from_static("x-sglang-worker");
/// The header for the request id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Characters of an error body that is not an error object that are reported.
const EXCERPT: usize = 200;

/// Builds and sends requests, and reads the responses.
#[derive(Debug)]
pub(crate) struct Exchanger {
    pool: ConnectionPool,
    format: RequestFormat,
    /// The header of each client.
    clients: Vec<(HeaderName, HeaderValue)>,
    uri: Uri,
    route: Route,
    /// Every time counts from here.
    start: Instant,
}

impl Exchanger {
    pub(crate) fn new(
        pool: ConnectionPool,
        format: RequestFormat,
        clients: &[ClientName],
        start: Instant,
    ) -> Self {
        let route = format.endpoint.route();
        let path = format!("{}{}", pool.target().base, route.as_str());
        // Both parts come out of URLs that have been parsed.
        let uri = path.parse().unwrap_or_default();
        let clients = client::headers(clients, pool.target());
        Self { pool, format, clients, uri, route, start }
    }

    /// The HTTP request for a planned one, with `id` as its request id.
    pub(crate) fn request(&self, planned: &PlannedRequest, id: &str) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.format.body(planned)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.pool.target().headers.clone();
        if let Some((name, value)) = planned.client.and_then(|client| self.clients.get(client)) {
            request.headers_mut().insert(name, value.clone());
        }
        if let Ok(id) = HeaderValue::from_str(id) {
            request.headers_mut().insert(REQUEST_ID, id);
        }
        request
    }

    /// Sends `request` and fills `reader` as the response arrives, so that a partial response is known even when this
    /// future is dropped.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        reader: &mut ResponseReader,
    ) -> Result<(), RequestFailure> {
        let (response, mut connection) = self.pool.send(request).await?;
        reader.head(&response);
        let mut body = response.into_body();
        while let Some(frame) = connection.frame(&mut body).await {
            if let Some(data) = frame?.data_ref() {
                reader.data(data, self.start);
            }
        }
        drop(body);
        self.pool.put(connection);
        Ok(())
    }

    /// A reader for a response that has not started.
    pub(crate) const fn reader(&self) -> ResponseReader {
        ResponseReader {
            route: self.route,
            status: None,
            worker: None,
            bytes: 0,
            first_event: None,
            body: BodyReader::None,
        }
    }

    pub(crate) fn since_start(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.start)
    }
}

/// What has arrived of a response.
#[derive(Debug)]
pub(crate) struct ResponseReader {
    route: Route,
    status: Option<u16>,
    worker: Option<String>,
    bytes: u64,
    first_event: Option<Duration>,
    body: BodyReader,
}

#[derive(Debug)]
enum BodyReader {
    None,
    Stream(StreamObserver),
    Whole(Vec<u8>),
}

impl ResponseReader {
    fn head(&mut self, response: &Response<Incoming>) {
        let headers = response.headers();
        self.status = Some(response.status().as_u16());
        self.worker = headers.get(WORKER).and_then(|v| v.to_str().ok()).map(str::to_owned);
        // By content type, since an error is not streamed even where a stream was requested.
        let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        self.body = if kind.starts_with(b"text/event-stream") {
            BodyReader::Stream(StreamObserver::new(self.route))
        } else {
            BodyReader::Whole(Vec::new())
        };
    }

    fn data(&mut self, data: &Bytes, start: Instant) {
        self.bytes += data.len() as u64;
        match &mut self.body {
            BodyReader::None => {}
            BodyReader::Whole(whole) => whole.extend_from_slice(data),
            BodyReader::Stream(watch) => {
                watch.push(data);
                if self.first_event.is_none() && watch.events() > 0 {
                    self.first_event = Some(start.elapsed());
                }
            }
        }
    }

    /// Fills `outcome` with what was read; `end` is how reading ended.
    pub(crate) fn finish(self, end: Result<(), RequestFailure>, outcome: &mut RequestOutcome) {
        outcome.status = self.status;
        outcome.worker = self.worker;
        outcome.bytes = self.bytes;
        outcome.first_event = self.first_event;
        let (facts, failure) = match self.body {
            BodyReader::None => (ResponseFacts::default(), None),
            BodyReader::Stream(watch) => judged(watch.finish(), RequestFailure::Cut),
            BodyReader::Whole(body) => match self.status {
                Some(200..=299) => judged(router_protocol::read_response(&body), RequestFailure::NotJson),
                status => refusal(router_protocol::read_response(&body), status, &body),
            },
        };
        outcome.facts = facts;
        // The error that ended reading is more specific than what the partial response lacks.
        outcome.failure = end.err().or(failure);
    }
}

/// The facts, and the failure in them; `incomplete` if the response has no end.
fn judged(mut facts: ResponseFacts, incomplete: RequestFailure) -> (ResponseFacts, Option<RequestFailure>) {
    let failure = match facts.error.take() {
        Some(error) => Some(RequestFailure::Engine(error.message)),
        None if facts.aborted => Some(RequestFailure::Aborted),
        None => (!facts.complete).then_some(incomplete),
    };
    (facts, failure)
}

fn refusal(
    mut facts: ResponseFacts,
    status: Option<u16>,
    body: &[u8],
) -> (ResponseFacts, Option<RequestFailure>) {
    let message = match facts.error.take() {
        Some(error) => error.message,
        None => String::from_utf8_lossy(body).trim().chars().take(EXCERPT).collect(),
    };
    (facts, status.map(|status| RequestFailure::Status { status, message }))
}
