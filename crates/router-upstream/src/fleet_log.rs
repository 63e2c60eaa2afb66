//! The log of what happens to workers: a line for each of a few, a summary each second for many.
//!
//! A fleet of a thousand workers that starts, or loses its network, would otherwise write a thousand lines of the same kind and
//! hide the ones that differ.

use crate::health::HealthState;
use crate::table::CandidateTable;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

/// Up to this many workers each has its own lines.
const SMALL_FLEET: usize = 32;

/// How many problems have lines of their own within [`WINDOW`].
const PROBLEM_LINES: u32 = 10;

/// What comes within this time goes into one summary.
const WINDOW: Duration = Duration::from_secs(1);

/// How many reasons or models a summary names.
const NAMED_DETAILS: usize = 4;

/// What happened to a worker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum FleetEvent {
    /// It was added.
    Joined,
    /// It said what it is.
    Reported,
    /// It gets requests.
    Healthy,
    /// It is not ready, by the word of whoever runs it.
    NotReady,
    /// It gets no new requests.
    Draining,
    /// It was removed.
    Left,
    /// Its breaker closed or half-opened.
    BreakerEased,
    /// Its breaker opened.
    BreakerOpened,
    /// It gets no requests because its checks or connections fail.
    Unhealthy,
    /// It gets no requests yet, and its checks fail for a new reason.
    CheckFailed,
}

impl FleetEvent {
    const fn is_problem(self) -> bool {
        matches!(self, Self::BreakerOpened | Self::Unhealthy | Self::CheckFailed)
    }
}

/// Decides which events have a line of their own, and writes summaries of the others.
#[derive(Debug)]
pub(crate) struct FleetLog {
    /// How many workers are configured; they join one after the other.
    at_start: usize,
    candidates: Arc<CandidateTable>,
    tasks: TaskTracker,
    stopping: CancellationToken,
    window: Mutex<Window>,
}

/// What came since the last summary.
#[derive(Debug, Default)]
struct Window {
    /// When the next lines of problems may be written.
    ends_at: Option<Instant>,
    problem_lines: u32,
    counts: BTreeMap<FleetEvent, usize>,
    /// How many events had each reason or model.
    details: BTreeMap<(FleetEvent, String), usize>,
}

impl FleetLog {
    pub(crate) fn new(
        at_start: usize,
        candidates: Arc<CandidateTable>,
        tasks: TaskTracker,
        stopping: CancellationToken,
    ) -> Self {
        Self { at_start, candidates, tasks, stopping, window: Mutex::default() }
    }

    /// Whether an event gets a line of its own. If not, it is counted for the next summary, with its reason or the worker's
    /// model as `detail`.
    pub(crate) fn has_own_line(self: &Arc<Self>, event: FleetEvent, detail: Option<&str>) -> bool {
        let is_small = self.at_start.max(self.candidates.slots()) <= SMALL_FLEET;
        if is_small && !event.is_problem() {
            return true;
        }
        let mut window = self.window.lock();
        if event.is_problem() && window.takes_line(Instant::now()) {
            return true;
        }
        let is_first = window.counts.is_empty();
        // Without a runtime nothing could write the summary: the router has stopped.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return true };
        window.count(event, detail);
        if is_first {
            let log = Arc::clone(self);
            let summary = async move {
                tokio::select! {
                    () = tokio::time::sleep(WINDOW) => {}
                    () = log.stopping.cancelled() => {}
                }
                log.write_summary();
            };
            self.tasks.spawn_on(summary, &runtime);
        }
        false
    }

    fn write_summary(&self) {
        let window = std::mem::take(&mut *self.window.lock());
        let all = self.candidates.all();
        let healthy = all.iter().filter(|c| c.health() == HealthState::Healthy).count();
        let total = all.len();
        let count = |event| window.counts.get(&event).copied();
        let details = |event| window.details_of(event);
        if window.counts.keys().any(|event| !event.is_problem()) {
            info!(
                joined = count(FleetEvent::Joined),
                reported = count(FleetEvent::Reported),
                models = details(FleetEvent::Reported),
                became_healthy = count(FleetEvent::Healthy),
                became_not_ready = count(FleetEvent::NotReady),
                draining = count(FleetEvent::Draining),
                left = count(FleetEvent::Left),
                breakers_eased = count(FleetEvent::BreakerEased),
                "{healthy} of {total} workers are healthy"
            );
        }
        if window.counts.keys().any(|event| event.is_problem()) {
            warn!(
                unhealthy = count(FleetEvent::Unhealthy),
                reasons = details(FleetEvent::Unhealthy),
                checks_failed = count(FleetEvent::CheckFailed),
                check_reasons = details(FleetEvent::CheckFailed),
                breakers_opened = count(FleetEvent::BreakerOpened),
                healthy,
                total,
                "more workers have problems than are named"
            );
        }
    }
}

impl Window {
    /// Whether a problem may have a line, which it then has.
    fn takes_line(&mut self, now: Instant) -> bool {
        if self.ends_at.is_none_or(|end| now >= end) {
            (self.ends_at, self.problem_lines) = (Some(now + WINDOW), 0);
        }
        let has_line = self.problem_lines < PROBLEM_LINES;
        self.problem_lines += u32::from(has_line);
        has_line
    }

    fn count(&mut self, event: FleetEvent, detail: Option<&str>) {
        *self.counts.entry(event).or_default() += 1;
        if let Some(detail) = detail {
            *self.details.entry((event, detail.to_owned())).or_default() += 1;
        }
    }

    /// The most frequent reasons or models of an event, each with its number.
    fn details_of(&self, event: FleetEvent) -> Option<String> {
        let of_event = self.details.iter().filter(|((of, _), _)| *of == event);
        let mut details: Vec<(&str, usize)> = of_event.map(|((_, detail), n)| (&**detail, *n)).collect();
        details.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        let others = details.len().saturating_sub(NAMED_DETAILS);
        let named = details.iter().take(NAMED_DETAILS).map(|(detail, n)| format!("{detail} {n}"));
        let rest = (others > 0).then(|| format!("{others} others"));
        let text = named.chain(rest).collect::<Vec<_>>().join(", ");
        (!text.is_empty()).then_some(text)
    }
}
