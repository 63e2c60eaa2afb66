//! What is measured: nginx, this router, HAProxy, Envoy and the routers on PyPI, each in front of the same workers.

use super::nginx::{self, Buffering};
use super::{backends, traffic};
use crate::harness::envoy::Envoy;
use crate::harness::haproxy;
use crate::harness::http;
use crate::harness::peers::{PEERS, Peer, add_addresses};
use crate::harness::process::{RunningProcess, free_port};
use crate::harness::workspace::{Workspace, install};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;
use std::{fs, iter, thread};

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

/// How this router is started with a policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Variant {
    /// By its defaults.
    Plain,
    /// Decisions and completions are written to files.
    Recorded,
    /// One serving thread, which is what the one process of nginx is.
    OneThread,
}

impl Variant {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Recorded => RECORDED,
            Self::OneThread => " --threads 1",
        }
    }
}

/// The end of a recording router's name.
const RECORDED: &str = " recorded";

/// The policies that are measured unless others are named.
pub(crate) const POLICIES: [&str; 5] =
    ["round_robin", "least_request", "cache_aware", "marginal_utility", "marginal_cost"];

/// What is measured beside the plain policies, each after the policy that it is of, where that is measured.
const VARIANTS: [(&str, Variant); 2] =
    [("round_robin", Variant::OneThread), ("marginal_utility", Variant::Recorded)];

/// A proxy that is configured by a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum OtherProxy {
    Haproxy,
    Envoy,
}

impl OtherProxy {
    const fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
        }
    }
}

/// Keeps a contender that started; the others are left out with a notice.
fn keep(contenders: &mut Vec<RunningContender>, name: &str, started: Result<RunningContender>) {
    match started {
        Ok(contender) => contenders.push(contender),
        Err(error) => println!("**** LEFT OUT: {name}: {error:#}"),
    }
}

/// The routers to start, and what they stand in front of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lineup<'a> {
    pub(crate) workspace: &'a Workspace,
    /// How the names of the wanted routers begin; all are wanted when it is empty.
    pub(crate) only: &'a [String],
    /// The policies of this router.
    pub(crate) policies: &'a [String],
    pub(crate) workers: &'a [u16],
    /// How nginx treats responses.
    pub(crate) buffering: Buffering,
}

impl<'a> Lineup<'a> {
    /// Starts all routers. A peer that cannot be installed or started is left out with a notice.
    ///
    /// # Errors
    /// nginx or this router cannot be started.
    pub(crate) async fn start(self) -> Result<Vec<RunningContender>> {
        let mut contenders = Vec::new();
        // One process, and as many as this router has threads, where that differs: they share the cores in the same way.
        for processes in BTreeSet::from([1, thread::available_parallelism()?.get()]) {
            let port = free_port()?;
            let process =
                nginx::proxy(&self.workspace.scratch, processes, port, self.workers, self.buffering)?;
            let of = if processes == 1 { String::new() } else { format!(", {processes} processes") };
            let name = format!("nginx {}{of}", nginx::version().unwrap_or_default());
            contenders.push(RunningContender::ready(name, port, process).await?);
        }
        let records = self.workspace.scratch.join("records");
        // Left over from an earlier run.
        let _ = fs::remove_dir_all(&records);
        for (policy, variant) in self.ours() {
            let name = format!("sgl-router {policy}{}", variant.suffix());
            if !self.wants(&name) {
                continue;
            }
            let mut launch = self.workspace.launch();
            launch.args(["--policy", policy]);
            match variant {
                Variant::Plain => {}
                Variant::Recorded => drop(launch.arg("--record-dir").arg(&records)),
                Variant::OneThread => drop(launch.args(["--threads", "1"])),
            }
            contenders.push(self.start_router(name, launch).await?);
        }
        for proxy in [OtherProxy::Haproxy, OtherProxy::Envoy] {
            if self.wants(proxy.name()) {
                keep(&mut contenders, proxy.name(), self.start_proxy(proxy).await);
            }
        }
        for peer in PEERS.iter().filter(|peer| self.wants(peer.package)) {
            keep(&mut contenders, peer.package, self.start_peer(peer).await);
        }
        println!("started: {}", contenders.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", "));
        Ok(contenders)
    }

    /// This router's policies, each followed by its variants.
    fn ours(self) -> Vec<(&'a str, Variant)> {
        let variants =
            |policy| VARIANTS.iter().filter(move |(of, _)| *of == policy).map(|(_, variant)| *variant);
        let all = |policy: &'a String| {
            iter::once(Variant::Plain).chain(variants(policy)).map(move |variant| (&**policy, variant))
        };
        self.policies.iter().flat_map(all).collect()
    }

    fn wants(self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|start| name.starts_with(start))
    }

    async fn start_peer(self, peer: &Peer) -> Result<RunningContender> {
        let version = peer.install(&self.workspace.venvs)?;
        let launch = peer.launch(&self.workspace.venvs, "round_robin")?;
        self.start_router(format!("{} {version}", peer.package), launch).await
    }

    /// Starts HAProxy or Envoy.
    async fn start_proxy(self, proxy: OtherProxy) -> Result<RunningContender> {
        let (scratch, port) = (&self.workspace.scratch, free_port()?);
        let (version, command) = match proxy {
            OtherProxy::Haproxy => {
                install("haproxy", "-v")?;
                (haproxy::version()?, haproxy::command(scratch, port, self.workers)?)
            }
            OtherProxy::Envoy => {
                let envoy = Envoy::install(&self.workspace.venvs)?;
                let command = envoy.command(scratch, port, self.workers)?;
                (envoy.version, command)
            }
        };
        self.start_one(format!("{} {version}", proxy.name()), port, command).await
    }

    /// Starts a router that takes its addresses from the command line.
    async fn start_router(self, name: String, mut launch: Command) -> Result<RunningContender> {
        let port = free_port()?;
        add_addresses(&mut launch, port, self.workers);
        self.start_one(name, port, launch).await
    }

    async fn start_one(self, name: String, port: u16, mut launch: Command) -> Result<RunningContender> {
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
