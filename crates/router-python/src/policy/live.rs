//! A policy in Python that decides for a router: on a thread of its own, awaited for a bounded time.

use super::answer::fallback;
use super::author::{self, Author, Made};
use super::desk::{Desk, Meeting, NoAnswer, Question};
use super::senses::Senses;
use super::tally::Tally;
use super::view::Request;
use pyo3::prelude::*;
use router_core::{Cx, Decision, Event, Needs, Params, Policy, PolicyError, Reason, Time};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Of the time that passes, routing waits for a policy in Python for one part in so many at most.
const SHARE: u32 = 4;

/// The policy is asked again once so large a part of its longest time is at hand.
const ENOUGH: u32 = 10;

/// How long the policy may be awaited: a purse of time, filled slowly and spent by waiting.
///
/// It bounds both the one long wait and the many middling ones, which together would stop the router as well.
#[derive(Debug)]
struct Patience {
    most: Duration,
    left: Duration,
    at: Instant,
}

impl Patience {
    fn new(most: Duration) -> Self {
        Self { most, left: most, at: Instant::now() }
    }

    /// The end of the time that may be waited from now on, if there is enough of it.
    fn deadline(&mut self) -> Option<Instant> {
        let now = Instant::now();
        self.left = self.most.min(self.left + (now - self.at) / SHARE);
        self.at = now;
        (self.left * ENOUGH >= self.most).then(|| now + self.left)
    }

    /// Takes off what has been waited since the last deadline, and returns it.
    fn spend(&mut self) -> Duration {
        let now = Instant::now();
        let took = now - self.at;
        self.left = self.left.saturating_sub(took);
        self.at = now;
        took
    }
}

/// A policy that thinks elsewhere.
#[derive(Debug)]
pub(super) struct Live {
    name: Arc<str>,
    needs: Needs,
    learns: bool,
    meeting: Arc<Meeting>,
    senses: Senses,
    patience: Patience,
    tally: Arc<Tally>,
    /// That it was late has been logged.
    warned: bool,
}

impl Live {
    /// Makes the policy and starts its thread.
    pub(super) fn build(author: &Author, knobs: &Params, tally: &Arc<Tally>) -> Result<Self, PolicyError> {
        Python::attach(|py| {
            let build = || {
                let made = author.make(py, knobs)?;
                let meeting = Arc::new(Meeting::new());
                let desk = Desk::new(Arc::clone(&meeting), Arc::clone(tally));
                author::start(py, &author.name, &made, desk)?;
                let Made { observe, needs, timeout, .. } = made;
                Ok(Self {
                    name: Arc::clone(&author.name),
                    needs,
                    learns: observe.is_some(),
                    meeting,
                    senses: Senses::default(),
                    patience: Patience::new(timeout),
                    tally: Arc::clone(tally),
                    warned: false,
                })
            };
            build().map_err(|error| author.refused(py, &error))
        })
    }

    fn missed(&mut self, why: NoAnswer) {
        match why {
            // Counted, and logged with its traceback, where it was raised.
            NoAnswer::Failed => {}
            NoAnswer::Busy => self.tally.busy.inc(),
            NoAnswer::Late => {
                self.tally.late.inc();
                if !std::mem::replace(&mut self.warned, true) {
                    let (policy, most) = (&*self.name, self.patience.most.as_secs_f64());
                    tracing::warn!(policy, "did not choose within {most} s; the least load decides");
                }
            }
        }
    }
}

impl Policy for Live {
    fn name(&self) -> &str {
        &self.name
    }

    fn needs(&self) -> Needs {
        self.needs
    }

    fn decide(&mut self, mut cx: Cx<'_>) -> Decision {
        if cx.candidates.len() == 1 {
            return Decision::plain(cx.candidates.first(), Reason::OnlyCandidate);
        }
        let Some(deadline) = self.patience.deadline() else {
            self.missed(NoAnswer::Busy);
            return fallback(cx);
        };
        let question =
            Question { request: Request::of(&mut cx, self.needs), workers: self.senses.workers(&cx) };
        let answer = self.meeting.ask(question, deadline);
        let took = self.patience.spend();
        match answer {
            Ok(answer) => {
                self.tally.decided(took);
                answer.decide(cx)
            }
            Err(why) => {
                self.missed(why);
                fallback(cx)
            }
        }
    }

    fn observe(&mut self, now: Time, event: &Event<'_>) {
        self.senses.observe(event);
        if self.learns
            && let Some(told) = self.senses.event(now, event)
            && !self.meeting.tell(told)
        {
            self.tally.events_dropped.inc();
        }
        self.senses.forget(event);
    }

    fn gauges(&self, tell: &mut dyn FnMut(&'static str, f64)) {
        self.tally.gauges(tell);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.meeting.close();
    }
}
