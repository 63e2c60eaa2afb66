//! What happens to requests, for those who watch the router: completions, refusals and a sample of explained decisions.
//!
//! While nobody watches, an event costs one read of a flag. While somebody does, events wait in a bounded queue until they are
//! [taken](LiveFeed::take); those that do not fit are dropped and counted, so that routing never waits.

use crate::leg::Leg;
use crate::record::{CompletionRecord, DecisionRecord};
use crate::recorded_pool::RecordedPool;
use parking_lot::Mutex;
use router_core::{
    CandidateScore, Decision, ExplainLevel, ExplainedDecision, Outcome, Route, Time, VerifiedForecast,
    WorkerId,
};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// Most events that wait to be taken.
const CAPACITY: usize = 1 << 16;

/// Something that happened to a request.
#[derive(Debug)]
pub enum LiveEvent {
    /// A worker was chosen; a sample of all decisions.
    Decided(Box<LiveChoice>),
    /// The first byte of a streamed response arrived.
    FirstByte(LiveFirstByte),
    /// An attempt ended.
    Completed(LiveCompletion),
    /// The router answered with this error code.
    Refused(&'static str),
    /// A further attempt was made.
    Retried,
}

/// One decision, with the scores of all candidates that were compared.
#[derive(Debug)]
pub struct LiveChoice {
    /// The balancer.
    pub pool: RecordedPool,
    /// When it was made.
    pub at: Time,
    /// The request's id.
    pub request_id: String,
    /// The number of the attempt, from 0.
    pub attempt: u32,
    /// The part of the request that the attempt does.
    pub leg: Leg,
    /// The route of the request.
    pub route: Route,
    /// Length of the prompt in bytes.
    pub prompt_bytes: u64,
    /// How many workers could be chosen.
    pub candidates: u32,
    /// What the policy decided.
    pub decision: Decision,
    /// The candidates' scores; empty where the rule compares no costs.
    pub scores: Vec<CandidateScore>,
    /// What the shadow policies decided, with their scores.
    pub shadows: Vec<ExplainedDecision>,
}

/// The first byte of a streamed response.
#[derive(Clone, Copy, Debug)]
pub struct LiveFirstByte {
    /// The balancer.
    pub pool: RecordedPool,
    /// The worker.
    pub worker: WorkerId,
    /// When it arrived.
    pub at: Time,
    /// Since the request was sent, in seconds.
    pub secs: f64,
}

/// The end of one attempt.
#[derive(Clone, Copy, Debug)]
pub struct LiveCompletion {
    /// The balancer.
    pub pool: RecordedPool,
    /// The worker.
    pub worker: WorkerId,
    /// When it ended.
    pub at: Time,
    /// How it ended.
    pub outcome: Outcome,
    /// HTTP status of the worker's response, absent when there was none.
    pub status: Option<u16>,
    /// The router's error code, where the router found the failure.
    pub error: Option<&'static str>,
    /// Tokens per second within the response: after the first byte of a stream, over the whole of another response.
    pub speed: Option<f64>,
    /// What was expected of the length of the output.
    pub forecast: Option<VerifiedForecast>,
}

/// The events of one router, while somebody watches.
#[derive(Debug, Default)]
pub struct LiveFeed {
    is_open: AtomicBool,
    /// How many more decisions are wanted.
    wanted: AtomicU32,
    waiting: Mutex<WaitingEvents>,
}

#[derive(Debug, Default)]
struct WaitingEvents {
    events: Vec<LiveEvent>,
    dropped: u64,
}

impl LiveFeed {
    /// No events are kept any more, and those that wait are forgotten.
    pub fn close(&self) {
        self.is_open.store(false, Relaxed);
        self.wanted.store(0, Relaxed);
        *self.waiting.lock() = WaitingEvents::default();
    }

    /// The events since the last call and how many were dropped. With the first call they begin to be kept. At most `decisions`
    /// decisions come with the next ones.
    pub fn take(&self, decisions: u32) -> (Vec<LiveEvent>, u64) {
        self.is_open.store(true, Relaxed);
        self.wanted.store(decisions, Relaxed);
        let WaitingEvents { events, dropped } = std::mem::take(&mut *self.waiting.lock());
        (events, dropped)
    }

    /// How much of the next decision is to be explained.
    pub(crate) fn explain_level(&self) -> ExplainLevel {
        if self.wanted.load(Relaxed) > 0 { ExplainLevel::All } else { ExplainLevel::None }
    }

    pub(crate) fn decided(&self, record: &DecisionRecord) {
        if self.wanted.load(Relaxed) == 0 {
            return;
        }
        if self.wanted.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err() {
            return;
        }
        let DecisionRecord { info, at, decision, snapshot, scores, shadows, .. } = record;
        self.push(|| {
            LiveEvent::Decided(Box::new(LiveChoice {
                pool: info.pool,
                at: *at,
                request_id: info.request_id.to_string(),
                attempt: info.attempt,
                leg: info.leg,
                route: info.route,
                prompt_bytes: info.prompt_bytes,
                candidates: snapshot.candidates,
                decision: *decision,
                scores: scores.clone(),
                shadows: shadows.clone(),
            }))
        });
    }

    pub(crate) fn first_byte(&self, first: LiveFirstByte) {
        self.push(|| LiveEvent::FirstByte(first));
    }

    pub(crate) fn completed(&self, record: &CompletionRecord) {
        self.push(|| {
            let CompletionRecord { info, completion, error, .. } = record;
            let result = &completion.result;
            let start = completion.dispatched_at;
            let generated_from = result.first_byte_at.filter(|_| info.stream).unwrap_or(start);
            let secs = completion.finished_at.secs_since(generated_from);
            // The first token of a stream comes before that time.
            let tokens =
                completion.output_tokens().map(|tokens| tokens.saturating_sub(u32::from(info.stream)));
            let is_complete = result.outcome == Outcome::Success && info.leg != Leg::Prefill;
            let speed = tokens.filter(|tokens| is_complete && *tokens > 0 && secs > 0.0);
            LiveEvent::Completed(LiveCompletion {
                pool: info.pool,
                worker: completion.worker,
                at: completion.finished_at,
                outcome: result.outcome,
                status: result.status,
                error: *error,
                speed: speed.map(|tokens| f64::from(tokens) / secs),
                forecast: completion.forecast.filter(|_| is_complete),
            })
        });
    }

    pub(crate) fn refused(&self, code: &'static str) {
        self.push(|| LiveEvent::Refused(code));
    }

    pub(crate) fn retried(&self) {
        self.push(|| LiveEvent::Retried);
    }

    fn push(&self, event: impl FnOnce() -> LiveEvent) {
        if !self.is_open.load(Relaxed) {
            return;
        }
        let event = event();
        let mut waiting = self.waiting.lock();
        if waiting.events.len() < CAPACITY {
            waiting.events.push(event);
        } else {
            waiting.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_feed_keeps_nothing() {
        let feed = LiveFeed::default();
        feed.refused("queue_full");
        assert!(feed.take(0).0.is_empty());
        feed.refused("queue_full");
        feed.retried();
        assert_eq!(feed.take(3).0.len(), 2);
        assert_eq!(feed.explain_level(), ExplainLevel::All);
        feed.retried();
        feed.close();
        feed.retried();
        assert_eq!((feed.take(0).0.len(), feed.explain_level()), (0, ExplainLevel::None));
    }

    #[test]
    fn events_that_do_not_fit_are_counted() {
        let feed = LiveFeed::default();
        feed.take(0);
        (0..CAPACITY + 5).for_each(|_| feed.retried());
        let (events, dropped) = feed.take(0);
        assert_eq!((events.len(), dropped), (CAPACITY, 5));
    }
}
