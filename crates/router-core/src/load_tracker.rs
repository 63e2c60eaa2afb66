//! What was sent to one worker and what the worker reported, corrected to the present.
//!
//! A reported number gets older with every request sent to the worker. So each is stored together with the counters
//! of that moment, and read as "what was reported, plus what was sent and minus what finished since".

use crate::features::BYTES_PER_TOKEN;
use crate::{LoadReport, Time};

/// With such a share of its cache in use, a worker starts few requests before others have ended.
const FULL_CACHE: f64 = 0.9;

/// What has been sent to a worker so far.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct DispatchCounters {
    /// Requests sent since it joined.
    sent: u64,
    /// Requests finished since it joined.
    finished: u64,
    /// Prompt bytes in flight.
    bytes: u64,
}

/// One reported number, and the counters at that moment.
#[derive(Clone, Copy, PartialEq, Debug)]
struct LoadSample {
    value: u64,
    at: Time,
    counters: DispatchCounters,
}

/// A reported share of the KV cache, and the prompt bytes in flight at that moment.
#[derive(Clone, Copy, PartialEq, Debug)]
struct CacheSample {
    usage: f64,
    at: Time,
    bytes: u64,
}

/// A reported value, corrected to the present.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct ReportedValue<T> {
    /// What it is now.
    pub(crate) value: T,
    /// When it was reported.
    pub(crate) at: Time,
}

/// How old a reported number may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MaxAge {
    /// The present.
    pub(crate) now: Time,
    /// Age in seconds up to which a number counts.
    pub(crate) secs: f64,
}

impl MaxAge {
    fn admits(self, sample: &LoadSample) -> bool {
        self.now.secs_since(sample.at) <= self.secs
    }
}

/// The load of one worker.
///
/// The last sample of each kind is kept apart: a report that rides on a response often has the queue length alone and
/// must not erase what a poll reported.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct LoadTracker {
    counters: DispatchCounters,
    /// The counters at the last report.
    at_report: DispatchCounters,
    waiting: Option<LoadSample>,
    requests: Option<LoadSample>,
    tokens: Option<LoadSample>,
    cache: Option<CacheSample>,
}

impl LoadTracker {
    /// Counts a request that was sent.
    pub(crate) fn dispatched(&mut self, bytes: u64) {
        self.counters.sent += 1;
        self.counters.bytes = self.counters.bytes.saturating_add(bytes);
    }

    /// Counts a request that ended.
    pub(crate) fn finished(&mut self, bytes: u64) {
        self.counters.finished += 1;
        self.counters.bytes = self.counters.bytes.saturating_sub(bytes);
    }

    /// Stores what the worker reported.
    pub(crate) fn reported(&mut self, report: &LoadReport) {
        let counters = self.counters;
        let sample = |value: u64| LoadSample { value, at: report.at, counters };
        self.at_report = counters;
        if let Some(waiting) = report.waiting {
            self.waiting = Some(sample(u64::from(waiting)));
            if let Some(running) = report.running {
                self.requests = Some(sample(u64::from(waiting) + u64::from(running)));
            }
        }
        if let Some(tokens) = report.tokens {
            self.tokens = Some(sample(tokens));
        }
        if let Some(usage) = report.kv_usage {
            self.cache = Some(CacheSample { usage, at: report.at, bytes: counters.bytes });
        }
    }

    /// Prompt bytes in flight.
    pub(crate) const fn bytes(&self) -> u64 {
        self.counters.bytes
    }

    /// Requests sent since the last report of any kind.
    pub(crate) const fn sent_since_report(&self) -> u32 {
        (self.counters.sent - self.at_report.sent) as u32
    }

    /// Requests finished since the last report of any kind.
    pub(crate) const fn finished_since_report(&self) -> u32 {
        (self.counters.finished - self.at_report.finished) as u32
    }

    /// Requests waiting, if reported at all, and recently enough where a maximum age is given.
    pub(crate) fn waiting(&self, max_age: Option<MaxAge>) -> Option<u32> {
        let sample = self.waiting.as_ref().filter(|sample| max_age.is_none_or(|age| age.admits(sample)))?;
        Some(self.requests_now(sample))
    }

    /// Requests running and waiting, if reported recently enough.
    pub(crate) fn requests(&self, max_age: MaxAge) -> Option<u32> {
        self.requests.as_ref().filter(|sample| max_age.admits(sample)).map(|sample| self.requests_now(sample))
    }

    /// Requests waiting, however old the report. Requests sent since do not wait while the worker has places left: while it
    /// runs fewer than `max_running` and its cache is not [full](FULL_CACHE).
    pub(crate) fn queue(&self, max_running: Option<u32>) -> Option<ReportedValue<u32>> {
        let sample = self.waiting.as_ref()?;
        let sent_on_top = self.requests_now(sample);
        // Where the cache is not reported, a worker with a queue has no place left.
        let has_places = self.cache.map_or(sample.value == 0, |cache| cache.usage < FULL_CACHE);
        let beyond_places = || Some(self.requests_now(self.requests.as_ref()?).saturating_sub(max_running?));
        let value = match beyond_places().filter(|_| has_places) {
            Some(beyond) => sent_on_top.min(beyond.max(u32::try_from(sample.value).unwrap_or(u32::MAX))),
            None => sent_on_top,
        };
        Some(ReportedValue { value, at: sample.at })
    }

    /// The share of the KV cache in use, however old the report, for a worker whose cache has `max_tokens`.
    pub(crate) fn kv_usage(&self, max_tokens: Option<u64>) -> Option<ReportedValue<f64>> {
        let CacheSample { usage, at, bytes } = self.cache?;
        let more = (self.counters.bytes as f64 - bytes as f64) / BYTES_PER_TOKEN;
        let value = max_tokens.filter(|most| *most > 0).map_or(usage, |most| usage + more / most as f64);
        Some(ReportedValue { value, at })
    }

    /// Tokens held or waiting, if reported recently enough.
    pub(crate) fn tokens(&self, max_age: MaxAge) -> Option<f64> {
        let sample = self.tokens.as_ref().filter(|sample| max_age.admits(sample))?;
        let bytes = self.counters.bytes as f64 - sample.counters.bytes as f64;
        Some((sample.value as f64 + bytes / BYTES_PER_TOKEN).max(0.0))
    }

    /// A reported count of requests, corrected to the present.
    fn requests_now(&self, sample: &LoadSample) -> u32 {
        let sent = self.counters.sent - sample.counters.sent;
        let finished = self.counters.finished - sample.counters.finished;
        u32::try_from((sample.value + sent).saturating_sub(finished)).unwrap_or(u32::MAX)
    }
}
