//! The one place where the router reports what happened: to metrics, to subscribers, and to the recorder's thread.

use crate::broadcast::DecisionBroadcast;
use crate::leg::Leg;
use crate::metrics::{Metrics, WaitingGuard};
use crate::record::{AttemptInfo, CompletionRecord, DecisionRecord, Record, RefusalRecord};
use crate::recorder::Recorder;
use crate::retry_reason::RetryReason;
use router_core::{ExplainLevel, Route};
use std::sync::Arc;
use std::time::Duration;

/// Where records go.
#[derive(Debug)]
pub struct Telemetry {
    /// The metrics of this balancer.
    pub metrics: Arc<Metrics>,
    /// The recorder, if files, traces or spans are configured.
    pub recorder: Option<Arc<Recorder>>,
    /// The decision subscribers in this process.
    pub audience: Arc<DecisionBroadcast>,
}

impl Telemetry {
    /// What decisions have to carry.
    pub fn explain(&self) -> ExplainLevel {
        match self.recorder.as_ref().map_or(ExplainLevel::None, |r| r.explain) {
            ExplainLevel::None if self.audience.listens() => ExplainLevel::Chosen,
            explain => explain,
        }
    }

    /// A worker was chosen.
    pub fn decided(&self, record: DecisionRecord) {
        self.metrics.decided(&record);
        tracing::trace!(
            request_id = %record.info.id(),
            worker = %record.worker.name,
            attempt = record.info.attempt,
            reason = record.decision.reason.as_str(),
            "decided"
        );
        self.audience.decided(&record, self.metrics.policy());
        self.pass(|| Record::Decision(record));
    }

    /// The first byte of an answer arrived.
    pub fn started(&self, info: &AttemptInfo) {
        // Only a trace in memory shows it before the end; the prompt's own answer is no beginning.
        if info.leg != Leg::Prefill && self.recorder.as_ref().is_some_and(|r| r.traces.is_some()) {
            self.pass(|| Record::Started(info.request_id.clone()));
        }
    }

    /// An attempt ended.
    pub fn completed(&self, record: CompletionRecord) {
        self.metrics.completed(&record);
        tracing::trace!(
            request_id = %record.info.id(),
            worker = %record.worker.name,
            attempt = record.info.attempt,
            outcome = record.completion.result.outcome.as_str(),
            "completed"
        );
        self.pass(|| Record::Completion(record));
    }

    /// Another worker is tried.
    pub fn detoured(&self, route: Route, detour: RetryReason) {
        self.metrics.detoured(route, detour);
    }

    /// A request may be tried no more.
    pub fn exhausted(&self, route: Route) {
        self.metrics.exhausted(route);
    }

    /// A retry was forgone for the sake of the fleet.
    pub fn over_budget(&self) {
        self.metrics.over_budget();
    }

    /// A retry waits for `pause`.
    pub fn backed_off(&self, pause: Duration) {
        self.metrics.backed_off(pause);
    }

    /// A second copy was faster than the first.
    pub fn hedge_won(&self) {
        self.metrics.hedge_won();
    }

    /// A request waits for a worker until this is dropped.
    pub fn waiting(&self) -> WaitingGuard {
        self.metrics.waiting()
    }

    /// The router itself answered a request with an error.
    pub fn refused(&self, record: RefusalRecord) {
        self.metrics.refused(record.route, record.error);
        self.pass(|| Record::Refusal(record));
    }

    /// The head of an answer is on its way to the client, `took` after the request came in.
    pub fn answered(&self, route: Route, took: Duration) {
        self.metrics.answered(route, took);
    }

    /// Writes out what is left; nothing is recorded after it.
    pub fn close(&self) {
        self.audience.close();
        if let Some(recorder) = &self.recorder {
            recorder.close();
        }
    }

    fn pass(&self, record: impl FnOnce() -> Record) {
        if let Some(recorder) = &self.recorder {
            recorder.pass(record(), &self.metrics);
        }
    }
}
