//! The requests in flight of the last half minute, as small curves.

use router_live::Snapshot;
use std::collections::{HashMap, VecDeque};

/// Events that are kept: those of 30 s.
const KEPT: usize = 60;

/// Columns of a curve.
pub(super) const CURVE: usize = 12;

/// The heights of a curve, from nothing to the most of the worker.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The requests in flight on each worker, by its id.
#[derive(Debug, Default)]
pub(super) struct History(HashMap<String, VecDeque<u32>>);

impl History {
    /// Takes what is so now. Workers that have left are forgotten.
    pub(super) fn note(&mut self, now: &Snapshot) {
        for row in &now.workers {
            if !self.0.contains_key(&row.id) {
                self.0.insert(row.id.clone(), VecDeque::with_capacity(KEPT));
            }
            let Some(values) = self.0.get_mut(&row.id) else { continue };
            if values.len() == KEPT {
                values.pop_front();
            }
            values.push_back(row.in_flight);
        }
        if self.0.len() > now.workers.len() {
            let present: std::collections::HashSet<_> =
                now.workers.iter().map(|row| row.id.as_str()).collect();
            self.0.retain(|id, _| present.contains(id.as_str()));
        }
    }

    /// The curve of one worker, the latest at the right end; each column has the mean of some events.
    pub(super) fn curve(&self, id: &str) -> String {
        let Some(values) = self.0.get(id) else { return String::new() };
        let most = values.iter().copied().max().unwrap_or(0).max(1);
        let values: Vec<_> = values.iter().copied().collect();
        let columns = values.rchunks(KEPT / CURVE).rev();
        let height = |some: &[u32]| {
            let mean = some.iter().copied().map(f64::from).sum::<f64>() / some.len() as f64;
            // Not above the last one, and a float cast saturates.
            let place = (mean / f64::from(most) * (HEIGHTS.len() - 1) as f64).round() as usize;
            HEIGHTS.get(place).copied().unwrap_or(' ')
        };
        let curve: String = columns.map(height).collect();
        format!("{curve:>CURVE$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use router_live::WorkerRow;

    #[test]
    fn curve_has_the_last_half_minute() {
        let mut history = History::default();
        let mut now = Snapshot {
            workers: vec![WorkerRow { id: "a".to_owned(), ..WorkerRow::default() }],
            ..Snapshot::default()
        };
        for n in 0..100_u32 {
            now.workers[0].in_flight = if n < 90 { 0 } else { 8 };
            history.note(&now);
        }
        assert_eq!(history.curve("a"), "▁▁▁▁▁▁▁▁▁▁██");
        now.workers[0].id = "b".to_owned();
        history.note(&now);
        assert_eq!((history.curve("a").as_str(), history.curve("b").as_str()), ("", "           █"));
        assert_eq!(history.0.len(), 1);
    }
}
