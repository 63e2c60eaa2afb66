//! One fleet, one live policy, any number of shadows: the single place where requests are assigned.

use crate::batch_window::BatchWindow;
use crate::dispatched::{DispatchSnapshot, Dispatched, ExplainLevel, ExplainedDecision};
use crate::event_history::{EventHistory, HistoryPlace};
use crate::fleet::{Fleet, RequestLoad};
use crate::in_flight_cap::InFlightCap;
use crate::length_forecaster::{LengthForecaster, RequestClasses};
use crate::no_worker::NoWorker;
use crate::overload::OverloadBounds;
use crate::policy_lineup::{LineupError, NextPolicy, PolicyLineup, PolicySlot};
use crate::scaling::{ScalingLearner, ScalingOptions, ScalingSignals, WaitingRequests};
use crate::ticket::Ticket;
use crate::worker_info::{WorkerCapacity, WorkerInfo};
use crate::worker_view::WorkerView;
use crate::{
    AttemptResult, CandidateScore, Completion, Decision, Event, LoadReport, Outcome, Policy, PolicyNeeds,
    PolicyNumber, RequestFeatures, Rng, Route, Time, WorkerId,
};

/// A fact from outside: membership, health or load.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub enum FleetUpdate {
    /// The worker is gone for good.
    Leave(WorkerId),
    /// The worker may, or may not, be chosen.
    Routable(WorkerId, bool),
    /// The worker reported its load.
    Load(WorkerId, LoadReport),
    /// The worker's prefix cache was emptied.
    CacheEmptied(WorkerId),
    /// More is known about the worker than when it joined, or its weight or priority was changed.
    Capacity(WorkerId, WorkerCapacity),
}

/// Assigns requests to workers and keeps count of what is in flight.
///
/// The host serialises access; deciding and committing are one step, so a burst cannot herd on a stale view.
///
/// ```
/// use router_core::{Balancer, ExplainLevel, RequestFeatures, AttemptResult, Outcome, Time, WorkerInfo, policy::Random};
///
/// let mut balancer = Balancer::new(Box::new(Random), 42);
/// let a = balancer.join(Time::ZERO, WorkerInfo::new("http://127.0.0.1:30001"));
/// let routed = balancer.dispatch(Time::ZERO, &RequestFeatures::default(), &[], ExplainLevel::None)?;
/// assert_eq!((routed.ticket.worker(), balancer.in_flight()), (a, 1));
/// balancer.finish(Time::from_nanos(1), routed.ticket, AttemptResult::of(Outcome::Success));
/// assert_eq!(balancer.in_flight(), 0);
/// # Ok::<(), router_core::NoWorker>(())
/// ```
#[derive(Debug)]
pub struct Balancer {
    fleet: Fleet,
    live: PolicySlot,
    shadows: Vec<PolicySlot>,
    /// The number of the live policy.
    number: PolicyNumber,
    /// What happened lately, if it is kept.
    history: Option<EventHistory>,
    lengths: LengthForecaster,
    scaling: ScalingLearner,
    batch_window: Option<BatchWindow>,
    /// Decisions and completions so far.
    seq: u64,
    /// Reused by dispatches that exclude workers.
    allowed: Vec<WorkerId>,
    /// Reused by policies that compare a few of many candidates.
    room: Vec<WorkerId>,
    /// Reused by dispatches that record scores.
    scores: Vec<CandidateScore>,
}

impl Balancer {
    /// A balancer without workers. All randomness follows from `seed`.
    pub fn new(policy: Box<dyn Policy>, seed: u64) -> Self {
        Self {
            fleet: Fleet::default(),
            live: PolicySlot { policy, rng: Rng::seeded(seed) },
            shadows: Vec::new(),
            number: PolicyNumber::default(),
            history: None,
            lengths: LengthForecaster::default(),
            scaling: ScalingLearner::default(),
            batch_window: None,
            seq: 0,
            allowed: Vec::new(),
            room: Vec::new(),
            scores: Vec::new(),
        }
    }

    /// Sets how many requests of this router a worker may have in flight. A worker at its cap is not a candidate.
    pub fn set_cap(&mut self, cap: InFlightCap) {
        self.fleet.set_cap(cap);
    }

    /// Sets from when on a worker is overloaded, by what it reports. An overloaded worker is not a candidate while another
    /// worker is one. Without this call there are no bounds ([`OverloadBounds::OFF`]).
    pub fn set_overload_bounds(&mut self, bounds: OverloadBounds) {
        self.fleet.set_overload_bounds(bounds);
    }

    /// Sets the window whose requests are dispatched together; `None` for none.
    pub fn set_batch_window(&mut self, window: Option<BatchWindow>) {
        self.batch_window = window;
    }

    /// Sets what the figures for scaling are relative to, and forgets what they were learned from. To be called before any worker
    /// joins.
    pub fn set_scaling(&mut self, options: ScalingOptions) {
        self.scaling = ScalingLearner::new(options);
    }

    /// The figures for scaling at `now`; `waiting` are the requests that the host holds back.
    pub fn scaling(&mut self, now: Time, waiting: WaitingRequests) -> ScalingSignals {
        self.scaling.signals(now, waiting)
    }

    /// A request came and was refused without a dispatch: it counts as an arrival.
    pub fn refused(&mut self, now: Time) {
        self.scaling.refused(now);
    }

    /// When a request that is ready at `now` is to be dispatched, if that is later: at the end of its
    /// [window](Self::set_batch_window), if its prompt is computed for a text and some request runs for each worker.
    pub fn dispatch_at(&self, now: Time, route: Route) -> Option<Time> {
        let window = self.batch_window.filter(|_| route.generates_text())?;
        let is_busy = self.fleet.in_flight() >= self.fleet.routable().len() as u64;
        Some(window.end_after(now)).filter(|at| is_busy && *at > now)
    }

    /// Adds a policy that decides on every request and whose decisions are only recorded. It immediately gets a
    /// `Joined` event for every present worker.
    pub fn add_shadow(&mut self, now: Time, mut policy: Box<dyn Policy>, seed: u64) {
        for w in self.fleet.iter() {
            policy.observe(now, &Event::Joined { worker: w.id, info: w.info });
        }
        self.shadows.push(PolicySlot { policy, rng: Rng::seeded(seed) });
    }

    /// Keeps what happens from now on, as far as there is room, so that policies that come later can learn from it. To be called before
    /// any worker joins. `number` is that of the live policy.
    pub fn keep_history(&mut self, number: PolicyNumber) {
        self.history = Some(EventHistory::default());
        self.number = number;
    }

    /// What happened lately, to [prepare](crate::PreparedPolicy) policies with; absent where it is not kept.
    pub fn history(&self) -> Option<EventHistory> {
        self.history.clone()
    }

    /// Lets other policies decide from now on. Requests in flight, their tickets and all counts stay: they are the balancer's. A
    /// policy that stays, as the live one or as a shadow, keeps what it has learned.
    ///
    /// # Errors
    /// When the line-up names a policy that there is not, or a new policy cannot catch up; then nothing has changed.
    pub fn set_policies(&mut self, now: Time, mut lineup: PolicyLineup) -> Result<(), LineupError> {
        lineup.check(self.shadows.len())?;
        lineup.catch_up(self.history.as_ref())?;
        let PolicyLineup { live, number, shadows } = lineup;
        let mut present = vec![None];
        present.extend(std::mem::take(&mut self.shadows).into_iter().map(Some));
        let next = |fleet: &Fleet, present: &mut [Option<PolicySlot>], of| match of {
            NextPolicy::Live => present[0].take(),
            NextPolicy::Shadow(at) => present[at + 1].take(),
            NextPolicy::New(new) => Some(new.introduce(now, fleet)),
        };
        if !matches!(live, NextPolicy::Live)
            && let Some(slot) = next(&self.fleet, &mut present, live)
        {
            present[0] = Some(std::mem::replace(&mut self.live, slot));
        }
        self.shadows = shadows.into_iter().filter_map(|of| next(&self.fleet, &mut present, of)).collect();
        self.number = number;
        Ok(())
    }

    /// The live policy's name.
    pub fn policy_name(&self) -> &str {
        self.live.policy.name()
    }

    /// Reports figures about the live policy as a whole.
    pub fn gauges(&self, report: &mut dyn FnMut(&'static str, f64)) {
        self.live.policy.gauges(report);
    }

    /// What the live policy and the shadows need from the host.
    pub fn needs(&self) -> PolicyNeeds {
        self.shadows.iter().fold(self.live.policy.needs(), |n, s| n.or(s.policy.needs()))
    }

    /// Adds a worker to the fleet; it may be chosen from now on.
    pub fn join(&mut self, now: Time, info: WorkerInfo) -> WorkerId {
        let worker = self.fleet.join(info.clone());
        self.scaling.joined(now, worker, &info);
        if let Some(history) = &mut self.history {
            history.joined(now, worker, &info);
        }
        self.emit(now, &Event::Joined { worker, info: &info });
        worker
    }

    /// Applies a fact from outside. Facts about workers that left are ignored.
    pub fn apply(&mut self, now: Time, change: FleetUpdate) {
        match change {
            FleetUpdate::Leave(id) => {
                if self.fleet.leave(id) {
                    if self.fleet.iter().next().is_none() {
                        // The next workers may serve another model and other clients.
                        self.lengths = LengthForecaster::default();
                    }
                    self.scaling.left(id);
                    if let Some(history) = &mut self.history {
                        history.left(now, id);
                    }
                    self.emit(now, &Event::Left(id));
                }
            }
            FleetUpdate::Routable(id, routable) => {
                self.fleet.set_routable(id, routable);
                self.scaling.set_routable(id, routable);
            }
            FleetUpdate::Load(id, report) => self.load(now, id, &report),
            FleetUpdate::CacheEmptied(id) => {
                if self.fleet.view(id).is_some() {
                    if let Some(history) = &mut self.history {
                        history.cache_emptied(now, id);
                    }
                    self.emit(now, &Event::CacheEmptied(id));
                }
            }
            FleetUpdate::Capacity(id, capacity) => self.capacity(now, id, &capacity),
        }
    }

    /// Decides and commits in one step. `exclude` names workers that must not be chosen: those that failed
    /// an earlier attempt of the same request.
    ///
    /// A request that names its worker ([`RequestFeatures::target_worker`]) goes to that worker or fails, if the live policy
    /// [heeds](PolicyNeeds::target_worker) that.
    ///
    /// # Errors
    /// [`NoWorker`] when nothing is left to choose from; the policy is then not consulted. [`has_routable`](Self::has_routable)
    /// says whether it can help to wait until a request ends.
    pub fn dispatch(
        &mut self,
        now: Time,
        request: &RequestFeatures<'_>,
        exclude: &[WorkerId],
        explain: ExplainLevel,
    ) -> Result<Dispatched, NoWorker> {
        let classes = self.needs().forecast.then(|| RequestClasses::of(request));
        let foreseen = classes.as_ref().map(|classes| self.foresee(request, classes));
        let request = foreseen.as_ref().unwrap_or(request);
        let target = self.target(request);
        self.fleet.advance(now);
        let candidates = self.fleet.candidates(exclude, target, &mut self.allowed).ok_or(NoWorker)?;
        self.scores.clear();
        let decision =
            self.live.decide(now, request, candidates, explain, Some(&mut self.room), &mut self.scores);
        let mut shadows = Vec::new();
        for slot in &mut self.shadows {
            let mut scores = Vec::new();
            let explain = if explain == ExplainLevel::All { explain } else { ExplainLevel::None };
            let decision = slot.decide(now, request, candidates, explain, Some(&mut self.room), &mut scores);
            shadows.push(ExplainedDecision { policy: slot.policy.name().into(), decision, scores });
        }
        let worker = decision.worker;
        let chosen = self.scores.iter().find(|s| s.worker == worker).copied();
        let scores = if explain == ExplainLevel::All { self.scores.clone() } else { Vec::new() };
        self.seq += 1;
        let snapshot = DispatchSnapshot::of(self.seq, &candidates, worker);
        let load = RequestLoad::of(request);
        self.fleet.dispatched(worker, load);
        self.emit(now, &Event::Dispatched { worker, request });
        let place = self.history.as_mut().map(|history| history.dispatched(now, worker, request));
        let ticket = Ticket {
            worker,
            request: request.id,
            attempt: request.attempt,
            load,
            arrived_at: request.arrived_at,
            dispatched_at: now,
            most_output_tokens: request.most_output_tokens(),
            classes,
            forecast: request.forecast,
            predicted_cached_tokens: decision.predicted_cached_tokens,
            mark: self.scaling.dispatched(now, request, &decision),
            place: place.unwrap_or(HistoryPlace::NONE),
        };
        Ok(Dispatched { ticket, policy: self.number, decision, snapshot, chosen, scores, shadows })
    }

    /// Whether a worker that `request` may go to and that is not in `exclude` is routable, even if it is at its cap.
    pub fn has_routable(&self, request: &RequestFeatures<'_>, exclude: &[WorkerId]) -> bool {
        let target = self.target(request);
        let may = |id: &WorkerId| !exclude.contains(id) && target.is_none_or(|slot| slot == id.slot());
        self.fleet.routable().iter().any(may)
    }

    /// The slot of the one worker that the request may go to, where it names one and the policy heeds that.
    pub fn target(&self, request: &RequestFeatures<'_>) -> Option<usize> {
        request.target_worker.filter(|_| self.live.policy.needs().target_worker)
    }

    /// What the live policy would decide for `request` now, with every candidate's score. Nothing is sent or
    /// learned, and the next decision is not affected.
    ///
    /// # Errors
    /// [`NoWorker`] when nothing may be chosen.
    pub fn peek(&mut self, now: Time, request: &RequestFeatures<'_>) -> Result<ExplainedDecision, NoWorker> {
        let mut scores = Vec::new();
        let decision = self.consider(now, request, &[], ExplainLevel::All, &mut scores)?;
        Ok(ExplainedDecision { policy: self.live.policy.name().into(), decision, scores })
    }

    /// What the live policy would decide for `request` if it were to be dispatched now, with the score of every candidate, however
    /// many there are. As with [`peek`](Self::peek), nothing is sent or learned. `exclude` and a worker that the request names count as in
    /// [`dispatch`](Self::dispatch).
    ///
    /// # Errors
    /// [`NoWorker`] when nothing may be chosen.
    pub fn preview(
        &mut self,
        now: Time,
        request: &RequestFeatures<'_>,
        exclude: &[WorkerId],
    ) -> Result<ExplainedDecision, NoWorker> {
        let foreseen = self.needs().forecast.then(|| self.foresee(request, &RequestClasses::of(request)));
        let request = foreseen.as_ref().unwrap_or(request);
        let target = self.target(request);
        self.fleet.advance(now);
        let candidates = self.fleet.candidates(exclude, target, &mut self.allowed).ok_or(NoWorker)?;
        let (rng, mut scores) = (self.live.rng.clone(), Vec::new());
        let decision = self.live.decide(now, request, candidates, ExplainLevel::All, None, &mut scores);
        self.live.rng = rng;
        Ok(ExplainedDecision { policy: self.live.policy.name().into(), decision, scores })
    }

    /// What the live policy would decide for `request` now if it could not choose those in `exclude`: where the request goes when
    /// they fail. As with [`peek`](Self::peek), nothing is sent or learned. A worker that the request names is not heeded.
    ///
    /// # Errors
    /// [`NoWorker`] when nothing else may be chosen.
    pub fn next_best(
        &mut self,
        now: Time,
        request: &RequestFeatures<'_>,
        exclude: &[WorkerId],
    ) -> Result<Decision, NoWorker> {
        self.consider(now, request, exclude, ExplainLevel::None, &mut Vec::new())
    }

    /// Decides without effect on anything.
    fn consider(
        &mut self,
        now: Time,
        request: &RequestFeatures<'_>,
        exclude: &[WorkerId],
        explain: ExplainLevel,
        scores: &mut Vec<CandidateScore>,
    ) -> Result<Decision, NoWorker> {
        let foreseen = self.needs().forecast.then(|| self.foresee(request, &RequestClasses::of(request)));
        let request = foreseen.as_ref().unwrap_or(request);
        self.fleet.advance(now);
        let candidates = self.fleet.candidates(exclude, None, &mut self.allowed).ok_or(NoWorker)?;
        let rng = self.live.rng.clone();
        let decision = self.live.decide(now, request, candidates, explain, Some(&mut self.room), scores);
        self.live.rng = rng;
        Ok(decision)
    }

    /// Records that the first byte of a streamed response arrived.
    pub fn first_token(&mut self, now: Time, ticket: &mut Ticket) {
        self.scaling.first_token(now, ticket.worker, &mut ticket.mark);
        if let Some(history) = &mut self.history {
            history.first_token(now, ticket.worker, ticket.request, ticket.place);
        }
        self.emit(now, &Event::FirstToken { worker: ticket.worker, request: ticket.request });
    }

    /// Records that so many events of a streamed response have arrived. To be called from time to time, if some policy
    /// [needs](PolicyNeeds::progress) it.
    pub fn progress(&mut self, now: Time, ticket: &Ticket, events: u32) {
        self.emit(now, &Event::Progress { worker: ticket.worker, request: ticket.request, events });
    }

    /// Ends one dispatch and passes the completion to the policies. A load report that came with the response is applied after it.
    pub fn finish(&mut self, now: Time, ticket: Ticket, result: AttemptResult) -> Completion {
        let Ticket { worker, request, attempt, arrived_at, dispatched_at, most_output_tokens, .. } = ticket;
        self.fleet.finished(worker, ticket.load);
        self.seq += 1;
        let seq = self.seq;
        let mut completion = Completion {
            worker,
            request,
            attempt,
            seq,
            arrived_at,
            dispatched_at,
            finished_at: now,
            most_output_tokens,
            result,
            forecast: None,
            predicted_cached_tokens: ticket.predicted_cached_tokens,
        };
        let length = completion.output_tokens().filter(|_| result.outcome == Outcome::Success);
        completion.forecast = ticket.forecast.map(|forecast| forecast.verify(length));
        self.scaling.finished(&ticket.mark, &completion);
        if let Some(history) = &mut self.history {
            history.finished(&completion, ticket.place);
        }
        self.emit(now, &Event::Finished(&completion));
        // Nothing is learned from a worker that left: it may have been removed for a fault.
        if let Some((classes, tokens)) =
            ticket.classes.zip(length).filter(|_| self.fleet.view(worker).is_some())
        {
            self.lengths.learn(&classes, tokens);
        }
        if let Some(report) = result.load {
            self.load(now, worker, &report);
        }
        completion
    }

    /// Requests in flight on all workers.
    pub fn in_flight(&self) -> u64 {
        self.fleet.in_flight()
    }

    /// The workers.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// One worker, routable or not.
    pub fn view(&self, id: WorkerId) -> Option<WorkerView<'_>> {
        self.fleet.view(id)
    }

    /// The request with what is expected of its length.
    fn foresee<'a>(&self, request: &RequestFeatures<'a>, classes: &RequestClasses) -> RequestFeatures<'a> {
        let forecast = self.lengths.forecast(classes, request.max_output_tokens);
        RequestFeatures {
            forecast: Some(forecast),
            fleet_forecast: Some(*self.lengths.by_fleet()),
            ..*request
        }
    }

    fn load(&mut self, now: Time, id: WorkerId, report: &LoadReport) {
        if self.fleet.load(id, report) {
            self.emit(now, &Event::Load { worker: id, report });
        }
    }

    fn capacity(&mut self, now: Time, id: WorkerId, capacity: &WorkerCapacity) {
        self.fleet.set_capacity(id, capacity);
        if let Some(info) = self.fleet.view(id).map(|w| w.info.clone()) {
            self.scaling.changed(id, &info);
            if let Some(history) = &mut self.history {
                history.changed(now, id, &info);
            }
            self.emit(now, &Event::Changed { worker: id, info: &info });
        }
    }

    fn emit(&mut self, now: Time, event: &Event<'_>) {
        self.live.policy.observe(now, event);
        for slot in &mut self.shadows {
            slot.policy.observe(now, event);
        }
    }
}
