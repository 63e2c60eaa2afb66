//! The event loop: what happens next, and who is told.

mod cancel;
mod inflight;
mod oracle_driver;

use crate::contender::DecisionMaker;
use crate::oracle::KnownRequest;
use crate::outcome::{SimulatedRecord, SimulationOutcome};
use crate::scenario::{IncidentKind, Scenario};
use crate::server::SimulatedServer;
use crate::workload::{RequestStart, Workload};
use cancel::{CancelCheck, Cancelled};
use inflight::{InFlight, InFlightRef, features, job};
use oracle_driver::OracleDriver;
use router_core::{
    AttemptResult, Balancer, ExplainLevel, FleetUpdate, LoadReport, LoadSource, Outcome as Ended, Policy,
    Rng, Time, TokenUsage, WorkerId, WorkerInfo,
};
use router_engine::{JobEvent, JobId};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// One thing that happens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum SimEvent {
    /// Something of the scenario, by index.
    Incident(usize),
    /// A server may have something to say.
    Wake { server: usize, number: u32 },
    /// A router is told a first token, of the flight in this place.
    FirstToken(InFlightRef),
    /// A router is told an end.
    End(InFlightRef),
    /// A router is told a load report, by index.
    Report(usize),
    /// All servers are asked for their load.
    Poll,
    /// A request comes, or comes again.
    Arrival(usize),
}

#[derive(Debug)]
struct SimulatedRouter {
    balancer: Balancer,
    /// By server index.
    ids: Vec<WorkerId>,
    /// Server index by slot.
    servers: Vec<usize>,
}

impl SimulatedRouter {
    fn join(&mut self, now: Time, (server, info): (usize, &WorkerInfo)) {
        let id = self.balancer.join(now, info.clone());
        self.ids.push(id);
        self.servers.resize(self.servers.len().max(id.slot() + 1), server);
        self.servers[id.slot()] = server;
    }
}

/// Runs `load` through `scenario`, with one policy of its own from `make` for each router. All chance follows from
/// `seed` and from the load.
pub fn simulate(
    scenario: &Scenario,
    load: &Workload,
    make: &dyn Fn() -> Box<dyn Policy>,
    seed: u64,
) -> SimulationOutcome {
    run((scenario, load), &DecisionMaker::Policy(Box::new(make)), seed)
}

/// The same with whoever decides.
pub(crate) fn run(stage: (&Scenario, &Workload), brain: &DecisionMaker<'_>, seed: u64) -> SimulationOutcome {
    let mut world = Simulation::new(stage, brain, seed);
    // Whoever is always told to go on comes to the end.
    let _ = world.run(CancelCheck::new(&mut || true));
    world.outcome()
}

/// The same as long as `goes_on`, which is asked now and then; nothing when it did not.
pub(crate) fn run_while(
    stage: (&Scenario, &Workload),
    brain: &DecisionMaker<'_>,
    seed: u64,
    goes_on: &mut dyn FnMut() -> bool,
) -> Option<SimulationOutcome> {
    let mut world = Simulation::new(stage, brain, seed);
    world.run(CancelCheck::new(goes_on)).ok()?;
    Some(world.outcome())
}

struct Simulation<'a> {
    scenario: &'a Scenario,
    load: &'a Workload,
    now: Time,
    /// Ordered by time, then by when it was enqueued, so that equal input gives equal output.
    agenda: BinaryHeap<Reverse<(Time, u64, SimEvent)>>,
    enqueued: u64,
    /// Arrivals with a fixed time, latest first.
    open: Vec<(Time, usize)>,
    /// For each request the turns that wait for its end.
    followers: Vec<(usize, usize, Duration)>,
    guide: Option<OracleDriver>,
    routers: Vec<SimulatedRouter>,
    servers: Vec<SimulatedServer>,
    flights: Vec<InFlight>,
    free: Vec<u32>,
    reports: Vec<(usize, usize, LoadReport)>,
    records: Vec<Option<SimulatedRecord>>,
    unfinished: usize,
    report_delay: Duration,
    completion_delay: Duration,
    news: Vec<JobEvent>,
    rng: Rng,
}

impl<'a> Simulation<'a> {
    fn new((scenario, load): (&'a Scenario, &'a Workload), brain: &DecisionMaker<'_>, seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        let guide = OracleDriver::of(brain, seed);
        let routers = (0..scenario.routers.max(1))
            .map(|_| Balancer::new(OracleDriver::policy(guide.as_ref(), brain), rng.next_u64()))
            .map(|balancer| SimulatedRouter { balancer, ids: Vec::new(), servers: Vec::new() })
            .collect();
        let mut world = Self {
            scenario,
            load,
            now: Time::ZERO,
            agenda: BinaryHeap::new(),
            enqueued: 0,
            open: Vec::new(),
            followers: Vec::new(),
            guide,
            routers,
            servers: Vec::new(),
            flights: Vec::new(),
            free: Vec::new(),
            reports: Vec::new(),
            records: vec![None; load.requests.len()],
            unfinished: load.requests.len(),
            report_delay: Duration::ZERO,
            completion_delay: Duration::ZERO,
            news: Vec::new(),
            rng,
        };
        scenario.fleet.servers.iter().for_each(|profile| world.add_server(profile));
        for (i, request) in load.requests.iter().enumerate() {
            match request.start {
                RequestStart::At(at) => world.open.push((at, i)),
                RequestStart::After { request, think } => world.followers.push((request, i, think)),
            }
        }
        world.open.sort_unstable_by_key(|&(at, i)| Reverse((at, i)));
        world.followers.sort_unstable_by_key(|&(before, i, _)| (before, i));
        for (i, incident) in scenario.incidents.iter().enumerate() {
            world.enqueue(incident.at, SimEvent::Incident(i));
        }
        if let Some(every) = scenario.reports.poll {
            world.enqueue(Time::ZERO + every, SimEvent::Poll);
        }
        world
    }

    fn add_server(&mut self, profile: &router_engine::EngineProfile) {
        let index = self.servers.len();
        self.servers.push(SimulatedServer::new(profile, self.load.block_tokens));
        let info = WorkerInfo {
            max_running_requests: Some(profile.limits.max_running),
            max_total_tokens: Some(profile.limits.kv_tokens),
            ..WorkerInfo::new(&format!("http://server-{index}"))
        };
        let now = self.now;
        self.routers.iter_mut().for_each(|router| router.join(now, (index, &info)));
    }

    fn enqueue(&mut self, at: Time, happening: SimEvent) {
        self.enqueued += 1;
        self.agenda.push(Reverse((at, self.enqueued, happening)));
    }

    /// Until every request that can come has come and ended, and every router has been told.
    fn run(&mut self, pace: CancelCheck<'_>) -> Result<(), Cancelled> {
        self.run_to_the_last_answer(pace)?;
        while let Some(Reverse((at, _, happening))) = self.agenda.pop() {
            if let SimEvent::End(flown) = happening {
                self.now = at;
                self.tell_end(flown);
            }
        }
        Ok(())
    }

    fn outcome(self) -> SimulationOutcome {
        let busy = self.servers.iter().map(SimulatedServer::busy_secs).collect();
        SimulationOutcome { records: self.records, busy }
    }

    fn run_to_the_last_answer(&mut self, mut pace: CancelCheck<'_>) -> Result<(), Cancelled> {
        while self.unfinished > 0 {
            pace.step()?;
            let next = self.agenda.peek().map(|Reverse((at, ..))| *at);
            let arrival = self.open.last().map(|(at, _)| *at);
            // At the same instant the fleet's news comes first: a router knows what has already happened.
            if arrival.is_some_and(|arrival| next.is_none_or(|next| arrival < next)) {
                let Some((at, request)) = self.open.pop() else { break };
                self.now = at;
                self.arrive(request);
            } else {
                let Some(Reverse((at, _, happening))) = self.agenda.pop() else { break };
                self.now = at;
                self.happen(happening);
            }
        }
        Ok(())
    }

    fn happen(&mut self, happening: SimEvent) {
        match happening {
            SimEvent::Arrival(request) => self.arrive(request),
            SimEvent::Wake { server, number } => {
                if self.servers[server].woken(number) {
                    self.step(server);
                }
            }
            SimEvent::FirstToken(flown) => self.tell_first_token(flown),
            SimEvent::End(flown) => self.tell_end(flown),
            SimEvent::Report(i) => {
                let (router, server, report) = self.reports[i];
                let router = &mut self.routers[router];
                router.balancer.apply(self.now, FleetUpdate::Load(router.ids[server], report));
            }
            SimEvent::Poll => self.poll(),
            SimEvent::Incident(i) => self.befall(self.scenario.incidents[i].what),
        }
    }

    fn arrive(&mut self, request: usize) {
        let asked = &self.load.requests[request];
        let attempts = self.records[request].map_or(0, |r| r.attempts);
        let router = self.rng.below(self.routers.len());
        self.ask_the_oracle(request, router);
        let features = features(asked, (request, attempts), self.load);
        let SimulatedRouter { balancer, servers, .. } = &mut self.routers[router];
        let record = self.records[request].get_or_insert(SimulatedRecord {
            arrived_at: self.now,
            first_token_at: None,
            finished_at: None,
            server: 0,
            prompt_tokens: asked.prompt_tokens,
            cached_tokens: 0,
            output_tokens: 0,
            attempts: 0,
        });
        record.attempts += 1;
        let Ok(routed) = balancer.dispatch(self.now, &features, &[], ExplainLevel::None) else {
            return self.give_up(request);
        };
        let server = servers[routed.ticket.worker().slot()];
        record.server = server as u32;
        let flight = InFlight {
            turn: 0,
            request,
            router,
            server,
            ticket: Some(routed.ticket),
            first_token_at: None,
            finish: AttemptResult::of(Ended::Success),
        };
        let place = self.take_off(flight);
        self.submit(server, place);
    }

    /// The oracle, if it decides, sees every engine as it is now.
    fn ask_the_oracle(&mut self, request: usize, router: usize) {
        let Some(mut guide) = self.guide.take() else { return };
        for server in 0..self.servers.len() {
            let mut news = std::mem::take(&mut self.news);
            self.servers[server].run(self.now, &mut news);
            if news.is_empty() {
                self.news = news;
            } else {
                self.hear(server, news);
            }
        }
        let asked = &self.load.requests[request];
        let known =
            KnownRequest { prompt: asked.prompt_tokens, blocks: &asked.prefix, output: asked.output_tokens };
        let alive = self.servers.iter().enumerate().filter(|(_, s)| s.alive);
        let engines = alive.map(|(i, s)| (i, s.engine()));
        if let Some(server) = guide.oracle.choose(self.now, &known, engines) {
            guide.tell(self.routers[router].ids[server].slot());
        }
        self.guide = Some(guide);
    }

    fn submit(&mut self, server: usize, place: u32) {
        let asked = &self.load.requests[self.flights[place as usize].request];
        let to = &mut self.servers[server];
        let mut news = std::mem::take(&mut self.news);
        to.run(self.now, &mut news);
        let job = job(asked, place, to);
        let taken = to.submit(self.now, job, &mut news);
        self.hear(server, news);
        if taken.is_err() {
            let flight = &mut self.flights[place as usize];
            flight.finish = AttemptResult { status: Some(400), ..AttemptResult::of(Ended::Rejected) };
            let (request, flown) = (flight.request, InFlightRef { place, turn: flight.turn });
            self.tell_end(flown);
            self.give_up(request);
        }
    }

    /// Lets a server go on to now and passes on what it says.
    fn step(&mut self, server: usize) {
        let mut news = std::mem::take(&mut self.news);
        self.servers[server].run(self.now, &mut news);
        self.hear(server, news);
    }

    fn hear(&mut self, server: usize, mut news: Vec<JobEvent>) {
        if let Some((number, at)) = self.servers[server].next_wake() {
            self.enqueue(at, SimEvent::Wake { server, number });
        }
        for progress in news.drain(..) {
            match progress {
                JobEvent::FirstToken { id, times, .. } => self.first_token(id, times.finished_at),
                JobEvent::Finished(record) => self.end(&record),
                JobEvent::Token { .. } => {}
            }
        }
        self.news = news;
    }

    fn first_token(&mut self, id: JobId, at: Time) {
        let place = id.0 as u32;
        let flight = &mut self.flights[place as usize];
        flight.first_token_at = Some(at);
        let flown = InFlightRef { place, turn: flight.turn };
        if !self.load.requests[flight.request].stream {
            return;
        }
        if self.completion_delay.is_zero() {
            self.tell_first_token(flown);
        } else {
            self.enqueue(self.now + self.completion_delay, SimEvent::FirstToken(flown));
        }
    }

    fn end(&mut self, record: &router_engine::JobRecord) {
        let place = record.id.0 as u32;
        let now = self.now;
        let flight = &mut self.flights[place as usize];
        let request = flight.request;
        let asked = &self.load.requests[request];
        if let Some(entry) = &mut self.records[request] {
            entry.first_token_at = flight.first_token_at;
            entry.finished_at = Some(record.times.finished_at);
            entry.cached_tokens = record.cached_tokens;
            entry.output_tokens = record.output_tokens;
        }
        flight.finish = AttemptResult {
            status: Some(200),
            usage: TokenUsage {
                prompt_tokens: Some(asked.prompt_tokens),
                output_tokens: Some(record.output_tokens),
                cached_tokens: Some(record.cached_tokens),
                estimated: false,
            },
            load: self.scenario.reports.on_answers.then_some(LoadReport {
                waiting: Some(record.waiting),
                ..LoadReport::empty(now, LoadSource::Piggyback)
            }),
            ..AttemptResult::of(Ended::Success)
        };
        let flown = InFlightRef { place, turn: flight.turn };
        if self.completion_delay.is_zero() {
            self.tell_end(flown);
        } else {
            self.enqueue(now + self.completion_delay, SimEvent::End(flown));
        }
        self.over(request);
    }

    fn tell_first_token(&mut self, InFlightRef { place, turn }: InFlightRef) {
        let flight = &mut self.flights[place as usize];
        if flight.turn != turn {
            return;
        }
        if let Some(ticket) = &flight.ticket {
            flight.finish.first_byte_at = Some(self.now);
            self.routers[flight.router].balancer.first_token(self.now, ticket);
        }
    }

    fn tell_end(&mut self, InFlightRef { place, turn }: InFlightRef) {
        let flight = &mut self.flights[place as usize];
        if flight.turn != turn {
            return;
        }
        let Some(ticket) = flight.ticket.take() else { return };
        let stream = self.load.requests[flight.request].stream;
        let told = flight.first_token_at.map(|at| at + self.completion_delay).filter(|_| stream);
        let finish = AttemptResult { first_byte_at: told, ..flight.finish };
        self.routers[flight.router].balancer.finish(self.now, ticket, finish);
        flight.turn += 1;
        self.free.push(place);
    }

    fn poll(&mut self) {
        for server in 0..self.servers.len() {
            if !self.servers[server].alive {
                continue;
            }
            self.step(server);
            let report = self.servers[server].report(self.now + self.report_delay);
            for router in 0..self.routers.len() {
                self.reports.push((router, server, report));
                self.enqueue(self.now + self.report_delay, SimEvent::Report(self.reports.len() - 1));
            }
        }
        if let Some(every) = self.scenario.reports.poll {
            self.enqueue(self.now + every, SimEvent::Poll);
        }
    }

    fn befall(&mut self, what: IncidentKind) {
        match what {
            IncidentKind::Slow { server, factor } => {
                if let Some(server) = self.servers.get_mut(server) {
                    server.slow(factor);
                }
            }
            IncidentKind::Die { server } => self.die(server),
            IncidentKind::Join(profile) => self.add_server(&profile),
            IncidentKind::DelayReports(delay) => self.report_delay = delay,
            IncidentKind::DelayCompletions(delay) => self.completion_delay = delay,
        }
    }

    fn die(&mut self, server: usize) {
        if self.servers.get(server).is_none_or(|s| !s.alive) {
            return;
        }
        self.step(server);
        self.servers[server].alive = false;
        for router in &mut self.routers {
            router.balancer.apply(self.now, FleetUpdate::Leave(router.ids[server]));
        }
        for place in 0..self.flights.len() {
            let flight = &mut self.flights[place];
            let ended = flight.finish.status == Some(200);
            if flight.server != server || flight.ticket.is_none() || ended {
                continue;
            }
            flight.finish = AttemptResult::of(Ended::Failed);
            flight.first_token_at = None;
            let (request, flown) = (flight.request, InFlightRef { place: place as u32, turn: flight.turn });
            self.servers[server].abort(self.now, JobId(place as u64));
            self.tell_end(flown);
            if self.records[request].is_some_and(|r| r.attempts <= self.scenario.retries) {
                self.enqueue(self.now, SimEvent::Arrival(request));
            } else {
                self.give_up(request);
            }
        }
    }

    /// The request ends without an answer; its conversation breaks off.
    fn give_up(&mut self, request: usize) {
        self.unfinished -= 1;
        for i in self.following(request) {
            self.give_up(self.followers[i].1);
        }
    }

    /// The request was answered; who waited for that goes on.
    fn over(&mut self, request: usize) {
        self.unfinished -= 1;
        for i in self.following(request) {
            let (_, next, think) = self.followers[i];
            self.enqueue(self.now + think, SimEvent::Arrival(next));
        }
    }

    fn following(&self, request: usize) -> std::ops::Range<usize> {
        let from = self.followers.partition_point(|f| f.0 < request);
        from..self.followers.partition_point(|f| f.0 <= request)
    }

    fn take_off(&mut self, flight: InFlight) -> u32 {
        if let Some(place) = self.free.pop() {
            let old = &mut self.flights[place as usize];
            *old = InFlight { turn: old.turn, ..flight };
            return place;
        }
        self.flights.push(flight);
        (self.flights.len() - 1) as u32
    }
}
