//! The names of workers, as the recorder's thread knows them: records carry ids.

use super::WorkerTelemetry;
use router_core::WorkerId;
use std::sync::Arc;

/// The workers of one balancer that records may refer to.
///
/// The queue tells of each that joins or leaves, in its place among the records.
#[derive(Debug)]
pub(crate) struct WorkerNames {
    /// By slot.
    current: Vec<Option<Arc<WorkerTelemetry>>>,
    /// Those that left, to which attempts that still run may refer.
    former: Vec<FormerWorker>,
    /// What a worker is called that was never told of.
    unknown: Arc<str>,
}

#[derive(Debug)]
struct FormerWorker {
    telemetry: Arc<WorkerTelemetry>,
    /// Nothing outside of the recorder referred to it when the queue was last empty.
    is_unused: bool,
}

impl Default for WorkerNames {
    fn default() -> Self {
        Self { current: Vec::new(), former: Vec::new(), unknown: Arc::from("") }
    }
}

impl WorkerNames {
    /// A worker joined; it may take the slot of one that left.
    pub(crate) fn join(&mut self, telemetry: &Arc<WorkerTelemetry>) {
        let slot = telemetry.id.slot();
        if self.current.len() <= slot {
            self.current.resize(slot + 1, None);
        }
        let before = self.current[slot].replace(Arc::clone(telemetry));
        self.former.extend(before.map(FormerWorker::new));
    }

    /// A worker left. Attempts that still run on it have records to come.
    pub(crate) fn leave(&mut self, id: WorkerId) {
        let left = self.current.get_mut(id.slot()).and_then(|entry| entry.take_if(|worker| worker.id == id));
        self.former.extend(left.map(FormerWorker::new));
    }

    /// Forgets workers that left and that no record refers to any more. Called when every record that was queued before the
    /// last call has been processed.
    pub(crate) fn forget_unused(&mut self) {
        self.former.retain_mut(|worker| {
            let was_unused = worker.is_unused;
            // An attempt holds its worker until its last record is queued; that record may still be in the queue.
            worker.is_unused = Arc::strong_count(&worker.telemetry) == 1;
            !(was_unused && worker.is_unused)
        });
    }

    /// The name of a worker.
    pub(crate) fn name(&self, id: WorkerId) -> &Arc<str> {
        let current = self.current.get(id.slot()).and_then(Option::as_ref).filter(|worker| worker.id == id);
        let former = || self.former.iter().map(|worker| &worker.telemetry).find(|worker| worker.id == id);
        current.or_else(former).map_or(&self.unknown, |worker| &worker.name)
    }
}

impl FormerWorker {
    const fn new(telemetry: Arc<WorkerTelemetry>) -> Self {
        Self { telemetry, is_unused: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use router_core::{Balancer, FleetUpdate, PolicyOptions, Registry, Time, WorkerInfo};

    #[test]
    fn worker_keeps_its_name_until_last_record() {
        let spec = Registry::builtin().build("round_robin", &PolicyOptions::new()).unwrap();
        let (mut balancer, metrics) = (Balancer::new(spec, 1), Metrics::new("round_robin"));
        let mut join = |name: &str| {
            let id = balancer.join(Time::ZERO, WorkerInfo::new(name));
            balancer.apply(Time::ZERO, FleetUpdate::Leave(id));
            let name: Arc<str> = name.into();
            let metrics = metrics.worker(&name);
            Arc::new(WorkerTelemetry { id, url: Arc::clone(&name), name, metrics })
        };
        let (old, new) = (join("old"), join("new"));
        assert_eq!(old.id.slot(), new.id.slot());
        let (old_id, mut names) = (old.id, WorkerNames::default());
        names.join(&old);
        names.leave(old_id);
        names.join(&new);
        names.forget_unused();
        names.forget_unused();
        assert_eq!((&**names.name(old_id), &**names.name(new.id)), ("old", "new"), "an attempt still runs");
        drop(old);
        names.forget_unused();
        assert_eq!(&**names.name(old_id), "old", "its last record may be in the queue");
        names.forget_unused();
        assert!(names.former.is_empty());
        assert_eq!((&**names.name(old_id), &**names.name(new.id)), ("", "new"));
    }
}
