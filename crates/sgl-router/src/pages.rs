//! `sgl-router pages`: the parts of the documentation that `cargo xtask docs` generates from the code.

use crate::terminal::say;
use clap::{Arg, ArgAction, Args, ValueEnum};
use router_config::compat::{FlagMapping, ForeignFlag, SourceRouter, foreign_flags};
use router_config::{ChangeTime, Options};
use std::fmt::Write as _;

/// The flags of `pages`.
#[derive(Debug, Args)]
pub(crate) struct PagesArgs {
    /// The part to print
    part: PagePart,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PagePart {
    /// Every option of the router.
    Options,
    /// How the flags of other routers are mapped.
    Foreign,
}

/// Prints one part of the documentation of `command` in Markdown.
pub(crate) fn print(args: &PagesArgs, command: clap::Command) {
    let text = match args.part {
        PagePart::Options => options(command),
        PagePart::Foreign => foreign(),
    };
    say(&text);
}

/// A table of the options for each heading of the help.
fn options(mut command: clap::Command) -> String {
    command.build();
    let launch = command.find_subcommand("launch");
    let all: Vec<&Arg> = launch.into_iter().flat_map(clap::Command::get_arguments).collect();
    let of_config =
        |arg: &&&Arg| arg.get_long().is_some() && !["help", "config"].contains(&arg.get_id().as_str());
    let mut headings: Vec<&str> = Vec::new();
    for heading in all.iter().filter(of_config).filter_map(|arg| arg.get_help_heading()) {
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    let mut text = String::new();
    for heading in headings {
        let _ = write!(text, "## {heading}\n\n| flag | key | default | meaning |\n|---|---|---|---|\n");
        for arg in all.iter().filter(of_config).filter(|arg| arg.get_help_heading() == Some(heading)) {
            let _ = writeln!(text, "{}", option_row(arg));
        }
        text.push('\n');
    }
    text
}

fn option_row(arg: &Arg) -> String {
    let takes_value = !matches!(arg.get_action(), ArgAction::SetTrue);
    let names = arg.get_value_names().filter(|_| takes_value).unwrap_or_default();
    let value = names.iter().map(|name| format!(" {}", escaped(name))).collect::<String>();
    let flag = format!("`--{}`{value}", arg.get_long().unwrap_or_default());
    let defaults: Vec<_> = arg.get_default_values().iter().map(|v| v.to_string_lossy()).collect();
    let default = match (takes_value, defaults.is_empty()) {
        (true, false) => format!("`{}`", defaults.join(" ")),
        (true, true) => String::new(),
        (false, _) => "`false`".to_owned(),
    };
    let mut meaning = escaped(&arg.get_help().map(ToString::to_string).unwrap_or_default());
    let possible = arg.get_possible_values();
    if takes_value && !possible.is_empty() {
        let values: Vec<_> = possible.iter().map(|v| format!("`{}`", v.get_name())).collect();
        let _ = write!(meaning, ": {}", values.join(", "));
    }
    if Options::change_time(arg.get_id().as_str()) == Some(ChangeTime::Live) {
        meaning.push_str(" (live)");
    }
    if let Some(variable) = arg.get_env() {
        let _ = write!(meaning, " (environment: `{}`)", variable.to_string_lossy());
    }
    format!("| {flag} | `{}` | {default} | {meaning} |", arg.get_id())
}

/// Three tables: the flags of sglang-router, and those that only smg or only vllm-router has.
fn foreign() -> String {
    let shared = |f: &ForeignFlag| {
        f.routers.iter().any(|p| matches!(p, SourceRouter::SglangRouter | SourceRouter::SglangRouter01))
    };
    let mut text = String::from("### Flags of sglang-router\n\n| flag |");
    for router in SourceRouter::ALL {
        let _ = write!(text, " {} |", router.title());
    }
    text.push_str(" here |\n|---|---|---|---|---|---|\n");
    for flag in foreign_flags().filter(shared) {
        let _ = write!(text, "| `--{}` |", flag.name);
        for router in SourceRouter::ALL {
            text.push_str(if flag.routers.contains(&router) { " yes |" } else { " |" });
        }
        let _ = writeln!(text, " {} |", mapping(&flag.mapping));
    }
    for router in [SourceRouter::Smg, SourceRouter::VllmRouter] {
        let _ = write!(text, "\n### Flags that only {} has\n\n| flag | here |\n|---|---|\n", router.title());
        for flag in foreign_flags().filter(|f| f.routers.contains(&router) && !shared(f)) {
            let _ = writeln!(text, "| `--{}` | {} |", flag.name, mapping(&flag.mapping));
        }
    }
    text
}

fn mapping(mapping_of: &FlagMapping) -> String {
    match mapping_of {
        FlagMapping::Same("") => "the same".to_owned(),
        FlagMapping::Same(note) => format!("the same; {}", escaped(note)),
        FlagMapping::ReplacedBy(words) => format!("`{}`", words.join(" ").replace("{}", "VALUE")),
        FlagMapping::PolicyOption(name) => {
            format!(
                "`--policy-option {name}=VALUE` for a policy with that option; changes nothing for others"
            )
        }
        FlagMapping::Ignored(why) => format!("changes nothing: {}", escaped(why)),
        FlagMapping::Rejected(instead) => format!("**refused**: {}", escaped(instead)),
        FlagMapping::ByValue(some, other) => {
            let some = some.iter().map(|(value, f)| format!("; `{value}`: {}", mapping(f)));
            mapping(other) + &some.collect::<String>()
        }
    }
}

/// Escapes what would end a table cell or start a tag.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}
