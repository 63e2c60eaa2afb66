//! What happened, as it was. Metrics, files and traces are functions of these records alone.
//!
//! A record is built from a [`Decision`](router_core::Decision) or a [`Completion`](router_core::Completion) and
//! nothing else, so it cannot claim what was not decided. Metrics are counted on the spot; everything slower happens
//! on a thread of its own behind a bounded channel that routing never waits for.

mod columns;
mod detour;
mod file;
mod leg;
mod live;
mod metrics;
mod otel;
mod queue;
mod row;
mod stream;
mod table;
mod trace;
mod traces;
mod writer;

pub(crate) use detour::Detour;
pub(crate) use leg::{Leg, is_split};
pub(crate) use live::Audience;
pub use live::{Decisions, Heard, LiveDecision};
pub(crate) use metrics::{Bounds, Gauges, Metrics, Waiting, WorkerGauges, WorkerMetrics};
pub(crate) use row::{CompletionRecord, DecisionRecord, Outline, Record, RefusalRecord};
pub use stream::RecorderError;
pub(crate) use stream::{Recorder, Wanted};
pub(crate) use trace::Status;
pub(crate) use traces::{Query, Traces};

use router_core::{Explain, Route};
use std::sync::Arc;
use std::time::Duration;

/// Where records go.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) metrics: Arc<Metrics>,
    /// The thread behind the channel, when anything slower than counting is wanted.
    pub(crate) recorder: Option<Arc<Recorder>>,
    /// Whoever listens in this process.
    pub(crate) audience: Arc<Audience>,
}

impl Records {
    /// What decisions have to carry.
    pub(crate) fn explain(&self) -> Explain {
        match self.recorder.as_ref().map_or(Explain::No, |r| r.explain) {
            Explain::No if self.audience.listens() => Explain::Chosen,
            explain => explain,
        }
    }

    /// A worker was chosen.
    pub(crate) fn decided(&self, record: DecisionRecord) {
        self.metrics.decided(&record);
        tracing::trace!(
            request_id = %record.outline.id(),
            worker = %record.worker.name,
            attempt = record.outline.attempt,
            reason = record.decision.reason.as_str(),
            "decided"
        );
        self.audience.decided(&record, self.metrics.policy());
        self.pass(|| Record::Decision(record));
    }

    /// The first byte of an answer arrived.
    pub(crate) fn started(&self, outline: &Outline) {
        // Only a trace in memory shows it before the end; the prompt's own answer is no beginning.
        if outline.leg != Leg::Prefill && self.recorder.as_ref().is_some_and(|r| r.traces.is_some()) {
            self.pass(|| Record::Started(outline.request_id.clone()));
        }
    }

    /// An attempt ended.
    pub(crate) fn completed(&self, record: CompletionRecord) {
        self.metrics.completed(&record);
        tracing::trace!(
            request_id = %record.outline.id(),
            worker = %record.worker.name,
            attempt = record.outline.attempt,
            outcome = record.completion.finish.outcome.as_str(),
            "completed"
        );
        self.pass(|| Record::Completion(record));
    }

    /// Another worker is tried.
    pub(crate) fn detoured(&self, route: Route, detour: Detour) {
        self.metrics.detoured(route, detour);
    }

    /// A request may be tried no more.
    pub(crate) fn exhausted(&self, route: Route) {
        self.metrics.exhausted(route);
    }

    /// A retry was forgone for the sake of the fleet.
    pub(crate) fn over_budget(&self) {
        self.metrics.over_budget();
    }

    /// A retry waits for `pause`.
    pub(crate) fn backed_off(&self, pause: Duration) {
        self.metrics.backed_off(pause);
    }

    /// A second copy was faster than the first.
    pub(crate) fn hedge_won(&self) {
        self.metrics.hedge_won();
    }

    /// A request waits for a worker until this is dropped.
    pub(crate) fn waiting(&self) -> Waiting {
        self.metrics.waiting()
    }

    /// The router itself answered a request with an error.
    pub(crate) fn refused(&self, record: RefusalRecord) {
        self.metrics.refused(record.route, record.error);
        self.pass(|| Record::Refusal(record));
    }

    /// The head of an answer is on its way to the client, `took` after the request came in.
    pub(crate) fn answered(&self, route: Route, took: Duration) {
        self.metrics.answered(route, took);
    }

    /// Writes out what is left; nothing is recorded after it.
    pub(crate) fn close(&self) {
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
