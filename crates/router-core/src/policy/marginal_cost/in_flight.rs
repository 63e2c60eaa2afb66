//! Requests in flight on one worker, and sums over them.

use super::learner::WorkerSpeed;
use super::output_lengths::OutputLengths;
use crate::{LengthForecast, PromptScript, RequestId, Route, Time};

/// What is known of a request when it is sent to this worker.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct RequestEstimate {
    pub(super) request: RequestId,
    pub(super) attempt: u32,
    pub(super) stream: bool,
    pub(super) route: Route,
    pub(super) script: PromptScript,
    /// Bytes of all its prompts.
    pub(super) bytes: u64,
    /// Prompt tokens, as far as known.
    pub(super) prompt: f64,
    /// Prompt tokens that this worker was sent before.
    pub(super) known: f64,
    /// Cap on the output, in tokens; infinite when there is none.
    pub(super) cap: f64,
    /// Expected length of the output, in tokens.
    pub(super) output: f64,
    /// What is expected of its length, where a class of requests foresees it.
    pub(super) forecast: Option<LengthForecast>,
}

/// One request on the worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlightRequest {
    pub(super) estimate: RequestEstimate,
    pub(super) at: Time,
    pub(super) uncached: f64,
    /// Prefill time that it added, in seconds.
    pub(super) prefill: f64,
    /// When its first token came, or is expected.
    pub(super) first_at: Time,
    /// Whether its first token is still awaited.
    pub(super) awaited: bool,
    /// How far its stream was when that was last heard.
    pub(super) heard: Option<StreamProgress>,
    /// The running totals when it was sent.
    pub(super) at_dispatch: RunningTotals,
    /// Requests and tokens held when it was sent, if no prompt was waiting then.
    pub(super) alone_with: Option<(f64, f64)>,
    pub(super) shared: f64,
    pub(super) weight: f64,
}

impl InFlightRequest {
    /// Tokens that it holds on average until it ends.
    pub(super) fn resident(&self) -> f64 {
        self.estimate.prompt + 0.5 * self.estimate.output
    }

    /// Estimates what it will share with a new one, now that it has generated so many tokens.
    pub(super) fn weigh(&mut self, generated: f64, lengths: &OutputLengths) {
        let shared = match &self.estimate.forecast {
            Some(forecast) => forecast.shared_steps(generated, lengths.likely()),
            None => lengths.shared_steps(generated),
        };
        self.shared = shared.min((self.estimate.cap - generated).max(1.0));
        self.weight = self.shared * (self.estimate.prompt + generated + 0.5 * self.shared);
    }

    /// Cache room that is its own.
    pub(super) fn held(&self) -> f64 {
        self.uncached + 0.5 * self.estimate.output
    }
}

/// How far a stream was at some time.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamProgress {
    pub(super) at: Time,
    /// Events that had come.
    pub(super) events: u32,
    /// The running totals then.
    pub(super) totals: RunningTotals,
}

/// When a prompt that is sent now would be computed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct PrefillSlot {
    /// Seconds until the work ahead of it is done.
    pub(super) wait_secs: f64,
    /// Whether there is prefill work ahead of it.
    pub(super) is_queued: bool,
    /// Whether it shares a batch that has not begun.
    pub(super) joins_batch: bool,
}

/// Running totals since the worker joined; the difference of two is what happened between them.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct RunningTotals {
    /// Integral of the number of requests over time, in seconds.
    pub(super) requests: f64,
    /// Integral of the tokens held over time, in seconds.
    pub(super) resident: f64,
    /// Uncached prompt tokens computed: those of a stream when its first token comes, others when they are sent.
    pub(super) uncached: f64,
    /// Prefill batches, likewise.
    pub(super) prefills: f64,
}

/// Sums over the requests on the worker.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct LoadSums {
    /// Requests.
    pub(super) requests: f64,
    /// Tokens held.
    pub(super) resident: f64,
    /// Cache room taken, in tokens.
    pub(super) held: f64,
    /// Decode steps that each is expected to share with a new one.
    pub(super) shared: f64,
    /// These steps, each weighted with the tokens that the request holds then.
    pub(super) weighted: f64,
    /// Uncached prompt tokens of those whose first token is awaited.
    pub(super) awaited: f64,
}

impl LoadSums {
    /// Seconds that a decode step of this load takes.
    #[inline]
    pub(super) fn step(&self, speed: &WorkerSpeed) -> f64 {
        speed.step + speed.step_request * self.requests + speed.step_token * self.resident
    }
}
