//! Sends a plan in an open loop: arrivals do not wait for responses.
//!
//! One thread waits for the time of each request, prepares it before it is due and spawns a task for it. The tasks do
//! the network I/O, so no response delays a later arrival. With a limit of concurrency the planned arrival is kept and
//! the wait for room is part of the latency.

use crate::connection::ConnectionPool;
use crate::exchanger::Exchanger;
use crate::limiter::{Admission, ConcurrencyLimiter};
use crate::outcome::{RequestFailure, RequestOutcome};
use crate::plan::{LoadPlan, Pacing};
use crate::request_format::RequestFormat;
use crate::summary::LoadSummary;
use crate::target::LoadTarget;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use router_protocol::ResponseFacts;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Delay of the first request after the call: by then the thread runs and has prepared the first requests, so that a
/// burst at the start is not late.
const START_DELAY: Duration = Duration::from_millis(50);

/// Limit of requests that are prepared ahead, so that a burst of long prompts is on time. A prompt of 12,000 tokens is
/// 48 kB and takes about 0.1 ms to generate.
const MAX_PREPARED: usize = 64;

/// Later requests are prepared only while the next one is due later than this.
const PREPARE_MARGIN: Duration = Duration::from_millis(2);

/// A plan and how to send it.
#[derive(Clone, Debug)]
pub struct LoadTest {
    /// The router or engine.
    pub target: LoadTarget,
    /// API and body of the requests.
    pub format: RequestFormat,
    /// The requests and their times.
    pub plan: Arc<LoadPlan>,
    /// Limit of requests in flight; `None` = no limit. Default `None`.
    pub max_concurrency: Option<NonZeroUsize>,
    /// Timeout of a request, from sending to the last byte. Default 600 s.
    pub timeout: Duration,
}

impl LoadTest {
    /// A load test without a limit of concurrency.
    pub fn new(target: LoadTarget, format: RequestFormat, plan: LoadPlan) -> Self {
        let timeout = Duration::from_secs(600);
        Self { target, format, plan: Arc::new(plan), max_concurrency: None, timeout }
    }
}

/// The result of a load test.
#[derive(Debug)]
pub struct LoadResult {
    /// One for each request that was sent, in the order of the plan.
    pub outcomes: Vec<RequestOutcome>,
    /// Their totals.
    pub summary: LoadSummary,
    /// Start of the load test in Unix seconds: the zero of every time in `outcomes`.
    pub started_unix: f64,
    plan: Arc<LoadPlan>,
}

impl LoadResult {
    /// The plan that was sent.
    pub fn plan(&self) -> &LoadPlan {
        &self.plan
    }

    /// The id under which a request was sent, which the router keeps in its own records.
    pub fn request_id(&self, index: usize) -> String {
        request_id(index, millis(self.started_unix))
    }
}

fn millis(unix: f64) -> u64 {
    (unix * 1000.0) as u64
}

/// As in the recorded runs: index of the request, and the start in milliseconds.
fn request_id(index: usize, started_ms: u64) -> String {
    format!("req_{index}_{started_ms}")
}

/// Sends the whole plan and waits for every outcome. When `stop` is cancelled, nothing more is sent and requests in
/// flight fail as [interrupted](RequestFailure::Interrupted). `watch` gets the totals after each outcome.
pub async fn run(
    load: LoadTest,
    stop: &CancellationToken,
    mut watch: impl FnMut(&LoadSummary),
) -> LoadResult {
    let plan = load.plan;
    let lead = if plan.pacing == Pacing::Timed { START_DELAY } else { Duration::ZERO };
    let start = Instant::now() + lead;
    let started_unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + lead;
    let started_unix = started_unix.as_secs_f64();
    let sender = Arc::new(RequestSender {
        exchanger: Exchanger::new(ConnectionPool::new(load.target), load.format, &plan.clients, start),
        limiter: ConcurrencyLimiter::new(load.max_concurrency),
        timeout: load.timeout,
        stop: stop.child_token(),
    });
    // Dropping this future must stop its thread.
    let _stops = StopOnDrop(Arc::clone(&sender));
    let (outcomes, mut answered) = mpsc::unbounded_channel();
    let pacing = SendLoop { start, started_ms: millis(started_unix), runtime: Handle::current(), outcomes };
    tokio::task::spawn_blocking({
        let (sender, plan) = (Arc::clone(&sender), Arc::clone(&plan));
        move || pacing.send(&sender, &plan)
    });
    let mut summary = LoadSummary::new(&plan);
    let mut all = Vec::with_capacity(plan.requests.len());
    let mut stopping = std::pin::pin!(sender.stop.cancelled());
    let mut stopped = false;
    loop {
        tokio::select! {
            biased;
            () = &mut stopping, if !stopped => {
                stopped = true;
                sender.limiter.stop();
            }
            // The channel closes when the sending thread and every task have ended.
            outcome = answered.recv() => {
                let Some(outcome) = outcome else { break };
                let client = plan.requests.get(outcome.index).and_then(|request| request.client);
                summary.add(&outcome, client, sender.limiter.inside());
                watch(&summary);
                all.push(outcome);
            }
        }
    }
    all.sort_unstable_by_key(|outcome: &RequestOutcome| outcome.index);
    LoadResult { outcomes: all, summary, started_unix, plan }
}

struct StopOnDrop(Arc<RequestSender>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop.cancel();
        self.0.limiter.stop();
    }
}

/// What the sending thread and the tasks share.
struct RequestSender {
    exchanger: Exchanger,
    limiter: ConcurrencyLimiter,
    timeout: Duration,
    stop: CancellationToken,
}

/// The work of the sending thread.
struct SendLoop {
    start: Instant,
    started_ms: u64,
    runtime: Handle,
    outcomes: mpsc::UnboundedSender<RequestOutcome>,
}

impl SendLoop {
    /// Spawns a task for every request at its time.
    fn send(self, sender: &Arc<RequestSender>, plan: &LoadPlan) {
        let mut room_since = self.start;
        let mut prepared = VecDeque::new();
        for (index, request) in plan.requests.iter().enumerate() {
            let due = match plan.pacing {
                Pacing::Timed => Some(self.start + request.at),
                Pacing::Immediate => None,
            };
            // Prepare later requests while this one is not due.
            while prepared.is_empty()
                || (prepared.len() < MAX_PREPARED
                    && due.is_some_and(|due| Instant::now() + PREPARE_MARGIN < due))
            {
                let next = index + prepared.len();
                let Some(request) = plan.requests.get(next) else { break };
                prepared.push_back(sender.exchanger.request(request, &request_id(next, self.started_ms)));
            }
            // The loop above has prepared at least this request.
            let Some(request) = prepared.pop_front() else { return };
            if due.is_some_and(|due| sender.limiter.wait_until(due) == Admission::Stopped) {
                return;
            }
            match sender.limiter.enter() {
                Admission::Admitted => {}
                Admission::AdmittedAt(at) => room_since = at,
                Admission::Stopped => return,
            }
            let time = SendTime { index, due, ready: due.map(|due| due.max(room_since)) };
            let (sender, outcomes) = (Arc::clone(sender), self.outcomes.clone());
            self.runtime.spawn(async move {
                let outcome = sender.measure(request, time).await;
                // The receiver is gone when the load test was dropped.
                let _ = outcomes.send(outcome);
            });
        }
    }
}

/// When a request should have left.
#[derive(Clone, Copy)]
struct SendTime {
    index: usize,
    due: Option<Instant>,
    /// `due`, or when there was room for it, if that was later.
    ready: Option<Instant>,
}

impl RequestSender {
    async fn measure(&self, request: Request<Full<Bytes>>, time: SendTime) -> RequestOutcome {
        let sent = Instant::now();
        let mut reader = self.exchanger.reader();
        let sending = tokio::time::timeout(self.timeout, self.exchanger.send(request, &mut reader));
        let end = match self.stop.run_until_cancelled(sending).await {
            Some(Ok(end)) => end,
            Some(Err(_)) => Err(RequestFailure::Timeout(self.timeout)),
            None => Err(RequestFailure::Interrupted),
        };
        let finished = Instant::now();
        self.limiter.leave();
        let mut outcome = RequestOutcome {
            index: time.index,
            arrival: self.exchanger.since_start(time.due.unwrap_or(sent)),
            sent: self.exchanger.since_start(sent),
            lateness: time.ready.map(|ready| sent.saturating_duration_since(ready)),
            first_event: None,
            finished: self.exchanger.since_start(finished),
            status: None,
            worker: None,
            bytes: 0,
            facts: ResponseFacts::default(),
            failure: None,
        };
        reader.finish(end, &mut outcome);
        outcome
    }
}
