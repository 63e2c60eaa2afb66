//! What is sent when: fixed before the first request leaves.

use crate::arrivals::{Arrivals, seconds};
use crate::dataset::Sample;
use crate::prompt::Prompt;
use crate::trace::{Trace, TraceLine};
use router_core::Rng;
use std::time::Duration;

/// How an answer shall come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// In one piece.
    Whole,
    /// As a stream of events.
    Streamed,
}

/// One planned request.
#[derive(Clone, Debug)]
pub struct Shot {
    /// When it arrives, after the start. Not heeded when arrivals are immediate.
    pub at: Duration,
    /// The prompt.
    pub prompt: Prompt,
    /// Length of the prompt in tokens, as planned.
    pub input_tokens: u32,
    /// Bound on the answer in tokens, and its length where the model may not end it earlier.
    pub output_tokens: u32,
    /// Length of the answer in the trace that is replayed.
    pub traced_output: Option<u32>,
    /// How the answer shall come.
    pub delivery: Delivery,
}

/// A load: the same plan is the same requests, to the byte, at the same times.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The requests, in the order of their arrival.
    pub shots: Vec<Shot>,
    /// Whether each leaves at its time, or all as fast as they can.
    pub pace: Pace,
}

/// Whether arrivals are planned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// Each request leaves at its time.
    Timed,
    /// Each request leaves as soon as the one before it has.
    Immediate,
}

impl Plan {
    /// `samples` in their order, by the law of `arrivals`; `streams` is the share of answers that are streamed, 0 to 1.
    pub fn paced(
        samples: impl IntoIterator<Item = Sample>,
        arrivals: Arrivals,
        streams: f64,
        seed: u64,
    ) -> Self {
        let mut coin = Coin::new(streams, seed);
        let shots = samples.into_iter().zip(arrivals.times(seed)).map(|(sample, at)| Shot {
            at,
            prompt: sample.prompt,
            input_tokens: sample.input_tokens,
            output_tokens: sample.output_tokens,
            traced_output: None,
            delivery: coin.toss(),
        });
        let pace = if arrivals == Arrivals::Immediate { Pace::Immediate } else { Pace::Timed };
        Self { shots: shots.collect(), pace }
    }

    /// `trace` as it was, `speed` times as fast (2 = in half the time); its first request leaves at once.
    pub fn replay(trace: &Trace, speed: f64, streams: f64, seed: u64) -> Self {
        let mut coin = Coin::new(streams, seed);
        let first = trace.lines.first().map_or(0.0, |line| line.arrival_s);
        let shot = |(index, line): (usize, &TraceLine)| Shot {
            at: seconds((line.arrival_s - first) / speed),
            prompt: line.prompt(seed.wrapping_add(index as u64)),
            input_tokens: line.input_tokens,
            output_tokens: line.output_tokens.max(1),
            traced_output: Some(line.output_tokens),
            delivery: coin.toss(),
        };
        Self { shots: trace.lines.iter().enumerate().map(shot).collect(), pace: Pace::Timed }
    }
}

/// Decides which answers are streamed.
struct Coin {
    share: f64,
    rng: Rng,
}

impl Coin {
    fn new(share: f64, seed: u64) -> Self {
        // Another stream of chance than that of the arrivals, which start from the seed itself.
        Self { share, rng: Rng::seeded(seed ^ 0x5741_7265_616D_2121) }
    }

    fn toss(&mut self) -> Delivery {
        if self.rng.unit_f64() < self.share { Delivery::Streamed } else { Delivery::Whole }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrivals::Rate;
    use crate::dataset::RandomShape;

    #[test]
    fn a_seed_fixes_the_load_and_the_rate_is_met() {
        let shape = RandomShape { requests: 2000, ..RandomShape::default() };
        let arrivals = Arrivals::Poisson(Rate::per_second(20.0).unwrap());
        let plan = |seed| Plan::paced(shape.samples(seed), arrivals, 0.5, seed);
        let (a, b, c) = (plan(7), plan(7), plan(8));
        assert!(
            a.shots.iter().zip(&b.shots).all(|(x, y)| x.at == y.at && x.prompt.text() == y.prompt.text())
        );
        assert!(a.shots.iter().zip(&c.shots).skip(1).all(|(x, y)| x.at != y.at && x.prompt != y.prompt));
        let span = a.shots.last().unwrap().at.as_secs_f64();
        assert!((90.0..110.0).contains(&span), "2000 arrivals at 20/s took {span} s");
        let streams = a.shots.iter().filter(|s| s.delivery == Delivery::Streamed).count();
        assert!((900..1100).contains(&streams));
    }

    #[test]
    fn a_share_of_one_streams_all_and_of_zero_none() {
        let of = |share| {
            let plan = Plan::paced(RandomShape::default().samples(1), Arrivals::Immediate, share, 1);
            plan.shots.iter().filter(|s| s.delivery == Delivery::Streamed).count()
        };
        assert_eq!((of(0.0), of(1.0)), (0, 100));
    }

    #[test]
    fn a_replay_keeps_the_gaps_scaled_and_starts_at_once() {
        let line =
            |arrival_s| TraceLine { arrival_s, input_tokens: 10, output_tokens: 0, hash_ids: Vec::new() };
        let trace = Trace { lines: vec![line(100.0), line(101.0), line(104.0)], bad: Vec::new() };
        let plan = Plan::replay(&trace, 2.0, 1.0, 1);
        let at: Vec<f64> = plan.shots.iter().map(|s| s.at.as_secs_f64()).collect();
        assert_eq!(at, [0.0, 0.5, 2.0]);
        assert_eq!((plan.shots[0].output_tokens, plan.shots[0].traced_output), (1, Some(0)));
    }
}
