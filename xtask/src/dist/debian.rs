//! The Debian package: the binary, its unit for systemd, a configuration, completions and the manual page. What goes where is in
//! `crates/sgl-router/Cargo.toml`, where cargo-deb reads it.

use super::binary::NAME;
use super::glibc;
use super::outputs::{only_file, printed_by};
use super::toolchain::Toolchain;
use crate::command;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version of cargo-deb.
const CARGO_DEB: &str = "3.8.0";

/// Builds the package.
///
/// # Errors
/// cargo-deb cannot be installed, or fails.
pub(crate) fn build(release: &Toolchain, out: &Path) -> Result<PathBuf> {
    let cargo_deb = release.installed("cargo-deb", CARGO_DEB)?;
    write_documents(release)?;
    let mut deb = Command::new(cargo_deb);
    deb.current_dir(&release.root).args(["deb", "--no-build", "--no-strip", "--locked", "--package", NAME]);
    deb.args(["--profile", "dist", "--target", &release.triple, "--output"]).arg(out);
    release.set_environment(&mut deb)?;
    command::run(&mut deb)?;
    only_file(out, ".deb")
}

/// The changelog that Debian's tools read, the project's own, to which it refers, and the manual page.
fn write_documents(release: &Toolchain) -> Result<()> {
    let mut date = Command::new("date");
    let date = command::output(date.args(["-u", "-R", "-d"]).arg(format!("@{}", release.commit_time)))?;
    let text = format!(
        "{NAME} ({version}-1) unstable; urgency=medium\n\n  * Release {version}. Its changes are in changelog.gz.\n\n \
         -- The sgl-router founders <sgl-router@example.invalid>  {date}",
        version = release.version,
    );
    let folder = release.build_dir().join("package");
    fs::write(folder.join("changelog.Debian"), text).context("cannot write the changelog")?;
    fs::copy(release.root.join("CHANGELOG.md"), folder.join("changelog"))
        .context("cannot copy CHANGELOG.md")?;
    // Policy wants these compressed, without a time in them.
    for file in ["changelog.Debian", "changelog", "sgl-router.1"] {
        let mut gzip = Command::new("gzip");
        command::run(gzip.current_dir(&folder).args(["-9", "--no-name", "--force", "--keep", file]))?;
    }
    Ok(())
}

/// Unpacks the package as `dpkg` does, runs its binary, and asks lintian where it is installed.
///
/// # Errors
/// Something is missing in the package, its binary does not run, or lintian finds an error.
pub(crate) fn try_package(release: &Toolchain, package: &Path) -> Result<()> {
    let installed = release.scratch("package")?;
    command::run(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&installed))?;
    let depends = command::output(Command::new("dpkg-deb").arg("--field").arg(package).arg("Depends"))?;
    ensure!(
        depends.contains(&format!("libc6 (>= {})", glibc::LINKED)),
        "the package depends on {}, but is linked against glibc {}",
        depends.trim(),
        glibc::LINKED
    );
    let binary = installed.join("usr/bin").join(NAME);
    glibc::check(&binary)?;
    let version = printed_by(&binary, &["--version"])?;
    ensure!(version.trim().ends_with(&release.version), "the packaged binary says it is {}", version.trim());
    for file in [
        "etc/sgl-router/router.toml",
        "usr/share/bash-completion/completions/sgl-router",
        "usr/share/fish/vendor_completions.d/sgl-router.fish",
        "usr/share/man/man1/sgl-router.1.gz",
        "usr/share/zsh/vendor-completions/_sgl-router",
    ] {
        ensure!(installed.join(file).is_file(), "the package lacks {file}");
    }
    if command::exists("lintian", "--version") {
        command::run(Command::new("lintian").args(["--fail-on", "error", "--allow-root"]).arg(package))?;
    } else {
        println!("**** SKIPPED: lintian is missing, so the package was not checked by it. Install lintian.");
    }
    Ok(())
}
