//! The one test command: every check there is, stage by stage, stopping at the first that fails.

use crate::{command, deny, docs, tidy};
use anyhow::{Context, Result};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// What to run.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Options {
    /// Leave out the documentation and its site, the dependencies, the real clients, the browser and the Python package.
    #[arg(long)]
    fast: bool,
}

/// Runs all stages.
///
/// # Errors
/// The first stage that fails.
pub(crate) fn run(root: &Path, options: Options) -> Result<()> {
    let started = Instant::now();
    stage("format", || command::run(&mut command::cargo(root, &["fmt", "--all", "--check"])))?;
    stage("tidy", || tidy::run(root))?;
    stage("clippy", || {
        let args = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
        command::run(&mut command::cargo(root, &args))
    })?;
    stage("tests", || command::run(&mut command::cargo(root, &["test", "--workspace", "--no-fail-fast"])))?;
    if options.fast {
        println!(
            "\nfast: the documentation and its site, the dependencies, the real clients, the browser and the Python \
             package were left out"
        );
    } else {
        stage("documentation", || {
            let mut doc = command::cargo(root, &["doc", "--workspace", "--no-deps", "--quiet"]);
            command::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
        })?;
        stage("site", || site(root))?;
        stage("dependencies", || deny::run(root))?;
        stage("real clients", || clients(root))?;
        stage("report page", || report_page(root))?;
        stage("python package", || package(root))?;
    }
    println!("\nall stages passed in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn stage(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("\n== {name}");
    let started = Instant::now();
    work().with_context(|| format!("stage `{name}`"))?;
    println!("== {name}: passed in {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Builds the site of the documentation.
fn site(root: &Path) -> Result<()> {
    if !command::exists("python3", "--version") {
        println!(
            "**** SKIPPED: python3 is missing, so the site was not built. Install python3 and python3-venv."
        );
        return Ok(());
    }
    docs::build(root)
}

/// Runs the official `openai` package and curl against the router, in a Python environment of our own.
fn clients(root: &Path) -> Result<()> {
    if !command::exists("python3", "--version") {
        println!(
            "**** SKIPPED: python3 is missing, so no real client was tried. Install python3 and python3-venv."
        );
        return Ok(());
    }
    pytest(root, "clients")
}

/// Draws the report's page in the machine's own Chromium.
fn report_page(root: &Path) -> Result<()> {
    let browsers = ["chromium", "chromium-browser", "google-chrome"];
    if !command::exists("python3", "--version") || !browsers.iter().any(|b| command::exists(b, "--version")) {
        println!(
            "**** SKIPPED: python3 or Chromium is missing, so no chart was drawn. Install python3-venv and chromium."
        );
        return Ok(());
    }
    pytest(root, "report")
}

/// Builds the wheel, installs it into a Python environment of its own, and runs the tests of the package against it.
fn package(root: &Path) -> Result<()> {
    if !command::exists("python3", "--version") {
        println!(
            "**** SKIPPED: python3 is missing, so the Python package was not built. Install python3 and python3-venv."
        );
        return Ok(());
    }
    let target = command::target_dir(root)?;
    let (home, wheels) = (root.join("python"), target.join("wheels"));
    let python = environment(&home.join("tests/requirements.txt"), &target.join("package-venv"))?;
    let run = |words: &[&str]| {
        let mut module = Command::new(&python);
        module.current_dir(&home).arg("-m").args(words).env("PYTHONDONTWRITEBYTECODE", "1");
        command::run(&mut module)
    };
    // The profile of the tests: what they compiled need not be compiled again as far as its features agree.
    let out = wheels.to_string_lossy();
    run(&["maturin", "build", "--quiet", "--profile", "dev", "--out", &out])?;
    let find = ["--no-index", "--find-links", &out, "--force-reinstall", "--no-deps", "sgl-router"];
    run(&[&["pip", "install", "--quiet", "--disable-pip-version-check"][..], &find].concat())?;
    run(&["pytest", "-q", "-p", "no:cacheprovider", "tests"])
}

/// Runs the tests in `tests/NAME` against the debug binary.
fn pytest(root: &Path, name: &str) -> Result<()> {
    // Built as part of the workspace it shares its features, so that hardly anything is compiled again.
    command::run(&mut command::cargo(root, &["build", "--workspace", "--bin", "sgl-router"]))?;
    let target = command::target_dir(root)?;
    let mut pytest = Command::new(python(root, &target, name)?);
    let tests = format!("tests/{name}");
    pytest.current_dir(root).args(["-m", "pytest", "-q", "-p", "no:cacheprovider", &tests]);
    pytest.env("SGL_ROUTER_BIN", target.join("debug").join("sgl-router")).env("PYTHONDONTWRITEBYTECODE", "1");
    command::run(&mut pytest)
}

/// The interpreter of a virtual environment that holds what `tests/NAME/requirements.txt` names.
pub(crate) fn python(root: &Path, target: &Path, name: &str) -> Result<PathBuf> {
    let wanted = root.join("tests").join(name).join("requirements.txt");
    environment(&wanted, &target.join(format!("{name}-venv")))
}

/// The interpreter of the virtual environment in `environment`, made anew when it does not hold what `wanted` names.
fn environment(wanted: &Path, environment: &Path) -> Result<PathBuf> {
    let (python, stamp) = (environment.join("bin/python"), environment.join("installed.txt"));
    let requirements = fs::read(wanted).with_context(|| format!("cannot read {}", wanted.display()))?;
    if fs::read(&stamp).is_ok_and(|installed| installed == requirements) {
        return Ok(python);
    }
    command::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(environment))?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    command::run(Command::new(&python).args(install).arg(wanted))?;
    fs::write(&stamp, requirements).context("cannot note what was installed")?;
    Ok(python)
}
