//! The load at which a worker would still keep the SLO, by the learned times alone: what is expected until responses tell.
//!
//! With `rate` requests per second on one worker, prompts take the share `rate uncached prefill_token` of its time and the tokens
//! of outputs add `rate output step_request`; the sum of both is the load. What is left is for the fixed part of decode
//! steps, so that a token takes `step / (1 - load)`. A prompt waits for the prompts ahead of it as in an M/G/1 queue; its wait is
//! taken to be exponential with the mean of Pollaczek and Khinchine (Kleinrock, "Queueing Systems" vol. 1, 1975, ch. 5).

use super::request_mix::RequestMix;
use super::slo::Slo;
use super::work_model::EngineTimes;
use super::worker_table::WorkerLimits;

/// How far below a limit responses begin to miss it, as a share of the load: the limit is met on average only.
const SPREAD: f64 = 0.02;
/// Requests that share a decode step at most, where workers do not tell.
const MOST_RUNNING: u32 = 256;
/// A load may be this far above the highest one for which the formulas hold.
const SATURATED: f64 = 0.995;

/// A usual worker under a usual load.
#[derive(Clone, Copy, Debug)]
pub(super) struct CapacityModel {
    pub(super) times: EngineTimes,
    pub(super) mix: RequestMix,
    pub(super) limits: WorkerLimits,
    pub(super) slo: Slo,
}

impl CapacityModel {
    /// Seconds of a worker that a usual request takes.
    pub(super) fn work(&self) -> f64 {
        (self.prefill() + self.decode()).max(1e-9)
    }

    fn prefill(&self) -> f64 {
        self.mix.mean().uncached * self.times.prefill_token
    }

    /// Seconds of a worker that an output token takes. What a request adds to a step is never less than its part of a step that as many share as can: where steps hardly grow, it could
    /// not be told from nothing.
    fn token(&self) -> f64 {
        let shared = self.times.step / f64::from(self.limits.running.unwrap_or(MOST_RUNNING).max(1));
        self.times.step_request.max(shared)
    }

    fn decode(&self) -> f64 {
        self.mix.mean().output * self.token()
    }

    /// Whether the SLO is out of reach on an idle worker, for usual requests.
    pub(super) fn is_out_of_reach(&self) -> bool {
        self.times.step + self.times.step_request > self.slo.tpot
            || self.times.fixed + self.prefill() > self.slo.ttft
    }

    /// Seconds that a usual request is on a worker at this load.
    pub(super) fn residence(&self, load: f64) -> f64 {
        let load = load.min(SATURATED);
        let token = self.times.step / (1.0 - load);
        self.times.fixed + self.prefill() + self.mean_wait(load) + self.mix.mean().output * token
    }

    /// Seconds for which a prompt waits for those ahead of it, if it waits, at a load.
    fn mean_wait(&self, load: f64) -> f64 {
        let busy = load * self.prefill() / self.work();
        let spread = self.mix.uncached_squared() / self.mix.mean().uncached.max(1e-9);
        0.5 * spread * self.times.prefill_token / (1.0 - busy)
    }

    /// The share of responses that are expected to miss the SLO at a load.
    pub(super) fn miss_share(&self, load: f64) -> f64 {
        if load >= SATURATED {
            return 1.0;
        }
        let late = self.late_share(load);
        let slow = logistic((load - self.paced_load()) / SPREAD);
        let full = logistic((load - self.full_load()) / SPREAD);
        late.max(slow).max(full)
    }

    /// The share of first tokens that are expected to be late at a load.
    fn late_share(&self, load: f64) -> f64 {
        let busy = load * self.prefill() / self.work();
        let wait = self.mean_wait(load);
        let alone = self.times.fixed + self.prefill();
        // Where usual prompts alone are late, workers are asked not to let them wait any longer.
        let room = (self.slo.ttft - alone).max(0.1 * self.slo.ttft);
        busy * (-room / wait.max(1e-9)).exp()
    }

    /// The load at which a token takes as long as it may.
    fn paced_load(&self) -> f64 {
        let paced = 1.0 - self.times.step / self.slo.tpot;
        // Out of reach: as far as the step's fixed part is shared by some requests.
        if paced > 0.0 { paced } else { 0.8 }
    }

    /// The load at which as many requests run on a worker as it takes.
    fn full_load(&self) -> f64 {
        let lengths = self.mix.mean();
        let by_tokens =
            self.limits.tokens.map(|tokens| tokens as f64 / (lengths.prompt + 0.5 * lengths.output).max(1.0));
        let most =
            self.limits.running.map_or(f64::INFINITY, f64::from).min(by_tokens.unwrap_or(f64::INFINITY));
        let decode = self.decode() / self.work();
        if !most.is_finite() || decode <= 0.0 {
            return 1.0;
        }
        // The share of the time that the tokens of so many requests take.
        let part = most * self.token() / (self.times.step + most * self.times.step_request);
        part / (decode + part * (1.0 - decode))
    }
}

fn logistic(x: f64) -> f64 {
    (1.0 + (-x).exp()).recip()
}
