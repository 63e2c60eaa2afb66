//! The workers to which a request for several of them goes.

use super::named_worker::{home, named};
use crate::state::AppState;
use http::Uri;
use http::uri::PathAndQuery;
use router_upstream::{Worker, WorkerPool};
use std::borrow::Cow;
use std::sync::Arc;

/// One worker, and the pool to which it belongs.
#[derive(Clone, Debug)]
pub(super) struct Recipient {
    pub(super) pool: Arc<WorkerPool>,
    pub(super) worker: Arc<Worker>,
}

/// All workers of all pools, or those that the query names with `worker=`.
#[derive(Debug)]
pub(super) struct Recipients {
    pub(super) workers: Vec<Recipient>,
    /// Whether the request did not choose among the workers.
    pub(super) is_whole_fleet: bool,
    /// What the workers are asked for: the request's path and query without the names of workers.
    pub(super) path: PathAndQuery,
}

/// A name that is no worker's.
#[derive(Debug, thiserror::Error)]
#[error("no worker '{0}' is in the fleet")]
pub(super) struct UnknownWorker(String);

impl Recipients {
    /// The recipients of a request. A worker with several ranks is one recipient, by whichever rank it is named.
    pub(super) fn of(state: &Arc<AppState>, uri: &Uri) -> Result<Self, UnknownWorker> {
        let (names, path) = split_query(uri);
        let mut workers: Vec<Recipient> = Vec::new();
        for name in &names {
            let candidate = named(state, name).ok_or_else(|| UnknownWorker(name.clone()))?;
            if !workers.iter().any(|known| Arc::ptr_eq(&known.worker, &candidate.worker)) {
                let pool = Arc::clone(home(state, &candidate));
                workers.push(Recipient { pool, worker: Arc::clone(&candidate.worker) });
            }
        }
        if names.is_empty() {
            for pool in state.pools() {
                let all = pool.candidates.workers().into_iter();
                workers.extend(all.map(|worker| Recipient { pool: Arc::clone(pool), worker }));
            }
        }
        Ok(Self { workers, is_whole_fleet: names.is_empty(), path })
    }
}

/// The workers that a query names, and the path with the rest of the query.
fn split_query(uri: &Uri) -> (Vec<String>, PathAndQuery) {
    let as_it_is = || uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let Some(query) = uri.query() else { return (Vec::new(), as_it_is()) };
    let mut names = Vec::new();
    let mut rest = Vec::new();
    for pair in query.split('&') {
        match url::form_urlencoded::parse(pair.as_bytes()).next() {
            Some((name, value)) if name == "worker" => names.push(Cow::into_owned(value)),
            _ => rest.push(pair),
        }
    }
    if names.is_empty() {
        return (names, as_it_is());
    }
    let rest = rest.join("&");
    let path = if rest.is_empty() { uri.path().to_owned() } else { format!("{}?{rest}", uri.path()) };
    // A part of a valid target is valid.
    (names, path.parse().unwrap_or_else(|_| as_it_is()))
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
            let (found, path) = split_query(&target.parse().unwrap());
            assert_eq!(
                (found, path.as_str()),
                (names.iter().map(|n| (*n).to_owned()).collect(), rest),
                "{target}"
            );
        }
    }
}
