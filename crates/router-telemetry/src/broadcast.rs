//! Sends decisions to subscribers in this process as they are made.
//!
//! Without subscribers a decision costs one read of a counter. Each subscriber has a bounded queue of its own;
//! a decision that does not fit is dropped and counted, so that routing never waits for a subscriber.

use crate::clock::Clock;
use crate::policy_names::PolicyNames;
use crate::record::DecisionRecord;
use crate::worker::WorkerTelemetry;
use parking_lot::{Condvar, Mutex};
use router_core::WorkerId;
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
    /// The part of the request that the attempt does: `whole`, `prefill` or `decode`.
    pub leg: &'static str,
    /// The live policy's name.
    pub policy: Arc<str>,
    /// The path of the request, such as `/generate`; `other` for an unknown one.
    pub route: &'static str,
    /// Whether the client asked for a streamed response.
    pub stream: bool,
    /// The chosen worker.
    pub worker_url: Arc<str>,
    /// Why it was chosen.
    pub selection_reason: &'static str,
    /// Its cost, where the policy compares costs; lower is better.
    pub cost: Option<f64>,
    /// The best worker that was not chosen.
    pub runner_up: Option<Arc<str>>,
    /// The cost of the runner-up.
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
    /// Most tokens that the response may have.
    pub max_output_tokens: Option<u32>,
    /// How long the decision took, including the wait for the balancer's lock.
    pub took: Duration,
    /// The terms of the cost, by name.
    pub terms: Vec<(&'static str, f64)>,
    /// The choices of the shadow policies: policy names and worker URLs.
    pub shadow_choices: Vec<(Box<str>, Arc<str>)>,
}

impl LiveDecision {
    fn from_record(
        d: &DecisionRecord,
        worker: &WorkerTelemetry,
        name: impl Fn(WorkerId) -> Option<Arc<str>>,
        policies: &PolicyNames,
        clock: Clock,
    ) -> Self {
        // A worker may have left since the decision, in another thread.
        let name = |id| name(id).unwrap_or_else(|| Arc::from(""));
        let decision = &d.decision;
        let terms = d.chosen.as_ref().map_or(&[][..], |s| s.terms.as_slice());
        Self {
            time: clock.unix(d.at),
            request_id: d.info.request_id.to_string(),
            attempt: d.info.attempt,
            leg: d.info.leg.as_str(),
            policy: policies.name(d.info.policy),
            route: d.info.route.as_str(),
            stream: d.info.stream,
            worker_url: Arc::clone(&worker.url),
            selection_reason: decision.reason.as_str(),
            cost: decision.cost,
            runner_up: decision.runner_up.map(|(id, _)| name(id)),
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
            shadow_choices: d.shadows.iter().map(|s| (s.policy.clone(), name(s.decision.worker))).collect(),
        }
    }
}

/// The result of waiting for a decision.
#[derive(Clone, PartialEq, Debug)]
pub enum NextDecision {
    /// A decision.
    Decision(Arc<LiveDecision>),
    /// No decision was made within the timeout.
    Timeout,
    /// The router has stopped; no decision follows.
    Closed,
}

/// One subscription. Dropping it unsubscribes.
#[derive(Debug)]
pub struct DecisionStream {
    subscriber: Arc<Subscriber>,
    broadcast: Arc<DecisionBroadcast>,
}

impl DecisionStream {
    /// Waits for the next decision, at most for `timeout`. Decisions made before the router stopped come before
    /// [`NextDecision::Closed`].
    pub fn next(&self, timeout: Duration) -> NextDecision {
        let mut queue = self.subscriber.queue.lock();
        if queue.decisions.is_empty() && !queue.closed {
            self.subscriber.arrived.wait_for(&mut queue, timeout);
        }
        match queue.decisions.pop_front() {
            Some(decision) => NextDecision::Decision(decision),
            None if queue.closed => NextDecision::Closed,
            None => NextDecision::Timeout,
        }
    }

    /// How many decisions were dropped so far because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.subscriber.queue.lock().dropped
    }
}

impl Drop for DecisionStream {
    fn drop(&mut self) {
        self.broadcast.unsubscribe(&self.subscriber);
    }
}

/// The queue of one subscriber.
#[derive(Debug)]
struct Subscriber {
    queue: Mutex<SubscriberQueue>,
    arrived: Condvar,
    capacity: usize,
}

#[derive(Debug, Default)]
struct SubscriberQueue {
    decisions: VecDeque<Arc<LiveDecision>>,
    dropped: u64,
    closed: bool,
}

/// Distributes decisions to all subscribers.
#[derive(Debug)]
pub struct DecisionBroadcast {
    clock: Clock,
    /// The number of subscribers; every decision reads it without the lock.
    count: AtomicUsize,
    subscribers: Mutex<SubscriberList>,
}

#[derive(Debug, Default)]
struct SubscriberList {
    list: Vec<Arc<Subscriber>>,
    closed: bool,
}

impl DecisionBroadcast {
    /// A broadcast without subscribers.
    pub fn new(clock: Clock) -> Self {
        Self { clock, count: AtomicUsize::new(0), subscribers: Mutex::default() }
    }

    /// Adds a subscriber whose queue holds up to `capacity` decisions.
    pub fn subscribe(self: &Arc<Self>, capacity: usize) -> DecisionStream {
        let mut subscribers = self.subscribers.lock();
        let queue = Mutex::new(SubscriberQueue { closed: subscribers.closed, ..SubscriberQueue::default() });
        let subscriber = Arc::new(Subscriber { queue, arrived: Condvar::new(), capacity });
        subscribers.list.push(Arc::clone(&subscriber));
        self.count.store(subscribers.list.len(), Relaxed);
        DecisionStream { subscriber, broadcast: Arc::clone(self) }
    }

    /// Whether there are subscribers.
    pub(crate) fn has_subscribers(&self) -> bool {
        self.count.load(Relaxed) > 0
    }

    pub(crate) fn decided(
        &self,
        record: &DecisionRecord,
        worker: &WorkerTelemetry,
        name: impl Fn(WorkerId) -> Option<Arc<str>>,
        policies: &PolicyNames,
    ) {
        if !self.has_subscribers() {
            return;
        }
        let decision = Arc::new(LiveDecision::from_record(record, worker, name, policies, self.clock));
        for subscriber in &self.subscribers.lock().list {
            let mut queue = subscriber.queue.lock();
            if queue.decisions.len() < subscriber.capacity {
                queue.decisions.push_back(Arc::clone(&decision));
                subscriber.arrived.notify_one();
            } else {
                queue.dropped += 1;
            }
        }
    }

    /// Tells all subscribers that no decision follows.
    pub(crate) fn close(&self) {
        let mut subscribers = self.subscribers.lock();
        subscribers.closed = true;
        for subscriber in &subscribers.list {
            subscriber.queue.lock().closed = true;
            subscriber.arrived.notify_all();
        }
    }

    fn unsubscribe(&self, subscriber: &Arc<Subscriber>) {
        let mut subscribers = self.subscribers.lock();
        subscribers.list.retain(|other| !Arc::ptr_eq(other, subscriber));
        self.count.store(subscribers.list.len(), Relaxed);
    }
}
