//! The URL and recent latency of each worker, learned from events, for the views that a Python policy gets.

use super::event::Event;
use super::latency::RecentLatency;
use super::view::WorkerView;
use router_core::{DecisionContext, Event as Fact, SlotMap, Time, WorkerId};
use std::sync::Arc;

/// The URLs and recent latencies of the workers.
#[derive(Debug, Default)]
pub(super) struct WorkerHistory(SlotMap<(Arc<str>, RecentLatency)>);

impl WorkerHistory {
    /// Learns from an event.
    pub(super) fn observe(&mut self, fact: &Fact<'_>) {
        match fact {
            Fact::Joined { worker, info } => {
                self.0.insert(*worker, (Arc::clone(&info.url), RecentLatency::default()));
            }
            Fact::Finished(completion) => {
                if let Some((_, recent)) = self.0.get_mut(completion.worker) {
                    recent.learn(completion);
                }
            }
            _ => {}
        }
    }

    /// The event as a Python object; `None` where its worker is unknown.
    pub(super) fn event(&self, now: Time, fact: &Fact<'_>) -> Option<Event> {
        Event::of(now, fact, |worker| self.0.get(worker).map(|(url, _)| Arc::clone(url)))
    }

    /// Removes a worker that left. Called after the policy has been told of it.
    pub(super) fn forget(&mut self, fact: &Fact<'_>) {
        if let Fact::Left(worker) = fact {
            self.0.remove(*worker);
        }
    }

    /// Views of the candidates.
    pub(super) fn workers(&self, cx: &DecisionContext<'_>) -> Vec<WorkerView> {
        let recent = |id: WorkerId| self.0.get(id).map(|(_, recent)| *recent).unwrap_or_default();
        let views = cx.candidates.iter().enumerate();
        views.map(|(index, view)| WorkerView::of(index, &view, recent(view.id), cx.now)).collect()
    }
}
