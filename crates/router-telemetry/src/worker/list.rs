//! The workers whose metrics are exported, and the sums of those that left.

use super::metrics::{TimeBuckets, WorkerMetrics};
use super::totals::WorkerTotals;
use crate::policy_names::PolicyNames;
use parking_lot::Mutex;
use router_config::MetricsPerWorker;
use router_core::PolicyNumber;
use std::collections::BTreeMap;
use std::sync::Arc;
use tracing::info;

/// The workers whose metrics are exported, of all balancers of one router.
#[derive(Debug)]
pub(crate) struct WorkerList {
    per_worker: MetricsPerWorker,
    buckets: TimeBuckets,
    policies: Arc<PolicyNames>,
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    /// By name and the first policy of the balancer.
    present: BTreeMap<(Arc<str>, Arc<str>), Member>,
    /// Those that left and on which a request may still end.
    leaving: Vec<Arc<WorkerMetrics>>,
    /// The sums of those that left: the fleet's counters never fall.
    left: WorkerTotals,
}

#[derive(Debug)]
struct Member {
    metrics: Arc<WorkerMetrics>,
    /// How many workers of the balancer have this name: two while one of them drains.
    users: u32,
}

/// What was counted at one moment.
#[derive(Debug)]
pub(crate) struct WorkerSums {
    /// Each worker by name; empty where workers have no series of their own.
    pub(crate) workers: Vec<(Arc<str>, WorkerTotals)>,
    /// All of them together, those that left included.
    pub(crate) fleet: WorkerTotals,
}

impl WorkerList {
    pub(crate) fn new(
        per_worker: MetricsPerWorker,
        buckets: TimeBuckets,
        policies: Arc<PolicyNames>,
    ) -> Self {
        Self { per_worker, buckets, policies, members: Mutex::default() }
    }

    /// Adds a worker to the balancer whose first policy was `first`; that with the number `policy` is live now.
    pub(crate) fn join(&self, first: &Arc<str>, policy: PolicyNumber, name: &Arc<str>) -> Arc<WorkerMetrics> {
        let mut members = self.members.lock();
        let before = members.present.len();
        let metrics = || Arc::new(WorkerMetrics::new(policy, self.buckets.clone()));
        let new = || Member { metrics: metrics(), users: 0 };
        let member = members.present.entry((Arc::clone(name), Arc::clone(first))).or_insert_with(new);
        member.users += 1;
        let metrics = Arc::clone(&member.metrics);
        self.log_change(before, members.present.len());
        metrics
    }

    /// Removes a worker, and with the last one of its name the series.
    pub(crate) fn leave(&self, first: &Arc<str>, name: &Arc<str>) {
        let mut members = self.members.lock();
        let before = members.present.len();
        let key = (Arc::clone(name), Arc::clone(first));
        let Some(member) = members.present.get_mut(&key) else { return };
        member.users -= 1;
        if member.users > 0 {
            return;
        }
        if let Some(member) = members.present.remove(&key) {
            members.leaving.push(member.metrics);
        }
        members.settle(&self.policies);
        self.log_change(before, members.present.len());
    }

    /// How many workers there are.
    pub(crate) fn len(&self) -> usize {
        self.members.lock().present.len()
    }

    /// Whether each worker has series of its own now.
    pub(crate) fn is_per_worker(&self) -> bool {
        self.per_worker.applies(self.len())
    }

    /// What was counted until now.
    pub(crate) fn sums(&self) -> WorkerSums {
        let mut members = self.members.lock();
        members.settle(&self.policies);
        let mut fleet = members.left.clone();
        for metrics in &members.leaving {
            fleet.add(&self.policies, metrics);
        }
        let present = members.present.iter();
        let present: Vec<_> =
            present.map(|((name, _), member)| (Arc::clone(name), Arc::clone(&member.metrics))).collect();
        // A worker that joins need not wait until thousands are added up.
        drop(members);
        let is_per_worker = self.per_worker.applies(present.len());
        let mut workers: Vec<(Arc<str>, WorkerTotals)> = Vec::new();
        for (name, metrics) in present {
            fleet.add(&self.policies, &metrics);
            if !is_per_worker {
                continue;
            }
            // A name that two balancers know stands twice in a row.
            if workers.last().is_none_or(|(last, _)| *last != name) {
                workers.push((name, WorkerTotals::default()));
            }
            if let Some((_, totals)) = workers.last_mut() {
                totals.add(&self.policies, &metrics);
            }
        }
        WorkerSums { workers, fleet }
    }

    /// Logs when workers get series of their own, or have them no more.
    fn log_change(&self, before: usize, now: usize) {
        let is_on = self.per_worker.applies(now);
        if is_on != self.per_worker.applies(before) {
            let limit = MetricsPerWorker::AUTO_LIMIT;
            if is_on {
                info!(limit, "metrics have series for each worker again");
            } else {
                info!(
                    limit,
                    "metrics have no series for each worker any more, because there are more than the limit; \
                    --metrics-per-worker on keeps them"
                );
            }
        }
    }
}

impl Members {
    /// Adds those that left to the sums, once nothing counts on them any more.
    fn settle(&mut self, policies: &PolicyNames) {
        for metrics in std::mem::take(&mut self.leaving) {
            match Arc::try_unwrap(metrics) {
                Ok(metrics) => self.left.add(policies, &metrics),
                Err(in_use) => self.leaving.push(in_use),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prometheus::family::Buckets;

    const FIRST: PolicyNumber = PolicyNumber(0);

    fn list(per_worker: MetricsPerWorker) -> WorkerList {
        WorkerList::new(per_worker, TimeBuckets::new(&Buckets::new(&[1.0])), Arc::default())
    }

    fn decisions(list: &WorkerList) -> (Vec<u64>, u64) {
        let sum = |totals: &WorkerTotals| totals.decisions.iter().map(|(_, count)| count).sum();
        let WorkerSums { workers, fleet } = list.sums();
        (workers.iter().map(|(_, totals)| sum(totals)).collect(), sum(&fleet))
    }

    #[test]
    fn fleet_keeps_counts_of_workers_that_left() {
        let (list, policy) = (list(MetricsPerWorker::Auto), Arc::<str>::from("p"));
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let (first, second) = (list.join(&policy, FIRST, &a), list.join(&policy, FIRST, &b));
        first.decided(FIRST);
        second.decided(FIRST);
        assert_eq!(decisions(&list), (vec![1, 1], 2));
        list.leave(&policy, &a);
        first.decided(FIRST);
        assert_eq!(decisions(&list), (vec![1], 3), "an attempt that ends later counts");
        drop(first);
        assert_eq!(decisions(&list), (vec![1], 3));
        assert!(list.members.lock().leaving.is_empty(), "nothing is kept of it but its sums");
    }

    #[test]
    fn name_that_joins_again_goes_on() {
        let (list, policy) = (list(MetricsPerWorker::On), Arc::<str>::from("p"));
        let name: Arc<str> = "a".into();
        let draining = list.join(&policy, FIRST, &name);
        draining.decided(FIRST);
        let new = list.join(&policy, FIRST, &name);
        list.leave(&policy, &name);
        new.decided(FIRST);
        assert_eq!(decisions(&list), (vec![2], 2));
        let prefill = list.join(&"q".into(), FIRST, &name);
        prefill.decided(FIRST);
        assert_eq!(decisions(&list), (vec![3], 3), "one series for the name, whatever balancer counts");
    }

    #[test]
    fn large_fleets_have_sums_alone() {
        let (list, policy) = (list(MetricsPerWorker::Auto), Arc::<str>::from("p"));
        let names: Vec<Arc<str>> =
            (0..=MetricsPerWorker::AUTO_LIMIT).map(|n| format!("w{n}").into()).collect();
        names.iter().for_each(|name| list.join(&policy, FIRST, name).decided(FIRST));
        assert_eq!(decisions(&list), (Vec::new(), 257));
        list.leave(&policy, &names[0]);
        assert_eq!(decisions(&list).0.len(), 256);
        assert_eq!(decisions(&list).1, 257);
    }
}
