//! How long the workers take for a generated token, learned from their responses: for policies that weigh by speed.
//!
//! Coarser than what `marginal_cost` learns: the whole time of a response over its tokens, whatever else ran on the
//! worker meanwhile.

use crate::{Completion, Event, Outcome, SlotMap, Time, WorkerId};

/// Decay per response: about the last twenty count.
const DECAY: f64 = 0.95;
/// Seconds without a response after which a worker counts as halfway between its own speed and the mean.
const FORGIVE_SECS: f64 = 30.0;

/// Seconds and generated tokens of one successful response, if both are known.
pub(crate) fn secs_and_tokens(completion: &Completion) -> Option<(f64, f64)> {
    let tokens = completion.output_tokens().filter(|&tokens| tokens > 0)?;
    let secs = completion.server_latency();
    (completion.result.outcome == Outcome::Success && secs > 0.0).then_some((secs, f64::from(tokens)))
}

/// Decayed sums over the responses of one worker.
#[derive(Clone, Copy, Debug, Default)]
struct ResponseSums {
    secs: f64,
    tokens: f64,
    at: Time,
}

impl ResponseSums {
    fn secs_per_token(&self) -> Option<f64> {
        (self.tokens > 0.0).then(|| self.secs / self.tokens)
    }
}

/// The speeds of all workers.
#[derive(Clone, Debug, Default)]
pub(crate) struct DecodeSpeeds {
    workers: SlotMap<ResponseSums>,
    /// Sum over the workers that have responded of their seconds per token, and their number.
    sum: f64,
    known: u32,
}

impl DecodeSpeeds {
    /// Seconds per generated token. A worker that has not responded is assumed to be like the others; absent when
    /// none has.
    pub(crate) fn secs_per_token(&self, worker: WorkerId, now: Time) -> Option<f64> {
        let usual = self.usual()?;
        let Some(responses) = self.workers.get(worker) else { return Some(usual) };
        let Some(own) = responses.secs_per_token() else { return Some(usual) };
        // Without this a worker that was slow once would get no requests and so never show that it has recovered.
        let age = now.secs_since(responses.at).max(0.0);
        Some(usual + (own - usual) * FORGIVE_SECS / (FORGIVE_SECS + age))
    }

    /// Learns from an event.
    pub(crate) fn observe(&mut self, event: &Event<'_>) {
        match event {
            Event::Joined { worker, .. } => self.workers.insert(*worker, ResponseSums::default()),
            Event::Left(worker) => {
                let known = self.workers.remove(*worker).and_then(|responses| responses.secs_per_token());
                self.replace(known, None);
            }
            Event::Finished(completion) => {
                let Some((secs, tokens)) = secs_and_tokens(completion) else { return };
                let Some(responses) = self.workers.get_mut(completion.worker) else { return };
                let before = responses.secs_per_token();
                responses.secs = DECAY * responses.secs + secs;
                responses.tokens = DECAY * responses.tokens + tokens;
                responses.at = completion.finished_at;
                let after = responses.secs_per_token();
                self.replace(before, after);
            }
            _ => (),
        }
    }

    /// Mean seconds per token of the workers that have responded.
    fn usual(&self) -> Option<f64> {
        (self.known > 0).then(|| self.sum / f64::from(self.known))
    }

    /// Takes one worker's seconds per token out of the mean, and another figure in.
    fn replace(&mut self, before: Option<f64>, after: Option<f64>) {
        if let Some(secs) = before {
            self.sum -= secs;
            self.known -= 1;
        }
        if self.known == 0 {
            // No rounding error outlives the workers that it came from.
            self.sum = 0.0;
        }
        if let Some(secs) = after {
            self.sum += secs;
            self.known += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AttemptResult, RequestId, TokenUsage, WorkerInfo};

    fn respond(speeds: &mut DecodeSpeeds, worker: WorkerId, secs: f64, tokens: u32) {
        let usage = TokenUsage { output_tokens: Some(tokens), ..TokenUsage::default() };
        let completion = Completion {
            worker,
            request: RequestId(1),
            attempt: 0,
            seq: 1,
            arrived_at: None,
            dispatched_at: Time::ZERO,
            finished_at: Time::from_secs_f64(secs),
            most_output_tokens: u32::MAX,
            result: AttemptResult { usage, ..AttemptResult::of(Outcome::Success) },
            forecast: None,
            predicted_cached_tokens: None,
        };
        speeds.observe(&Event::Finished(&completion));
    }

    #[test]
    fn unknown_and_idle_workers_approach_the_mean() {
        let (a, b, c) = (WorkerId::new(0, 1), WorkerId::new(1, 1), WorkerId::new(2, 1));
        let mut speeds = DecodeSpeeds::default();
        for worker in [a, b, c] {
            speeds.observe(&Event::Joined { worker, info: &WorkerInfo::new("http://a") });
        }
        let now = Time::from_secs_f64(4.0);
        assert_eq!(speeds.secs_per_token(a, now), None);
        respond(&mut speeds, a, 4.0, 400);
        respond(&mut speeds, b, 4.0, 100);
        let close = |got: Option<f64>, wanted: f64| (got.unwrap() - wanted).abs() < 1e-12;
        assert!(close(speeds.secs_per_token(a, now), 0.01) && close(speeds.secs_per_token(b, now), 0.04));
        assert!(close(speeds.secs_per_token(c, now), 0.025));
        let later = Time::from_secs_f64(4.0 + FORGIVE_SECS);
        assert!(close(speeds.secs_per_token(b, later), 0.0325));
        speeds.observe(&Event::Left(a));
        assert!(close(speeds.secs_per_token(c, now), 0.04));
    }
}
