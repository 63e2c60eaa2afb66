//! Keeps a set of workers as the API server has their pods.

use crate::api_access::ApiAccess;
use crate::list_watch::{Follower, ObjectNews, ObjectQuery};
use crate::membership::{Membership, MembershipChange};
use crate::object::{EndpointSlice, Pod};
use crate::pace::Timing;
use crate::status::DiscoveryStatus;
use futures_util::future::{BoxFuture, select_all};
use router_config::DiscoveryConfig;
use std::sync::Arc;
use tokio::sync::mpsc::{Receiver, channel};
use tokio_util::sync::CancellationToken;

/// How many pieces of news may wait to be applied.
const NEWS: usize = 1024;
/// How many are applied at once.
const BATCH: usize = 256;
/// The label of an EndpointSlice that names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The workers that discovery adds, changes and drains.
pub trait WorkerSet: Send + Sync {
    /// Makes these changes, in their order.
    fn apply(&self, changes: Vec<MembershipChange>);

    /// Everything was listed again: what could not be done before may be tried again.
    fn retry(&self);
}

/// What the API server told.
enum News {
    Pods(usize, ObjectNews<Pod>),
    Slices(ObjectNews<EndpointSlice>),
}

/// Keeps `workers` as the API server has their pods, until `stopping`. While it cannot be reached, nothing changes.
pub async fn discover(
    config: DiscoveryConfig,
    workers: Arc<dyn WorkerSet>,
    status: Arc<DiscoveryStatus>,
    timing: Timing,
    stopping: CancellationToken,
) {
    let api = Arc::new(ApiAccess::new(config.kubeconfig.clone()));
    let (tell, news) = channel(NEWS);
    let mut followers: Vec<BoxFuture<'_, _>> = Vec::new();
    for (index, selector) in config.pods.iter().enumerate() {
        let query = ObjectQuery { namespace: config.namespace.clone(), labels: selector.labels.clone() };
        let (api, status, news) = (Arc::clone(&api), status.add_watch(), tell.clone());
        followers
            .push(Box::pin(Follower { api, query, status, news, wrap: News::Pods, index, timing }.follow()));
    }
    if let Some(service) = &config.service {
        let labels = format!("{SERVICE_NAME}={service}");
        let query = ObjectQuery { namespace: config.namespace.clone(), labels };
        let (api, status, news) = (Arc::clone(&api), status.add_watch(), tell.clone());
        let wrap = |_, news| News::Slices(news);
        followers.push(Box::pin(Follower { api, query, status, news, wrap, index: 0, timing }.follow()));
    }
    drop(tell);
    tokio::select! {
        () = stopping.cancelled() => {}
        _ = select_all(followers) => {}
        () = keep(Membership::new(config), workers, news) => {}
    }
}

/// Applies all news.
async fn keep(mut membership: Membership, workers: Arc<dyn WorkerSet>, mut news: Receiver<News>) {
    let mut batch = Vec::with_capacity(BATCH);
    while news.recv_many(&mut batch, BATCH).await > 0 {
        let mut was_listed = false;
        for piece in batch.drain(..) {
            was_listed |= take(&mut membership, piece);
        }
        let changes = membership.take_changes();
        if !changes.is_empty() {
            workers.apply(changes);
        }
        if was_listed {
            workers.retry();
        }
    }
}

/// Applies one piece of news; returns whether it is a list.
fn take(membership: &mut Membership, news: News) -> bool {
    match news {
        News::Pods(selector, ObjectNews::Applied(pod)) => membership.apply_pod(selector, &pod),
        News::Pods(selector, ObjectNews::Deleted(pod)) => membership.delete_pod(selector, &pod),
        News::Slices(ObjectNews::Applied(slice)) => membership.apply_slice(&slice),
        News::Slices(ObjectNews::Deleted(slice)) => membership.delete_slice(&slice),
        News::Pods(selector, ObjectNews::Listed { items, version, purpose }) => {
            membership.replace_pods(selector, &items, &version, purpose);
            return true;
        }
        News::Slices(ObjectNews::Listed { items, version, purpose }) => {
            membership.replace_slices(&items, &version, purpose);
            return true;
        }
    }
    false
}
