//! A fleet of emulated workers, started fresh so that no cache and no slowdown is left from an earlier run.

use super::http;
use super::process::RunningProcess;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::future::ready;
use std::path::Path;
use std::process::Command;

/// The running workers.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// Their ports, in the order of the fleet line.
    pub(crate) ports: Vec<u16>,
    /// The URLs of their gRPC ports, where they have any.
    pub(crate) grpc_urls: Vec<String>,
    /// The process that emulates them all.
    pub(crate) process: RunningProcess,
}

/// Counters of the workers since they started.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct WorkerCounts {
    /// Requests that each worker completed.
    pub(crate) completed: Vec<f64>,
    /// Prompt tokens of all workers.
    pub(crate) prompt_tokens: f64,
    /// Those found in a cache.
    pub(crate) cached_tokens: f64,
    /// Engine steps whose end was waited for.
    pub(crate) wakeups: f64,
    /// Those seen more than 5 ms late.
    pub(crate) late_wakeups: f64,
}

impl Fleet {
    /// Starts the workers of a fleet line and waits until they listen.
    ///
    /// # Errors
    /// They do not start.
    pub(crate) async fn start(binary: &Path, line: &str, log: &Path) -> Result<Self> {
        // The version of SGLang whose load reports most of the peers read.
        Self::start_with(binary, line, &["--meta", "stock"], log).await
    }

    /// The same with these flags of `emulate`.
    ///
    /// # Errors
    /// They do not start.
    pub(crate) async fn start_with(binary: &Path, line: &str, flags: &[&str], log: &Path) -> Result<Self> {
        let mut emulate = Command::new(binary);
        emulate.args(["emulate", "--port-base", "0", "--fleet", line]).args(flags);
        let mut process = RunningProcess::start(&mut emulate, log)?;
        let output = || fs::read_to_string(log).unwrap_or_default();
        // The line after the addresses is printed once all workers listen.
        let is_ready = || ready(output().contains("\nRoute to them:"));
        process.wait_until(is_ready).await.context("cannot start the workers")?;
        let output = output();
        let ports: Vec<u16> = output.lines().filter_map(worker_port).collect();
        ensure!(!ports.is_empty(), "no worker is named in {}", log.display());
        let grpc_urls = output.lines().filter_map(grpc_url).map(str::to_owned).collect();
        Ok(Self { ports, grpc_urls, process })
    }

    /// Makes the worker on `port` slower by `factor` for some seconds.
    ///
    /// # Errors
    /// The worker refuses the fault.
    pub(crate) async fn slow_down(port: u16, factor: f64, secs: u64) -> Result<()> {
        let fault = format!(r#"{{"kind":"slow","factor":{factor},"duration_secs":{secs}}}"#);
        let (status, body) = http::post(port, "/_fault", fault).await?;
        ensure!(status.is_success(), "the worker refused the fault: {body}");
        Ok(())
    }

    /// The counters of all workers.
    ///
    /// # Errors
    /// A worker does not respond.
    pub(crate) async fn counts(&self) -> Result<WorkerCounts> {
        let mut counts = WorkerCounts::default();
        for port in &self.ports {
            let (_, page) = http::get(*port, "/metrics").await?;
            counts.completed.push(metric(&page, "sglang:num_requests_total"));
            counts.prompt_tokens += metric(&page, "sglang:prompt_tokens_total");
            counts.cached_tokens += metric(&page, "sglang:cached_tokens_total");
            counts.wakeups += metric(&page, "emulator:wakeups_total");
            counts.late_wakeups += metric(&page, "emulator:late_wakeups_total");
        }
        Ok(counts)
    }
}

/// The port in `http://127.0.0.1:PORT  PROFILE`.
fn worker_port(line: &str) -> Option<u16> {
    line.strip_prefix("http://127.0.0.1:")?.split_whitespace().next()?.parse().ok()
}

/// The gRPC URL in the line of a worker.
fn grpc_url(line: &str) -> Option<&str> {
    worker_port(line)?;
    line.split_whitespace().find(|word| word.starts_with("grpc://"))
}

/// The first sample of a metric, whatever its labels; 0 where there is none.
fn metric(page: &str, name: &str) -> f64 {
    let sample = |line: &str| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
        rest.rsplit(' ').next()?.parse().ok()
    };
    page.lines().find_map(sample).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_metrics_are_read() {
        assert_eq!(worker_port("http://127.0.0.1:41001  sglang_8b"), Some(41001));
        assert_eq!(
            worker_port("Route to them:  sgl-router launch --worker-urls http://127.0.0.1:41001"),
            None
        );
        let page = "# TYPE sglang:num_requests_total counter\nsglang:num_requests_total{model_name=\"emulated\"} 20.0\n\
                    emulator:wakeups_total 262.0\n";
        assert_eq!(metric(page, "sglang:num_requests_total"), 20.0);
        assert_eq!(metric(page, "emulator:wakeups_total"), 262.0);
        assert_eq!(metric(page, "sglang:num_requests"), 0.0);
    }
}
