//! The command line: commands, and errors of one line.

use crate::{demo, emulate, launch, pages, report, send, simulate};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use router_config::compat::{ForeignError, translate};
use std::ffi::OsString;

/// The inference router that knows what its servers really deliver.
#[derive(Debug, Parser)]
#[command(disable_help_flag = true)]
#[command(
    name = "sgl-router",
    version,
    infer_long_args = true,
    infer_subcommands = true,
    max_term_width = 110
)]
#[command(after_help = "Try it:    sgl-router demo\n\
    For real:  sgl-router launch --worker-urls http://10.0.0.1:30000 http://10.0.0.2:30000\n\
    More:      sgl-router COMMAND --help")]
struct Cli {
    /// Print help
    #[arg(long, short, global = true, action = clap::ArgAction::HelpShort, help_heading = "Other")]
    help: Option<bool>,

    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Route requests to inference servers
    #[command(alias = "start")]
    Launch(Box<launch::LaunchArgs>),
    /// Start an emulated fleet with a router in front, compare policies on a real load, and keep serving
    Demo(demo::DemoArgs),
    /// Start emulated inference servers that answer as SGLang does
    Emulate(emulate::EmulateArgs),
    /// Send a load to a router or an engine and measure what comes back
    Send(Box<send::SendArgs>),
    /// Compare policies on a modelled fleet in virtual time: hours in seconds, the same to the bit on repeat
    Simulate(Box<simulate::SimulateArgs>),
    /// Make a page of charts about runs from their CSV files, and audit recorded decisions
    Report(report::ReportArgs),
    /// List the routing policies
    Policies,
    /// Print a part of the documentation that is written from the code
    #[command(hide = true)]
    Pages(pages::PagesArgs),
}

/// A command that could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// What was asked for cannot be: a flag, a file, a name.
    #[error("{0}")]
    Usage(String),
    /// It was asked for rightly and went wrong.
    #[error("{0}")]
    Runtime(String),
}

impl CommandError {
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Runtime(_) => 1,
        }
    }
}

/// Why there is no command to carry out.
#[derive(Debug)]
pub(crate) enum NoCommand {
    /// Help or the version was asked for, or no command was given.
    Help(clap::Error),
    /// The command line is wrong; one line says how.
    Wrong(String),
}

impl NoCommand {
    /// Prints it and returns the exit code.
    pub(crate) fn tell(&self) -> u8 {
        match self {
            Self::Help(help) => {
                // A closed pipe is the reader's choice, not an error.
                let _ = help.print();
                if help.use_stderr() { 2 } else { 0 }
            }
            Self::Wrong(line) => {
                eprintln!("sgl-router: {line}");
                2
            }
        }
    }
}

/// The command and the matches of its own flags.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<(Command, ArgMatches), NoCommand> {
    let (args, notes) =
        of_any_router(args.into_iter().collect()).map_err(|error| NoCommand::Wrong(error.to_string()))?;
    let parsed = command().try_get_matches_from(args).and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches)?;
        let own = matches.subcommand().map(|(_, own)| own.clone()).unwrap_or_default();
        Ok((cli.command.with_notes(notes), own))
    });
    parsed.map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => NoCommand::Help(error),
        _ => NoCommand::Wrong(one_line(&error)),
    })
}

/// All commands. A flag of `launch` that is given twice counts as it stands last, as in other routers.
pub(crate) fn command() -> clap::Command {
    Cli::command().mut_subcommand("launch", |launch| {
        launch.args_override_self(true).after_help(
            "Flags of sglang-router, smg and vllm-router are understood, too: see docs/migrating.md",
        )
    })
}

/// The command line with the flags of other routers after `launch` in our own, and what the log should say about them.
fn of_any_router(mut args: Vec<OsString>) -> Result<(Vec<OsString>, Vec<String>), ForeignError> {
    let is_launch = |word: &OsString| {
        word.to_str().is_some_and(|word| !word.is_empty() && ("launch".starts_with(word) || word == "start"))
    };
    if !args.get(1).is_some_and(is_launch) {
        return Ok((args, Vec::new()));
    }
    let command = command();
    let launch = command.find_subcommand("launch").into_iter().flat_map(clap::Command::get_arguments);
    let own: Vec<&str> = launch.filter_map(clap::Arg::get_long).chain(["help"]).collect();
    let translation = translate(args.split_off(2), &own)?;
    args.extend(translation.args);
    Ok((args, translation.notes))
}

impl Command {
    fn with_notes(mut self, notes: Vec<String>) -> Self {
        if let Self::Launch(args) = &mut self {
            args.notes = notes;
        }
        self
    }
}

/// What clap has to say in one line, and where there is more to read.
fn one_line(error: &clap::Error) -> String {
    format!("{} (--help lists all)", first_line(error))
}

/// The first line of clap's message, with its suggestion.
pub(crate) fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    let first = lines.next().unwrap_or("bad command line").trim_start_matches("error: ").to_owned();
    let first = if first.ends_with(':') { format!("{first} {}", lines.next().unwrap_or("")) } else { first };
    let close = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue]
        .into_iter()
        .find_map(|kind| match error.get(kind) {
            Some(ContextValue::String(s)) => Some(s.clone()),
            Some(ContextValue::Strings(all)) => all.first().cloned(),
            _ => None,
        });
    match close {
        Some(close) => format!("{first}; did you mean '{close}'?"),
        None => first,
    }
}
