//! The report in words: one sentence for each finding, and no finding without its figures.

use crate::compare::{ComparedMeasure, Interval, PairingMethod, RunComparison};
use crate::figures::RunFigures;
use crate::simulation::{MeasureComparison, SimulationReport};

/// The metrics that have a sentence.
const TOLD: [&str; 4] = ["Latency, mean", "Latency, 99 %", "First token, mean", "Per token, mean"];
/// The most runs that have sentences of their own; a table is better for more.
const MAX_RUNS: usize = 6;

/// The sentences about runs and their comparisons.
pub(crate) fn sentences(runs: &[RunFigures], comparisons: &[RunComparison]) -> Vec<String> {
    let mut all: Vec<String> = comparisons.iter().take(MAX_RUNS).map(|c| about_comparison(runs, c)).collect();
    all.extend(runs.iter().take(MAX_RUNS).map(about_run));
    if runs.len() > MAX_RUNS {
        all.push(format!("{} more runs are in the table.", runs.len() - MAX_RUNS));
    }
    for run in runs.iter().take(MAX_RUNS) {
        all.extend(about_attempts(run));
        all.extend(about_shadows(run));
        all.extend(about_forecasts(run));
    }
    all
}

/// The sentences about a simulation: each policy beside the first.
pub(crate) fn simulation_sentences(simulation: &SimulationReport) -> Vec<String> {
    let Some(first) = simulation.policies.first() else { return Vec::new() };
    let told = |measure: &&MeasureComparison| {
        ["Latency, mean", "First token, mean"].contains(&measure.name.as_str())
    };
    let others = simulation.policies.iter().enumerate().skip(1).take(MAX_RUNS);
    others
        .filter_map(|(at, policy)| {
            let found = simulation.measures.iter().filter(told).filter_map(|measure| {
                let ratio = (*measure.ratios.get(at)?)?;
                let interval =
                    ratio.half_width.map(|half| Interval { low: ratio.mean - half, high: ratio.mean + half });
                Some(format!("{} is {}", spoken(&measure.name), change(ratio.mean, interval)))
            });
            let found: Vec<String> = found.collect();
            (!found.is_empty()).then(|| format!("{policy} beside {first}: {}.", found.join("; ")))
        })
        .collect()
}

fn about_run(run: &RunFigures) -> String {
    let summary = &run.summary;
    let failed = match summary.failures {
        0 => "none failed".to_owned(),
        n => format!("{} failed", count(n)),
    };
    let noun = if run.faults.iter().any(|fault| fault.kind == "tried again") { "attempt" } else { "request" };
    let mut text = format!(
        "{}: {} in {}, {failed}",
        run.name,
        plural(summary.requests, noun),
        seconds(summary.duration)
    );
    if let Some(latency) = &summary.latency {
        text += &format!("; latency {} median, {} for 99 %", seconds(latency.p50), seconds(latency.p99));
    }
    if let Some(ttft) = &summary.ttft {
        text += &format!("; first token {} median, {} for 99 %", seconds(ttft.p50), seconds(ttft.p99));
    }
    text + "."
}

fn about_comparison(runs: &[RunFigures], comparison: &RunComparison) -> String {
    let (base, run) = (&runs[comparison.base].name, &runs[comparison.run].name);
    let told = comparison.measures.iter().filter(|measure| TOLD.contains(&measure.name.as_str()));
    let found: Vec<String> = told.filter(|measure| measure.base > 0.0).map(about_measure).collect();
    let source = match comparison.method {
        PairingMethod::Paired => format!("from {}", plural(comparison.requests, "paired request")),
        PairingMethod::Separate => {
            format!("from at least {} of each, not paired", plural(comparison.requests, "request"))
        }
    };
    let doubt = match comparison.warnings.len() {
        0 => String::new(),
        1 => " One warning says why the two may not be comparable.".to_owned(),
        n => format!(" {n} warnings say why the two may not be comparable."),
    };
    if found.is_empty() {
        return format!("{run} beside {base}: no request of one can be compared with the other.{doubt}");
    }
    format!("{run} beside {base}, {source}: {}.{doubt}", found.join("; "))
}

fn about_measure(measure: &ComparedMeasure) -> String {
    format!("{} is {}", spoken(&measure.name), change(measure.value / measure.base, measure.ratio))
}

/// `Latency, 99 %` as `the latency of 99 %`.
fn spoken(name: &str) -> String {
    let (what, which) = name.split_once(", ").unwrap_or((name, ""));
    let what = match what {
        "Latency" => "latency",
        "First token" => "time to first token",
        "Per token" => "time per token",
        other => other,
    };
    match which {
        "mean" | "median" => format!("{which} {what}"),
        "99 %" => format!("p99 {what}"),
        _ => format!("{what} ({which})"),
    }
}

/// `12.1 % lower (95 % interval 8.2 to 15.3 %)`, or that the sign is not sure. An interval decides how many digits mean
/// something.
fn change(ratio: f64, interval: Option<Interval>) -> String {
    let percent = |ratio: f64| (ratio - 1.0) * 100.0;
    let direction = if ratio < 1.0 { "lower" } else { "higher" };
    let Some(range) = interval else { return format!("{} % {direction}", number(percent(ratio).abs())) };
    let (low, high) = (percent(range.low), percent(range.high));
    let decimals = match high - low {
        width if width >= 10.0 => 0,
        width if width >= 1.0 => 1,
        _ => 2,
    };
    let size = |value: f64| format!("{:.decimals$}", value.abs());
    let signed = |value: f64| format!("{}{}", if value < 0.0 { "−" } else { "+" }, size(value));
    if range.contains(1.0) {
        return format!(
            "not clearly different ({} %, 95 % interval {} to {} %)",
            signed(percent(ratio)),
            signed(low),
            signed(high)
        );
    }
    let (near, far) = if ratio < 1.0 { (high, low) } else { (low, high) };
    format!("{} % {direction} (95 % interval {} to {} %)", size(percent(ratio)), size(near), size(far))
}

fn about_attempts(run: &RunFigures) -> Option<String> {
    let failures: Vec<String> = run
        .faults
        .iter()
        .take(4)
        .map(|fault| match fault.when {
            Some((first, last)) if seconds(first) != seconds(last) => {
                format!("{} × {} ({} to {})", count(fault.count), fault.kind, seconds(first), seconds(last))
            }
            Some((first, _)) => format!("{} × {} (at {})", count(fault.count), fault.kind, seconds(first)),
            None => format!("{} × {}", count(fault.count), fault.kind),
        })
        .collect();
    (!failures.is_empty()).then(|| format!("Retries and failures of {}: {}.", run.name, failures.join("; ")))
}

fn about_shadows(run: &RunFigures) -> Vec<String> {
    let known = run.shadows.iter().filter(|shadow| shadow.decisions > 0);
    let told = known.map(|shadow| {
        let other = 1.0 - shadow.agreed as f64 / shadow.decisions as f64;
        let mut text = format!(
            "The shadow {} would have chosen another worker in {} % of {} of {}",
            shadow.policy,
            number(other * 100.0),
            plural(shadow.decisions, "decision"),
            run.name
        );
        if let Some((own, live)) = shadow.ratings.and_then(|rated| rated.latency) {
            text += &format!(
                ", and predicts a mean latency of {} for its choices, {} for those that were made",
                seconds(own),
                seconds(live)
            );
        }
        text + "."
    });
    told.collect()
}

fn about_forecasts(run: &RunFigures) -> Option<String> {
    let mut parts = Vec::new();
    for row in run.forecasts.coverage.iter().filter(|row| row.part == 0.8) {
        parts.push(format!(
            "{} % of the answers lay in the central 80 % of their forecasts",
            number(row.share * 100.0)
        ));
    }
    if let Some(kept) = run.forecasts.cached.as_ref().and_then(|cached| cached.kept()) {
        parts
            .push(format!("workers had {} % of the cached tokens that were predicted", number(kept * 100.0)));
    }
    (!parts.is_empty()).then(|| format!("Forecasts of {}: {}.", run.name, parts.join("; ")))
}

fn plural(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// A count with commas: `9,812`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with up to three digits.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 || size == 0.0 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Seconds in a unit in which there is a digit before the point.
pub(crate) fn seconds(value: f64) -> String {
    match value.abs() {
        size if size >= 1.0 || size == 0.0 => format!("{} s", number(value)),
        size if size >= 1e-3 => format!("{} ms", number(value * 1e3)),
        _ => format!("{} µs", number(value * 1e6)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_that_is_not_sure_is_not_claimed() {
        let range = |low, high| Some(Interval { low, high });
        assert_eq!(change(0.88, range(0.85, 0.92)), "12.0 % lower (95 % interval 8.0 to 15.0 %)");
        assert_eq!(change(1.5, range(1.4, 1.6)), "50 % higher (95 % interval 40 to 60 %)");
        assert_eq!(
            change(0.99, range(0.96, 1.03)),
            "not clearly different (−1.0 %, 95 % interval −4.0 to +3.0 %)"
        );
        assert_eq!(change(2.0, None), "100 % higher");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            (count(7), count(1234), count(1_234_567)),
            ("7".into(), "1,234".into(), "1,234,567".into())
        );
        assert_eq!(
            (seconds(0.0123), seconds(12.345), seconds(0.0)),
            ("12.3 ms".into(), "12.3 s".into(), "0 s".into())
        );
    }
}
