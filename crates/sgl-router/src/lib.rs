//! `sgl-router`: the inference router that knows what its servers really deliver.
//!
//! The whole command line as one function, [`run`], for the program `sgl-router` and for the console script of the
//! Python package; and the parts of `launch` and `simulate` that the Python package calls itself.
//!
//! The modules, top down; each uses only those below it:
//!
//! ```text
//! launch_options                                  flags -> options of `launch`
//! cli                                             the parser of the command line
//! endpoint_picker launch demo emulate send top    one command each
//!   simulate report
//!   check_config policies workers explain completions pages
//! router_client                                   requests to a running router
//! runtime  terminal  clean_text                   tokio and logs, output, messages
//!   clap_message  error
//! ```
#![allow(clippy::print_stderr, reason = "a command-line program talks through its terminal")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and times become f64 for tables, and back at stated ranges"
)]

mod check_config;
mod clap_message;
mod clean_text;
mod cli;
mod completions;
mod demo;
mod emulate;
#[cfg(feature = "endpoint-picker")]
mod endpoint_picker;
mod error;
mod explain;
mod launch;
mod launch_options;
mod pages;
mod policies;
mod report;
mod router_client;
mod runtime;
mod send;
pub mod simulate;
mod terminal;
mod top;
mod workers;

pub use error::CommandError;
pub use explain::in_words as explain_trace;
pub use launch::{init_logs, start};
pub use launch_options::{LaunchOptions, LaunchOptionsError, launch_options};

use std::ffi::OsString;

/// Runs a command line, whose first word is the name of the program, and returns the exit code: 0 for success, 1 for a
/// failure, 2 for an invalid command line or configuration. Output and errors go to the terminal.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let (command, matches) = match cli::parse(args) {
        Ok(parsed) => parsed,
        Err(no_command) => return no_command.print(),
    };
    let result = match command {
        cli::Command::Launch(args) => launch::run(args, &matches),
        cli::Command::CheckConfig(args) => check_config::run(*args, &matches),
        #[cfg(feature = "endpoint-picker")]
        cli::Command::EndpointPicker(args) => endpoint_picker::run(args, &matches),
        cli::Command::Demo(args) => demo::run(&args),
        cli::Command::Emulate(args) => emulate::run(&args),
        cli::Command::Send(args) => send::run(&args),
        cli::Command::Simulate(args) => simulate::run(&args),
        cli::Command::Report(args) => report::run(&args),
        cli::Command::Policies(args) => policies::run(&args),
        cli::Command::Workers(args) => workers::run(&args),
        cli::Command::Explain(args) => explain::run(&args),
        cli::Command::Top(args) => top::run(&args),
        cli::Command::Completions(args) => completions::print(&args, cli::command()),
        cli::Command::Man => completions::print_man(cli::command()),
        cli::Command::Pages(args) => {
            pages::print(&args, cli::command());
            Ok(())
        }
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("sgl-router: {error}");
            error.exit_code()
        }
    }
}
