//! The workers of one balancer, and the views of them that policies get.

use crate::in_flight_cap::InFlightCap;
use crate::load_tracker::{LoadTracker, MaxAge};
use crate::ranking::{COMPARE_ALL, Ranking};
use crate::worker_info::{WorkerCapacity, WorkerInfo};
use crate::{LoadReport, Time, WorkerId};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// What every policy may know about one worker at this instant.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct WorkerView<'a> {
    /// The worker.
    pub id: WorkerId,
    /// What is known about it.
    pub info: &'a WorkerInfo,
    /// Requests sent to it by this router and not finished.
    pub in_flight: u32,
    /// Prompt bytes of those requests.
    pub in_flight_bytes: u64,
    /// The last load report, however old.
    pub load: Option<&'a LoadReport>,
    /// Requests sent since that report.
    pub sent_since_report: u32,
    /// Requests finished since that report.
    pub finished_since_report: u32,
    /// The last report of each kind, and what was sent to the worker.
    tracker: &'a LoadTracker,
}

impl WorkerView<'_> {
    /// The worker's relative capacity, from 0 to 10^12 whatever was configured, so that sums are finite.
    pub fn weight(&self) -> f64 {
        self.info.share()
    }

    /// An amount of load, relative to the worker's capacity. Finite; the largest float when the capacity is 0.
    pub fn per_weight(&self, amount: f64) -> f64 {
        let weight = self.weight();
        if weight > 0.0 { (amount / weight).min(f64::MAX) } else { f64::MAX }
    }

    /// Requests in flight with one more, relative to the worker's capacity: what balances unequal workers
    /// ("generalised join the shortest queue").
    pub fn next_load(&self) -> f64 {
        self.per_weight(f64::from(self.in_flight) + 1.0)
    }

    /// Rank between equal costs of rules that do not count requests in flight: fewer for the weight first, then
    /// the higher priority.
    pub(crate) fn load_rank(&self) -> u64 {
        // The cast saturates; the resolution is 1/1024 of a request.
        u64::from((self.next_load() * 1024.0) as u32) << 32 | u64::from(self.rank())
    }

    /// Rank between equal costs: lower for the higher priority.
    pub(crate) const fn rank(&self) -> u32 {
        u32::MAX - self.info.priority
    }

    /// The last queue length that the worker reported, corrected by what was sent and finished since, never below
    /// zero (docs/policies/shortest_queue.md).
    pub fn estimated_waiting(&self) -> Option<u32> {
        self.tracker.waiting(None)
    }

    /// [`estimated_waiting`](Self::estimated_waiting), if it was reported at most `max_age_secs` ago.
    pub fn fresh_waiting(&self, now: Time, max_age_secs: f64) -> Option<u32> {
        self.tracker.waiting(Some(MaxAge { now, secs: max_age_secs }))
    }

    /// Requests running and waiting, as reported at most `max_age_secs` ago, corrected by what was sent and finished since.
    pub fn fresh_requests(&self, now: Time, max_age_secs: f64) -> Option<u32> {
        self.tracker.requests(MaxAge { now, secs: max_age_secs })
    }

    /// Tokens held or waiting, as reported at most `max_age_secs` ago, plus the prompts sent and less those finished
    /// since, at four bytes a token.
    pub fn fresh_tokens(&self, now: Time, max_age_secs: f64) -> Option<f64> {
        self.tracker.tokens(MaxAge { now, secs: max_age_secs })
    }

    /// The last report, if it is at most `max_age_secs` old.
    pub fn fresh_load(&self, now: Time, max_age_secs: f64) -> Option<&LoadReport> {
        self.load.filter(|r| now.secs_since(r.at) <= max_age_secs)
    }
}

#[derive(Debug)]
struct FleetWorker {
    info: WorkerInfo,
    routable: bool,
    /// Whether it is among the available ones.
    listed: bool,
    in_flight: u32,
    tracker: LoadTracker,
    load: Option<LoadReport>,
}

#[derive(Debug, Default)]
struct FleetSlot {
    generation: u32,
    worker: Option<FleetWorker>,
}

/// The workers of one balancer. Slots are reused, ids are not.
///
/// What changes with every request is kept up to date by the event, in time that grows with the logarithm of the number of
/// workers.
#[derive(Debug, Default)]
pub struct Fleet {
    slots: Vec<FleetSlot>,
    /// Slots without a worker, below the end of `slots`.
    vacant: BinaryHeap<Reverse<u32>>,
    routable: Vec<WorkerId>,
    /// Routable workers that are below the cap.
    available: Vec<WorkerId>,
    /// Those that are available, by their load, where there are more than [`COMPARE_ALL`].
    by_load: Option<Ranking>,
    /// Requests in flight on all workers.
    in_flight: u64,
    /// Most requests in flight on one worker.
    cap: InFlightCap,
}

impl Fleet {
    pub(crate) fn set_cap(&mut self, cap: InFlightCap) {
        self.cap = cap;
        let ids: Vec<_> = self.iter().map(|w| w.id).collect();
        ids.into_iter().for_each(|id| self.refresh(id));
    }

    pub(crate) fn join(&mut self, info: WorkerInfo) -> WorkerId {
        let slot = self.vacant.pop().map_or_else(
            || {
                self.slots.push(FleetSlot::default());
                self.slots.len() - 1
            },
            |Reverse(slot)| slot as usize,
        );
        let entry = &mut self.slots[slot];
        entry.generation += 1;
        entry.worker = Some(FleetWorker {
            info,
            routable: true,
            listed: false,
            in_flight: 0,
            tracker: LoadTracker::default(),
            load: None,
        });
        let id = WorkerId::new(slot as u32, entry.generation);
        self.refresh(id);
        id
    }

    pub(crate) fn leave(&mut self, id: WorkerId) -> bool {
        let Some(worker) = self.worker_mut(id) else { return false };
        self.in_flight -= u64::from(worker.in_flight);
        self.slots[id.slot()].worker = None;
        self.vacant.push(Reverse(id.slot() as u32));
        self.refresh(id);
        true
    }

    pub(crate) fn set_routable(&mut self, id: WorkerId, routable: bool) {
        if let Some(w) = self.worker_mut(id) {
            w.routable = routable;
            self.refresh(id);
        }
    }

    pub(crate) fn set_capacity(&mut self, id: WorkerId, capacity: &WorkerCapacity) {
        let WorkerCapacity { weight, priority, max_running_requests, max_total_tokens } = *capacity;
        if let Some(w) = self.worker_mut(id) {
            let url = Arc::clone(&w.info.url);
            w.info = WorkerInfo { url, weight, priority, max_running_requests, max_total_tokens };
            // Its cap may have changed with it.
            self.refresh(id);
        }
    }

    pub(crate) fn load(&mut self, id: WorkerId, report: &LoadReport) -> bool {
        let Some(w) = self.worker_mut(id) else { return false };
        // Reports can arrive out of order; an older one must not undo a newer one.
        if w.load.is_some_and(|old| old.at > report.at) {
            return false;
        }
        w.load = Some(*report);
        w.tracker.reported(report);
        true
    }

    pub(crate) fn dispatched(&mut self, id: WorkerId, bytes: u64) {
        let Some(w) = self.worker_mut(id) else { return };
        w.in_flight += 1;
        w.tracker.dispatched(bytes);
        self.in_flight += 1;
        self.load_changed(id);
    }

    pub(crate) fn finished(&mut self, id: WorkerId, bytes: u64) {
        let Some(w) = self.worker_mut(id) else { return };
        let ended = w.in_flight.min(1);
        w.in_flight -= ended;
        w.tracker.finished(bytes);
        self.in_flight -= u64::from(ended);
        self.load_changed(id);
    }

    /// The view of one worker, routable or not.
    pub fn view(&self, id: WorkerId) -> Option<WorkerView<'_>> {
        self.worker(id).map(|w| w.view(id))
    }

    /// All workers, routable or not, by slot.
    pub fn iter(&self) -> impl Iterator<Item = WorkerView<'_>> {
        self.slots.iter().enumerate().filter_map(|(slot, s)| {
            s.worker.as_ref().map(|w| w.view(WorkerId::new(slot as u32, s.generation)))
        })
    }

    /// The workers that are in service, in id order. Those at the cap are among them, though they cannot be chosen
    /// until a request of theirs ends.
    pub fn routable(&self) -> &[WorkerId] {
        &self.routable
    }

    /// The workers that may be chosen now, in id order.
    pub fn available(&self) -> &[WorkerId] {
        &self.available
    }

    /// Requests in flight on all workers.
    pub const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    fn worker(&self, id: WorkerId) -> Option<&FleetWorker> {
        self.slots.get(id.slot()).filter(|s| s.generation == id.generation())?.worker.as_ref()
    }

    fn worker_mut(&mut self, id: WorkerId) -> Option<&mut FleetWorker> {
        self.slots.get_mut(id.slot()).filter(|s| s.generation == id.generation())?.worker.as_mut()
    }

    /// Files a worker anew after it came, left or changed.
    fn refresh(&mut self, id: WorkerId) {
        let is_routable = self.worker(id).is_some_and(|w| w.routable);
        file(&mut self.routable, id, is_routable);
        self.load_changed(id);
    }

    /// Files a worker anew after its load or its cap has changed.
    fn load_changed(&mut self, id: WorkerId) {
        let cap = self.cap;
        let Some(worker) = self.worker_mut(id) else { return self.unlist(id) };
        if !worker.is_available(cap) {
            if std::mem::take(&mut worker.listed) {
                self.unlist(id);
            }
            return;
        }
        let was_listed = std::mem::replace(&mut worker.listed, true);
        if self.by_load.is_some() {
            let ranks = self.view(id).map(|w| (w.next_load(), w.rank()));
            if let (Some(by_load), Some((next_load, rank))) = (&mut self.by_load, ranks) {
                by_load.set(id, next_load, rank);
            }
        }
        if !was_listed {
            file(&mut self.available, id, true);
            if self.by_load.is_none() && self.available.len() > COMPARE_ALL {
                let mut by_load = Ranking::default();
                let views = self.available.iter().filter_map(|&id| self.view(id));
                views.for_each(|w| by_load.set(w.id, w.next_load(), w.rank()));
                self.by_load = Some(by_load);
            }
        }
    }

    /// Takes a worker out of those that are available.
    fn unlist(&mut self, id: WorkerId) {
        file(&mut self.available, id, false);
        if let Some(by_load) = &mut self.by_load {
            by_load.remove(id);
        }
        if self.available.len() <= COMPARE_ALL {
            self.by_load = None;
        }
    }
}

/// Puts `id` into a list in id order, or takes it out.
fn file(list: &mut Vec<WorkerId>, id: WorkerId, belongs: bool) {
    match (list.binary_search(&id), belongs) {
        (Err(place), true) => list.insert(place, id),
        (Ok(place), false) => {
            list.remove(place);
        }
        _ => (),
    }
}

impl FleetWorker {
    fn is_full(&self, cap: InFlightCap) -> bool {
        cap.of(&self.info).is_some_and(|cap| self.in_flight >= cap)
    }

    fn is_available(&self, cap: InFlightCap) -> bool {
        self.routable && !self.is_full(cap)
    }

    fn view(&self, id: WorkerId) -> WorkerView<'_> {
        WorkerView {
            id,
            info: &self.info,
            in_flight: self.in_flight,
            in_flight_bytes: self.tracker.bytes(),
            load: self.load.as_ref(),
            sent_since_report: self.tracker.sent_since_report(),
            finished_since_report: self.tracker.finished_since_report(),
            tracker: &self.tracker,
        }
    }
}

/// The workers that may be chosen for one request, in id order. Never empty, so policies need no empty case.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    fleet: &'a Fleet,
    ids: &'a [WorkerId],
}

impl<'a> Candidates<'a> {
    /// `ids` must be workers of `fleet`, in id order.
    pub(crate) fn new(fleet: &'a Fleet, ids: &'a [WorkerId]) -> Option<Self> {
        (!ids.is_empty()).then_some(Self { fleet, ids })
    }

    /// How many there are; at least one.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub const fn len(&self) -> usize {
        self.ids.len()
    }

    /// The first in id order.
    pub const fn first(&self) -> WorkerId {
        self.ids[0]
    }

    /// The id at position `i`.
    ///
    /// # Panics
    /// When `i` is not below [`len`](Self::len).
    pub const fn id(&self, i: usize) -> WorkerId {
        self.ids[i]
    }

    /// The view at position `i`.
    pub(crate) fn at(&self, i: usize) -> Option<WorkerView<'a>> {
        self.fleet.view(*self.ids.get(i)?)
    }

    /// The ids, in order.
    pub const fn ids(&self) -> &'a [WorkerId] {
        self.ids
    }

    /// Whether `id` may be chosen.
    pub fn contains(&self, id: WorkerId) -> bool {
        self.ids.binary_search(&id).is_ok()
    }

    /// The view of `id`, if it may be chosen.
    pub fn get(&self, id: WorkerId) -> Option<WorkerView<'a>> {
        if self.contains(id) { self.fleet.view(id) } else { None }
    }

    /// Some of these candidates, in id order; absent if there are none.
    pub(crate) fn among(&self, ids: &'a [WorkerId]) -> Option<Self> {
        Self::new(self.fleet, ids)
    }

    /// Adds the candidates with the least load, the new request counted, to `found`: up to `most`, about.
    pub(crate) fn least_loaded(&self, most: usize, found: &mut Vec<WorkerId>) {
        let is_whole = self.ids.len() == self.fleet.available.len();
        if let Some(by_load) = &self.fleet.by_load {
            by_load.best(most, found, |id| is_whole || self.contains(id));
        }
    }

    /// Requests in flight on the whole fleet.
    pub(crate) const fn fleet_in_flight(&self) -> u64 {
        self.fleet.in_flight
    }

    /// All views, in id order.
    pub fn iter(&self) -> impl Iterator<Item = WorkerView<'a>> + use<'a> {
        let fleet = self.fleet;
        self.ids.iter().filter_map(move |&id| fleet.view(id))
    }
}
