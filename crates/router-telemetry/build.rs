//! Tells the code what it is built from: the compiler, and in release builds the commit.

#![allow(
    clippy::disallowed_methods,
    reason = "cargo tells a build script what to do by environment variables"
)]
#![allow(clippy::print_stdout, reason = "a build script talks to cargo that way")]

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SGL_ROUTER_REVISION");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = output(&rustc, &["--version"]);
    let version = version.as_deref().and_then(|line| line.split_whitespace().nth(1)).unwrap_or("unknown");
    println!("cargo::rustc-env=SGL_ROUTER_RUSTC={version}");
    println!("cargo::rustc-env=SGL_ROUTER_REVISION={}", revision());
}

/// The commit: what the environment says, else in release builds what git says. Other builds are called `dev`, because
/// they would have to be made anew after each commit.
fn revision() -> String {
    if let Some(given) = std::env::var("SGL_ROUTER_REVISION").ok().filter(|given| !given.is_empty()) {
        return given;
    }
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return "dev".to_owned();
    }
    // A commit or a checkout adds a line to this file.
    if let Some(log) = output("git", &["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    output("git", &["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned())
}

/// The first line that a command writes, if it succeeds.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|o| o.status.success())?;
    String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
}
