//! The flags of sglang-router, for programs that declare them with argparse.

use pyo3::prelude::*;
use router_config::compat::{FlagMapping, FlagValues, SourceRouter, foreign_flags};

/// A flag of sglang-router as Python shows it.
#[derive(IntoPyObject)]
pub(crate) struct SglangRouterFlag {
    /// Its name, with underscores for dashes.
    name: String,
    /// Number of its values: `zero`, `one` or `many`.
    values: &'static str,
    /// Values with a meaning of their own, which have another name here or none.
    renamed_values: Vec<&'static str>,
    /// What is different here; empty where this router has the same flag.
    note: String,
}

/// Every flag of sglang-router 0.3.2.
#[pyfunction]
pub(crate) fn sglang_router_flags() -> Vec<SglangRouterFlag> {
    foreign_flags()
        .filter(|flag| flag.routers.contains(&SourceRouter::SglangRouter))
        .map(|flag| SglangRouterFlag {
            name: flag.name.replace('-', "_"),
            values: match flag.values {
                FlagValues::Zero => "zero",
                FlagValues::One => "one",
                FlagValues::Many => "many",
            },
            renamed_values: match flag.mapping {
                FlagMapping::ByValue(some, _) => some.iter().map(|(value, _)| *value).collect(),
                _ => Vec::new(),
            },
            note: note(&flag.mapping),
        })
        .collect()
}

fn note(mapping: &FlagMapping) -> String {
    match mapping {
        FlagMapping::Same(note) => (*note).to_owned(),
        FlagMapping::ReplacedBy(words) => format!("becomes {}", words.join(" ").replace("{}", "VALUE")),
        FlagMapping::PolicyOption(name) => format!("becomes --policy-option {name}=VALUE"),
        FlagMapping::Ignored(why) => format!("changes nothing: {why}"),
        FlagMapping::Rejected(instead) => format!("refused: {instead}"),
        FlagMapping::ByValue(_, other) => note(other),
    }
}
