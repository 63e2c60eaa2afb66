//! Discovery that runs against an API server, and what it told.

use super::api_server::ApiServer;
use parking_lot::Mutex;
use router_config::{DiscoveryConfig, PodSelector, WorkerKind};
use router_kubernetes::{DiscoveryStatus, MembershipChange, Timing, WorkerSet, discover};
use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// A hang is a failure; no test needs nearly this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where pods serve that do not say it.
pub const PORT: NonZeroU16 = NonZeroU16::new(30000).unwrap();

/// Lists come a hundred times sooner than in a router, so that tests need not wait.
pub const FAST: Timing = Timing {
    answer: Duration::from_secs(20),
    watch_secs: 120,
    audit: Duration::from_millis(300),
    first_pause: Duration::from_millis(20),
    longest_pause: Duration::from_millis(200),
};

/// The workers by the UID of their pod, as they were told.
#[derive(Default)]
pub struct Told {
    pub workers: Mutex<BTreeMap<String, Worker>>,
    pub history: Mutex<Vec<String>>,
    changed: Notify,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Worker {
    pub url: String,
    pub problem: Option<String>,
}

impl WorkerSet for Told {
    fn apply(&self, changes: Vec<MembershipChange>) {
        let mut workers = self.workers.lock();
        for change in changes {
            self.history.lock().push(format!("{change:?}"));
            match change {
                MembershipChange::Draining { uid } => {
                    assert!(workers.remove(&uid).is_some(), "{uid} drains and was no worker");
                }
                MembershipChange::Joined(worker) => {
                    let url = worker.spec.url;
                    assert!(workers.values().all(|other| other.url != url), "two workers at {url}");
                    let before = workers.insert(worker.uid, Worker { url, problem: worker.problem });
                    assert_eq!(before, None, "it joined twice");
                }
                MembershipChange::Readiness { uid, problem } => {
                    workers.get_mut(&uid).unwrap().problem = problem;
                }
                MembershipChange::Updated { .. } | MembershipChange::Warning { .. } => {}
            }
        }
        drop(workers);
        self.changed.notify_one();
    }

    fn retry(&self) {
        self.changed.notify_one();
    }
}

/// Discovery that runs.
pub struct Discovery {
    pub told: Arc<Told>,
    pub status: Arc<DiscoveryStatus>,
    pub folder: TempDir,
    _running: AbortOnDropHandle<()>,
}

pub fn config(labels: &str) -> DiscoveryConfig {
    DiscoveryConfig {
        pods: vec![PodSelector { kind: WorkerKind::Regular, labels: labels.to_owned(), port: PORT }],
        pool: None,
        namespace: Some("default".to_owned()),
        service: None,
        model: None,
        kubeconfig: None,
    }
}

impl Discovery {
    /// Of the pods with the label `app=sglang`.
    pub fn start(server: &ApiServer) -> Self {
        Self::start_with(server, config("app=sglang"), FAST)
    }

    pub fn start_with(server: &ApiServer, config: DiscoveryConfig, timing: Timing) -> Self {
        let folder = TempDir::new().unwrap();
        let config = DiscoveryConfig { kubeconfig: Some(server.kubeconfig(folder.path())), ..config };
        let (told, status) = (Arc::<Told>::default(), Arc::<DiscoveryStatus>::default());
        let work = discover(config, told.clone(), Arc::clone(&status), timing, CancellationToken::new());
        Self { told, status, folder, _running: AbortOnDropHandle::new(tokio::spawn(work)) }
    }

    /// Waits until `is_so`.
    pub async fn until(&self, what: &str, mut is_so: impl FnMut(&BTreeMap<String, Worker>) -> bool) {
        let wait = async {
            while !is_so(&self.told.workers.lock()) {
                // Figures of the status change without a change of a worker.
                let _ = tokio::time::timeout(Duration::from_millis(5), self.told.changed.notified()).await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            panic!("not so: {what}: {:?}\n{:#?}", self.told.workers.lock(), self.told.history.lock());
        }
    }

    /// Waits until the workers are these, by UID.
    pub async fn until_workers(&self, uids: &[&str]) {
        self.until(&format!("{uids:?}"), |workers| workers.keys().eq(uids.iter())).await;
    }
}
