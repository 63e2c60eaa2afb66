//! Answers which worker a request should go to, for those that carry it themselves.

use super::body_buffer::BodyBuffer;
use super::rejection_record::{RejectedRequest, record_rejection};
use super::route_error::RouteError;
use super::worker_headers::{RequestLabels, add_worker_headers};
use super::{RequestHead, request_features, resolve_model, wait_for_batch};
use crate::carried::{RequestOutline, RoutedRequest};
use crate::dispatch::{Dispatcher, ExcludedWorkers, elsewhere};
use crate::error::ProxyError;
use crate::large_body::is_large;
use crate::lease::{ClientRid, Lease};
use crate::request_body::BodyCollector;
use crate::request_id::RequestName;
use crate::security::{ListenerKind, Peer, RequiredRole};
use crate::state::AppState;
use bytes::Bytes;
use http::Request;
use http::request::Parts;
use router_core::{RequestFeatures, Route, Time, WorkerId};
use router_protocol::{OwnedFacts, RequestFacts};
use router_telemetry::{Leg, TraceContext};
use router_upstream::{Candidate, WorkerPool};
use serde::Deserialize;
use serde_json::json;
use smallvec::SmallVec;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tokio::time::Instant;

/// Answers which worker a request should go to, with the balancer, the limits and the records of a running router.
///
/// ```no_run
/// # use router_proxy::{RouteBody, RouteRequest, RoutingService};
/// # async fn example(service: RoutingService) -> Result<(), router_proxy::RouteError> {
/// let (head, ()) = http::Request::post("/v1/chat/completions").body(()).unwrap_or_default().into_parts();
/// let body = RouteBody::Whole(r#"{"messages":[{"role":"user","content":"hi"}]}"#.into());
/// let routed = service.route(RouteRequest { head, body, subset: None, fallbacks: 1 }).await?;
/// println!("{:?} because of {}", routed.worker(), routed.reason());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RoutingService {
    state: Arc<AppState>,
}

/// A request that needs a worker.
#[derive(Debug)]
pub struct RouteRequest {
    /// Its method, its path and its headers.
    pub head: Parts,
    /// What is known of its body.
    pub body: RouteBody,
    /// The only workers that it may go to, as `host:port`; all of them when absent.
    pub subset: Option<Vec<String>>,
    /// How many further workers are named that may have it when the first one fails.
    pub fallbacks: usize,
}

/// What is known of a request's body.
#[derive(Debug)]
pub enum RouteBody {
    /// The body.
    Whole(Bytes),
    /// What the caller says of it.
    Described(DescribedRequest),
}

/// A request as its caller describes it who does not give its prompt away. Absent means unknown.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DescribedRequest {
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u32>,
    /// Length of the prompt in bytes; without it, four for each token.
    pub prompt_bytes: Option<u64>,
    /// The model that it asks for.
    pub model: Option<String>,
    /// Whether its response is streamed.
    pub stream: bool,
    /// Most tokens of its response.
    pub max_tokens: Option<u32>,
    /// Its session or its user: the routing key, where no header of the request has one.
    pub key: Option<String>,
}

/// Bytes of a prompt that make about one token.
const BYTES_PER_TOKEN: u64 = 4;

impl DescribedRequest {
    /// A body that says the same, without a prompt.
    pub(super) fn body(&self) -> Vec<u8> {
        let mut body = json!({"stream": self.stream});
        if let Some(model) = &self.model {
            body["model"] = json!(model);
        }
        if let Some(limit) = self.max_tokens {
            body["max_tokens"] = json!(limit);
        }
        if let Some(key) = &self.key {
            body["user"] = json!(key);
        }
        body.to_string().into_bytes()
    }

    /// Adds to the facts of that body what it cannot say.
    pub(super) fn complete(&self, facts: &mut RequestFacts<'_>) {
        let guessed = self.prompt_tokens.map_or(0, |tokens| BYTES_PER_TOKEN * u64::from(tokens));
        facts.prompt_bytes = self.prompt_bytes.unwrap_or(guessed);
        facts.prompt_tokens = self.prompt_tokens;
    }
}

/// One request on its way to a worker.
#[derive(Clone, Copy, Debug)]
struct Call<'a> {
    head: &'a Parts,
    route: Route,
    name: &'a RequestName,
    trace: Option<TraceContext>,
    received_at: Time,
    subset: Option<&'a [String]>,
    fallbacks: usize,
}

impl RoutingService {
    pub(crate) const fn new(state: Arc<AppState>) -> Self {
        Self { state }
    }

    pub(super) const fn state(&self) -> &Arc<AppState> {
        &self.state
    }

    /// Whether requests find a worker.
    pub fn is_ready(&self) -> bool {
        self.state.is_ready()
    }

    /// Collects the body of a request that comes piece by piece.
    pub fn body_buffer(&self) -> BodyBuffer {
        BodyBuffer::new(BodyCollector::new(&self.state))
    }

    /// Checks the key of a client of `--api-key`. A key that is accepted is removed from the headers: workers must not get it.
    ///
    /// # Errors
    /// When the key is missing or is not one that is accepted.
    pub fn authorize(&self, head: Parts) -> Result<Parts, RouteError> {
        let route = Route::of_path(head.uri.path());
        let peer = Peer { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), listener: ListenerKind::Main };
        let mut request = Request::from_parts(head, ());
        let authorized = self.state.authenticator.authorize(peer, RequiredRole::User, &mut request);
        authorized.map(|()| request.into_parts().0).map_err(|error| RouteError::new(error, route))
    }

    /// A worker for a request, which then has the request in flight. Waits for one as a request to the router itself does: for its
    /// turn, for a worker below its cap, and for one in service where `--queue-when-unavailable` says so.
    ///
    /// # Errors
    /// Those of the router itself: no worker, no room, too many that wait. Prefill and decode apart, and ranks, cannot be routed so.
    pub async fn route(&self, request: RouteRequest) -> Result<RoutedRequest, RouteError> {
        let RouteRequest { mut head, body, subset, fallbacks } = request;
        let state = &self.state;
        let received_at = state.clock.now();
        let route = Route::of_path(head.uri.path());
        let name = state.ids.of(&head.headers, &state.live().limits.id_headers, route);
        let trace = state.trace_ids.as_ref().and_then(|ids| ids.start_request(&mut head.headers));
        let call = Call {
            head: &head,
            route,
            name: &name,
            trace,
            received_at,
            subset: subset.as_deref(),
            fallbacks,
        };
        self.admit(&call, body).await.map_err(|error| {
            let rejected = RejectedRequest { id: name.id(), trace, route, received_at };
            record_rejection(state, &rejected, &error);
            state.main.telemetry.response_started(
                route,
                error.status().as_u16(),
                state.clock.now().since(received_at),
            );
            RouteError::new(error, route)
        })
    }

    /// Ends a request whose worker its caller cannot reach, before anything was sent to it. Returns what the client is to be told.
    pub fn unreachable(&self, mut request: RoutedRequest) -> RouteError {
        let error = ProxyError::NoResponse;
        request.not_answered(error.status());
        RouteError::new(error, request.route())
    }

    /// Waits until the request is admitted, and looks into its body.
    async fn admit(&self, call: &Call<'_>, body: RouteBody) -> Result<RoutedRequest, ProxyError> {
        let (state, route) = (&self.state, call.route);
        if state.models.first().disaggregation.is_some() {
            return Err(ProxyError::NotRoutable("--pd-disaggregation sends it to two workers"));
        }
        state.admission.reject_if_full()?;
        let permit = state.admission.acquire().await?;
        let routed = match body {
            RouteBody::Whole(body) if is_large(&body) => {
                let whole = body.clone();
                let scanned = state.large_bodies.run(move || OwnedFacts::scan(route, &whole)).await;
                self.dispatch(call, &body, &scanned.facts()).await
            }
            RouteBody::Whole(body) => self.dispatch(call, &body, &router_protocol::scan(route, &body)).await,
            RouteBody::Described(described) => {
                let body = described.body();
                let mut facts = router_protocol::scan(route, &body);
                described.complete(&mut facts);
                self.dispatch(call, &Bytes::new(), &facts).await
            }
        };
        routed.map(|routed| routed.holding(permit))
    }

    /// Dispatches the request, and finds its fallbacks.
    async fn dispatch(
        &self,
        call: &Call<'_>,
        body: &Bytes,
        facts: &RequestFacts<'_>,
    ) -> Result<RoutedRequest, ProxyError> {
        let (state, Call { head, route, received_at, .. }) = (&self.state, *call);
        let of_client = RequestHead { uri: &head.uri, headers: &head.headers, route };
        let resolved = resolve_model(state, of_client, body, facts).await?;
        let pool = &resolved.group.pool;
        let mut prefix = Vec::new();
        let features = request_features(state, route, &head.headers, facts, received_at, &mut prefix);
        wait_for_batch(state, pool, route).await;
        let mut excluded = elsewhere(pool, route, head.uri.path(), facts);
        excluded.add_unfit(&unfit(pool, call.subset));
        excluded.add_unfit(&resolved.unfit(pool));
        let dispatcher = Dispatcher {
            pool,
            leg: Leg::Whole,
            id: call.name.id(),
            trace: call.trace,
            notes: None,
            received_at,
            rid: ClientRid::of(facts),
            headers: &head.headers,
        };
        let lease = match dispatcher.try_dispatch(&features, excluded.ids()) {
            Some(lease) => lease,
            None => {
                let until = state.live().retry.queue.map(|patience| Instant::now() + patience);
                dispatcher.first_worker(&features, &mut excluded, until).await?
            }
        };
        if lease.candidate.rank.is_some() {
            return Err(ProxyError::NotRoutable("with --dp-aware the router sets the rank in its body"));
        }
        let fallbacks = fallbacks(&lease, &features, excluded, call.fallbacks);
        let mut headers = Vec::new();
        let labels = RequestLabels { name: call.name, trace: call.trace };
        add_worker_headers(state, &lease, labels, &head.headers, |name, value| {
            headers.push((name, value.clone()));
        });
        let outline = RequestOutline {
            name: call.name.clone(),
            trace: call.trace,
            received_at,
            features: features.detached(),
            prefix,
        };
        Ok(RoutedRequest::new(outline, lease, fallbacks).with_headers(headers))
    }
}

/// The workers that a request may not go to: those outside its subset, and those that are reached by gRPC alone.
pub(super) fn unfit(pool: &WorkerPool, subset: Option<&[String]>) -> Vec<WorkerId> {
    let all = pool.candidates.all();
    let is_fit = |candidate: &Candidate| {
        let target = &candidate.worker.target;
        let is_in = |subset: &[String]| {
            let address = format!("{}:{}", target.authority().host(), target.port());
            subset.contains(&address)
        };
        !candidate.worker.is_grpc_only() && subset.is_none_or(is_in)
    };
    all.iter().filter(|candidate| !is_fit(candidate)).map(|candidate| candidate.id).collect()
}

/// The next best workers after that of `lease`, at most `wanted` of them.
fn fallbacks(
    lease: &Lease,
    features: &RequestFeatures<'_>,
    mut excluded: ExcludedWorkers,
    wanted: usize,
) -> Vec<Arc<Candidate>> {
    if wanted == 0 {
        return Vec::new();
    }
    let pool = lease.pool();
    excluded.exclude(&lease.candidate, &pool.candidates);
    let mut excluded = SmallVec::<[WorkerId; 4]>::from_slice(excluded.ids());
    let now = pool.clock.now();
    pool.candidates.exclude_cooling(now, &mut excluded);
    let mut balancer = pool.balancer.lock();
    let next = || {
        let next = balancer.next_best(now, features, &excluded).ok()?.worker;
        excluded.push(next);
        pool.candidates.get(next)
    };
    std::iter::from_fn(next).take(wanted).collect()
}
