//! Headers that a worker gets with a request beside those of its client.

use crate::headers::REQUEST_ID;
use crate::lease::Lease;
use crate::request_id::RequestName;
use crate::state::AppState;
use http::{HeaderMap, HeaderName, HeaderValue};
use router_telemetry::{Leg, TRACEPARENT, TraceContext};
use router_upstream::{LOAD_REPORT_HEADER, RANK_HEADER};

/// What a request is called, and its place in a distributed trace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestLabels<'a> {
    pub(crate) name: &'a RequestName,
    pub(crate) trace: Option<TraceContext>,
}

/// Adds the headers that the worker of `lease` gets beside those of the `client`.
pub(crate) fn add_worker_headers(
    state: &AppState,
    lease: &Lease,
    labels: RequestLabels<'_>,
    client: &HeaderMap,
    mut add: impl FnMut(HeaderName, &HeaderValue),
) {
    let candidate = &lease.candidate;
    if let Some(id) = made_id(state, lease, labels.name, client) {
        add(REQUEST_ID, &id);
    }
    if let Some(rank) = candidate.rank {
        add(RANK_HEADER, &rank.into());
    }
    if let Some(trace) = labels.trace {
        add(TRACEPARENT, &trace.traceparent(lease.info.attempt));
    }
    let wants_load = state.live().needs.load_reports && !client.contains_key(LOAD_REPORT_HEADER);
    if wants_load && candidate.worker.quirks().reports_load_in_headers {
        add(LOAD_REPORT_HEADER, &HeaderValue::from_static("JSON"));
    }
}

/// The id that a worker gets in place of the one that the client did not give. The legs of a split request find each
/// other by it at vLLM.
fn made_id(state: &AppState, lease: &Lease, name: &RequestName, client: &HeaderMap) -> Option<HeaderValue> {
    let is_split = lease.info.leg != Leg::Whole;
    if !(state.live().limits.send_id || is_split) || client.contains_key(REQUEST_ID) {
        return None;
    }
    // Both legs of one try have the same id.
    name.for_worker(if is_split { lease.info.attempt / 2 } else { lease.info.attempt })
}
