//! A Python policy in a router. It runs on its own thread, and the router waits for it for a limited time.

use super::channel::{DecisionChannel, DecisionRequest, MissedDecision, PolicyThread};
use super::choice::fallback;
use super::counters::PolicyCounters;
use super::factory::{self, PolicyFactory, PolicyInstance};
use super::view::Request;
use super::worker_history::WorkerHistory;
use pyo3::prelude::*;
use router_core::{
    Decision, DecisionContext, Event, Policy, PolicyError, PolicyNeeds, PolicyOptions, Reason, Time,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Routing waits for a Python policy for at most 1/`WAIT_SHARE` of the time.
const WAIT_SHARE: u32 = 4;

/// The policy is asked again once 1/`MIN_SHARE` of its time limit is available.
const MIN_SHARE: u32 = 10;

/// The time that the router may wait for the policy: it refills slowly and waiting spends it.
///
/// It limits one long wait as well as many medium ones, which together would stop the router too.
#[derive(Debug)]
struct WaitBudget {
    most: Duration,
    left: Duration,
    at: Instant,
}

impl WaitBudget {
    fn new(most: Duration) -> Self {
        Self { most, left: most, at: Instant::now() }
    }

    /// The deadline for a wait that starts now; `None` while there is too little time left.
    fn deadline(&mut self) -> Option<Instant> {
        let now = Instant::now();
        self.left = self.most.min(self.left + (now - self.at) / WAIT_SHARE);
        self.at = now;
        (self.left * MIN_SHARE >= self.most).then(|| now + self.left)
    }

    /// Subtracts the time since the last deadline was given, and returns it.
    fn spend(&mut self) -> Duration {
        let now = Instant::now();
        let took = now - self.at;
        self.left = self.left.saturating_sub(took);
        self.at = now;
        took
    }
}

/// A policy that runs on its own thread.
#[derive(Debug)]
pub(super) struct LivePolicy {
    name: Arc<str>,
    needs: PolicyNeeds,
    learns: bool,
    channel: Arc<DecisionChannel>,
    history: WorkerHistory,
    budget: WaitBudget,
    counters: Arc<PolicyCounters>,
    /// A late decision has been logged.
    warned: bool,
}

impl LivePolicy {
    /// Makes the policy and starts its thread.
    pub(super) fn build(
        factory: &PolicyFactory,
        knobs: &PolicyOptions,
        counters: &Arc<PolicyCounters>,
    ) -> Result<Self, PolicyError> {
        Python::attach(|py| {
            let build = || {
                let instance = factory.make(py, knobs)?;
                let channel = Arc::new(DecisionChannel::new());
                let thread = PolicyThread::new(Arc::clone(&channel), Arc::clone(counters));
                factory::start(py, &factory.name, &instance, thread)?;
                let PolicyInstance { observe, needs, timeout, .. } = instance;
                Ok(Self {
                    name: Arc::clone(&factory.name),
                    needs,
                    learns: observe.is_some(),
                    channel,
                    history: WorkerHistory::default(),
                    budget: WaitBudget::new(timeout),
                    counters: Arc::clone(counters),
                    warned: false,
                })
            };
            build().map_err(|error| factory.refused(py, &error))
        })
    }

    fn missed(&mut self, why: MissedDecision) {
        match why {
            // Already counted and logged where it was raised.
            MissedDecision::Failed => {}
            MissedDecision::Busy => self.counters.busy.inc(),
            MissedDecision::Late => {
                self.counters.late.inc();
                if !std::mem::replace(&mut self.warned, true) {
                    let (policy, most) = (&*self.name, self.budget.most.as_secs_f64());
                    tracing::warn!(policy, "did not choose within {most} s; the least load decides");
                }
            }
        }
    }
}

impl Policy for LivePolicy {
    fn name(&self) -> &str {
        &self.name
    }

    fn needs(&self) -> PolicyNeeds {
        self.needs
    }

    fn decide(&mut self, mut cx: DecisionContext<'_>) -> Decision {
        if cx.candidates.len() == 1 {
            return Decision::plain(cx.candidates.first(), Reason::OnlyCandidate);
        }
        let Some(deadline) = self.budget.deadline() else {
            self.missed(MissedDecision::Busy);
            return fallback(cx);
        };
        let request = DecisionRequest {
            request: Request::of(&mut cx, self.needs),
            workers: self.history.workers(&cx),
            asked_at: Instant::now(),
        };
        let choice = self.channel.decide(request, deadline);
        let took = self.budget.spend();
        match choice {
            Ok(choice) => {
                self.counters.decided(took);
                choice.decide(cx)
            }
            Err(why) => {
                self.missed(why);
                fallback(cx)
            }
        }
    }

    fn observe(&mut self, now: Time, event: &Event<'_>) {
        self.history.observe(event);
        if self.learns
            && let Some(event) = self.history.event(now, event)
            && !self.channel.push_event(event)
        {
            self.counters.events_dropped.inc();
        }
        self.history.forget(event);
    }

    fn gauges(&self, tell: &mut dyn FnMut(&'static str, f64)) {
        self.counters.gauges(tell);
    }
}

impl Drop for LivePolicy {
    fn drop(&mut self) {
        self.channel.close();
    }
}
