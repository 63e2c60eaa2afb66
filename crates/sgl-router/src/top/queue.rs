//! Requests that wait, those that were refused, and how full the pools are.

use super::figures::{UNKNOWN, amount, or_unknown};
use super::lines::{Column, Look, Table};
use super::view::View;
use ratatui_core::text::Line;
use router_live::{Figure, PoolScale};

/// The panel.
pub(super) fn lines(view: &View, width: usize) -> Vec<Line<'static>> {
    let mut lines = waiting(view, width);
    lines.extend(refusals(view, width));
    if !view.now.scale.is_empty() {
        lines.push(Line::default());
        lines.extend(scale(view, width));
    }
    if view.now.models.len() > 1 {
        lines.push(Line::default());
        lines.extend(models(view, width));
    }
    lines
}

fn waiting(view: &View, width: usize) -> Vec<Line<'static>> {
    let (words, queue) = (view.words(), &view.now.queue);
    if queue.waiting.is_empty() {
        return vec![Look::Plain.line(words.nobody_waits)];
    }
    let oldest = queue.oldest_since.map(|since| view.language.span(view.now.at - since));
    let table = Table {
        columns: vec![
            Column::name(words.waits_for, 18, 0),
            Column::figure(words.requests, 6, 0),
            Column::name(words.model, 12, 1),
        ],
        rows: queue
            .waiting
            .iter()
            .map(|class| {
                let cells = vec![
                    class.class.replace('_', " "),
                    class.requests.to_string(),
                    or_unknown(class.model.as_ref()),
                ];
                (Look::Warning, cells)
            })
            .collect(),
    };
    let mut lines = table.all_lines(width);
    lines.extend(oldest.map(|oldest| Look::Plain.line(format!("{} {oldest}", words.oldest_waits))));
    lines
}

fn refusals(view: &View, width: usize) -> Vec<Line<'static>> {
    let (words, refusals) = (view.words(), &view.now.queue.refusals);
    if refusals.is_empty() {
        return vec![Look::Plain.line(words.nobody_refused)];
    }
    let table = Table {
        columns: vec![
            Column::name(words.refused, 18, 0),
            Column::figure(words.per_sec, 6, 0),
            Column::figure(words.count, 6, 0),
        ],
        rows: refusals
            .iter()
            .map(|one| {
                let look = if one.per_sec > 0.0 { Look::Critical } else { Look::Plain };
                (look, vec![one.reason.clone(), amount(Some(one.per_sec)), one.count.to_string()])
            })
            .collect(),
    };
    table.all_lines(width)
}

/// The figures of the pools, and why some of them are not known.
fn scale(view: &View, width: usize) -> Vec<Line<'static>> {
    let words = view.words();
    let whole = |figure: &Figure| amount(figure.value.map(f64::ceil));
    let row = |pool: &PoolScale| {
        let is_full = pool.saturation.value.is_some_and(|saturation| saturation > 1.0);
        let saturation =
            pool.saturation.value.map_or_else(|| UNKNOWN.to_owned(), |value| format!("{value:.2}"));
        let cells = vec![
            pool.pool.clone(),
            or_unknown(pool.model.as_ref()),
            pool.workers.to_string(),
            whole(&pool.workers_needed),
            saturation,
            amount(pool.arrival_rate.value),
            amount(pool.worker_capacity.value),
            amount(pool.backlog.value),
        ];
        (if is_full { Look::Warning } else { Look::Plain }, cells)
    };
    let table = Table {
        columns: vec![
            Column::name(words.pool, 6, 0),
            Column::name(words.model, 12, 2),
            Column::figure(words.workers_title, 3, 0),
            Column::figure(words.needed, 3, 0),
            Column::figure(words.saturation, 5, 0),
            Column::figure(words.arrive, 5, 1),
            Column::figure(words.capacity, 5, 1),
            Column::figure(words.backlog, 5, 3),
        ],
        rows: view.now.scale.iter().map(row).collect(),
    };
    let mut lines = table.all_lines(width);
    let mut told: Vec<&str> = Vec::new();
    for figure in view.now.scale.iter().flat_map(|pool| [&pool.saturation, &pool.workers_needed]) {
        if figure.value.is_none() && !figure.reason.is_empty() && !told.contains(&figure.reason.as_str()) {
            told.push(&figure.reason);
            lines.extend(Look::Faint.paragraph(&figure.reason, width, "  "));
        }
    }
    lines
}

fn models(view: &View, width: usize) -> Vec<Line<'static>> {
    let words = view.words();
    let rows = view.now.models.iter().map(|model| {
        let look = if model.healthy == 0 { Look::Critical } else { Look::Plain };
        let cells = vec![
            or_unknown(model.model.as_ref()),
            model.pool.clone(),
            format!("{}/{}", model.healthy, model.workers),
            model.in_flight.to_string(),
            model.waiting.to_string(),
            model.policy.clone(),
        ];
        (look, cells)
    });
    let table = Table {
        columns: vec![
            Column::name(words.model, 16, 0),
            Column::name(words.pool, 7, 2),
            Column::figure(words.healthy_title, 5, 0),
            Column::figure(words.flight, 6, 0),
            Column::figure(words.waiting_title, 6, 0),
            Column::name(words.policy_title, 10, 1),
        ],
        rows: rows.collect(),
    };
    table.all_lines(width)
}
