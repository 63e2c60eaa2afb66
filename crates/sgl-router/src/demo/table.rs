//! The demo's tables for a terminal of 80 columns.
//!
//! Written with `format!`: the width is fixed, and a table crate would not make it shorter.

use super::PolicyRound;
use crate::terminal::{COLUMNS, wrap};
use std::fmt::Write as _;

/// Width of the column of policies; the longest names have 18 letters.
const NAME: usize = 19;

/// One row per policy, with times in milliseconds, the best value of each column marked; then each worker's share of the
/// requests.
pub(super) fn render(rounds: &[PolicyRound], workers: &[String]) -> String {
    let mut text = String::new();
    times(&mut text, rounds);
    let _ = writeln!(text, "\nRequests on each worker, in %:\n");
    shares(&mut text, rounds, workers);
    text.push('\n');
    for round in rounds.iter().filter(|r| r.summary.failed > 0) {
        let _ = writeln!(text, "FAILED with {}: {} requests", round.policy, round.summary.failed);
    }
    let late = rounds.iter().filter_map(|r| r.summary.lateness.max()).fold(0.0, f64::max) * 1000.0;
    let note = format!(
        "* best value of the column. Times are in milliseconds and count from the planned arrival; the most delayed \
         request was sent {late:.1} ms late."
    );
    text.push_str(&wrap(&note, COLUMNS, ""));
    text
}

fn times(text: &mut String, rounds: &[PolicyRound]) {
    let _ = writeln!(
        text,
        "{:<NAME$}{:>8} {:>8} {:>8} {:>9} {:>9} {:>10}",
        "policy", "mean", "p50", "p99", "TTFT p50", "TTFT p99", "tokens/s"
    );
    let columns: [fn(&PolicyRound) -> Option<f64>; 5] = [
        |r| r.summary.latency.mean(),
        |r| r.summary.latency.at(50.0),
        |r| r.summary.latency.at(99.0),
        |r| r.summary.ttft.at(50.0),
        |r| r.summary.ttft.at(99.0),
    ];
    let best = columns.map(|column| rounds.iter().filter_map(column).fold(f64::INFINITY, f64::min));
    for round in rounds {
        let _ = write!(text, "{:<NAME$}", round.policy);
        for ((column, best), width) in columns.iter().zip(best).zip([7, 8, 8, 9, 9]) {
            let Some(value) = column(round) else {
                let _ = write!(text, "{:>width$} ", "-");
                continue;
            };
            let mark = if rounds.len() > 1 && value <= best { '*' } else { ' ' };
            let _ = write!(text, "{:>width$.0}{mark}", value * 1000.0);
        }
        let _ = writeln!(text, "{:>10.0}", round.summary.tokens_per_second());
    }
}

/// As many workers side by side as have room, the next ones below.
fn shares(text: &mut String, rounds: &[PolicyRound], workers: &[String]) {
    let width = workers.iter().map(|label| label.chars().count()).max().unwrap_or(0).max(3) + 2;
    let beside = (COLUMNS.saturating_sub(NAME) / width).max(1);
    for (block, labels) in workers.chunks(beside).enumerate() {
        let _ = writeln!(text, "{:<NAME$}{}", "policy", cells(labels, width));
        for round in rounds {
            let shares = round.shares.iter().skip(block * beside).take(labels.len());
            let shares: Vec<_> = shares.map(|n| format!("{:.0}", round.percent(*n))).collect();
            let _ = writeln!(text, "{:<NAME$}{}", round.policy, cells(&shares, width));
        }
    }
}

fn cells(values: &[String], width: usize) -> String {
    values.iter().map(|value| format!("{value:>width$}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::tests::{labels, round};

    #[test]
    fn tables_fit_eighty_columns() {
        let names: Vec<&str> = (0..20).map(|i| if i == 0 { "rtxpro6000_32b@0.25" } else { "t4" }).collect();
        let mut failed = round("consistent_hashing", &[1; 20]);
        failed.summary.failed = 3;
        let text = render(&[failed, round("fixed_probability", &[2; 20])], &labels(&names));
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        // A worker with a long label moves the later ones to further tables; none is left out.
        assert_eq!(text.matches(" t4\n").count() + text.matches(" t4 ").count(), 19, "{text}");
        assert!(text.contains("FAILED with consistent_hashing: 3 requests"), "{text}");
    }

    #[test]
    fn shares_stand_below_their_workers() {
        let text = render(&[round("random", &[3, 1])], &labels(&["sglang_8b", "sglang_8b@0.4"]));
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(rows.contains(&vec!["policy", "sglang_8b", "sglang_8b@0.4"]), "{text}");
        assert!(rows.contains(&vec!["random", "75", "25"]), "{text}");
    }
}
