//! The one test command: every check, stage by stage, up to the first that fails.

use crate::{command, deny, docs, guard, python_env, tidy};
use anyhow::{Context, Result};
use clap::Args;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

/// Which checks run.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct TestOptions {
    /// Leave out the documentation and its site, the instruction counts, the dependencies, the real clients, the gateways, the browser, the manifests and the Python package.
    #[arg(long)]
    fast: bool,
}

/// Runs all stages.
///
/// # Errors
/// The first stage that fails.
pub(crate) fn run(root: &Path, options: TestOptions) -> Result<()> {
    let started = Instant::now();
    stage("format", || command::run(&mut command::cargo(root, &["fmt", "--all", "--check"])))?;
    stage("tidy", || tidy::run(root))?;
    stage("clippy", || {
        let args = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
        command::run(&mut command::cargo(root, &args))
    })?;
    stage("tests", || {
        let mut tests = command::cargo(root, &["test", "--workspace", "--no-fail-fast"]);
        // Most tests of the router wait for a peer or a timer most of the time, so two share a core.
        let cores = thread::available_parallelism().map_or(1, usize::from);
        command::run(tests.env("RUST_TEST_THREADS", (2 * cores).to_string()))
    })?;
    if options.fast {
        println!(
            "\nfast: the documentation and its site, the instruction counts, the dependencies, the real clients, the gateways, the \
             browser, the manifests and the Python package were left out"
        );
    } else {
        stage("documentation", || {
            let mut doc = command::cargo(root, &["doc", "--workspace", "--no-deps", "--quiet"]);
            command::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
        })?;
        python_stage("site", || docs::build(root))?;
        stage("alert rules", || alert_rules(root))?;
        stage("instruction counts", || guard::test(root))?;
        stage("dependencies", || deny::run(root))?;
        python_stage("real clients", || pytest(root, "clients"))?;
        python_stage("gateways", || gateways(root))?;
        python_stage("report page", || report_page(root))?;
        python_stage("manifests", || pytest(root, "deploy"))?;
        python_stage("python package", || package(root))?;
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

/// A stage that is skipped, with a notice, on a machine without Python.
fn python_stage(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    if python_env::is_available() {
        return stage(name, work);
    }
    println!("\n**** SKIPPED: {name}: python3 is missing. Install python3 and python3-venv.");
    Ok(())
}

/// Asks Prometheus' own checker where it is installed; a Rust test checks the metrics that the rules name in any case.
fn alert_rules(root: &Path) -> Result<()> {
    if command::exists("promtool", "--version") {
        let mut promtool = Command::new("promtool");
        return command::run(promtool.current_dir(root).args([
            "check",
            "rules",
            "deploy/prometheus/alerts.yaml",
        ]));
    }
    println!("**** SKIPPED: promtool is missing. Install prometheus.");
    Ok(())
}

/// Runs Envoy, which comes from PyPI, and HAProxy where it is installed, with the router beside them.
fn gateways(root: &Path) -> Result<()> {
    if !command::exists("haproxy", "-v") {
        println!("**** SKIPPED in part: haproxy is missing, so its example was not run. Install haproxy.");
    }
    pytest(root, "gateways")
}

/// Draws the report's page in the machine's own Chromium.
fn report_page(root: &Path) -> Result<()> {
    let browsers = ["chromium", "chromium-browser", "google-chrome"];
    if browsers.iter().any(|browser| command::exists(browser, "--version")) {
        return pytest(root, "report");
    }
    println!("**** SKIPPED: Chromium is missing, so no chart was drawn. Install chromium.");
    Ok(())
}

/// Builds the wheel, installs it into a virtual environment, and runs the tests of the package against it.
fn package(root: &Path) -> Result<()> {
    let target = command::target_dir(root)?;
    let (home, wheels) = (root.join("python"), target.join("wheels"));
    let python = python_env::prepare(&home.join("tests/requirements.txt"), &target.join("package-venv"))?;
    let run = |words: &[&str]| {
        let mut module = Command::new(&python);
        module.current_dir(&home).arg("-m").args(words).env("PYTHONDONTWRITEBYTECODE", "1");
        command::run(&mut module)
    };
    // The profile of the tests, so that crates compiled with the same features are not compiled again.
    let out = wheels.to_string_lossy();
    run(&["maturin", "build", "--quiet", "--profile", "dev", "--out", &out])?;
    let find = ["--no-index", "--find-links", &out, "--force-reinstall", "--no-deps", "sgl-router"];
    run(&[&["pip", "install", "--quiet", "--disable-pip-version-check"][..], &find].concat())?;
    run(&["pytest", "-q", "-p", "no:cacheprovider", "tests"])
}

/// Runs the tests in `tests/NAME` against the debug binary.
fn pytest(root: &Path, name: &str) -> Result<()> {
    // The binary that the Rust tests were built with: another selection of packages has other features, and is compiled again.
    command::run(&mut command::cargo(root, &["test", "--workspace", "--no-run", "--quiet"]))?;
    let binary = command::target_dir(root)?.join("debug").join("sgl-router");
    let mut pytest = Command::new(python_env::for_tests(root, name)?);
    let tests = format!("tests/{name}");
    pytest.current_dir(root).args(["-m", "pytest", "-q", "-p", "no:cacheprovider", &tests]);
    pytest.env("SGL_ROUTER_BIN", binary).env("PYTHONDONTWRITEBYTECODE", "1");
    command::run(&mut pytest)
}
