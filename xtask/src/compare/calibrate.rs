//! What a worker can do: the capacity that the cases' rates are shares of.

use super::case::{Case, Load};
use super::fleet::Fleet;
use super::workload::{self, Line};
use super::workspace::Site;
use crate::command;
use anyhow::{Context, Result};
use std::process::Command;

/// As much as arrives in so many seconds comes at once.
const WORK: f64 = 40.0;

/// Measures one worker of speed 1 under the load of each case, without a router, and prints its answers per second.
///
/// # Errors
/// The worker or the sender cannot be started.
pub(crate) async fn run(site: &Site, wanted: &[&'static Case]) -> Result<()> {
    println!("answers per second of one worker of speed 1 that is never out of work:");
    for case in wanted.iter().filter(|case| !matches!(case.load, Load::Trace { .. })) {
        let alone = Case { fleet: "sglang_8b", ..**case };
        let fleet =
            Fleet::start(&site.binary, &alone.fleet_line(), site.scratch.join("calibrate.log")).await?;
        let port = *fleet.ports.first().context("no worker")?;
        let rate = saturate(site, &alone, port)?;
        tokio::task::spawn_blocking(move || drop(fleet)).await?;
        println!("{:<16} {rate:.1}", case.name);
    }
    Ok(())
}

/// Sends everything at once and measures the middle of the time that it takes.
fn saturate(site: &Site, case: &Case, port: u16) -> Result<f64> {
    let (load, rows) = (site.scratch.join("calibrate.jsonl"), site.scratch.join("calibrate.csv"));
    let lines = workload::lines(case, 1, WORK, &site.traces)?.unwrap_or_default();
    let at_once: Vec<Line> = lines.into_iter().map(|line| Line { arrival_s: 0.0, ..line }).collect();
    workload::write(&at_once, &load)?;
    let mut send = Command::new(&site.binary);
    send.args(["send", "--no-stream", "--router-url", &format!("http://127.0.0.1:{port}")]);
    send.arg("--trace").arg(&load).arg("--output").arg(&rows);
    command::output(&mut send)?;
    #[derive(serde::Deserialize)]
    struct Row {
        finish_time: f64,
    }
    let read = || csv::Reader::from_path(&rows)?.into_deserialize().collect::<Result<Vec<Row>, _>>();
    let mut ends: Vec<f64> = read()?.into_iter().map(|row| row.finish_time).collect();
    ends.sort_by(f64::total_cmp);
    let (from, to) = (ends.len() / 4, ends.len() * 3 / 4);
    let took = ends.get(to).zip(ends.get(from)).map(|(last, first)| last - first);
    #[allow(clippy::cast_precision_loss, reason = "a few hundred answers")]
    Ok((to - from) as f64 / took.context("no answers")?)
}
