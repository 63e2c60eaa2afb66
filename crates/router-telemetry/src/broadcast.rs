//! Decisions as they are made, for subscribers in this process.
//!
//! Without subscribers a decision costs one read of a counter. Each subscriber has a bounded queue of its own;
//! what does not fit is left out and counted, so that routing never waits for a subscriber.

use crate::clock::Clock;
use crate::record::DecisionRecord;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// One decision, with the names and units of the columns of recorded files. What is unknown is `None`.
#[derive(Clone, PartialEq, Debug)]
pub struct LiveDecision {
    /// When it was made, since the Unix epoch.
    pub time: Duration,
    /// The request's id.
    pub request_id: String,
    /// The number of the request's attempt, from 0.
    pub attempt: u32,
    /// What part of the request it is for: `whole`, `prefill` or `decode`.
    pub leg: &'static str,
    /// The live policy's name.
    pub policy: Arc<str>,
    /// The path that was asked for, such as `/generate`; `other` for one that is not known.
    pub route: &'static str,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// The chosen worker.
    pub worker_url: Arc<str>,
    /// Why it was chosen.
    pub selection_reason: &'static str,
    /// Its cost, where the rule compares costs; lower is better.
    pub cost: Option<f64>,
    /// The best worker that was not chosen.
    pub runner_up: Option<Arc<str>>,
    /// What that one would have cost.
    pub runner_up_cost: Option<f64>,
    /// How many candidates shared the lowest cost.
    pub ties: u32,
    /// How many workers could be chosen.
    pub candidates: u32,
    /// Requests in flight on the chosen worker before this one, from this router.
    pub outstanding_requests: u32,
    /// Requests waiting on the chosen worker.
    pub queue_length: Option<u32>,
    /// Requests running on the chosen worker.
    pub running: Option<u32>,
    /// Length of the prompt in bytes.
    pub prompt_bytes: u64,
    /// Length of the prompt in tokens.
    pub prompt_tokens: Option<u32>,
    /// Most tokens that the answer may have.
    pub max_output_tokens: Option<u32>,
    /// How long the decision took, its wait for the balancer included.
    pub took: Duration,
    /// What the cost was made of, by name.
    pub terms: Vec<(&'static str, f64)>,
    /// What the shadow policies would have chosen: their names and URLs.
    pub shadow_choices: Vec<(Box<str>, Arc<str>)>,
}

impl LiveDecision {
    fn of(d: &DecisionRecord, policy: &Arc<str>, clock: Clock) -> Self {
        let decision = &d.decision;
        let terms = d.chosen.as_ref().map_or(&[][..], |s| s.terms.as_slice());
        Self {
            time: clock.unix(d.at),
            request_id: d.info.id().into_owned(),
            attempt: d.info.attempt,
            leg: d.info.leg.as_str(),
            policy: Arc::clone(policy),
            route: d.info.route.as_str(),
            stream: d.info.stream,
            worker_url: Arc::clone(&d.worker.url),
            selection_reason: decision.reason.as_str(),
            cost: decision.cost,
            runner_up: decision.runner_up.map(|(id, _)| Arc::clone(d.url(id))),
            runner_up_cost: decision.runner_up.map(|(_, cost)| cost),
            ties: decision.ties,
            candidates: d.snapshot.candidates,
            outstanding_requests: d.snapshot.in_flight,
            queue_length: d.snapshot.waiting,
            running: d.snapshot.running,
            prompt_bytes: d.info.prompt_bytes,
            prompt_tokens: d.info.prompt_tokens,
            max_output_tokens: d.info.max_output_tokens,
            took: d.took,
            terms: terms.iter().map(|t| (t.name, t.value)).collect(),
            shadow_choices: d
                .shadows
                .iter()
                .map(|s| (s.policy.clone(), Arc::clone(d.url(s.decision.worker))))
                .collect(),
        }
    }
}

/// What came of waiting for a decision.
#[derive(Clone, PartialEq, Debug)]
pub enum NextDecision {
    /// A decision.
    Decision(Arc<LiveDecision>),
    /// None in the time given.
    Timeout,
    /// The router has stopped: there will be none.
    Closed,
}

/// A listener's end. Dropping it ends the listening.
#[derive(Debug)]
pub struct DecisionStream {
    line: Arc<Subscriber>,
    decisions: Arc<DecisionBroadcast>,
}

impl DecisionStream {
    /// The next decision, waited for no longer than `patience`. What was decided before the router stopped comes first.
    pub fn next(&self, patience: Duration) -> NextDecision {
        let mut waiting = self.line.waiting.lock();
        if waiting.decisions.is_empty() && !waiting.ended {
            self.line.bell.wait_for(&mut waiting, patience);
        }
        match waiting.decisions.pop_front() {
            Some(decision) => NextDecision::Decision(decision),
            None if waiting.ended => NextDecision::Closed,
            None => NextDecision::Timeout,
        }
    }

    /// How many decisions did not fit so far.
    pub fn dropped(&self) -> u64 {
        self.line.waiting.lock().dropped
    }
}

impl Drop for DecisionStream {
    fn drop(&mut self) {
        self.decisions.leave(&self.line);
    }
}

#[derive(Debug)]
struct Subscriber {
    waiting: Mutex<Waiting>,
    bell: Condvar,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    decisions: VecDeque<Arc<LiveDecision>>,
    dropped: u64,
    ended: bool,
}

/// The data plane's end: all subscribers.
#[derive(Debug)]
pub struct DecisionBroadcast {
    clock: Clock,
    /// How many listen; read by every decision, without the lock.
    size: AtomicUsize,
    seats: Mutex<Subscribers>,
}

#[derive(Debug, Default)]
struct Subscribers {
    lines: Vec<Arc<Subscriber>>,
    ended: bool,
}

impl DecisionBroadcast {
    /// A broadcast without subscribers.
    pub fn new(clock: Clock) -> Self {
        Self { clock, size: AtomicUsize::new(0), seats: Mutex::default() }
    }

    /// Lets somebody listen, with room for `capacity` decisions that were not fetched yet.
    pub fn subscribe(self: &Arc<Self>, capacity: usize) -> DecisionStream {
        let mut seats = self.seats.lock();
        let waiting = Mutex::new(Waiting { ended: seats.ended, ..Waiting::default() });
        let line = Arc::new(Subscriber { waiting, bell: Condvar::new(), capacity });
        seats.lines.push(Arc::clone(&line));
        self.size.store(seats.lines.len(), Relaxed);
        DecisionStream { line, decisions: Arc::clone(self) }
    }

    /// Whether there are subscribers.
    pub(crate) fn has_subscribers(&self) -> bool {
        self.size.load(Relaxed) > 0
    }

    pub(crate) fn decided(&self, record: &DecisionRecord, policy: &Arc<str>) {
        if !self.has_subscribers() {
            return;
        }
        let decision = Arc::new(LiveDecision::of(record, policy, self.clock));
        for line in &self.seats.lock().lines {
            let mut waiting = line.waiting.lock();
            if waiting.decisions.len() < line.capacity {
                waiting.decisions.push_back(Arc::clone(&decision));
                line.bell.notify_one();
            } else {
                waiting.dropped += 1;
            }
        }
    }

    /// Nothing is decided any more.
    pub(crate) fn close(&self) {
        let mut seats = self.seats.lock();
        seats.ended = true;
        for line in &seats.lines {
            line.waiting.lock().ended = true;
            line.bell.notify_all();
        }
    }

    fn leave(&self, line: &Arc<Subscriber>) {
        let mut seats = self.seats.lock();
        seats.lines.retain(|other| !Arc::ptr_eq(other, line));
        self.size.store(seats.lines.len(), Relaxed);
    }
}
