//! The workers to which a request for several of them goes.

use super::named_worker::{home, named};
use super::reply::refuse;
use crate::error::ProxyError;
use crate::response::{RouterBody, error_response};
use crate::state::AppState;
use http::uri::PathAndQuery;
use http::{Response, StatusCode, Uri};
use router_core::Route;
use router_upstream::{Worker, WorkerPool};
use std::borrow::Cow;
use std::sync::Arc;

/// One worker, and the pool to which it belongs.
#[derive(Clone, Debug)]
pub(super) struct Recipient {
    pub(super) pool: Arc<WorkerPool>,
    pub(super) worker: Arc<Worker>,
}

/// All workers of all pools, those of one model (`model=`), or those that the query names with `worker=`.
#[derive(Debug)]
pub(super) struct Recipients {
    pub(super) workers: Vec<Recipient>,
    /// Whether they are all workers of the model, or of the router.
    pub(super) is_whole_fleet: bool,
    /// Whether they may serve different models: there are several, and the request chose neither a model nor workers.
    pub(super) may_differ: bool,
    /// What the workers are asked for: the request's path and query without the names of workers.
    pub(super) path: PathAndQuery,
}

/// Why a request has no recipients.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoRecipients {
    /// A name that is no worker's.
    #[error("no worker '{0}' is in the fleet")]
    UnknownWorker(String),
    /// A name that is no model's.
    #[error(transparent)]
    Model(ProxyError),
    /// Workers and a model at once.
    #[error("worker= and model= cannot be combined")]
    Both,
}

impl NoRecipients {
    pub(super) fn response(&self) -> Response<RouterBody> {
        match self {
            Self::Model(error) => error_response(error, Route::Other),
            Self::UnknownWorker(_) => refuse(StatusCode::NOT_FOUND, &self.to_string(), "worker_not_found"),
            Self::Both => refuse(StatusCode::BAD_REQUEST, &self.to_string(), "invalid_query"),
        }
    }
}

impl Recipients {
    /// The recipients of a request. A worker with several ranks is one recipient, by whichever rank it is named.
    pub(super) fn of(state: &Arc<AppState>, uri: &Uri) -> Result<Self, NoRecipients> {
        let Selection { workers: names, model, path } = Selection::of(uri);
        if !names.is_empty() && model.is_some() {
            return Err(NoRecipients::Both);
        }
        let mut workers: Vec<Recipient> = Vec::new();
        for name in &names {
            let candidate = named(state, name).ok_or_else(|| NoRecipients::UnknownWorker(name.clone()))?;
            if !workers.iter().any(|known| Arc::ptr_eq(&known.worker, &candidate.worker)) {
                let pool = home(state, &candidate);
                workers.push(Recipient { pool, worker: Arc::clone(&candidate.worker) });
            }
        }
        let mut groups = state.models.groups();
        let may_differ = groups.len() > 1 && names.is_empty() && model.is_none();
        if let Some(model) = model {
            groups = vec![state.models.group_of(&model).map_err(NoRecipients::Model)?];
        }
        if names.is_empty() {
            for pool in groups.iter().flat_map(|group| group.pools()) {
                let all = pool.candidates.workers().into_iter();
                workers.extend(all.map(|worker| Recipient { pool: Arc::clone(pool), worker }));
            }
        }
        Ok(Self { workers, is_whole_fleet: names.is_empty(), may_differ, path })
    }
}

/// What a query chooses, and the path with the rest of the query.
#[derive(Debug)]
struct Selection {
    workers: Vec<String>,
    model: Option<String>,
    path: PathAndQuery,
}

impl Selection {
    fn of(uri: &Uri) -> Self {
        let as_it_is = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        let (mut workers, mut model, mut rest) = (Vec::new(), None, Vec::new());
        for pair in uri.query().into_iter().flat_map(|query| query.split('&')) {
            match url::form_urlencoded::parse(pair.as_bytes()).next() {
                Some((name, value)) if name == "worker" => workers.push(Cow::into_owned(value)),
                Some((name, value)) if name == "model" => model = Some(Cow::into_owned(value)),
                _ => rest.push(pair),
            }
        }
        if workers.is_empty() && model.is_none() {
            return Self { workers, model, path: as_it_is };
        }
        let rest = rest.join("&");
        let path = if rest.is_empty() { uri.path().to_owned() } else { format!("{}?{rest}", uri.path()) };
        // A part of a valid target is valid.
        Self { workers, model, path: path.parse().unwrap_or(as_it_is) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_out_of_the_query() {
        for (target, names, rest) in [
            ("/sleep?level=1", &[][..], "/sleep?level=1"),
            ("/sleep?worker=0.1", &["0.1"], "/sleep"),
            (
                "/sleep?worker=http%3A%2F%2Fa%3A1&level=1&worker=http://b:2&x",
                &["http://a:1", "http://b:2"],
                "/sleep?level=1&x",
            ),
        ] {
            let Selection { workers: found, path, .. } = Selection::of(&target.parse().unwrap());
            assert_eq!(
                (found, path.as_str()),
                (names.iter().map(|n| (*n).to_owned()).collect(), rest),
                "{target}"
            );
        }
    }
}
