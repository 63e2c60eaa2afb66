//! One run: fresh workers, a fresh contender in front of them, the load, and what came of it.

use super::case::{Case, Change};
use super::contender::Contender;
use super::fleet::{Counts, Fleet};
use super::rows::Figures;
use super::run_log::{Cpu, Record};
use super::workspace::Site;
use crate::harness::http;
use crate::harness::process::{Running, free_port};
use anyhow::{Context, Result, bail, ensure};
use hyper::StatusCode;
use serde::Deserialize;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a contender may take until it knows all workers.
const START: Duration = Duration::from_secs(60);

/// How often a running load is looked at, and CPU time with it.
const GLANCE: Duration = Duration::from_secs(1);

/// Share of the answers that are streamed.
const STREAMS: &str = "0.3";

/// A request that takes longer than this many seconds has failed.
const PATIENCE: &str = "180";

/// One run, to be done.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    /// The case.
    pub(crate) case: &'static Case,
    /// The contender.
    pub(crate) contender: &'static Contender,
    /// The version of its program.
    pub(crate) version: String,
    /// The round, from 1.
    pub(crate) round: u32,
    /// The load: a trace of [`super::workload`].
    pub(crate) load: PathBuf,
    /// Seconds that do not count.
    pub(crate) warm_up: u64,
}

/// What stands while a load runs. Its guards block for a moment when they are dropped.
struct Standing {
    router: Running,
    fleet: Fleet,
}

impl Trial {
    /// Does it.
    ///
    /// # Errors
    /// Something cannot be started, or no request was answered.
    pub(crate) async fn run(&self, site: &Site) -> Result<Record> {
        let fleet =
            Fleet::start(&site.binary, &self.case.fleet_line(), self.file(site, "workers.log")).await?;
        let (port, router) = self.start(site, &fleet).await?;
        let mut standing = Standing { router, fleet };
        let done = self.measure(site, port, &mut standing).await;
        // Elsewhere, because a peer may take seconds to end and other runs must not wait for that.
        tokio::task::spawn_blocking(move || drop(standing)).await?;
        let (cpu, counts) = done?;
        let figures = Figures::read(&self.file(site, "csv"), self.warm_up as f64)?;
        let total = counts.answered.iter().sum::<f64>().max(1.0);
        Ok(Record {
            case: self.case.name.to_owned(),
            contender: self.contender.name(),
            version: self.version.clone(),
            round: self.round,
            figures,
            shares: counts.answered.iter().map(|answered| answered / total).collect(),
            hits: counts.cached_tokens / counts.prompt_tokens.max(1.0),
            late_steps: counts.late_wakeups / counts.wakeups.max(1.0),
            cpu,
        })
    }

    /// A file of this run alone.
    fn file(&self, site: &Site, kind: &str) -> PathBuf {
        let contender = self.contender.name().replace('/', "-");
        site.scratch.join(format!("{}-{contender}-{}.{kind}", self.case.name, self.round))
    }

    async fn start(&self, site: &Site, fleet: &Fleet) -> Result<(u16, Running)> {
        let (port, log) = (free_port()?, self.file(site, "router.log"));
        let mut command = self.contender.command(site, port, &fleet.ports)?;
        let mut router = Running::start(&mut command, &log)?;
        let begun = Instant::now();
        while !is_ready(port, fleet.ports.len()).await {
            router.check().with_context(|| format!("cannot start; its log: {}", log.display()))?;
            if begun.elapsed() > START {
                bail!("not ready after {} s; its log: {}", START.as_secs(), log.display());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok((port, router))
    }

    async fn measure(&self, site: &Site, port: u16, standing: &mut Standing) -> Result<(Cpu, Counts)> {
        let before = (standing.router.cpu_time()?, standing.fleet.process.cpu_time()?);
        let begun = Instant::now();
        let sender = Running::start(&mut self.sender(site, port), &self.file(site, "send.log"))?;
        let slowing = async {
            match self.case.change {
                Some(change) => slow_down(&standing.fleet.ports, change, self.warm_up).await,
                None => Ok(()),
            }
        };
        let (sent, slowed) = tokio::join!(finish(sender), slowing);
        slowed?;
        let sender =
            sent.with_context(|| format!("the load; see {}", self.file(site, "send.log").display()))?;
        standing.router.check()?;
        let counts = standing.fleet.counts().await?;
        let cpu = Cpu {
            contender: standing.router.cpu_time()?.saturating_sub(before.0).as_secs_f64(),
            workers: standing.fleet.process.cpu_time()?.saturating_sub(before.1).as_secs_f64(),
            sender: sender.as_secs_f64(),
            wall: begun.elapsed().as_secs_f64(),
        };
        Ok((cpu, counts))
    }

    fn sender(&self, site: &Site, port: u16) -> Command {
        let mut send = Command::new(&site.binary);
        send.args(["send", "--router-url", &format!("http://127.0.0.1:{port}"), "--threads", "1"]);
        send.args(["--stream", STREAMS, "--timeout-secs", PATIENCE, "--seed", &self.round.to_string()]);
        send.arg("--trace").arg(&self.load).arg("--output").arg(self.file(site, "csv"));
        send
    }
}

/// Waits for the load to end; its CPU time, as last seen.
async fn finish(mut sender: Running) -> Result<Duration> {
    let mut spent = Duration::ZERO;
    loop {
        spent = sender.cpu_time().unwrap_or(spent);
        if let Some(status) = sender.ended()? {
            ensure!(status.success(), "ended with {status}");
            return Ok(spent);
        }
        tokio::time::sleep(GLANCE).await;
    }
}

async fn slow_down(workers: &[u16], change: Change, warm_up: u64) -> Result<()> {
    tokio::time::sleep(Duration::from_secs(warm_up + change.after)).await;
    let worker = workers.get(change.worker).context("no worker of that number")?;
    Fleet::slow_down(*worker, change).await
}

/// What the routers of the family answer to `/readiness`.
#[derive(Deserialize)]
struct Readiness {
    healthy_workers: usize,
}

/// Whether the contender passes a request on and, where it says, knows every worker.
async fn is_ready(port: u16, workers: usize) -> bool {
    let ask = r#"{"text":"Are you there?","sampling_params":{"max_new_tokens":1}}"#.to_owned();
    if !matches!(http::post(port, "/generate", ask).await, Ok((StatusCode::OK, _))) {
        return false;
    }
    let Ok((_, said)) = http::get(port, "/readiness").await else { return false };
    // HAProxy passes the question on, and a worker does not know the path.
    serde_json::from_str(&said).map_or(true, |Readiness { healthy_workers }| healthy_workers == workers)
}
