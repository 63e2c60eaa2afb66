//! Which crate may depend on which: dependencies go down only.

use super::finding::{Finding, TreeFile};
use toml::Table;

/// Each crate of the workspace and those directly below it, as in ARCHITECTURE.md. It may depend on these, and on what they
/// may depend on.
const LAYERS: [(&str, &[&str]); 21] = [
    ("router-core", &[]),
    ("router-engine", &["router-core"]),
    ("router-protocol", &["router-core"]),
    ("router-sim", &["router-engine"]),
    ("router-grpc", &[]),
    ("router-emulator", &["router-engine", "router-grpc", "router-protocol"]),
    ("router-live", &[]),
    ("router-load", &["router-protocol"]),
    ("router-report", &["router-core"]),
    ("router-config", &["router-core"]),
    ("router-telemetry", &["router-config"]),
    ("router-upstream", &["router-grpc", "router-protocol", "router-telemetry"]),
    ("router-kubernetes", &["router-config"]),
    ("router-proxy", &["router-kubernetes", "router-live", "router-upstream"]),
    ("router-picker", &["router-proxy"]),
    ("router-fuzz", &["router-upstream"]),
    ("router-bench", &["router-protocol", "router-telemetry"]),
    ("sgl-router", &["router-sim", "router-emulator", "router-load", "router-report", "router-picker"]),
    ("router-python", &["sgl-router"]),
    ("sgl-router-fuzz", &["router-fuzz"]),
    ("xtask", &[]),
];

/// Whether `name` may depend on `dependency`.
fn is_below(dependency: &str, name: &str) -> bool {
    let below = LAYERS.iter().find(|(crate_name, _)| *crate_name == name).map_or(&[][..], |(_, below)| below);
    below.iter().any(|lower| *lower == dependency || is_below(dependency, lower))
}

/// Crates that do no I/O and read no clock, entropy or environment.
pub(crate) const PURE: [&str; 4] = ["router-core", "router-protocol", "router-engine", "router-sim"];

/// Outside crates that do I/O or read a clock or entropy.
const IMPURE_DEPENDENCIES: [&str; 12] = [
    "tokio",
    "tokio-util",
    "hyper",
    "hyper-util",
    "axum",
    "reqwest",
    "mio",
    "rand",
    "fastrand",
    "getrandom",
    "chrono",
    "jiff",
];

/// Checks every manifest of the workspace. Tests may use any crate but that of the binary.
pub(crate) fn check(tree: &[TreeFile]) -> Vec<Finding> {
    tree.iter()
        .filter(|entry| entry.path.ends_with("/Cargo.toml"))
        .flat_map(|entry| check_manifest(&entry.path, entry.text.as_deref().unwrap_or_default()))
        .collect()
}

fn check_manifest(path: &str, text: &str) -> Vec<Finding> {
    let finding = |message| Finding { file: path.to_owned(), line: 0, message };
    let Ok(manifest) = text.parse::<Table>() else {
        return vec![finding("not a valid manifest: mend it".to_owned())];
    };
    let name =
        manifest.get("package").and_then(|p| p.get("name")).and_then(|n| n.as_str()).unwrap_or_default();
    if !LAYERS.iter().any(|(crate_name, _)| *crate_name == name) {
        return vec![finding(format!(
            "crate `{name}` has no layer: add it to tidy/layers.rs and to ARCHITECTURE.md"
        ))];
    }
    let mut findings = Vec::new();
    for dependency in
        ["dependencies", "build-dependencies"].iter().flat_map(|section| names(&manifest, section))
    {
        let ours = LAYERS.iter().any(|(crate_name, _)| *crate_name == dependency);
        if ours && !is_below(dependency, name) {
            findings.push(finding(format!("`{name}` may not depend on `{dependency}`: dependencies go down only; move what both need into a crate below")));
        }
        if PURE.contains(&name) && IMPURE_DEPENDENCIES.contains(&dependency) {
            findings.push(finding(format!(
                "`{name}` is pure and may not use `{dependency}`: pass its result in as an argument"
            )));
        }
    }
    if names(&manifest, "dev-dependencies").any(|dependency| dependency == "sgl-router") {
        findings.push(finding(
            "tests may not depend on `sgl-router`: use the library that it is built from".to_owned(),
        ));
    }
    findings
}

fn names<'a>(manifest: &'a Table, section: &str) -> impl Iterator<Item = &'a str> {
    manifest.get(section).and_then(|s| s.as_table()).into_iter().flat_map(|s| s.keys().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<String> {
        check_manifest("crates/x/Cargo.toml", text).into_iter().map(|f| f.message).collect()
    }

    #[test]
    fn dependencies_go_down() {
        let down = "[package]\nname = 'router-proxy'\n[dependencies]\nrouter-core = {}\nhyper = '1'";
        assert_eq!(messages(down), [""; 0]);
        let up = "[package]\nname = 'router-core'\n[dependencies]\nrouter-proxy = {}";
        assert_eq!(
            messages(up),
            [
                "`router-core` may not depend on `router-proxy`: dependencies go down only; move what both need into a crate below"
            ]
        );
    }

    #[test]
    fn tests_may_use_other_crates() {
        let text = "[package]\nname = 'router-proxy'\n[dev-dependencies]\nrouter-emulator = {}";
        assert_eq!(messages(text), [""; 0]);
    }

    #[test]
    fn pure_crate_takes_no_runtime() {
        let text = "[package]\nname = 'router-engine'\n[dependencies]\ntokio = '1'";
        assert_eq!(
            messages(text),
            ["`router-engine` is pure and may not use `tokio`: pass its result in as an argument"]
        );
    }

    #[test]
    fn new_crate_needs_a_layer() {
        assert_eq!(messages("[package]\nname = 'router-attic'").len(), 1);
    }
}
