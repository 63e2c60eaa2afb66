//! What happened lately on a fleet, kept so that a policy that comes later can learn from it.
//!
//! Policies learn from events alone, so the last events are all that one needs to begin where another ends. What is kept is
//! bounded: the oldest requests make room for the next. Two things are known however old they are: which workers there are,
//! and which requests still run. Load reports and the progress of streams are left out: the last report of each worker is told
//! from the fleet, and streams go on.

use crate::{Completion, Event, Policy, RequestFeatures, RequestId, SlotMap, Time, WorkerId, WorkerInfo};
use std::collections::VecDeque;

/// Requests that are kept at least, those for each worker, and the most.
const LEAST_REQUESTS: usize = 2048;
const REQUESTS_PER_WORKER: usize = 64;
const MOST_REQUESTS: usize = 16_384;
/// Hashes of prefixes that are kept, for each request that is kept.
const HASHES_PER_REQUEST: usize = 64;
/// Events of a request: sent, first token, ended.
const EVENTS_PER_REQUEST: usize = 3;

/// The last events of one balancer.
#[derive(Clone, Debug, Default)]
pub struct EventHistory {
    /// The workers before the first event, as they were then.
    before: SlotMap<WorkerInfo>,
    /// Requests that run and were sent before the first event, in the order in which they were sent. Those that have ended since are
    /// absent until the list is made anew.
    overtaken: Vec<(u64, Option<OvertakenRequest>)>,
    /// How many of these have ended.
    overtaken_ended: usize,
    events: VecDeque<(Time, KeptEvent)>,
    /// The hashes of the prefixes of all requests in `events`, one after the other.
    hashes: VecDeque<u64>,
    /// The number of the first event among all that ever were.
    first: u64,
    /// Requests in `events`, and how many may be kept.
    requests: usize,
    most_requests: usize,
    /// How many workers there are.
    workers: usize,
}

/// Where in the history a request was sent; that of a request without a place is never found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HistoryPlace(u64);

impl HistoryPlace {
    /// The place of a request that is not in a history.
    pub(crate) const NONE: Self = Self(u64::MAX);
}

#[derive(Clone, Copy, Debug)]
struct OvertakenRequest {
    at: Time,
    worker: WorkerId,
    request: RequestFeatures<'static>,
    first_token: Option<Time>,
}

#[derive(Clone, Debug)]
enum KeptEvent {
    Joined(WorkerId, WorkerInfo),
    Changed(WorkerId, WorkerInfo),
    Left(WorkerId),
    CacheEmptied(WorkerId),
    Dispatched(DispatchedRequest),
    FirstToken { worker: WorkerId, request: RequestId, sent: HistoryPlace },
    Finished(Completion),
}

#[derive(Clone, Copy, Debug)]
struct DispatchedRequest {
    worker: WorkerId,
    request: RequestFeatures<'static>,
    /// How many hashes its prefix has.
    hashes: usize,
    has_ended: bool,
}

impl EventHistory {
    pub(crate) fn joined(&mut self, now: Time, worker: WorkerId, info: &WorkerInfo) {
        self.workers += 1;
        self.most_requests =
            (self.workers * REQUESTS_PER_WORKER).clamp(LEAST_REQUESTS, MOST_REQUESTS).max(self.most_requests);
        let room = self.most_requests + 1;
        self.events.reserve((EVENTS_PER_REQUEST * room).saturating_sub(self.events.len()));
        self.hashes.reserve((HASHES_PER_REQUEST * room).saturating_sub(self.hashes.len()));
        self.push(now, KeptEvent::Joined(worker, info.clone()));
    }

    pub(crate) fn changed(&mut self, now: Time, worker: WorkerId, info: &WorkerInfo) {
        self.push(now, KeptEvent::Changed(worker, info.clone()));
    }

    pub(crate) fn left(&mut self, now: Time, worker: WorkerId) {
        self.workers = self.workers.saturating_sub(1);
        self.push(now, KeptEvent::Left(worker));
    }

    pub(crate) fn cache_emptied(&mut self, now: Time, worker: WorkerId) {
        self.push(now, KeptEvent::CacheEmptied(worker));
    }

    /// Keeps a request that was sent, as far as there is room for its prefix: the beginning counts most.
    pub(crate) fn dispatched(
        &mut self,
        now: Time,
        worker: WorkerId,
        request: &RequestFeatures<'_>,
    ) -> HistoryPlace {
        let prefix = &request.prefix[..request.prefix.len().min(HASHES_PER_REQUEST * LEAST_REQUESTS / 16)];
        while self.hashes.len() + prefix.len() > HASHES_PER_REQUEST * self.most_requests && self.drop_first()
        {
        }
        self.hashes.extend(prefix);
        self.requests += 1;
        let request = request.detached();
        let sent = DispatchedRequest { worker, request, hashes: prefix.len(), has_ended: false };
        self.push(now, KeptEvent::Dispatched(sent))
    }

    pub(crate) fn first_token(
        &mut self,
        now: Time,
        worker: WorkerId,
        request: RequestId,
        sent: HistoryPlace,
    ) {
        self.push(now, KeptEvent::FirstToken { worker, request, sent });
    }

    pub(crate) fn finished(&mut self, completion: &Completion, sent: HistoryPlace) {
        match self.place(sent) {
            Some(place) => {
                if let Some((_, KeptEvent::Dispatched(sent))) = self.events.get_mut(place) {
                    sent.has_ended = true;
                }
            }
            None => self.overtaken_ended(sent),
        }
        self.push(completion.finished_at, KeptEvent::Finished(*completion));
    }

    /// How many of the last requests are known.
    pub const fn requests(&self) -> usize {
        self.requests
    }

    /// The number of the next event.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// Tells a policy that has seen nothing all that is kept.
    pub(crate) fn tell_all(&self, policy: &mut dyn Policy) {
        let begin = self.events.front().map_or(Time::ZERO, |(at, _)| *at);
        let overtaken = || self.overtaken.iter().filter_map(|(_, request)| request.as_ref());
        let begin = overtaken().next().map_or(begin, |request| request.at.min(begin));
        for (worker, info) in self.before.iter() {
            policy.observe(begin, &Event::Joined { worker, info });
        }
        for OvertakenRequest { at, worker, request, first_token } in overtaken() {
            policy.observe(*at, &Event::Dispatched { worker: *worker, request });
            if let Some(at) = first_token {
                policy.observe(*at, &Event::FirstToken { worker: *worker, request: request.id });
            }
        }
        self.tell(self.first, policy);
    }

    /// Tells a policy the events from number `from` on. Returns whether all of them were still there.
    pub(crate) fn tell_since(&self, from: u64, policy: &mut dyn Policy) -> bool {
        if from < self.first {
            return false;
        }
        self.tell(from, policy);
        true
    }

    fn tell(&self, from: u64, policy: &mut dyn Policy) {
        let skipped = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        let (mut hash, mut prefix) = (0, Vec::new());
        for (place, (at, event)) in self.events.iter().enumerate() {
            let hashes = if let KeptEvent::Dispatched(sent) = event { sent.hashes } else { 0 };
            if place >= skipped {
                prefix.clear();
                prefix.extend(self.hashes.range(hash..hash + hashes));
                event.tell(*at, &prefix, policy);
            }
            hash += hashes;
        }
    }

    fn push(&mut self, now: Time, event: KeptEvent) -> HistoryPlace {
        while (self.requests > self.most_requests
            || self.events.len() >= EVENTS_PER_REQUEST * self.most_requests)
            && self.drop_first()
        {}
        let place = HistoryPlace(self.end());
        self.events.push_back((now, event));
        place
    }

    /// Drops the oldest event. What is true however old it is goes to the state before the first event.
    fn drop_first(&mut self) -> bool {
        let Some((at, event)) = self.events.pop_front() else { return false };
        let number = self.first;
        self.first += 1;
        match event {
            KeptEvent::Joined(worker, info) | KeptEvent::Changed(worker, info) => {
                self.before.insert(worker, info);
            }
            KeptEvent::Left(worker) => drop(self.before.remove(worker)),
            KeptEvent::Dispatched(sent) => {
                self.requests -= 1;
                self.hashes.drain(..sent.hashes);
                if !sent.has_ended {
                    let DispatchedRequest { worker, request, .. } = sent;
                    let overtaken = OvertakenRequest { at, worker, request, first_token: None };
                    self.overtaken.push((number, Some(overtaken)));
                }
            }
            KeptEvent::FirstToken { sent, .. } => {
                if let Some(request) = self.overtaken_mut(sent) {
                    request.first_token = Some(at);
                }
            }
            KeptEvent::CacheEmptied(_) | KeptEvent::Finished(_) => {}
        }
        true
    }

    /// The position of an event that is kept.
    fn place(&self, of: HistoryPlace) -> Option<usize> {
        let place = usize::try_from(of.0.checked_sub(self.first)?).ok()?;
        (place < self.events.len()).then_some(place)
    }

    fn overtaken_mut(&mut self, sent: HistoryPlace) -> Option<&mut OvertakenRequest> {
        let place = self.overtaken.binary_search_by_key(&sent.0, |(number, _)| *number).ok()?;
        self.overtaken[place].1.as_mut()
    }

    fn overtaken_ended(&mut self, sent: HistoryPlace) {
        let Ok(place) = self.overtaken.binary_search_by_key(&sent.0, |(number, _)| *number) else { return };
        self.overtaken_ended += usize::from(self.overtaken[place].1.take().is_some());
        if 2 * self.overtaken_ended > self.overtaken.len() {
            self.overtaken.retain(|(_, request)| request.is_some());
            self.overtaken_ended = 0;
        }
    }
}

impl KeptEvent {
    fn tell(&self, at: Time, prefix: &[u64], policy: &mut dyn Policy) {
        match self {
            Self::Joined(worker, info) => policy.observe(at, &Event::Joined { worker: *worker, info }),
            Self::Changed(worker, info) => policy.observe(at, &Event::Changed { worker: *worker, info }),
            Self::Left(worker) => policy.observe(at, &Event::Left(*worker)),
            Self::CacheEmptied(worker) => policy.observe(at, &Event::CacheEmptied(*worker)),
            Self::Dispatched(DispatchedRequest { worker, request, .. }) => {
                let request = RequestFeatures { prefix, ..*request };
                policy.observe(at, &Event::Dispatched { worker: *worker, request: &request });
            }
            Self::FirstToken { worker, request, .. } => {
                policy.observe(at, &Event::FirstToken { worker: *worker, request: *request });
            }
            Self::Finished(completion) => policy.observe(at, &Event::Finished(completion)),
        }
    }
}
