//! HAProxy as it is usually configured for inference engines: `leastconn`, keep-alive connections, no buffering.

use crate::command;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The version that `haproxy -v` prints, without that of the Debian package.
///
/// # Errors
/// It cannot be started.
pub(crate) fn version() -> Result<String> {
    let printed = command::output(Command::new("haproxy").arg("-v"))?;
    let version = printed.split_whitespace().nth(2).unwrap_or_default();
    Ok(version.split('-').next().unwrap_or_default().to_owned())
}

/// The command that serves `workers` on `port`; its configuration is written into `scratch`.
///
/// # Errors
/// The configuration cannot be written.
pub(crate) fn command(scratch: &Path, port: u16, workers: &[u16]) -> Result<Command> {
    let file = scratch.join(format!("haproxy-{port}.cfg"));
    fs::write(&file, configuration(port, workers)).context("cannot write HAProxy's configuration")?;
    let mut command = Command::new("haproxy");
    // In the foreground: the measured process must be the one that serves.
    command.arg("-db").arg("-f").arg(&file);
    Ok(command)
}

/// Engines close idle connections after 5 s, so HAProxy closes them earlier.
fn configuration(port: u16, workers: &[u16]) -> String {
    let servers: String = workers
        .iter()
        .map(|worker| format!("    server w{worker} 127.0.0.1:{worker} check inter 2s pool-purge-delay 2s\n"))
        .collect();
    format!(
        "global\n    maxconn 8192\n    nbthread 1\n\ndefaults\n    mode http\n    timeout connect 5s\n    timeout client \
         600s\n    timeout server 600s\n    timeout http-keep-alive 60s\n    option http-no-delay\n    option redispatch\n    \
         retries 3\n\nfrontend in\n    bind 127.0.0.1:{port}\n    default_backend workers\n\nbackend workers\n    balance \
         leastconn\n    http-reuse always\n    option httpchk GET /health\n{servers}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_lists_every_worker() {
        let text = configuration(8000, &[1, 2]);
        assert!(text.contains("\n    bind 127.0.0.1:8000\n") && text.contains("balance leastconn\n"));
        assert_eq!(text.matches("\n    server w").count(), 2);
    }
}
