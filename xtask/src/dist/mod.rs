//! What is released: a binary, a Debian package, a Python wheel and a software bill of materials.
//!
//! The binary and the wheel are linked against the symbols of an old glibc by Zig's C compiler, and each is refused when it
//! needs newer ones. Everything that is packaged is also tried: the package is unpacked and its binary run, the wheel is
//! installed where there is no Rust.

mod archive;
mod bill_of_materials;
mod binary;
mod checksums;
mod debian;
mod glibc;
mod outputs;
mod toolchain;
mod wheel;

use anyhow::{Context, Result, ensure};
use clap::Args;
use std::fs;
use std::path::{self, Path, PathBuf};

/// Where the release goes, and what may be left out.
#[derive(Debug, Args)]
pub(crate) struct DistOptions {
    /// The folder for the files; what is in it is removed first [default: target/dist]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Leave out the wheel, which takes as long as all the rest.
    #[arg(long)]
    no_wheel: bool,
}

/// Builds, checks and tries everything, and prints sizes and hashes.
///
/// # Errors
/// A tool is missing, something cannot be built, or a check fails.
pub(crate) fn run(root: &Path, options: &DistOptions) -> Result<()> {
    let release = toolchain::Toolchain::prepare(root)?;
    // The tools run in folders of their own.
    let out = path::absolute(options.out.clone().unwrap_or_else(|| release.target_dir.join("dist")))?;
    empty_folder(&out)?;
    let binary = binary::build(&release, &out)?;
    let generated = binary::generate_pages(&release, &binary)?;
    archive::pack(&release, &binary, &generated, &out)?;
    let package = debian::build(&release, &out)?;
    debian::try_package(&release, &package)?;
    bill_of_materials::write(&release, &out)?;
    if !options.no_wheel {
        let wheel = wheel::build(&release, &out)?;
        wheel::try_wheel(&release, &wheel)?;
    }
    checksums::write_and_print(&out)
}

/// Makes an empty folder; one that holds anything but an earlier release is not ours to empty.
fn empty_folder(folder: &Path) -> Result<()> {
    if folder.exists() {
        let is_empty = fs::read_dir(folder)
            .with_context(|| format!("cannot read {}", folder.display()))?
            .next()
            .is_none();
        ensure!(
            is_empty || folder.join(checksums::FILE).exists() || folder.join(binary::NAME).exists(),
            "--out {}: the folder holds other files than a release; name an empty one",
            folder.display()
        );
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}
