//! A load generator for a router or an engine, and measurements of the responses.
//!
//! A [`LoadPlan`] fixes every request and its arrival time before the first is sent. [`run`] sends it in an open loop:
//! arrivals do not wait for responses. The [`LoadSummary`] and the [rows](write_rows) report every outcome, and how late
//! the sender was, because latencies measured by a late sender are wrong.
//!
//! It knows no policy. It reads the workers' time stamps where a response has them; what was not reported stays unknown.
//!
//! Modules, with arrows only downwards:
//!
//! ```text
//! rows, report           CSV rows and JSON totals of a result
//! run                    the open loop: sends a plan, collects outcomes
//! summary, limiter       totals; waits for time and room
//! exchanger, connection  sends one request, reads its response
//! plan, request_format   what is sent when, and its body
//! dataset, trace         prompts and recorded arrivals
//! client                 names of clients, and their headers
//! outcome, target, histogram, prompt, arrivals
//! ```
//!
//! ```no_run
//! # async fn measure() -> Result<(), Box<dyn std::error::Error>> {
//! use router_load::{ArrivalProcess, LoadTest, LoadPlan, RandomShape, RequestRate, LoadTarget, RequestFormat};
//!
//! let rate = RequestRate::per_second(50.0).ok_or("a rate is above 0")?;
//! let samples = RandomShape::default().samples(1);
//! let plan = LoadPlan::paced(samples, ArrivalProcess::Poisson(rate), 1.0, 1);
//! let target = LoadTarget::resolve("http://127.0.0.1:30000").await?;
//! let run = router_load::run(LoadTest::new(target, RequestFormat::default(), plan), &Default::default(), |_| {}).await;
//! println!("{}", run.summary);
//! # Ok(())
//! # }
//! ```

mod arrivals;
mod client;
mod connection;
mod dataset;
mod exchanger;
mod histogram;
mod limiter;
mod model;
mod outcome;
mod plan;
mod prompt;
mod report;
mod request_format;
mod rows;
mod run;
mod running_totals;
mod summary;
mod target;
mod trace;

pub use arrivals::{ArrivalProcess, RequestRate};
pub use client::{ClientName, InvalidClientName};
pub use dataset::{BadEntry, Dataset, DatasetError, PromptSample, RandomShape, read_custom, read_sharegpt};
pub use histogram::TimeHistogram;
pub use model::{fetch, first_model};
pub use outcome::{RequestFailure, RequestOutcome};
pub use plan::{ClientSample, LoadPlan, Pacing, PlannedRequest, ResponseMode};
pub use prompt::{BYTES_PER_TOKEN, Prompt, PromptSegment, tokens_of};
pub use report::{ClientReport, SummaryReport, TimeQuantiles};
pub use request_format::{ApiEndpoint, RequestFormat, StopRule, UnknownEndpoint};
pub use rows::{COLUMNS, FURTHER_COLUMNS, write_rows};
pub use run::{LoadResult, LoadTest, run};
pub use running_totals::{CompletedRequest, RunningTotals, running_totals};
pub use summary::{ClientSummary, LoadSummary};
pub use target::{LoadTarget, TargetError};
pub use tokio_util::sync::CancellationToken;
pub use trace::{BLOCK_TOKENS, RequestTrace, TraceLine, read_trace};
