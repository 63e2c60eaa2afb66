//! What `marginal_cost` must hold against the best of the peers, and whether it did.

use super::case::CASES;
use super::rows::Figure;
use super::summary::{Spread, Summary};
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
const ROUND_ROBIN: &str = "sgl-router/round_robin";

/// The table of targets, as Markdown.
pub(crate) fn table(summaries: &[Summary<'_>]) -> String {
    let mut text =
        "| case | figure | best peer | target | measured | |\n|---|---|---|---:|---:|---|\n".to_owned();
    for target in &TARGETS {
        let _ = writeln!(text, "{}", row(target, summaries));
    }
    let _ = writeln!(text, "{}", against_round_robin(summaries));
    text
}

fn row(target: &Target, summaries: &[Summary<'_>]) -> String {
    let head = |peer: &str| {
        format!("| {} | {} | {peer} | <= {:.2} |", target.case, title(target.figure), target.at_most)
    };
    let measured = || {
        let summary = summaries.iter().find(|summary| summary.case.name == target.case)?;
        let peer = summary.best_peer(target.figure)?;
        Some((peer.name, summary.candidate()?.ratio(peer, target.figure)?))
    };
    match measured() {
        Some((peer, ratio)) => {
            format!("{} {} | {} |", head(peer), show(ratio), verdict(target.is_met(ratio)))
        }
        None => format!("{} - | not measured |", head("-")),
    }
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
    let head = format!("E2E mean | {ROUND_ROBIN} | <= {WORST_TO_ROUND_ROBIN:.2} |");
    match worst {
        Some((case, ratio)) => {
            let met = ratio.middle <= WORST_TO_ROUND_ROBIN;
            format!("| worst of all: {case} | {head} {} | {} |", show(ratio), verdict(met))
        }
        None => format!("| worst of all {} | {head} - | not measured |", CASES.len()),
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
    use crate::compare::record::tests::record;

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
        let order = [CANDIDATE, ROUND_ROBIN, "smg/a"].map(str::to_owned);
        let case = CASES.iter().find(|case| case.name == "mixed-8").unwrap();
        let records = [(CANDIDATE, 0.8), (ROUND_ROBIN, 2.0), ("smg/a", 1.0)]
            .map(|(who, mean)| record("mixed-8", who, 1, mean));
        let summary = Summary::of(case, &order, &records).unwrap();
        let text = table(&[summary]);
        assert!(text.contains("| mixed-8 | E2E mean | smg/a | <= 0.87 | 0.80 (0.80-0.80) | met |"), "{text}");
        assert!(
            text.contains("| mixed-8 | E2E p99 | smg/a | <= 0.72 | 0.80 (0.80-0.80) | **not met** |"),
            "{text}"
        );
        assert!(text.contains("| change | E2E p99 | - | <= 0.70 | - | not measured |"), "{text}");
        assert!(
            text.contains("| worst of all: mixed-8 | E2E mean | sgl-router/round_robin | <= 1.05 | 0.40"),
            "{text}"
        );
    }
}
