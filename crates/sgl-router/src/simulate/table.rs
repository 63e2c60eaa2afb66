//! The table for a terminal: blocks of four metrics, no line wider than 100 columns.
//!
//! Written by hand: the blocks share their column widths, and a long policy name has a line of its own, which table
//! crates such as comfy-table do not lay out.

use super::ComparisonSetup;
use router_sim::{ComparisonTable, ContenderResult, MeanEstimate, SummaryMetric};
use std::fmt::Write as _;

/// Maximum width of a line.
const MAX_COLUMNS: usize = 100;
/// Maximum width of a name on the line of its figures.
const MAX_NAME: usize = 20;
/// Width of a figure with its interval and ratio, including the gap before it.
const FIGURE: usize = 20;
/// The maximum number of servers that are shown individually; larger fleets are shown by the parts of their specification.
const MAX_SERVERS: usize = 12;

/// The maximum number of clients that are shown; those of larger loads are in the JSON only.
const MAX_CLIENTS: usize = 8;

/// The unit of the figures of a block.
#[derive(Clone, Copy)]
enum Unit {
    /// Seconds, or milliseconds if all are below a second.
    Time,
    /// No unit.
    Plain,
}

/// Four metrics that are shown beside each other.
struct TableBlock {
    title: &'static str,
    unit: Unit,
    /// The heading and the name of each metric.
    metrics: [(&'static str, &'static str); 4],
}

const BLOCKS: [TableBlock; 4] = [
    TableBlock {
        title: "E2E",
        unit: Unit::Time,
        metrics: [("mean", "e2e_mean_s"), ("p50", "e2e_p50_s"), ("p90", "e2e_p90_s"), ("p99", "e2e_p99_s")],
    },
    TableBlock {
        title: "TTFT",
        unit: Unit::Time,
        metrics: [
            ("mean", "ttft_mean_s"),
            ("p50", "ttft_p50_s"),
            ("p90", "ttft_p90_s"),
            ("p99", "ttft_p99_s"),
        ],
    },
    TableBlock {
        title: "TPOT",
        unit: Unit::Time,
        metrics: [
            ("mean", "tpot_mean_s"),
            ("p50", "tpot_p50_s"),
            ("p90", "tpot_p90_s"),
            ("p99", "tpot_p99_s"),
        ],
    },
    TableBlock {
        title: "",
        unit: Unit::Plain,
        metrics: [
            ("goodput /s", "goodput_per_s"),
            ("prefix hits", "prefix_hits"),
            ("imbalance", "imbalance"),
            ("failed", "failed"),
        ],
    },
];

/// The figures of one client.
const CLIENT_BLOCK: TableBlock = TableBlock {
    title: "",
    unit: Unit::Time,
    metrics: [
        ("E2E mean", "e2e_mean_s"),
        ("E2E p99", "e2e_p99_s"),
        ("TTFT mean", "ttft_mean_s"),
        ("TTFT p99", "ttft_p99_s"),
    ],
};

/// The whole text.
pub(super) fn render(setting: &ComparisonSetup<'_>, table: &ComparisonTable) -> String {
    let mut text = String::new();
    for line in setting.about(table.rows.first().map_or("", |row| &row.name)) {
        wrap(&mut text, &line);
    }
    let width = table.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).clamp(8, MAX_NAME);
    let rows: Vec<_> = table.rows.iter().map(|row| (row.name.as_str(), row)).collect();
    for block in BLOCKS {
        text.push('\n');
        write_block(&mut text, &rows, &block, width);
    }
    write_clients(&mut text, table, width);
    write_shares(&mut text, table, setting, width);
    text
}

/// Wraps a line between words, with an indent.
fn wrap(text: &mut String, line: &str) {
    let mut used = 0;
    for word in line.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > MAX_COLUMNS {
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

/// One block; each row is a policy's name and the result that is shown for it.
fn write_block(text: &mut String, rows: &[(&str, &ContenderResult)], block: &TableBlock, width: usize) {
    let indices = block
        .metrics
        .map(|(_, metric)| SummaryMetric::ALL.iter().position(|m| m.name == metric).unwrap_or(0));
    let largest = indices.iter().flat_map(|&at| rows.iter().map(move |(_, row)| row.estimates[at].mean));
    let (factor, unit) = match block.unit {
        Unit::Time if largest.fold(0.0, f64::max) < 1.0 => (1e3, "ms"),
        Unit::Time => (1.0, "s"),
        Unit::Plain => (1.0, ""),
    };
    let name = if block.title.is_empty() { unit.to_owned() } else { format!("{}, {unit}", block.title) };
    let mut head = format!("{name:<width$}");
    for (heading, _) in block.metrics {
        let _ = write!(head, "  {heading:<0$}", FIGURE - 2);
    }
    let _ = writeln!(text, "{}", head.trim_end());
    for (i, (name, row)) in rows.iter().enumerate() {
        let mut line = start_line(text, name, width);
        for at in indices {
            let ratio = row.ratios[at].filter(|_| i > 0);
            let _ = write!(line, "  {:<1$}", figure(row.estimates[at], factor, ratio), FIGURE - 2);
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

/// A block for each client.
fn write_clients(text: &mut String, table: &ComparisonTable, width: usize) {
    let clients = table.rows.first().map_or(&[][..], |row| &row.clients);
    if clients.len() > MAX_CLIENTS {
        let _ = writeln!(text, "\n{} clients; --json has the figures of each", clients.len());
        return;
    }
    for (index, client) in clients.iter().enumerate() {
        let _ = writeln!(text, "\nclient {}", client.name);
        let rows: Vec<_> =
            table.rows.iter().filter_map(|row| Some((row.name.as_str(), row.clients.get(index)?))).collect();
        write_block(text, &rows, &CLIENT_BLOCK, width);
    }
}

/// Starts a line with a name; a name that is too long gets a line of its own above.
fn start_line(text: &mut String, name: &str, width: usize) -> String {
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

fn write_shares(text: &mut String, table: &ComparisonTable, setting: &ComparisonSetup<'_>, width: usize) {
    let groups = setting.groups(MAX_SERVERS);
    let _ = writeln!(text, "\n{:<width$}  {}", "share, %", names(&groups));
    for row in &table.rows {
        let line = start_line(text, &row.name, width);
        let shares: Vec<_> = groups.iter().map(|(_, range)| format!("{:.1}", percent(row, range))).collect();
        let _ = writeln!(text, "{line}  {}", shares.join(" / "));
    }
}

/// The headings of the shares, if they fit.
fn names(groups: &[(String, std::ops::Range<usize>)]) -> String {
    let all: Vec<_> = groups.iter().map(|(name, _)| name.as_str()).collect();
    let line = all.join(" / ");
    if line.chars().count() <= MAX_COLUMNS - MAX_NAME - 2 {
        line
    } else {
        "in the order of the fleet".to_owned()
    }
}

fn percent(row: &ContenderResult, range: &std::ops::Range<usize>) -> f64 {
    100.0 * row.share.get(range.clone()).unwrap_or_default().iter().sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figure_has_value_interval_and_ratio() {
        let estimate = |mean, half_width| MeanEstimate { mean, half_width };
        let ratio = Some(estimate(0.636, Some(0.1)));
        assert_eq!(figure(estimate(1.0456, Some(0.0042)), 1.0, ratio), "1.046 ±0.004 ×0.64");
        assert_eq!(figure(estimate(0.0456, None), 1e3, None), "45.60");
        assert_eq!(figure(estimate(0.0, Some(0.0)), 1.0, None), "0");
        assert_eq!(figure(estimate(12345.6, Some(1.0)), 1.0, None), "12346 ±1");
    }

    #[test]
    fn long_lines_wrap_between_words() {
        let mut text = String::new();
        wrap(&mut text, &"word ".repeat(60));
        assert!(text.lines().all(|line| line.chars().count() <= MAX_COLUMNS));
        assert_eq!(text.matches("word").count(), 60);
    }
}
