//! Finds the run that continues a run with a given block: a hash table of fixed size.

use super::run::RunStore;

/// Table places per run: linear probing stays short up to a load of two thirds.
const PLACES_PER_RUN: (usize, usize) = (3, 2);

/// Open addressing: 32 bits of hash above the run's number plus one; 0 is a free place.
#[derive(Debug)]
pub(super) struct ChildTable {
    places: Vec<u64>,
}

impl ChildTable {
    /// A table for up to `runs` runs. The system commits its memory when it is first touched.
    pub(super) fn new(runs: usize) -> Self {
        Self { places: vec![0; Self::places(runs)] }
    }

    const fn places(runs: usize) -> usize {
        let (places, per) = PLACES_PER_RUN;
        runs * places / per + 1
    }

    /// Memory of a table for up to `runs` runs, in bytes.
    pub(super) const fn bytes(runs: usize) -> usize {
        Self::places(runs) * size_of::<u64>()
    }

    /// The run that continues `parent` with the block `first`.
    pub(super) fn find(&self, runs: &RunStore, parent: u32, first: u32) -> Option<u32> {
        self.position(runs, parent, first).map(|place| run_at(self.places[place]))
    }

    /// Adds a run, which must not be in the table.
    pub(super) fn enter(&mut self, parent: u32, first: u32, run: u32) {
        let (mut place, mark) = self.home(parent, first);
        while self.places[place] != 0 {
            place = self.after(place);
        }
        self.places[place] = mark | u64::from(run + 1);
    }

    /// Removes the run that continues `parent` with `first`. Moves later entries up, so that no search ends too early (Knuth,
    /// "The Art of Computer Programming" vol. 3, 6.4, algorithm R).
    pub(super) fn remove(&mut self, runs: &RunStore, parent: u32, first: u32) {
        let Some(mut hole) = self.position(runs, parent, first) else { return };
        let len = self.places.len();
        let mut place = self.after(hole);
        while self.places[place] != 0 {
            let run = runs.at(run_at(self.places[place]));
            let (home, _) = self.home(run.parent, run.first);
            if (place + len - home) % len >= (place + len - hole) % len {
                self.places[hole] = self.places[place];
                hole = place;
            }
            place = self.after(place);
        }
        self.places[hole] = 0;
    }

    fn position(&self, runs: &RunStore, parent: u32, first: u32) -> Option<usize> {
        let (mut place, mark) = self.home(parent, first);
        loop {
            let entry = self.places[place];
            if entry == 0 {
                return None;
            }
            if (entry ^ mark) >> 32 == 0 {
                let run = runs.at(run_at(entry));
                if (run.parent, run.first) == (parent, first) {
                    return Some(place);
                }
            }
            place = self.after(place);
        }
    }

    /// The place where a search starts, and the bits that are kept beside the run's number.
    fn home(&self, parent: u32, first: u32) -> (usize, u64) {
        // The finaliser of MurmurHash3 spreads numbers that are small or similar.
        let mut mixed = u64::from(parent) << 32 | u64::from(first);
        mixed = (mixed ^ mixed >> 33).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
        mixed = (mixed ^ mixed >> 33).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
        mixed ^= mixed >> 33;
        let place = (u128::from(mixed) * self.places.len() as u128) >> 64;
        (place as usize, mixed << 32)
    }

    fn after(&self, place: usize) -> usize {
        if place + 1 == self.places.len() { 0 } else { place + 1 }
    }
}

const fn run_at(entry: u64) -> u32 {
    entry as u32 - 1
}
