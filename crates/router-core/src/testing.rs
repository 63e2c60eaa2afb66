//! A balancer with named workers for the unit tests of policies.

use crate::{
    AttemptResult, Balancer, Decision, ExplainLevel, ExplainedDecision, Outcome, Policy, Reason,
    RequestFeatures, Ticket, Time, TokenUsage, WorkerId, WorkerInfo,
};
use std::time::Duration;

/// One policy, its workers, and what was sent to them.
pub(crate) struct TestBench {
    pub(crate) balancer: Balancer,
    pub(crate) ids: Vec<WorkerId>,
    pub(crate) now: Time,
    tickets: Vec<Ticket>,
    last: Option<Decision>,
}

impl TestBench {
    pub(crate) fn new(policy: Box<dyn Policy>, workers: usize) -> Self {
        let balancer = Balancer::new(policy, 1);
        let mut bench = Self { balancer, ids: Vec::new(), now: Time::ZERO, tickets: Vec::new(), last: None };
        for _ in 0..workers {
            bench.join();
        }
        bench
    }

    pub(crate) fn join(&mut self) -> WorkerId {
        self.join_as(WorkerInfo::new(&format!("http://worker-{}", self.ids.len())))
    }

    pub(crate) fn join_as(&mut self, info: WorkerInfo) -> WorkerId {
        let id = self.balancer.join(self.now, info);
        self.ids.push(id);
        id
    }

    /// Sends one request and leaves it in flight. Returns the slot that got it.
    pub(crate) fn send(&mut self) -> usize {
        self.send_as(&RequestFeatures::default())
    }

    pub(crate) fn send_as(&mut self, request: &RequestFeatures<'_>) -> usize {
        let routed = self.balancer.dispatch(self.now, request, &[], ExplainLevel::None).unwrap();
        self.tickets.push(routed.ticket);
        self.last = Some(routed.decision);
        routed.decision.worker.slot()
    }

    pub(crate) fn send_many(&mut self, n: usize) -> Vec<usize> {
        (0..n).map(|_| self.send()).collect()
    }

    /// Puts `n` requests in flight on one worker, whatever the policy wants.
    pub(crate) fn hold(&mut self, worker: usize, n: usize) {
        for _ in 0..n {
            self.force(worker, &RequestFeatures::default());
        }
    }

    /// Sends one request to one worker, whatever the policy wants, and leaves it in flight.
    pub(crate) fn force(&mut self, worker: usize, request: &RequestFeatures<'_>) {
        let others: Vec<_> = self.ids.iter().copied().filter(|&id| id != self.ids[worker]).collect();
        let routed = self.balancer.dispatch(self.now, request, &others, ExplainLevel::None).unwrap();
        assert_eq!(routed.decision.worker, self.ids[worker]);
        self.tickets.push(routed.ticket);
    }

    /// Runs one request on one worker: `latency` seconds up to `now`, `tokens` generated.
    pub(crate) fn complete(&mut self, worker: usize, latency: f64, tokens: u32) {
        let end = self.now;
        self.now = Time::from_nanos(end.as_nanos() - Duration::from_secs_f64(latency).as_nanos() as u64);
        self.force(worker, &RequestFeatures::default());
        self.now = end;
        let ticket = self.tickets.pop().unwrap();
        let usage = TokenUsage { output_tokens: Some(tokens), ..TokenUsage::default() };
        self.balancer.finish(end, ticket, AttemptResult { usage, ..AttemptResult::of(Outcome::Success) });
    }

    /// Fails one attempt on one worker, without latency.
    pub(crate) fn fail(&mut self, worker: usize) {
        self.force(worker, &RequestFeatures::default());
        let ticket = self.tickets.pop().unwrap();
        self.balancer.finish(self.now, ticket, AttemptResult::of(Outcome::Failed));
    }

    /// Ends everything in flight.
    pub(crate) fn finish_all(&mut self) {
        for ticket in self.tickets.drain(..) {
            self.balancer.finish(self.now, ticket, AttemptResult::of(Outcome::Success));
        }
    }

    /// What the policy would do now, with every candidate's score; nothing stays in flight.
    pub(crate) fn ask(&mut self) -> ExplainedDecision {
        let routed =
            self.balancer.dispatch(self.now, &RequestFeatures::default(), &[], ExplainLevel::All).unwrap();
        self.balancer.finish(self.now, routed.ticket, AttemptResult::of(Outcome::Cancelled));
        ExplainedDecision {
            policy: self.balancer.policy_name().into(),
            decision: routed.decision,
            scores: routed.scores,
        }
    }

    pub(crate) fn last_reason(&self) -> Reason {
        self.last.unwrap().reason
    }
}
