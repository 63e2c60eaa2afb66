//! The measured part of docs/policies/evidence.md: tables and plots.

use super::case::{CASES, Case};
use super::contender::{CANDIDATE, CONTENDERS, Contender};
use super::plot;
use super::rows::LatencyFigure;
use super::run_log::{RunLog, RunRecord, RunSettings};
use super::summary::{CaseSummary, ContenderRuns};
use super::target::{self, title};
use crate::harness::page::PagePart;
use crate::harness::stats::Spread;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// The figures of the tables, their unit, and how many of it a second has.
const FIGURES: [(LatencyFigure, &str, f64); 6] = [
    (LatencyFigure::Mean, "s", 1.0),
    (LatencyFigure::P50, "s", 1.0),
    (LatencyFigure::P99, "s", 1.0),
    (LatencyFigure::FirstMean, "ms", 1e3),
    (LatencyFigure::FirstP99, "ms", 1e3),
    (LatencyFigure::PerToken, "ms", 1e3),
];

/// The page says so when there were fewer rounds.
const MIN_ROUNDS: u32 = 3;

/// The figures in which the candidate is compared with each contender.
const COMPARED: [LatencyFigure; 3] = [LatencyFigure::Mean, LatencyFigure::P99, LatencyFigure::FirstP99];

/// The measured part of the page as Markdown. `plots` is the folder of the plots.
pub(crate) fn markdown(log: &RunLog, plots: &str) -> String {
    let order: Vec<String> = CONTENDERS.iter().map(Contender::name).collect();
    let summaries = summaries(&order, &log.records);
    let mut text = settings(log);
    let _ = write!(text, "\n{}\n", target::table(&summaries));
    let _ = writeln!(text, "![`marginal_cost` against the best peer]({plots}/ratios.svg)");
    for summary in &summaries {
        let _ = write!(text, "\n### {}\n\n{}.", summary.case.name, capital(summary.case.title));
        let _ = write!(text, "{}\n\n", duration(summary.case, &log.settings));
        let _ = writeln!(text, "![{}]({plots}/{}.svg)\n", summary.case.name, summary.case.name);
        if summary.case.slowdown.is_some() {
            let _ = writeln!(text, "![the course of the run]({plots}/{}-course.svg)\n", summary.case.name);
        }
        text.push_str(&table(summary));
    }
    text
}

/// Draws all plots into the folder.
///
/// # Errors
/// The folder cannot be written to.
pub(crate) fn draw(log: &RunLog, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let order: Vec<String> = CONTENDERS.iter().map(Contender::name).collect();
    let summaries = summaries(&order, &log.records);
    plot::ratios(&summaries, &folder.join("ratios.svg"))?;
    for summary in &summaries {
        plot::case(summary, &folder.join(format!("{}.svg", summary.case.name)))?;
        if summary.case.slowdown.is_some() {
            plot::course(summary, &folder.join(format!("{}-course.svg", summary.case.name)))?;
        }
    }
    Ok(())
}

/// Replaces the measured part of the page and draws its plots beside it.
///
/// # Errors
/// The page is missing or has no marks, or something cannot be written.
pub(crate) fn write(log: &RunLog, root: &Path, page: &str) -> Result<()> {
    let folder = Path::new(page).with_extension("");
    let plots = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    draw(log, &root.join(&folder))?;
    PagePart { page, task: "compare-peers", name: "figures" }.write(root, &markdown(log, &plots))
}

fn summaries<'a>(order: &'a [String], records: &'a [RunRecord]) -> Vec<CaseSummary<'a>> {
    CASES.iter().filter_map(|case| CaseSummary::of(case, order, records)).collect()
}

fn settings(log: &RunLog) -> String {
    let versions: BTreeSet<String> = log
        .records
        .iter()
        .map(|record| {
            let program = Contender::named(&record.contender).map_or("unknown", |found| found.maker.name());
            format!("{program} {}", record.version)
        })
        .collect();
    let settings = &log.settings;
    let rounds = log.records.iter().map(|record| record.round).max().unwrap_or_default();
    let trial = if rounds < MIN_ROUNDS {
        " **This was a trial of the measurement, with too few rounds to judge by.**"
    } else {
        ""
    };
    format!(
        "{}. Up to {rounds} rounds; {} runs at a time; the first round's seed is {}. \
         {}.{trial}\n",
        settings.place,
        settings.lanes,
        settings.seed,
        versions.into_iter().collect::<Vec<_>>().join(", ")
    )
}

/// The length of the load, as a sentence.
fn duration(case: &Case, settings: &RunSettings) -> String {
    let (counted, before) = (case.measured_secs(settings.secs), case.warm_up_secs(settings.warm_up));
    format!(" {counted} s of load after {before} s of warm-up.")
}

/// One case, as Markdown.
pub(crate) fn table(summary: &CaseSummary<'_>) -> String {
    let mut text = "| |".to_owned();
    for (figure, unit, _) in FIGURES {
        let _ = write!(text, " {}, {unit} |", title(figure));
    }
    text.push_str(" failed | share per worker, % | prefix hits, % | CPU, % of a core |");
    for figure in COMPARED {
        let _ = write!(text, " marginal_cost to this: {} |", title(figure));
    }
    text.push_str("\n|---|");
    text.push_str(&"---:|".repeat(FIGURES.len() + 4 + COMPARED.len()));
    for contender in &summary.contenders {
        let _ = write!(text, "\n{}", row(summary, contender));
    }
    let rounds = summary.contenders.iter().map(|contender| contender.runs.len()).max().unwrap_or_default();
    let counted = Spread::of(
        summary
            .contenders
            .iter()
            .flat_map(|contender| &contender.runs)
            .map(|run| run.figures.requests as f64),
    );
    let _ =
        write!(text, "\n\nMedian (range) of {rounds} rounds with {} requests each.", cell(counted, 1.0, 0));
    if summary.late > 0 {
        let _ = write!(text, " Not used because the machine was too busy: {} runs.", summary.late);
    }
    text.push('\n');
    text
}

fn row(summary: &CaseSummary<'_>, contender: &ContenderRuns<'_>) -> String {
    let mut text = if contender.name == CANDIDATE {
        format!("| **{}** |", contender.name)
    } else {
        format!("| {} |", contender.name)
    };
    for (figure, _, scale) in FIGURES {
        let digits = if scale > 1.0 { 1 } else { 2 };
        let _ = write!(text, " {} |", cell(contender.spread(figure), scale, digits));
    }
    let shares: Vec<String> = shares(contender).iter().map(|share| format!("{:.0}", share * 100.0)).collect();
    let over = |of: fn(&RunRecord) -> f64| Spread::of(contender.runs.iter().map(|run| of(run)));
    let _ = write!(text, " {} | {} |", contender.failed(), shares.join(" "));
    let _ = write!(
        text,
        " {} |",
        over(|run| run.hits).map_or("-".to_owned(), |hits| format!("{:.0}", hits.median * 100.0))
    );
    let busy = over(|run| run.cpu.contender / run.cpu.wall.max(0.1));
    let _ = write!(text, " {} |", busy.map_or("-".to_owned(), |busy| format!("{:.1}", busy.median * 100.0)));
    for figure in COMPARED {
        let ratio = summary
            .candidate()
            .filter(|ours| ours.name != contender.name)
            .and_then(|ours| ours.ratio(contender, figure));
        let _ = write!(text, " {} |", cell(ratio, 1.0, 2));
    }
    text
}

fn cell(spread: Option<Spread>, scale: f64, digits: usize) -> String {
    spread.map_or("-".to_owned(), |spread| spread.cell(scale, digits))
}

/// The mean share of each worker over the rounds.
fn shares(contender: &ContenderRuns<'_>) -> Vec<f64> {
    let workers = contender.runs.iter().map(|run| run.shares.len()).max().unwrap_or_default();
    let of = |worker: usize| {
        let shares = contender.runs.iter().filter_map(|run| run.shares.get(worker));
        shares.sum::<f64>() / contender.runs.len() as f64
    };
    (0..workers).map(of).collect()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::run_log::tests::{record, settings as some_settings};

    #[test]
    fn table_shows_medians_ranges_and_ratios() {
        let order = [CANDIDATE, "smg/least_load"].map(str::to_owned);
        let name = CASES[0].name;
        let records = [
            record(name, CANDIDATE, 1, 1.0),
            record(name, CANDIDATE, 2, 2.0),
            record(name, "smg/least_load", 1, 2.0),
            record(name, "smg/least_load", 2, 3.0),
        ];
        let text = table(&CaseSummary::of(&CASES[0], &order, &records).unwrap());
        assert!(text.contains("| **sgl-router/marginal_cost** | 1.50 (1.00-2.00) |"), "{text}");
        assert!(text.contains("| smg/least_load | 2.50 (2.00-3.00) |"), "{text}");
        assert!(text.contains("| 0 | 50 50 | 0 | 0.0 | 0.58 (0.50-0.67) |"), "{text}");
        assert!(text.contains("Median (range) of 2 rounds with 100 requests each."), "{text}");
    }

    #[test]
    fn page_shows_the_drawn_plots() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("e.md");
        fs::write(&page, "<!-- compare-peers figures: begin -->\n<!-- compare-peers figures: end -->\n")
            .unwrap();
        let file = folder.path().join("runs.jsonl");
        let mut log = RunLog::open(file, some_settings()).unwrap();
        for (case, who, mean) in
            [("change", CANDIDATE, 1.0), ("change", "smg/least_load", 2.0), ("even-75", CANDIDATE, 1.0)]
        {
            log.add(record(case, who, 1, mean)).unwrap();
        }
        write(&log, folder.path(), "e.md").unwrap();
        let text = fs::read_to_string(&page).unwrap();
        for plot in ["ratios", "change", "change-course", "even-75"] {
            assert!(text.contains(&format!("(e/{plot}.svg)")), "{text}");
            let svg = fs::read_to_string(folder.path().join(format!("e/{plot}.svg"))).unwrap();
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{plot}");
        }
    }
}
