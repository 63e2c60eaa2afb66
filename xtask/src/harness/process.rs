//! A running program: its CPU time, a guard that stops it however the measurement ends, and a port for it.

use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// The kernel counts CPU time in these (`USER_HZ`, 100 on every Linux platform that Rust runs on).
const TICK: Duration = Duration::from_millis(10);

/// A process of ours. Dropped, it is stopped by its own id, and so are its children when it is the one to stop them.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts the command with its output in a file.
    ///
    /// # Errors
    /// The program or the file cannot be opened.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let out = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out);
        let child = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        Ok(Self { child })
    }

    /// Fails once the process has ended.
    ///
    /// # Errors
    /// The process has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.ended()? {
            bail!("ended early ({status})");
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
        let kibibytes = line.trim().trim_end_matches(" kB").parse::<u64>().context("VmRSS is no number")?;
        Ok(kibibytes << 10)
    }

    /// How the process ended, if it has.
    ///
    /// # Errors
    /// The system does not tell.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// CPU time of the process and its descendants since each began, all threads, user and system.
    ///
    /// # Errors
    /// The process is gone.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        let stats: Vec<Stat> = all_stats();
        let root = self.child.id();
        let own = stats.iter().find(|stat| stat.pid == root).context("the process is gone")?;
        let mut family = vec![own];
        let mut next = 0;
        while let Some(parent) = family.get(next).map(|stat| stat.pid) {
            family.extend(stats.iter().filter(|stat| stat.parent == parent));
            next += 1;
        }
        Ok(TICK * family.iter().map(|stat| stat.ticks).sum::<u32>())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let family: Vec<u32> = descendants(self.child.id());
        // A polite signal first: nginx's master then takes its workers with it.
        signal("-TERM", self.child.id());
        for _ in 0..40 {
            match self.child.try_wait() {
                Ok(None) => wait_a_little(),
                _ => break,
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in family.into_iter().filter(|pid| Path::new(&format!("/proc/{pid}")).exists()) {
            signal("-KILL", pid);
        }
    }
}

/// A port nobody listens on now.
///
/// # Errors
/// There is none.
pub(crate) fn free_port() -> Result<u16> {
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    ensure!(port != 0, "no free port");
    Ok(port)
}

/// Nothing else runs when a guard is dropped, so blocking this thread for a moment harms nobody.
#[allow(clippy::disallowed_methods, reason = "a guard's drop cannot await")]
fn wait_a_little() {
    std::thread::sleep(Duration::from_millis(50));
}

fn signal(name: &str, pid: u32) {
    let _ = Command::new("kill").args([name, &pid.to_string()]).stderr(Stdio::null()).status();
}

/// One line of /proc/PID/stat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stat {
    pid: u32,
    parent: u32,
    ticks: u32,
}

fn descendants(root: u32) -> Vec<u32> {
    let stats = all_stats();
    let mut family = vec![root];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(stats.iter().filter(|stat| stat.parent == parent).map(|stat| stat.pid));
        next += 1;
    }
    family.split_off(1)
}

fn all_stats() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .collect()
}

/// The program's name stands in parentheses and may hold anything, so the fields are counted from its end.
fn parse(line: &str) -> Option<Stat> {
    let (head, tail) = line.rsplit_once(')')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u32>().ok();
    let pid = head.split_once(' ')?.0.parse().ok()?;
    Some(Stat { pid, parent: number(1)?, ticks: number(11)? + number(12)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let line = "42 (a (b) c) S 7 42 42 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 3 0 100 0 0";
        assert_eq!(parse(line), Some(Stat { pid: 42, parent: 7, ticks: 300 }));
    }

    #[test]
    fn a_line_cut_short_is_no_number() {
        assert_eq!(parse("42 (a) S 7 42"), None);
    }
}
