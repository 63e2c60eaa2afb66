//! What happened in the last minute.

use router_core::{Time, quantile};
use router_telemetry::WorkerCounts;
use std::collections::VecDeque;
use std::time::Duration;

/// Over how long rates and quantiles are taken.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// How often the counts are noted from which rates are taken.
const MARK_EVERY: Duration = Duration::from_secs(5);
/// From a shorter time no rate is taken.
const SHORTEST: Duration = Duration::from_secs(1);
/// Over how long the rate of single events is taken: it ends soon after they do.
const EVENT_SECS: u64 = 10;

/// Three figures of a number, which is all that is shown: what has hardly changed is not sent again.
pub(super) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let digits = 2 - value.abs().log10().floor() as i32;
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

/// The growth of a worker's counts over the window.
#[derive(Debug, Default)]
pub(super) struct CountWindow {
    marks: VecDeque<(Time, WorkerCounts)>,
}

/// What was counted in a time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    pub(super) secs: f64,
    pub(super) decisions: u64,
    pub(super) ended: u64,
    pub(super) successes: u64,
    pub(super) failures: u64,
    pub(super) prompt_tokens: u64,
    pub(super) cached_tokens: u64,
    pub(super) cache_reports: u64,
    pub(super) output_tokens: u64,
}

impl CountWindow {
    /// Notes the counts at `now` and returns what was counted in the window; `None` while it is too short.
    pub(super) fn advance(&mut self, now: Time, counts: WorkerCounts) -> Option<Counted> {
        if self.marks.back().is_none_or(|(at, _)| now.since(*at) >= MARK_EVERY) {
            self.marks.push_back((now, counts));
        }
        while self.marks.get(1).is_some_and(|(at, _)| now.since(*at) >= WINDOW) {
            self.marks.pop_front();
        }
        let (at, before) = *self.marks.front()?;
        let time = now.since(at);
        // A worker that joins again under its name goes on with its counts, so none of them falls.
        (time >= SHORTEST).then(|| Counted {
            secs: time.as_secs_f64(),
            decisions: counts.decisions - before.decisions,
            ended: counts.ended - before.ended,
            successes: counts.successes - before.successes,
            failures: counts.failures - before.failures,
            prompt_tokens: counts.prompt_tokens - before.prompt_tokens,
            cached_tokens: counts.cached_tokens - before.cached_tokens,
            cache_reports: counts.cache_reports - before.cache_reports,
            output_tokens: counts.output_tokens - before.output_tokens,
        })
    }
}

impl Counted {
    /// Adds what another worker counted in about the same time.
    pub(super) fn add(&mut self, other: &Self) {
        self.secs = self.secs.max(other.secs);
        self.decisions += other.decisions;
        self.ended += other.ended;
        self.successes += other.successes;
        self.failures += other.failures;
        self.prompt_tokens += other.prompt_tokens;
        self.cached_tokens += other.cached_tokens;
        self.cache_reports += other.cache_reports;
        self.output_tokens += other.output_tokens;
    }

    pub(super) fn requests_per_sec(&self) -> Option<f64> {
        (self.secs > 0.0).then(|| rounded(self.decisions as f64 / self.secs))
    }

    /// Unknown while responses come that tell no number of tokens.
    pub(super) fn tokens_per_sec(&self) -> Option<f64> {
        let is_known = self.output_tokens > 0 || self.successes == 0;
        (is_known && self.secs > 0.0).then(|| rounded(self.output_tokens as f64 / self.secs))
    }

    pub(super) fn cached_share(&self) -> Option<f64> {
        let is_known = self.cache_reports > 0 && self.prompt_tokens > 0;
        is_known.then(|| rounded(self.cached_tokens as f64 / self.prompt_tokens as f64))
    }

    pub(super) fn failure_share(&self) -> Option<f64> {
        (self.ended > 0).then(|| rounded(self.failures as f64 / self.ended as f64))
    }
}

/// The last values of something, at most so many of them and none older than the window.
#[derive(Debug)]
pub(super) struct RecentValues {
    values: VecDeque<(Time, f32)>,
    most: usize,
}

impl RecentValues {
    pub(super) const fn new(most: usize) -> Self {
        Self { values: VecDeque::new(), most }
    }

    pub(super) fn push(&mut self, at: Time, value: f64) {
        if self.values.len() == self.most {
            self.values.pop_front();
        }
        self.values.push_back((at, value as f32));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// These quantiles of the values; `None` without any.
    pub(super) fn quantiles<const N: usize>(&mut self, now: Time, wanted: [f64; N]) -> Option<[f64; N]> {
        while self.values.front().is_some_and(|(at, _)| now.since(*at) > WINDOW) {
            self.values.pop_front();
        }
        let mut sorted: Vec<f32> = self.values.iter().map(|(_, value)| *value).collect();
        sorted.sort_unstable_by(f32::total_cmp);
        sorted.first()?;
        Some(wanted.map(|part| quantile(&sorted, part).map_or(0.0, |value| rounded(value.into()))))
    }
}

/// How often something happens.
#[derive(Debug, Default)]
pub(super) struct EventRate {
    /// The second, and how often in it.
    seconds: VecDeque<(u64, u64)>,
    pub(super) count: u64,
}

impl EventRate {
    pub(super) fn add(&mut self, now: Time, times: u64) {
        let second = now.as_nanos() / 1_000_000_000;
        self.count += times;
        match self.seconds.back_mut() {
            Some((last, sum)) if *last == second => *sum += times,
            _ => self.seconds.push_back((second, times)),
        }
    }

    /// How often a second, over the last ten or over `watched` if that is shorter.
    pub(super) fn per_sec(&mut self, now: Time, watched: Duration) -> f64 {
        let second = now.as_nanos() / 1_000_000_000;
        while self.seconds.front().is_some_and(|(at, _)| at + EVENT_SECS <= second) {
            self.seconds.pop_front();
        }
        let secs = watched.as_secs_f64().clamp(1.0, EVENT_SECS as f64);
        rounded(self.seconds.iter().map(|(_, sum)| *sum as f64).sum::<f64>() / secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: f64) -> Time {
        Time::ZERO + Duration::from_secs_f64(secs)
    }

    fn counts(decisions: u64, output_tokens: u64) -> WorkerCounts {
        WorkerCounts {
            decisions,
            successes: decisions,
            failures: 0,
            mean_latency: None,
            ended: decisions,
            prompt_tokens: 0,
            cached_tokens: 0,
            cache_reports: 0,
            output_tokens,
        }
    }

    #[test]
    fn counts_are_those_of_the_last_minute() {
        let mut window = CountWindow::default();
        assert!(window.advance(at(0.0), counts(1000, 0)).is_none(), "nothing is known of the time before");
        let mut last = None;
        for half in 1..=400_u64 {
            last = window.advance(at(half as f64 / 2.0), counts(1000 + half, 10 * half));
        }
        let last = last.unwrap();
        assert!((55.0..=65.0).contains(&last.secs), "{last:?}");
        assert_eq!((last.requests_per_sec(), last.tokens_per_sec()), (Some(2.0), Some(20.0)));
        assert_eq!(last.cached_share(), None, "no response told it");
    }

    #[test]
    fn tokens_that_nobody_told_are_unknown() {
        let mut window = CountWindow::default();
        window.advance(at(0.0), counts(0, 0));
        assert_eq!(window.advance(at(2.0), counts(5, 0)).unwrap().tokens_per_sec(), None);
    }

    #[test]
    fn quantiles_forget_old_values() {
        let mut values = RecentValues::new(100);
        assert_eq!(values.quantiles(at(0.0), [0.5]), None);
        (1..=200).for_each(|n| values.push(at(1.0), f64::from(n)));
        assert_eq!(values.quantiles(at(2.0), [0.5, 0.99]), Some([150.0, 199.0]), "of the last hundred");
        assert_eq!(values.quantiles(at(70.0), [0.5]), None);
    }

    #[test]
    fn rate_ends_soon_after_the_events() {
        let mut rate = EventRate::default();
        (0..20).for_each(|n| rate.add(at(f64::from(n)), 5));
        assert_eq!(rate.per_sec(at(19.5), Duration::from_secs(60)), 5.0);
        assert_eq!(rate.per_sec(at(31.0), Duration::from_secs(60)), 0.0);
        assert_eq!(rate.count, 100);
    }

    #[test]
    fn numbers_have_three_figures() {
        for (value, shown) in [(0.012_345, 0.0123), (123_456.0, 123_000.0), (-9.999, -10.0), (f64::NAN, 0.0)]
        {
            assert_eq!(rounded(value), shown);
        }
    }
}
