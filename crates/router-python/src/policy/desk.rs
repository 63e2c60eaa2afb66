//! Where the router and the thread of a policy in Python meet: one question at a time, and events in between.
//!
//! Nobody waits here without a bound but the policy's thread, and what happens under the locks is a few moves of memory.
//! The thread belongs to Python, so that an interpreter that ends while the policy sleeps finds no frame of Rust on it.

use super::answer::Answer;
use super::event::Event;
use super::tally::Tally;
use super::view::{Request, WorkerView};
use parking_lot::{Condvar, Mutex};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use router_core::WorkerId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Events that may wait; at 10,000 requests/s half a second of them.
const EVENTS: usize = 16_384;

/// Events are handed over together, so long after the first: a wake-up for each would cost more than they do.
const GATHER: Duration = Duration::from_millis(10);

/// How long either side looks before it sleeps: about as long as falling asleep and waking up take.
const SPIN: Duration = Duration::from_micros(200);

/// Whose turn it is, for those who look without the lock.
const FREE: u8 = 0;
const POSTED: u8 = 1;
const ANSWERED: u8 = 2;

/// What is asked.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) request: Request,
    pub(super) workers: Vec<WorkerView>,
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoAnswer {
    /// It raised, or returned what makes no sense.
    Failed,
    /// It took too long.
    Late,
    /// It is still at an earlier question, or gone.
    Busy,
}

#[derive(Debug)]
enum Slate {
    /// Nothing is asked.
    Free,
    Posted(Question),
    /// The policy is at it.
    Taken,
    Answered(Option<Answer>),
    /// The policy is at it, and nobody waits for the answer.
    Late,
}

#[derive(Debug)]
struct Board {
    slate: Slate,
    /// A question was not even looked at in time; nobody asks until the thread is back.
    away: bool,
    closed: bool,
}

/// The place between the two.
#[derive(Debug)]
pub(super) struct Meeting {
    board: Mutex<Board>,
    turn: AtomicU8,
    posted: Condvar,
    answered: Condvar,
    events: Mutex<Vec<Event>>,
    /// The thread sleeps without an end and wants to be woken for an event.
    dozing: AtomicBool,
    spin: Duration,
}

impl Meeting {
    pub(super) fn new() -> Self {
        // With one core, whoever looks keeps the other from answering.
        let alone = thread::available_parallelism().is_ok_and(|cores| cores.get() == 1);
        Self {
            board: Mutex::new(Board { slate: Slate::Free, away: false, closed: false }),
            turn: AtomicU8::new(FREE),
            posted: Condvar::new(),
            answered: Condvar::new(),
            events: Mutex::default(),
            dozing: AtomicBool::new(false),
            spin: if alone { Duration::ZERO } else { SPIN },
        }
    }

    /// Asks, and waits for the answer until `deadline` at most.
    pub(super) fn ask(&self, question: Question, deadline: Instant) -> Result<Answer, NoAnswer> {
        {
            let mut board = self.board.lock();
            if board.closed || board.away || !matches!(board.slate, Slate::Free) {
                return Err(NoAnswer::Busy);
            }
            board.slate = Slate::Posted(question);
            self.turn.store(POSTED, Ordering::Release);
        }
        self.posted.notify_one();
        self.look_for(ANSWERED);
        let mut board = self.board.lock();
        loop {
            let timed_out = match std::mem::replace(&mut board.slate, Slate::Free) {
                Slate::Answered(answer) => return answer.ok_or(NoAnswer::Failed),
                other => {
                    board.slate = other;
                    board.closed || self.answered.wait_until(&mut board, deadline).timed_out()
                }
            };
            if timed_out && !matches!(board.slate, Slate::Answered(_)) {
                board.away = matches!(board.slate, Slate::Posted(_));
                board.slate = if board.away { Slate::Free } else { Slate::Late };
                return Err(NoAnswer::Late);
            }
        }
    }

    /// Lets the policy know of an event; false when too many wait.
    pub(super) fn tell(&self, event: Event) -> bool {
        let mut events = self.events.lock();
        if events.len() >= EVENTS {
            return false;
        }
        events.push(event);
        drop(events);
        if self.dozing.swap(false, Ordering::AcqRel) {
            // Under the lock, so that it does not fall between the thread's last look and its sleep.
            let _board = self.board.lock();
            self.posted.notify_one();
        }
        true
    }

    /// Sends the thread home; who asks from now on is not answered.
    pub(super) fn close(&self) {
        self.board.lock().closed = true;
        self.turn.store(POSTED, Ordering::Release);
        self.posted.notify_one();
        self.answered.notify_one();
    }

    /// Waits for a question or for events; nothing once it is closed.
    fn wait(&self) -> Option<(Vec<Event>, Option<Question>)> {
        self.look_for(POSTED);
        let mut board = self.board.lock();
        board.away = false;
        let mut gathered = false;
        loop {
            if board.closed {
                return None;
            }
            let question = match std::mem::replace(&mut board.slate, Slate::Taken) {
                Slate::Posted(question) => Some(question),
                other => {
                    board.slate = other;
                    None
                }
            };
            self.turn.store(FREE, Ordering::Release);
            let waiting = self.events.lock().len();
            if question.is_some() || (waiting > 0 && gathered) {
                let events = std::mem::take(&mut *self.events.lock());
                return Some((events, question));
            }
            gathered = true;
            if waiting == 0 {
                self.dozing.store(true, Ordering::Release);
                if self.events.lock().is_empty() {
                    self.posted.wait(&mut board);
                    gathered = false;
                }
                self.dozing.store(false, Ordering::Release);
            } else {
                self.posted.wait_for(&mut board, GATHER);
            }
        }
    }

    /// Takes the answer; false when nobody waits for it any more.
    fn answer(&self, answer: Option<Answer>) -> bool {
        let mut board = self.board.lock();
        let awaited = matches!(board.slate, Slate::Taken);
        board.slate = if awaited { Slate::Answered(answer) } else { Slate::Free };
        self.turn.store(if awaited { ANSWERED } else { FREE }, Ordering::Release);
        drop(board);
        self.answered.notify_one();
        awaited
    }

    /// Looks for a while whether it is somebody's turn.
    fn look_for(&self, turn: u8) {
        let from = Instant::now();
        while self.turn.load(Ordering::Acquire) != turn && from.elapsed() < self.spin {
            // Not a mere hint: the other side may have been woken up on this very core.
            thread::yield_now();
        }
    }
}

/// The policy's side of the desk, for its thread.
#[pyclass(frozen, module = "sgl_router._native")]
#[derive(Debug)]
pub(crate) struct Desk {
    meeting: Arc<Meeting>,
    tally: Arc<Tally>,
    /// The workers of the question that is being answered, by place.
    shown: Mutex<Vec<WorkerId>>,
}

impl Desk {
    pub(super) fn new(meeting: Arc<Meeting>, tally: Arc<Tally>) -> Self {
        Self { meeting, tally, shown: Mutex::default() }
    }
}

/// Events, the request and the workers; the latter are absent where nothing is asked.
type Work<'py> = (Vec<Event>, Option<(Request, Bound<'py, PyTuple>)>);

#[pymethods]
impl Desk {
    /// Waits for work; None when there will be no more.
    fn wait<'py>(&self, py: Python<'py>) -> PyResult<Option<Work<'py>>> {
        let Some((events, question)) = py.detach(|| self.meeting.wait()) else { return Ok(None) };
        self.tally.events.add(events.len() as u64);
        let Some(Question { request, workers }) = question else { return Ok(Some((events, None))) };
        let mut shown = self.shown.lock();
        shown.clear();
        shown.extend(workers.iter().map(|worker| worker.id));
        Ok(Some((events, Some((request, PyTuple::new(py, workers)?)))))
    }

    /// Hands the answer over; false when it comes too late.
    fn answer(&self, answer: &Bound<'_, PyAny>) -> PyResult<bool> {
        let answer = Answer::read(answer, &self.shown.lock())?;
        Ok(self.meeting.answer(Some(answer)))
    }

    /// Lets the router know that there is no answer.
    fn fail(&self) {
        self.meeting.answer(None);
    }

    /// Counts an error, and keeps its traceback if it was logged.
    fn count(&self, traceback: Option<String>) {
        self.tally.errors.inc();
        if traceback.is_some() {
            *self.tally.last_error.lock() = traceback;
        }
    }

    /// Sends the thread home.
    fn close(&self) {
        self.meeting.close();
    }
}
