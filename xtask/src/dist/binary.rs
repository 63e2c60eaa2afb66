//! The program itself, and the pages and completions that it prints of itself.

use super::glibc;
use super::outputs::printed_by;
use super::toolchain::Toolchain;
use crate::command;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The name of the program and its package.
pub(crate) const NAME: &str = "sgl-router";

/// Builds the program, and divides it into `sgl-router`, which keeps the names of functions, and `sgl-router.debug`, which has
/// the line numbers. Backtraces show them too where the second file lies beside the first.
///
/// # Errors
/// It does not compile, or needs a newer glibc than it may.
pub(crate) fn build(release: &Toolchain, out: &Path) -> Result<PathBuf> {
    let target = format!("{}.{}", release.triple, glibc::LINKED);
    let words = ["zigbuild", "--locked", "--profile", "dist", "--package", NAME, "--target", &target];
    command::run(&mut release.cargo(&words)?)?;
    let built = release.build_dir().join(NAME);
    let binary = out.join(NAME);
    let debug = out.join(format!("{NAME}.debug"));
    let objcopy = |flag: &str, from: &Path, to: &Path| {
        command::run(Command::new("objcopy").arg(flag).arg(from).arg(to))
    };
    objcopy("--only-keep-debug", &built, &debug)?;
    objcopy("--strip-debug", &built, &binary)?;
    let mut link = Command::new("objcopy");
    command::run(link.current_dir(out).arg(format!("--add-gnu-debuglink={NAME}.debug")).arg(NAME))?;
    glibc::check(&binary)?;
    let version = printed_by(&binary, &["--version"])?;
    ensure!(version.trim().ends_with(&release.version), "the binary says it is {}", version.trim());
    Ok(binary)
}

/// What the program prints of itself, written into files.
#[derive(Debug)]
pub(crate) struct GeneratedPages {
    /// The folder of the files below.
    pub(crate) folder: PathBuf,
}

/// Files in the folder of [`GeneratedPages`], and the words that print each.
pub(crate) const PAGES: [(&str, &[&str]); 4] = [
    ("sgl-router.1", &["man"]),
    ("sgl-router.bash", &["completions", "bash"]),
    ("_sgl-router", &["completions", "zsh"]),
    ("sgl-router.fish", &["completions", "fish"]),
];

/// Writes the manual page and the completions beside the build, where the Debian package takes them from.
///
/// # Errors
/// The program fails, or a file cannot be written.
pub(crate) fn generate_pages(release: &Toolchain, binary: &Path) -> Result<GeneratedPages> {
    let folder = release.build_dir().join("package");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (file, words) in PAGES {
        fs::write(folder.join(file), printed_by(binary, words)?)
            .with_context(|| format!("cannot write {file}"))?;
    }
    fs::copy(binary, folder.join(NAME)).context("cannot copy the binary")?;
    Ok(GeneratedPages { folder })
}
