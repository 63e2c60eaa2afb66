//! The routers that are measured: nginx, this router and those on PyPI, each in front of the same workers.

use super::nginx::{self, Buffering};
use super::{backends, traffic};
use crate::harness::http;
use crate::harness::peers::{PEERS, Peer, add_addresses};
use crate::harness::process::{RunningProcess, free_port};
use crate::harness::workspace::Workspace;
use anyhow::{Context, Result};
use std::fs;
use std::process::Command;
use std::time::Duration;

/// A running router, or the first worker without a router.
#[derive(Debug)]
pub(crate) struct RunningContender {
    /// Name and version for the table.
    pub(crate) name: String,
    pub(crate) port: u16,
    process: Option<RunningProcess>,
}

impl RunningContender {
    /// The first worker itself.
    pub(crate) fn direct(port: u16) -> Self {
        Self { name: "direct".to_owned(), port, process: None }
    }

    /// Waits until the router forwards a request.
    async fn ready(name: String, port: u16, mut process: RunningProcess) -> Result<Self> {
        let is_ready = || backends::succeeds(port, traffic::stream_request());
        process.wait_until(is_ready).await.with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, port, process: Some(process) })
    }

    /// Rows that a recording router could not write; `None` for a router that does not record.
    ///
    /// # Errors
    /// Its metrics cannot be read.
    pub(crate) async fn rows_lost(&self) -> Result<Option<u64>> {
        if !self.name.ends_with(RECORDED) {
            return Ok(None);
        }
        let (_, metrics) = http::get(self.port, "/metrics").await?;
        lost_rows(&metrics).map(Some).with_context(|| format!("{} has no metric of lost rows", self.name))
    }

    /// CPU time so far; zero for `direct`.
    ///
    /// # Errors
    /// The process is gone.
    pub(crate) fn cpu_time(&mut self) -> Result<Duration> {
        let Some(process) = &mut self.process else { return Ok(Duration::ZERO) };
        process.check().with_context(|| self.name.clone())?;
        process.cpu_time().with_context(|| self.name.clone())
    }
}

/// Whether decisions and completions are written to files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Recording {
    On,
    Off,
}

impl Recording {
    const fn suffix(self) -> &'static str {
        match self {
            Self::On => RECORDED,
            Self::Off => "",
        }
    }
}

/// The end of a recording router's name.
const RECORDED: &str = " recorded";

const OURS: [(&str, Recording); 3] = [
    ("round_robin", Recording::Off),
    ("marginal_utility", Recording::Off),
    ("marginal_utility", Recording::On),
];

/// The routers to start, and what they stand in front of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lineup<'a> {
    pub(crate) workspace: &'a Workspace,
    /// How the names of the wanted routers begin; all are wanted when it is empty.
    pub(crate) only: &'a [String],
    pub(crate) workers: &'a [u16],
    /// How nginx treats responses.
    pub(crate) buffering: Buffering,
}

impl Lineup<'_> {
    /// Starts all routers. A peer that cannot be installed or started is left out with a notice.
    ///
    /// # Errors
    /// nginx or this router cannot be started.
    pub(crate) async fn start(self) -> Result<Vec<RunningContender>> {
        let port = free_port()?;
        let process = nginx::proxy(&self.workspace.scratch, port, self.workers, self.buffering)?;
        let name = format!("nginx {}", nginx::version().unwrap_or_default());
        let mut contenders = vec![RunningContender::ready(name, port, process).await?];
        let records = self.workspace.scratch.join("records");
        // Left over from an earlier run.
        let _ = fs::remove_dir_all(&records);
        for (policy, recording) in OURS {
            let name = format!("sgl-router {} {policy}{}", env!("CARGO_PKG_VERSION"), recording.suffix());
            if !self.wants(&name) {
                continue;
            }
            let mut launch = self.workspace.launch();
            launch.args(["--policy", policy]);
            if recording == Recording::On {
                launch.arg("--record-dir").arg(&records);
            }
            contenders.push(self.start_one(name, launch).await?);
        }
        for peer in PEERS.iter().filter(|peer| self.wants(peer.package)) {
            match self.start_peer(peer).await {
                Ok(contender) => contenders.push(contender),
                Err(error) => println!("**** LEFT OUT: {}: {error:#}", peer.package),
            }
        }
        println!("started: {}", contenders.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", "));
        Ok(contenders)
    }

    fn wants(self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|start| name.starts_with(start))
    }

    async fn start_peer(self, peer: &Peer) -> Result<RunningContender> {
        let version = peer.install(&self.workspace.venvs)?;
        let launch = peer.launch(&self.workspace.venvs, "round_robin")?;
        self.start_one(format!("{} {version}", peer.package), launch).await
    }

    async fn start_one(self, name: String, mut launch: Command) -> Result<RunningContender> {
        let port = free_port()?;
        add_addresses(&mut launch, port, self.workers);
        let log = self.workspace.scratch.join(format!("{}.log", name.replace(' ', "-")));
        let process = RunningProcess::start(&mut launch, &log)?;
        RunningContender::ready(name, port, process).await
    }
}

/// Records that were dropped and rows that could not be written, together.
fn lost_rows(metrics: &str) -> Option<u64> {
    let names = ["sgl_router_records_dropped_total ", "sgl_router_records_lost_total "];
    let count = |name| metrics.lines().find_map(|line| line.strip_prefix(name))?.parse::<u64>().ok();
    names.into_iter().map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_rows_are_summed() {
        let metrics = "sgl_router_records_dropped_total 2\nsgl_router_records_lost_total 3\n";
        assert_eq!(lost_rows(metrics), Some(5));
        assert_eq!(lost_rows("sgl_router_records_dropped_total 2\n"), None);
    }
}
