//! How well the router knows the pods.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How well the router knows the pods. Each watch has an entry.
#[derive(Debug, Default)]
pub struct DiscoveryStatus {
    watches: Mutex<Vec<Arc<WatchStatus>>>,
}

/// How one watch stands.
#[derive(Debug, Default)]
pub(crate) struct WatchStatus {
    state: Mutex<WatchState>,
}

#[derive(Clone, Copy, Debug, Default)]
struct WatchState {
    /// Whether the last request was answered.
    is_current: bool,
    /// When the API server told something last.
    heard_at: Option<Instant>,
    lists: u64,
    events: u64,
    failures: u64,
}

/// How well the router knows the pods, at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiscoveryFigures {
    /// Whether all watches are open.
    pub is_current: bool,
    /// The time since the API server told something last, by the watch for which it is longest; `None` until it has.
    pub age: Option<Duration>,
    /// How often everything was listed.
    pub lists: u64,
    /// Changes that were watched.
    pub events: u64,
    /// Requests to the API server that failed.
    pub failures: u64,
}

impl DiscoveryStatus {
    pub(crate) fn add_watch(&self) -> Arc<WatchStatus> {
        let watch = Arc::<WatchStatus>::default();
        self.watches.lock().push(Arc::clone(&watch));
        watch
    }

    /// The figures now; `None` while nothing is watched.
    pub fn figures(&self) -> Option<DiscoveryFigures> {
        let states: Vec<WatchState> = self.watches.lock().iter().map(|watch| *watch.state.lock()).collect();
        if states.is_empty() {
            return None;
        }
        let sum = |of: fn(&WatchState) -> u64| states.iter().map(of).sum();
        let ages: Option<Vec<Duration>> =
            states.iter().map(|state| state.heard_at.map(|at| at.elapsed())).collect();
        Some(DiscoveryFigures {
            is_current: states.iter().all(|state| state.is_current),
            age: ages.and_then(|ages| ages.into_iter().max()),
            lists: sum(|state| state.lists),
            events: sum(|state| state.events),
            failures: sum(|state| state.failures),
        })
    }
}

impl WatchStatus {
    /// All objects were listed.
    pub(crate) fn listed(&self) {
        let mut state = self.state.lock();
        state.lists += 1;
        state.heard_at = Some(Instant::now());
    }

    /// The API server told of a change, or that there was none.
    pub(crate) fn heard(&self, events: u64) {
        let mut state = self.state.lock();
        state.events += events;
        state.heard_at = Some(Instant::now());
    }

    /// The watch is open. Returns whether it is after it was not.
    pub(crate) fn opened(&self) -> bool {
        let mut state = self.state.lock();
        state.heard_at = Some(Instant::now());
        !std::mem::replace(&mut state.is_current, true)
    }

    /// A request failed. Returns whether the one before did not.
    pub(crate) fn failed(&self) -> bool {
        let mut state = self.state.lock();
        let is_first = state.is_current || state.failures == 0;
        state.is_current = false;
        state.failures += 1;
        is_first
    }
}
