//! The options of `sgl-router launch` for programs that start a router themselves.

use crate::cli::{self, Command, NoCommand};
use router_config::Options;
use std::ffi::OsString;

/// The options of `launch` that flags stand for.
#[derive(Debug)]
pub struct LaunchOptions {
    /// The options.
    pub options: Options,
    /// A line for each accepted flag of another router that has no effect here.
    pub notes: Vec<String>,
}

/// Why flags do not give options.
#[derive(Debug, thiserror::Error)]
pub enum LaunchOptionsError {
    /// Help was requested and printed.
    #[error("help was printed")]
    Help,
    /// The flags, or the file that they name, are invalid; the message is the one that the command line prints.
    #[error("{0}")]
    Invalid(String),
}

/// The options that `sgl-router launch` runs with, given these flags.
///
/// # Errors
/// An unknown flag, an invalid value or an invalid file, as on the command line.
pub fn launch_options(
    flags: impl IntoIterator<Item = OsString>,
) -> Result<LaunchOptions, LaunchOptionsError> {
    let line = ["sgl-router", "launch"].map(OsString::from).into_iter().chain(flags);
    match cli::parse(line) {
        Ok((Command::Launch(args), matches)) => {
            let loaded =
                args.load(&matches).map_err(|error| LaunchOptionsError::Invalid(error.to_string()))?;
            Ok(LaunchOptions { options: loaded.sourced.options, notes: loaded.notes })
        }
        Err(NoCommand::Invalid(line)) => Err(LaunchOptionsError::Invalid(line)),
        Err(help @ (NoCommand::Help(_) | NoCommand::ShortHelp(_))) => {
            help.print();
            Err(LaunchOptionsError::Help)
        }
        Ok(_) => Err(LaunchOptionsError::Invalid("the flags are not those of launch".to_owned())),
    }
}
