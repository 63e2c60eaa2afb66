//! The workers of one balancer, and which of them may be chosen.

use crate::candidate_list::{CandidateList, set_member};
use crate::in_flight_cap::InFlightCap;
use crate::load_tracker::LoadTracker;
use crate::overload::OverloadBounds;
use crate::worker_info::{WorkerCapacity, WorkerInfo};
use crate::worker_view::WorkerView;
use crate::{LoadReport, RequestFeatures, Time, WorkerId};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

#[derive(Debug)]
struct FleetWorker {
    info: WorkerInfo,
    routable: bool,
    /// The list that it is in, while it may be chosen.
    listed: Option<Preference>,
    /// Whether the fleet will look at it again when its reports have become too old.
    expires: bool,
    in_flight: u32,
    expected_output: f64,
    tracker: LoadTracker,
    load: Option<LoadReport>,
}

/// What a request adds to the load of a worker while it is in flight.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct RequestLoad {
    /// Bytes of its prompt.
    pub(crate) prompt_bytes: u64,
    /// Tokens that it is expected to generate; 0 where that is not forecast.
    pub(crate) output: f64,
}

impl RequestLoad {
    pub(crate) fn of(request: &RequestFeatures<'_>) -> Self {
        let output = request.expected_output_tokens().unwrap_or(0.0);
        Self { prompt_bytes: request.prompt_bytes, output }
    }
}

/// Which of the workers that may be chosen come first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Preference {
    /// It is within all bounds.
    First,
    /// It is overloaded: it comes when no other worker can be chosen.
    Last,
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
    /// Routable workers that are below the cap and not overloaded.
    preferred: CandidateList,
    /// Routable workers that are below the cap and overloaded.
    overloaded: CandidateList,
    /// When to look again at overloaded workers: one entry for each, not later than its reports become too old.
    expiries: BinaryHeap<Reverse<(Time, WorkerId)>>,
    /// The time of the last decision.
    now: Time,
    /// Requests in flight on all workers.
    in_flight: u64,
    /// Most requests in flight on one worker.
    cap: InFlightCap,
    /// From when on a worker is overloaded.
    bounds: OverloadBounds,
}

impl Fleet {
    pub(crate) fn set_cap(&mut self, cap: InFlightCap) {
        self.cap = cap;
        self.refresh_all();
    }

    pub(crate) fn set_overload_bounds(&mut self, bounds: OverloadBounds) {
        self.bounds = bounds;
        self.refresh_all();
    }

    /// Lets the time pass: reports that have become too old leave no worker overloaded.
    pub(crate) fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
        while let Some(&Reverse((at, id))) = self.expiries.peek() {
            if at >= self.now {
                return;
            }
            self.expiries.pop();
            if let Some(worker) = self.worker_mut(id) {
                worker.expires = false;
                self.file(id);
            }
        }
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
            listed: None,
            expires: false,
            in_flight: 0,
            expected_output: 0.0,
            tracker: LoadTracker::default(),
            load: None,
        });
        let id = WorkerId::new(slot as u32, entry.generation);
        let slots = self.slots.len();
        self.preferred.reserve(slots);
        self.overloaded.reserve(slots);
        self.expiries.reserve(slots.saturating_sub(self.expiries.len()));
        self.refresh(id);
        id
    }

    pub(crate) fn leave(&mut self, id: WorkerId) -> bool {
        let Some(worker) = self.worker_mut(id) else { return false };
        let (in_flight, listed) = (worker.in_flight, worker.listed);
        self.in_flight -= u64::from(in_flight);
        self.slots[id.slot()].worker = None;
        self.vacant.push(Reverse(id.slot() as u32));
        set_member(&mut self.routable, id, false);
        if let Some(list) = listed {
            self.list_and_load(list).0.remove(id);
        }
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
        self.file(id);
        true
    }

    pub(crate) fn dispatched(&mut self, id: WorkerId, load: RequestLoad) {
        let Some(w) = self.worker_mut(id) else { return };
        w.in_flight += 1;
        w.expected_output += load.output;
        w.tracker.dispatched(load.prompt_bytes);
        self.in_flight += 1;
        self.load_changed(id);
    }

    pub(crate) fn finished(&mut self, id: WorkerId, load: RequestLoad) {
        let Some(w) = self.worker_mut(id) else { return };
        let ended = w.in_flight.min(1);
        w.in_flight -= ended;
        // Rounding leaves nothing behind on an idle worker.
        w.expected_output = if w.in_flight == 0 { 0.0 } else { (w.expected_output - load.output).max(0.0) };
        w.tracker.finished(load.prompt_bytes);
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

    /// The workers that may be chosen now. First come those that are not overloaded: the others are candidates of a request
    /// that none of these can take.
    pub fn available(&self) -> impl Iterator<Item = WorkerId> {
        self.preferred.ids().iter().chain(self.overloaded.ids()).copied()
    }

    /// Whether a worker is overloaded at `now`, by what it reported ([`OverloadBounds`]).
    pub fn is_overloaded(&self, id: WorkerId, now: Time) -> bool {
        self.worker(id).is_some_and(|w| w.is_overloaded(&self.bounds, now))
    }

    /// How many requests a worker may have in flight at most; `None` for no limit.
    pub fn cap_of(&self, id: WorkerId) -> Option<u32> {
        self.worker(id).and_then(|worker| self.cap.of(&worker.info))
    }

    /// The candidates for a request that may not go to the workers of `exclude`, and only to the slot `target` if there is
    /// one: workers that are not overloaded, else those that are. `room` is for their ids.
    pub(crate) fn candidates<'a>(
        &'a self,
        exclude: &[WorkerId],
        target: Option<usize>,
        room: &'a mut Vec<WorkerId>,
    ) -> Option<Candidates<'a>> {
        let lists = [&self.preferred, &self.overloaded];
        if exclude.is_empty() && target.is_none() {
            return lists.into_iter().find_map(|list| Candidates::of(self, list, list.ids()));
        }
        let may = |id: &&WorkerId| !exclude.contains(id) && target.is_none_or(|slot| slot == id.slot());
        let list = lists.into_iter().find(|list| {
            room.clear();
            room.extend(list.ids().iter().filter(may));
            !room.is_empty()
        })?;
        Candidates::of(self, list, room)
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

    fn refresh_all(&mut self) {
        let ids: Vec<_> = self.iter().map(|w| w.id).collect();
        ids.into_iter().for_each(|id| self.refresh(id));
    }

    /// As [`load_changed`](Self::load_changed), after it came or may be chosen or not.
    fn refresh(&mut self, id: WorkerId) {
        let is_routable = self.worker(id).is_some_and(|w| w.routable);
        set_member(&mut self.routable, id, is_routable);
        self.load_changed(id);
    }

    /// Files a worker anew after its requests in flight or what is known about it have changed.
    fn load_changed(&mut self, id: WorkerId) {
        if !self.file(id)
            && let Some(list) = self.worker(id).and_then(|w| w.listed)
        {
            let (list, load) = self.list_and_load(list);
            list.rank(id, load);
        }
    }

    /// Puts a worker into the list that it belongs to now. Returns whether that is another one than before.
    fn file(&mut self, id: WorkerId) -> bool {
        let (cap, bounds, now) = (self.cap, self.bounds, self.now);
        let Some(worker) = self.worker_mut(id) else { return false };
        let until = worker.overloaded_until(&bounds).filter(|until| *until >= now);
        let preference = if until.is_some() { Preference::Last } else { Preference::First };
        let belongs = worker.is_available(cap).then_some(preference);
        let listed = std::mem::replace(&mut worker.listed, belongs);
        if let Some(until) = until
            && !std::mem::replace(&mut worker.expires, true)
        {
            self.expiries.push(Reverse((until, id)));
        }
        if listed == belongs {
            return false;
        }
        if let Some(list) = listed {
            self.list_and_load(list).0.remove(id);
        }
        if let Some(list) = belongs {
            let (list, load) = self.list_and_load(list);
            list.insert(id, load);
        }
        true
    }

    /// A list, and what says the load and the rank of a worker in it.
    fn list_and_load(
        &mut self,
        preference: Preference,
    ) -> (&mut CandidateList, impl Fn(WorkerId) -> Option<(f64, u32)>) {
        let Self { slots, preferred, overloaded, .. } = self;
        let list = match preference {
            Preference::First => preferred,
            Preference::Last => overloaded,
        };
        let load = |id: WorkerId| {
            let view = slots.get(id.slot())?.worker.as_ref()?.view(id);
            Some((view.next_load(), view.rank()))
        };
        (list, load)
    }
}

impl FleetWorker {
    fn is_full(&self, cap: InFlightCap) -> bool {
        cap.of(&self.info).is_some_and(|cap| self.in_flight >= cap)
    }

    fn is_available(&self, cap: InFlightCap) -> bool {
        self.routable && !self.is_full(cap)
    }

    fn overloaded_until(&self, bounds: &OverloadBounds) -> Option<Time> {
        bounds.overloaded_until(&self.tracker, &self.info)
    }

    fn is_overloaded(&self, bounds: &OverloadBounds, now: Time) -> bool {
        self.overloaded_until(bounds).is_some_and(|until| until >= now)
    }

    fn view(&self, id: WorkerId) -> WorkerView<'_> {
        WorkerView {
            id,
            info: &self.info,
            in_flight: self.in_flight,
            in_flight_bytes: self.tracker.bytes(),
            expected_output_tokens: self.expected_output,
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
    /// The list from which they are.
    list: &'a CandidateList,
    ids: &'a [WorkerId],
}

impl<'a> Candidates<'a> {
    /// `ids` must be workers of `list`, in id order, and that one of the lists of `fleet`.
    fn of(fleet: &'a Fleet, list: &'a CandidateList, ids: &'a [WorkerId]) -> Option<Self> {
        (!ids.is_empty()).then_some(Self { fleet, list, ids })
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
        Self::of(self.fleet, self.list, ids)
    }

    /// Adds the candidates with the least load, the new request counted, to `found`: up to `most`, about.
    pub(crate) fn least_loaded(&self, most: usize, found: &mut Vec<WorkerId>) {
        let is_whole = self.ids.len() == self.list.ids().len();
        if let Some(by_load) = self.list.by_load() {
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
