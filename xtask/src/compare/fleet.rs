//! The emulated workers of one run: fresh ones, so that no cache and no speed is left from the run before.

use super::case::Change;
use crate::harness::http;
use crate::harness::process::Running;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long the workers may take until they listen.
const START: Duration = Duration::from_secs(20);

/// The workers of one run.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// Their ports, in the order of the fleet line.
    pub(crate) ports: Vec<u16>,
    /// The process that plays them all.
    pub(crate) process: Running,
}

/// What the workers counted.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Counts {
    /// Requests that each worker answered.
    pub(crate) answered: Vec<f64>,
    /// Prompt tokens of them all.
    pub(crate) prompt_tokens: f64,
    /// Those found in a cache.
    pub(crate) cached_tokens: f64,
    /// Ends of engine steps that were waited for.
    pub(crate) wakeups: f64,
    /// Those seen more than 5 ms late.
    pub(crate) late_wakeups: f64,
}

impl Fleet {
    /// Starts the workers of a fleet line and waits until they listen.
    ///
    /// # Errors
    /// They do not start.
    pub(crate) async fn start(binary: &Path, line: &str, log: PathBuf) -> Result<Self> {
        let mut emulate = Command::new(binary);
        // The version of SGLang whose load reports most of the peers read.
        emulate.args(["emulate", "--meta", "stock", "--port-base", "0", "--fleet", line]);
        let mut process = Running::start(&mut emulate, &log)?;
        let begun = Instant::now();
        loop {
            process.check().with_context(|| format!("cannot start the workers; see {}", log.display()))?;
            let said = fs::read_to_string(&log).unwrap_or_default();
            // The line after the addresses is printed when all of them listen.
            if said.contains("\nRoute to them:") {
                let ports: Vec<u16> = said.lines().filter_map(port).collect();
                ensure!(!ports.is_empty(), "no worker is named in {}", log.display());
                return Ok(Self { ports, process });
            }
            if begun.elapsed() > START {
                bail!("the workers do not listen after {} s; see {}", START.as_secs(), log.display());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Makes one worker slower for a while.
    ///
    /// # Errors
    /// It does not take the fault.
    pub(crate) async fn slow_down(port: u16, change: Change) -> Result<()> {
        let Change { factor, lasts, .. } = change;
        let fault = format!(r#"{{"kind":"slow","factor":{factor},"duration_secs":{lasts}}}"#);
        let (status, said) = http::post(port, "/_fault", fault).await?;
        ensure!(status.is_success(), "the worker took no fault: {said}");
        Ok(())
    }

    /// What all of them counted since they were started.
    ///
    /// # Errors
    /// One does not answer.
    pub(crate) async fn counts(&self) -> Result<Counts> {
        let mut counts = Counts::default();
        for port in &self.ports {
            let (_, page) = http::get(*port, "/metrics").await?;
            counts.answered.push(value(&page, "sglang:num_requests_total"));
            counts.prompt_tokens += value(&page, "sglang:prompt_tokens_total");
            counts.cached_tokens += value(&page, "sglang:cached_tokens_total");
            counts.wakeups += value(&page, "emulator:wakeups_total");
            counts.late_wakeups += value(&page, "emulator:late_wakeups_total");
        }
        Ok(counts)
    }
}

/// The port in `http://127.0.0.1:PORT  PROFILE`.
fn port(line: &str) -> Option<u16> {
    line.strip_prefix("http://127.0.0.1:")?.split_whitespace().next()?.parse().ok()
}

/// A value of a page of metrics, whatever its labels; 0 where there is none.
fn value(page: &str, name: &str) -> f64 {
    let of = |line: &str| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
        rest.rsplit(' ').next()?.parse().ok()
    };
    page.lines().find_map(of).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_counts_are_read_from_what_the_emulator_says() {
        assert_eq!(port("http://127.0.0.1:41001  sglang_8b"), Some(41001));
        assert_eq!(port("Route to them:  sgl-router launch --worker-urls http://127.0.0.1:41001"), None);
        let page = "# TYPE sglang:num_requests_total counter\nsglang:num_requests_total{model_name=\"emulated\"} 20.0\n\
                    emulator:wakeups_total 262.0\n";
        assert_eq!(value(page, "sglang:num_requests_total"), 20.0);
        assert_eq!(value(page, "emulator:wakeups_total"), 262.0);
        assert_eq!(value(page, "sglang:num_requests"), 0.0);
    }
}
