//! The event loop: takes the next event, applies it, and passes on what the routers learn.

mod autoscaling;
mod cancel;
mod event;
mod inflight;
mod oracle_driver;
mod router;
mod watch;

use crate::autoscaler::AutoscalerState;
use crate::decision_maker::DecisionMaker;
use crate::oracle::KnownRequest;
use crate::outcome::{SimulatedRecord, SimulationOutcome};
use crate::scenario::{IncidentKind, Scenario};
use crate::server::SimulatedServer;
use crate::workload::{RequestStart, Workload};
use autoscaling::WorkerPayroll;
use cancel::{CancelCheck, Cancelled};
use event::{EventQueue, SimEvent};
use inflight::{InFlight, InFlightRef, InFlightRequests, features, job};
use oracle_driver::OracleDriver;
use router::SimulatedRouter;
use router_core::{
    AttemptResult, ExplainLevel, FleetUpdate, LoadReport, LoadSource, Outcome, PROGRESS_INTERVAL, Policy,
    Rng, Time, TokenUsage, WorkerInfo,
};
use router_engine::{EngineProfile, JobEvent, JobId, JobRecord};
use std::cmp::Reverse;
use std::ops::Range;
use std::time::Duration;

/// A load report on its way to a router.
#[derive(Clone, Copy, Debug)]
struct PendingReport {
    router: usize,
    server: usize,
    report: LoadReport,
}

/// A turn of a conversation: it arrives some time after an earlier request ended.
#[derive(Clone, Copy, Debug)]
struct FollowUpTurn {
    after: usize,
    request: usize,
    think: Duration,
}

/// Runs `load` through `scenario`, with a policy from `make` for each router. All randomness follows from `seed` and
/// from the load.
pub fn simulate(
    scenario: &Scenario,
    load: &Workload,
    make: &dyn Fn() -> Box<dyn Policy>,
    seed: u64,
) -> SimulationOutcome {
    run(scenario, load, &DecisionMaker::Policy(Box::new(make)), seed)
}

/// Like [`simulate`], with a policy or the oracle.
pub(crate) fn run(
    scenario: &Scenario,
    load: &Workload,
    decider: &DecisionMaker<'_>,
    seed: u64,
) -> SimulationOutcome {
    let mut simulation = Simulation::new(scenario, load, decider, seed);
    // It cannot be cancelled: the callback always says to continue.
    let _ = simulation.run(CancelCheck::new(&mut || true));
    simulation.outcome()
}

/// Like [`run`], as long as `should_continue` says so, which is called from time to time; `None` if it was cancelled.
pub(crate) fn run_while(
    scenario: &Scenario,
    load: &Workload,
    decider: &DecisionMaker<'_>,
    seed: u64,
    should_continue: &mut dyn FnMut() -> bool,
) -> Option<SimulationOutcome> {
    let mut simulation = Simulation::new(scenario, load, decider, seed);
    simulation.run(CancelCheck::new(should_continue)).ok()?;
    Some(simulation.outcome())
}

struct Simulation<'a> {
    scenario: &'a Scenario,
    load: &'a Workload,
    now: Time,
    event_queue: EventQueue,
    /// Arrivals at a fixed time, latest first.
    arrivals: Vec<(Time, usize)>,
    /// Sorted by the request that they come after.
    follow_ups: Vec<FollowUpTurn>,
    oracle_driver: Option<OracleDriver>,
    routers: Vec<SimulatedRouter>,
    servers: Vec<SimulatedServer>,
    in_flight: InFlightRequests,
    reports: Vec<PendingReport>,
    payroll: WorkerPayroll,
    /// One per request, in the order of the workload.
    records: Vec<Option<SimulatedRecord>>,
    /// Requests that have not ended.
    unfinished: usize,
    report_delay: Duration,
    completion_delay: Duration,
    /// Reused between steps.
    progress: Vec<JobEvent>,
    rng: Rng,
}

impl<'a> Simulation<'a> {
    fn new(scenario: &'a Scenario, load: &'a Workload, decider: &DecisionMaker<'_>, seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        let oracle_driver = OracleDriver::of(decider, seed);
        let routers = (0..scenario.routers.max(1))
            .map(|_| OracleDriver::policy(oracle_driver.as_ref(), decider))
            .map(|policy| SimulatedRouter::new(policy, rng.next_u64(), scenario))
            .collect();
        let mut simulation = Self {
            scenario,
            load,
            now: Time::ZERO,
            event_queue: EventQueue::default(),
            arrivals: Vec::new(),
            follow_ups: Vec::new(),
            oracle_driver,
            routers,
            servers: Vec::new(),
            in_flight: InFlightRequests::default(),
            reports: Vec::new(),
            payroll: WorkerPayroll::new(scenario.autoscaler.map(AutoscalerState::new)),
            records: vec![None; load.requests.len()],
            unfinished: load.requests.len(),
            report_delay: Duration::ZERO,
            completion_delay: Duration::ZERO,
            progress: Vec::new(),
            rng,
        };
        scenario.fleet.servers.iter().for_each(|profile| simulation.add_server(profile));
        simulation.schedule();
        simulation
    }

    /// Enqueues everything whose time is known before the run.
    fn schedule(&mut self) {
        for (index, request) in self.load.requests.iter().enumerate() {
            match request.start {
                RequestStart::At(at) => self.arrivals.push((at, index)),
                RequestStart::After { request: after, think } => {
                    self.follow_ups.push(FollowUpTurn { after, request: index, think });
                }
            }
        }
        self.arrivals.sort_unstable_by_key(|&(at, index)| Reverse((at, index)));
        self.follow_ups.sort_unstable_by_key(|turn| (turn.after, turn.request));
        for (index, incident) in self.scenario.incidents.iter().enumerate() {
            self.event_queue.push(incident.at, SimEvent::Incident(index));
        }
        if let Some(interval) = self.scenario.reports.poll {
            self.event_queue.push(Time::ZERO + interval, SimEvent::Poll);
        }
        if let Some(autoscaler) = &self.scenario.autoscaler {
            self.event_queue.push(Time::ZERO + autoscaler.interval, SimEvent::Autoscale);
        }
        let is_watched = self.routers.iter().any(|router| router.balancer.needs().progress);
        if is_watched && self.load.requests.iter().any(|request| request.stream) {
            self.event_queue.push(Time::ZERO + PROGRESS_INTERVAL, SimEvent::Progress);
        }
    }

    fn add_server(&mut self, profile: &EngineProfile) {
        let server = self.start_server(profile);
        self.payroll.present(self.now, server);
    }

    /// A server joins, and its index.
    fn start_server(&mut self, profile: &EngineProfile) -> usize {
        let index = self.servers.len();
        self.servers.push(SimulatedServer::new(profile, self.load.block_tokens));
        let info = WorkerInfo {
            max_running_requests: Some(profile.limits.max_running),
            max_total_tokens: Some(profile.limits.kv_tokens),
            ..WorkerInfo::new(&format!("http://server-{index}"))
        };
        let now = self.now;
        self.routers.iter_mut().for_each(|router| router.join(now, index, &info));
        index
    }

    /// Runs until every request that can arrive has ended, and every router has learned it.
    fn run(&mut self, cancel: CancelCheck<'_>) -> Result<(), Cancelled> {
        self.run_to_last_response(cancel)?;
        while let Some((at, event)) = self.event_queue.pop() {
            if let SimEvent::End(ended) = event {
                self.now = at;
                self.report_end(ended);
            }
        }
        Ok(())
    }

    fn outcome(self) -> SimulationOutcome {
        let busy = self.servers.iter().map(SimulatedServer::busy_secs).collect();
        SimulationOutcome { records: self.records, busy, workers: self.payroll.used(self.now) }
    }

    fn run_to_last_response(&mut self, mut cancel: CancelCheck<'_>) -> Result<(), Cancelled> {
        while self.unfinished > 0 {
            cancel.check()?;
            let next = self.event_queue.next_time();
            let arrival = self.arrivals.last().map(|(at, _)| *at);
            // At the same instant events go before arrivals: a router knows what has already happened.
            if arrival.is_some_and(|arrival| next.is_none_or(|next| arrival < next)) {
                let Some((at, request)) = self.arrivals.pop() else { break };
                self.now = at;
                self.arrive(request);
            } else {
                let Some((at, event)) = self.event_queue.pop() else { break };
                self.now = at;
                self.apply(event);
            }
        }
        Ok(())
    }

    fn apply(&mut self, event: SimEvent) {
        match event {
            SimEvent::Arrival(request) => self.arrive(request),
            SimEvent::Wake { server, number } => {
                if self.servers[server].take_wake_up(number) {
                    self.step(server);
                }
            }
            SimEvent::FirstToken(request) => self.report_first_token(request),
            SimEvent::End(request) => self.report_end(request),
            SimEvent::Report(index) => {
                let PendingReport { router, server, report } = self.reports[index];
                let router = &mut self.routers[router];
                router.balancer.apply(self.now, FleetUpdate::Load(router.ids[server], report));
            }
            SimEvent::Poll => self.poll(),
            SimEvent::Autoscale => self.autoscale(),
            SimEvent::Ready(order) => self.worker_ready(order),
            SimEvent::Progress => self.report_progress(),
            SimEvent::Incident(index) => self.apply_incident(self.scenario.incidents[index].kind),
        }
    }

    fn arrive(&mut self, index: usize) {
        let request = &self.load.requests[index];
        let attempts = self.records[index].map_or(0, |r| r.attempts);
        let router = self.rng.below(self.routers.len());
        let features = features(request, index, attempts, self.load);
        self.records[index].get_or_insert(SimulatedRecord {
            arrived_at: self.now,
            first_token_at: None,
            finished_at: None,
            server: 0,
            prompt_tokens: request.prompt_tokens,
            cached_tokens: 0,
            output_tokens: 0,
            attempts: 0,
        });
        if attempts == 0
            && let Some(at) = self.routers[router].balancer.dispatch_at(self.now, features.route)
        {
            return self.event_queue.push(at, SimEvent::Arrival(index));
        }
        self.consult_oracle(index, router);
        let SimulatedRouter { balancer, servers, .. } = &mut self.routers[router];
        let Some(record) = &mut self.records[index] else { return };
        record.attempts += 1;
        let Ok(routed) = balancer.dispatch(self.now, &features, &[], ExplainLevel::None) else {
            return self.fail(index);
        };
        let server = servers[routed.ticket.worker().slot()];
        record.server = server as u32;
        let slot = self.in_flight.insert(InFlight {
            generation: 0,
            request: index,
            router,
            server,
            ticket: Some(routed.ticket),
            first_token_at: None,
            finish: AttemptResult::of(Outcome::Success),
        });
        self.submit(server, slot);
    }

    /// Lets the oracle, if it decides, choose a server by the state of every engine at this moment.
    fn consult_oracle(&mut self, request: usize, router: usize) {
        let Some(mut driver) = self.oracle_driver.take() else { return };
        for server in 0..self.servers.len() {
            let mut progress = std::mem::take(&mut self.progress);
            self.servers[server].run(self.now, &mut progress);
            if progress.is_empty() {
                self.progress = progress;
            } else {
                self.on_progress(server, progress);
            }
        }
        let request = &self.load.requests[request];
        let known = KnownRequest {
            prompt: request.prompt_tokens,
            blocks: &request.prefix,
            output: request.output_tokens,
        };
        let alive = self.servers.iter().enumerate().filter(|(_, s)| s.alive);
        let engines = alive.map(|(i, s)| (i, s.engine()));
        if let Some(server) = driver.oracle.choose(self.now, &known, engines) {
            driver.set_slot(self.routers[router].ids[server].slot());
        }
        self.oracle_driver = Some(driver);
    }

    fn submit(&mut self, index: usize, slot: u32) {
        let request = &self.load.requests[self.in_flight.slot_mut(slot).request];
        let server = &mut self.servers[index];
        let mut progress = std::mem::take(&mut self.progress);
        server.run(self.now, &mut progress);
        let job = job(request, slot, server);
        let accepted = server.submit(self.now, job, &mut progress);
        self.on_progress(index, progress);
        if accepted.is_err() {
            let rejected = self.in_flight.slot_mut(slot);
            rejected.finish = AttemptResult { status: Some(400), ..AttemptResult::of(Outcome::Rejected) };
            let (request, generation) = (rejected.request, rejected.generation);
            self.report_end(InFlightRef { slot, generation });
            self.fail(request);
        }
    }

    /// Runs a server up to the present and handles its progress.
    fn step(&mut self, server: usize) {
        let mut progress = std::mem::take(&mut self.progress);
        self.servers[server].run(self.now, &mut progress);
        self.on_progress(server, progress);
    }

    fn on_progress(&mut self, server: usize, mut progress: Vec<JobEvent>) {
        if let Some((number, at)) = self.servers[server].next_wake_up() {
            self.event_queue.push(at, SimEvent::Wake { server, number });
        }
        for event in progress.drain(..) {
            match event {
                JobEvent::FirstToken { id, times, .. } => self.on_first_token(id, times.finished_at),
                JobEvent::Finished(record) => self.on_end(&record),
                JobEvent::Token { .. } => {}
            }
        }
        self.progress = progress;
    }

    fn on_first_token(&mut self, id: JobId, at: Time) {
        let slot = id.0 as u32;
        let request = self.in_flight.slot_mut(slot);
        request.first_token_at = Some(at);
        let reference = InFlightRef { slot, generation: request.generation };
        if !self.load.requests[request.request].stream {
            return;
        }
        if self.completion_delay.is_zero() {
            self.report_first_token(reference);
        } else {
            self.event_queue.push(self.now + self.completion_delay, SimEvent::FirstToken(reference));
        }
    }

    fn on_end(&mut self, job: &JobRecord) {
        let slot = job.id.0 as u32;
        let now = self.now;
        let ended = self.in_flight.slot_mut(slot);
        let index = ended.request;
        if let Some(record) = &mut self.records[index] {
            record.first_token_at = ended.first_token_at;
            record.finished_at = Some(job.times.finished_at);
            record.cached_tokens = job.cached_tokens;
            record.output_tokens = job.output_tokens;
        }
        ended.finish = AttemptResult {
            status: Some(200),
            usage: TokenUsage {
                prompt_tokens: Some(self.load.requests[index].prompt_tokens),
                output_tokens: Some(job.output_tokens),
                cached_tokens: Some(job.cached_tokens),
                estimated: false,
            },
            load: self.scenario.reports.on_responses.then_some(LoadReport {
                waiting: Some(job.waiting),
                ..LoadReport::empty(now, LoadSource::Piggyback)
            }),
            ..AttemptResult::of(Outcome::Success)
        };
        let reference = InFlightRef { slot, generation: ended.generation };
        if self.completion_delay.is_zero() {
            self.report_end(reference);
        } else {
            self.event_queue.push(now + self.completion_delay, SimEvent::End(reference));
        }
        self.complete(index);
    }

    fn report_first_token(&mut self, reference: InFlightRef) {
        let Some(request) = self.in_flight.get_mut(reference) else { return };
        if let Some(ticket) = &mut request.ticket {
            request.finish.first_byte_at = Some(self.now);
            self.routers[request.router].balancer.first_token(self.now, ticket);
        }
    }

    fn report_end(&mut self, reference: InFlightRef) {
        let Some(ended) = self.in_flight.get_mut(reference) else { return };
        let Some(ticket) = ended.ticket.take() else { return };
        let stream = self.load.requests[ended.request].stream;
        let first_byte_at = ended.first_token_at.map(|at| at + self.completion_delay).filter(|_| stream);
        let finish = AttemptResult { first_byte_at, ..ended.finish };
        self.routers[ended.router].balancer.finish(self.now, ticket, finish);
        self.in_flight.remove(reference.slot);
    }

    fn apply_incident(&mut self, kind: IncidentKind) {
        match kind {
            IncidentKind::Slow { server, factor } => {
                if let Some(server) = self.servers.get_mut(server) {
                    server.set_slowdown(factor);
                }
            }
            IncidentKind::Die { server } => self.kill_server(server),
            IncidentKind::Join(profile) => self.add_server(&profile),
            IncidentKind::DelayReports(delay) => self.report_delay = delay,
            IncidentKind::DelayCompletions(delay) => self.completion_delay = delay,
        }
    }

    fn kill_server(&mut self, server: usize) {
        if self.servers.get(server).is_none_or(|s| !s.alive) {
            return;
        }
        self.step(server);
        self.servers[server].alive = false;
        self.payroll.gone(self.now, server);
        for router in &mut self.routers {
            router.balancer.apply(self.now, FleetUpdate::Leave(router.ids[server]));
        }
        for slot in 0..self.in_flight.slots() {
            let lost = self.in_flight.slot_mut(slot);
            let ended = lost.finish.status == Some(200);
            if lost.server != server || lost.ticket.is_none() || ended {
                continue;
            }
            lost.finish = AttemptResult::of(Outcome::Failed);
            lost.first_token_at = None;
            let (request, generation) = (lost.request, lost.generation);
            self.servers[server].abort(self.now, JobId(u64::from(slot)));
            self.report_end(InFlightRef { slot, generation });
            if self.records[request].is_some_and(|r| r.attempts <= self.scenario.retries) {
                self.event_queue.push(self.now, SimEvent::Arrival(request));
            } else {
                self.fail(request);
            }
        }
    }

    /// The request ends without a response, and the later turns of its conversation never arrive.
    fn fail(&mut self, request: usize) {
        self.unfinished -= 1;
        for i in self.turns_after(request) {
            self.fail(self.follow_ups[i].request);
        }
    }

    /// The request got its response, and the next turn of its conversation is scheduled.
    fn complete(&mut self, request: usize) {
        self.unfinished -= 1;
        for i in self.turns_after(request) {
            let turn = self.follow_ups[i];
            self.event_queue.push(self.now + turn.think, SimEvent::Arrival(turn.request));
        }
    }

    /// The turns that come after a request, as indices of `follow_ups`.
    fn turns_after(&self, request: usize) -> Range<usize> {
        let from = self.follow_ups.partition_point(|turn| turn.after < request);
        from..self.follow_ups.partition_point(|turn| turn.after <= request)
    }
}
