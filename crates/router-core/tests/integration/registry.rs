//! The registry and its errors, as authors of configurations see them.

use crate::common::params;
use router_core::{PolicyOptions, Registry};

fn error(name: &str, json: &str) -> String {
    Registry::builtin().build(name, &params(json)).unwrap_err().to_string()
}

#[test]
fn every_policy_has_its_own_name() {
    let registry = Registry::builtin();
    let names: Vec<&str> = registry.specs().map(|s| s.name.as_str()).collect();
    let wanted = [
        "random",
        "round_robin",
        "power_of_two",
        "cache_aware",
        "shortest_queue",
        "marginal_utility",
        "marginal_utility_recorder",
        "fixed_probability",
    ];
    assert!(wanted.iter().all(|w| names.contains(w)), "{names:?}");
    for spec in registry.specs() {
        assert_eq!(registry.build(&spec.name, &PolicyOptions::new()).unwrap().name(), spec.name);
        assert!(!spec.summary.is_empty());
    }
}

#[test]
fn only_the_recorder_records() {
    let registry = Registry::builtin();
    let recording: Vec<_> = registry.specs().filter(|s| s.records).map(|s| s.name.as_str()).collect();
    assert_eq!(recording, ["marginal_utility_recorder"]);
}

#[test]
fn listed_defaults_are_accepted() {
    let registry = Registry::builtin();
    for spec in registry.specs() {
        registry.build(&spec.name, &spec.options).unwrap();
    }
    let options = &registry.spec("cache_aware").unwrap().options;
    let wanted = r#"{"cache_threshold":0.3,"balance_abs_threshold":64,"balance_rel_threshold":1.5,
        "eviction_interval_secs":60,"max_tree_size":null}"#;
    assert_eq!(*options, params(wanted));
    let options = &registry.spec("marginal_utility").unwrap().options;
    let wanted = r#"{"window_size":20,"min_history_for_trend":10,"throughput_weight":0.6,
        "latency_weight":0.4,"normalize":false}"#;
    assert_eq!(*options, params(wanted));
    assert!(registry.options("shortest_queue").unwrap().any(|k| k == "enable_fallback"));
}

#[test]
fn unknown_name_suggests_the_nearest() {
    let message = error("cacheaware", "{}");
    assert!(message.starts_with("unknown policy `cacheaware`, did you mean `cache_aware`?; known: random, "));
    assert!(error("zzzzzz", "{}").starts_with("unknown policy `zzzzzz`; known: random, "));
}

#[test]
fn bad_option_is_named_with_policy() {
    for (name, json, wanted) in [
        ("random", r#"{"speed":1}"#, "policy `random`: option `speed` is unknown; the policy has no options"),
        (
            "power_of_two",
            r#"{"max_age":1}"#,
            "policy `power_of_two`: option `max_age` is unknown; known: max_report_age_secs",
        ),
        (
            "marginal_utility",
            r#"{"latency_weight":"high","window_size":30}"#,
            "policy `marginal_utility`: option `latency_weight` must be a number, not \"high\"",
        ),
        (
            "cache_aware",
            r#"{"cache_threshold":30}"#,
            "policy `cache_aware`: option `cache_threshold` must be from 0 to 1, not 30",
        ),
        (
            "fixed_probability",
            r#"{"probabilities":{"http://a":0.6}}"#,
            "policy `fixed_probability`: option `probabilities` must sum to 1, but sum to 0.6",
        ),
        (
            "fixed_probability",
            r#"{"probabilities":"half"}"#,
            "policy `fixed_probability`: option `probabilities` is invalid: expected a table of worker URL to probability, or a list of probabilities",
        ),
    ] {
        assert_eq!(error(name, json), wanted);
    }
}

#[test]
fn every_policy_page_lists_its_options() {
    let pages = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/policies");
    let index = std::fs::read_to_string(pages.join("README.md")).unwrap();
    for spec in Registry::builtin().specs() {
        let page = std::fs::read_to_string(pages.join(format!("{}.md", spec.name))).unwrap();
        assert!(page.starts_with(&format!("# {}\n", spec.name)));
        assert!(index.contains(&format!("]({}.md)", spec.name)), "{} is missing in the index", spec.name);
        for (option, default) in &spec.options {
            let row = format!("| `{option}` | {default} |");
            assert!(page.contains(&row), "{}.md lacks {row}", spec.name);
        }
    }
}
