//! Keeps a set of workers as the API server has their pods.

use crate::api_access::ApiAccess;
use crate::inference_pool::PoolMembers;
use crate::list_watch::{Follower, ObjectNews, ObjectQuery, Stopped};
use crate::membership::{Membership, MembershipChange};
use crate::object::{EndpointSlice, InferencePool, Pod};
use crate::pace::Timing;
use crate::status::{DiscoveryStatus, WatchStatus};
use futures_util::future::{BoxFuture, select_all};
use router_config::{DiscoveryConfig, PodSelector};
use std::sync::Arc;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::sync::watch;
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
    let discovery = Discovery { api, status, timing, namespace: config.namespace.clone(), workers };
    let kept = async {
        match config.pool.clone() {
            Some(pool) => discovery.keep_pool(config, pool).await,
            None => {
                let watches = discovery.watches(&config);
                discovery.keep_members(&config, &watches, &mut Membership::new(config.clone())).await;
            }
        }
    };
    tokio::select! {
        () = stopping.cancelled() => {}
        () = kept => {}
    }
}

/// What all followers share.
struct Discovery {
    api: Arc<ApiAccess>,
    status: Arc<DiscoveryStatus>,
    timing: Timing,
    namespace: Option<String>,
    workers: Arc<dyn WorkerSet>,
}

impl Discovery {
    /// Keeps the members of a pool, whatever its selector and its ports become.
    async fn keep_pool(&self, config: DiscoveryConfig, pool: String) {
        let (tell, mut news) = channel(NEWS);
        let query = ObjectQuery { name: Some(pool), ..self.query("") };
        let mut members = PoolMembers::new(&query);
        let (api, status, timing) = (Arc::clone(&self.api), self.status.add_watch(), self.timing);
        let wrap = |_, news: ObjectNews<InferencePool>| news;
        let follower = Follower { api, query, status, news: tell, wrap, index: 0, timing };
        let (select, selected) = watch::channel(Vec::new());
        let read = async {
            while let Some(piece) = news.recv().await {
                if let Some(pods) = members.take(piece) {
                    select.send_replace(pods);
                }
            }
        };
        tokio::select! {
            Stopped = follower.follow() => {}
            () = read => {}
            () = self.keep_selected(config, selected) => {}
        }
    }

    /// Keeps the pods of the selectors that are told.
    async fn keep_selected(
        &self,
        mut config: DiscoveryConfig,
        mut selected: watch::Receiver<Vec<PodSelector>>,
    ) {
        let watches = [self.status.add_watch()];
        let mut membership = Membership::new(config.clone());
        loop {
            config.pods = selected.borrow_and_update().clone();
            membership.select(config.pods.clone());
            if config.pods.is_empty() {
                self.workers.apply(membership.take_changes());
            }
            tokio::select! {
                changed = selected.changed() => if changed.is_err() { return },
                () = self.keep_members(&config, &watches, &mut membership), if !config.pods.is_empty() => return,
            }
        }
    }

    /// An entry of the status for each follower of [`keep_members`](Self::keep_members).
    fn watches(&self, config: &DiscoveryConfig) -> Vec<Arc<WatchStatus>> {
        let count = config.pods.len() + usize::from(config.service.is_some());
        (0..count).map(|_| self.status.add_watch()).collect()
    }

    /// Keeps the workers as the pods of `config` are.
    async fn keep_members(
        &self,
        config: &DiscoveryConfig,
        watches: &[Arc<WatchStatus>],
        membership: &mut Membership,
    ) {
        let (tell, news) = channel(NEWS);
        let mut watches = watches.iter().cloned();
        let mut followers: Vec<BoxFuture<'_, Stopped>> = Vec::new();
        // The ports of a pod have the same labels, and stand side by side.
        let pods = config.pods.chunk_by(|a, b| a.labels == b.labels);
        let mut index = 0;
        for alike in pods {
            let (query, news) = (self.query(&alike[0].labels), tell.clone());
            let (api, status) = (Arc::clone(&self.api), watches.next().unwrap_or_default());
            let (wrap, timing) = (News::Pods, self.timing);
            followers.push(Box::pin(Follower { api, query, status, news, wrap, index, timing }.follow()));
            index += alike.len();
        }
        if let Some(service) = &config.service {
            let (query, news) = (self.query(&format!("{SERVICE_NAME}={service}")), tell.clone());
            let (api, status) = (Arc::clone(&self.api), watches.next().unwrap_or_default());
            let (wrap, timing) = (|_, news| News::Slices(news), self.timing);
            followers.push(Box::pin(Follower { api, query, status, news, wrap, index: 0, timing }.follow()));
        }
        drop(tell);
        tokio::select! {
            _ = select_all(followers) => {}
            () = keep(membership, &*self.workers, news) => {}
        }
    }

    fn query(&self, labels: &str) -> ObjectQuery {
        ObjectQuery { namespace: self.namespace.clone(), labels: labels.to_owned(), name: None }
    }
}

/// Applies all news. It may be dropped at any time: what was taken from `news` has been applied.
async fn keep(membership: &mut Membership, workers: &dyn WorkerSet, mut news: Receiver<News>) {
    let mut batch = Vec::with_capacity(BATCH);
    while news.recv_many(&mut batch, BATCH).await > 0 {
        let mut was_listed = false;
        for piece in batch.drain(..) {
            was_listed |= take(membership, piece);
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
