//! Workers that may be chosen, with an order by load where they are many.

use crate::WorkerId;
use crate::ranking::{COMPARE_ALL, Ranking};

/// A ranking is kept until its list has become this short, so that a list whose length varies is not ranked anew each time.
const KEEP_RANKING: usize = COMPARE_ALL / 2;

/// Workers in id order.
#[derive(Debug, Default)]
pub(crate) struct CandidateList {
    ids: Vec<WorkerId>,
    /// The same workers by their load, where there are many.
    by_load: Option<Ranking>,
}

impl CandidateList {
    /// The workers, in id order.
    pub(crate) fn ids(&self) -> &[WorkerId] {
        &self.ids
    }

    /// The workers by their load; `None` where there are so few that all are compared.
    pub(crate) const fn by_load(&self) -> Option<&Ranking> {
        self.by_load.as_ref()
    }

    /// Makes room for so many workers in all, so that none of them has to be waited for by a request.
    pub(crate) fn reserve(&mut self, workers: usize) {
        self.ids.reserve(workers.saturating_sub(self.ids.len()));
    }

    /// Adds a worker that is not in the list. `load` says the load and the rank of a worker.
    pub(crate) fn insert(&mut self, id: WorkerId, load: impl Fn(WorkerId) -> Option<(f64, u32)>) {
        set_member(&mut self.ids, id, true);
        if self.by_load.is_some() {
            self.rank(id, &load);
        } else if self.ids.len() > COMPARE_ALL {
            let mut by_load = Ranking::default();
            for &id in &self.ids {
                if let Some((load, rank)) = load(id) {
                    by_load.set(id, load, rank);
                }
            }
            self.by_load = Some(by_load);
        }
    }

    /// Ranks a worker of the list after its load has changed.
    pub(crate) fn rank(&mut self, id: WorkerId, load: impl Fn(WorkerId) -> Option<(f64, u32)>) {
        if let Some(by_load) = &mut self.by_load
            && let Some((load, rank)) = load(id)
        {
            by_load.set(id, load, rank);
        }
    }

    /// Takes a worker out.
    pub(crate) fn remove(&mut self, id: WorkerId) {
        set_member(&mut self.ids, id, false);
        if let Some(by_load) = &mut self.by_load {
            by_load.remove(id);
        }
        if self.ids.len() <= KEEP_RANKING {
            self.by_load = None;
        }
    }
}

/// Puts `id` into a list in id order, or takes it out.
pub(crate) fn set_member(list: &mut Vec<WorkerId>, id: WorkerId, belongs: bool) {
    match (list.binary_search(&id), belongs) {
        (Err(place), true) => list.insert(place, id),
        (Ok(place), false) => {
            list.remove(place);
        }
        _ => (),
    }
}
