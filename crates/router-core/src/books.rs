//! What was sent to one worker, and what the worker told, brought up to now.
//!
//! A number that a worker told ages with every request sent to it. So each is kept beside the counts of that
//! moment, and read as "what it told, plus what was sent and less what finished since".

use crate::{LoadReport, Time};

/// Prompt bytes that make about one token, where bytes must be added to a count of tokens.
const BYTES_PER_TOKEN: f64 = 4.0;

/// What has been sent to a worker so far.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Tally {
    /// Requests sent since it joined.
    sent: u64,
    /// Requests finished since it joined.
    finished: u64,
    /// Prompt bytes in flight.
    bytes: u64,
}

/// One number that a worker told, and the tally at that moment.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Reading {
    value: u64,
    at: Time,
    then: Tally,
}

impl Reading {
    fn is_fresh(&self, (now, max_age_secs): (Time, f64)) -> bool {
        now.secs_since(self.at) <= max_age_secs
    }
}

/// The books of one worker.
///
/// The last reading of each kind is kept apart, because news that rides on an answer often tells only the queue
/// length and must not wipe out what a poll told.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Books {
    tally: Tally,
    /// The tally at the last report.
    then: Tally,
    waiting: Option<Reading>,
    requests: Option<Reading>,
    tokens: Option<Reading>,
}

impl Books {
    /// A request was sent.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.tally.sent += 1;
        self.tally.bytes = self.tally.bytes.saturating_add(bytes);
    }

    /// A request ended.
    pub(crate) fn finished(&mut self, bytes: u64) {
        self.tally.finished += 1;
        self.tally.bytes = self.tally.bytes.saturating_sub(bytes);
    }

    /// The worker told its load.
    pub(crate) fn told(&mut self, report: &LoadReport) {
        let then = self.tally;
        let reading = |value: u64| Reading { value, at: report.at, then };
        self.then = then;
        if let Some(waiting) = report.waiting {
            self.waiting = Some(reading(u64::from(waiting)));
            if let Some(running) = report.running {
                self.requests = Some(reading(u64::from(waiting) + u64::from(running)));
            }
        }
        if let Some(tokens) = report.tokens {
            self.tokens = Some(reading(tokens));
        }
    }

    /// Prompt bytes in flight.
    pub(crate) const fn bytes(&self) -> u64 {
        self.tally.bytes
    }

    /// Requests sent and finished since the last report, of whatever kind.
    pub(crate) const fn since_report(&self) -> (u32, u32) {
        ((self.tally.sent - self.then.sent) as u32, (self.tally.finished - self.then.finished) as u32)
    }

    /// Requests waiting, if told at all, and lately where an age is given.
    pub(crate) fn waiting(&self, fresh: Option<(Time, f64)>) -> Option<u32> {
        let reading = self.waiting.as_ref().filter(|r| fresh.is_none_or(|f| r.is_fresh(f)))?;
        Some(self.requests_now(reading))
    }

    /// Requests running and waiting, if told lately.
    pub(crate) fn requests(&self, fresh: (Time, f64)) -> Option<u32> {
        self.requests.as_ref().filter(|r| r.is_fresh(fresh)).map(|r| self.requests_now(r))
    }

    /// Tokens held or waiting, if told lately.
    pub(crate) fn tokens(&self, fresh: (Time, f64)) -> Option<f64> {
        let reading = self.tokens.as_ref().filter(|r| r.is_fresh(fresh))?;
        let bytes = self.tally.bytes as f64 - reading.then.bytes as f64;
        Some((reading.value as f64 + bytes / BYTES_PER_TOKEN).max(0.0))
    }

    /// A count of requests, brought up to now.
    fn requests_now(&self, told: &Reading) -> u32 {
        let sent = self.tally.sent - told.then.sent;
        let finished = self.tally.finished - told.then.finished;
        u32::try_from((told.value + sent).saturating_sub(finished)).unwrap_or(u32::MAX)
    }
}
