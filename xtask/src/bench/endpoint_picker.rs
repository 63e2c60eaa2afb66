//! Envoy with the endpoint picker beside the router alone, in front of the same emulated servers: CPU time, added latency, and whether the
//! same servers are chosen.

use super::result_table::{ContenderRow, ResultColumn, ResultTable};
use crate::command;
use crate::harness::envoy::Envoy;
use crate::harness::fleet::Fleet;
use crate::harness::http;
use crate::harness::process::{RunningProcess, free_port};
use crate::harness::workspace::{Chats, Workspace};
use anyhow::{Context, Result, ensure};
use std::process::Command;

/// What the proxies are sent. Engines of the first two are fast enough that they are not what is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Load {
    /// Chats with two tokens, as a whole.
    Short,
    /// Chats with many tokens, as streams.
    Streamed,
    /// As the first, one at a time.
    Alone,
    /// A load of streams on servers of unequal speed.
    Uneven,
}

impl Load {
    const ALL: [Self; 4] = [Self::Short, Self::Streamed, Self::Alone, Self::Uneven];

    const fn fleet(self) -> &'static str {
        match self {
            Self::Short | Self::Alone => "sglang_1.5b*4@50",
            Self::Streamed => "sglang_1.5b*4",
            Self::Uneven => "h200*1,rtx4090*2",
        }
    }

    const fn requests(self, smoke: bool) -> u32 {
        let all = match self {
            Self::Short => 4000,
            Self::Streamed => 100,
            Self::Alone => 1000,
            Self::Uneven => 100,
        };
        if smoke { all / 10 } else { all }
    }

    const fn tokens(self) -> u32 {
        match self {
            Self::Short | Self::Alone => 2,
            Self::Streamed | Self::Uneven => 128,
        }
    }

    /// The command that sends it.
    fn send(self, workspace: &Workspace, port: u16, smoke: bool) -> Command {
        let (kind, at_once, rate) = match self {
            Self::Short => ("--no-stream", "32", "inf"),
            Self::Streamed => ("--stream", "64", "inf"),
            Self::Alone => ("--no-stream", "1", "inf"),
            Self::Uneven => ("--stream", "1000", "15"),
        };
        let (requests, tokens) = (self.requests(smoke), self.tokens());
        workspace.send_chats(port, &Chats { kind, requests, tokens, at_once, rate })
    }
}

/// Proxies in front of one fleet: those that carry requests, and the picker beside them.
struct MeasuredProxy {
    port: u16,
    carrier: RunningProcess,
    picker: Option<RunningProcess>,
}

/// What one load cost.
struct Cost {
    /// CPU time per unit, in microseconds: all proxies together, and the picker alone.
    all: f64,
    picker: f64,
    /// Of the responses, in milliseconds.
    mean: f64,
    median: f64,
}

/// Measures the router alone, and Envoy with the endpoint picker.
///
/// # Errors
/// Something cannot be started, or a request failed.
pub(crate) async fn measure(workspace: &Workspace, rounds: u32, smoke: bool) -> Result<ResultTable> {
    let envoy = Envoy::install(&workspace.venvs)?;
    let combined = format!("envoy {} + endpoint picker", envoy.version);
    let mut rows = [ContenderRow::new("sgl-router launch"), ContenderRow::new(&combined)];
    for round in 1..=rounds {
        let mut figures = [[0.0; 6]; 2];
        for load in Load::ALL {
            // New proxies and a new fleet each time: what they have learned is part of what is compared.
            let log = workspace.scratch.join("picker-fleet.log");
            let fleet = Fleet::start_with(&workspace.binary, load.fleet(), &[], &log).await?;
            for (row, figures) in figures.iter_mut().enumerate() {
                let mut proxy = match row {
                    0 => router(workspace, &fleet.ports).await?,
                    _ => gateway(workspace, &envoy, &fleet.ports).await?,
                };
                let cost = cost(workspace, load, &mut proxy, smoke)?;
                match load {
                    Load::Short => (figures[0], figures[1]) = (cost.all, cost.picker),
                    Load::Streamed => (figures[2], figures[3]) = (cost.all, cost.picker),
                    Load::Alone => figures[4] = cost.median,
                    Load::Uneven => figures[5] = cost.mean,
                }
            }
        }
        rows.iter_mut().zip(figures).for_each(|(row, figures)| row.add(figures));
        println!("endpoint picker: round {round} of {rounds} done");
    }
    let title = "Chats of 100 words with `marginal_cost`, 4 emulated workers: 4000 answers of 2 tokens, 32 at a time; 100 streams of 128 tokens, 64 \
                 at a time; 1000 answers of 2 tokens, one at a time; and 100 streams of 128 tokens at 15 per second on one H200 and two RTX 4090"
        .to_owned();
    let column = |title, decimals, ratio| ResultColumn { title, decimals, ratio };
    let columns = vec![
        column("CPU per short request, us", 1, true),
        column("picker's part", 1, false),
        column("CPU per streamed token, us", 1, true),
        column("picker's part", 1, false),
        column("p50 of one at a time, ms", 2, false),
        column("mean on the unequal fleet, ms", 0, true),
    ];
    Ok(ResultTable { title, base: "launch", columns, rows: rows.to_vec() })
}

fn cost(workspace: &Workspace, load: Load, proxy: &mut MeasuredProxy, smoke: bool) -> Result<Cost> {
    let before = proxy.cpu_secs()?;
    let printed = command::output(&mut load.send(workspace, proxy.port, smoke))?;
    ensure!(printed.contains(", 0 failed"), "requests failed: {printed}");
    let after = proxy.cpu_secs()?;
    let of_units = if load == Load::Streamed { load.tokens() } else { 1 };
    let units = f64::from(load.requests(smoke)) * f64::from(of_units);
    let per_unit = |secs: f64| secs * 1e6 / units;
    let (mean, median) = latency(&printed).with_context(|| format!("no latency in: {printed}"))?;
    Ok(Cost { all: per_unit(after.0 - before.0), picker: per_unit(after.1 - before.1), mean, median })
}

/// Mean and median of the end-to-end latency in what `send` prints, in milliseconds.
fn latency(printed: &str) -> Option<(f64, f64)> {
    let line = printed.lines().find_map(|line| line.trim().strip_prefix("E2E latency"))?;
    let mut figures = line.split_whitespace().map(str::parse::<f64>);
    Some((figures.next()?.ok()?, figures.next()?.ok()?))
}

impl MeasuredProxy {
    /// CPU time so far, in seconds: of all, and of the picker.
    fn cpu_secs(&mut self) -> Result<(f64, f64)> {
        self.carrier.check()?;
        let carrier = self.carrier.cpu_time()?.as_secs_f64();
        let picker = match &mut self.picker {
            Some(picker) => picker.cpu_time()?.as_secs_f64(),
            None => 0.0,
        };
        Ok((carrier + picker, picker))
    }
}

async fn router(workspace: &Workspace, workers: &[u16]) -> Result<MeasuredProxy> {
    let port = free_port()?;
    let carrier = start(workspace, "launch", port, workers, &[]).await?;
    Ok(MeasuredProxy { port, carrier, picker: None })
}

async fn gateway(workspace: &Workspace, envoy: &Envoy, workers: &[u16]) -> Result<MeasuredProxy> {
    let (port, admin, grpc) = (free_port()?, free_port()?, free_port()?);
    let options = ["--grpc-port", &grpc.to_string()];
    let picker = start(workspace, "endpoint-picker", admin, workers, &options).await?;
    let mut command = envoy.picking_command(workspace, port, grpc, workers)?;
    let log = workspace.scratch.join("picker-envoy.log");
    let mut carrier = RunningProcess::start(&mut command, &log)?;
    carrier.wait_until(|| http::is_ok(port, "/health")).await.context("cannot start Envoy")?;
    Ok(MeasuredProxy { port, carrier, picker: Some(picker) })
}

async fn start(
    workspace: &Workspace,
    subcommand: &str,
    port: u16,
    workers: &[u16],
    options: &[&str],
) -> Result<RunningProcess> {
    let mut command = Command::new(&workspace.binary);
    let urls = workers.iter().map(|worker| format!("http://127.0.0.1:{worker}"));
    command.args([subcommand, "--log-level", "warn", "--port", &port.to_string()]).args(options);
    command.arg("--worker-urls").args(urls);
    let log = workspace.scratch.join(format!("picker-{subcommand}.log"));
    let mut process = RunningProcess::start(&mut command, &log)?;
    process
        .wait_until(|| http::is_ok(port, "/readiness"))
        .await
        .with_context(|| format!("cannot start {subcommand}"))?;
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_is_read_from_the_table() {
        let printed = "milliseconds                mean       p50       p90\nE2E latency              1506.38   1725.44   2304.00\n";
        assert_eq!(latency(printed), Some((1506.38, 1725.44)));
        assert_eq!(latency("100 requests"), None);
    }
}
