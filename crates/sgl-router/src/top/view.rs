//! What is shown: the last snapshot, and what the reader has chosen of it.

use super::history::History;
use super::language::{Language, Words};
use super::order::{Order, ordered};
use router_live::{DecisionRow, Delta, Snapshot, WorkerRow};
use std::cell::Cell;

/// The parts of the screen that keys move in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Panel {
    Fleet,
    Queue,
    Decisions,
    Shadows,
}

impl Panel {
    pub(super) const ALL: [Self; 4] = [Self::Fleet, Self::Queue, Self::Decisions, Self::Shadows];

    pub(super) const fn title(self, words: &Words) -> &'static str {
        match self {
            Self::Fleet => words.fleet,
            Self::Queue => words.queue,
            Self::Decisions => words.decisions,
            Self::Shadows => words.shadows,
        }
    }
}

/// What is shown in place of the panels.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Details {
    Help,
    Problems,
    /// A worker, by its id.
    Worker(String),
    Decision(Box<DecisionRow>),
}

/// Which workers are shown.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Filter {
    pub(super) text: String,
    /// Whether keys write into it.
    pub(super) is_open: bool,
}

/// The connection to the router, as far as it shows.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Link {
    /// Why it is lost; `None` while it is not.
    pub(super) lost: Option<String>,
    /// Age of the last event, in seconds.
    pub(super) age_secs: f64,
}

/// What is shown.
#[derive(Debug)]
pub(super) struct View {
    pub(super) url: String,
    pub(super) language: Language,
    pub(super) now: Snapshot,
    pub(super) history: History,
    pub(super) link: Link,
    pub(super) panel: Panel,
    pub(super) order: Order,
    pub(super) filter: Filter,
    /// The id of the selected worker; the first one without.
    pub(super) worker: Option<String>,
    /// The selected decision; the newest one without.
    pub(super) decision: Option<Box<DecisionRow>>,
    /// Lines above the first one that is shown, where nothing is selected.
    pub(super) scroll: usize,
    /// The most of that, by what was drawn last.
    pub(super) most_scrolled: Cell<usize>,
    pub(super) details: Option<Details>,
}

impl View {
    /// The view of a router, from its first snapshot on.
    pub(super) fn new(url: String, language: Language, now: Snapshot) -> Self {
        let mut view = Self {
            url,
            language,
            now: Snapshot::default(),
            history: History::default(),
            link: Link::default(),
            panel: Panel::Fleet,
            order: Order::default(),
            filter: Filter::default(),
            worker: None,
            decision: None,
            scroll: 0,
            most_scrolled: Cell::new(0),
            details: None,
        };
        view.replace(now);
        view
    }

    /// Its words.
    pub(super) const fn words(&self) -> &'static Words {
        self.language.words()
    }

    /// Takes a snapshot in place of the last one.
    pub(super) fn replace(&mut self, now: Snapshot) {
        if now.router.started_at != self.now.router.started_at {
            // The ids are those of other workers.
            (self.history, self.worker, self.decision) = (History::default(), None, None);
        }
        self.now = now;
        self.heard();
    }

    /// Takes what has changed.
    pub(super) fn update(&mut self, delta: Delta) {
        self.now.apply(delta);
        self.heard();
    }

    fn heard(&mut self) {
        self.history.note(&self.now);
        self.link = Link::default();
    }

    /// The workers that are shown, in their order.
    pub(super) fn shown_workers(&self) -> Vec<&WorkerRow> {
        ordered(&self.now, self.order, &self.filter.text)
    }

    /// The place of the selected worker among those that are shown.
    pub(super) fn worker_place(&self, shown: &[&WorkerRow]) -> usize {
        let selected = self.worker.as_ref();
        selected.and_then(|id| shown.iter().position(|row| row.id == *id)).unwrap_or(0)
    }

    /// The decisions, the newest first.
    pub(super) fn shown_decisions(&self) -> Vec<&DecisionRow> {
        self.now.decisions.iter().rev().collect()
    }

    /// The place of the selected decision; one that is gone was the oldest.
    pub(super) fn decision_place(&self, shown: &[&DecisionRow]) -> usize {
        let Some(selected) = &self.decision else { return 0 };
        let place = shown.iter().position(|row| **row == **selected);
        place.unwrap_or(shown.len().saturating_sub(1))
    }

    /// Selects the row that is so many below the selected one, or scrolls.
    pub(super) fn go(&mut self, by: isize) {
        let moved = |place: usize, count: usize| place.saturating_add_signed(by).min(count.saturating_sub(1));
        match (&self.details, self.panel) {
            (None, Panel::Fleet) => {
                let shown = self.shown_workers();
                let place = moved(self.worker_place(&shown), shown.len());
                self.worker = shown.get(place).map(|row| row.id.clone());
            }
            (None, Panel::Decisions) => {
                let shown = self.shown_decisions();
                let place = moved(self.decision_place(&shown), shown.len());
                // Who selects the newest one wants to see the next ones come.
                self.decision = shown.get(place).filter(|_| place > 0).map(|row| Box::new((*row).clone()));
            }
            _ => self.scroll = self.scroll.saturating_add_signed(by).min(self.most_scrolled.get()),
        }
    }

    /// Shows another panel.
    pub(super) fn turn_to(&mut self, panel: Panel) {
        (self.panel, self.scroll) = (panel, 0);
    }

    /// Shows details in place of the panels, or the panels again.
    pub(super) fn show(&mut self, details: Option<Details>) {
        (self.details, self.scroll) = (details, 0);
    }

    /// The details of what is selected.
    pub(super) fn selected(&self) -> Option<Details> {
        match self.panel {
            Panel::Fleet => {
                let shown = self.shown_workers();
                let row = shown.get(self.worker_place(&shown))?;
                Some(Details::Worker(row.id.clone()))
            }
            Panel::Decisions => {
                let shown = self.shown_decisions();
                let row = *shown.get(self.decision_place(&shown))?;
                Some(Details::Decision(Box::new(row.clone())))
            }
            Panel::Queue | Panel::Shadows => None,
        }
    }
}
