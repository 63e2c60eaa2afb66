//! Workers that are reached by gRPC beside HTTP: the router's CPU time for a short request and for a streamed token, in front of the same
//! emulated servers.

use super::result_table::{ContenderRow, ResultColumn, ResultTable};
use crate::command;
use crate::harness::fleet::Fleet;
use crate::harness::http;
use crate::harness::process::{RunningProcess, free_port};
use crate::harness::workspace::{Chats, Workspace};
use anyhow::{Context, Result, ensure};
use std::process::Command;
use std::time::Duration;

/// Fast enough that the engines are not what is waited for, and slow enough that tokens come one by one.
const FLEETS: [&str; 2] = ["sglang_1.5b*4@50", "sglang_1.5b*4"];
const REQUESTS: u32 = 8000;
const STREAMS: u32 = 200;
const TOKENS: u32 = 128;

/// How much is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extent {
    /// Enough for figures.
    Full,
    /// Enough to see that it works.
    Trial,
}

/// What the router is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Load {
    /// Chats with two tokens, as a whole.
    Short,
    /// Chats with many tokens, as streams.
    Streamed,
}

impl Load {
    const ALL: [Self; 2] = [Self::Short, Self::Streamed];

    /// How many of what the CPU time is told for.
    fn units(self, extent: Extent) -> f64 {
        let requests = f64::from(self.requests(extent));
        if self == Self::Short { requests } else { requests * f64::from(TOKENS) }
    }

    const fn requests(self, extent: Extent) -> u32 {
        let all = if matches!(self, Self::Short) { REQUESTS } else { STREAMS };
        if matches!(extent, Extent::Trial) { all / 10 } else { all }
    }

    /// The command that sends it.
    fn send(self, workspace: &Workspace, port: u16, extent: Extent) -> Command {
        let (kind, tokens, at_once) = match self {
            Self::Short => ("--no-stream", 2, "32"),
            Self::Streamed => ("--stream", TOKENS, "64"),
        };
        let requests = self.requests(extent);
        workspace.send_chats(port, &Chats { kind, requests, tokens, at_once, rate: "inf" })
    }
}

/// A router in front of the fleet.
struct MeasuredRouter {
    name: &'static str,
    port: u16,
    process: RunningProcess,
}

/// Measures the router over HTTP and over gRPC.
///
/// # Errors
/// Something cannot be started, or a request failed.
pub(crate) async fn measure(workspace: &Workspace, rounds: u32, extent: Extent) -> Result<ResultTable> {
    let mut rows = [ContenderRow::new("workers by HTTP"), ContenderRow::new("workers by gRPC")];
    let mut fleets = Vec::new();
    for (load, fleet) in Load::ALL.into_iter().zip(FLEETS) {
        fleets.push((load, start(workspace, fleet).await?));
    }
    for round in 1..=rounds {
        let mut costs = [[0.0; 2]; 2];
        for (column, (load, (_, routers))) in fleets.iter_mut().enumerate() {
            for (row, router) in routers.iter_mut().enumerate() {
                costs[row][column] = cost(workspace, *load, router, extent)?;
            }
        }
        rows.iter_mut().zip(costs).for_each(|(row, costs)| row.add(costs));
        println!("grpc: round {round} of {rounds} done");
    }
    let title = format!(
        "Chats of 100 words through the router with `round_robin`, 4 emulated workers: {REQUESTS} answers of 2 tokens, 32 at a time, and \
         {STREAMS} streams of {TOKENS} tokens, 64 at a time"
    );
    let column = |title| ResultColumn { title, decimals: 1, ratio: true };
    let columns = vec![column("CPU per short request, us"), column("CPU per streamed token, us")];
    Ok(ResultTable { title, base: "HTTP", columns, rows: rows.to_vec() })
}

/// CPU time per unit of a load, in microseconds.
fn cost(workspace: &Workspace, load: Load, router: &mut MeasuredRouter, extent: Extent) -> Result<f64> {
    let before = router.process.cpu_time()?;
    let printed = command::output(&mut load.send(workspace, router.port, extent))?;
    ensure!(printed.contains(", 0 failed"), "{}: requests failed: {printed}", router.name);
    router.process.check()?;
    let spent: Duration = router.process.cpu_time()?.saturating_sub(before);
    Ok(spent.as_secs_f64() * 1e6 / load.units(extent))
}

/// Starts a fleet, and a router over each of its protocols.
async fn start(workspace: &Workspace, fleet: &str) -> Result<(Fleet, [MeasuredRouter; 2])> {
    let log = workspace.scratch.join(format!("grpc-{}.log", fleet.len()));
    let workers = Fleet::start_with(&workspace.binary, fleet, &["--meta", "stock", "--grpc"], &log).await?;
    let urls: Vec<_> = workers.ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
    let http = router(workspace, "HTTP", &urls).await?;
    let grpc = router(workspace, "gRPC", &workers.grpc_urls).await?;
    Ok((workers, [http, grpc]))
}

async fn router(workspace: &Workspace, name: &'static str, workers: &[String]) -> Result<MeasuredRouter> {
    ensure!(!workers.is_empty(), "no worker has a URL for {name}");
    let port = free_port()?;
    let mut launch = workspace.launch();
    launch.args(["--policy", "round_robin", "--port", &port.to_string(), "--worker-urls"]).args(workers);
    let log = workspace.scratch.join(format!("grpc-router-{port}.log"));
    let mut process = RunningProcess::start(&mut launch, &log)?;
    process
        .wait_until(|| http::is_ok(port, "/readiness"))
        .await
        .with_context(|| format!("cannot start the router over {name}"))?;
    Ok(MeasuredRouter { name, port, process })
}
