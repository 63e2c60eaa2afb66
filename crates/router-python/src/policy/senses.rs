//! What the host's events tell of each worker, kept for the views that a policy in Python gets.

use super::event::Event;
use super::view::WorkerView;
use router_core::{Completion, Cx, Event as Fact, Outcome, SlotMap, Time, WorkerId};
use std::sync::Arc;

/// How much a new answer counts in a moving mean.
const NEWEST: f64 = 0.1;

/// Moving means over the answers of one worker, in seconds; absent before the first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recent {
    pub(super) latency: Option<f64>,
    pub(super) ttft: Option<f64>,
}

impl Recent {
    fn learn(&mut self, completion: &Completion) {
        if completion.finish.outcome == Outcome::Success {
            self.latency = Some(moved(self.latency, completion.server_latency()));
            self.ttft = completion.ttft().map(|ttft| moved(self.ttft, ttft)).or(self.ttft);
        }
    }
}

fn moved(mean: Option<f64>, newest: f64) -> f64 {
    mean.map_or(newest, |mean| mean + NEWEST * (newest - mean))
}

/// The names of the workers and how fast they answered.
#[derive(Debug, Default)]
pub(super) struct Senses(SlotMap<(Arc<str>, Recent)>);

impl Senses {
    /// Takes in what happened.
    pub(super) fn observe(&mut self, fact: &Fact<'_>) {
        match fact {
            Fact::Joined { worker, info } => {
                self.0.insert(*worker, (Arc::clone(&info.url), Recent::default()));
            }
            Fact::Finished(completion) => {
                if let Some((_, recent)) = self.0.get_mut(completion.worker) {
                    recent.learn(completion);
                }
            }
            _ => {}
        }
    }

    /// What happened, in a form that Python can keep; nothing if it is about nobody who is known.
    pub(super) fn event(&self, now: Time, fact: &Fact<'_>) -> Option<Event> {
        Event::of(now, fact, |worker| self.0.get(worker).map(|(url, _)| Arc::clone(url)))
    }

    /// Forgets who left; to be called after everybody has been told.
    pub(super) fn forget(&mut self, fact: &Fact<'_>) {
        if let Fact::Left(worker) = fact {
            self.0.remove(*worker);
        }
    }

    /// The workers that may be chosen.
    pub(super) fn workers(&self, cx: &Cx<'_>) -> Vec<WorkerView> {
        let recent = |id: WorkerId| self.0.get(id).map(|(_, recent)| *recent).unwrap_or_default();
        let views = cx.candidates.iter().enumerate();
        views.map(|(index, view)| WorkerView::of(index, &view, recent(view.id), cx.now)).collect()
    }
}
