//! One run: fresh workers, a fresh contender in front of them, the load, and the results.

use super::case::{Case, CaseLoad, Slowdown};
use super::contender::Contender;
use super::rows::RunFigures;
use super::run_log::{CpuSeconds, RunRecord};
use crate::harness::fleet::{Fleet, WorkerCounts};
use crate::harness::http;
use crate::harness::process::{RunningProcess, free_port};
use crate::harness::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use hyper::StatusCode;
use serde::Deserialize;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// How often a running load and its CPU time are checked.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Share of the requests that stream.
const STREAMS: &str = "0.3";

/// A request that takes longer, in seconds, has failed.
const TIMEOUT_SECS: &str = "180";

/// One planned run.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    /// The case.
    pub(crate) case: &'static Case,
    /// The contender.
    pub(crate) contender: &'static Contender,
    /// The version of the program.
    pub(crate) version: String,
    /// The round, from 1.
    pub(crate) round: u32,
    /// The load, a trace of [`super::workload`].
    pub(crate) load: PathBuf,
    /// Seconds of warm-up, which are not measured.
    pub(crate) warm_up: u64,
}

/// The processes of a run. Dropping them blocks for a moment.
struct RunningTrial {
    router: RunningProcess,
    fleet: Fleet,
}

impl Trial {
    /// Performs the run.
    ///
    /// # Errors
    /// Something cannot be started, or no request succeeded.
    pub(crate) async fn run(&self, workspace: &Workspace) -> Result<RunRecord> {
        let fleet =
            Fleet::start(&workspace.binary, &self.case.fleet_line(), &self.file(workspace, "workers.log"))
                .await?;
        let (port, router) = self.start(workspace, &fleet).await?;
        let mut running = RunningTrial { router, fleet };
        let result = self.measure(workspace, port, &mut running).await;
        // On a blocking thread: a peer may take seconds to stop, and other runs must not wait for that.
        tokio::task::spawn_blocking(move || drop(running)).await?;
        let (cpu, counts) = result?;
        let figures = RunFigures::read(&self.file(workspace, "csv"), self.warm_up as f64)?;
        let total = counts.completed.iter().sum::<f64>().max(1.0);
        Ok(RunRecord {
            case: self.case.name.to_owned(),
            contender: self.contender.name(),
            version: self.version.clone(),
            round: self.round,
            figures,
            shares: counts.completed.iter().map(|completed| completed / total).collect(),
            hits: counts.cached_tokens / counts.prompt_tokens.max(1.0),
            late_steps: counts.late_wakeups / counts.wakeups.max(1.0),
            cpu,
        })
    }

    /// A file of this run alone.
    fn file(&self, workspace: &Workspace, kind: &str) -> PathBuf {
        let contender = self.contender.name().replace('/', "-");
        workspace.scratch.join(format!("{}-{contender}-{}.{kind}", self.case.name, self.round))
    }

    async fn start(&self, workspace: &Workspace, fleet: &Fleet) -> Result<(u16, RunningProcess)> {
        let (port, log) = (free_port()?, self.file(workspace, "router.log"));
        let mut command = self.contender.command(workspace, port, &fleet.ports)?;
        let mut router = RunningProcess::start(&mut command, &log)?;
        router
            .wait_until(|| is_ready(port, fleet.ports.len()))
            .await
            .context("cannot start the contender")?;
        Ok((port, router))
    }

    async fn measure(
        &self,
        workspace: &Workspace,
        port: u16,
        running: &mut RunningTrial,
    ) -> Result<(CpuSeconds, WorkerCounts)> {
        let before = (running.router.cpu_time()?, running.fleet.process.cpu_time()?);
        let started = Instant::now();
        let sender =
            RunningProcess::start(&mut self.sender(workspace, port), &self.file(workspace, "send.log"))?;
        let slow_down = async {
            match self.case.slowdown {
                Some(slowdown) => slow_down(&running.fleet.ports, slowdown, self.warm_up).await,
                None => Ok(()),
            }
        };
        let (sent, slowed) = tokio::join!(finish(sender), slow_down);
        slowed?;
        let sender =
            sent.with_context(|| format!("the load; see {}", self.file(workspace, "send.log").display()))?;
        running.router.check()?;
        let counts = running.fleet.counts().await?;
        let cpu = CpuSeconds {
            contender: running.router.cpu_time()?.saturating_sub(before.0).as_secs_f64(),
            workers: running.fleet.process.cpu_time()?.saturating_sub(before.1).as_secs_f64(),
            sender: sender.as_secs_f64(),
            wall: started.elapsed().as_secs_f64(),
        };
        Ok((cpu, counts))
    }

    fn sender(&self, workspace: &Workspace, port: u16) -> Command {
        let mut send = workspace.send(port);
        send.args(["--threads", "1", "--timeout-secs", TIMEOUT_SECS, "--seed", &self.round.to_string()]);
        // Where there are clients, the load says which of them stream.
        if !matches!(self.case.load, CaseLoad::Clients { .. }) {
            send.args(["--stream", STREAMS]);
        }
        send.arg("--trace").arg(&self.load).arg("--output").arg(self.file(workspace, "csv"));
        send
    }
}

/// Waits for the load to end and returns its CPU time, as last seen.
async fn finish(mut sender: RunningProcess) -> Result<Duration> {
    let mut spent = Duration::ZERO;
    loop {
        spent = sender.cpu_time().unwrap_or(spent);
        if let Some(status) = sender.exit_status()? {
            ensure!(status.success(), "ended with {status}");
            return Ok(spent);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn slow_down(workers: &[u16], slowdown: Slowdown, warm_up: u64) -> Result<()> {
    let Slowdown { worker, factor, after, lasts, .. } = slowdown;
    tokio::time::sleep(Duration::from_secs(warm_up + after)).await;
    let port = workers.get(worker).context("no worker with that index")?;
    Fleet::slow_down(*port, factor, lasts).await
}

/// The response of SGLang-style routers to `/readiness`.
#[derive(Deserialize)]
struct Readiness {
    healthy_workers: usize,
}

/// Whether the contender forwards a request and, where it reports them, sees all workers as healthy.
async fn is_ready(port: u16, workers: usize) -> bool {
    let body = r#"{"text":"Are you there?","sampling_params":{"max_new_tokens":1}}"#.to_owned();
    if !matches!(http::post(port, "/generate", body).await, Ok((StatusCode::OK, _))) {
        return false;
    }
    let Ok((_, body)) = http::get(port, "/readiness").await else { return false };
    // HAProxy forwards the request to a worker, which does not know the path.
    serde_json::from_str(&body).map_or(true, |Readiness { healthy_workers }| healthy_workers == workers)
}
