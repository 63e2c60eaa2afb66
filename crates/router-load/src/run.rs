//! Sending a plan in an open loop: arrivals never wait for answers.
//!
//! One thread keeps the time, prepares each request before it is due and hands it to a task of its own; the tasks do
//! the network, so nothing that an answer does can hold up a later arrival. A cap on concurrency closes the loop where
//! the user asks for one; the planned arrival is kept then, too, and the wait for room is part of the latency.

use crate::answer::{Answer, Failure};
use crate::connection::Pool;
use crate::exchange::{Exchange, Reading};
use crate::gate::{Gate, Passage};
use crate::plan::{Pace, Plan};
use crate::summary::Summary;
use crate::target::Target;
use crate::wording::Wording;
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
const LEAD: Duration = Duration::from_millis(50);

/// Most requests that are prepared ahead of their time, so that a burst of long prompts finds them ready. A prompt of
/// 12,000 tokens is 48 kB and takes about 0.1 ms to make up.
const AHEAD: usize = 64;

/// No later request is prepared when the next one is due this soon.
const SPARE: Duration = Duration::from_millis(2);

/// A plan and how to send it.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where to.
    pub target: Target,
    /// In which words.
    pub wording: Wording,
    /// What and when.
    pub plan: Arc<Plan>,
    /// Most requests under way at a time; `None` = no bound. Default `None`.
    pub max_concurrency: Option<NonZeroUsize>,
    /// Longest that a request may take from its sending to its last byte. Default 600 s.
    pub timeout: Duration,
}

impl Load {
    /// A load without a cap.
    pub fn new(target: Target, wording: Wording, plan: Plan) -> Self {
        let timeout = Duration::from_secs(600);
        Self { target, wording, plan: Arc::new(plan), max_concurrency: None, timeout }
    }
}

/// What came of a load.
#[derive(Debug)]
pub struct Run {
    /// One for each request that was sent, in the order of the plan.
    pub answers: Vec<Answer>,
    /// Their totals.
    pub summary: Summary,
    /// When the load started: the zero of every time in `answers`, in Unix seconds.
    pub started_unix: f64,
    plan: Arc<Plan>,
}

impl Run {
    /// The plan that was sent.
    pub fn plan(&self) -> &Plan {
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
/// way are given up as [interrupted](Failure::Interrupted). `watch` sees the totals after each answer.
pub async fn run(load: Load, stop: &CancellationToken, mut watch: impl FnMut(&Summary)) -> Run {
    let plan = load.plan;
    let lead = if plan.pace == Pace::Timed { LEAD } else { Duration::ZERO };
    let start = Instant::now() + lead;
    let started_unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + lead;
    let started_unix = started_unix.as_secs_f64();
    let sender = Arc::new(Sender {
        exchange: Exchange::new(Pool::new(load.target), load.wording, start),
        gate: Gate::new(load.max_concurrency),
        timeout: load.timeout,
        stop: stop.child_token(),
    });
    // Whoever drops this future gives up the load, and its thread must not go on.
    let _stops = StopOnDrop(Arc::clone(&sender));
    let (answers, mut answered) = mpsc::unbounded_channel();
    let pacing = Pacing { start, started_ms: millis(started_unix), runtime: Handle::current(), answers };
    tokio::task::spawn_blocking({
        let (sender, plan) = (Arc::clone(&sender), Arc::clone(&plan));
        move || pacing.send(&sender, &plan)
    });
    let mut summary = Summary::new(plan.shots.len());
    let mut all = Vec::with_capacity(plan.shots.len());
    let mut stopping = std::pin::pin!(sender.stop.cancelled());
    let mut stopped = false;
    loop {
        tokio::select! {
            biased;
            () = &mut stopping, if !stopped => {
                stopped = true;
                sender.gate.stop();
            }
            // The channel ends when the pacing thread and every task have.
            answer = answered.recv() => {
                let Some(answer) = answer else { break };
                summary.add(&answer, sender.gate.inside());
                watch(&summary);
                all.push(answer);
            }
        }
    }
    all.sort_unstable_by_key(|answer: &Answer| answer.index);
    Run { answers: all, summary, started_unix, plan }
}

struct StopOnDrop(Arc<Sender>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop.cancel();
        self.0.gate.stop();
    }
}

/// What the pacing thread and the tasks share.
struct Sender {
    exchange: Exchange,
    gate: Gate,
    timeout: Duration,
    stop: CancellationToken,
}

/// The work of the pacing thread.
struct Pacing {
    start: Instant,
    started_ms: u64,
    runtime: Handle,
    answers: mpsc::UnboundedSender<Answer>,
}

impl Pacing {
    /// Hands every request to a task of its own at its time.
    fn send(self, sender: &Arc<Sender>, plan: &Plan) {
        let mut room_since = self.start;
        let mut prepared = VecDeque::new();
        for (index, shot) in plan.shots.iter().enumerate() {
            let due = match plan.pace {
                Pace::Timed => Some(self.start + shot.at),
                Pace::Immediate => None,
            };
            // While there is time before this one is due, later ones are prepared as well.
            while prepared.is_empty()
                || (prepared.len() < AHEAD && due.is_some_and(|due| Instant::now() + SPARE < due))
            {
                let next = index + prepared.len();
                let Some(shot) = plan.shots.get(next) else { break };
                prepared.push_back(sender.exchange.request(shot, &request_id(next, self.started_ms)));
            }
            // The loop above leaves at least the request of this very shot.
            let Some(request) = prepared.pop_front() else { return };
            if due.is_some_and(|due| sender.gate.wait_until(due) == Passage::Stopped) {
                return;
            }
            match sender.gate.enter() {
                Passage::Open => {}
                Passage::Cleared(at) => room_since = at,
                Passage::Stopped => return,
            }
            let slot = Slot { index, due, ready: due.map(|due| due.max(room_since)) };
            let (sender, answers) = (Arc::clone(sender), self.answers.clone());
            self.runtime.spawn(async move {
                let answer = sender.measure(request, slot).await;
                // Nobody listens any more when the load was dropped.
                let _ = answers.send(answer);
            });
        }
    }
}

/// When a request should have left.
#[derive(Clone, Copy)]
struct Slot {
    index: usize,
    due: Option<Instant>,
    /// `due`, or when there was room for it, if that was later.
    ready: Option<Instant>,
}

impl Sender {
    async fn measure(&self, request: Request<Full<Bytes>>, slot: Slot) -> Answer {
        let sent = Instant::now();
        let mut reading = self.exchange.reading();
        let sending = tokio::time::timeout(self.timeout, self.exchange.send(request, &mut reading));
        let end = match self.stop.run_until_cancelled(sending).await {
            Some(Ok(end)) => end,
            Some(Err(_)) => Err(Failure::Timeout(self.timeout)),
            None => Err(Failure::Interrupted),
        };
        let finished = Instant::now();
        self.gate.leave();
        self.answer(slot, [sent, finished], reading, end)
    }

    fn answer(
        &self,
        slot: Slot,
        [sent, finished]: [Instant; 2],
        reading: Reading,
        end: Result<(), Failure>,
    ) -> Answer {
        let mut answer = Answer {
            index: slot.index,
            arrival: self.exchange.since_start(slot.due.unwrap_or(sent)),
            sent: self.exchange.since_start(sent),
            lateness: slot.ready.map(|ready| sent.saturating_duration_since(ready)),
            first_event: None,
            finished: self.exchange.since_start(finished),
            status: None,
            worker: None,
            bytes: 0,
            facts: ResponseFacts::default(),
            failure: None,
        };
        reading.finish(end, &mut answer);
        answer
    }
}
