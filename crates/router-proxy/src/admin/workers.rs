//! `/workers`: lists, adds, changes and removes workers.
//!
//! `/add_worker`, `/remove_worker` and `/list_workers` are older routes for the same.

use super::body;
use super::named_worker::{at, home, named};
use super::reply::{json, refuse};
use crate::models::JoinError;
use crate::response::RouterBody;
use crate::state::AppState;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use router_config::{KnownFields, KnownFieldsError, WorkerKind, WorkerSpec, WorkerUpdate};
use router_core::Time;
use router_telemetry::BreakerState;
use router_upstream::{Arrival, Candidate, HealthProblem, HealthState, MembershipError, Worker, WorkerPool};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;

/// A route of the workers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WorkersEndpoint {
    /// All workers.
    List,
    /// Adds a worker.
    Join,
    /// Shows one worker.
    One,
    /// Changes a worker.
    Update,
    /// Removes a worker.
    Leave,
    /// The URLs of all workers.
    OldList,
    /// Adds a worker by URL.
    OldJoin,
    /// Removes a worker by URL.
    OldLeave,
}

impl WorkersEndpoint {
    pub(super) fn of(method: &Method, path: &str) -> Option<Self> {
        let one = path.strip_prefix("/workers/").is_some_and(|id| !id.is_empty());
        match (method, path) {
            (&Method::GET, "/workers") => Some(Self::List),
            (&Method::POST, "/workers") => Some(Self::Join),
            (&Method::GET, _) if one => Some(Self::One),
            (&Method::PUT | &Method::PATCH, _) if one => Some(Self::Update),
            (&Method::DELETE, _) if one => Some(Self::Leave),
            (&Method::GET | &Method::HEAD, "/list_workers") => Some(Self::OldList),
            (&Method::POST, "/add_worker") => Some(Self::OldJoin),
            (&Method::POST, "/remove_worker") => Some(Self::OldLeave),
            _ => None,
        }
    }
}

/// Why a request about workers is invalid.
#[derive(Debug, thiserror::Error)]
pub enum WorkersError {
    /// The body did not arrive.
    #[error("the body could not be read: {0}")]
    Body(String),
    /// The body is no worker.
    #[error("the body is not a valid worker: {0}")]
    Parse(KnownFieldsError),
    /// The body names no URL.
    #[error("the worker's URL is missing; write \"url\": \"http://HOST:PORT\"")]
    NoUrl,
    /// The query names no URL.
    #[error("the worker's URL is missing; write ?url=http://HOST:PORT")]
    NoUrlInQuery,
    /// No worker has this id or URL.
    #[error("no worker '{0}' is in the fleet")]
    Unknown(String),
    /// The router has no workers of this kind.
    #[error("{0}")]
    Kind(&'static str),
    /// The worker cannot be added or changed.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// The router cannot make room for another model.
    #[error("the workers of another model cannot be added: {0}")]
    Model(String),
}

impl From<JoinError> for WorkersError {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Membership(error) => Self::Membership(error),
            JoinError::Kind(problem) => Self::Kind(problem),
            JoinError::Group(error) => Self::Model(error.to_string()),
        }
    }
}

impl WorkersError {
    /// The response in the form that other routers have for these routes, which is not that of OpenAI.
    fn response(&self) -> Response<RouterBody> {
        let (status, code) = match self {
            Self::Unknown(_) => (StatusCode::NOT_FOUND, "WORKER_NOT_FOUND"),
            Self::Membership(MembershipError::Present(_)) => (StatusCode::CONFLICT, "WORKER_ALREADY_EXISTS"),
            Self::Model(_) => (StatusCode::INTERNAL_SERVER_ERROR, "WORKER_NOT_ADDED"),
            _ => (StatusCode::BAD_REQUEST, "BAD_REQUEST"),
        };
        json(status, &json!({"error": self.to_string(), "code": code}))
    }

    /// The response of the older routes.
    fn old_response(&self) -> Response<RouterBody> {
        let (status, code) = match self {
            Self::Membership(MembershipError::Absent(_)) => (StatusCode::NOT_FOUND, "worker_not_found"),
            _ => (StatusCode::BAD_REQUEST, "invalid_worker"),
        };
        refuse(status, &self.to_string(), code)
    }
}

/// Serves a request about workers.
pub(super) async fn answer(
    state: &Arc<AppState>,
    endpoint: WorkersEndpoint,
    request: Request<Incoming>,
) -> Response<RouterBody> {
    let result = match endpoint {
        WorkersEndpoint::List => Ok(json(StatusCode::OK, &list(state))),
        WorkersEndpoint::Join => join(state, request).await,
        WorkersEndpoint::One => {
            find(state, &request).map(|w| json(StatusCode::OK, &describe(&home(state, &w), &w)))
        }
        WorkersEndpoint::Update => update(state, request).await,
        WorkersEndpoint::Leave => {
            find(state, &request).map(|worker| json(StatusCode::ACCEPTED, &leave(state, &worker)))
        }
        WorkersEndpoint::OldList => Ok(urls(state)),
        WorkersEndpoint::OldJoin | WorkersEndpoint::OldLeave => {
            return old_change(state, endpoint, &request).unwrap_or_else(|error| error.old_response());
        }
    };
    result.unwrap_or_else(|error| error.response())
}

async fn join(
    state: &Arc<AppState>,
    request: Request<Incoming>,
) -> Result<Response<RouterBody>, WorkersError> {
    let KnownFields { value: spec, warnings } = read::<WorkerSpec>(request).await?;
    let body = add(state, &spec)?;
    let location = body["location"].as_str().and_then(|location| location.parse().ok());
    let mut response = json(StatusCode::ACCEPTED, &with_warnings(body, warnings));
    if let Some(location) = location {
        response.headers_mut().insert(http::header::LOCATION, location);
    }
    Ok(response)
}

/// Adds a worker; the body of the response.
pub(super) fn add(state: &Arc<AppState>, spec: &WorkerSpec) -> Result<Value, WorkersError> {
    if spec.url.is_empty() {
        return Err(WorkersError::NoUrl);
    }
    let worker = state.models.join(spec, Arrival::default())?;
    let id = home(state, &worker).public_id(&worker);
    Ok(json!({"status": "accepted", "worker_id": id, "url": worker.worker.url.as_str(),
        "location": format!("/workers/{id}"),
        "message": "the worker gets requests once its health check has passed"}))
}

async fn update(
    state: &Arc<AppState>,
    request: Request<Incoming>,
) -> Result<Response<RouterBody>, WorkersError> {
    let worker = find(state, &request)?;
    let KnownFields { value: update, warnings } = read::<WorkerUpdate>(request).await?;
    // The worker counts in the group of each model that it serves.
    for (pool, member) in state.models.members_at(&worker.worker.url) {
        pool.update(&member.worker, update.clone()).map_err(MembershipError::from)?;
    }
    Ok(json(StatusCode::OK, &with_warnings(describe(&home(state, &worker), &worker), warnings)))
}

/// A response body with the warnings about the request, if there are any.
fn with_warnings(mut body: Value, warnings: Vec<String>) -> Value {
    if let (Value::Object(members), false) = (&mut body, warnings.is_empty()) {
        members.insert("warnings".to_owned(), warnings.into());
    }
    body
}

/// Removes a worker; the body of the response.
pub(super) fn leave(state: &Arc<AppState>, worker: &Arc<Candidate>) -> Value {
    let id = home(state, worker).public_id(worker);
    state.models.begin_drain(&worker.worker.url);
    json!({"status": "accepted", "worker_id": id, "url": worker.worker.url.as_str(),
        "message": "the worker gets no new requests and is gone when those that it has are done"})
}

/// The worker that the path names, by id or by URL.
fn find(state: &AppState, request: &Request<Incoming>) -> Result<Arc<Candidate>, WorkersError> {
    let wanted = request.uri().path().trim_start_matches("/workers/");
    let wanted = percent_decode_str(wanted).decode_utf8_lossy().into_owned();
    named(state, &wanted).ok_or(WorkersError::Unknown(wanted))
}

async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<KnownFields<T>, WorkersError> {
    let body = body::read(request.into_body()).await.map_err(|e| WorkersError::Body(e.to_string()))?;
    KnownFields::read(&body).map_err(WorkersError::Parse)
}

/// All workers; the body of the response.
pub(super) fn list(state: &Arc<AppState>) -> Value {
    let all: Vec<_> = state.pools().flat_map(|pool| pool.candidates.all()).collect();
    let workers: Vec<_> = all.iter().map(|w| describe(&home(state, w), w)).collect();
    let count = |health| all.iter().filter(|w| w.health() == health).count();
    let kind = |kind| all.iter().filter(|w| w.worker.profile.load().kind == kind).count();
    let stats = json!({"regular_count": kind(WorkerKind::Regular), "prefill_count": kind(WorkerKind::Prefill),
        "decode_count": kind(WorkerKind::Decode),
        "pending": count(HealthState::Pending), "healthy": count(HealthState::Healthy),
        "unhealthy": count(HealthState::Unhealthy), "not_ready": count(HealthState::NotReady),
        "draining": count(HealthState::Draining)});
    json!({"total": workers.len(), "workers": workers, "stats": stats})
}

fn describe(pool: &WorkerPool, worker: &Arc<Candidate>) -> Value {
    let profile = worker.worker.profile.load();
    let (health, told) = (worker.health(), &profile.reported);
    let now = pool.clock.now();
    let load = pool.worker_load(worker);
    json!({
        "id": pool.public_id(worker),
        "url": &*worker.telemetry.name,
        "model_id": profile.model(),
        "models": told.models.iter().map(|model| &model.id).collect::<Vec<_>>(),
        "state": health.as_str(),
        "is_healthy": health == HealthState::Healthy,
        "last_error": last_error(pool, worker, now),
        "not_ready": not_ready(pool, &worker.worker, now),
        "breaker": breaker(worker, now),
        "load": load.as_ref().map_or(0, |l| l.in_flight),
        "waiting": load.as_ref().and_then(|l| l.waiting),
        "is_overloaded": load.as_ref().is_some_and(|l| l.is_overloaded),
        "weight": profile.weight,
        "priority": profile.priority,
        "cost": profile.cost,
        "labels": profile.labels,
        "metadata": profile.labels,
        "worker_type": profile.kind,
        "bootstrap_port": profile.bootstrap_port,
        "connection_mode": worker.worker.connection_mode(),
        "runtime_type": profile.engine(),
        "version": told.version,
        "max_running_requests": told.max_running_requests,
        "max_total_num_tokens": told.max_total_tokens,
        "context_length": told.context_length,
        "dp_rank": worker.rank,
        "dp_size": told.dp_size,
        "tp_size": told.tp_size,
        "weight_version": told.weight_version,
        "missed_update": missed_update(pool, &worker.worker, now),
        "disable_health_check": worker.worker.health_config.load().is_none(),
        "job_status": job_status(pool, &worker.worker),
    })
}

/// Why the worker's checks or connections fail, and since when; `None` while they succeed.
fn last_error(pool: &WorkerPool, worker: &Candidate, now: Time) -> Option<Value> {
    let HealthProblem { failure, since } = worker.worker.problem()?;
    Some(json!({"reason": failure.reason.as_str(), "message": failure.message,
        "since": pool.clock.unix(since).as_secs_f64(), "for_secs": now.since(since).as_secs_f64()}))
}

/// Why the worker is not ready, and since when; `None` while it is.
fn not_ready(pool: &WorkerPool, worker: &Worker, now: Time) -> Option<Value> {
    let problem = worker.readiness_problem()?;
    Some(json!({"reason": problem.reason, "since": pool.clock.unix(problem.since).as_secs_f64(),
        "for_secs": now.since(problem.since).as_secs_f64()}))
}

/// The weight update that the worker missed, and since when; `None` while it has the fleet's weights.
fn missed_update(pool: &WorkerPool, worker: &Worker, now: Time) -> Option<Value> {
    let missed = worker.missed_update()?;
    Some(
        json!({"call": missed.update.call, "weight_version": missed.update.version.as_deref(), "message": missed.reason,
        "gets_requests": !pool.excludes_weights_of(worker),
        "since": pool.clock.unix(missed.since).as_secs_f64(), "for_secs": now.since(missed.since).as_secs_f64()}),
    )
}

fn breaker(worker: &Candidate, now: Time) -> Option<Value> {
    let told = worker.worker.breaker(now)?;
    let retry_in = told.open_until.map(|until| until.since(now).as_secs_f64());
    Some(
        json!({"state": told.state.as_str(), "faults_in_window": told.failures, "good_in_window": told.successes,
        "probed_in_secs": retry_in.filter(|_| told.state == BreakerState::Open)}),
    )
}

/// The job that adds or removes the worker, in the form of sglang-router; `None` when none is running.
fn job_status(pool: &WorkerPool, worker: &Worker) -> Option<Value> {
    let (job, message) = match worker.health() {
        HealthState::Pending => ("AddWorker", "the worker has not passed a health check yet"),
        HealthState::Draining => ("RemoveWorker", "the worker finishes the requests that it has"),
        HealthState::Healthy | HealthState::Unhealthy | HealthState::NotReady | HealthState::Gone => {
            return None;
        }
    };
    let since = pool.clock.unix(worker.membership_changed_at()).as_secs();
    Some(
        json!({"job_type": job, "worker_url": worker.url.as_str(), "status": "processing", "message": message,
        "timestamp": since}),
    )
}

/// The workers that are not leaving.
fn urls(state: &AppState) -> Response<RouterBody> {
    let all = state.pools().flat_map(|pool| pool.candidates.all());
    let present = all.filter(|w| w.health() != HealthState::Draining);
    let urls: Vec<_> = present.map(|w| w.telemetry.name.to_string()).collect();
    json(StatusCode::OK, &json!({"urls": urls}))
}

/// Adds or removes the worker of `?url=`.
fn old_change(
    state: &Arc<AppState>,
    endpoint: WorkersEndpoint,
    request: &Request<Incoming>,
) -> Result<Response<RouterBody>, WorkersError> {
    let query = request.uri().query().unwrap_or("");
    let url = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "url");
    let url = url.map(|(_, url)| url.into_owned()).ok_or(WorkersError::NoUrlInQuery)?;
    if endpoint == WorkersEndpoint::OldJoin {
        state.models.join(&WorkerSpec { url, ..WorkerSpec::default() }, Arrival::default())?;
    } else {
        let worker = at(state, &url).map_err(|e| MembershipError::Spec(e.into()))?;
        let worker = worker.ok_or(MembershipError::Absent(url))?;
        state.models.begin_drain(&worker.worker.url);
    }
    Ok(urls(state))
}
