//! The report as tables for a terminal of 80 columns.

use crate::compare::RunComparison;
use crate::report::RunReport;
use crate::words::{count, number, seconds};
use std::fmt::Write as _;

/// Columns of the terminal.
const COLUMNS: usize = 80;
/// Columns of a figure, with the space before it.
const FIGURE: usize = 9;
/// Columns of the name of a metric.
const METRIC: usize = 20;

impl RunReport {
    /// A table of all runs, and one of each comparison. No line is longer than 80 columns; longer names are cut.
    ///
    /// ```
    /// # use router_report::{RunReport, read_run};
    /// # let dir = tempfile::tempdir()?;
    /// # let file = dir.path().join("run.csv");
    /// # std::fs::write(&file, "req_id,success,host,arrival_time,finish_time\na,True,http://w1,0.0,1.5\n")?;
    /// let report = RunReport::of(vec![read_run(&file)], None);
    /// assert!(report.tables().lines().all(|line| line.chars().count() <= 80));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn tables(&self) -> String {
        let mut text = String::new();
        if !self.runs.is_empty() {
            runs(self, &mut text);
        }
        for comparison in &self.comparisons {
            one_comparison(self, comparison, &mut text);
        }
        if let Some(simulation) = &self.simulation {
            for (at, policy) in simulation.policies.iter().enumerate() {
                let figures = ["Latency, mean", "Latency, 99 %", "First token, mean"].map(|name| {
                    let measure = simulation.measures.iter().find(|measure| measure.name == name);
                    measure
                        .and_then(|m| m.found.get(at))
                        .map_or("–".to_owned(), |found| seconds(found.mean))
                });
                if at == 0 {
                    let heads = ["latency", "99 %", "ttft"].map(str::to_owned);
                    line("policy, means", &heads, &mut text);
                }
                line(policy, &figures, &mut text);
            }
        }
        text
    }
}

/// The name, cut to what the figures leave of a line, and the figures, aligned to the right.
fn line(name: &str, figures: &[String], text: &mut String) {
    let room = COLUMNS - figures.len() * FIGURE;
    let _ = write!(text, "{}", fitted(name, room));
    for figure in figures {
        let _ = write!(text, "{figure:>FIGURE$}");
    }
    text.push('\n');
}

/// `name` in exactly `room` columns; the middle of a longer one is left out.
fn fitted(name: &str, room: usize) -> String {
    let chars: Vec<char> = name.chars().collect();
    if chars.len() <= room {
        return format!("{name:<room$}");
    }
    let (head, tail) = (room / 2, room - room / 2 - 1);
    let cut: String = chars[..head].iter().chain(&['…']).chain(&chars[chars.len() - tail..]).collect();
    cut
}

fn runs(report: &RunReport, text: &mut String) {
    let heads = ["requests", "failed", "latency", "99 %", "ttft", "99 %"].map(str::to_owned);
    line("run, medians", &heads, text);
    for run in &report.runs {
        let summary = &run.summary;
        let of = |value: Option<f64>| value.map_or("–".to_owned(), seconds);
        let figures = [
            count(summary.requests),
            count(summary.failures),
            of(summary.latency.map(|l| l.p50)),
            of(summary.latency.map(|l| l.p99)),
            of(summary.ttft.map(|t| t.p50)),
            of(summary.ttft.map(|t| t.p99)),
        ];
        line(&run.name, &figures, text);
    }
}

fn one_comparison(report: &RunReport, comparison: &RunComparison, text: &mut String) {
    let name = |at: usize| fitted(&report.runs[at].name, (COLUMNS - 16) / 2).trim_end().to_owned();
    let _ = writeln!(text, "\nA: {}  B: {}", name(comparison.base), name(comparison.run));
    let _ = writeln!(text, "{:<METRIC$}{:>10}{:>10}{:>20}{:>18}", "", "A", "B", "B - A, 95 %", "B / A, 95 %");
    for measure in &comparison.measures {
        let difference = measure.difference.map_or("–".to_owned(), |d| span(d.low, d.high));
        let ratio =
            measure.ratio.map_or("–".to_owned(), |r| format!("{} to {}", number(r.low), number(r.high)));
        let _ = writeln!(
            text,
            "{:<METRIC$}{:>10}{:>10}{difference:>20}{ratio:>18}",
            measure.name,
            seconds(measure.base),
            seconds(measure.value)
        );
    }
}

/// `-12.0 to -8.00 ms`: both in the unit of the larger.
fn span(low: f64, high: f64) -> String {
    let size = low.abs().max(high.abs());
    let (unit, scale) = match size {
        size if size >= 1.0 => ("s", 1.0),
        size if size >= 1e-3 => ("ms", 1e3),
        _ => ("µs", 1e6),
    };
    format!("{} to {} {unit}", number(low * scale), number(high * scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(fitted("short", 8), "short   ");
        assert_eq!(fitted("RR_router_test_20250731", 9), "RR_r…0731");
        assert_eq!(span(-0.012, -0.008), "-12.0 to -8.00 ms");
    }
}
