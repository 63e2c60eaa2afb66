//! The table for a terminal: blocks of four figures, no line wider than 100 columns.

use super::ComparisonSetup;
use router_sim::{ComparisonTable, ContenderResult, MeanEstimate, SummaryMetric};
use std::fmt::Write as _;

/// Widest line.
const COLUMNS: usize = 100;
/// Widest name that shares a line with its figures.
const NAME: usize = 20;
/// Width of a figure with its interval and ratio, and of the gap before it.
const FIGURE: usize = 20;
/// Up to so many servers are told one by one, more by the parts of the fleet line.
const ONE_BY_ONE: usize = 12;

/// How the figures of a block are written.
#[derive(Clone, Copy)]
enum Unit {
    /// Seconds, or milliseconds where all are short.
    Time,
    /// As they are.
    Plain,
}

/// Title, unit, and the measures with their heads.
type Block = (&'static str, Unit, [(&'static str, &'static str); 4]);

const BLOCKS: [Block; 4] = [
    (
        "E2E",
        Unit::Time,
        [("mean", "e2e_mean_s"), ("p50", "e2e_p50_s"), ("p90", "e2e_p90_s"), ("p99", "e2e_p99_s")],
    ),
    (
        "TTFT",
        Unit::Time,
        [("mean", "ttft_mean_s"), ("p50", "ttft_p50_s"), ("p90", "ttft_p90_s"), ("p99", "ttft_p99_s")],
    ),
    (
        "TPOT",
        Unit::Time,
        [("mean", "tpot_mean_s"), ("p50", "tpot_p50_s"), ("p90", "tpot_p90_s"), ("p99", "tpot_p99_s")],
    ),
    (
        "",
        Unit::Plain,
        [
            ("goodput /s", "goodput_per_s"),
            ("prefix hits", "prefix_hits"),
            ("imbalance", "imbalance"),
            ("failed", "failed"),
        ],
    ),
];

/// The whole text.
pub(super) fn render(setting: &ComparisonSetup<'_>, table: &ComparisonTable) -> String {
    let mut text = String::new();
    for line in setting.about(table.rows.first().map_or("", |row| &row.name)) {
        wrap(&mut text, &line);
    }
    let width = table.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).clamp(8, NAME);
    for block in BLOCKS {
        text.push('\n');
        write_block(&mut text, table, (block, width));
    }
    write_shares(&mut text, table, (setting, width));
    text
}

/// Breaks a line between words, and indents what follows.
fn wrap(text: &mut String, line: &str) {
    let mut used = 0;
    for word in line.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > COLUMNS {
            text.push_str("\n  ");
            used = 2;
        } else if used > 0 {
            text.push(' ');
            used += 1;
        }
        text.push_str(word);
        used += length;
    }
    text.push('\n');
}

fn write_block(text: &mut String, table: &ComparisonTable, ((title, unit, columns), width): (Block, usize)) {
    let places =
        columns.map(|(_, measure)| SummaryMetric::ALL.iter().position(|m| m.name == measure).unwrap_or(0));
    let largest = places.iter().flat_map(|&at| table.rows.iter().map(move |row| row.estimates[at].mean));
    let (factor, name) = match unit {
        Unit::Time if largest.fold(0.0, f64::max) < 1.0 => (1e3, format!("{title}, ms")),
        Unit::Time => (1.0, format!("{title}, s")),
        Unit::Plain => (1.0, String::new()),
    };
    let mut head = format!("{name:<width$}");
    for (title, _) in columns {
        let _ = write!(head, "  {title:<0$}", FIGURE - 2);
    }
    let _ = writeln!(text, "{}", head.trim_end());
    for (i, row) in table.rows.iter().enumerate() {
        let mut line = begin(text, &row.name, width);
        for at in places {
            let ratio = row.ratios[at].filter(|_| i > 0);
            let _ = write!(line, "  {:<1$}", figure(row.estimates[at], factor, ratio), FIGURE - 2);
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

/// A line that begins with a name; one that is too long has a line of its own above.
fn begin(text: &mut String, name: &str, width: usize) -> String {
    if name.chars().count() <= width {
        return format!("{name:<width$}");
    }
    let _ = writeln!(text, "{name}");
    " ".repeat(width)
}

/// `1.046 ±0.004 ×0.64`.
fn figure(estimate: MeanEstimate, factor: f64, ratio: Option<MeanEstimate>) -> String {
    let value = estimate.mean * factor;
    if value == 0.0 && estimate.half_width.is_none_or(|half| half == 0.0) {
        return "0".to_owned();
    }
    let decimals = match value.abs() {
        v if v < 10.0 => 3,
        v if v < 100.0 => 2,
        v if v < 1000.0 => 1,
        _ => 0,
    };
    let mut text = format!("{value:.decimals$}");
    if let Some(half) = estimate.half_width {
        let _ = write!(text, " ±{:.decimals$}", half * factor);
    }
    if let Some(ratio) = ratio {
        let decimals = if ratio.mean < 0.1 { 3 } else { 2 };
        let _ = write!(text, " ×{:.decimals$}", ratio.mean);
    }
    text
}

fn write_shares(text: &mut String, table: &ComparisonTable, (setting, width): (&ComparisonSetup<'_>, usize)) {
    let groups = setting.groups(ONE_BY_ONE);
    let _ = writeln!(text, "\n{:<width$}  {}", "share, %", names(&groups));
    for row in &table.rows {
        let line = begin(text, &row.name, width);
        let shares: Vec<_> = groups.iter().map(|(_, range)| format!("{:.1}", percent(row, range))).collect();
        let _ = writeln!(text, "{line}  {}", shares.join(" / "));
    }
}

/// The heads of the shares, as far as they fit.
fn names(groups: &[(String, std::ops::Range<usize>)]) -> String {
    let all: Vec<_> = groups.iter().map(|(name, _)| name.as_str()).collect();
    let line = all.join(" / ");
    if line.chars().count() <= COLUMNS - NAME - 2 { line } else { "in the order of the fleet".to_owned() }
}

fn percent(row: &ContenderResult, range: &std::ops::Range<usize>) -> f64 {
    100.0 * row.share.get(range.clone()).unwrap_or_default().iter().sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_four_digits_an_interval_and_a_ratio() {
        let estimate = |mean, half_width| MeanEstimate { mean, half_width };
        let ratio = Some(estimate(0.636, Some(0.1)));
        assert_eq!(figure(estimate(1.0456, Some(0.0042)), 1.0, ratio), "1.046 ±0.004 ×0.64");
        assert_eq!(figure(estimate(0.0456, None), 1e3, None), "45.60");
        assert_eq!(figure(estimate(0.0, Some(0.0)), 1.0, None), "0");
        assert_eq!(figure(estimate(12345.6, Some(1.0)), 1.0, None), "12346 ±1");
    }

    #[test]
    fn long_lines_break_between_words() {
        let mut text = String::new();
        wrap(&mut text, &"word ".repeat(60));
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS));
        assert_eq!(text.matches("word").count(), 60);
    }
}
