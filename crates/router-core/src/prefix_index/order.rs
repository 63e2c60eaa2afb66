//! The order in which runs were used last, as a list through the runs.

use super::run::{NONE, RunStore};

/// The ends of the list.
#[derive(Debug)]
pub(super) struct UseOrder {
    newest: u32,
    oldest: u32,
}

impl UseOrder {
    pub(super) const EMPTY: Self = Self { newest: NONE, oldest: NONE };

    /// The run that was not used for longest.
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// Makes a run of the list the newest.
    pub(super) fn renew(&mut self, runs: &mut RunStore, run: u32) {
        if run != self.newest {
            self.remove(runs, run);
            self.push(runs, run);
        }
    }

    /// Adds a run as the newest.
    pub(super) fn push(&mut self, runs: &mut RunStore, run: u32) {
        let second = self.newest;
        let added = runs.at_mut(run);
        (added.newer, added.older) = (NONE, second);
        if second == NONE {
            self.oldest = run;
        } else {
            runs.at_mut(second).newer = run;
        }
        self.newest = run;
    }

    /// Takes a run out.
    pub(super) fn remove(&mut self, runs: &mut RunStore, run: u32) {
        let (newer, older) = (runs.at(run).newer, runs.at(run).older);
        if newer == NONE {
            self.newest = older;
        } else {
            runs.at_mut(newer).older = older;
        }
        if older == NONE {
            self.oldest = newer;
        } else {
            runs.at_mut(older).newer = newer;
        }
    }
}
