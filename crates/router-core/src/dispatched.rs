//! What a dispatch produced: the ticket, the decision, and the state at that time.

use crate::fleet::{Candidates, RequestLoad};
use crate::length_forecaster::RequestClasses;
use crate::scaling::RequestMark;
use crate::{CandidateScore, Decision, LengthForecast, RequestId, Time, WorkerId};

/// The right of one request to occupy one worker. Not `Clone`: [`Balancer::finish`](crate::Balancer::finish) consumes it, exactly once.
#[must_use = "an unfinished ticket leaks in-flight load"]
#[derive(Debug)]
pub struct Ticket {
    pub(crate) worker: WorkerId,
    pub(crate) request: RequestId,
    pub(crate) attempt: u32,
    pub(crate) load: RequestLoad,
    pub(crate) arrived_at: Option<Time>,
    pub(crate) dispatched_at: Time,
    pub(crate) most_output_tokens: u32,
    /// What its length is learned by, if some policy needs forecasts.
    pub(crate) classes: Option<RequestClasses>,
    /// What is expected of its length, likewise.
    pub(crate) forecast: Option<LengthForecast>,
    pub(crate) predicted_cached_tokens: Option<u32>,
    pub(crate) mark: RequestMark,
}

impl Ticket {
    /// The worker it occupies.
    pub const fn worker(&self) -> WorkerId {
        self.worker
    }

    /// When the request was assigned.
    pub const fn dispatched_at(&self) -> Time {
        self.dispatched_at
    }
}

/// Whether a dispatch carries every candidate's score.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ExplainLevel {
    /// Only the choice; nothing is allocated.
    #[default]
    None,
    /// The chosen worker's score and terms; nothing is allocated.
    Chosen,
    /// Every candidate's score and terms.
    All,
}

/// What one policy decided, with every candidate's score when asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct ExplainedDecision {
    /// The policy's name.
    pub policy: Box<str>,
    /// What it chose.
    pub decision: Decision,
    /// Every candidate's score, in id order; empty unless [`ExplainLevel::All`] and the rule compares costs.
    pub scores: Vec<CandidateScore>,
}

/// What one dispatch produced.
#[derive(Debug)]
pub struct Dispatched {
    /// To be finished when the response has ended.
    pub ticket: Ticket,
    /// The live policy's decision.
    pub decision: Decision,
    /// Load and position at the time of the decision.
    pub snapshot: DispatchSnapshot,
    /// The chosen worker's score, when asked for and when the rule compares costs.
    pub chosen: Option<CandidateScore>,
    /// Every candidate's score; empty unless asked for.
    pub scores: Vec<CandidateScore>,
    /// What the shadow policies would have chosen.
    pub shadows: Vec<ExplainedDecision>,
}

/// The state at a decision, before the request was counted.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct DispatchSnapshot {
    /// Sequence number of this decision among the balancer's decisions and completions, from one. The policy saw them
    /// in this order, so a replay needs it.
    pub seq: u64,
    /// How many workers could be chosen.
    pub candidates: u32,
    /// Requests in flight on the chosen worker, from this router.
    pub in_flight: u32,
    /// The chosen worker's queue length, by its last report and what was sent and finished since.
    pub waiting: Option<u32>,
    /// Requests running on the chosen worker, by its last report.
    pub running: Option<u32>,
}

impl DispatchSnapshot {
    pub(crate) fn of(seq: u64, candidates: &Candidates<'_>, chosen: WorkerId) -> Self {
        let view = candidates.get(chosen);
        Self {
            seq,
            candidates: u32::try_from(candidates.len()).unwrap_or(u32::MAX),
            in_flight: view.map_or(0, |v| v.in_flight),
            waiting: view.and_then(|v| v.estimated_waiting()),
            running: view.and_then(|v| v.load?.running),
        }
    }
}
