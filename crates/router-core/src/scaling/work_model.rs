//! How long an engine computes for prompts and outputs, learned from the times of responses.
//!
//! While a request waits for its first token, its worker computes the prompts ahead of it and its own; while it decodes, each of
//! its tokens takes a step, which is longer the more requests share it, and the prompts that come meanwhile hold it up. So
//! both times are sums of what the worker did in them:
//!
//! ```text
//! until the first token   fixed + prefill_token (prompt tokens computed meanwhile)
//! after it                step (tokens) + step_request (tokens) (requests) + prefill_token (prompt tokens computed meanwhile)
//! ```
//!
//! The four are fitted by least squares of the relative error with exponential forgetting, one fit for the pool; how much
//! faster or slower one worker is than the others is learned apart ([`super::worker_table`]).

use crate::least_squares::{LeastSquares, Regularization};

const N: usize = 4;
/// Unit of each constant in seconds: about its value for an 8B model on one large GPU.
const UNIT_SECS: [f64; N] = [10e-3, 20e-6, 7e-3, 30e-6];
/// No constant leaves these bounds, in units.
const BOUNDS: [(f64, f64); N] = [(0.0, 1e4), (0.01, 1e4), (0.01, 1e4), (0.0, 1e4)];
const PRIOR: [f64; N] = [1.0; N];
/// Weight of the prior, in rows whose whole time would be one constant's.
const RIDGE: f64 = 1e-3;
/// What is left of a row after the next one.
const MEMORY: f64 = 0.998;
/// Rows before anything counts as known.
pub(super) const FIRST_ROWS: u32 = 60;

/// What a worker did during some time in which a request waited or ran there.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct WorkDone {
    /// 1 if the time began with the request's dispatch.
    pub(super) starts: f64,
    /// Prompt tokens computed for all requests.
    pub(super) prefill_tokens: f64,
    /// Tokens that this request generated.
    pub(super) steps: f64,
    /// The same, times the requests that were on the worker meanwhile.
    pub(super) shared_steps: f64,
}

impl WorkDone {
    const fn row(self) -> [f64; N] {
        [self.starts, self.prefill_tokens, self.steps, self.shared_steps]
    }
}

/// The learned times, in seconds, of a usual worker of the pool.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct EngineTimes {
    /// Once per request.
    pub(super) fixed: f64,
    /// Per prompt token that no cache holds.
    pub(super) prefill_token: f64,
    /// Per decode step.
    pub(super) step: f64,
    /// Per decode step and request that shares it.
    pub(super) step_request: f64,
}

impl EngineTimes {
    /// The same, so many times as long.
    pub(super) fn scaled(self, factor: f64) -> Self {
        Self {
            fixed: self.fixed * factor,
            prefill_token: self.prefill_token * factor,
            step: self.step * factor,
            step_request: self.step_request * factor,
        }
    }
}

/// The fit.
#[derive(Clone, Debug)]
pub(super) struct WorkModel {
    fit: LeastSquares<N>,
    times: EngineTimes,
    rows: u32,
}

impl Default for WorkModel {
    fn default() -> Self {
        let fit = LeastSquares::default();
        Self { times: solve(&fit), fit, rows: 0 }
    }
}

impl WorkModel {
    /// Learns that so much work took so many seconds on a worker that takes `slowness` times as long as a usual one.
    pub(super) fn learn(&mut self, work: WorkDone, secs: f64, slowness: f64) {
        if !(secs.is_finite() && secs > 0.0 && slowness > 0.0) {
            return;
        }
        let row = work.row();
        let row = std::array::from_fn(|i| row[i] * UNIT_SECS[i] * slowness / secs);
        self.fit.fade(MEMORY);
        self.fit.add(&row, 1.0);
        self.rows = self.rows.saturating_add(1);
    }

    /// Solves for the constants; to be called from time to time.
    pub(super) fn solve(&mut self) {
        self.times = solve(&self.fit);
    }

    /// How long so much work takes on a usual worker, in seconds.
    pub(super) fn foresee(&self, work: WorkDone) -> f64 {
        let EngineTimes { fixed, prefill_token, step, step_request } = self.times;
        work.starts * fixed
            + work.prefill_tokens * prefill_token
            + work.steps * step
            + work.shared_steps * step_request
    }

    /// The times as last solved, once enough has been seen.
    pub(super) fn known(&self) -> Option<EngineTimes> {
        (self.rows >= FIRST_ROWS).then_some(self.times)
    }

    /// How many observations it has.
    pub(super) const fn rows(&self) -> u32 {
        self.rows
    }
}

fn solve(fit: &LeastSquares<N>) -> EngineTimes {
    let found = fit.solve(Regularization { ridge: RIDGE, prior: &PRIOR, bounds: &BOUNDS });
    let [fixed, prefill_token, step, step_request] = std::array::from_fn(|i| found[i] * UNIT_SECS[i]);
    EngineTimes { fixed, prefill_token, step, step_request }
}
