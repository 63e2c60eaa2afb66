//! The software bill of materials: every crate in the binary with version, licence, source and hash, in CycloneDX.

use super::binary::NAME;
use super::toolchain::Toolchain;
use crate::command;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The version of cargo-cyclonedx.
const CARGO_CYCLONEDX: &str = "0.5.9";

/// Writes the bill of materials of the binary.
///
/// # Errors
/// cargo-cyclonedx cannot be installed, fails, or lists no crate.
pub(crate) fn write(release: &Toolchain, out: &Path) -> Result<()> {
    let program = release.installed("cargo-cyclonedx", CARGO_CYCLONEDX)?;
    let name = format!("{NAME}-{}.cdx", release.version);
    let mut cyclonedx = Command::new(program);
    cyclonedx.current_dir(release.root.join("crates").join(NAME));
    cyclonedx.args(["cyclonedx", "--format", "json", "--spec-version", "1.5", "--no-build-deps"]);
    cyclonedx.args(["--target", &release.triple, "--override-filename", &name]);
    command::run(cyclonedx.env("SOURCE_DATE_EPOCH", &release.commit_time))?;
    // It writes one for each crate of the workspace, beside its manifest; that of the binary names all others.
    let file = format!("{name}.json");
    let written = release.root.join("crates").join(NAME).join(&file);
    let text = fs::read_to_string(&written).with_context(|| format!("cannot read {}", written.display()))?;
    // References to our own crates name the folder of the build, which says nothing to a reader.
    let text = text.replace(&format!("file://{}", release.root.display()), "file://");
    fs::write(out.join(&file), &text).context("cannot write the bill of materials")?;
    for manifest in manifests(release)? {
        let _ = fs::remove_file(Path::new(&manifest).with_file_name(&file));
    }
    let bill: serde_json::Value = serde_json::from_str(&text).context("the bill of materials is not JSON")?;
    let components = bill["components"].as_array().map_or(0, Vec::len);
    ensure!(components > 0, "the bill of materials lists no crate");
    println!("bill of materials: {components} crates");
    Ok(())
}

/// The manifests of the workspace.
fn manifests(release: &Toolchain) -> Result<Vec<String>> {
    let mut metadata =
        command::cargo(&release.root, &["metadata", "--no-deps", "--format-version=1", "--offline"]);
    let metadata: serde_json::Value = serde_json::from_str(&command::output(&mut metadata)?)?;
    let packages = metadata["packages"].as_array().context("no packages in the metadata")?;
    Ok(packages.iter().filter_map(|package| Some(package["manifest_path"].as_str()?.to_owned())).collect())
}
