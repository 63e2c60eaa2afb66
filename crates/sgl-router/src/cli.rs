//! The parser of the command line.

use crate::clap_message::{first_line, stray_url};
#[cfg(feature = "endpoint-picker")]
use crate::endpoint_picker;
use crate::terminal::say;
use crate::{
    check_config, completions, demo, emulate, explain, launch, pages, policies, report, send, simulate, top,
    workers,
};
use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use router_config::compat::{ForeignError, ForeignPolicyOption, Translation, translate};
use std::ffi::OsString;

/// Inference router for SGLang and vLLM that measures what each server delivers
#[derive(Debug, Parser)]
#[command(disable_help_flag = true)]
#[command(
    name = "sgl-router",
    version,
    infer_long_args = true,
    infer_subcommands = true,
    max_term_width = 110
)]
#[command(after_help = "Try it:  sgl-router demo\n\
    Run it:  sgl-router launch --worker-urls http://10.0.0.1:30000 http://10.0.0.2:30000\n\
    Help:    sgl-router COMMAND --help")]
struct Cli {
    /// Print help
    #[arg(long, short, global = true, action = clap::ArgAction::HelpShort, help_heading = "Other")]
    help: Option<bool>,

    #[command(subcommand)]
    command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Route requests to inference servers
    #[command(alias = "start")]
    Launch(Box<launch::LaunchArgs>),
    /// Say what is wrong with a configuration file and what it means, with the source of each value
    CheckConfig(Box<check_config::CheckConfigArgs>),
    /// Choose endpoints for Envoy, as the endpoint picker of the Gateway API Inference Extension
    #[cfg(feature = "endpoint-picker")]
    EndpointPicker(Box<endpoint_picker::EndpointPickerArgs>),
    /// Start an emulated fleet behind a router, compare policies under one load, and keep serving
    Demo(demo::DemoArgs),
    /// Start emulated SGLang servers
    Emulate(emulate::EmulateArgs),
    /// Send a load to a router or an engine and measure the responses
    Send(Box<send::SendArgs>),
    /// Compare policies on a simulated fleet in virtual time; the same seed gives the same result
    Simulate(Box<simulate::SimulateArgs>),
    /// Write a page of charts from the CSV files of runs, and audit recorded decisions
    Report(report::ReportArgs),
    /// List the routing policies, or the options of one of them
    Policies(policies::PoliciesArgs),
    /// List, add, drain and remove the workers of a running router
    Workers(workers::WorkersArgs),
    /// Explain one routing decision of a running router in words
    Explain(explain::ExplainArgs),
    /// Show what a running router and its fleet do now, and what is wrong
    Top(top::TopArgs),
    /// Print completions for a shell, such as `source <(sgl-router completions bash)`
    Completions(completions::CompletionsArgs),
    /// Print the manual page
    Man,
    /// Print a generated part of the documentation
    #[command(hide = true)]
    Pages(pages::PagesArgs),
}

/// Why there is no command to run.
#[derive(Debug)]
pub(crate) enum NoCommand {
    /// Help or the version was requested, or no command was given.
    Help(clap::Error),
    /// The short help of `launch` was requested.
    ShortHelp(clap::builder::StyledStr),
    /// The command line is invalid; the message is one line.
    Invalid(String),
}

impl NoCommand {
    /// Prints the help or the message and returns the exit code.
    pub(crate) fn print(&self) -> u8 {
        match self {
            Self::Help(help) => {
                // A reader that closes the pipe early is not an error.
                let _ = help.print();
                if help.use_stderr() { 2 } else { 0 }
            }
            Self::ShortHelp(help) => {
                say(help);
                0
            }
            Self::Invalid(line) => {
                eprintln!("sgl-router: {line}");
                2
            }
        }
    }
}

/// Parses a command line into the command and the matches of its flags.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<(Command, ArgMatches), NoCommand> {
    let translation =
        translate_flags(args.into_iter().collect()).map_err(|error| NoCommand::Invalid(error.to_string()))?;
    let Translation { args, policy_options, notes } = translation;
    let is_launch = args.get(1).is_some_and(is_launch);
    if is_launch && args.iter().any(|word| word == "-h") {
        return Err(NoCommand::ShortHelp(short_help()));
    }
    let parsed = command().try_get_matches_from(args).and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches)?;
        let own = matches.subcommand().map(|(_, own)| own.clone()).unwrap_or_default();
        Ok((cli.command.with_foreign(policy_options, notes), own))
    });
    parsed.map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => NoCommand::Help(error),
        _ => NoCommand::Invalid(match stray_url(&error) {
            Some(url) if is_launch => {
                format!("unexpected argument '{url}'; did you mean '--worker-urls {url}'?")
            }
            _ => one_line(&error),
        }),
    })
}

/// The options of `launch` that most installations need.
const COMMON: [&str; 18] = [
    "config",
    "worker_urls",
    "start_empty",
    "pd_disaggregation",
    "prefill",
    "decode",
    "host",
    "port",
    "prometheus_port",
    "policy",
    "policy_options",
    "queue_when_unavailable",
    "max_concurrent_requests",
    "api_key",
    "admin_api_key",
    "record_dir",
    "enable_tracking",
    "log_level",
];

/// `launch -h`: the help with the common options only.
fn short_help() -> clap::builder::StyledStr {
    let mut command = command();
    command.build();
    let Some(launch) = command.find_subcommand("launch") else { return command.render_help() };
    let all = launch.get_arguments().filter(|arg| arg.get_long().is_some()).count();
    let common = |arg: clap::Arg| if COMMON.contains(&arg.get_id().as_str()) { arg } else { arg.hide(true) };
    let more = format!("All {all} options: sgl-router launch --help");
    launch.clone().mut_args(common).after_help(more).render_help()
}

/// The definition of all commands. If a flag of `launch` is given twice, the last one counts, as in other routers.
pub(crate) fn command() -> clap::Command {
    Cli::command().mut_subcommand("launch", |launch| {
        launch.args_override_self(true).after_help(
            "Flags of sglang-router, smg and vllm-router are accepted, too: see docs/migrating.md",
        )
    })
}

/// Whether a word is the command `launch`, which may be abbreviated.
fn is_launch(word: &OsString) -> bool {
    word.to_str().is_some_and(|word| !word.is_empty() && ("launch".starts_with(word) || word == "start"))
}

/// Translates the flags of other routers after `launch` into our own.
fn translate_flags(mut args: Vec<OsString>) -> Result<Translation, ForeignError> {
    if !args.get(1).is_some_and(is_launch) {
        return Ok(Translation { args, policy_options: Vec::new(), notes: Vec::new() });
    }
    let command = command();
    let launch = command.find_subcommand("launch").into_iter().flat_map(clap::Command::get_arguments);
    let own: Vec<&str> = launch.filter_map(clap::Arg::get_long).chain(["help"]).collect();
    let translation = translate(args.split_off(2), &own)?;
    args.extend(translation.args);
    Ok(Translation { args, ..translation })
}

impl Command {
    /// With what the flags of other routers gave besides flags of our own.
    fn with_foreign(mut self, policy_options: Vec<ForeignPolicyOption>, notes: Vec<String>) -> Self {
        if let Self::Launch(args) = &mut self {
            (args.policy_options, args.notes) = (policy_options, notes);
        }
        self
    }
}

/// clap's message in one line, with a hint to the help.
fn one_line(error: &clap::Error) -> String {
    format!("{} (--help lists all)", first_line(error))
}
