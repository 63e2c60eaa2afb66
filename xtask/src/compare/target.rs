//! The targets of `marginal_cost` against the best peer, and whether they are met.
//!
//! A target is a ratio to the best peer at its defaults. Beside it the table shows the ratio to the best of all peers,
//! including the tuned ones.

use super::case::CASES;
use super::rows::LatencyFigure;
use super::summary::{CaseSummary, PeerSet};
use crate::harness::stats::Spread;
use std::fmt::Write as _;

/// An upper bound on the ratio to the best peer.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Target {
    case: &'static str,
    figure: LatencyFigure,
    at_most: f64,
    /// The ratio that is compared with the bound.
    statistic: Statistic,
}

/// Which ratio of the rounds is compared with the bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Statistic {
    /// The median of the rounds.
    Median,
    /// The lowest: a tie within the spread is enough.
    Min,
}

const fn target(case: &'static str, figure: LatencyFigure, at_most: f64) -> Target {
    Target { case, figure, at_most, statistic: Statistic::Median }
}

const TARGETS: [Target; 13] = [
    target("uneven-75", LatencyFigure::Mean, 0.90),
    target("uneven-75", LatencyFigure::P99, 0.68),
    target("uneven-75", LatencyFigure::FirstP99, 0.60),
    target("mixed-8", LatencyFigure::Mean, 0.87),
    target("mixed-8", LatencyFigure::P99, 0.70),
    Target { statistic: Statistic::Min, ..target("even-75", LatencyFigure::Mean, 1.00) },
    Target { statistic: Statistic::Min, ..target("even-75", LatencyFigure::P99, 1.00) },
    target("classes", LatencyFigure::Mean, 0.75),
    target("classes", LatencyFigure::P99, 0.55),
    target("prefixes", LatencyFigure::Mean, 0.93),
    target("prefixes", LatencyFigure::P99, 0.95),
    target("prefixes", LatencyFigure::FirstP99, 0.90),
    target("change", LatencyFigure::P99, 0.70),
];

/// The upper bound on the ratio to round robin in every case.
const WORST_TO_ROUND_ROBIN: f64 = 1.05;
/// The simplest policy, for comparison.
pub(crate) const ROUND_ROBIN: &str = "sgl-router/round_robin";

/// The table of targets, as Markdown.
pub(crate) fn table(summaries: &[CaseSummary<'_>]) -> String {
    let mut text = "| case | figure | target | best peer at its defaults | measured | | best peer of all, tuned or not | \
                    measured | |\n|---|---|---:|---|---:|---|---|---:|---|\n"
        .to_owned();
    for target in &TARGETS {
        let _ = writeln!(text, "{}", row(target, summaries));
    }
    let _ = writeln!(text, "{}", against_round_robin(summaries));
    text
}

fn row(target: &Target, summaries: &[CaseSummary<'_>]) -> String {
    let summary = summaries.iter().find(|summary| summary.case.name == target.case);
    let to = |peers| match summary.and_then(|summary| summary.to_best(peers, target.figure)) {
        Some((peer, ratio)) => format!("{peer} | {} | {} |", show(ratio), verdict(target.is_met(ratio))),
        None => "- | - | not measured |".to_owned(),
    };
    let (figure, at_most) = (title(target.figure), target.at_most);
    let (defaults, all) = (to(PeerSet::AtDefaults), to(PeerSet::All));
    format!("| {} | {figure} | <= {at_most:.2} | {defaults} {all}", target.case)
}

impl Target {
    fn is_met(&self, ratio: Spread) -> bool {
        // Compared as shown, with two digits, so that a reader comes to the same verdict.
        let value = match self.statistic {
            Statistic::Median => ratio.median,
            Statistic::Min => ratio.min,
        };
        (value * 100.0).round() <= (self.at_most * 100.0).round()
    }
}

fn against_round_robin(summaries: &[CaseSummary<'_>]) -> String {
    let ratio = |summary: &CaseSummary<'_>| {
        let ratio = summary.candidate()?.ratio(summary.contender(ROUND_ROBIN)?, LatencyFigure::Mean)?;
        Some((summary.case.name, ratio))
    };
    let worst = summaries.iter().filter_map(ratio).max_by(|(_, a), (_, b)| a.median.total_cmp(&b.median));
    let head = format!("E2E mean | <= {WORST_TO_ROUND_ROBIN:.2} | {ROUND_ROBIN} |");
    match worst {
        Some((case, ratio)) => {
            let met = ratio.median <= WORST_TO_ROUND_ROBIN;
            format!("| worst of all: {case} | {head} {} | {} | | | |", show(ratio), verdict(met))
        }
        None => format!("| worst of all {} | {head} - | not measured | | | |", CASES.len()),
    }
}

fn show(ratio: Spread) -> String {
    format!("{:.2} ({:.2}-{:.2})", ratio.median, ratio.min, ratio.max)
}

const fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "**not met**" }
}

/// The name of a figure in the tables.
pub(crate) const fn title(figure: LatencyFigure) -> &'static str {
    match figure {
        LatencyFigure::Mean => "E2E mean",
        LatencyFigure::P50 => "E2E p50",
        LatencyFigure::P99 => "E2E p99",
        LatencyFigure::FirstMean => "TTFT mean",
        LatencyFigure::FirstP99 => "TTFT p99",
        LatencyFigure::PerToken => "TPOT mean",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::contender::CANDIDATE;
    use crate::compare::run_log::tests::record;

    fn spread(min: f64, median: f64, max: f64) -> Spread {
        Spread { median, min, max }
    }

    #[test]
    fn targets_name_judged_cases() {
        assert!(TARGETS.iter().all(|t| CASES.iter().any(|case| case.name == t.case && case.judged)));
    }

    #[test]
    fn bounds_apply_to_median_or_min() {
        let strict = target("even-75", LatencyFigure::Mean, 1.0);
        let tie = Target { statistic: Statistic::Min, ..strict };
        assert!(strict.is_met(spread(0.9, 1.004, 1.2)));
        assert!(!strict.is_met(spread(0.9, 1.01, 1.2)));
        assert!(tie.is_met(spread(0.9, 1.01, 1.2)));
        assert!(!tie.is_met(spread(1.01, 1.02, 1.2)));
    }

    #[test]
    fn table_shows_unmeasured_and_worst_case() {
        let order = [CANDIDATE, ROUND_ROBIN, "smg/least_load", "smg-1s/least_load"].map(str::to_owned);
        let case = CASES.iter().find(|case| case.name == "mixed-8").unwrap();
        let means = [0.8, 2.0, 1.0, 0.9];
        let records: Vec<_> =
            order.iter().zip(means).map(|(who, mean)| record("mixed-8", who, 1, mean)).collect();
        let text = table(&[CaseSummary::of(case, &order, &records).unwrap()]);
        for line in [
            "| mixed-8 | E2E mean | <= 0.87 | smg/least_load | 0.80 (0.80-0.80) | met | smg-1s/least_load | \
             0.89 (0.89-0.89) | **not met** |",
            "| change | E2E p99 | <= 0.70 | - | - | not measured | - | - | not measured |",
            "| worst of all: mixed-8 | E2E mean | <= 1.05 | sgl-router/round_robin | 0.40 (0.40-0.40) | met | | | |",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
