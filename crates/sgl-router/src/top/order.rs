//! Which workers are shown, and in which order.

use router_live::{Problem, Severity, Snapshot, WorkerRow};
use std::cmp::Ordering;

/// The columns that the fleet can be sorted by, in the order of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum SortColumn {
    Worker,
    /// The worst first.
    #[default]
    State,
    Flight,
    Ttft50,
    Ttft99,
    Speed,
    Tokens,
    Share,
    Cache,
    Error,
    Fault,
}

impl SortColumn {
    const ALL: [Self; 11] = [
        Self::Worker,
        Self::State,
        Self::Flight,
        Self::Ttft50,
        Self::Ttft99,
        Self::Speed,
        Self::Tokens,
        Self::Share,
        Self::Cache,
        Self::Error,
        Self::Fault,
    ];

    /// The column that is so many further, round the end.
    pub(super) fn neighbour(self, by: isize) -> Self {
        let place = self.place() as isize + by;
        Self::ALL[place.rem_euclid(Self::ALL.len() as isize) as usize]
    }

    /// Its place among the columns.
    pub(super) fn place(self) -> usize {
        Self::ALL.iter().position(|column| *column == self).unwrap_or(0)
    }
}

/// The order of the fleet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Order {
    pub(super) column: SortColumn,
    pub(super) is_reversed: bool,
}

/// The workers that match a filter, in an order; workers that are equal in it are ordered by name.
pub(super) fn ordered<'a>(now: &'a Snapshot, order: Order, filter: &str) -> Vec<&'a WorkerRow> {
    let filter = filter.to_lowercase();
    let mut shown: Vec<_> = now.workers.iter().filter(|row| matches(row, &filter)).collect();
    let compare = |a: &WorkerRow, b: &WorkerRow| {
        let by_column = by_column(now, order.column, a, b);
        if order.is_reversed { by_column.reverse() } else { by_column }
    };
    shown.sort_by(|a, b| compare(a, b).then_with(|| a.name.cmp(&b.name)));
    shown
}

/// Whether a worker's name, model, zone or one of its labels has this text, which is in small letters.
fn matches(row: &WorkerRow, filter: &str) -> bool {
    let labels = row.labels.iter().map(|(name, value)| format!("{name}={value}"));
    let known = [Some(row.name.clone()), row.model.clone(), row.zone.clone()];
    labels.chain(known.into_iter().flatten()).any(|text| text.to_lowercase().contains(filter))
}

/// The order by one column: what one wants to see is first, which is the most of each figure but of the speed.
fn by_column(now: &Snapshot, column: SortColumn, a: &WorkerRow, b: &WorkerRow) -> Ordering {
    let most = |of: fn(&WorkerRow) -> Option<f64>| {
        // What is unknown is last.
        let value = |row| of(row).unwrap_or(f64::NEG_INFINITY);
        value(b).total_cmp(&value(a))
    };
    match column {
        SortColumn::Worker => a.name.cmp(&b.name),
        SortColumn::State => badness(now, a).cmp(&badness(now, b)),
        SortColumn::Flight => b.in_flight.cmp(&a.in_flight),
        SortColumn::Share => most(|row| row.share),
        SortColumn::Ttft50 => most(|row| row.ttft_p50),
        SortColumn::Ttft99 => most(|row| row.ttft_p99),
        SortColumn::Tokens => most(|row| row.tokens_per_sec),
        SortColumn::Cache => most(|row| row.cached_share),
        SortColumn::Speed => most(|row| row.relative_speed.map(|speed| -speed)),
        SortColumn::Error => most(|row| row.forecast_error),
        SortColumn::Fault => most(|row| row.last_fault.as_ref().map(|fault| fault.at)),
    }
}

/// The problems that name a worker, the worst first.
pub(super) fn problems_of<'a>(now: &'a Snapshot, row: &'a WorkerRow) -> impl Iterator<Item = &'a Problem> {
    now.problems.iter().filter(|problem| problem.workers.contains(&row.name))
}

/// How bad the state of a worker is; the least is the worst.
fn badness(now: &Snapshot, row: &WorkerRow) -> (u8, u8) {
    let severity = match severity(now, row) {
        Some(Severity::Critical) => 0,
        Some(Severity::Warning) => 1,
        Some(Severity::Info) => 2,
        None => 3,
    };
    let state = match row.state.as_str() {
        "unhealthy" => 0,
        "healthy" => 1,
        "pending" => 2,
        "not_ready" => 3,
        "draining" => 4,
        _ => 5,
    };
    (severity, state)
}

/// The worst that is said of a worker. A problem names few of those that have it, so the state counts, too.
pub(super) fn severity(now: &Snapshot, row: &WorkerRow) -> Option<Severity> {
    let by_state = match row.state.as_str() {
        "unhealthy" => Some(Severity::Critical),
        "healthy" if row.breaker.as_deref() == Some("open") => Some(Severity::Critical),
        "healthy" if row.is_overloaded || row.has_outdated_weights => Some(Severity::Warning),
        "healthy" => None,
        _ => Some(Severity::Info),
    };
    let named = problems_of(now, row).map(|problem| problem.severity).min();
    by_state.into_iter().chain(named).min()
}
