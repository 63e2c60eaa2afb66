//! A circuit breaker for one worker: a pure state machine fed with outcomes and times.
//!
//! Closed, the worker gets requests. It opens on enough consecutive failures, or when the window has enough failures and
//! they are at least half of all outcomes. Open, the worker gets no requests for a while. Half-open, one request at a
//! time probes it: enough successful probes close the breaker, one failure opens it again.
//!
//! The success of an attempt that was sent before the first failure of a streak says nothing about what came after, so
//! it does not end the streak.

use router_config::BreakerConfig;
use router_core::{Outcome, Time};
use router_telemetry::BreakerState;
use std::collections::VecDeque;
use std::time::Duration;

/// The window is divided into this many slices, and loses its oldest outcomes one slice at a time.
const SLICES: u32 = 12;

/// What the outcome of one attempt says about the worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HealthVerdict {
    /// The worker did its part.
    Success,
    /// The worker failed.
    Failure,
    /// Nothing: it was busy, or the attempt was cancelled.
    Ignored,
}

impl From<Outcome> for HealthVerdict {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success | Outcome::Rejected => Self::Success,
            Outcome::Failed => Self::Failure,
            Outcome::Busy | Outcome::Cancelled => Self::Ignored,
        }
    }
}

/// The circuit breaker of one worker.
#[derive(Debug)]
pub(crate) struct CircuitBreaker {
    config: BreakerConfig,
    state: CircuitState,
    /// Times of the current consecutive failures, at most as many as open the breaker.
    streak: VecDeque<Time>,
    window: OutcomeWindow,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum CircuitState {
    Closed,
    Open { until: Time },
    HalfOpen { successes: u32 },
}

impl CircuitBreaker {
    pub(crate) fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            state: CircuitState::Closed,
            streak: VecDeque::new(),
            window: OutcomeWindow::new(config.window),
        }
    }

    pub(crate) const fn state(&self) -> BreakerState {
        match self.state {
            CircuitState::Closed => BreakerState::Closed,
            CircuitState::Open { .. } => BreakerState::Open,
            CircuitState::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// When it becomes half-open, if it is open.
    pub(crate) const fn open_until(&self) -> Option<Time> {
        match self.state {
            CircuitState::Open { until } => Some(until),
            _ => None,
        }
    }

    /// Failures and successes within the window.
    pub(crate) fn counts(&self, now: Time) -> (u64, u64) {
        self.window.totals(now)
    }

    /// Records an attempt that was sent at `sent_at` and was no probe; returns the new state if it changed.
    pub(crate) fn record_attempt(
        &mut self,
        now: Time,
        sent_at: Time,
        verdict: HealthVerdict,
    ) -> Option<BreakerState> {
        match verdict {
            HealthVerdict::Ignored => return None,
            HealthVerdict::Success => {
                self.window.slice(now).successes += 1;
                if self.streak.front().is_some_and(|first| sent_at >= *first) {
                    self.streak.clear();
                }
                return None;
            }
            HealthVerdict::Failure => {}
        }
        self.window.slice(now).failures += 1;
        self.streak.push_back(now);
        let most = self.config.failures.get();
        while self.streak.front().is_some_and(|at| now.since(*at) > self.config.window)
            || self.streak.len() > most as usize
        {
            self.streak.pop_front();
        }
        if self.state != CircuitState::Closed {
            return None;
        }
        let (failures, successes) = self.window.totals(now);
        let share = failures >= u64::from(most) && failures >= successes;
        (share || self.streak.len() >= most as usize).then(|| self.open(now))
    }

    /// Records a probe; returns the new state if it changed.
    pub(crate) fn record_probe(&mut self, now: Time, verdict: HealthVerdict) -> Option<BreakerState> {
        let CircuitState::HalfOpen { successes } = self.state else {
            return self.record_attempt(now, now, verdict);
        };
        match verdict {
            HealthVerdict::Ignored => None,
            HealthVerdict::Failure => Some(self.open(now)),
            HealthVerdict::Success if successes + 1 >= self.config.successes.get() => {
                self.streak.clear();
                self.window = OutcomeWindow::new(self.config.window);
                self.state = CircuitState::Closed;
                Some(BreakerState::Closed)
            }
            HealthVerdict::Success => {
                self.state = CircuitState::HalfOpen { successes: successes + 1 };
                None
            }
        }
    }

    /// Half-opens it when its open time has passed; returns the new state if it changed.
    pub(crate) fn tick(&mut self, now: Time) -> Option<BreakerState> {
        if self.open_until().is_some_and(|until| now >= until) { self.half_open() } else { None }
    }

    /// Half-opens it early, because the worker recovered or no other one is left; returns the new state if it changed.
    pub(crate) fn half_open(&mut self) -> Option<BreakerState> {
        if !matches!(self.state, CircuitState::Open { .. }) {
            return None;
        }
        self.state = CircuitState::HalfOpen { successes: 0 };
        Some(BreakerState::HalfOpen)
    }

    fn open(&mut self, now: Time) -> BreakerState {
        self.state = CircuitState::Open { until: now + self.config.open_for };
        BreakerState::Open
    }
}

/// Counts of outcomes within a sliding window of time.
#[derive(Debug)]
struct OutcomeWindow {
    slice: Duration,
    slices: [WindowSlice; SLICES as usize],
}

#[derive(Clone, Copy, Default, Debug)]
struct WindowSlice {
    /// The number of this slice since time 0.
    number: u64,
    failures: u64,
    successes: u64,
}

impl OutcomeWindow {
    fn new(length: Duration) -> Self {
        let slice = (length / SLICES).max(Duration::from_nanos(1));
        Self { slice, slices: [WindowSlice::default(); SLICES as usize] }
    }

    fn number(&self, now: Time) -> u64 {
        let slice = u64::try_from(self.slice.as_nanos()).unwrap_or(u64::MAX);
        now.as_nanos() / slice
    }

    fn slice(&mut self, now: Time) -> &mut WindowSlice {
        let number = self.number(now);
        let slice = &mut self.slices[(number % u64::from(SLICES)) as usize];
        if slice.number != number {
            *slice = WindowSlice { number, ..WindowSlice::default() };
        }
        slice
    }

    fn totals(&self, now: Time) -> (u64, u64) {
        let number = self.number(now);
        let present = self.slices.iter().filter(|s| s.number + u64::from(SLICES) > number);
        present.fold((0, 0), |(failures, successes), s| (failures + s.failures, successes + s.successes))
    }
}

#[cfg(test)]
mod tests {
    use super::BreakerState::{Closed, HalfOpen, Open};
    use super::*;
    use std::num::NonZeroU32;

    fn breaker() -> CircuitBreaker {
        let n = |n| NonZeroU32::new(n).unwrap();
        let (open_for, window) = (Duration::from_secs(60), Duration::from_secs(120));
        CircuitBreaker::new(BreakerConfig { failures: n(4), successes: n(2), open_for, window })
    }

    fn at(secs: f64) -> Time {
        Time::from_secs_f64(secs)
    }

    /// One outcome a second, each sent 0.1 s before: `x` failure, `.` success, `-` ignored.
    fn run(breaker: &mut CircuitBreaker, from: f64, ends: &str) -> Vec<(f64, BreakerState)> {
        let mut changes = Vec::new();
        for (n, end) in ends.chars().enumerate() {
            let now = from + n as f64;
            let verdict = match end {
                'x' => HealthVerdict::Failure,
                '.' => HealthVerdict::Success,
                _ => HealthVerdict::Ignored,
            };
            changes.extend(breaker.record_attempt(at(now), at(now - 0.1), verdict).map(|state| (now, state)));
        }
        changes
    }

    #[test]
    fn consecutive_failures_open_and_busy_is_ignored() {
        assert_eq!(run(&mut breaker(), 10.0, "........xxx.xxx.."), [], "three are not four");
        assert_eq!(run(&mut breaker(), 10.0, "......xx--xx"), [(21.0, Open)]);
        assert_eq!(run(&mut breaker(), 10.0, "----------"), []);
    }

    #[test]
    fn half_of_the_window_opens() {
        assert_eq!(run(&mut breaker(), 10.0, "x.x.x.x"), [(16.0, Open)]);
        assert_eq!(run(&mut breaker(), 10.0, "x..x..x..x..x..x..x"), [], "a third is less than half");
    }

    #[test]
    fn failures_leave_the_window() {
        let mut breaker = breaker();
        assert_eq!(run(&mut breaker, 10.0, "xxx"), []);
        assert_eq!(breaker.counts(at(20.0)), (3, 0));
        assert_eq!(run(&mut breaker, 140.0, "x"), []);
        assert_eq!(breaker.counts(at(140.0)), (1, 0));
        assert_eq!(run(&mut breaker, 141.0, "xxx"), [(143.0, Open)]);
    }

    #[test]
    fn success_sent_before_streak_is_ignored() {
        let mut breaker = breaker();
        assert_eq!(run(&mut breaker, 1.0, ".........xx"), []);
        for n in 0..3 {
            assert_eq!(
                breaker.record_attempt(at(12.0 + f64::from(n) * 0.1), at(2.0), HealthVerdict::Success),
                None
            );
        }
        assert_eq!(run(&mut breaker, 13.0, "xx"), [(14.0, Open)]);
    }

    #[test]
    fn successful_probes_close() {
        let mut breaker = breaker();
        run(&mut breaker, 10.0, "xxxx");
        assert_eq!((breaker.state(), breaker.open_until()), (Open, Some(at(73.0))));
        assert_eq!(breaker.tick(at(72.9)), None);
        assert_eq!(breaker.tick(at(73.0)), Some(HalfOpen));
        assert_eq!(
            breaker.record_attempt(at(74.0), at(5.0), HealthVerdict::Failure),
            None,
            "an old attempt is no probe"
        );
        assert_eq!(breaker.record_probe(at(74.0), HealthVerdict::Success), None);
        assert_eq!(breaker.record_probe(at(74.5), HealthVerdict::Ignored), None);
        assert_eq!(breaker.record_probe(at(75.0), HealthVerdict::Success), Some(Closed));
        assert_eq!(run(&mut breaker, 76.0, "xxx"), [], "a closed breaker starts afresh");
    }

    #[test]
    fn failed_probe_reopens() {
        let mut breaker = breaker();
        run(&mut breaker, 10.0, "xxxx");
        assert_eq!(breaker.half_open(), Some(HalfOpen), "it may be half-opened early");
        assert_eq!(breaker.record_probe(at(20.0), HealthVerdict::Success), None);
        assert_eq!(breaker.record_probe(at(21.0), HealthVerdict::Failure), Some(Open));
        assert_eq!(breaker.open_until(), Some(at(81.0)));
        assert_eq!(breaker.tick(at(81.0)), Some(HalfOpen));
        assert_eq!(breaker.half_open(), None);
    }
}
