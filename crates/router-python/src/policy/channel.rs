//! The channel between the router and the thread of a Python policy: one decision at a time, and events in between.
//!
//! Only the policy's thread waits here without a time limit, and the locks are held for a few memory moves. Python owns
//! the thread, so that an interpreter that exits while the policy sleeps finds no frame of Rust on it.

use super::choice::PolicyChoice;
use super::counters::PolicyCounters;
use super::event::Event;
use super::view::{Request, WorkerView};
use parking_lot::{Condvar, Mutex};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use router_core::WorkerId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Events that may be queued: about half a second at 10,000 requests/s.
const MAX_EVENTS: usize = 16_384;

/// Events are handed over in batches, this long after the first: a wake-up for each would cost more than the event.
const BATCH_DELAY: Duration = Duration::from_millis(10);

/// How long either side spins before it sleeps: about the time of going to sleep and waking up.
const SPIN: Duration = Duration::from_micros(200);

/// Whose turn it is, for spinning without the lock.
const FREE: u8 = 0;
const POSTED: u8 = 1;
const ANSWERED: u8 = 2;

/// The request to route and the workers to choose from.
#[derive(Debug)]
pub(super) struct DecisionRequest {
    pub(super) request: Request,
    pub(super) workers: Vec<WorkerView>,
    /// When the router began to wait for the choice.
    pub(super) asked_at: Instant,
}

/// Why the policy did not decide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum MissedDecision {
    /// It raised, or returned something invalid.
    Failed,
    /// It took too long.
    Late,
    /// It is still busy with an earlier decision, or its thread is gone.
    Busy,
}

/// The state of the one decision that the channel can hold.
#[derive(Debug)]
enum SlotState {
    /// None.
    Free,
    Posted(DecisionRequest),
    /// The policy is working on it.
    Taken,
    Answered(Option<PolicyChoice>),
    /// The policy is working on it, but the router no longer waits.
    Late,
}

#[derive(Debug)]
struct ChannelState {
    slot: SlotState,
    /// A decision was not picked up in time; no more are posted until the thread comes back.
    away: bool,
    closed: bool,
}

/// The channel, shared by the router and the thread.
#[derive(Debug)]
pub(super) struct DecisionChannel {
    state: Mutex<ChannelState>,
    turn: AtomicU8,
    posted: Condvar,
    answered: Condvar,
    events: Mutex<Vec<Event>>,
    /// The thread sleeps without a timeout and has to be woken for an event.
    dozing: AtomicBool,
    spin: Duration,
}

impl DecisionChannel {
    pub(super) fn new() -> Self {
        // With one core, spinning keeps the other side from running.
        let single_core = thread::available_parallelism().is_ok_and(|cores| cores.get() == 1);
        Self {
            state: Mutex::new(ChannelState { slot: SlotState::Free, away: false, closed: false }),
            turn: AtomicU8::new(FREE),
            posted: Condvar::new(),
            answered: Condvar::new(),
            events: Mutex::default(),
            dozing: AtomicBool::new(false),
            spin: if single_core { Duration::ZERO } else { SPIN },
        }
    }

    /// Posts a decision and waits for the choice until `deadline`.
    pub(super) fn decide(
        &self,
        request: DecisionRequest,
        deadline: Instant,
    ) -> Result<PolicyChoice, MissedDecision> {
        {
            let mut state = self.state.lock();
            if state.closed || state.away || !matches!(state.slot, SlotState::Free) {
                return Err(MissedDecision::Busy);
            }
            state.slot = SlotState::Posted(request);
            self.turn.store(POSTED, Ordering::Release);
        }
        self.posted.notify_one();
        self.spin_until(ANSWERED);
        let mut state = self.state.lock();
        loop {
            let timed_out = match std::mem::replace(&mut state.slot, SlotState::Free) {
                SlotState::Answered(choice) => return choice.ok_or(MissedDecision::Failed),
                other => {
                    state.slot = other;
                    state.closed || self.answered.wait_until(&mut state, deadline).timed_out()
                }
            };
            if timed_out && !matches!(state.slot, SlotState::Answered(_)) {
                state.away = matches!(state.slot, SlotState::Posted(_));
                state.slot = if state.away { SlotState::Free } else { SlotState::Late };
                return Err(MissedDecision::Late);
            }
        }
    }

    /// Queues an event; false when too many are queued.
    pub(super) fn push_event(&self, event: Event) -> bool {
        let mut events = self.events.lock();
        if events.len() >= MAX_EVENTS {
            return false;
        }
        events.push(event);
        drop(events);
        if self.dozing.swap(false, Ordering::AcqRel) {
            // Under the lock, so that it does not come between the thread's last check and its sleep.
            let _state = self.state.lock();
            self.posted.notify_one();
        }
        true
    }

    /// Ends the thread. Later decisions are missed.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.turn.store(POSTED, Ordering::Release);
        self.posted.notify_one();
        self.answered.notify_one();
    }

    /// Waits for a decision or for events; `None` once the channel is closed.
    fn wait(&self) -> Option<(Vec<Event>, Option<DecisionRequest>)> {
        self.spin_until(POSTED);
        let mut state = self.state.lock();
        state.away = false;
        let mut gathered = false;
        loop {
            if state.closed {
                return None;
            }
            let request = match std::mem::replace(&mut state.slot, SlotState::Taken) {
                SlotState::Posted(request) => Some(request),
                other => {
                    state.slot = other;
                    None
                }
            };
            self.turn.store(FREE, Ordering::Release);
            let waiting = self.events.lock().len();
            if request.is_some() || (waiting > 0 && gathered) {
                let events = std::mem::take(&mut *self.events.lock());
                return Some((events, request));
            }
            gathered = true;
            if waiting == 0 {
                self.dozing.store(true, Ordering::Release);
                if self.events.lock().is_empty() {
                    self.posted.wait(&mut state);
                    gathered = false;
                }
                self.dozing.store(false, Ordering::Release);
            } else {
                self.posted.wait_for(&mut state, BATCH_DELAY);
            }
        }
    }

    /// Hands over the choice; false when the router no longer waits for it.
    fn complete(&self, choice: Option<PolicyChoice>) -> bool {
        let mut state = self.state.lock();
        let awaited = matches!(state.slot, SlotState::Taken);
        state.slot = if awaited { SlotState::Answered(choice) } else { SlotState::Free };
        self.turn.store(if awaited { ANSWERED } else { FREE }, Ordering::Release);
        drop(state);
        self.answered.notify_one();
        awaited
    }

    /// Spins until the turn has changed, for a short time at most.
    fn spin_until(&self, turn: u8) {
        let started = Instant::now();
        while self.turn.load(Ordering::Acquire) != turn && started.elapsed() < self.spin {
            // Yields to the scheduler: the other side may have been woken on this core.
            thread::yield_now();
        }
    }
}

/// The side of the channel that the policy's thread has.
#[pyclass(frozen, module = "sgl_router._native")]
#[derive(Debug)]
pub(crate) struct PolicyThread {
    channel: Arc<DecisionChannel>,
    counters: Arc<PolicyCounters>,
    current: Mutex<CurrentDecision>,
}

/// What is kept of the decision that the policy is working on.
#[derive(Debug)]
struct CurrentDecision {
    /// The workers, by index.
    workers: Vec<WorkerId>,
    asked_at: Instant,
}

impl PolicyThread {
    pub(super) fn new(channel: Arc<DecisionChannel>, counters: Arc<PolicyCounters>) -> Self {
        let current = CurrentDecision { workers: Vec::new(), asked_at: Instant::now() };
        Self { channel, counters, current: Mutex::new(current) }
    }
}

/// Events, and the request and the workers where there is a decision to make.
type Work<'py> = (Vec<Event>, Option<(Request, Bound<'py, PyTuple>)>);

#[pymethods]
impl PolicyThread {
    /// Waits for work; None when there is no more.
    fn wait<'py>(&self, py: Python<'py>) -> PyResult<Option<Work<'py>>> {
        let Some((events, request)) = py.detach(|| self.channel.wait()) else { return Ok(None) };
        self.counters.events.add(events.len() as u64);
        let Some(DecisionRequest { request, workers, asked_at }) = request else {
            return Ok(Some((events, None)));
        };
        let mut current = self.current.lock();
        current.asked_at = asked_at;
        current.workers.clear();
        current.workers.extend(workers.iter().map(|worker| worker.id));
        Ok(Some((events, Some((request, PyTuple::new(py, workers)?)))))
    }

    /// Hands over what select() returned; when it is too late, returns the seconds since the router asked.
    fn submit(&self, returned: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
        let current = self.current.lock();
        let choice = PolicyChoice::read(returned, &current.workers)?;
        let in_time = self.channel.complete(Some(choice));
        Ok((!in_time).then(|| current.asked_at.elapsed().as_secs_f64()))
    }

    /// Reports that the policy failed.
    fn fail(&self) {
        self.channel.complete(None);
    }

    /// Counts an error, and keeps its traceback if it was logged.
    fn count(&self, traceback: Option<String>) {
        self.counters.errors.inc();
        if traceback.is_some() {
            *self.counters.last_error.lock() = traceback;
        }
    }

    /// Ends the thread.
    fn close(&self) {
        self.channel.close();
    }
}
