//! Several runs side by side.

use crate::audit::Audit;
use crate::figures::RunFigures;
use crate::problem::FileProblem;
use crate::run::{ParsedFile, RecordedRun};
use crate::simulation::SimulationReport;
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
}

impl RunReport {
    /// The report of these files.
    pub fn of(files: Vec<ParsedFile>, audit: Option<Audit>) -> Self {
        let (mut runs, mut problems) = (Vec::new(), Vec::new());
        for file in files {
            runs.extend(file.run);
            problems.extend(file.problems);
        }
        problems.extend(audit.iter().flat_map(|audit| audit.problems.iter().cloned()));
        Self { problems, audit, ..Self::of_runs(runs) }
    }

    /// The report of a simulation and of one run of each of its policies.
    pub fn simulated(runs: Vec<RecordedRun>, simulation: SimulationReport) -> Self {
        Self { simulation: Some(simulation), ..Self::of_runs(runs) }
    }

    fn of_runs(mut runs: Vec<RecordedRun>) -> Self {
        number_equal_names(&mut runs);
        let decisions = (MAX_DECISIONS / runs.len().max(1)).min(MAX_DECISIONS_PER_RUN);
        let runs = runs.into_iter().map(|run| RunFigures::of(run, decisions)).collect();
        Self { runs, problems: Vec::new(), audit: None, simulation: None }
    }

    /// Whether there is nothing to report, because no file could be used.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.audit.as_ref().is_none_or(|audit| audit.decisions == 0)
    }
}

/// Adds numbers to the names of runs from different folders whose files have the same name.
fn number_equal_names(runs: &mut [RecordedRun]) {
    let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
    for (i, run) in runs.iter_mut().enumerate() {
        let before = names[..i].iter().filter(|name| **name == run.name).count();
        if before > 0 {
            run.name = format!("{} ({})", run.name, before + 1);
        }
    }
}
