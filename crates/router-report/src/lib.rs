//! Reads what runs have left in CSV files, and says what came of them: figures, one page, an audit.
//!
//! Two kinds of file are known by their header: what `sgl-router send` writes (a row per request, as the client saw it)
//! and what the router's recorder writes (a row per decision and per completion). It reads files and nothing else: it
//! measures nothing, talks to no router and needs no network, and neither does the page it makes.
//!
//! ```
//! use router_report::{Report, read};
//! # let dir = tempfile::tempdir()?;
//! # let file = dir.path().join("run.csv");
//! # std::fs::write(&file, "req_id,success,host,arrival_time,finish_time\na,True,http://w1,0.0,1.5\n")?;
//! let reading = read(&file);
//! let report = Report::of(vec![reading], None);
//! assert_eq!(report.runs[0].summary.latency.as_ref().map(|l| l.p50), Some(1.5));
//! assert!(report.page().starts_with("<!doctype html>"));
//! # Ok::<(), std::io::Error>(())
//! ```

mod audit;
mod figures;
mod page;
mod problem;
mod read;
mod report;
mod run;
mod simulation;

pub use audit::{Audit, Fault, Finding, audit};
pub use figures::{Figures, Spread, Summary};
pub use problem::{Problem, Problems};
pub use read::{Cells, Sheet, Wholeness, read, sheet};
pub use report::Report;
pub use run::{Choice, Kind, Names, Reading, Request, Run};
pub use simulation::{Estimated, Fidelity, Measured, Share, Simulation};
