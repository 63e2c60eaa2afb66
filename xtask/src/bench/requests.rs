//! Requests as fast as the connections send them, and at half of that rate: CPU time per request and latency.

use super::BenchOptions;
use super::cell::BenchCell;
use super::contenders::RunningContender;
use super::nginx::{self, Buffering};
use super::result_table::{ContenderRow, ResultColumn, ResultTable};
use super::wrk::WrkRun;
use crate::harness::process::free_ports;
use crate::harness::workspace::Workspace;
use anyhow::Result;
use std::time::Duration;

/// Measures all contenders in one cell.
///
/// # Errors
/// Something cannot be started, or wrk prints no result.
pub(crate) async fn measure(
    workspace: &Workspace,
    options: &BenchOptions,
    cell: BenchCell,
) -> Result<ResultTable> {
    let ports = free_ports(cell.workers)?;
    let _workers = nginx::workers(&workspace.scratch, &ports)?;
    let mut contenders = options.lineup(workspace, &ports, Buffering::On).start().await?;
    let run = WrkRun {
        scratch: &workspace.scratch,
        port: 0,
        body: cell.body,
        connections: cell.connections,
        time: Duration::from_secs(1),
        seed: 0,
        rate: None,
    };
    for contender in &contenders {
        WrkRun { port: contender.port, ..run }.run().await?;
    }
    let mut rows: Vec<_> = contenders.iter().map(|contender| ContenderRow::new(&contender.name)).collect();
    for round in 1..=options.rounds() {
        let run = WrkRun { time: options.time(), ..run };
        for (contender, row) in contenders.iter_mut().zip(&mut rows) {
            let before = contender.cpu_time()?;
            let full = WrkRun { port: contender.port, seed: 2 * round, ..run }.run().await?;
            let spent = contender.cpu_time()?.saturating_sub(before);
            let per_request = spent.as_secs_f64() * 1e6 / full.completed.max(1.0);
            let rate = Some(full.per_second.max(2.0) / 2.0);
            let half = WrkRun { port: contender.port, seed: 2 * round + 1, rate, ..run }.run().await?;
            let failed = full.failed + half.failed;
            row.add([per_request, full.per_second, full.p50, full.p99, half.p50, half.p99, failed]);
        }
        println!("{cell}: round {round} of {} done", options.rounds());
    }
    let title = format!(
        "**{cell}**: POST /v1/chat/completions, {}; wrk with {} kept connections, {} nginx workers that answer at once{}",
        cell.body.description(),
        cell.connections,
        cell.workers,
        rows_lost(&contenders).await?
    );
    Ok(ResultTable { title, base: "nginx", columns: columns(), rows })
}

fn columns() -> Vec<ResultColumn> {
    let latency = |title| ResultColumn { title, decimals: 2, ratio: false };
    vec![
        ResultColumn { title: "CPU, us", decimals: 1, ratio: true },
        ResultColumn { title: "req/s", decimals: 0, ratio: false },
        latency("p50, ms"),
        latency("p99"),
        latency("at half: p50"),
        latency("p99"),
        ResultColumn { title: "failed", decimals: 0, ratio: false },
    ]
}

/// How many rows the recording contender lost, in words.
async fn rows_lost(contenders: &[RunningContender]) -> Result<String> {
    for contender in contenders {
        if let Some(rows) = contender.rows_lost().await? {
            return Ok(format!("; of two rows per request, `{}` lost {rows} in all", contender.name));
        }
    }
    Ok(String::new())
}
