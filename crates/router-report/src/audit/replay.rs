//! The replay of a recording: the policy learns the recorded completions and reports what it knew at each decision.

use super::rows::{AuditRow, RecordedClaim};
use crate::run::NameTable;
use router_core::policy::{InvalidOption, MarginalUtility, MarginalUtilityConfig};
use router_core::{
    AttemptResult, Balancer, Candidates, Decision, DecisionContext, ExplainLevel, FleetUpdate, Outcome,
    Policy, Reason, RequestFeatures, ScoreTerms, Ticket, Time, TokenUsage, WorkerId, WorkerInfo,
};

/// Sends each request to the recorded worker; its slot is passed as the request's routing key.
#[derive(Debug)]
struct AsRecorded;

impl Policy for AsRecorded {
    fn name(&self) -> &str {
        "as_recorded"
    }

    fn decide(&mut self, cx: DecisionContext<'_>) -> Decision {
        let recorded = recorded(cx.candidates, cx.request);
        Decision::plain(recorded.unwrap_or(cx.candidates.first()), Reason::Classic)
    }
}

fn recorded(candidates: Candidates<'_>, request: &RequestFeatures<'_>) -> Option<WorkerId> {
    let slot = request.routing_key?;
    candidates.ids().iter().copied().find(|id| id.slot() as u64 == slot)
}

/// The balancer of a recording, with the audited policy as its shadow.
#[derive(Debug)]
pub(crate) struct RecordingReplay {
    balancer: Balancer,
    /// The workers, by their index in the recording.
    ids: Vec<Option<WorkerId>>,
}

impl RecordingReplay {
    pub(crate) fn new(config: MarginalUtilityConfig) -> Result<Self, InvalidOption> {
        let mut balancer = Balancer::new(Box::new(AsRecorded), 1);
        balancer.add_shadow(Time::ZERO, Box::new(MarginalUtility::new(config)?), 1);
        Ok(Self { balancer, ids: Vec::new() })
    }

    /// Replays a decision: what the policy knew about the chosen worker.
    pub(crate) fn replay_decision(
        &mut self,
        row: &AuditRow,
        claim: &RecordedClaim,
        workers: &NameTable,
    ) -> ScoreTerms {
        let now = Time::from_nanos(row.at.unwrap_or_default());
        let terms = self.terms(row, now, workers);
        // An empty window in the recording means that the worker left and joined again.
        let known = terms.get("window_size").unwrap_or(0.0);
        if claim.window_size != Some(0.0) || known == 0.0 {
            return terms;
        }
        if let Some(id) = self.ids[row.worker as usize].take() {
            self.balancer.apply(now, FleetUpdate::Leave(id));
        }
        self.terms(row, now, workers)
    }

    /// Replays a completion.
    pub(crate) fn replay_completion(&mut self, row: &AuditRow, workers: &NameTable) {
        let Some((end, latency)) = row.at.zip(row.latency) else { return };
        let sent = Time::from_nanos(end.saturating_sub(latency));
        let Some((ticket, _)) = self.dispatch(row, sent, workers, ExplainLevel::None) else { return };
        let usage = TokenUsage { output_tokens: row.tokens, ..TokenUsage::default() };
        let outcome = if row.ok { Outcome::Success } else { Outcome::Failed };
        self.balancer.finish(
            Time::from_nanos(end),
            ticket,
            AttemptResult { usage, ..AttemptResult::of(outcome) },
        );
    }

    /// The policy's terms for the row's worker. The request is cancelled at once, from which policies do not learn.
    fn terms(&mut self, row: &AuditRow, now: Time, workers: &NameTable) -> ScoreTerms {
        let Some((ticket, terms)) = self.dispatch(row, now, workers, ExplainLevel::All) else {
            return ScoreTerms::none();
        };
        self.balancer.finish(now, ticket, AttemptResult::of(Outcome::Cancelled));
        terms
    }

    fn dispatch(
        &mut self,
        row: &AuditRow,
        now: Time,
        workers: &NameTable,
        explain: ExplainLevel,
    ) -> Option<(Ticket, ScoreTerms)> {
        let worker = self.worker(row.worker, now, workers);
        let request =
            RequestFeatures { routing_key: Some(worker.slot() as u64), ..RequestFeatures::default() };
        let routed = self.balancer.dispatch(now, &request, &[], explain).ok()?;
        let scores = routed.shadows.first().map(|shadow| shadow.scores.as_slice()).unwrap_or_default();
        let terms = scores.iter().find(|s| s.worker == worker).map_or(ScoreTerms::none(), |s| s.terms);
        Some((routed.ticket, terms))
    }

    fn worker(&mut self, index: u32, now: Time, workers: &NameTable) -> WorkerId {
        let index = index as usize;
        if self.ids.len() <= index {
            self.ids.resize(index + 1, None);
        }
        let url = &workers.as_slice()[index];
        *self.ids[index].get_or_insert_with(|| self.balancer.join(now, WorkerInfo::new(url)))
    }
}
