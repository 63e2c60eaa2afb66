//! What the shadow policies would have done.

use super::figures::{UNKNOWN, or_unknown, percent};
use super::lines::{Column, Look, Table};
use super::view::View;
use ratatui_core::text::Line;
use router_live::{Estimate, ShadowRow};

/// The panel.
pub(super) fn lines(view: &View, width: usize) -> Vec<Line<'static>> {
    let words = view.words();
    if view.now.shadows.is_empty() {
        return vec![Look::Plain.line(words.no_shadow)];
    }
    let row = |shadow: &ShadowRow| {
        let cells = vec![
            shadow.policy.clone(),
            change(shadow.mean),
            change(shadow.p99),
            percent(shadow.agreement),
            shadow.decisions.to_string(),
            or_unknown(shadow.model.as_ref()),
        ];
        (look(shadow.mean), cells)
    };
    let table = Table {
        columns: vec![
            Column::name(words.policy_title, 14, 0),
            Column::figure(words.mean, 20, 0),
            Column::figure(words.p99, 20, 1),
            Column::figure(words.agree, 6, 2),
            Column::figure(words.decided, 6, 3),
            Column::name(words.model, 12, 4),
        ],
        rows: view.now.shadows.iter().map(row).collect(),
    };
    let mut lines = table.all_lines(width);
    lines.extend(Look::Faint.paragraph(words.shadows_about, width, ""));
    lines
}

/// A change of a latency with its interval.
fn change(estimate: Option<Estimate>) -> String {
    let signed = |value: f64| format!("{:+.1}", 100.0 * value);
    estimate.map_or_else(
        || UNKNOWN.to_owned(),
        |of| format!("{} % ({} .. {})", signed(of.value), signed(of.low), signed(of.high)),
    )
}

/// A shadow is better, or worse, where the whole interval says so.
const fn look(mean: Option<Estimate>) -> Look {
    match mean {
        Some(of) if of.high < 0.0 => Look::Good,
        Some(of) if of.low > 0.0 => Look::Faint,
        _ => Look::Plain,
    }
}
