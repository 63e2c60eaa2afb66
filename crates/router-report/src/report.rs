//! Several runs side by side.

use crate::audit::Audit;
use crate::compare::{RunComparison, compare_runs};
use crate::figures::RunFigures;
use crate::problem::FileProblem;
use crate::run::{FileKind, ParsedFile, RecordedRun};
use crate::simulation::SimulationReport;
use crate::words::{sentences, simulation_sentences};
use serde::Serialize;

/// How many decisions of one run the page shows; more would be slow on a phone.
const MAX_DECISIONS_PER_RUN: usize = 2_000;
/// How many decisions of all runs together the page shows.
const MAX_DECISIONS: usize = 12_000;

/// The report of several runs; the others are compared with the first.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RunReport {
    /// The runs, in the given order.
    pub runs: Vec<RunFigures>,
    /// The problems of the files.
    pub problems: Vec<FileProblem>,
    /// The audit of a recording, if requested.
    pub audit: Option<Audit>,
    /// The simulation, if the runs come from one.
    pub simulation: Option<SimulationReport>,
    /// Every run beside the first one of its kind.
    pub comparisons: Vec<RunComparison>,
    /// The findings in words, one sentence each.
    pub words: Vec<String>,
}

impl RunReport {
    /// The report of these files. The result of a simulation has a page of its own: beside runs it is left out.
    pub fn of(files: Vec<ParsedFile>, audit: Option<Audit>) -> Self {
        let (mut runs, mut problems, mut simulations) = (Vec::new(), Vec::new(), Vec::new());
        for file in files {
            runs.extend(file.run);
            problems.extend(file.problems);
            simulations.extend(file.simulation);
        }
        problems.extend(audit.iter().flat_map(|audit| audit.problems.iter().cloned()));
        if simulations.len() > usize::from(runs.is_empty()) {
            problems.push(FileProblem {
                file: "simulation".to_owned(),
                line: None,
                column: None,
                message: "the results of a simulation have a page of their own; one is drawn, without runs beside it"
                    .to_owned(),
            });
        }
        let report = match simulations.into_iter().next().filter(|_| runs.is_empty()) {
            Some(simulation) => Self::simulated(Vec::new(), simulation),
            None => Self::of_runs(runs),
        };
        Self { problems, audit, ..report }
    }

    /// The report of a simulation and of one run of each of its policies.
    pub fn simulated(runs: Vec<RecordedRun>, simulation: SimulationReport) -> Self {
        let words = simulation_sentences(&simulation);
        let runs = figures(runs);
        Self { runs, words, simulation: Some(simulation), ..Self::empty() }
    }

    fn of_runs(mut runs: Vec<RecordedRun>) -> Self {
        number_equal_names(&mut runs);
        let comparisons = compare_runs(&runs);
        let runs = figures(runs);
        let words = sentences(&runs, &comparisons);
        Self { runs, words, comparisons, ..Self::empty() }
    }

    const fn empty() -> Self {
        Self {
            runs: Vec::new(),
            problems: Vec::new(),
            audit: None,
            simulation: None,
            comparisons: Vec::new(),
            words: Vec::new(),
        }
    }

    /// Whether there is nothing to report, because no file could be used.
    pub fn is_empty(&self) -> bool {
        let nothing = self.runs.is_empty() && self.simulation.is_none();
        nothing && self.audit.as_ref().is_none_or(|audit| audit.decisions == 0)
    }
}

fn figures(runs: Vec<RecordedRun>) -> Vec<RunFigures> {
    let decisions = (MAX_DECISIONS / runs.len().max(1)).min(MAX_DECISIONS_PER_RUN);
    runs.into_iter().map(|run| RunFigures::of(run, decisions)).collect()
}

/// Tells runs of the same name apart: a router's recording beside the file of its client says so, others get numbers.
fn number_equal_names(runs: &mut [RecordedRun]) {
    let both = |name: &str| {
        let of = |kind| runs.iter().any(|run| run.name == name && run.kind == kind);
        of(FileKind::Client) && of(FileKind::Recorder)
    };
    let names: Vec<String> = runs
        .iter()
        .map(|run| match run.kind {
            FileKind::Recorder if both(&run.name) => format!("{} (router)", run.name),
            _ => run.name.clone(),
        })
        .collect();
    for (i, run) in runs.iter_mut().enumerate() {
        let before = names[..i].iter().filter(|name| **name == names[i]).count();
        run.name = if before > 0 { format!("{} ({})", names[i], before + 1) } else { names[i].clone() };
    }
}
