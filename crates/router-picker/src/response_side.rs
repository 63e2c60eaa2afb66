//! What is learned of the response to a request.

use crate::answers::Side;
use crate::destination::{LB_NAMESPACE, SERVED};
use crate::messages::metadata::{Metadata, Struct};
use crate::messages::processing::{BodySendMode, HeaderMutation, HttpBody, HttpHeaders, ProcessingResponse};
use crate::request_side::{Routed, pass_on};
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use std::collections::{HashMap, VecDeque};

/// Names the worker that served, as it does in responses of the router itself.
const WORKER: &str = "x-sglang-worker";

/// Set by Envoy in responses of workers, and not in its own.
const UPSTREAM_TIME: &str = "x-envoy-upstream-service-time";

/// Attributes that a gateway may be configured to send.
const UPSTREAM_ADDRESS: &str = "upstream.address";
const CODE_DETAILS: &str = "response.code_details";

/// How [`CODE_DETAILS`] begins in a worker's response.
const VIA_UPSTREAM: &str = "via_upstream";

/// The response on its way to the client.
#[derive(Debug, Default)]
pub(crate) struct ResponseSide {
    routed: Option<Routed>,
}

impl ResponseSide {
    /// The request has a worker.
    pub(crate) fn begin(&mut self, routed: Routed) {
        self.routed = Some(routed);
    }

    /// The head of the response has come.
    pub(crate) fn headers(
        &mut self,
        message: HttpHeaders,
        metadata: Option<&Metadata>,
        attributes: &HashMap<String, Struct>,
        mode: BodySendMode,
        out: &mut VecDeque<ProcessingResponse>,
    ) {
        let is_whole = message.end_of_stream;
        let head = head(message);
        let mut mutation = None;
        if let Some(Routed { request, endpoints }) = &mut self.routed {
            let attribute = |name| attributes.values().find_map(|values| values.text(name));
            let details = attribute(CODE_DETAILS);
            if is_of_gateway(&head, details) {
                request.not_answered(head.status);
            } else {
                let served = metadata.and_then(|all| all.get(LB_NAMESPACE, SERVED)?.text());
                if let Some(served) = served.or_else(|| attribute(UPSTREAM_ADDRESS)) {
                    let known = endpoints.iter().find(|(endpoint, _)| endpoint == served);
                    request.served_by(known.map_or(served, |(_, url)| url));
                }
                if let Some(name) = request.worker_name() {
                    let mut set = HeaderMutation::default();
                    set.set(WORKER, Bytes::copy_from_slice(name.as_bytes()));
                    mutation = Some(set);
                }
                if mode == BodySendMode::None && !is_whole {
                    request.response_without_body(&head);
                } else {
                    request.response_started(&head);
                    if is_whole {
                        request.response_ended();
                    }
                }
            }
        }
        out.push_back(Side::Response.headers(mutation));
    }

    /// A chunk of the body has come; it goes on as it is.
    pub(crate) fn body(
        &mut self,
        message: HttpBody,
        mode: BodySendMode,
        out: &mut VecDeque<ProcessingResponse>,
    ) {
        let HttpBody { body, end_of_stream } = message;
        if let Some(routed) = &mut self.routed {
            routed.request.response_data(&body);
            if end_of_stream {
                routed.request.response_ended();
            }
        }
        pass_on(Side::Response, body, end_of_stream, mode, out);
    }

    /// The trailers have come, and with them the end of the body.
    pub(crate) fn trailers(&mut self, out: &mut VecDeque<ProcessingResponse>) {
        if let Some(routed) = &mut self.routed {
            routed.request.response_ended();
        }
        out.push_back(Side::Response.trailers());
    }
}

/// Whether the gateway made the response itself because no worker gave one.
fn is_of_gateway(head: &Parts, details: Option<&str>) -> bool {
    if let Some(details) = details {
        return !details.starts_with(VIA_UPSTREAM);
    }
    let is_gateway_error = matches!(
        head.status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    );
    is_gateway_error && !head.headers.contains_key(UPSTREAM_TIME)
}

fn head(message: HttpHeaders) -> Parts {
    let (mut head, ()) = Response::new(()).into_parts();
    for (key, value) in message.into_pairs() {
        if key == ":status" {
            head.status = StatusCode::from_bytes(&value).unwrap_or_default();
        } else if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(key.as_bytes()), HeaderValue::from_maybe_shared(value))
        {
            head.headers.append(name, value);
        }
    }
    head
}
