//! The programs that a measurement needs, and the folders that it works in.

use super::http;
use crate::command;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The programs and folders of one measurement.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    /// The root of the repository.
    pub(crate) root: PathBuf,
    /// Configuration, logs and results of this measurement, below the target folder.
    pub(crate) scratch: PathBuf,
    /// One virtual environment for each router from PyPI.
    pub(crate) venvs: PathBuf,
    /// The `sgl-router` to measure.
    pub(crate) binary: PathBuf,
}

impl Workspace {
    /// Makes the scratch folder `name` and, unless a binary is given, builds one in release mode.
    ///
    /// # Errors
    /// The router cannot be built, or the target folder cannot be written to.
    pub(crate) fn prepare(root: &Path, name: &str, binary: Option<&Path>) -> Result<Self> {
        let target = command::target_dir(root)?;
        let scratch = target.join(name);
        fs::create_dir_all(&scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
        let binary = match binary {
            Some(binary) => binary.to_owned(),
            None => {
                command::run(&mut command::cargo(root, &["build", "--release", "--package", "sgl-router"]))?;
                target.join("release").join("sgl-router")
            }
        };
        Ok(Self { root: root.to_owned(), scratch, venvs: target.join("bench-venvs"), binary })
    }

    /// `sgl-router launch` without a port and without workers.
    pub(crate) fn launch(&self) -> Command {
        let mut launch = Command::new(&self.binary);
        launch.arg("launch");
        launch
    }

    /// `sgl-router send` with its load going to a port of this machine.
    pub(crate) fn send(&self, port: u16) -> Command {
        let mut send = Command::new(&self.binary);
        send.args(["send", "--router-url", &http::url(port, "")]);
        send
    }

    /// The same with chats of 100 tokens each.
    pub(crate) fn send_chats(&self, port: u16, chats: &Chats<'_>) -> Command {
        let (requests, tokens) = (chats.requests.to_string(), chats.tokens.to_string());
        let mut send = self.send(port);
        send.args(["--endpoint", "chat", chats.kind, "--input-len", "100", "--range-ratio", "0"])
            .args(["--request-rate", chats.rate, "--num-requests", &requests, "--output-len", &tokens])
            .args(["--max-concurrency", chats.at_once, "--output", "/dev/null"]);
        send
    }
}

/// Chats that are all alike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chats<'a> {
    /// `--stream` or `--no-stream`.
    pub(crate) kind: &'a str,
    pub(crate) requests: u32,
    /// Of each response.
    pub(crate) tokens: u32,
    /// How many are on their way at once at most.
    pub(crate) at_once: &'a str,
    /// How many are sent per second; `inf` for no limit.
    pub(crate) rate: &'a str,
}

/// Installs a program from the Debian package of the same name, unless it is there.
///
/// # Errors
/// It is missing and cannot be installed.
pub(crate) fn install(program: &str, version_flag: &str) -> Result<()> {
    if command::exists(program, version_flag) {
        return Ok(());
    }
    println!("{program} is missing; installing it with apt-get (needs root)");
    // The package lists may be fresh enough already, so a failed update is not fatal.
    let _ = command::run(Command::new("apt-get").args(["update", "-qq"]));
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-qq", program]).env("DEBIAN_FRONTEND", "noninteractive");
    command::run(&mut install)?;
    ensure!(command::exists(program, version_flag), "{program} is still missing; install it by hand");
    Ok(())
}
