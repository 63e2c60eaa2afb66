//! What a dispatch produced: the ticket, the decision, and the state at that time.

use crate::fleet::Candidates;
use crate::ticket::Ticket;
use crate::{CandidateScore, Decision, PolicyNumber, WorkerId};

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
    /// The number of the live policy, which decided.
    pub policy: PolicyNumber,
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
