//! docs/policies/evidence.md: the tables and plots of a measurement, between marks.

use super::contender::{CANDIDATE, CONTENDERS, Contender};
use super::plot;
use super::rows::Figure;
use super::run_log::{Book, Record, Setting};
use super::summary::{Entry, Spread, Summary};
use super::target::{self, title};
use crate::harness::page::Part;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::case::{CASES, Case};

/// Figures of the tables, and how many of each unit a second has.
const FIGURES: [(Figure, &str, f64); 6] = [
    (Figure::Mean, "s", 1.0),
    (Figure::P50, "s", 1.0),
    (Figure::P99, "s", 1.0),
    (Figure::FirstMean, "ms", 1e3),
    (Figure::FirstP99, "ms", 1e3),
    (Figure::PerToken, "ms", 1e3),
];

/// A measurement of fewer rounds judges nothing.
const FEW: u32 = 3;

/// Figures in which everybody is compared with the candidate.
const COMPARED: [Figure; 3] = [Figure::Mean, Figure::P99, Figure::FirstP99];

/// The measured part of the page, as Markdown; plots are referred to in the folder named.
pub(crate) fn markdown(book: &Book, plots: &str) -> String {
    let order: Vec<String> = CONTENDERS.iter().map(Contender::name).collect();
    let summaries = summaries(&order, &book.records);
    let mut text = setting(book);
    let _ = write!(text, "\n{}\n", target::table(&summaries));
    let _ = writeln!(text, "![`marginal_cost` against the best peer]({plots}/ratios.svg)");
    for summary in &summaries {
        let _ = write!(text, "\n### {}\n\n{}.", summary.case.name, capital(summary.case.title));
        let _ = write!(text, "{}\n\n", duration(summary.case, &book.setting));
        let _ = writeln!(text, "![{}]({plots}/{}.svg)\n", summary.case.name, summary.case.name);
        if summary.case.change.is_some() {
            let _ = writeln!(text, "![the course of the run]({plots}/{}-course.svg)\n", summary.case.name);
        }
        text.push_str(&table(summary));
    }
    text
}

/// Draws every plot into the folder.
///
/// # Errors
/// The folder cannot be written to.
pub(crate) fn draw(book: &Book, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let order: Vec<String> = CONTENDERS.iter().map(Contender::name).collect();
    let summaries = summaries(&order, &book.records);
    plot::ratios(&summaries, &folder.join("ratios.svg"))?;
    for summary in &summaries {
        plot::case(summary, &folder.join(format!("{}.svg", summary.case.name)))?;
        if summary.case.change.is_some() {
            plot::course(summary, &folder.join(format!("{}-course.svg", summary.case.name)))?;
        }
    }
    Ok(())
}

/// Replaces the measured part of the page and draws its plots beside it.
///
/// # Errors
/// The page is missing or has no marks, or something cannot be written.
pub(crate) fn write(book: &Book, root: &Path, page: &str) -> Result<()> {
    let folder = Path::new(page).with_extension("");
    let plots = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    draw(book, &root.join(&folder))?;
    Part { page, chore: "compare-peers", name: "figures" }.write(root, &markdown(book, &plots))
}

fn summaries<'a>(order: &'a [String], records: &'a [Record]) -> Vec<Summary<'a>> {
    CASES.iter().filter_map(|case| Summary::of(case, order, records)).collect()
}

fn setting(book: &Book) -> String {
    let versions: BTreeSet<String> = book
        .records
        .iter()
        .map(|record| {
            let program = Contender::named(&record.contender).map_or("unknown", |found| found.maker.name());
            format!("{program} {}", record.version)
        })
        .collect();
    let setting = &book.setting;
    let rounds = book.records.iter().map(|record| record.round).max().unwrap_or_default();
    let trial = if rounds < FEW {
        " **This was a trial of the measurement, with too few rounds to judge by.**"
    } else {
        ""
    };
    format!(
        "{}. Up to {rounds} rounds; {} runs at a time; the first round's seed is {}. \
         {}.{trial}\n",
        setting.place,
        setting.lanes,
        setting.seed,
        versions.into_iter().collect::<Vec<_>>().join(", ")
    )
}

/// How long its load was, in a sentence.
fn duration(case: &Case, setting: &Setting) -> String {
    let (counted, before) = (case.measured_secs(setting.secs), case.warm_up_secs(setting.warm_up));
    format!(" {counted} s of load after {before} s of warm-up.")
}

/// One case, as Markdown.
pub(crate) fn table(summary: &Summary<'_>) -> String {
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
    for entry in &summary.entries {
        let _ = write!(text, "\n{}", row(summary, entry));
    }
    let rounds = summary.entries.iter().map(|entry| entry.runs.len()).max().unwrap_or_default();
    let counted = Spread::of(
        summary.entries.iter().flat_map(|entry| &entry.runs).map(|run| run.figures.requests as f64),
    );
    let _ =
        write!(text, "\n\nMedian (range) of {rounds} rounds with {} requests each.", cell(counted, 1.0, 0));
    if summary.late > 0 {
        let _ = write!(text, " Not used, because the machine was late: {} runs.", summary.late);
    }
    text.push('\n');
    text
}

fn row(summary: &Summary<'_>, entry: &Entry<'_>) -> String {
    let mut text = if entry.name == CANDIDATE {
        format!("| **{}** |", entry.name)
    } else {
        format!("| {} |", entry.name)
    };
    for (figure, _, scale) in FIGURES {
        let digits = if scale > 1.0 { 1 } else { 2 };
        let _ = write!(text, " {} |", cell(entry.spread(figure), scale, digits));
    }
    let shares: Vec<String> = shares(entry).iter().map(|share| format!("{:.0}", share * 100.0)).collect();
    let over = |of: fn(&Record) -> f64| Spread::of(entry.runs.iter().map(|run| of(run)));
    let _ = write!(text, " {} | {} |", entry.failed(), shares.join(" "));
    let _ = write!(
        text,
        " {} |",
        over(|run| run.hits).map_or("-".to_owned(), |hits| format!("{:.0}", hits.middle * 100.0))
    );
    let busy = over(|run| run.cpu.contender / run.cpu.wall.max(0.1));
    let _ = write!(text, " {} |", busy.map_or("-".to_owned(), |busy| format!("{:.1}", busy.middle * 100.0)));
    for figure in COMPARED {
        let ratio = summary
            .candidate()
            .filter(|ours| ours.name != entry.name)
            .and_then(|ours| ours.ratio(entry, figure));
        let _ = write!(text, " {} |", cell(ratio, 1.0, 2));
    }
    text
}

fn cell(spread: Option<Spread>, scale: f64, digits: usize) -> String {
    let Some(Spread { middle, least, most }) = spread else { return "-".to_owned() };
    let (middle, least, most) = (middle * scale, least * scale, most * scale);
    if least < most {
        format!("{middle:.digits$} ({least:.digits$}-{most:.digits$})")
    } else {
        format!("{middle:.digits$}")
    }
}

/// The mean share of each worker over the rounds.
fn shares(entry: &Entry<'_>) -> Vec<f64> {
    let workers = entry.runs.iter().map(|run| run.shares.len()).max().unwrap_or_default();
    let of = |worker: usize| {
        let told = entry.runs.iter().filter_map(|run| run.shares.get(worker));
        told.sum::<f64>() / entry.runs.len() as f64
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
    use crate::compare::run_log::tests::{record, setting as some_setting};

    #[test]
    fn a_table_shows_medians_ranges_shares_and_ratios_to_everybody() {
        let order = [CANDIDATE, "smg/least_load"].map(str::to_owned);
        let name = CASES[0].name;
        let records = [
            record(name, CANDIDATE, 1, 1.0),
            record(name, CANDIDATE, 2, 2.0),
            record(name, "smg/least_load", 1, 2.0),
            record(name, "smg/least_load", 2, 3.0),
        ];
        let text = table(&Summary::of(&CASES[0], &order, &records).unwrap());
        assert!(text.contains("| **sgl-router/marginal_cost** | 1.50 (1.00-2.00) |"), "{text}");
        assert!(text.contains("| smg/least_load | 2.50 (2.00-3.00) |"), "{text}");
        assert!(text.contains("| 0 | 50 50 | 0 | 0.0 | 0.58 (0.50-0.67) |"), "{text}");
        assert!(text.contains("Median (range) of 2 rounds with 100 requests each."), "{text}");
    }

    #[test]
    fn the_page_holds_its_plots_and_they_are_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("e.md");
        fs::write(&page, "<!-- compare-peers figures: begin -->\n<!-- compare-peers figures: end -->\n")
            .unwrap();
        let file = folder.path().join("runs.jsonl");
        let mut book = Book::open(file, some_setting()).unwrap();
        for (case, who, mean) in
            [("change", CANDIDATE, 1.0), ("change", "smg/least_load", 2.0), ("even-75", CANDIDATE, 1.0)]
        {
            book.add(record(case, who, 1, mean)).unwrap();
        }
        write(&book, folder.path(), "e.md").unwrap();
        let text = fs::read_to_string(&page).unwrap();
        for plot in ["ratios", "change", "change-course", "even-75"] {
            assert!(text.contains(&format!("(e/{plot}.svg)")), "{text}");
            let svg = fs::read_to_string(folder.path().join(format!("e/{plot}.svg"))).unwrap();
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{plot}");
        }
    }
}
