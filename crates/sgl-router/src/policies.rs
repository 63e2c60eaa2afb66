//! `sgl-router policies`: the list of policies, and the options of one.

use crate::error::CommandError;
use crate::terminal::say;
use clap::Args;
use router_core::{PolicyOptions, PolicySpec, Registry};
use std::fmt::Write as _;

/// The flags of `policies`.
#[derive(Debug, Args)]
pub(crate) struct PoliciesArgs {
    /// The policy whose options are listed
    name: Option<String>,
}

/// Prints every policy with its summary, or one policy with its options.
pub(crate) fn run(args: &PoliciesArgs) -> Result<(), CommandError> {
    let registry = Registry::builtin();
    match &args.name {
        None => say(list(&registry)),
        Some(name) => match registry.spec(name) {
            Some(spec) => say(one(spec)),
            None => {
                // Building says which policy may be meant.
                let error = registry.build(name, &PolicyOptions::new()).err();
                let error =
                    error.map_or_else(|| format!("unknown policy `{name}`"), |error| error.to_string());
                return Err(CommandError::usage(error));
            }
        },
    }
    Ok(())
}

fn list(registry: &Registry) -> String {
    let width = registry.specs().map(|s| s.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for spec in registry.specs() {
        let _ = writeln!(text, "{:width$}  {}", spec.name, spec.summary);
    }
    text
}

fn one(spec: &PolicySpec) -> String {
    let PolicySpec { name, summary, options, .. } = spec;
    let mut text = format!("{name}: {summary}\n\n");
    if options.is_empty() {
        text.push_str("It has no options.\n");
    } else {
        text.push_str("Options and their defaults, for --policy-option NAME=VALUE:\n");
    }
    let width = options.keys().map(String::len).max().unwrap_or(0);
    for (option, default) in options {
        let default = if default.is_null() { "none".to_owned() } else { default.to_string() };
        let _ = writeln!(text, "  {option:width$}  {default}");
    }
    let _ = writeln!(text, "\ndocs/policies/{name}.md explains them.");
    text
}
