//! A circuit breaker for one worker: a pure state machine that is told how attempts ended and what time it is.
//!
//! Closed, the worker gets requests. It opens on enough faults in a row, or when within the window there were enough
//! faults and at least half of all ends were. Open, the worker gets nothing for a while. Half-open, one request at a
//! time probes it: enough good probes close the breaker, one fault opens it again.
//!
//! An attempt that was sent before a row of faults began says nothing about what came after, so its good end does not
//! break the row.

use router_config::BreakerConfig;
use router_core::{Outcome, Time};
use router_telemetry::BreakerState;
use std::collections::VecDeque;
use std::time::Duration;

/// Slices of the window; what is older than a window leaves it a slice at a time.
const SLICES: u32 = 12;

/// What one end says about its worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HealthVerdict {
    /// The worker did its part.
    Success,
    /// The worker failed.
    Failure,
    /// Nothing: it was busy, or the attempt was given up.
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

/// One worker's breaker.
#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    state: State,
    /// When the faults of the present row ended, at most as many as open the breaker.
    row: VecDeque<Time>,
    window: Window,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Closed,
    Open { until: Time },
    HalfOpen { successes: u32 },
}

impl Breaker {
    pub fn new(config: BreakerConfig) -> Self {
        Self { config, state: State::Closed, row: VecDeque::new(), window: Window::new(config.window) }
    }

    pub const fn state(&self) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// When it will be probed, if it is open.
    pub const fn open_until(&self) -> Option<Time> {
        match self.state {
            State::Open { until } => Some(until),
            _ => None,
        }
    }

    /// Faults and good ends within the window.
    pub fn counts(&self, now: Time) -> (u64, u64) {
        self.window.totals(now)
    }

    /// An attempt that was sent at `sent_at` and was no probe has ended; the new state if that changed it.
    pub fn ended(&mut self, now: Time, sent_at: Time, verdict: HealthVerdict) -> Option<BreakerState> {
        match verdict {
            HealthVerdict::Ignored => return None,
            HealthVerdict::Success => {
                self.window.slice(now).good += 1;
                if self.row.front().is_some_and(|first| sent_at >= *first) {
                    self.row.clear();
                }
                return None;
            }
            HealthVerdict::Failure => {}
        }
        self.window.slice(now).faults += 1;
        self.row.push_back(now);
        let most = self.config.failures.get();
        while self.row.front().is_some_and(|at| now.since(*at) > self.config.window)
            || self.row.len() > most as usize
        {
            self.row.pop_front();
        }
        if self.state != State::Closed {
            return None;
        }
        let (faults, good) = self.window.totals(now);
        let share = faults >= u64::from(most) && faults >= good;
        (share || self.row.len() >= most as usize).then(|| self.open(now))
    }

    /// A probe has ended; the new state if that changed it.
    pub fn probed(&mut self, now: Time, verdict: HealthVerdict) -> Option<BreakerState> {
        let State::HalfOpen { successes } = self.state else { return self.ended(now, now, verdict) };
        match verdict {
            HealthVerdict::Ignored => None,
            HealthVerdict::Failure => Some(self.open(now)),
            HealthVerdict::Success if successes + 1 >= self.config.successes.get() => {
                self.row.clear();
                self.window = Window::new(self.config.window);
                self.state = State::Closed;
                Some(BreakerState::Closed)
            }
            HealthVerdict::Success => {
                self.state = State::HalfOpen { successes: successes + 1 };
                None
            }
        }
    }

    /// Half-opens it when its time has come; the new state if that changed it.
    pub fn tick(&mut self, now: Time) -> Option<BreakerState> {
        if self.open_until().is_some_and(|until| now >= until) { self.half_open() } else { None }
    }

    /// Half-opens it before its time, because there is news of the worker or nobody else; the new state if that
    /// changed it.
    pub fn half_open(&mut self) -> Option<BreakerState> {
        if !matches!(self.state, State::Open { .. }) {
            return None;
        }
        self.state = State::HalfOpen { successes: 0 };
        Some(BreakerState::HalfOpen)
    }

    fn open(&mut self, now: Time) -> BreakerState {
        self.state = State::Open { until: now + self.config.open_for };
        BreakerState::Open
    }
}

/// Ends within the last so many seconds, by slices of time.
#[derive(Debug)]
struct Window {
    slice: Duration,
    slices: [Slice; SLICES as usize],
}

#[derive(Clone, Copy, Default, Debug)]
struct Slice {
    /// Which slice of all time this is.
    number: u64,
    faults: u64,
    good: u64,
}

impl Window {
    fn new(length: Duration) -> Self {
        let slice = (length / SLICES).max(Duration::from_nanos(1));
        Self { slice, slices: [Slice::default(); SLICES as usize] }
    }

    fn number(&self, now: Time) -> u64 {
        let slice = u64::try_from(self.slice.as_nanos()).unwrap_or(u64::MAX);
        now.as_nanos() / slice
    }

    fn slice(&mut self, now: Time) -> &mut Slice {
        let number = self.number(now);
        let slice = &mut self.slices[(number % u64::from(SLICES)) as usize];
        if slice.number != number {
            *slice = Slice { number, ..Slice::default() };
        }
        slice
    }

    fn totals(&self, now: Time) -> (u64, u64) {
        let number = self.number(now);
        let present = self.slices.iter().filter(|s| s.number + u64::from(SLICES) > number);
        present.fold((0, 0), |(faults, good), s| (faults + s.faults, good + s.good))
    }
}

#[cfg(test)]
mod tests {
    use super::BreakerState::{Closed, HalfOpen, Open};
    use super::*;
    use std::num::NonZeroU32;

    fn breaker() -> Breaker {
        let n = |n| NonZeroU32::new(n).unwrap();
        let (open_for, window) = (Duration::from_secs(60), Duration::from_secs(120));
        Breaker::new(BreakerConfig { failures: n(4), successes: n(2), open_for, window })
    }

    fn at(secs: f64) -> Time {
        Time::from_secs_f64(secs)
    }

    /// One end a second, each sent 0.1 s before it: `x` a fault, `.` good, `-` neutral.
    fn run(breaker: &mut Breaker, from: f64, ends: &str) -> Vec<(f64, BreakerState)> {
        let mut changes = Vec::new();
        for (n, end) in ends.chars().enumerate() {
            let now = from + n as f64;
            let verdict = match end {
                'x' => HealthVerdict::Failure,
                '.' => HealthVerdict::Success,
                _ => HealthVerdict::Ignored,
            };
            changes.extend(breaker.ended(at(now), at(now - 0.1), verdict).map(|state| (now, state)));
        }
        changes
    }

    #[test]
    fn faults_in_a_row_open_it_and_busy_answers_neither_help_nor_harm() {
        assert_eq!(run(&mut breaker(), 10.0, "........xxx.xxx.."), [], "three are not four");
        assert_eq!(run(&mut breaker(), 10.0, "......xx--xx"), [(21.0, Open)]);
        assert_eq!(run(&mut breaker(), 10.0, "----------"), []);
    }

    #[test]
    fn half_of_the_window_opens_it_without_a_row() {
        assert_eq!(run(&mut breaker(), 10.0, "x.x.x.x"), [(16.0, Open)]);
        assert_eq!(run(&mut breaker(), 10.0, "x..x..x..x..x..x..x"), [], "a third is less than half");
    }

    #[test]
    fn faults_older_than_the_window_are_forgotten() {
        let mut breaker = breaker();
        assert_eq!(run(&mut breaker, 10.0, "xxx"), []);
        assert_eq!(breaker.counts(at(20.0)), (3, 0));
        assert_eq!(run(&mut breaker, 140.0, "x"), []);
        assert_eq!(breaker.counts(at(140.0)), (1, 0));
        assert_eq!(run(&mut breaker, 141.0, "xxx"), [(143.0, Open)]);
    }

    #[test]
    fn a_good_end_of_an_older_attempt_does_not_break_the_row() {
        let mut breaker = breaker();
        assert_eq!(run(&mut breaker, 1.0, ".........xx"), []);
        for n in 0..3 {
            assert_eq!(breaker.ended(at(12.0 + f64::from(n) * 0.1), at(2.0), HealthVerdict::Success), None);
        }
        assert_eq!(run(&mut breaker, 13.0, "xx"), [(14.0, Open)]);
    }

    #[test]
    fn it_is_probed_after_its_time_and_closes_on_good_probes() {
        let mut breaker = breaker();
        run(&mut breaker, 10.0, "xxxx");
        assert_eq!((breaker.state(), breaker.open_until()), (Open, Some(at(73.0))));
        assert_eq!(breaker.tick(at(72.9)), None);
        assert_eq!(breaker.tick(at(73.0)), Some(HalfOpen));
        assert_eq!(
            breaker.ended(at(74.0), at(5.0), HealthVerdict::Failure),
            None,
            "an old attempt is no probe"
        );
        assert_eq!(breaker.probed(at(74.0), HealthVerdict::Success), None);
        assert_eq!(breaker.probed(at(74.5), HealthVerdict::Ignored), None);
        assert_eq!(breaker.probed(at(75.0), HealthVerdict::Success), Some(Closed));
        assert_eq!(run(&mut breaker, 76.0, "xxx"), [], "a closed breaker starts afresh");
    }

    #[test]
    fn a_failed_probe_opens_it_again() {
        let mut breaker = breaker();
        run(&mut breaker, 10.0, "xxxx");
        assert_eq!(breaker.half_open(), Some(HalfOpen), "news of the worker comes before its time");
        assert_eq!(breaker.probed(at(20.0), HealthVerdict::Success), None);
        assert_eq!(breaker.probed(at(21.0), HealthVerdict::Failure), Some(Open));
        assert_eq!(breaker.open_until(), Some(at(81.0)));
        assert_eq!(breaker.tick(at(81.0)), Some(HalfOpen));
        assert_eq!(breaker.half_open(), None);
    }
}
