//! Identities of workers, requests and policies.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;

/// A worker: slot plus generation. An id is never used twice, so state keyed by it cannot be confused with that
/// of a later worker in the same slot.
///
/// Slots are dense and reused: policies keep per-worker state in a `Vec` indexed by [`WorkerId::slot`]
/// and compare the whole id before they trust it (see [`crate::SlotMap`]).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct WorkerId {
    slot: u32,
    generation: u32,
}

impl WorkerId {
    pub(crate) const fn new(slot: u32, generation: u32) -> Self {
        Self { slot, generation }
    }

    /// The dense index of this worker, reused after it left.
    pub const fn slot(self) -> usize {
        self.slot as usize
    }

    /// How many workers have held this slot, this one included.
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

impl Ord for WorkerId {
    /// By slot, then by generation: as one number, because lists of workers are searched for every request.
    fn cmp(&self, other: &Self) -> Ordering {
        let number = |id: &Self| u64::from(id.slot) << 32 | u64::from(id.generation);
        number(self).cmp(&number(other))
    }
}

impl PartialOrd for WorkerId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

/// A request, numbered by the host. All attempts of one request share it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RequestId(pub u64);

/// Per-worker state, indexed by slot and guarded by the whole id: a late event of a worker that left finds nothing.
///
/// ```
/// # use router_core::{Balancer, FleetUpdate, SlotMap, Time, WorkerInfo, policy::Random};
/// # let mut balancer = Balancer::new(Box::new(Random), 1);
/// let a = balancer.join(Time::ZERO, WorkerInfo::new("http://a"));
/// let mut seen = SlotMap::default();
/// seen.insert(a, 7);
/// balancer.apply(Time::ZERO, FleetUpdate::Leave(a));
/// let successor = balancer.join(Time::ZERO, WorkerInfo::new("http://b"));
/// assert_eq!((a.slot(), seen.get(successor)), (successor.slot(), None));
/// ```
#[derive(Clone, Debug)]
pub struct SlotMap<T>(Vec<Option<(WorkerId, T)>>);

impl<T> Default for SlotMap<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> SlotMap<T> {
    /// Sets the state of `id`, dropping whatever its slot held before.
    pub fn insert(&mut self, id: WorkerId, value: T) {
        if self.0.len() <= id.slot() {
            self.0.resize_with(id.slot() + 1, || None);
        }
        self.0[id.slot()] = Some((id, value));
    }

    /// Removes the state of `id`; that of a later worker in the same slot stays.
    pub fn remove(&mut self, id: WorkerId) -> Option<T> {
        let entry = self.0.get_mut(id.slot())?;
        if entry.as_ref().is_some_and(|(owner, _)| *owner == id) {
            entry.take().map(|(_, v)| v)
        } else {
            None
        }
    }

    /// The state of `id`.
    pub fn get(&self, id: WorkerId) -> Option<&T> {
        self.0.get(id.slot())?.as_ref().filter(|(owner, _)| *owner == id).map(|(_, v)| v)
    }

    /// The state of `id`, mutable.
    pub fn get_mut(&mut self, id: WorkerId) -> Option<&mut T> {
        self.0.get_mut(id.slot())?.as_mut().filter(|(owner, _)| *owner == id).map(|(_, v)| v)
    }

    /// One more than the highest slot that ever had state.
    pub(crate) fn slots(&self) -> usize {
        self.0.len()
    }

    /// Up to `most` slots from `start` on.
    pub(crate) fn slots_from(&self, start: usize, most: usize) -> Range<usize> {
        let start = start.min(self.0.len());
        start..self.0.len().min(start + most)
    }

    /// Up to `most` slots from `cursor` on, which moves past them, and from the last one back to the first.
    pub(crate) fn next_slots(&self, cursor: &mut usize, most: usize) -> Range<usize> {
        let slots = self.slots_from(*cursor, most);
        *cursor = if slots.end < self.0.len() { slots.end } else { 0 };
        slots
    }

    /// The worker with state in a slot.
    pub(crate) fn id_at(&self, slot: usize) -> Option<WorkerId> {
        self.0.get(slot)?.as_ref().map(|(id, _)| *id)
    }

    /// The workers with state in these slots, which must be below [`slots`](Self::slots).
    pub(crate) fn range(&self, slots: Range<usize>) -> impl Iterator<Item = (WorkerId, &T)> {
        self.0[slots].iter().flatten().map(|(id, v)| (*id, v))
    }

    /// The workers with state in these slots, mutable.
    pub(crate) fn range_mut(&mut self, slots: Range<usize>) -> impl Iterator<Item = (WorkerId, &mut T)> {
        self.0[slots].iter_mut().flatten().map(|(id, v)| (*id, v))
    }

    /// All workers with state, by slot, mutable.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (WorkerId, &mut T)> {
        self.0.iter_mut().flatten().map(|(id, v)| (*id, v))
    }

    /// All workers with state, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (WorkerId, &T)> {
        self.0.iter().flatten().map(|(id, v)| (*id, v))
    }
}

/// Which of the live policies that a balancer had, by a number that its host gives. What is recorded of a decision names the policy
/// that made it, even when another one is live by then.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PolicyNumber(pub u32);
