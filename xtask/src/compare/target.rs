//! What `marginal_cost` must hold against the best of the peers, and whether it did.
//!
//! The bounds are meant for peers as their users start them. Beside each stands the same ratio to the best of all that
//! were measured, the tuned ones too, so that the stronger opponent is never out of sight.

use super::case::CASES;
use super::rows::Figure;
use super::summary::{Peers, Spread, Summary};
use std::fmt::Write as _;

/// A bound on a ratio to the best peer.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Target {
    case: &'static str,
    figure: Figure,
    at_most: f64,
    /// How a ratio is held against the bound.
    measure: Measure,
}

/// How a ratio is held against its bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Measure {
    /// The median of the rounds.
    Median,
    /// The lowest of the rounds: a tie within the spread is as good.
    WithinSpread,
}

const fn target(case: &'static str, figure: Figure, at_most: f64) -> Target {
    Target { case, figure, at_most, measure: Measure::Median }
}

const TARGETS: [Target; 10] = [
    target("uneven-75", Figure::Mean, 0.90),
    target("uneven-75", Figure::P99, 0.68),
    target("uneven-75", Figure::FirstP99, 0.60),
    target("mixed-8", Figure::Mean, 0.87),
    target("mixed-8", Figure::P99, 0.72),
    Target { measure: Measure::WithinSpread, ..target("even-75", Figure::Mean, 1.00) },
    Target { measure: Measure::WithinSpread, ..target("even-75", Figure::P99, 1.00) },
    target("prefixes", Figure::Mean, 0.98),
    target("prefixes", Figure::P99, 0.95),
    target("change", Figure::P99, 0.70),
];

/// No case may be worse than this multiple of round robin.
const WORST_TO_ROUND_ROBIN: f64 = 1.05;
/// Who is as simple as can be.
pub(crate) const ROUND_ROBIN: &str = "sgl-router/round_robin";

/// The table of targets, as Markdown.
pub(crate) fn table(summaries: &[Summary<'_>]) -> String {
    let mut text = "| case | figure | target | best peer at its defaults | measured | | best peer of all, tuned or not | \
                    measured | |\n|---|---|---:|---|---:|---|---|---:|---|\n"
        .to_owned();
    for target in &TARGETS {
        let _ = writeln!(text, "{}", row(target, summaries));
    }
    let _ = writeln!(text, "{}", against_round_robin(summaries));
    text
}

fn row(target: &Target, summaries: &[Summary<'_>]) -> String {
    let summary = summaries.iter().find(|summary| summary.case.name == target.case);
    let to = |peers| match summary.and_then(|summary| summary.to_best(peers, target.figure)) {
        Some((peer, ratio)) => format!("{peer} | {} | {} |", show(ratio), verdict(target.is_met(ratio))),
        None => "- | - | not measured |".to_owned(),
    };
    let (figure, at_most) = (title(target.figure), target.at_most);
    let (defaults, all) = (to(Peers::AtDefaults), to(Peers::All));
    format!("| {} | {figure} | <= {at_most:.2} | {defaults} {all}", target.case)
}

impl Target {
    fn is_met(&self, ratio: Spread) -> bool {
        // Figures are shown with two digits, and a reader shall come to the same verdict.
        let value = match self.measure {
            Measure::Median => ratio.middle,
            Measure::WithinSpread => ratio.least,
        };
        (value * 100.0).round() <= (self.at_most * 100.0).round()
    }
}

fn against_round_robin(summaries: &[Summary<'_>]) -> String {
    let ratio = |summary: &Summary<'_>| {
        let ratio = summary.candidate()?.ratio(summary.entry(ROUND_ROBIN)?, Figure::Mean)?;
        Some((summary.case.name, ratio))
    };
    let worst = summaries.iter().filter_map(ratio).max_by(|(_, a), (_, b)| a.middle.total_cmp(&b.middle));
    let head = format!("E2E mean | <= {WORST_TO_ROUND_ROBIN:.2} | {ROUND_ROBIN} |");
    match worst {
        Some((case, ratio)) => {
            let met = ratio.middle <= WORST_TO_ROUND_ROBIN;
            format!("| worst of all: {case} | {head} {} | {} | | | |", show(ratio), verdict(met))
        }
        None => format!("| worst of all {} | {head} - | not measured | | | |", CASES.len()),
    }
}

fn show(ratio: Spread) -> String {
    format!("{:.2} ({:.2}-{:.2})", ratio.middle, ratio.least, ratio.most)
}

const fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "**not met**" }
}

/// A figure as the tables call it.
pub(crate) const fn title(figure: Figure) -> &'static str {
    match figure {
        Figure::Mean => "E2E mean",
        Figure::P50 => "E2E p50",
        Figure::P99 => "E2E p99",
        Figure::FirstMean => "TTFT mean",
        Figure::FirstP99 => "TTFT p99",
        Figure::PerToken => "TPOT mean",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::contender::CANDIDATE;
    use crate::compare::run_log::tests::record;

    fn spread(least: f64, middle: f64, most: f64) -> Spread {
        Spread { middle, least, most }
    }

    #[test]
    fn targets_name_cases_that_are_judged() {
        assert!(TARGETS.iter().all(|t| CASES.iter().any(|case| case.name == t.case && case.judged)));
    }

    #[test]
    fn a_median_is_held_against_the_bound_and_a_tie_against_the_spread() {
        let strict = target("even-75", Figure::Mean, 1.0);
        let tie = Target { measure: Measure::WithinSpread, ..strict };
        assert!(strict.is_met(spread(0.9, 1.004, 1.2)));
        assert!(!strict.is_met(spread(0.9, 1.01, 1.2)));
        assert!(tie.is_met(spread(0.9, 1.01, 1.2)));
        assert!(!tie.is_met(spread(1.01, 1.02, 1.2)));
    }

    #[test]
    fn what_was_not_measured_is_said_so_and_the_worst_case_is_named() {
        let order = [CANDIDATE, ROUND_ROBIN, "smg/least_load", "smg-1s/least_load"].map(str::to_owned);
        let case = CASES.iter().find(|case| case.name == "mixed-8").unwrap();
        let means = [0.8, 2.0, 1.0, 0.9];
        let records: Vec<_> =
            order.iter().zip(means).map(|(who, mean)| record("mixed-8", who, 1, mean)).collect();
        let text = table(&[Summary::of(case, &order, &records).unwrap()]);
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
