//! What has changed from one snapshot to the next.

use crate::decision::DecisionRow;
use crate::problem::Problem;
use crate::snapshot::{
    DECISIONS_KEPT, ModelRow, PoolScale, QueueState, RouterState, ShadowRow, Snapshot, Totals,
};
use crate::worker::{WorkerChange, WorkerRow};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// What has changed since the snapshot before. A part that is absent is as it was; one that is present replaces the old one, but
/// `workers`, `joined`, `left` and `decisions`, which change single rows.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Delta {
    /// The number of the snapshot that it leads to; that before is one less.
    pub seq: u64,
    /// The moment.
    pub at: f64,
    /// See [`Snapshot::router`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub router: Option<RouterState>,
    /// See [`Snapshot::totals`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub totals: Option<Totals>,
    /// See [`Snapshot::problems`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problems: Option<Vec<Problem>>,
    /// Workers of which something has changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workers: Vec<WorkerChange>,
    /// Workers that have joined.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub joined: Vec<WorkerRow>,
    /// The ids of workers that have left.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
    /// See [`Snapshot::queue`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueState>,
    /// See [`Snapshot::scale`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<Vec<PoolScale>>,
    /// Decisions that were made since, the newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<DecisionRow>,
    /// See [`Snapshot::shadows`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadows: Option<Vec<ShadowRow>>,
    /// See [`Snapshot::models`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<ModelRow>>,
}

fn changed<T: PartialEq + Clone>(old: &T, new: &T) -> Option<T> {
    (old != new).then(|| new.clone())
}

impl Delta {
    /// What leads from `old` to `new`. Decisions of `new` that are not newer than the last one of `old` are taken to be in both.
    pub fn between(old: &Snapshot, new: &Snapshot) -> Self {
        let mut delta = Self {
            seq: new.seq,
            at: new.at,
            router: changed(&old.router, &new.router),
            totals: changed(&old.totals, &new.totals),
            problems: changed(&old.problems, &new.problems),
            queue: changed(&old.queue, &new.queue),
            scale: changed(&old.scale, &new.scale),
            shadows: changed(&old.shadows, &new.shadows),
            models: changed(&old.models, &new.models),
            ..Self::default()
        };
        let last = old.decisions.last();
        let known = last.and_then(|last| new.decisions.iter().rposition(|row| row == last));
        delta.decisions = new.decisions[known.map_or(0, |at| at + 1)..].to_vec();
        delta.compare_workers(&old.workers, &new.workers);
        delta
    }

    fn compare_workers(&mut self, old: &[WorkerRow], new: &[WorkerRow]) {
        // Most often the same workers are at the same places.
        let mut by_id: Option<HashMap<&str, &WorkerRow>> = None;
        for (at, row) in new.iter().enumerate() {
            let before = match old.get(at) {
                Some(before) if before.id == row.id => Some(before),
                _ => {
                    let by_id =
                        by_id.get_or_insert_with(|| old.iter().map(|row| (row.id.as_str(), row)).collect());
                    by_id.get(row.id.as_str()).copied()
                }
            };
            match before {
                Some(before) => self.workers.extend(before.change_to(row)),
                None => self.joined.push(row.clone()),
            }
        }
        if by_id.is_some() || old.len() > new.len() {
            let present: HashSet<_> = new.iter().map(|row| row.id.as_str()).collect();
            let left = old.iter().filter(|row| !present.contains(row.id.as_str()));
            self.left = left.map(|row| row.id.clone()).collect();
        }
    }
}

impl Snapshot {
    /// Brings this snapshot up to date. Workers that have joined come last; workers that are not known are ignored.
    pub fn apply(&mut self, delta: Delta) {
        (self.seq, self.at) = (delta.seq, delta.at);
        replace(&mut self.router, delta.router);
        replace(&mut self.totals, delta.totals);
        replace(&mut self.problems, delta.problems);
        replace(&mut self.queue, delta.queue);
        replace(&mut self.scale, delta.scale);
        replace(&mut self.shadows, delta.shadows);
        replace(&mut self.models, delta.models);
        self.decisions.extend(delta.decisions);
        let surplus = self.decisions.len().saturating_sub(DECISIONS_KEPT);
        self.decisions.drain(..surplus);
        if !delta.left.is_empty() {
            let left: HashSet<_> = delta.left.into_iter().collect();
            self.workers.retain(|row| !left.contains(&row.id));
        }
        let places: HashMap<_, _> =
            self.workers.iter().enumerate().map(|(at, row)| (row.id.clone(), at)).collect();
        for change in delta.workers {
            if let Some(row) = places.get(&change.id).and_then(|at| self.workers.get_mut(*at)) {
                row.apply(change);
            }
        }
        self.workers.extend(delta.joined);
    }
}

fn replace<T>(part: &mut T, new: Option<T>) {
    if let Some(new) = new {
        *part = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::Cause;

    fn row(id: &str, in_flight: u32) -> WorkerRow {
        WorkerRow { id: id.to_owned(), in_flight, ttft_p50: Some(0.2), ..WorkerRow::default() }
    }

    fn decision(n: u32) -> DecisionRow {
        DecisionRow { at: f64::from(n), request_id: n.to_string(), ..DecisionRow::default() }
    }

    /// What a viewer makes of the delta that it gets over the wire.
    fn followed(old: &Snapshot, new: &Snapshot) -> (Snapshot, String) {
        let text = serde_json::to_string(&Delta::between(old, new)).unwrap();
        let mut seen = old.clone();
        seen.apply(serde_json::from_str(&text).unwrap());
        (seen, text)
    }

    #[test]
    fn only_what_changed_is_told() {
        let old = Snapshot { workers: vec![row("0.1", 3), row("1.1", 4)], ..Snapshot::default() };
        let mut new = Snapshot { seq: 1, at: 2.0, ..old.clone() };
        new.workers[1].in_flight = 5;
        let (seen, text) = followed(&old, &new);
        assert_eq!(seen, new);
        assert_eq!(text, r#"{"seq":1,"at":2.0,"workers":[{"id":"1.1","in_flight":5}]}"#);
    }

    #[test]
    fn what_becomes_unknown_is_told_as_null() {
        let old = Snapshot { workers: vec![row("0.1", 3)], ..Snapshot::default() };
        let mut new = old.clone();
        new.workers[0].ttft_p50 = None;
        new.workers[0].cause = Some(Cause { reason: "timeout".to_owned(), ..Cause::default() });
        let (seen, text) = followed(&old, &new);
        assert_eq!(seen, new);
        assert!(text.contains(r#""ttft_p50":null"#), "{text}");
    }

    #[test]
    fn workers_come_and_go() {
        let rows = |ids: &[&str]| ids.iter().map(|id| row(id, 1)).collect::<Vec<_>>();
        for (before, after) in [
            (&["a", "b", "c"][..], &["a", "c"][..]),
            (&["a", "b"], &["a", "b", "c"]),
            (&["a", "b"], &["b", "d"]),
            (&["a"], &[]),
            (&[], &["a"]),
        ] {
            let old = Snapshot { workers: rows(before), ..Snapshot::default() };
            let new = Snapshot { workers: rows(after), ..Snapshot::default() };
            assert_eq!(followed(&old, &new).0, new, "{before:?} {after:?}");
        }
    }

    #[test]
    fn decisions_are_appended_and_the_oldest_are_dropped() {
        let old = Snapshot { decisions: (0..50).map(decision).collect(), ..Snapshot::default() };
        let new = Snapshot { decisions: (2..52).map(decision).collect(), ..Snapshot::default() };
        assert_eq!(Delta::between(&old, &new).decisions.len(), 2);
        assert_eq!(followed(&old, &new).0, new);
        let all_new = Snapshot { decisions: (100..150).map(decision).collect(), ..Snapshot::default() };
        assert_eq!(followed(&old, &all_new).0, all_new);
    }
}
