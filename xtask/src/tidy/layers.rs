//! Which crate may stand on which: arrows go down only.

use super::{Entry, Finding};
use toml::Table;

/// A crate of ours and those of ours that it may use, as ARCHITECTURE.md draws them.
const LAYERS: [(&str, &[&str]); 13] = [
    ("router-core", &[]),
    ("router-engine", &["router-core"]),
    ("router-protocol", &["router-core"]),
    ("router-sim", &["router-core", "router-engine"]),
    ("router-emulator", &["router-core", "router-engine", "router-protocol"]),
    ("router-load", &["router-core", "router-protocol"]),
    ("router-report", &["router-core"]),
    ("router-config", &["router-core"]),
    ("router-telemetry", &["router-config", "router-core"]),
    ("router-proxy", &["router-config", "router-core", "router-protocol", "router-telemetry"]),
    (
        "sgl-router",
        &[
            "router-core",
            "router-engine",
            "router-protocol",
            "router-sim",
            "router-emulator",
            "router-load",
            "router-report",
            "router-config",
            "router-telemetry",
            "router-proxy",
        ],
    ),
    (
        "router-python",
        &[
            "router-core",
            "router-engine",
            "router-protocol",
            "router-sim",
            "router-emulator",
            "router-load",
            "router-report",
            "router-config",
            "router-telemetry",
            "router-proxy",
            "sgl-router",
        ],
    ),
    ("xtask", &[]),
];

/// Crates that do no I/O and read no clock, entropy or environment.
pub(crate) const PURE: [&str; 4] = ["router-core", "router-protocol", "router-engine", "router-sim"];

/// Outside crates that bring I/O, a clock or entropy with them.
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

/// Checks every manifest of the workspace. What only tests use may come from any floor but the binary.
pub(crate) fn check(tree: &[Entry]) -> Vec<Finding> {
    tree.iter()
        .filter(|entry| entry.path.ends_with("/Cargo.toml"))
        .flat_map(|entry| check_manifest(&entry.path, entry.text.as_deref().unwrap_or_default()))
        .collect()
}

fn check_manifest(path: &str, text: &str) -> Vec<Finding> {
    let finding = |message| Finding { file: path.to_owned(), line: 0, message };
    let Ok(manifest) = text.parse::<Table>() else { return vec![finding("not a manifest".to_owned())] };
    let name =
        manifest.get("package").and_then(|p| p.get("name")).and_then(|n| n.as_str()).unwrap_or_default();
    let Some((_, below)) = LAYERS.iter().find(|(crate_name, _)| *crate_name == name) else {
        return vec![finding(format!(
            "crate `{name}` has no floor: give it one in tidy and in ARCHITECTURE.md"
        ))];
    };
    let mut findings = Vec::new();
    for dependency in
        ["dependencies", "build-dependencies"].iter().flat_map(|section| names(&manifest, section))
    {
        let ours = LAYERS.iter().any(|(crate_name, _)| *crate_name == dependency);
        if ours && !below.contains(&dependency) {
            findings.push(finding(format!("`{name}` may not stand on `{dependency}`: arrows go down only")));
        }
        if PURE.contains(&name) && IMPURE_DEPENDENCIES.contains(&dependency) {
            findings.push(finding(format!("`{name}` is pure and may not use `{dependency}`")));
        }
    }
    if names(&manifest, "dev-dependencies").any(|dependency| dependency == "sgl-router") {
        findings.push(finding("no test of a crate may need the binary's crate".to_owned()));
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
    fn arrows_go_down() {
        let down = "[package]\nname = 'router-proxy'\n[dependencies]\nrouter-core = {}\nhyper = '1'";
        assert_eq!(messages(down), [""; 0]);
        let up = "[package]\nname = 'router-core'\n[dependencies]\nrouter-proxy = {}";
        assert_eq!(messages(up), ["`router-core` may not stand on `router-proxy`: arrows go down only"]);
    }

    #[test]
    fn tests_may_look_sideways() {
        let text = "[package]\nname = 'router-proxy'\n[dev-dependencies]\nrouter-emulator = {}";
        assert_eq!(messages(text), [""; 0]);
    }

    #[test]
    fn a_pure_crate_takes_no_runtime() {
        let text = "[package]\nname = 'router-engine'\n[dependencies]\ntokio = '1'";
        assert_eq!(messages(text), ["`router-engine` is pure and may not use `tokio`"]);
    }

    #[test]
    fn a_new_crate_needs_a_floor() {
        assert_eq!(messages("[package]\nname = 'router-attic'").len(), 1);
    }
}
