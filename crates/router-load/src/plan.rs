//! What is sent when: fixed before the first request leaves.

use crate::arrivals::{ArrivalProcess, seconds};
use crate::dataset::PromptSample;
use crate::prompt::Prompt;
use crate::trace::{RequestTrace, TraceLine};
use router_core::Rng;
use std::time::Duration;

/// How the response is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResponseMode {
    /// In one piece.
    Whole,
    /// As a stream of events.
    Streamed,
}

/// One planned request.
#[derive(Clone, Debug)]
pub struct PlannedRequest {
    /// Arrival after the start. Ignored when arrivals are immediate.
    pub at: Duration,
    /// The prompt.
    pub prompt: Prompt,
    /// Length of the prompt in tokens, as planned.
    pub input_tokens: u32,
    /// Limit of output tokens, and the exact number when `ignore_eos` is set.
    pub output_tokens: u32,
    /// Output tokens in the replayed trace.
    pub traced_output: Option<u32>,
    /// How the response is sent.
    pub response_mode: ResponseMode,
}

/// The requests of a load test: the same plan gives the same bytes at the same times.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// The requests, in the order of their arrival.
    pub requests: Vec<PlannedRequest>,
    /// Whether requests are sent on time or as fast as possible.
    pub pacing: Pacing,
}

/// Whether arrivals are planned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pacing {
    /// Each request is sent at its time.
    Timed,
    /// Each request is sent as soon as the one before.
    Immediate,
}

impl LoadPlan {
    /// `samples` in their order, with times from `arrivals`; `streams` is the share of streamed responses, 0 to 1.
    pub fn paced(
        samples: impl IntoIterator<Item = PromptSample>,
        arrivals: ArrivalProcess,
        streams: f64,
        seed: u64,
    ) -> Self {
        let mut draw = StreamDraw::new(streams, seed);
        let requests = samples.into_iter().zip(arrivals.times(seed)).map(|(sample, at)| PlannedRequest {
            at,
            prompt: sample.prompt,
            input_tokens: sample.input_tokens,
            output_tokens: sample.output_tokens,
            traced_output: None,
            response_mode: draw.response_mode(),
        });
        let pacing = if arrivals == ArrivalProcess::Immediate { Pacing::Immediate } else { Pacing::Timed };
        Self { requests: requests.collect(), pacing }
    }

    /// `trace` as it was, `speed` times as fast (2 = in half the time); its first request is sent at once.
    pub fn replay(trace: &RequestTrace, speed: f64, streams: f64, seed: u64) -> Self {
        let mut draw = StreamDraw::new(streams, seed);
        let first = trace.lines.first().map_or(0.0, |line| line.arrival_s);
        let request = |(index, line): (usize, &TraceLine)| PlannedRequest {
            at: seconds((line.arrival_s - first) / speed),
            prompt: line.prompt(seed.wrapping_add(index as u64)),
            input_tokens: line.input_tokens,
            output_tokens: line.output_tokens.max(1),
            traced_output: Some(line.output_tokens),
            response_mode: draw.response_mode(),
        };
        Self { requests: trace.lines.iter().enumerate().map(request).collect(), pacing: Pacing::Timed }
    }
}

impl LoadPlan {
    /// The same arrivals and lengths with other words in the prompts that are made up. What shared a prefix still does, but
    /// with no prompt of another seed, so that a server which saw those has nothing of these in its cache.
    #[must_use]
    pub fn with_prompt_seed(mut self, seed: u64) -> Self {
        self.requests.iter_mut().for_each(|request| request.prompt.reseed(seed));
        self
    }
}

/// Decides which responses are streamed.
struct StreamDraw {
    share: f64,
    rng: Rng,
}

impl StreamDraw {
    fn new(share: f64, seed: u64) -> Self {
        // Independent of the arrivals, which use the seed itself.
        Self { share, rng: Rng::seeded(seed ^ 0x5741_7265_616D_2121) }
    }

    fn response_mode(&mut self) -> ResponseMode {
        if self.rng.unit_f64() < self.share { ResponseMode::Streamed } else { ResponseMode::Whole }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrivals::RequestRate;
    use crate::dataset::RandomShape;

    #[test]
    fn seed_fixes_plan_and_rate_is_met() {
        let shape = RandomShape { requests: 2000, ..RandomShape::default() };
        let arrivals = ArrivalProcess::Poisson(RequestRate::per_second(20.0).unwrap());
        let plan = |seed| LoadPlan::paced(shape.samples(seed), arrivals, 0.5, seed);
        let (a, b, c) = (plan(7), plan(7), plan(8));
        assert!(
            a.requests
                .iter()
                .zip(&b.requests)
                .all(|(x, y)| x.at == y.at && x.prompt.text() == y.prompt.text())
        );
        assert!(
            a.requests.iter().zip(&c.requests).skip(1).all(|(x, y)| x.at != y.at && x.prompt != y.prompt)
        );
        let span = a.requests.last().unwrap().at.as_secs_f64();
        assert!((90.0..110.0).contains(&span), "2000 arrivals at 20/s took {span} s");
        let streams = a.requests.iter().filter(|s| s.response_mode == ResponseMode::Streamed).count();
        assert!((900..1100).contains(&streams));
    }

    #[test]
    fn stream_share_zero_and_one_are_exact() {
        let of = |share| {
            let plan =
                LoadPlan::paced(RandomShape::default().samples(1), ArrivalProcess::Immediate, share, 1);
            plan.requests.iter().filter(|s| s.response_mode == ResponseMode::Streamed).count()
        };
        assert_eq!((of(0.0), of(1.0)), (0, 100));
    }

    #[test]
    fn replay_scales_gaps_and_starts_at_once() {
        let line =
            |arrival_s| TraceLine { arrival_s, input_tokens: 10, output_tokens: 0, hash_ids: Vec::new() };
        let trace = RequestTrace { lines: vec![line(100.0), line(101.0), line(104.0)], bad: Vec::new() };
        let plan = LoadPlan::replay(&trace, 2.0, 1.0, 1);
        let at: Vec<f64> = plan.requests.iter().map(|s| s.at.as_secs_f64()).collect();
        assert_eq!(at, [0.0, 0.5, 2.0]);
        assert_eq!((plan.requests[0].output_tokens, plan.requests[0].traced_output), (1, Some(0)));
    }
}
