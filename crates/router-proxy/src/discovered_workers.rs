//! The workers that Kubernetes has: they join, change and drain as their pods do.
//!
//! Discovery touches only workers that it added itself. One that was configured, or added by the admin routes, stays.

use crate::state::AppState;
use parking_lot::Mutex;
use router_config::{DiscoveryConfig, WorkerUpdate, WorkerUrl};
use router_kubernetes::{DiscoveredWorker, MembershipChange, Timing, WorkerSet, discover};
use router_upstream::{Arrival, Candidate, Readiness, WorkerPool};
use std::collections::HashMap;
use std::sync::Arc;
use tracing::warn;

/// The workers that discovery added, by the UID of their pod.
struct DiscoveredWorkers {
    state: Arc<AppState>,
    members: Mutex<HashMap<String, Member>>,
}

/// A pod that is to be a worker.
enum Member {
    Joined(WorkerUrl),
    /// It could not join: someone else has added a worker with its URL, or an annotation does not fit. It is tried again.
    Refused(Box<DiscoveredWorker>),
}

/// Starts discovery. It ends with the router.
pub(crate) fn start(state: &Arc<AppState>, config: DiscoveryConfig) {
    let workers = DiscoveredWorkers { state: Arc::clone(state), members: Mutex::default() };
    let (status, stopping) = (Arc::clone(&state.discovery), state.main.stopping.clone());
    state.main.tasks.spawn(discover(config, Arc::new(workers), status, Timing::default(), stopping));
}

impl WorkerSet for DiscoveredWorkers {
    fn apply(&self, changes: Vec<MembershipChange>) {
        let mut members = self.members.lock();
        for change in changes {
            match change {
                MembershipChange::Draining { uid } => {
                    if let Some(Member::Joined(url)) = members.remove(&uid)
                        && !self.own_members(&uid, &url).is_empty()
                    {
                        self.state.models.begin_drain(&url);
                    }
                }
                MembershipChange::Joined(worker) => {
                    let (uid, member) = (worker.uid.clone(), self.join(worker, Attempt::First));
                    members.insert(uid, member);
                }
                MembershipChange::Updated { uid, update } => match members.get_mut(&uid) {
                    Some(Member::Joined(url)) => {
                        for (pool, member) in self.own_members(&uid, url) {
                            if let Err(error) = pool.update(&member.worker, WorkerUpdate::clone(&update)) {
                                warn!(worker = %url, %error, "a pod's new values cannot be used");
                            }
                        }
                    }
                    Some(Member::Refused(worker)) => worker.spec.apply(*update),
                    None => {}
                },
                MembershipChange::Readiness { uid, problem } => match members.get_mut(&uid) {
                    Some(Member::Joined(url)) => {
                        for (pool, member) in self.own_members(&uid, url) {
                            member.worker.set_readiness(&pool, readiness(problem.clone()));
                        }
                    }
                    Some(Member::Refused(worker)) => worker.problem = problem,
                    None => {}
                },
                MembershipChange::Warning { pod, annotation } => {
                    warn!(pod, annotation, "an annotation of a pod cannot be read and has no effect");
                }
            }
        }
    }

    fn retry(&self) {
        let mut members = self.members.lock();
        let refused: Vec<String> = members
            .iter()
            .filter(|(_, member)| matches!(member, Member::Refused(_)))
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in refused {
            if let Some(Member::Refused(worker)) = members.remove(&uid) {
                let member = self.join(worker, Attempt::Repeated);
                members.insert(uid, member);
            }
        }
    }
}

/// Whether a pod has tried to join before; the log tells of the first failure only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    First,
    Repeated,
}

impl DiscoveredWorkers {
    fn join(&self, worker: Box<DiscoveredWorker>, attempt: Attempt) -> Member {
        let owner = Some(worker.uid.as_str().into());
        let arrival = Arrival { readiness: readiness(worker.problem.clone()), owner };
        match self.state.models.join(&worker.spec, arrival) {
            Ok(candidate) => Member::Joined(candidate.worker.url.clone()),
            Err(error) => refuse(worker, attempt, &error.to_string()),
        }
    }

    /// The members of all groups that are the worker of this pod, and not one that someone else added at its address meanwhile.
    fn own_members(&self, uid: &str, url: &WorkerUrl) -> Vec<(Arc<WorkerPool>, Arc<Candidate>)> {
        let mut members = self.state.models.members_at(url);
        members.retain(|(_, member)| member.worker.owner.as_deref() == Some(uid));
        members
    }
}

fn refuse(worker: Box<DiscoveredWorker>, attempt: Attempt, error: &str) -> Member {
    if attempt == Attempt::First {
        let label = |name: &str| worker.spec.labels.get(name).map_or("", String::as_str);
        let pod = format!("{}/{}", label("namespace"), label("pod"));
        warn!(pod, url = worker.spec.url, error, "a pod cannot become a worker");
    }
    Member::Refused(worker)
}

fn readiness(problem: Option<String>) -> Readiness {
    problem.map_or(Readiness::Ready, Readiness::NotReady)
}
