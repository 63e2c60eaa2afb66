//! Virtual environments for the checks that run in Python.

use crate::command;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether there is a Python at all.
pub(crate) fn is_available() -> bool {
    command::exists("python3", "--version")
}

/// The interpreter of a virtual environment with what `tests/NAME/requirements.txt` names.
///
/// # Errors
/// The environment cannot be made.
pub(crate) fn for_tests(root: &Path, name: &str) -> Result<PathBuf> {
    let requirements = root.join("tests").join(name).join("requirements.txt");
    prepare(&requirements, &command::target_dir(root)?.join(format!("{name}-venv")))
}

/// The interpreter of the virtual environment in `folder`, which is made again when `requirements` has changed.
///
/// # Errors
/// The environment cannot be made.
pub(crate) fn prepare(requirements: &Path, folder: &Path) -> Result<PathBuf> {
    let (python, stamp) = (folder.join("bin/python"), folder.join("installed.txt"));
    let wanted = fs::read(requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    command::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    command::run(Command::new(&python).args(install).arg(requirements))?;
    fs::write(&stamp, wanted).context("cannot note what was installed")?;
    Ok(python)
}
