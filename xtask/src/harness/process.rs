//! A program that runs beside the measurement: its CPU time and memory, and a guard that stops it in the end.

use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The unit of CPU time in /proc (`USER_HZ` is 100 on every Linux platform that Rust supports).
const TICK: Duration = Duration::from_millis(10);

/// Time limit for a program to become ready.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Time between two looks at something that is awaited.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A child process. Dropping it stops it by its own id, and its descendants where it leaves any behind.
#[derive(Debug)]
pub(crate) struct RunningProcess {
    child: Child,
    log: PathBuf,
}

impl RunningProcess {
    /// Starts the command with its output in the file `log`.
    ///
    /// # Errors
    /// The program cannot be started or the file not be written.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let out = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out);
        let child = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Fails once the process has ended.
    ///
    /// # Errors
    /// The process has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.exit_status()? {
            bail!("ended early ({status}); its log: {}", self.log.display());
        }
        Ok(())
    }

    /// Waits until `is_ready` returns true.
    ///
    /// # Errors
    /// The process ends, or is not ready after 60 s.
    pub(crate) async fn wait_until<F>(&mut self, mut is_ready: impl FnMut() -> F) -> Result<()>
    where
        F: Future<Output = bool>,
    {
        let started = Instant::now();
        while !is_ready().await {
            self.check()?;
            let limit = START_LIMIT.as_secs();
            ensure!(
                started.elapsed() < START_LIMIT,
                "not ready after {limit} s; its log: {}",
                self.log.display()
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Memory that the process holds now (its resident set), in bytes.
    ///
    /// # Errors
    /// The process is gone.
    pub(crate) fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kibibytes =
            line.trim().trim_end_matches(" kB").parse::<u64>().context("VmRSS is not a number")?;
        Ok(kibibytes << 10)
    }

    /// How the process ended; `None` while it runs.
    ///
    /// # Errors
    /// The system call fails.
    pub(crate) fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// CPU time of the process and its descendants since they started: all threads, user and system.
    ///
    /// # Errors
    /// The process is gone.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        let family = family(self.child.id());
        ensure!(!family.is_empty(), "the process is gone");
        Ok(TICK * family.iter().map(|stat| stat.ticks).sum::<u32>())
    }
}

impl Drop for RunningProcess {
    fn drop(&mut self) {
        let family = family(self.child.id());
        // SIGTERM first: nginx's main process then stops its workers itself.
        signal("-TERM", self.child.id());
        for _ in 0..40 {
            match self.child.try_wait() {
                Ok(None) => block_for_a_moment(),
                _ => break,
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        for stat in family.iter().skip(1).filter(|stat| Path::new(&format!("/proc/{}", stat.pid)).exists()) {
            signal("-KILL", stat.pid);
        }
    }
}

/// A port that is free now.
///
/// # Errors
/// There is none.
pub(crate) fn free_port() -> Result<u16> {
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    ensure!(port != 0, "no free port");
    Ok(port)
}

/// As many different ports, all free now.
///
/// # Errors
/// There are not so many.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>> {
    let bind = |_| TcpListener::bind(("127.0.0.1", 0));
    // All are held until the last is known, so that none comes twice.
    let held = (0..count).map(bind).collect::<std::io::Result<Vec<_>>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// Bytes as MiB.
#[allow(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[allow(clippy::disallowed_methods, reason = "a guard's drop cannot await, and nothing else runs then")]
fn block_for_a_moment() {
    std::thread::sleep(POLL_INTERVAL);
}

fn signal(name: &str, pid: u32) {
    let _ = Command::new("kill").args([name, &pid.to_string()]).stderr(Stdio::null()).status();
}

/// What /proc/PID/stat says of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct ProcessStat {
    pid: u32,
    parent: u32,
    ticks: u32,
}

/// The process `root`, then its descendants; empty when it is gone.
fn family(root: u32) -> Vec<ProcessStat> {
    let stats = all_stats();
    let mut family: Vec<ProcessStat> = stats.iter().filter(|stat| stat.pid == root).copied().collect();
    let mut next = 0;
    while let Some(parent) = family.get(next).map(|stat| stat.pid) {
        family.extend(stats.iter().filter(|stat| stat.parent == parent));
        next += 1;
    }
    family
}

fn all_stats() -> Vec<ProcessStat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .collect()
}

/// The program's name stands in parentheses and may hold anything, so fields are counted after the last `)`.
fn parse_stat(line: &str) -> Option<ProcessStat> {
    let (head, tail) = line.rsplit_once(')')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u32>().ok();
    let pid = head.split_once(' ')?.0.parse().ok()?;
    Some(ProcessStat { pid, parent: number(1)?, ticks: number(11)? + number(12)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_program_names_shift_no_fields() {
        let line = "42 (a (b) c) S 7 42 42 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 3 0 100 0 0";
        assert_eq!(parse_stat(line), Some(ProcessStat { pid: 42, parent: 7, ticks: 300 }));
    }

    #[test]
    fn truncated_stat_is_refused() {
        assert_eq!(parse_stat("42 (a) S 7 42"), None);
    }
}
