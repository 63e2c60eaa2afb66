//! Where a request would go now, without sending it anywhere.

use super::service::{RouteBody, RouteRequest, RoutingService, unfit};
use super::{RequestHead, RouteError, request_features, resolve_model};
use crate::dispatch::elsewhere;
use crate::error::ProxyError;
use bytes::Bytes;
use router_core::{ExplainedDecision, NoWorker, Route, WorkerId};
use router_protocol::{OwnedFacts, RequestFacts};
use router_upstream::{Availability, WorkerPool};
use smallvec::SmallVec;
use std::sync::Arc;

/// What would be decided for a request.
#[derive(Clone, PartialEq, Debug)]
pub struct RoutePreview {
    /// The worker that it would go to.
    pub worker: String,
    /// Why.
    pub reason: &'static str,
    /// The policy that decides.
    pub policy: String,
    /// The model of the workers; `None` while it is not known.
    pub model: Option<String>,
    /// Prompt tokens that the worker is predicted to have in its cache, where the policy predicts that.
    pub predicted_cached_tokens: Option<u32>,
    /// What each candidate would cost, cheapest first; empty where the rule compares no costs.
    pub scores: Vec<PreviewScore>,
}

/// What one candidate would cost.
#[derive(Clone, PartialEq, Debug)]
pub struct PreviewScore {
    /// The worker.
    pub worker: String,
    /// Its cost; lower is better.
    pub cost: f64,
    /// The terms of the cost.
    pub terms: Vec<(&'static str, f64)>,
}

impl RoutingService {
    /// Where a request would go if it came now. Nothing is sent, counted, recorded or learned, and it waits for nothing: limits of
    /// requests in flight count, those of admission do not.
    ///
    /// # Errors
    /// There is no worker for it, or it cannot be routed so.
    pub async fn preview(&self, request: RouteRequest) -> Result<RoutePreview, RouteError> {
        let route = Route::of_path(request.head.uri.path());
        self.consider(request, route).await.map_err(|error| RouteError::new(error, route))
    }

    async fn consider(&self, request: RouteRequest, route: Route) -> Result<RoutePreview, ProxyError> {
        if self.state().models.first().disaggregation.is_some() {
            return Err(ProxyError::NotRoutable("--pd-disaggregation sends it to two workers"));
        }
        match &request.body {
            RouteBody::Whole(body) => {
                let whole = body.clone();
                let scanned = self.state().large_bodies.run(move || OwnedFacts::scan(route, &whole)).await;
                self.decide(&request, route, body, &scanned.facts()).await
            }
            RouteBody::Described(described) => {
                let body = described.body();
                let mut facts = router_protocol::scan(route, &body);
                described.complete(&mut facts);
                self.decide(&request, route, &Bytes::new(), &facts).await
            }
        }
    }

    async fn decide(
        &self,
        request: &RouteRequest,
        route: Route,
        body: &Bytes,
        facts: &RequestFacts<'_>,
    ) -> Result<RoutePreview, ProxyError> {
        let (state, head) = (self.state(), &request.head);
        let of_client = RequestHead { uri: &head.uri, headers: &head.headers, route };
        let resolved = resolve_model(state, of_client, body, facts).await?;
        let pool = &resolved.group.pool;
        let (mut prefix, now) = (Vec::new(), state.clock.now());
        let features = request_features(state, route, &head.headers, facts, now, &mut prefix);
        let mut excluded = elsewhere(pool, route, head.uri.path(), facts);
        excluded.add_unfit(&unfit(pool, request.subset.as_deref()));
        excluded.add_unfit(&resolved.unfit(pool));
        let mut without_cooling = SmallVec::<[WorkerId; 4]>::from_slice(excluded.ids());
        pool.candidates.exclude_cooling(now, &mut without_cooling);
        let decided = {
            let mut balancer = pool.balancer.lock();
            match balancer.preview(now, &features, &without_cooling) {
                Err(NoWorker) => balancer.preview(now, &features, excluded.ids()),
                decided => decided,
            }
        };
        match decided {
            Ok(decided) => Ok(preview(pool, decided)),
            Err(NoWorker) => Err(match pool.availability(&features, excluded.ids()) {
                Availability::AtCapacity => ProxyError::WorkersFull,
                Availability::Unavailable => ProxyError::no_worker(pool),
            }),
        }
    }
}

fn preview(pool: &Arc<WorkerPool>, decided: ExplainedDecision) -> RoutePreview {
    // One that has left in the same instant has no name any more.
    let name =
        |id| pool.candidates.get(id).map_or_else(String::new, |found| found.telemetry.name.to_string());
    let ExplainedDecision { policy, decision, mut scores } = decided;
    scores.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    let score = |score: &router_core::CandidateScore| PreviewScore {
        worker: name(score.worker),
        cost: score.cost,
        terms: score.terms.as_slice().iter().map(|term| (term.name, term.value)).collect(),
    };
    RoutePreview {
        worker: name(decision.worker),
        reason: decision.reason.as_str(),
        policy: policy.into(),
        model: pool.model.name().map(|model| model.to_string()),
        predicted_cached_tokens: decision.predicted_cached_tokens,
        scores: scores.iter().map(score).collect(),
    }
}
