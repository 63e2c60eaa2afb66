//! One request and its answer, measured.

use crate::connection::Pool;
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

/// Where the router says which worker answered.
const WORKER: HeaderName = HeaderName::from_static("x-sglang-worker");
/// Where it takes the request's id from.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest piece of a body that is no error object and still told as one, in characters.
const EXCERPT: usize = 200;

/// Makes requests, sends them and reads the answers.
#[derive(Debug)]
pub(crate) struct Exchanger {
    pool: Pool,
    format: RequestFormat,
    uri: Uri,
    route: Route,
    /// Every time counts from here.
    start: Instant,
}

impl Exchanger {
    pub(crate) fn new(pool: Pool, format: RequestFormat, start: Instant) -> Self {
        let route = format.endpoint.route();
        let path = format!("{}{}", pool.target().base, route.as_str());
        // Both parts come out of URLs that have been parsed.
        let uri = path.parse().unwrap_or_default();
        Self { pool, format, uri, route, start }
    }

    /// The request for `request`, which the router shall know as `id`.
    pub(crate) fn request(&self, request: &PlannedRequest, id: &str) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.format.body(request)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.pool.target().headers.clone();
        if let Ok(id) = HeaderValue::from_str(id) {
            request.headers_mut().insert(REQUEST_ID, id);
        }
        request
    }

    /// Sends `request` and fills in `reading` as the answer comes, so that what had come by then is known even when
    /// this is given up.
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

    /// A reading of an answer that has not begun.
    pub(crate) const fn reader(&self) -> ResponseReader {
        ResponseReader {
            route: self.route,
            status: None,
            worker: None,
            bytes: 0,
            first_event: None,
            body: Body::None,
        }
    }

    pub(crate) fn since_start(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.start)
    }
}

/// What has come of an answer.
#[derive(Debug)]
pub(crate) struct ResponseReader {
    route: Route,
    status: Option<u16>,
    worker: Option<String>,
    bytes: u64,
    first_event: Option<Duration>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    None,
    Stream(StreamObserver),
    Whole(Vec<u8>),
}

impl ResponseReader {
    fn head(&mut self, response: &Response<Incoming>) {
        let headers = response.headers();
        self.status = Some(response.status().as_u16());
        self.worker = headers.get(WORKER).and_then(|v| v.to_str().ok()).map(str::to_owned);
        // The answer says what it is: an error is not streamed even where a stream was asked for.
        let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        self.body = if kind.starts_with(b"text/event-stream") {
            Body::Stream(StreamObserver::new(self.route))
        } else {
            Body::Whole(Vec::new())
        };
    }

    fn data(&mut self, data: &Bytes, start: Instant) {
        self.bytes += data.len() as u64;
        match &mut self.body {
            Body::None => {}
            Body::Whole(whole) => whole.extend_from_slice(data),
            Body::Stream(watch) => {
                watch.push(data);
                if self.first_event.is_none() && watch.events() > 0 {
                    self.first_event = Some(start.elapsed());
                }
            }
        }
    }

    /// Puts what was read into `answer`; `end` is how the reading ended.
    pub(crate) fn finish(self, end: Result<(), RequestFailure>, outcome: &mut RequestOutcome) {
        outcome.status = self.status;
        outcome.worker = self.worker;
        outcome.bytes = self.bytes;
        outcome.first_event = self.first_event;
        let (facts, failure) = match self.body {
            Body::None => (ResponseFacts::default(), None),
            Body::Stream(watch) => judged(watch.finish(), RequestFailure::Cut),
            Body::Whole(body) => match self.status {
                Some(200..=299) => judged(router_protocol::read_response(&body), RequestFailure::NotJson),
                status => refusal(router_protocol::read_response(&body), status, &body),
            },
        };
        outcome.facts = facts;
        // What broke the reading says more than what the part that came lacks.
        outcome.failure = end.err().or(failure);
    }
}

/// The facts, and what in them is no success; `incomplete` where they lack an end.
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
