//! Puts the parts together: events in, figures out.

use super::capacity::CapacityModel;
use super::demand::DemandSpread;
use super::forecaster::{RateForecaster, STEP_SECS};
use super::load_levels::{LoadLevels, MissCurve};
use super::request_mix::{RequestLengths, RequestMix};
use super::signals::{ScaleUnknown, ScalingSignals, WorkerCapability, WorkersNeeded};
use super::slo::{ResponseTimes, Slo};
use super::work_model::{EngineTimes, FIRST_ROWS, WorkDone, WorkModel};
use super::worker_table::{WorkerSums, WorkerTable};
use crate::token_estimator::TokenEstimator;
use crate::worker_info::WorkerInfo;
use crate::{Completion, Decision, Outcome, PromptScript, RequestFeatures, Route, Time, WorkerId};
use std::time::Duration;

/// In how many seconds requests that wait are to be served.
const DRAIN_SECS: f64 = 60.0;
/// Steps of which the load and the responses are remembered, for responses that end late.
const REMEMBERED_STEPS: usize = 128;
/// After so many steps without an event the steps between are skipped: nothing arrived in them.
const MOST_EMPTY_STEPS: u64 = 1000;
/// Responses to the requests of one step count together as so many at most: they share their luck.
const STEP_WEIGHT: f64 = 10.0;
/// Rows after which the speed of single workers is learned, beside the usual one.
const SETTLED_ROWS: u32 = 2 * FIRST_ROWS;

/// What the figures are relative to.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ScalingOptions {
    /// The limits that responses are to meet.
    pub slo: Slo,
    /// The share of responses that may miss them, above 0 and below 1. Default 0.01.
    pub miss_share: f64,
    /// How long it takes until a worker that is ordered now is ready. Default two minutes.
    pub horizon: Duration,
    /// After what time arrivals repeat themselves. Default a day.
    pub season: Duration,
}

impl Default for ScalingOptions {
    fn default() -> Self {
        Self {
            slo: Slo::default(),
            miss_share: 0.01,
            horizon: Duration::from_secs(120),
            season: Duration::from_secs(86_400),
        }
    }
}

/// Requests that wait at the host, for admission or for a worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WaitingRequests {
    /// How many.
    pub count: u64,
}

/// What is kept of a request while it is in flight.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct RequestMark {
    stream: bool,
    route: Route,
    script: PromptScript,
    prompt_bytes: u64,
    /// Prompt tokens that its worker has to compute, as estimated.
    uncached: f64,
    /// The sums of its worker at the dispatch.
    sent: WorkerSums,
    /// When its first token came, and the sums then.
    first: Option<(Time, WorkerSums)>,
}

/// The responses whose requests came in one step.
#[derive(Clone, Copy, Debug)]
struct StepRecord {
    step: u64,
    /// The load then; absent while the step lasts and where it was not known.
    load: Option<f64>,
    /// Requests that came in it.
    arrivals: u32,
    seen: u32,
    missed: u32,
}

impl StepRecord {
    const fn of(step: u64) -> Self {
        Self { step, load: None, arrivals: 0, seen: 0, missed: 0 }
    }

    /// As how many a response counts.
    fn weight(&self) -> f64 {
        STEP_WEIGHT / f64::from(self.arrivals).max(STEP_WEIGHT)
    }
}

/// Learns from what the balancer sees.
#[derive(Debug)]
pub(crate) struct ScalingLearner {
    options: ScalingOptions,
    tokens: TokenEstimator,
    mix: RequestMix,
    model: WorkModel,
    workers: WorkerTable,
    levels: LoadLevels,
    rate: RateForecaster,
    spread: DemandSpread,
    /// Misses by load as of the last step.
    curve: Option<MissCurve>,
    /// How many times the mean demand must be there, likewise.
    provision: Option<f64>,
    /// Requests that waited when the present step began.
    carried: f64,
    /// The present step, and the arrivals in it.
    step: u64,
    arrivals: u32,
    in_flight: u64,
    steps: Vec<StepRecord>,
}

impl Default for ScalingLearner {
    fn default() -> Self {
        Self::new(ScalingOptions::default())
    }
}

impl ScalingLearner {
    pub(crate) fn new(options: ScalingOptions) -> Self {
        Self {
            options,
            tokens: TokenEstimator::default(),
            mix: RequestMix::default(),
            model: WorkModel::default(),
            workers: WorkerTable::default(),
            levels: LoadLevels::default(),
            rate: RateForecaster::new(options.horizon.as_secs_f64(), options.season.as_secs_f64()),
            spread: DemandSpread::default(),
            curve: None,
            provision: None,
            carried: 0.0,
            step: 0,
            arrivals: 0,
            in_flight: 0,
            steps: vec![StepRecord::of(u64::MAX); REMEMBERED_STEPS],
        }
    }

    pub(crate) fn joined(&mut self, now: Time, id: WorkerId, info: &WorkerInfo) {
        self.workers.joined(now, id, info);
    }

    pub(crate) fn changed(&mut self, id: WorkerId, info: &WorkerInfo) {
        self.workers.changed(id, info);
    }

    pub(crate) fn left(&mut self, id: WorkerId) {
        self.workers.left(id);
    }

    pub(crate) fn set_routable(&mut self, id: WorkerId, routable: bool) {
        self.workers.set_routable(id, routable);
    }

    /// A request came that was not dispatched and will not be.
    pub(crate) fn refused(&mut self, now: Time) {
        self.advance(now);
        self.arrivals += 1;
    }

    pub(crate) fn dispatched(
        &mut self,
        now: Time,
        request: &RequestFeatures<'_>,
        decision: &Decision,
    ) -> RequestMark {
        self.advance(now);
        self.arrivals += u32::from(request.attempt == 0);
        self.in_flight += 1;
        let (prompt, _) = self.tokens.prompt(request);
        let uncached = match decision.predicted_cached_tokens {
            Some(cached) => (prompt - f64::from(cached)).max(1.0),
            None => prompt * self.mix.uncached_share(),
        };
        let sent = self.workers.dispatched(now, decision.worker);
        if request.stream {
            self.workers.awaits_prompt(decision.worker);
        }
        RequestMark {
            stream: request.stream,
            route: request.route,
            script: request.script,
            prompt_bytes: request.prompt_bytes,
            uncached,
            sent,
            first: None,
        }
    }

    pub(crate) fn first_token(&mut self, now: Time, worker: WorkerId, mark: &mut RequestMark) {
        self.workers.prompt_ended(worker);
        mark.first = Some((now, self.workers.prefilled(now, worker, mark.uncached)));
    }

    pub(crate) fn finished(&mut self, mark: &RequestMark, completion: &Completion) {
        let now = completion.finished_at;
        self.advance(now);
        self.in_flight = self.in_flight.saturating_sub(1);
        if mark.first.is_none() {
            if mark.stream {
                self.workers.prompt_ended(completion.worker);
            }
            self.workers.prefilled(now, completion.worker, mark.uncached);
        }
        let Some(sums) = self.workers.finished(now, completion.worker) else { return };
        match completion.result.outcome {
            Outcome::Success => self.learn(mark, completion, sums),
            Outcome::Busy => self.count(completion, true),
            Outcome::Rejected | Outcome::Failed | Outcome::Cancelled => {}
        }
    }

    /// Learns from a complete response, if it told its length.
    fn learn(&mut self, mark: &RequestMark, completion: &Completion, sums: WorkerSums) {
        let usage = &completion.result.usage;
        let Some(output) = completion.output_tokens().filter(|tokens| *tokens > 0) else { return };
        let told = usage.prompt_tokens.filter(|tokens| *tokens > 0);
        if let Some(prompt) = told {
            self.tokens.learn(mark.route, mark.script, mark.prompt_bytes, prompt);
        }
        let uncached = match (told, usage.cached_tokens) {
            (Some(prompt), Some(cached)) => f64::from(prompt.saturating_sub(cached)),
            (Some(prompt), None) => f64::from(prompt),
            _ => mark.uncached,
        };
        let prompt = told.map_or(mark.uncached, f64::from).max(uncached);
        self.mix.learn(RequestLengths { prompt, uncached, output: f64::from(output) });
        self.learn_times(mark, completion, sums, output);
        self.count_response(completion, uncached, output);
    }

    fn learn_times(&mut self, mark: &RequestMark, completion: &Completion, sums: WorkerSums, output: u32) {
        let worker = completion.worker;
        let (begin, from) = mark.first.unwrap_or((completion.dispatched_at, mark.sent));
        let secs = completion.finished_at.secs_since(begin);
        let steps = if mark.first.is_some() { output.saturating_sub(1) } else { output };
        let requests = if secs > 0.0 { (sums.request_secs - from.request_secs) / secs } else { 1.0 };
        let last = WorkDone {
            starts: if mark.first.is_some() { 0.0 } else { 1.0 },
            prefill_tokens: sums.prefilled - from.prefilled,
            steps: f64::from(steps),
            shared_steps: f64::from(steps) * requests.max(1.0),
        };
        let slowness = self.workers.slowness(worker);
        let (mut took, mut foreseen) = (0.0, 0.0);
        let mut row = |work: WorkDone, secs: f64| {
            foreseen += self.model.foresee(work);
            took += secs;
            self.model.learn(work, secs, slowness);
        };
        if let Some((at, first)) = mark.first {
            let prefill_tokens = first.prefilled - mark.sent.prefilled;
            let work = WorkDone { starts: 1.0, prefill_tokens, ..WorkDone::default() };
            row(work, at.secs_since(completion.dispatched_at));
        }
        if steps > 0 {
            row(last, secs);
        }
        if self.model.rows() == FIRST_ROWS {
            self.model.solve();
        }
        if self.model.rows() > SETTLED_ROWS && foreseen > 0.0 {
            self.workers.learn(worker, took / foreseen);
        }
    }

    /// Counts whether a response met the SLO, unless it could not have on that worker even if it was idle.
    fn count_response(&mut self, completion: &Completion, uncached: f64, output: u32) {
        let Some(times) = self.times() else { return };
        let slo = self.options.slo;
        let EngineTimes { fixed, prefill_token, step, .. } =
            times.scaled(self.workers.slowness(completion.worker));
        if fixed + uncached * prefill_token > slo.ttft || step > slo.tpot {
            return;
        }
        let arrived = completion.arrived_at.unwrap_or(completion.dispatched_at);
        let met = slo.is_met(ResponseTimes {
            first_token: completion.result.first_byte_at.map(|at| at.secs_since(arrived)),
            total: completion.finished_at.secs_since(arrived),
            tokens: output,
        });
        self.count(completion, !met);
    }

    fn count(&mut self, completion: &Completion, missed: bool) {
        let step = step_of(completion.arrived_at.unwrap_or(completion.dispatched_at));
        let record = &mut self.steps[step as usize % REMEMBERED_STEPS];
        if step == self.step && record.step != step {
            *record = StepRecord::of(step);
        }
        if record.step != step {
            return;
        }
        match record.load {
            Some(load) => {
                let weight = record.weight();
                self.levels.learn(load, weight, weight * f64::from(u8::from(missed)));
            }
            None => {
                record.seen += 1;
                record.missed += u32::from(missed);
            }
        }
    }

    /// Ends the steps that are over.
    fn advance(&mut self, now: Time) {
        let step = step_of(now);
        if step > self.step + MOST_EMPTY_STEPS {
            self.end_step();
            self.step = step - MOST_EMPTY_STEPS;
        }
        let is_over = self.step < step;
        while self.step < step {
            self.end_step();
        }
        if is_over {
            self.refit();
        }
    }

    fn end_step(&mut self) {
        let end = (self.step + 1) as f64 * STEP_SECS;
        let rate = f64::from(self.arrivals) / STEP_SECS;
        if let Some(mean) = self.rate.mean_ahead(STEP_SECS).filter(|mean| *mean > 0.0) {
            self.spread.learn(rate / mean, self.arrivals);
        }
        self.rate.observe(end, rate);
        self.levels.fade();
        let (load, step) = (self.load(), self.step);
        let record = &mut self.steps[step as usize % REMEMBERED_STEPS];
        if record.step != step {
            *record = StepRecord::of(step);
        }
        (record.load, record.arrivals) = (load, self.arrivals);
        let weight = record.weight();
        if let Some(load) = load {
            self.levels.learn(load, weight * f64::from(record.seen), weight * f64::from(record.missed));
        }
        self.arrivals = 0;
        self.carried = self.waiting().unwrap_or(0.0);
        self.step += 1;
    }

    /// Works out what was learned since the last time.
    fn refit(&mut self) {
        self.model.solve();
        self.workers.refresh();
        let objective = self.options.miss_share;
        self.curve = self.capacity().map(|model| self.levels.curve(|load| model.miss_share(load)));
        self.provision = self.curve.and_then(|curve| self.spread.provision(objective, &curve));
    }

    /// The load of the routable workers in the step that ends, in seconds of work per second: of what came in it and what waited
    /// when it began; absent while it is not known.
    fn load(&self) -> Option<f64> {
        let requests = f64::from(self.arrivals) + self.carried;
        let capacity = self.workers.capacity();
        let work = self.capacity()?.work();
        (capacity > 0.0).then(|| requests * work / (STEP_SECS * capacity))
    }

    fn capacity(&self) -> Option<CapacityModel> {
        let (mix, limits, slo) = (self.mix, self.workers.limits(), self.options.slo);
        self.times().map(|times| CapacityModel { times, mix, limits, slo })
    }

    /// The times of a usual worker, once they are known.
    fn times(&self) -> Option<EngineTimes> {
        Some(self.model.known()?.scaled(self.workers.scale()))
    }

    /// The load up to which the SLO holds; absent while it is not known.
    fn limit(&self) -> Option<f64> {
        Some(self.curve?.limit(self.options.miss_share))
    }

    /// Requests on the workers beyond those that the arrival rate explains; absent while that is not known.
    fn waiting(&self) -> Option<f64> {
        let usual = self.rate.rate()? * self.capacity()?.residence(self.limit()?);
        Some((self.in_flight as f64 - usual).max(0.0))
    }

    /// The figures at present.
    pub(crate) fn signals(&mut self, now: Time, waiting: WaitingRequests) -> ScalingSignals {
        self.advance(now);
        let too_soon = ScaleUnknown::TooSoon { secs: (3.0 * STEP_SECS) as u32 };
        let few = ScaleUnknown::FewResponses { seen: self.model.rows(), needed: FIRST_ROWS };
        let arrival_rate = self.rate.rate().ok_or(too_soon);
        let forecast = self.rate.forecast().ok_or(too_soon);
        let model = self.capacity().ok_or(few);
        let capability = model.and_then(|model| {
            let load_limit = self.limit().ok_or(few)?;
            Ok(WorkerCapability {
                work_secs: model.work(),
                load_limit,
                limit_responses: self.levels.responses_near(load_limit),
                requests_per_sec: load_limit / model.work(),
                is_slo_out_of_reach: model.is_out_of_reach(),
            })
        });
        let backlog = self.waiting().map(|excess| excess + waiting.count as f64).ok_or(few);
        let workers = self.workers.routable();
        // Worker speeds are relative to the usual worker of the fit; needed are workers like the present ones.
        let speed = if workers > 0 { self.workers.capacity() / f64::from(workers) } else { 1.0 };
        let workers_needed = capability.and_then(|capability| {
            let of = |rate: f64| rate / (capability.requests_per_sec * speed);
            let (for_rate, for_forecast) = (of(arrival_rate?), of(forecast?.rate));
            let mean = self.rate.mean_ahead(self.options.horizon.as_secs_f64());
            let for_bursts =
                self.provision.zip(mean).map(|(times, mean)| times * mean * capability.work_secs / speed);
            let for_backlog = of(backlog? / DRAIN_SECS);
            let workers = for_rate.max(for_forecast).max(for_bursts.unwrap_or(0.0)) + for_backlog;
            Ok(WorkersNeeded { workers, for_rate, for_forecast, for_bursts, for_backlog })
        });
        let saturation = match workers_needed {
            Ok(_) if workers == 0 => Err(ScaleUnknown::NoWorker),
            Ok(needed) => Ok((needed.for_rate + needed.for_backlog) / f64::from(workers)),
            Err(unknown) => Err(unknown),
        };
        ScalingSignals { arrival_rate, forecast, backlog, capability, saturation, workers_needed, workers }
    }
}

/// The number of the step in which a time lies.
fn step_of(at: Time) -> u64 {
    (at.as_secs_f64() / STEP_SECS) as u64
}
