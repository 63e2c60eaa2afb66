//! The last decisions, and one of them with what each candidate would have cost.

use super::figures::{UNKNOWN, amount, clock, or_unknown};
use super::fleet::short;
use super::language::Language;
use super::lines::{Column, Look, Table, left};
use super::view::View;
use crate::explain::{ValueUnit, cost_unit, number, quantity, reason_in_words, term_in_words};
use crate::terminal::columns;
use ratatui_core::text::{Line, Span};
use router_live::{CandidateCost, DecisionRow};

/// Columns of the bar of a cost.
const BAR: usize = 20;

/// The table of the decisions that are shown.
pub(super) fn table(view: &View, shown: &[&DecisionRow]) -> Table {
    let words = view.words();
    let row = |row: &DecisionRow| {
        let unit = unit(row);
        let (chosen, next) = (chosen(row), next_best(row));
        let cells = vec![
            clock(row.at),
            short(&row.worker).to_owned(),
            row.reason.clone(),
            chosen.map_or_else(|| UNKNOWN.to_owned(), |cost| quantity(cost.cost, unit)),
            next.map_or_else(|| UNKNOWN.to_owned(), |cost| quantity(cost.cost, unit)),
            row.candidates.to_string(),
            size(row.prompt_bytes),
            row.route.clone(),
            or_unknown(row.model.as_ref()),
            row.request_id.clone(),
        ];
        let look = if row.attempt > 0 { Look::Warning } else { Look::Plain };
        (look, cells)
    };
    Table {
        columns: vec![
            Column::name(words.time, 8, 0),
            Column::name(words.worker, 15, 0),
            Column::name(words.reason, 14, 0),
            Column::figure(words.cost, 7, 1),
            Column::figure(words.next_best, 7, 1),
            Column::figure(words.candidates, 3, 2),
            Column::figure(words.prompt, 6, 2),
            Column::name(words.route, 9, 3),
            Column::name(words.model, 8, 5),
            Column::name(words.request, 10, 4),
        ],
        rows: shown.iter().map(|decision| row(decision)).collect(),
    }
}

/// A number of bytes.
fn size(bytes: u64) -> String {
    if bytes < 10_000 { format!("{bytes} B") } else { format!("{} KB", amount(Some(bytes as f64 / 1e3))) }
}

fn unit(row: &DecisionRow) -> ValueUnit {
    cost_unit(row.costs.iter().flat_map(|cost| &cost.terms).map(|term| term.name.as_str()))
}

fn chosen(row: &DecisionRow) -> Option<&CandidateCost> {
    row.costs.iter().find(|cost| cost.worker == row.worker)
}

/// The cheapest of those that were not chosen.
fn next_best(row: &DecisionRow) -> Option<&CandidateCost> {
    row.costs.iter().filter(|cost| cost.worker != row.worker).min_by(|a, b| a.cost.total_cmp(&b.cost))
}

/// One decision in full.
pub(super) fn details(view: &View, row: &DecisionRow, width: usize) -> Vec<Line<'static>> {
    let words = view.words();
    let mut lines = Vec::new();
    let mut say = |look: Look, text: &str| {
        lines.extend(look.paragraph(text, width, ""));
    };
    let model = row.model.as_deref().unwrap_or(UNKNOWN);
    say(Look::Strong, &format!("{} {}", words.its_request, row.request_id));
    say(
        Look::Plain,
        &format!(
            "{} UTC, {}, {} {model}, {}",
            clock(row.at),
            row.route,
            words.its_model,
            size(row.prompt_bytes)
        ),
    );
    let mut how = vec![row.policy.clone()];
    how.extend((row.leg != "whole").then(|| row.leg.clone()));
    how.extend((row.attempt > 0).then(|| format!("{} {}", words.attempt, row.attempt + 1)));
    say(Look::Plain, &how.join(", "));
    let reason = match view.language {
        Language::En => format!(": {} ({})", reason_in_words(&row.reason), row.reason),
        Language::Zh => format!("：{}", row.reason),
    };
    let among = view.language.part(1, row.candidates);
    say(Look::Strong, &format!("{} {}, {among}{reason}", short(&row.worker), words.chosen));
    lines.push(Line::default());
    lines.extend(costs(view, row, width));
    for shadow in &row.shadows {
        let is_same = shadow.worker == row.worker;
        let choice = if is_same { words.same } else { short(&shadow.worker) };
        lines.push(Look::Info.line(format!("{} {} {choice}", shadow.policy, words.would_choose)));
    }
    if view.now.router.has_traces {
        let hint =
            format!("{}: sgl-router explain {} --url {}", words.explain_hint, row.request_id, view.url);
        lines.extend(Look::Faint.paragraph(&hint, width, ""));
    }
    lines
}

/// What each candidate would have cost, as a bar and in its terms.
fn costs(view: &View, row: &DecisionRow, width: usize) -> Vec<Line<'static>> {
    let words = view.words();
    if row.costs.is_empty() {
        return vec![Look::Plain.line(words.no_costs), Line::default()];
    }
    let unit = unit(row);
    let most = row.costs.iter().map(|cost| cost.cost.abs()).fold(f64::MIN_POSITIVE, f64::max);
    let names = row.costs.iter().map(|cost| columns(short(&cost.worker))).max().unwrap_or(0).min(width / 2);
    let mut lines = vec![Look::Faint.line(view.language.with_aside(words.cost, words.lower_is_better))];
    for cost in &row.costs {
        let is_chosen = cost.worker == row.worker;
        let look = if is_chosen { Look::Strong } else { Look::Plain };
        // A share of the longest bar, so not above it; a float cast saturates.
        let length = (cost.cost.abs() / most * BAR as f64).ceil() as usize;
        let mut spans = vec![
            look.text(left(short(&cost.worker), names)),
            Span::raw("  "),
            look.text(left(&quantity(cost.cost, unit), 9)),
            look.text(left(&"#".repeat(length.min(BAR)), BAR)),
        ];
        spans.extend(is_chosen.then(|| look.text(format!(" {}", words.chosen))));
        lines.push(Line::from(spans));
        lines.extend(Look::Faint.paragraph(&terms(view.language, cost), width, "    "));
    }
    lines.push(Line::default());
    lines
}

/// The terms of a cost, the largest first.
fn terms(language: Language, cost: &CandidateCost) -> String {
    let mut terms: Vec<_> = cost.terms.iter().collect();
    terms.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()));
    let words = terms.iter().map(|term| match language {
        Language::En => term_in_words(&term.name, term.value),
        Language::Zh => format!("{} {}", term.name, number(term.value)),
    });
    words.collect::<Vec<_>>().join(", ")
}
