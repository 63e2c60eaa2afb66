//! Reads the files of runs and reports on them: figures, an HTML page, and an audit of recorded decisions.
//!
//! Two kinds of file are recognised by their header: those of `sgl-router send` (a row per request, as the client saw
//! it) and those of the router's recorder (a row per decision and per completion). This crate only reads files: it
//! measures nothing, connects to no router and needs no network, and neither does the page that it writes.
//!
//! The modules, top down; each uses only those below it:
//!
//! ```text
//! page                              the report as one HTML file
//! report                            several runs side by side
//! table  words                      the same for a terminal; in sentences
//! compare                           differences of two runs, and what makes them not comparable
//! figures         audit             what a run comes to; whether its decisions are true
//! read                              files into runs or columns
//! run  problem  simulation          plain data
//! ```
//!
//! ```
//! use router_report::{RunReport, read_run};
//! # let dir = tempfile::tempdir()?;
//! # let file = dir.path().join("run.csv");
//! # std::fs::write(&file, "req_id,success,host,arrival_time,finish_time\na,True,http://w1,0.0,1.5\n")?;
//! let reading = read_run(&file);
//! let report = RunReport::of(vec![reading], None);
//! assert_eq!(report.runs[0].summary.latency.as_ref().map(|l| l.p50), Some(1.5));
//! assert!(report.page().starts_with("<!doctype html>"));
//! # Ok::<(), std::io::Error>(())
//! ```

mod audit;
mod compare;
mod figures;
mod page;
mod problem;
mod read;
mod report;
mod run;
mod simulation;
mod table;
mod words;

pub use audit::{Audit, AuditFault, AuditFinding, audit};
pub use compare::{ComparedMeasure, Interval, PairingMethod, RunComparison};
pub use figures::{FaultFigures, QuantileSummary, RatedChoices, RunFigures, RunSummary, ShadowFigures};
pub use problem::{FileProblem, FileProblems};
pub use read::{ColumnTable, ColumnValues, NumberKind, read_columns, read_run, read_runs};
pub use report::RunReport;
pub use run::{
    FileKind, NameTable, ParsedFile, PlannedLengths, RecordedDecision, RecordedForecast, RecordedRequest,
    RecordedRun, RecordedShadow, ShadowRatings,
};
pub use simulation::{
    MeasureComparison, MeasureEstimate, ReplayFidelity, SHOWN_MEASURES, ServerShare, ShownMeasure,
    SimulationReport,
};
