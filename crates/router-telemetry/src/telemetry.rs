//! The interface through which the router reports events: to metrics, to subscribers, and to the recorder's thread.

use crate::attempt_info::AttemptInfo;
use crate::broadcast::DecisionBroadcast;
use crate::feed::{LiveFeed, LiveFirstByte};
use crate::leg::Leg;
use crate::metrics::{Metrics, WaitingGuard};
use crate::record::{CompletionRecord, DecisionRecord, ErrorResponseRecord, Record};
use crate::recorded_pool::RecordedPool;
use crate::recorder::Recorder;
use crate::retry_reason::RetryReason;
use crate::worker::WorkerTelemetry;
use router_core::{ExplainLevel, Route, WorkerId};
use std::sync::Arc;
use std::time::Duration;

/// The destinations of all records.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// The metrics of this balancer.
    pub metrics: Arc<Metrics>,
    /// Which balancer that is.
    pub pool: RecordedPool,
    /// The recorder, if files, traces or spans are configured.
    pub recorder: Option<Arc<Recorder>>,
    /// The decision subscribers in this process.
    pub decisions: Arc<DecisionBroadcast>,
    /// What happens to requests, for those who watch the router.
    pub feed: Arc<LiveFeed>,
}

impl Telemetry {
    /// How much of each decision has to be explained for what is recorded.
    pub fn explain_level(&self) -> ExplainLevel {
        if self.feed.explain_level() == ExplainLevel::All {
            return ExplainLevel::All;
        }
        match self.recorded_level() {
            ExplainLevel::None if self.decisions.has_subscribers() => ExplainLevel::Chosen,
            explain => explain,
        }
    }

    /// How much of each decision the recorder needs explained.
    fn recorded_level(&self) -> ExplainLevel {
        self.recorder.as_ref().map_or(ExplainLevel::None, |r| r.explain)
    }

    /// The workers of the balancer serve `model`. Called before one of them can be chosen.
    pub fn model_known(&self, model: &Arc<str>) {
        self.metrics.set_model(model);
        if let Some(recorder) = &self.recorder {
            recorder.enqueue_change(Record::Model(self.pool, Arc::clone(model)));
        }
    }

    /// A worker joined the balancer. Called before it can be chosen.
    pub fn worker_joined(&self, worker: &Arc<WorkerTelemetry>) {
        if let Some(recorder) = &self.recorder {
            recorder.enqueue_change(Record::Joined(self.pool, Arc::clone(worker)));
        }
    }

    /// A worker left the balancer. The attempts that it still runs hold its [`WorkerTelemetry`] until they are
    /// [`completed`](Self::completed).
    pub fn worker_left(&self, worker: &WorkerTelemetry) {
        self.metrics.remove_worker(&worker.name);
        if let Some(recorder) = &self.recorder {
            recorder.enqueue_change(Record::Left(self.pool, worker.id));
        }
    }

    /// `worker` was chosen; `name` gives the names of the workers that the decision refers to.
    pub fn decided(
        &self,
        worker: &WorkerTelemetry,
        mut record: DecisionRecord,
        name: impl Fn(WorkerId) -> Option<Arc<str>>,
    ) {
        worker.metrics.decided(record.info.policy);
        self.metrics.decided(&record);
        tracing::trace!(
            request_id = %record.info.request_id,
            worker = %worker.name,
            attempt = record.info.attempt,
            reason = record.decision.reason.as_str(),
            "decided"
        );
        self.decisions.decided(&record, worker, name, self.metrics.policy_names());
        self.feed.decided(&record);
        if self.recorded_level() != ExplainLevel::All {
            // They were there for those who watch: what is recorded does not depend on them.
            record.scores = Vec::new();
            record.shadows.iter_mut().for_each(|shadow| shadow.scores = Vec::new());
        }
        self.enqueue(|| Record::Decision(record));
    }

    /// The first byte of a response to a request for a stream arrived, which is no error.
    pub fn stream_began(&self, first: LiveFirstByte) {
        self.feed.first_byte(first);
    }

    /// The first byte of a response arrived.
    pub fn first_byte_received(&self, info: &AttemptInfo) {
        // Only traces in memory show a request before its end. The response of a prefill leg is not the request's.
        if info.leg != Leg::Prefill && self.recorder.as_ref().is_some_and(|r| r.traces.is_some()) {
            self.enqueue(|| Record::FirstByte(info.request_id.clone()));
        }
    }

    /// An attempt on `worker` ended.
    pub fn completed(&self, worker: &WorkerTelemetry, record: CompletionRecord) {
        worker.metrics.completed(&record.info, &record.completion);
        if record.is_failed_split_stream() {
            worker.metrics.split_stream_failed();
        }
        self.metrics.completed(&record);
        self.feed.completed(&record);
        tracing::trace!(
            request_id = %record.info.request_id,
            worker = %worker.name,
            attempt = record.info.attempt,
            outcome = record.completion.result.outcome.as_str(),
            "completed"
        );
        self.enqueue(|| Record::Completion(record));
    }

    /// Another attempt is made.
    pub fn retried(&self, route: Route, reason: RetryReason) {
        self.metrics.retried(route, reason);
        self.feed.retried();
    }

    /// A request failed and has no attempts left.
    pub fn retries_exhausted(&self, route: Route) {
        self.metrics.retries_exhausted(route);
    }

    /// A retry was not made because the retry budget was used up.
    pub fn retry_budget_exhausted(&self) {
        self.metrics.retry_budget_exhausted();
    }

    /// A retry is delayed by `pause`.
    pub fn retry_delayed(&self, pause: Duration) {
        self.metrics.retry_delayed(pause);
    }

    /// A hedged attempt responded before the first one.
    pub fn hedge_won(&self) {
        self.metrics.hedge_won();
    }

    /// A request waits for a worker until the guard is dropped.
    pub fn waiting_for_worker(&self) -> WaitingGuard {
        self.metrics.waiting_for_worker()
    }

    /// The router itself sent an error response.
    pub fn error_response(&self, record: ErrorResponseRecord) {
        self.metrics.error_response(record.route, record.error);
        self.feed.refused(record.error);
        self.enqueue(|| Record::ErrorResponse(record));
    }

    /// The client gets the error response of a worker, because no attempt is left. The attempt has a record of its own.
    pub fn worker_error_forwarded(&self, route: Route, error_type: &'static str) {
        self.metrics.error_response(route, error_type);
    }

    /// The head of a response with this status is sent to the client, `took` after the request came in.
    pub fn response_started(&self, route: Route, status: u16, took: Duration) {
        self.metrics.response_started(route, status, took);
    }

    /// Writes all records that are queued and ends the recorder; later records are lost.
    pub fn close(&self) {
        self.decisions.close();
        if let Some(recorder) = &self.recorder {
            recorder.close();
        }
    }

    fn enqueue(&self, record: impl FnOnce() -> Record) {
        if let Some(recorder) = &self.recorder {
            recorder.enqueue(record(), &self.metrics);
        }
    }
}
