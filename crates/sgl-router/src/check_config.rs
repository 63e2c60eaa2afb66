//! `sgl-router check-config`: what a configuration file says, and what is wrong with it, without a router.

use crate::error::CommandError;
use crate::terminal::say;
use clap::{ArgMatches, Args};
use router_config::{Config, ConfigError, LoadPolls, Options, SourcedOptions, Sources};
use router_core::{InFlightCap, PolicyNeeds, Registry};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The flags of `check-config`.
#[derive(Debug, Args)]
pub(crate) struct CheckConfigArgs {
    /// The TOML file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Print JSON
    #[arg(long, help_heading = "Output")]
    json: bool,

    #[command(flatten)]
    options: Options,
}

/// Prints the configuration that the file and the flags make together, and what it means.
pub(crate) fn run(args: CheckConfigArgs, matches: &ArgMatches) -> Result<(), CommandError> {
    let CheckConfigArgs { file, json, options } = args;
    let registry = Registry::builtin();
    let checked = Options::load_sourced(matches, options, Some(&file))
        .and_then(|loaded| loaded.options.check(&registry).map(|config| (loaded, config)));
    let (SourcedOptions { options, sources }, config) = match checked {
        Ok(checked) => checked,
        Err(error) => return Err(wrong(&file, &error, json)),
    };
    let facts = facts(&options, config);
    let warnings = options.policy_warnings(&registry);
    if json {
        let options = options.described(&sources);
        say(json!({"valid": true, "options": options, "facts": facts, "warnings": warnings}));
    } else {
        let texts = Findings { facts: &facts, warnings: &warnings };
        say(page(&file, &options, &sources, texts));
    }
    Ok(())
}

/// The error of an invalid configuration, with the line of the file where the option at fault stands.
fn wrong(file: &Path, error: &ConfigError, json: bool) -> CommandError {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let keys = error.keys();
    let line = keys.iter().find_map(|key| router_config::line_of(&text, key));
    if json {
        let problem = error.to_string();
        say(json!({"valid": false, "error": problem, "options": keys, "line": line}));
    }
    CommandError::usage(match line {
        Some(line) => format!("config file {}: line {line}: {error}", file.display()),
        None => error.to_string(),
    })
}

/// What the configuration means, and what in it may not be meant, in sentences.
#[derive(Clone, Copy)]
struct Findings<'a> {
    facts: &'a [String],
    warnings: &'a [String],
}

fn page(file: &Path, options: &Options, sources: &Sources, findings: Findings<'_>) -> String {
    let Findings { facts, warnings } = findings;
    let values = options.shown();
    let longest = values.keys().map(String::len).max().unwrap_or(0);
    let mut text = format!("{}: valid\n\n", file.display());
    for key in Options::keys() {
        let value = values.get(*key).unwrap_or(&Value::Null);
        let source = options.source_of(key, sources).as_str();
        let _ = writeln!(text, "{key:longest$}  {source:11}  {value}");
    }
    for (title, lines) in [("What it means", facts), ("Warnings", warnings)] {
        if !lines.is_empty() {
            let _ = writeln!(text, "\n{title}:");
            for line in lines {
                let _ = writeln!(text, "  {line}");
            }
        }
    }
    text.trim_end().to_owned()
}

/// What the configuration means that no single option says.
fn facts(options: &Options, mut config: Config) -> Vec<String> {
    let mut facts = vec![format!("clients connect to {}", config.listen)];
    let mut needs = PolicyNeeds::NONE;
    for policy in std::iter::once(&mut config.policy).chain(&mut config.shadows) {
        if let Ok(made) = policy.make() {
            needs = needs.or(made.needs());
        }
    }
    let wanted = [
        (needs.prefix_hashes, "prefixes of prompts"),
        (needs.text, "texts of prompts"),
        (needs.routing_key, "routing keys"),
        (needs.target_worker, "workers that clients name"),
        (needs.forecast, "forecasts of output lengths"),
        (needs.load_reports, "load reports"),
        (needs.progress, "the progress of streams"),
    ];
    let wanted: Vec<_> = wanted.iter().filter(|(is_needed, _)| *is_needed).map(|(_, what)| *what).collect();
    let needed = if wanted.is_empty() { "nothing but its own counts".to_owned() } else { wanted.join(", ") };
    facts.push(format!("{} decides, and uses {needed}", config.policy.name()));
    let polls = needs.load_reports || config.fleet.load_polls == LoadPolls::Always;
    facts.push(if polls {
        format!("workers are polled for their load every {:?}", config.fleet.load_poll)
    } else {
        "workers are not polled for their load".to_owned()
    });
    for worker in config.all_workers() {
        facts.push(format!("worker {} has weight {}", worker.url, worker.weight));
    }
    if config.workers.is_empty() {
        facts.push("there is no worker at the start".to_owned());
    }
    facts.extend(limits(options, &config));
    facts
}

fn limits(options: &Options, config: &Config) -> Vec<String> {
    let admission = &config.admission;
    let limit = |what: &str, n: Option<String>| match n {
        Some(n) => format!("{what}: at most {n}"),
        None => format!("{what}: no limit"),
    };
    let cap = match admission.worker_max_in_flight {
        InFlightCap::Unlimited => None,
        InFlightCap::Fixed(cap) => Some(cap.to_string()),
        InFlightCap::FromReport => Some("twice what the worker says that it runs at once".to_owned()),
    };
    let mut limits = vec![
        limit("requests at a time", admission.max_concurrent.map(|n| n.to_string())),
        limit("requests per second", admission.rate.map(|n| n.to_string())),
        limit("requests on one worker", cap),
    ];
    if config.security.credentials.is_empty() {
        limits.push("clients need no key".to_owned());
    }
    if options.admin_api_key.is_none() && !config.security.remote_admin {
        limits.push("admin routes are served to this machine only".to_owned());
    }
    limits
}
