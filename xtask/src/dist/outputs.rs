//! What the tools leave in a folder, and what the released programs print.

use crate::command;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The only file in `folder` whose name ends in `suffix`.
///
/// # Errors
/// There is none, or more than one.
pub(crate) fn only_file(folder: &Path, suffix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut found = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with(suffix));
    let first = found.next().with_context(|| format!("no file *{suffix} in {}", folder.display()))?;
    ensure!(found.next().is_none(), "more than one file *{suffix} in {}", folder.display());
    Ok(first)
}

/// What a program of the release prints.
///
/// # Errors
/// It cannot be started, or fails.
pub(crate) fn printed_by(program: &Path, args: &[&str]) -> Result<String> {
    // Nothing of a developer's machine is on the path: what is released must not need it.
    let mut run = Command::new(program);
    command::output(run.args(args).env_clear().env("PATH", "/usr/bin:/bin"))
}
