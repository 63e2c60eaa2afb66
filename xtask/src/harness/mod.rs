//! What every measurement beside other routers needs: their processes and CPU time, where they come from, and the
//! pages that hold the figures.

pub(crate) mod http;
pub(crate) mod page;
pub(crate) mod peers;
pub(crate) mod process;
pub(crate) mod stats;

use crate::command;
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the virtual environments, in the target folder.
pub(crate) const VENVS: &str = "bench-venvs";

/// Makes sure of a program of Debian's, whose package has its name.
///
/// # Errors
/// It is missing and cannot be installed.
pub(crate) fn install(program: &str, version_flag: &str) -> Result<()> {
    if command::exists(program, version_flag) {
        return Ok(());
    }
    println!("{program} is missing; installing it with apt-get (needs root)");
    // A list of packages that is already fresh enough needs no update, so its failure is no reason to stop.
    let _ = command::run(Command::new("apt-get").args(["update", "-qq"]));
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-qq", program]).env("DEBIAN_FRONTEND", "noninteractive");
    command::run(&mut install)?;
    ensure!(command::exists(program, version_flag), "{program} is still missing; install it by hand");
    Ok(())
}

/// The router to measure: the one given, or one built in release mode.
///
/// # Errors
/// It cannot be built.
pub(crate) fn router(root: &Path, given: Option<&Path>) -> Result<PathBuf> {
    if let Some(binary) = given {
        return Ok(binary.to_owned());
    }
    command::run(&mut command::cargo(root, &["build", "--release", "--package", "sgl-router"]))?;
    Ok(command::target_dir(root)?.join("release").join("sgl-router"))
}
