//! Several runs side by side.

use crate::audit::Audit;
use crate::figures::RunFigures;
use crate::problem::FileProblem;
use crate::run::{ParsedFile, RecordedRun};
use crate::simulation::SimulationReport;
use serde::Serialize;

/// Decisions shown one by one, in one run and in all together: what a page and a phone can bear.
const MOST_DECISIONS: (usize, usize) = (2_000, 12_000);

/// What came of some runs, the first of which the others are compared with.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RunReport {
    /// The runs, in the order in which they were given.
    pub runs: Vec<RunFigures>,
    /// What was wrong with the files.
    pub problems: Vec<FileProblem>,
    /// The audit of a recording, if one was asked for.
    pub audit: Option<Audit>,
    /// What was simulated, where the runs come from a simulation.
    pub simulation: Option<SimulationReport>,
}

impl RunReport {
    /// The report of what was read.
    pub fn of(readings: Vec<ParsedFile>, audit: Option<Audit>) -> Self {
        let (mut runs, mut problems) = (Vec::new(), Vec::new());
        for reading in readings {
            runs.extend(reading.run);
            problems.extend(reading.problems);
        }
        problems.extend(audit.iter().flat_map(|audit| audit.problems.iter().cloned()));
        Self { problems, audit, ..Self::about(runs) }
    }

    /// The report of a simulation and of one run of each of its policies.
    pub fn simulated(runs: Vec<RecordedRun>, simulation: SimulationReport) -> Self {
        Self { simulation: Some(simulation), ..Self::about(runs) }
    }

    fn about(mut runs: Vec<RecordedRun>) -> Self {
        tell_apart(&mut runs);
        let decisions = (MOST_DECISIONS.1 / runs.len().max(1)).min(MOST_DECISIONS.0);
        let runs = runs.into_iter().map(|run| RunFigures::of(run, decisions)).collect();
        Self { runs, problems: Vec::new(), audit: None, simulation: None }
    }

    /// Whether there is nothing to report: no file could be used.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.audit.as_ref().is_none_or(|audit| audit.decisions == 0)
    }
}

/// Gives files of the same name in different folders numbers.
fn tell_apart(runs: &mut [RecordedRun]) {
    let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
    for (i, run) in runs.iter_mut().enumerate() {
        let before = names[..i].iter().filter(|name| **name == run.name).count();
        if before > 0 {
            run.name = format!("{} ({})", run.name, before + 1);
        }
    }
}
