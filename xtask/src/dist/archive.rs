//! One archive with the program and the files that belong to it, for machines without a package manager of ours.

use super::binary::{GeneratedPages, NAME, PAGES};
use super::toolchain::Toolchain;
use crate::command;
use anyhow::{Context, Result};
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Files of the repository in the archive.
const FILES: [&str; 5] =
    ["LICENSE", "README.md", "CHANGELOG.md", "deploy/router.toml", "deploy/sgl-router.service"];

/// Packs everything; the same commit gives the same archive, byte for byte.
///
/// # Errors
/// A file cannot be copied, or tar fails.
pub(crate) fn pack(release: &Toolchain, binary: &Path, pages: &GeneratedPages, out: &Path) -> Result<()> {
    let name = format!("{NAME}-{}-linux-{}", release.version, env::consts::ARCH);
    let scratch = release.scratch("archive")?;
    let folder = scratch.join(&name);
    fs::create_dir_all(&folder)?;
    let copy = |from: &Path| -> Result<()> {
        let file = from.file_name().context("no file name")?;
        fs::copy(from, folder.join(file)).with_context(|| format!("cannot copy {}", from.display()))?;
        Ok(())
    };
    copy(binary)?;
    for (page, _) in PAGES {
        copy(&pages.folder.join(page))?;
    }
    for file in FILES {
        copy(&release.root.join(file))?;
    }
    let mut tar = Command::new("tar");
    tar.current_dir(&scratch).args([
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mode=go-w",
    ]);
    tar.arg(format!("--mtime=@{}", release.commit_time)).args(["--use-compress-program=gzip -9n", "-cf"]);
    command::run(tar.arg(out.join(format!("{name}.tar.gz"))).arg(&name))
}
