//! The fleet: a row per worker, and one worker in full.

use super::figures::{UNKNOWN, amount, factor, or_unknown, percent, time};
use super::history::CURVE;
use super::language::{Language, Words};
use super::lines::{Column, Look, Table};
use super::order::{problems_of, severity};
use super::view::View;
use crate::terminal::wrap;
use ratatui_core::text::Line;
use router_live::{ProblemCode, Snapshot, WorkerRow};

/// The columns, those of [`SortColumn`](super::order::SortColumn) first.
fn columns(words: &Words) -> Vec<Column> {
    vec![
        Column::name(words.worker, 15, 0),
        Column::name(words.state, 9, 0),
        Column::figure(words.flight, 6, 0),
        Column::figure(words.ttft50, 7, 1),
        Column::figure(words.ttft99, 7, 1),
        Column::figure(words.speed, 5, 2),
        Column::figure(words.tokens, 5, 2),
        Column::figure(words.share, 5, 2),
        Column::figure(words.cache, 5, 3),
        Column::figure(words.error, 5, 4),
        Column::name(words.fault, 14, 5),
        Column::name(words.curve, CURVE, 5),
    ]
}

/// The state of a worker and what else is wrong with it, in few words.
fn state(view: &View, row: &WorkerRow) -> String {
    let mut all = complaints(view, row);
    if row.state != "healthy" || all.is_empty() {
        all.insert(0, view.language.state(&row.state));
    }
    all.join(", ")
}

/// What is wrong with a worker besides its state, in few words.
fn complaints(view: &View, row: &WorkerRow) -> Vec<&'static str> {
    let words = view.words();
    let mut all = Vec::new();
    all.extend(match row.breaker.as_deref() {
        Some("open") => Some(words.breaker_open),
        Some("half_open") => Some(words.breaker_half_open),
        _ => None,
    });
    all.extend(problems_of(&view.now, row).filter_map(|problem| match problem.code {
        ProblemCode::WorkerSlow => Some(words.slow),
        ProblemCode::WorkerFailing => Some(words.failing),
        ProblemCode::WorkerQueueGrowing => Some(words.growing),
        _ => None,
    }));
    all.extend(row.is_overloaded.then_some(words.overloaded));
    all.extend(row.has_outdated_weights.then_some(words.outdated));
    all
}

/// A name without what all URLs begin with.
pub(super) fn short(name: &str) -> &str {
    name.split_once("://").map_or(name, |(_, rest)| rest)
}

fn in_flight(row: &WorkerRow) -> String {
    row.cap.map_or_else(|| row.in_flight.to_string(), |cap| format!("{}/{cap}", row.in_flight))
}

/// The age of the last fault, and what it was.
fn fault(view: &View, row: &WorkerRow) -> String {
    let Some(fault) = &row.last_fault else { return UNKNOWN.to_owned() };
    let status = fault.status.map(|status| format!(" {status}")).unwrap_or_default();
    format!("{}, {}{status}", view.language.ago(view.now.at - fault.at), fault.reason)
}

/// The table of the workers that are shown.
pub(super) fn table(view: &View, shown: &[&WorkerRow]) -> Table {
    let cells = |row: &WorkerRow| {
        vec![
            short(&row.name).to_owned(),
            state(view, row),
            in_flight(row),
            time(row.ttft_p50),
            time(row.ttft_p99),
            factor(row.relative_speed),
            amount(row.tokens_per_sec),
            percent(row.share),
            percent(row.cached_share),
            percent(row.forecast_error),
            fault(view, row),
            view.history.curve(&row.id),
        ]
    };
    let look = |row: &WorkerRow| severity(&view.now, row).map_or(Look::Plain, Look::of);
    Table { columns: columns(view.words()), rows: shown.iter().map(|row| (look(row), cells(row))).collect() }
}

/// The title of the column that the fleet is sorted by.
pub(super) fn sorted_title(view: &View) -> &'static str {
    columns(view.words())[view.order.column.place()].title
}

/// One worker in full.
pub(super) fn details(view: &View, id: &str, width: usize) -> Vec<Line<'static>> {
    let words = view.words();
    let Some(row) = view.now.workers.iter().find(|row| row.id == id) else {
        return vec![Look::Plain.line(words.no_worker)];
    };
    let mut lines = vec![Look::Strong.line(short(&row.name).to_owned())];
    for problem in problems_of(&view.now, row) {
        lines.extend(Look::of(problem.severity).paragraph(view.language.sentence(problem), width, ""));
    }
    let facts = facts(view, row).into_iter().chain(figures(view, row));
    let title = facts.clone().map(|(title, _)| crate::terminal::columns(title)).max().unwrap_or(0) + 2;
    for (name, value) in facts {
        let text = wrap(&value, width.saturating_sub(title).max(10), "");
        let mut text = text.lines();
        lines.push(Line::from(vec![
            Look::Faint.text(super::lines::left(name, title)),
            Look::Plain.text(text.next().unwrap_or(UNKNOWN)),
        ]));
        lines.extend(text.map(|line| Look::Plain.line(" ".repeat(title) + line)));
    }
    lines
}

type Fact = (&'static str, String);

/// What a worker is.
fn facts(view: &View, row: &WorkerRow) -> Vec<Fact> {
    let words = view.words();
    let lasting = |since: Option<f64>| since.map(|since| view.language.lasting(view.now.at - since));
    let complaints = complaints(view, row).into_iter();
    let mut state =
        std::iter::once(view.language.state(&row.state)).chain(complaints).collect::<Vec<_>>().join(", ");
    if let Some(lasting) = lasting(row.since) {
        state = format!("{state}, {lasting}");
    }
    let labels: Vec<_> = row.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut all = vec![
        (words.id, row.id.clone()),
        (words.its_model, or_unknown(row.model.as_ref())),
        (words.kind, row.kind.clone()),
        (words.zone, or_unknown(row.zone.as_ref())),
        (words.labels, if labels.is_empty() { UNKNOWN.to_owned() } else { labels.join(", ") }),
        (words.its_state, state),
    ];
    if let Some(cause) = &row.cause {
        let lasting = lasting(cause.since).map(|lasting| format!(", {lasting}")).unwrap_or_default();
        all.push((words.cause, format!("{} ({}){lasting}", cause.message, cause.reason)));
    }
    all.push((words.breaker, or_unknown(row.breaker.as_ref())));
    all.push((words.its_fault, fault(view, row)));
    all
}

/// How a worker does.
fn figures(view: &View, row: &WorkerRow) -> Vec<Fact> {
    let words = view.words();
    let growth = row.waiting_growth.map(|growth| format!(" ({growth:+} {})", words.more_in_10_s));
    let waiting = row.waiting.map_or_else(|| UNKNOWN.to_owned(), |waiting| waiting.to_string());
    let speed = match row.stream_speed {
        Some(speed) => {
            let relative =
                row.relative_speed.map(|times| format!(", {} {}", factor(Some(times)), words.of_the_fleet));
            format!("{} token/s{}", amount(Some(speed)), relative.unwrap_or_default())
        }
        None => UNKNOWN.to_owned(),
    };
    vec![
        (words.in_flight, format!("{}  {}", in_flight(row), view.history.curve(&row.id).trim_start())),
        (words.waiting_there, waiting + &growth.unwrap_or_default()),
        (words.requests_per_sec, amount(row.requests_per_sec)),
        (words.its_share, percent(row.share)),
        (words.failed, percent(row.failure_share)),
        (words.ttft_p50, time(row.ttft_p50)),
        (words.ttft_p99, time(row.ttft_p99)),
        (words.tokens_per_sec, amount(row.tokens_per_sec)),
        (words.relative_speed, speed),
        (words.cached, percent(row.cached_share)),
        (words.forecast_error, percent(row.forecast_error)),
        (words.weight, amount(Some(row.weight))),
        (words.priority, row.priority.to_string()),
    ]
}

/// What stands in place of the rows when there are none.
pub(super) const fn no_row(language: Language, now: &Snapshot) -> &'static str {
    let words = language.words();
    if now.workers.is_empty() { words.no_worker } else { words.no_match }
}
