//! Sending a plan in an open loop: arrivals never wait for answers.
//!
//! One thread keeps the time, prepares each request before it is due and hands it to a task of its own; the tasks do
//! the network, so nothing that an answer does can hold up a later arrival. A cap on concurrency closes the loop where
//! the user asks for one; the planned arrival is kept then, too, and the wait for room is part of the latency.

use crate::connection::Pool;
use crate::exchanger::{Exchanger, ResponseReader};
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

/// The first request leaves this long after the call, when its thread is surely up and has prepared the first ones: a
/// load that begins with a burst shall not be late for that.
const START_DELAY: Duration = Duration::from_millis(50);

/// Most requests that are prepared ahead of their time, so that a burst of long prompts finds them ready. A prompt of
/// 12,000 tokens is 48 kB and takes about 0.1 ms to make up.
const MAX_PREPARED: usize = 64;

/// No later request is prepared when the next one is due this soon.
const PREPARE_MARGIN: Duration = Duration::from_millis(2);

/// A plan and how to send it.
#[derive(Clone, Debug)]
pub struct LoadTest {
    /// Where to.
    pub target: LoadTarget,
    /// In which words.
    pub format: RequestFormat,
    /// What and when.
    pub plan: Arc<LoadPlan>,
    /// Most requests under way at a time; `None` = no bound. Default `None`.
    pub max_concurrency: Option<NonZeroUsize>,
    /// Longest that a request may take from its sending to its last byte. Default 600 s.
    pub timeout: Duration,
}

impl LoadTest {
    /// A load without a cap.
    pub fn new(target: LoadTarget, format: RequestFormat, plan: LoadPlan) -> Self {
        let timeout = Duration::from_secs(600);
        Self { target, format, plan: Arc::new(plan), max_concurrency: None, timeout }
    }
}

/// What came of a load.
#[derive(Debug)]
pub struct LoadResult {
    /// One for each request that was sent, in the order of the plan.
    pub outcomes: Vec<RequestOutcome>,
    /// Their totals.
    pub summary: LoadSummary,
    /// When the load started: the zero of every time in `answers`, in Unix seconds.
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

/// The form of the recorded runs: number of the request, and the millisecond that the run began in.
fn request_id(index: usize, started_ms: u64) -> String {
    format!("req_{index}_{started_ms}")
}

/// Sends the whole plan and waits for every answer. When `stop` is cancelled, nothing more is sent and requests under
/// way are given up as [interrupted](RequestFailure::Interrupted). `watch` sees the totals after each answer.
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
    let sender = Arc::new(Sender {
        exchange: Exchanger::new(Pool::new(load.target), load.format, start),
        limiter: ConcurrencyLimiter::new(load.max_concurrency),
        timeout: load.timeout,
        stop: stop.child_token(),
    });
    // Whoever drops this future gives up the load, and its thread must not go on.
    let _stops = StopOnDrop(Arc::clone(&sender));
    let (outcomes, mut answered) = mpsc::unbounded_channel();
    let pacing = SendLoop { start, started_ms: millis(started_unix), runtime: Handle::current(), outcomes };
    tokio::task::spawn_blocking({
        let (sender, plan) = (Arc::clone(&sender), Arc::clone(&plan));
        move || pacing.send(&sender, &plan)
    });
    let mut summary = LoadSummary::new(plan.requests.len());
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
            // The channel ends when the pacing thread and every task have.
            outcome = answered.recv() => {
                let Some(outcome) = outcome else { break };
                summary.add(&outcome, sender.limiter.inside());
                watch(&summary);
                all.push(outcome);
            }
        }
    }
    all.sort_unstable_by_key(|outcome: &RequestOutcome| outcome.index);
    LoadResult { outcomes: all, summary, started_unix, plan }
}

struct StopOnDrop(Arc<Sender>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop.cancel();
        self.0.limiter.stop();
    }
}

/// What the pacing thread and the tasks share.
struct Sender {
    exchange: Exchanger,
    limiter: ConcurrencyLimiter,
    timeout: Duration,
    stop: CancellationToken,
}

/// The work of the pacing thread.
struct SendLoop {
    start: Instant,
    started_ms: u64,
    runtime: Handle,
    outcomes: mpsc::UnboundedSender<RequestOutcome>,
}

impl SendLoop {
    /// Hands every request to a task of its own at its time.
    fn send(self, sender: &Arc<Sender>, plan: &LoadPlan) {
        let mut room_since = self.start;
        let mut prepared = VecDeque::new();
        for (index, request) in plan.requests.iter().enumerate() {
            let due = match plan.pacing {
                Pacing::Timed => Some(self.start + request.at),
                Pacing::Immediate => None,
            };
            // While there is time before this one is due, later ones are prepared as well.
            while prepared.is_empty()
                || (prepared.len() < MAX_PREPARED
                    && due.is_some_and(|due| Instant::now() + PREPARE_MARGIN < due))
            {
                let next = index + prepared.len();
                let Some(request) = plan.requests.get(next) else { break };
                prepared.push_back(sender.exchange.request(request, &request_id(next, self.started_ms)));
            }
            // The loop above leaves at least the request of this very request.
            let Some(request) = prepared.pop_front() else { return };
            if due.is_some_and(|due| sender.limiter.wait_until(due) == Admission::Stopped) {
                return;
            }
            match sender.limiter.enter() {
                Admission::Admitted => {}
                Admission::AdmittedAt(at) => room_since = at,
                Admission::Stopped => return,
            }
            let schedule = Schedule { index, due, ready: due.map(|due| due.max(room_since)) };
            let (sender, outcomes) = (Arc::clone(sender), self.outcomes.clone());
            self.runtime.spawn(async move {
                let outcome = sender.measure(request, schedule).await;
                // Nobody listens any more when the load was dropped.
                let _ = outcomes.send(outcome);
            });
        }
    }
}

/// When a request should have left.
#[derive(Clone, Copy)]
struct Schedule {
    index: usize,
    due: Option<Instant>,
    /// `due`, or when there was room for it, if that was later.
    ready: Option<Instant>,
}

impl Sender {
    async fn measure(&self, request: Request<Full<Bytes>>, schedule: Schedule) -> RequestOutcome {
        let sent = Instant::now();
        let mut reader = self.exchange.reader();
        let sending = tokio::time::timeout(self.timeout, self.exchange.send(request, &mut reader));
        let end = match self.stop.run_until_cancelled(sending).await {
            Some(Ok(end)) => end,
            Some(Err(_)) => Err(RequestFailure::Timeout(self.timeout)),
            None => Err(RequestFailure::Interrupted),
        };
        let finished = Instant::now();
        self.limiter.leave();
        self.outcome(schedule, [sent, finished], reader, end)
    }

    fn outcome(
        &self,
        schedule: Schedule,
        [sent, finished]: [Instant; 2],
        reader: ResponseReader,
        end: Result<(), RequestFailure>,
    ) -> RequestOutcome {
        let mut outcome = RequestOutcome {
            index: schedule.index,
            arrival: self.exchange.since_start(schedule.due.unwrap_or(sent)),
            sent: self.exchange.since_start(sent),
            lateness: schedule.ready.map(|ready| sent.saturating_duration_since(ready)),
            first_event: None,
            finished: self.exchange.since_start(finished),
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
