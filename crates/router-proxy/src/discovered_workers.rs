//! The workers that Kubernetes has: they join, change and drain as their pods do.
//!
//! Discovery touches only workers that it added itself. One that was configured, or added by the admin routes, stays.

use crate::admin::pool_of;
use crate::state::AppState;
use parking_lot::Mutex;
use router_config::{DiscoveryConfig, WorkerUpdate};
use router_kubernetes::{DiscoveredWorker, MembershipChange, Timing, WorkerSet, discover};
use router_upstream::{Candidate, Readiness, WorkerPool};
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
    Joined(Arc<WorkerPool>, Arc<Candidate>),
    /// It could not join: someone else has added a worker with its URL, or an annotation does not fit. It is tried again.
    Refused(Box<DiscoveredWorker>),
}

/// Starts discovery. It ends with the router.
pub(crate) fn start(state: &Arc<AppState>, config: DiscoveryConfig) {
    let workers = DiscoveredWorkers { state: Arc::clone(state), members: Mutex::default() };
    let (status, stopping) = (Arc::clone(&state.discovery), state.pool.stopping.clone());
    state.pool.tasks.spawn(discover(config, Arc::new(workers), status, Timing::default(), stopping));
}

impl WorkerSet for DiscoveredWorkers {
    fn apply(&self, changes: Vec<MembershipChange>) {
        let mut members = self.members.lock();
        for change in changes {
            match change {
                MembershipChange::Draining { uid } => {
                    if let Some(Member::Joined(pool, candidate)) = members.remove(&uid) {
                        pool.begin_drain(&candidate.worker);
                    }
                }
                MembershipChange::Joined(worker) => {
                    let (uid, member) = (worker.uid.clone(), self.join(worker, Attempt::First));
                    members.insert(uid, member);
                }
                MembershipChange::Updated { uid, update } => match members.get_mut(&uid) {
                    Some(Member::Joined(pool, candidate)) => {
                        if let Err(error) = pool.update(&candidate.worker, *update) {
                            warn!(worker = %candidate.worker.url, %error, "a pod's new values cannot be used");
                        }
                    }
                    Some(Member::Refused(worker)) => update_refused(worker, *update),
                    None => {}
                },
                MembershipChange::Readiness { uid, problem } => match members.get_mut(&uid) {
                    Some(Member::Joined(pool, candidate)) => {
                        candidate.worker.set_readiness(pool, readiness(problem));
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
        let pool = match pool_of(&self.state, worker.spec.worker_type) {
            Ok(pool) => pool,
            Err(error) => return refuse(worker, attempt, &error.to_string()),
        };
        match pool.join_with(&worker.spec, readiness(worker.problem.clone())) {
            Ok(candidate) => Member::Joined(Arc::clone(pool), candidate),
            Err(error) => refuse(worker, attempt, &error.to_string()),
        }
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

fn update_refused(worker: &mut DiscoveredWorker, update: WorkerUpdate) {
    let spec = &mut worker.spec;
    spec.weight = update.weight.unwrap_or(spec.weight);
    spec.cost = update.cost.unwrap_or(spec.cost);
    spec.priority = update.priority.unwrap_or(spec.priority);
    spec.labels = update.labels.unwrap_or_else(|| std::mem::take(&mut spec.labels));
}

fn readiness(problem: Option<String>) -> Readiness {
    problem.map_or(Readiness::Ready, Readiness::NotReady)
}
