//! `peak_ewma`: the lowest product of a pessimistic average of response times and the requests in flight.

use super::sample::RandomSubset;
use super::speeds::secs_and_tokens;
use super::{InvalidOption, load_terms};
use crate::worker_view::WorkerView;
use crate::{Completion, Decision, DecisionContext, Event, Outcome, Policy, Reason, SlotMap, Time};
use serde::{Deserialize, Serialize};

/// Response times are stated for so many generated tokens when they are normalised, so that the default response time
/// fits either way.
const TOKENS: f64 = 100.0;

/// Lower bound on a response time in seconds, so that requests in flight count after any silence.
const LEAST: f64 = 1e-6;

/// The options of [`PeakEwma`].
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeakEwmaConfig {
    /// Seconds in which the influence of a response time falls to 1/e. Default 10; above 0.
    pub tau_secs: f64,
    /// Response time in seconds that a new worker is taken to have, and a failed attempt at least. Default 1; above 0.
    pub default_rtt_secs: f64,
    /// How many candidates are drawn at random and compared; 0 compares all. Default 2; 0, or 2 to 8.
    pub choice_count: usize,
    /// Whether response times are taken per 100 generated tokens. Default false.
    pub per_token: bool,
}

impl Default for PeakEwmaConfig {
    fn default() -> Self {
        Self { tau_secs: 10.0, default_rtt_secs: 1.0, choice_count: 2, per_token: false }
    }
}

/// The average response time of one worker, in seconds, as it was at some time.
#[derive(Clone, Copy, Debug)]
struct PeakRtt {
    secs: f64,
    at: Time,
}

/// Compares candidates by response time times requests in flight, one more counted.
///
/// The response time rises at once to that of a slower response and sinks slowly towards that of faster ones, and towards
/// zero while there are none, so that no worker is avoided forever.
#[derive(Clone, Debug)]
pub struct PeakEwma {
    config: PeakEwmaConfig,
    workers: SlotMap<PeakRtt>,
}

impl PeakEwma {
    /// A policy with these options.
    ///
    /// # Errors
    /// An option whose value makes no sense.
    pub fn new(config: PeakEwmaConfig) -> Result<Self, InvalidOption> {
        InvalidOption::check_positive("tau_secs", config.tau_secs)?;
        InvalidOption::check_positive("default_rtt_secs", config.default_rtt_secs)?;
        RandomSubset::check("choice_count", config.choice_count)?;
        Ok(Self { config, workers: SlotMap::default() })
    }

    /// What is left of the influence of a response time.
    fn kept(&self, rtt: &PeakRtt, now: Time) -> f64 {
        (-now.secs_since(rtt.at).max(0.0) / self.config.tau_secs).exp()
    }

    fn rtt(&self, w: &WorkerView<'_>, now: Time) -> f64 {
        let rtt = self.workers.get(w.id).map(|rtt| rtt.secs * self.kept(rtt, now));
        rtt.unwrap_or(self.config.default_rtt_secs).max(LEAST)
    }

    /// The response time that a completion stands for, if any.
    fn sample(&self, completion: &Completion) -> Option<f64> {
        match completion.result.outcome {
            Outcome::Success if self.config.per_token => {
                secs_and_tokens(completion).map(|(secs, tokens)| secs / tokens * TOKENS)
            }
            Outcome::Success => Some(completion.server_latency()),
            // A worker that fails at once must not look fast.
            Outcome::Failed | Outcome::Busy => {
                Some(completion.server_latency().max(self.config.default_rtt_secs))
            }
            Outcome::Rejected | Outcome::Cancelled => None,
        }
    }

    fn learn(&mut self, now: Time, completion: &Completion) {
        let Some(sample) = self.sample(completion) else { return };
        let Some(old) = self.workers.get(completion.worker) else { return };
        let kept = self.kept(old, now);
        let decayed = old.secs * kept;
        let secs = if sample > decayed { sample } else { decayed + sample * (1.0 - kept) };
        self.workers.insert(completion.worker, PeakRtt { secs, at: now });
    }
}

impl Policy for PeakEwma {
    fn name(&self) -> &'static str {
        "peak_ewma"
    }

    fn decide(&mut self, cx: DecisionContext<'_>) -> Decision {
        let now = cx.now;
        let unit = if self.config.per_token { "rtt_per_100_tokens" } else { "rtt" };
        cx.lowest_drawn(
            self.config.choice_count,
            Reason::LowestCost,
            |w| self.rtt(w, now) * w.next_load(),
            |w| load_terms(w).and(unit, self.rtt(w, now)),
        )
    }

    fn observe(&mut self, now: Time, event: &Event<'_>) {
        match event {
            Event::Joined { worker, .. } => {
                self.workers.insert(*worker, PeakRtt { secs: self.config.default_rtt_secs, at: now });
            }
            Event::Left(worker) => drop(self.workers.remove(*worker)),
            Event::Finished(completion) => self.learn(now, completion),
            _ => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestBench;

    const ALL: PeakEwmaConfig =
        PeakEwmaConfig { tau_secs: 10.0, default_rtt_secs: 1.0, choice_count: 0, per_token: false };

    fn bench(config: PeakEwmaConfig) -> TestBench {
        let mut bench = TestBench::new(Box::new(PeakEwma::new(config).unwrap()), 2);
        bench.now = Time::from_secs_f64(100.0);
        bench
    }

    fn rtts(bench: &mut TestBench, name: &str) -> Vec<f64> {
        bench.ask().scores.iter().map(|s| s.terms.get(name).unwrap()).collect()
    }

    #[test]
    fn rises_at_once_and_sinks_slowly() {
        let mut bench = bench(ALL);
        bench.complete(0, 3.0, 10);
        assert!((rtts(&mut bench, "rtt")[0] - 3.0).abs() < 1e-9, "a peak counts in full");
        bench.now = Time::from_secs_f64(110.0);
        let kept = (-1.0_f64).exp();
        assert!((rtts(&mut bench, "rtt")[0] - 3.0 * kept).abs() < 1e-9, "silence lets it sink");
        bench.complete(0, 0.5, 10);
        assert!((rtts(&mut bench, "rtt")[0] - (3.0 * kept + 0.5 * (1.0 - kept))).abs() < 1e-9);
    }

    #[test]
    fn slow_worker_gets_fewer_requests() {
        let mut bench = bench(ALL);
        bench.complete(0, 4.0, 10);
        bench.complete(1, 1.0, 10);
        let sent = bench.send_many(20);
        assert_eq!(sent.iter().filter(|&&s| s == 1).count(), 16);
    }

    #[test]
    fn long_response_is_normalised_by_tokens() {
        let mut bench = bench(PeakEwmaConfig { per_token: true, ..ALL });
        bench.complete(0, 50.0, 5000);
        bench.complete(1, 1.0, 50);
        let rtts = rtts(&mut bench, "rtt_per_100_tokens");
        assert!((rtts[0] - 1.0).abs() < 1e-9 && (rtts[1] - 2.0).abs() < 1e-9, "{rtts:?}");
    }

    #[test]
    fn failing_fast_attracts_no_requests() {
        let mut bench = bench(ALL);
        bench.complete(0, 0.2, 10);
        bench.complete(1, 0.2, 10);
        bench.fail(0);
        assert_eq!(bench.send(), 1);
    }

    #[test]
    fn bad_options_are_named() {
        let error = PeakEwma::new(PeakEwmaConfig { tau_secs: 0.0, ..ALL }).unwrap_err();
        assert_eq!(error.to_string(), "`tau_secs` must be above 0, not 0");
    }
}
