//! Runs other programs: prints the command, waits for it, and turns a failure into an error that names it.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A cargo command in the workspace, run by the cargo that runs xtask.
pub(crate) fn cargo(root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    command.current_dir(root).args(args);
    command
}

/// Runs the command with its output on the terminal.
///
/// # Errors
/// The program cannot be started, or exits with a failure.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    println!("$ {shown}");
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot start: {shown}"))?;
    ensure!(status.success(), "failed ({status}): {shown}");
    Ok(())
}

/// What the command prints on standard output.
///
/// # Errors
/// As [`run`]; the error holds the standard error of the command.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start: {shown}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "failed ({}): {shown}\n{errors}", output.status);
    String::from_utf8(output.stdout).with_context(|| format!("not UTF-8: the output of {shown}"))
}

/// Whether the program can be started with its version flag.
pub(crate) fn exists(program: &str, version_flag: &str) -> bool {
    let quiet = |c: &mut Command| c.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet(Command::new(program).arg(version_flag)).is_ok()
}

/// The target folder: what cargo builds, and what xtask installs.
///
/// # Errors
/// `cargo metadata` fails or does not name the directory.
pub(crate) fn target_dir(root: &Path) -> Result<PathBuf> {
    let metadata = output(&mut cargo(root, &["metadata", "--no-deps", "--format-version=1", "--offline"]))?;
    let (_, rest) = metadata.split_once(r#""target_directory":""#).context("no target_directory")?;
    let (dir, _) = rest.split_once('"').context("no end of target_directory")?;
    Ok(PathBuf::from(dir))
}

fn show(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    let args = command.get_args().map(|a| format!(" {}", a.to_string_lossy())).collect::<String>();
    format!("{name}{args}")
}
