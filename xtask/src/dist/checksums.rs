//! SHA-256 hashes of the released files.

use crate::command;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The file with the hashes, in the form that `sha256sum --check` reads.
pub(crate) const FILE: &str = "SHA256SUMS";

/// Writes the hashes of all files of the folder, and prints them with the sizes.
///
/// # Errors
/// A file cannot be read, or the hashes not be written.
pub(crate) fn write_and_print(folder: &Path) -> Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        names.push((entry.file_name(), entry.metadata()?.len()));
    }
    names.sort();
    let mut sum = Command::new("sha256sum");
    let lines = command::output(sum.current_dir(folder).args(names.iter().map(|(name, _)| name)))?;
    fs::write(folder.join(FILE), &lines).with_context(|| format!("cannot write {FILE}"))?;
    println!("\nin {}:", folder.display());
    for ((_, bytes), line) in names.iter().zip(lines.lines()) {
        println!("{:>12} bytes  {line}", bytes);
    }
    Ok(())
}
