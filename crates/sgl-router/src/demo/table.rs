//! The demo's table for a terminal.
//!
//! Written with `format!`: the width is fixed, and a table crate would not make it shorter.

use super::PolicyRound;
use std::fmt::Write as _;

/// One row per policy, with times in milliseconds; the best value of each column is marked.
pub(super) fn render(rounds: &[PolicyRound], profiles: &[&str]) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:<18} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}   share per worker",
        "policy", "mean ms", "p50 ms", "p99 ms", "ttft p50", "ttft p99", "tokens/s"
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
        let _ = write!(text, "{:<18}", round.policy);
        for (column, best) in columns.iter().zip(best) {
            let Some(value) = column(round) else {
                let _ = write!(text, " {:>8} ", "-");
                continue;
            };
            let mark = if rounds.len() > 1 && value <= best { '*' } else { ' ' };
            let _ = write!(text, " {:>8.0}{mark}", value * 1000.0);
        }
        let _ = write!(text, " {:>8.0}   ", round.summary.tokens_per_second());
        let total = round.summary.answered.max(1) as f64;
        let shares: Vec<_> =
            round.shares.iter().map(|n| format!("{:.0} %", *n as f64 / total * 100.0)).collect();
        let _ = write!(text, "{}", shares.join(" / "));
        if round.summary.failed > 0 {
            let _ = write!(text, "   {} FAILED", round.summary.failed);
        }
        let _ = writeln!(text);
    }
    let _ = writeln!(text, "\n* best value of the column. Order of the workers: {}.", profiles.join(" / "));
    let late = rounds.iter().filter_map(|r| r.summary.lateness.max()).fold(0.0, f64::max) * 1000.0;
    let _ = writeln!(
        text,
        "Times count from the planned arrival; the most delayed request was sent {late:.1} ms late."
    );
    text
}
