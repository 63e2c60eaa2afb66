//! Requests whose decisions and completions are recorded to a file, as with `--record-dir`.

use crate::decision_world::built_in;
use http::HeaderValue;
use router_config::{RecordConfig, RecordFormat};
use router_core::{
    AttemptResult, Balancer, Dispatched, Outcome, PolicyOptions, RequestFeatures, RequestId, Time,
    TokenUsage, WorkerInfo,
};
use router_telemetry::{
    AttemptInfo, Clock, CompletionRecord, DecisionBroadcast, DecisionRecord, Metrics, RecordedPool, Recorder,
    RecorderConfig, Telemetry, WorkerTelemetry,
};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const WORKERS: usize = 8;

/// A balancer and its telemetry with a recorder.
#[derive(Debug)]
pub struct RecordedRequests {
    balancer: Balancer,
    telemetry: Telemetry,
    workers: Vec<Arc<WorkerTelemetry>>,
    now: Time,
    sent: u64,
    /// Holds the files; removed in the end.
    _folder: TempDir,
}

/// The records of one request, to be recorded.
#[derive(Debug)]
pub struct RequestRecords {
    decision: DecisionRecord,
    completion: CompletionRecord,
}

impl RecordedRequests {
    /// Starts the recorder.
    ///
    /// # Panics
    /// There is no room for temporary files.
    pub fn start() -> Self {
        let mut balancer = Balancer::new(built_in("marginal_utility", &PolicyOptions::new()), 1);
        let metrics = Arc::new(Metrics::new("marginal_utility"));
        let workers: Vec<_> = (0..WORKERS)
            .map(|i| {
                let url: Arc<str> = format!("http://10.0.0.{i}:30000").into();
                let id = balancer.join(Time::ZERO, WorkerInfo::new(&url));
                let (name, metrics) = (Arc::clone(&url), metrics.worker(&url));
                Arc::new(WorkerTelemetry { id, url, name, metrics })
            })
            .collect();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let files = RecordConfig {
            dir: folder.path().to_owned(),
            stem: "marginal_utility".to_owned(),
            format: RecordFormat::Csv,
            max_file_bytes: 1 << 30,
            candidates: false,
        };
        let clock = Clock::start();
        let config = RecorderConfig { files: Some(&files), traces: None, collector: None };
        let recorder = Recorder::start(config, clock, &metrics).expect("the recorder starts");
        recorder.add_pool(RecordedPool::MAIN, Some(&files), &metrics).expect("the files can be written");
        let decisions = Arc::new(DecisionBroadcast::new(clock));
        let telemetry = Telemetry {
            metrics,
            pool: RecordedPool::MAIN,
            recorder: Some(Arc::new(recorder)),
            decisions,
            feed: Arc::default(),
        };
        workers.iter().for_each(|worker| telemetry.worker_joined(worker));
        Self { balancer, telemetry, workers, now: Time::ZERO, sent: 0, _folder: folder }
    }

    /// Lets one request be decided and completed; nothing is recorded yet.
    ///
    /// # Panics
    /// No worker is left.
    pub fn complete_one(&mut self) -> RequestRecords {
        self.sent += 1;
        self.now = self.now + Duration::from_micros(500);
        let request =
            RequestFeatures { id: RequestId(self.sent), prompt_bytes: 600, ..RequestFeatures::default() };
        let explain = self.telemetry.explain_level();
        let routed = self.balancer.dispatch(self.now, &request, &[], explain);
        let Dispatched { ticket, decision, snapshot, chosen, scores, shadows, policy } =
            routed.expect("all workers are routable");
        let id = HeaderValue::from_static("chatcmpl-5d1f0c7e9a434f5f9a3c2b1d0e8f7a61");
        let info = AttemptInfo::new((&id).into(), &request, self.now).with_policy(policy);
        let decision = DecisionRecord {
            info: info.clone(),
            at: self.now,
            decision,
            snapshot,
            chosen,
            scores,
            shadows,
            took: Duration::from_micros(3),
        };
        let finished_at = self.now + Duration::from_millis(700);
        let result = AttemptResult {
            status: Some(200),
            first_byte_at: Some(finished_at),
            usage: TokenUsage {
                prompt_tokens: Some(113),
                output_tokens: Some(47),
                cached_tokens: Some(64),
                estimated: false,
            },
            ..AttemptResult::of(Outcome::Success)
        };
        let completion = self.balancer.finish(finished_at, ticket, result);
        let completion = CompletionRecord { info, completion, in_flight: 0, forwarded: true, error: None };
        RequestRecords { decision, completion }
    }

    /// Records the request, as its way through the router does: metrics are counted and the rest is queued.
    pub fn record(&self, records: RequestRecords) {
        let worker = &self.workers[records.completion.completion.worker.slot()];
        self.telemetry.decided(worker, records.decision, |_| None);
        self.telemetry.completed(worker, records.completion);
    }

    /// Waits until the recorder's thread has written all rows.
    pub fn close(&self) {
        self.telemetry.close();
    }
}
