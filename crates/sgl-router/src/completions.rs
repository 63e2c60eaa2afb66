//! `sgl-router completions` and `sgl-router man`: what shells and `man` need to know of the command line.

use crate::error::CommandError;
use crate::terminal::say;
use clap::{Args, Command};
use clap_complete::Shell;

/// The flags of `completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints the completions of `command` for a shell.
pub(crate) fn print(args: &CompletionsArgs, mut command: Command) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "sgl-router", &mut script);
    say(String::from_utf8_lossy(&script));
    Ok(())
}

/// Prints the manual page of `command`, with one section for each command.
pub(crate) fn print_man(mut command: Command) -> Result<(), CommandError> {
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).map_err(CommandError::runtime)?;
    say(String::from_utf8_lossy(&page));
    Ok(())
}
