//! The routers on PyPI, each in a virtual environment of its own.

use super::process::free_port;
use crate::command;
use anyhow::Result;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A router from PyPI and how it is started.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its name on PyPI.
    pub(crate) package: &'static str,
    launch: &'static [&'static str],
}

/// Every peer.
pub(crate) const PEERS: [Peer; 3] = [
    Peer { package: "sglang-router", launch: &["sglang-router", "launch", "--log-level", "warn"] },
    Peer { package: "smg", launch: &["smg", "launch", "--log-level", "warn"] },
    Peer { package: "vllm-router", launch: &["vllm-router", "--log-level", "warning"] },
];

impl Peer {
    /// Its version, once it is installed in a folder below `venvs`.
    ///
    /// # Errors
    /// It cannot be installed.
    pub(crate) fn install(&self, venvs: &Path) -> Result<String> {
        let venv = venvs.join(self.package);
        let bin = venv.join("bin");
        if !bin.join(self.launch[0]).exists() {
            println!("installing {} from PyPI", self.package);
            fs::create_dir_all(venvs)?;
            command::run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", self.package];
            command::run(Command::new(bin.join("python")).args(pip))?;
        }
        let ask = format!("import importlib.metadata as m; print(m.version('{}'))", self.package);
        Ok(command::output(Command::new(bin.join("python")).args(["-c", &ask]))?.trim().to_owned())
    }

    /// The command that starts it with this policy. Where it listens and its workers are not yet in it.
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

/// Tells a router of the family where to listen and which workers it has.
pub(crate) fn place(launch: &mut Command, port: u16, workers: &[u16]) {
    launch.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--worker-urls"]);
    launch.args(workers.iter().map(|port| format!("http://127.0.0.1:{port}")));
}
