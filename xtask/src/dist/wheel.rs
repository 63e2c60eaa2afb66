//! The Python wheel: one for all versions of Python from 3.9, and for every distribution with the glibc that it names.

use super::outputs::{only_file, printed_by};
use super::toolchain::Toolchain;
use crate::command;
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The distributions that the wheel runs on: those with [`super::glibc::LINKED`].
const MANYLINUX: &str = "manylinux2014";

/// Builds the wheel. maturin fails when it needs more than its tag promises, abi3audit when it uses what Python may change.
///
/// # Errors
/// It does not compile, or one of the two finds something.
pub(crate) fn build(release: &Toolchain, out: &Path) -> Result<PathBuf> {
    let folder = out.to_string_lossy();
    let words = ["build", "--quiet", "--profile", "dist", "--zig", "--target", &release.triple];
    let words = [&words[..], &["--compatibility", MANYLINUX, "--out", &folder]].concat();
    command::run(&mut release.python("maturin", &words)?)?;
    let wheel = only_file(out, ".whl")?;
    command::run(&mut release.python("abi3audit", &["--strict", &wheel.to_string_lossy()])?)?;
    Ok(wheel)
}

/// Installs the wheel into a new virtual environment without the network and without Rust, and runs what it installed.
///
/// # Errors
/// It cannot be installed, or what it installed does not run.
pub(crate) fn try_wheel(release: &Toolchain, wheel: &Path) -> Result<()> {
    let venv = release.scratch("wheel-venv")?;
    command::run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let bin = venv.join("bin");
    let wheel = wheel.to_string_lossy();
    printed_by(&bin.join("python"), &["-m", "pip", "install", "--quiet", "--no-index", &wheel])?;
    let version = printed_by(&bin.join("sgl-router"), &["--version"])?;
    ensure!(
        version.trim().ends_with(&release.version),
        "the wheel's sgl-router says it is {}",
        version.trim()
    );
    let policies = "import sgl_router; print(*sgl_router.Router.__mro__)";
    printed_by(&bin.join("python"), &["-c", policies])?;
    println!("wheel: installed and run without Rust");
    Ok(())
}
