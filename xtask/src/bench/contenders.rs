//! Who is measured: nginx, this router, and the routers on PyPI, each put up in front of the same workers.

use super::nginx::{self, Buffering};
use super::{backends, traffic};
use crate::command;
use crate::harness::peers::{self, PEERS, Peer};
use crate::harness::process::{Running, free_port};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a contender may take until its first good answer.
const START: Duration = Duration::from_secs(60);

/// Where things are.
#[derive(Debug)]
pub(crate) struct Site {
    /// Configuration and logs of this run.
    pub(crate) scratch: PathBuf,
    /// One virtual environment for each router from PyPI.
    pub(crate) venvs: PathBuf,
    /// This router.
    pub(crate) binary: PathBuf,
    /// Names of those wanted; all when empty.
    pub(crate) only: Vec<String>,
}

/// A contender in place, or `direct`: the workers without anything in between.
#[derive(Debug)]
pub(crate) struct Contender {
    /// Name and version, as the table shows it.
    pub(crate) name: String,
    /// Where it listens.
    pub(crate) port: u16,
    process: Option<Running>,
}

impl Contender {
    /// The first worker itself.
    pub(crate) fn direct(port: u16) -> Self {
        Self { name: "direct".to_owned(), port, process: None }
    }

    /// What a recording router says of the rows that it did not write; absent for all others.
    ///
    /// # Errors
    /// It does not tell its metrics.
    pub(crate) fn rows_lost(&self) -> Result<Option<u64>> {
        if !self.name.ends_with(RECORDED) {
            return Ok(None);
        }
        let url = format!("http://127.0.0.1:{}/metrics", self.port);
        let metrics = command::output(Command::new("curl").args(["-sS", "--fail", &url]))?;
        lost(&metrics).map(Some).with_context(|| format!("{} tells of no lost rows", self.name))
    }

    /// CPU time so far; none for `direct`.
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

/// What the name of a recording contender ends in.
const RECORDED: &str = " recorded";

const OURS: [(&str, Recording); 3] = [
    ("round_robin", Recording::Off),
    ("marginal_utility", Recording::Off),
    ("marginal_utility", Recording::On),
];

/// Puts up all contenders in front of the workers. One that cannot be had is left out, loudly.
///
/// # Errors
/// nginx or this router cannot be started.
pub(crate) async fn start_all(site: &Site, workers: &[u16], buffering: Buffering) -> Result<Vec<Contender>> {
    let mut contenders = Vec::new();
    let port = free_port()?;
    let process = nginx::proxy(&site.scratch, port, workers, buffering)?;
    let name = format!("nginx {}", nginx::version().unwrap_or_default());
    contenders.push(ready(name, port, process).await?);
    let records = site.scratch.join("records");
    // What an earlier run recorded is of no use to anybody.
    let _ = fs::remove_dir_all(&records);
    for (policy, recording) in OURS {
        let name = format!("sgl-router {} {policy}{}", env!("CARGO_PKG_VERSION"), recording.suffix());
        if !wanted(site, &name) {
            continue;
        }
        let mut launch = Command::new(&site.binary);
        launch.args(["launch", "--policy", policy]);
        if recording == Recording::On {
            launch.arg("--record-dir").arg(&records);
        }
        contenders.push(start(site, (name, launch), workers).await?);
    }
    for peer in PEERS.iter().filter(|peer| wanted(site, peer.package)) {
        match start_peer(site, peer, workers).await {
            Ok(contender) => contenders.push(contender),
            Err(error) => println!("**** LEFT OUT: {}: {error:#}", peer.package),
        }
    }
    println!("in place: {}", contenders.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", "));
    Ok(contenders)
}

fn wanted(site: &Site, name: &str) -> bool {
    site.only.is_empty() || site.only.iter().any(|start| name.starts_with(start))
}

async fn start_peer(site: &Site, peer: &Peer, workers: &[u16]) -> Result<Contender> {
    let version = peer.install(&site.venvs)?;
    let launch = peer.launch(&site.venvs, "round_robin")?;
    start(site, (format!("{} {version}", peer.package), launch), workers).await
}

async fn start(site: &Site, (name, mut launch): (String, Command), workers: &[u16]) -> Result<Contender> {
    let port = free_port()?;
    peers::place(&mut launch, port, workers);
    let log = site.scratch.join(format!("{}.log", name.replace(' ', "-")));
    let process = Running::start(&mut launch, &log)?;
    ready(name, port, process).await.with_context(|| format!("its log: {}", log.display()))
}

/// Waits until the contender passes on a request.
async fn ready(name: String, port: u16, mut process: Running) -> Result<Contender> {
    let begun = Instant::now();
    loop {
        process.check().with_context(|| format!("cannot start {name}"))?;
        if backends::answers(port, traffic::stream_request()).await {
            return Ok(Contender { name, port, process: Some(process) });
        }
        if begun.elapsed() > START {
            bail!("{name} gave no good answer within {} s", START.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Records that were dropped on the way and rows that could not be written, together.
fn lost(metrics: &str) -> Option<u64> {
    let names = ["sgl_router_records_dropped_total ", "sgl_router_records_lost_total "];
    let count = |name| metrics.lines().find_map(|line| line.strip_prefix(name))?.parse::<u64>().ok();
    names.into_iter().map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_rows_are_added_up_and_their_absence_is_no_zero() {
        let metrics = "sgl_router_records_dropped_total 2\nsgl_router_records_lost_total 3\n";
        assert_eq!(lost(metrics), Some(5));
        assert_eq!(lost("sgl_router_records_dropped_total 2\n"), None);
    }
}
