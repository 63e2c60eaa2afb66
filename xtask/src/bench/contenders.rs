//! Who is measured: nginx, this router, and the routers on PyPI, each put up in front of the same workers.

use super::nginx::{self, Buffering};
use super::{backends, traffic};
use crate::rig::peers::{self, PEERS, Peer};
use crate::rig::process::{Running, free_port};
use anyhow::{Context, Result, bail};
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
    for policy in ["round_robin", "marginal_utility"] {
        let name = format!("sgl-router {} {policy}", env!("CARGO_PKG_VERSION"));
        if !wanted(site, &name) {
            continue;
        }
        let mut launch = Command::new(&site.binary);
        launch.args(["launch", "--policy", policy]);
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
