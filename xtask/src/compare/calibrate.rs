//! The capacity of a worker, which the rates of the cases are shares of.

use super::case::{Case, CaseLoad};
use super::workload::{self, TraceLine};
use crate::command;
use crate::harness::fleet::Fleet;
use crate::harness::stats::sorted;
use crate::harness::workspace::Workspace;
use anyhow::{Context, Result};
use std::path::Path;

/// The requests of so many seconds are sent at once.
const WORK_SECS: f64 = 40.0;

/// Measures one worker of speed 1 under the load of each case, without a router, and prints its responses per second.
///
/// # Errors
/// The worker or the sender cannot be started.
pub(crate) async fn run(workspace: &Workspace, traces: &Path, cases: &[&'static Case]) -> Result<()> {
    println!("responses per second of one worker of speed 1 that always has requests waiting:");
    for case in cases.iter().filter(|case| !matches!(case.load, CaseLoad::Trace { .. })) {
        let alone = Case { fleet: "sglang_8b", ..**case };
        let fleet =
            Fleet::start(&workspace.binary, &alone.fleet_line(), &workspace.scratch.join("calibrate.log"))
                .await?;
        let port = *fleet.ports.first().context("no worker")?;
        let rate = saturate(workspace, traces, &alone, port)?;
        tokio::task::spawn_blocking(move || drop(fleet)).await?;
        println!("{:<16} {rate:.1}", case.name);
    }
    Ok(())
}

/// Sends all requests at once and returns the rate of the middle half of the responses.
fn saturate(workspace: &Workspace, traces: &Path, case: &Case, port: u16) -> Result<f64> {
    let (load, rows) = (workspace.scratch.join("calibrate.jsonl"), workspace.scratch.join("calibrate.csv"));
    let lines = workload::lines(case, 1, WORK_SECS, traces)?.unwrap_or_default();
    let at_once: Vec<TraceLine> =
        lines.into_iter().map(|line| TraceLine { arrival_s: 0.0, ..line }).collect();
    workload::write(&at_once, &load)?;
    let mut send = workspace.send(port);
    send.arg("--no-stream").arg("--trace").arg(&load).arg("--output").arg(&rows);
    command::output(&mut send)?;
    #[derive(serde::Deserialize)]
    struct FinishTime {
        finish_time: f64,
    }
    let read = || csv::Reader::from_path(&rows)?.into_deserialize().collect::<Result<Vec<FinishTime>, _>>();
    let ends = sorted(read()?.into_iter().map(|row| row.finish_time));
    let (from, to) = (ends.len() / 4, ends.len() * 3 / 4);
    let took = ends.get(to).zip(ends.get(from)).map(|(last, first)| last - first);
    #[allow(clippy::cast_precision_loss, reason = "a few hundred responses")]
    Ok((to - from) as f64 / took.context("no responses")?)
}
